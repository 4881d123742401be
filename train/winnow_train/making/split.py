"""Sources dealt out to train and val, so that val has its share of every class."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable

import numpy as np

from winnow_base.errors import DataError


def split_sources(tiles: Iterable[tuple[str, str]], share: float, seed: int) -> dict[str, str]:
    """The set of every source, from the (source, class) of every tile.

    Sources move to val one by one: the one that brings the classes' shares in val nearest to
    `share`, in squares, as long as train keeps a tile of every class. Ties go by a digest of seed
    and name, so the split is the same on every machine.
    Raises DataError where no source can be spared.
    """
    counts = Counter(tiles)
    classes = sorted({name for _, name in counts})
    sources = sorted({s for s, _ in counts}, key=lambda s: _digest(s, seed))
    table = np.array([[counts[s, c] for c in classes] for s in sources], float)
    if len(sources) < 2:
        raise DataError(
            f"all tiles are of one source, {sources[0]!r}, so none is left to judge by",
            hint="add pictures of other sources, or say with --source how one is read from a name",
        )
    total = table.sum(axis=0)
    parts = table / total
    held, in_val = np.zeros(len(classes)), np.zeros(len(sources), bool)
    while True:
        # What train keeps if a source leaves: one tile of every class at least.
        left = (1 - held) - parts
        possible = ~in_val & (left > 1e-9).all(axis=1)
        if not possible.any():
            break
        now = float(((held - share) ** 2).sum())
        then = ((held + parts - share) ** 2).sum(axis=1)
        best = int(np.where(possible, then, np.inf).argmin())
        if then[best] >= now and in_val.any():
            break
        in_val[best] = True
        held = held + parts[best]
    if not in_val.any():
        alone = [c for c, n in zip(classes, (table > 0).sum(axis=0), strict=True) if n == 1]
        raise DataError(
            f"no source can be spared for val: {', '.join(alone) or 'every class'} would leave "
            "train",
            hint="add pictures of another source, or say with --source how one is read from a name",
        )
    return {s: "val" if v else "train" for s, v in zip(sources, in_val.tolist(), strict=True)}


def _digest(source: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed} {source}".encode("utf-8", "replace")).digest()
