"""Do versions 1 and 3 of the HiRISE landmarks call the same landmark the same?

The numbers in the file names do not say which landmarks are the same: they were given anew. So the
very pixels are looked for: the middle of every tile of version 1 in the tiles of version 3 of its
source, at eight scales, by normalized cross-correlation, coarse first, then at full size. Tiles of
version 1 are cut more closely than those of version 3, so its middle lies within the other tile.
A correlation of 0.95 is the same ground (looked at by eye: all of 18 pairs above it were, none of
48 pairs between 0.7 and 0.95). `edge` tiles (of version 1, cut by nodata) are left out.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy import fft

from benchmarks import harness
from winnow_train.datasets import Tile, read_dataset

FULL, COARSE, MIDDLE = 227, 64, 137
#: Size of a tile's middle within the other tile, in coarse pixels.
SCALES = (18, 21, 25, 30, 36, 43, 51, 60)
SAME, WORTH_A_LOOK = 0.95, 0.78
Matches = list[tuple[float, Tile, Tile]]


class View(NamedTuple):
    """A tile of version 3 turned back as it may have lain in the map."""

    tile: Tile
    pixels: np.ndarray


def views_of(tile: Tile) -> Iterator[View]:
    """The tile without the turn that its name tells; both ways where the name leaves it open."""
    pixels = _grey(tile).astype(np.float32)
    turn = re.search(r"-(r90|r180|r270|fh|fv)\.", tile.path.name)
    kind = turn[1] if turn else ""
    if kind == "r180":
        yield View(tile, np.rot90(pixels, 2))
    elif kind.startswith("r"):
        yield View(tile, np.rot90(pixels, 1))
        yield View(tile, np.rot90(pixels, 3))
    elif kind.startswith("f"):
        yield View(tile, pixels[:, ::-1])
        yield View(tile, pixels[::-1])
    else:
        yield View(tile, pixels)


def _grey(tile: Tile) -> np.ndarray:
    with Image.open(tile.path) as image:
        return np.asarray(image.convert("L").resize((FULL, FULL)))


def _shrunk(pixels: np.ndarray, side: int) -> np.ndarray:
    small = Image.fromarray(pixels).resize((side, side), Image.Resampling.BOX)
    return np.asarray(small, np.float32)


class Searched:
    """Images [n, S, S] in which patches are looked for."""

    def __init__(self, images: np.ndarray) -> None:
        self._images = images - images.mean(axis=(1, 2), keepdims=True)
        self._spectra = fft.rfft2(self._images)
        self._spreads: dict[int, np.ndarray] = {}

    def best(self, patch: np.ndarray) -> np.ndarray:
        """Highest normalized cross-correlation of a patch [t, t] in every image, [n]."""
        side, whole = len(patch), self._images.shape[-1]
        room = whole - side + 1
        patch = patch - patch.mean()
        size = float(np.linalg.norm(patch))
        if size < 2 * side:  # a standard deviation of two grey levels: nothing to recognize
            return np.zeros(len(self._images))
        spectrum = fft.rfft2(patch, (whole, whole)).conj()
        found = fft.irfft2(self._spectra * spectrum, (whole, whole))[:, :room, :room]
        best: np.ndarray = (found / (self._spread(side) * size)).max(axis=(1, 2))
        return best

    def _spread(self, side: int) -> np.ndarray:
        """Root of the sum of squared differences from the mean, of every window."""
        if side not in self._spreads:
            images = self._images.astype(np.float64)
            squares, sums = _windows(images**2, side), _windows(images, side)
            spread = np.sqrt(np.maximum(squares - sums**2 / side**2, 4.0 * side**2))
            self._spreads[side] = spread
        return self._spreads[side]


def _windows(images: np.ndarray, side: int) -> np.ndarray:
    room = images.shape[-1] - side + 1
    total = np.pad(images, ((0, 0), (1, 0), (1, 0))).cumsum(axis=1).cumsum(axis=2)
    low, high = slice(None, room), slice(side, None)
    return np.asarray(
        total[:, high, high] - total[:, low, high] - total[:, high, low] + total[:, low, low]
    )


def match(ones: list[Tile], threes: list[Tile]) -> Matches:
    """The best match of every tile of version 1 among those of version 3 of its source."""
    views = [v for t in threes for v in views_of(t)]
    coarse = Searched(np.stack([_shrunk(v.pixels, COARSE) for v in views]))
    matches = []
    for one in ones:
        border = (FULL - MIDDLE) // 2
        middle = _grey(one)[border : border + MIDDLE, border : border + MIDDLE]
        tried = [
            (float(score), index, side)
            for side in SCALES
            for index, score in enumerate(coarse.best(_shrunk(middle, side)))
        ]
        best = (0.0, threes[0])
        for score, index, side in sorted(tried, reverse=True)[:2]:
            if score < WORTH_A_LOOK:
                continue
            fine = Searched(views[index].pixels[None])
            for near in (0.94, 1.0, 1.06):
                size = min(FULL, round(side * FULL / COARSE * near))
                exact = float(fine.best(_shrunk(middle, size))[0])
                best = max(best, (exact, views[index].tile), key=lambda b: b[0])
        matches.append((best[0], one, best[1]))
    return matches


def main() -> None:
    """Command line."""
    parser = harness.arguments(__doc__)
    parser.add_argument("--data", type=Path, help="folder of the data sets")
    args = parser.parse_args()
    one, three = (read_dataset(n, harness.data_root(args)) for n in ("hirise-v1", "hirise-v3"))
    homes: dict[str, tuple[list[Tile], list[Tile]]] = defaultdict(lambda: ([], []))
    for version, tiles in enumerate((one.tiles, three.tiles)):
        for tile in tiles:
            if version or one.classes[tile.label] != "edge":
                homes[tile.source][version].append(tile)
    matches = [m for a, b in homes.values() if a and b for m in match(a, b)]
    same = [m for m in matches if m[0] >= SAME]
    pairs = Counter((one.classes[a.label], three.classes[b.label]) for _, a, b in same)
    rows = [{"version 1": a, "version 3": b, "tiles": n} for (a, b), n in pairs.most_common()]
    found = f"{len(matches)} tiles of version 1 looked for, {len(same)} found in version 3"
    harness.report(args, rows, [found])


if __name__ == "__main__":
    main()
