"""Replay: labelled tiles laid out side by side as swaths, at any rarity of their classes.

The net sees each labelled tile once, in mosaics that fly as swaths do. Layouts are then drawn from
what it said, so that a million tiles cost no more than the tiles that there are. The truth of a
tile is its label, which the judge alone reads.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from winnow_base.errors import DataError
from winnow_base.files import make_folder
from winnow_base.pictures import open_picture
from winnow_base.progress import Step
from winnow_edge.bundle import find_bundle, open_bundle
from winnow_edge.files import write_aside
from winnow_edge.mission import Audit, Context, Mission, QuickLooks, Tiling, place_of
from winnow_edge.simulation_tables import Replay
from winnow_edge.sources.contract import PICTURE_ERRORS
from winnow_ground.simulation.fly import Flyer
from winnow_ground.simulation.labelled import Tiles, counts, read_tiles
from winnow_ground.simulation.scores import Scores

_SIDE = 16
"""Tiles along a side of a mosaic."""


@dataclass(frozen=True, eq=False)
class Labelled:
    """Scores of labelled tiles, one after the other, and the class that each shows (n).

    `background` are classes that are no features.
    """

    scores: Scores
    classes: npt.NDArray[np.str_]
    background: frozenset[str]

    @property
    def digest(self) -> str:
        """Stands for the tiles and what the net says of them."""
        known = [self.scores.digest, self.classes.tolist(), sorted(self.background)]
        return hashlib.sha256(json.dumps(known).encode()).hexdigest()


def labelled_of(mission: Mission, cache: Path | None, progress: Step) -> Labelled:
    """The labelled tiles of [simulation.replay], shown to the mission's net.

    `cache` keeps mosaics and scores (None: nothing is kept). Raises DataError for tiles that cannot
    be read, or whose classes the net does not know.
    """
    settings = mission.simulation.replay
    assert settings.tiles is not None
    tiles = read_tiles(mission.path.parent / settings.tiles, settings.split)
    as_flown = _as_flown(mission, settings)
    (camera,) = as_flown.instruments.values()
    manifest = open_bundle(find_bundle(camera.bundle, beside=mission.path)).manifest
    where = place_of(mission.path, "simulation", "replay", "tiles")
    for name in counts(tiles):
        if name not in manifest.classes:
            raise DataError(
                f"the tiles show {name!r}, a class that the net does not know",
                where=where,
                hint=f"it knows: {', '.join(manifest.classes)}",
            )
    can_be = {*manifest.thresholds, *(n for n, r in mission.classes.items() if r.threshold)}
    with tempfile.TemporaryDirectory(prefix="winnow-replay-") as scratch:
        folder = Path(scratch) if cache is None else make_folder(cache)
        scores = _scored(as_flown, tiles, folder, cache, progress)
    return Labelled(
        scores,
        np.array([name for _, name in tiles]),
        frozenset(manifest.classes) - can_be,
    )


def lay_out(labelled: Labelled, settings: Replay, seed: int, name: str, where: object) -> Scores:
    """A swath of tiles drawn with replacement by [simulation.replay] and a seed.

    Raises DataError, naming `where`, for shares of classes that no tile shows.
    """
    rng = np.random.default_rng([settings.seed, seed])
    count = settings.columns * settings.rows
    drawn = _drawn(labelled, settings.share, count, rng, where)
    kept = labelled.scores
    tiles = kept.tiles[drawn]
    side = int(tiles["samples"][0])
    row, column = np.divmod(np.arange(count), settings.columns)
    tiles["line"], tiles["sample"], tiles["row"] = row * side, column * side, row
    tiles["due"] = (row + 1) * side
    shown = labelled.classes[drawn]
    found = np.flatnonzero(~np.isin(shown, sorted(labelled.background)))
    return replace(
        kept,
        name=name,
        lines=settings.rows * side,
        samples=settings.columns * side,
        tiles=tiles,
        logits=kept.logits[drawn],
        second=None if kept.second is None else kept.second[drawn],
        twice=None if kept.twice is None else kept.twice[drawn],
        features=tuple(shown[found].tolist()),
        shows=np.stack([found, np.arange(len(found))], axis=1).astype(np.int32),
        quick_looks=(),
    )


def _drawn(
    labelled: Labelled,
    share: Mapping[str, float],
    count: int,
    rng: np.random.Generator,
    where: object,
) -> npt.NDArray[np.int64]:
    """Which labelled tile lies at each place (count)."""
    if not share:
        return rng.integers(0, len(labelled.classes), count)
    groups = {name: np.flatnonzero(labelled.classes == name) for name in share}
    for name, group in groups.items():
        if not len(group):
            there = ", ".join(sorted(set(labelled.classes.tolist())))
            raise DataError(
                f"no tile shows {name!r}, of which there shall be a share of {share[name]:g}",
                where=where,
                hint=f"they show: {there}",
            )
    total = sum(share.values())
    if total > 1 + 1e-9:
        raise DataError(f"the shares of the classes add up to {total:g}", where=where)
    rest = np.flatnonzero(np.isin(labelled.classes, sorted(labelled.background - set(share))))
    if total < 1 - 1e-9 and not len(rest):
        raise DataError(
            f"the shares add up to {total:g} and no tile shows background",
            where=where,
            hint="let them add up to 1",
        )
    drawn = np.zeros(count, np.int64)
    chances = [*share.values(), max(0.0, 1 - total)]
    kinds = rng.choice(len(chances), count, p=np.array(chances) / sum(chances))
    for kind, group in enumerate([*groups.values(), rest]):
        at = np.flatnonzero(kinds == kind)
        if len(at):
            drawn[at] = group[rng.integers(0, len(group), len(at))]
    return drawn


def _as_flown(mission: Mission, settings: Replay) -> Mission:
    """The mission as it flies over mosaics: tiles side by side, nothing but tiles."""
    name = settings.instrument or next(iter(mission.instruments))
    _, camera = mission.instrument_for(name, asked=name)
    bundle = open_bundle(find_bundle(camera.bundle, beside=mission.path))
    tile = mission.tiling.tile or bundle.manifest.input.width
    camera = replace(
        camera, match="*", frame=False, samples=None, bits=8, dead_samples=(), bright_pixels=0,
        find_dead_samples=False,
    )  # fmt: skip
    return replace(
        mission,
        instruments={name: camera},
        tiling=Tiling(tile=tile, hop=tile, scales=(1,), merge=mission.tiling.merge),
        audit=Audit(),
        quick_look=QuickLooks(bytes=0),
        # What lies around a tile in a mosaic are other tiles.
        context=Context(),
        compute=replace(mission.compute, verifier=False),
    )


def _scored(
    mission: Mission, tiles: Tiles, folder: Path, cache: Path | None, progress: Step
) -> Scores:
    """Scores of tiles in their order, (n) tiles in one row each."""
    side = mission.tiling.tile
    assert side is not None
    parts, counts = [], []
    with Flyer(mission, cache) as flyer:
        mosaics = list(_mosaics(tiles, side))
        for n, part in enumerate(mosaics):
            progress("showing tiles to the net", n * _SIDE**2, len(tiles))
            path = folder / f"mosaic-{_digest(part, side)}.png"
            if not path.is_file():
                _draw(part, side, path)
            parts.append(flyer.scores(path, path.name, None))
            counts.append(len(part))
    first = parts[0]
    doubled = any(part.twice is not None for part in parts)

    def joined(name: str) -> npt.NDArray[np.generic]:
        return np.concatenate(
            [_or_zeros(part, name)[:n] for part, n in zip(parts, counts, strict=True)]
        )

    return replace(
        first,
        tiles=joined("tiles"),
        logits=joined("logits"),
        second=joined("second") if doubled else None,
        twice=joined("twice") if doubled else None,
        allowed=None,
    )


def _or_zeros(scores: Scores, name: str) -> npt.NDArray[np.generic]:
    found: npt.NDArray[np.generic] | None = getattr(scores, name)
    if found is not None:
        return found
    return np.zeros_like(scores.logits) if name == "second" else np.zeros(len(scores), np.bool_)


def _mosaics(tiles: Tiles, side: int) -> Iterator[Tiles]:
    for first in range(0, len(tiles), _SIDE**2):
        yield tiles[first : first + _SIDE**2]


def _digest(tiles: Tiles, side: int) -> str:
    digest = hashlib.sha256(str(side).encode())
    for path, _ in tiles:
        status = path.stat()
        digest.update(f"{path.resolve()}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:24]


def _draw(tiles: Tiles, side: int, path: Path) -> None:
    """A mosaic as a picture: rows of `_SIDE` tiles, each resized as training does."""
    pictures = [_picture(file) for file, _ in tiles]
    mode = "RGB" if any(picture.mode == "RGB" for picture in pictures) else "L"
    rows = -(-len(tiles) // _SIDE)
    whole = Image.new(mode, (_SIDE * side, rows * side))
    for n, picture in enumerate(pictures):
        small = picture.convert(mode)
        if small.size != (side, side):
            small = small.resize((side, side), Image.Resampling.BILINEAR)
        whole.paste(small, (n % _SIDE * side, n // _SIDE * side))
    with write_aside(path, durable=False) as stream:
        whole.save(stream, "png", compress_level=1)


def _picture(path: Path) -> Image.Image:
    try:
        with open_picture(path) as picture:
            return picture.convert("RGB" if picture.mode in ("RGB", "RGBA", "P", "CMYK") else "L")
    except PICTURE_ERRORS as error:
        raise DataError("the tile cannot be decoded", where=path) from error
