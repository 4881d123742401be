"""Which tiles are worth a person's time: unsure ones, disputed ones, new ones, or a fair sample.

Every way takes only tiles whose picture is here; `Chosen.absent` counts those that it would have
taken else.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from winnow_base.errors import CatalogueError
from winnow_edge.products.audit import drawn
from winnow_edge.products.sketch import SKETCH_BYTES, STEP, sketch
from winnow_ground.audit import population
from winnow_ground.labelling.pictures import Pictures, seen

MOST_COMPARED: Final = 20_000
"""Pictures that are compared with each other for `novel`."""
MOST_OPENED: Final = 200
"""Pictures of swaths that are decoded for it, evenly spaced: each takes a good part of a second."""
_PAIRS: Final = 200_000
"""Pairs of tiles that are looked at together."""
_SIDES: Final[tuple[Literal["left", "right"], ...]] = ("left", "right")
_ROW: Final = np.dtype(
    [("id", "i8"), ("swath", "i8"), ("class", "i8"), ("posterior", "f8"), ("detection", "i1"),
     ("line", "i8"), ("sample", "i8"), ("lines", "i8"), ("samples", "i8"),
     ("here", "i1")]
)  # fmt: skip

T = TypeVar("T")


@dataclass(frozen=True)
class Chosen:
    """Tiles, the most worthwhile first, each with its score; `how` is kept with the set."""

    tiles: list[int]
    scores: list[float]
    how: Mapping[str, Any]
    absent: int = 0


@dataclass(frozen=True)
class Among:
    """Which tiles may be chosen: of a class (None: of any), not `labelled` yet unless asked."""

    class_name: str | None = None
    labelled: bool = False


@dataclass(frozen=True)
class Draw:
    """A random audit: what `[audit]` of a mission file has."""

    seed: int = 0
    share: float = 0.01


def unsure(db: sqlite3.Connection, among: Among, most: int) -> Chosen:
    """Tiles with the smallest margin between the best class and all others together.

    The catalogue has the posterior p of the best class alone. The margin to the second is at least
    p - (1 - p), and that bound is the score: 2 p - 1, the smallest first. A detection's posterior
    has passed its threshold, so that tiles below it come first where their pictures are here.
    """
    rows = _rows(db, among)
    order = np.lexsort((rows["id"], rows["posterior"]))
    margins = 2 * rows["posterior"][order] - 1
    return _here(db, rows["id"][order], margins, most, {"way": "unsure"})


def disputed(db: sqlite3.Connection, among: Among, most: int, overlap: float = 0.5) -> Chosen:
    """Tiles that lie over each other and show different classes, at least one as a detection.

    A tile of the same class that is no detection is no dispute: it may have been merged. Two nets
    on the same picture (swaths of one digest, or of one name where one has none) are compared, and
    tiles of one swath that overlap, of one scale or several. Two tiles lie over each other where
    they share at least `overlap` of both together (intersection over union) or, at different
    scales, of the smaller. The score is the posterior of the less sure one of the two: the surer
    both are, the more one of them is wrong. With a class, one of the two says so.
    """
    names = {row[0]: row[1] for row in db.execute("SELECT id, name FROM class")}
    wanted = next((key for key, name in names.items() if name == among.class_name), -1)
    found, worst = [np.zeros(0, np.int64)], [np.zeros(0)]
    for rows in _by_picture(_rows(db, Among(None, among.labelled)), db):
        for one, other in _over_each_other(rows, overlap):
            said = rows["class"][one], rows["class"][other]
            differ = said[0] != said[1]
            if among.class_name is not None:
                differ &= (said[0] == wanted) | (said[1] == wanted)
            one, other = one[differ], other[differ]
            less = np.minimum(rows["posterior"][one], rows["posterior"][other])
            best = np.full(len(rows), -1.0)
            np.maximum.at(best, one, less)
            np.maximum.at(best, other, less)
            found.append(rows["id"][best >= 0])
            worst.append(best[best >= 0])
    tiles, scores = np.concatenate(found), np.concatenate(worst)
    # A tile may be of several parts of a picture; its largest score is what counts.
    order = np.lexsort((-scores, tiles))
    tiles, scores = tiles[order], scores[order]
    first = np.flatnonzero(np.diff(tiles, prepend=-1))
    tiles, scores = tiles[first], scores[first]
    order = np.lexsort((tiles, -scores))
    how = {"way": "disputed", "overlap": overlap}
    return _here(db, tiles[order], scores[order], most, how)


def novel(
    db: sqlite3.Connection, among: Among, most: int, pictures: Pictures | None = None
) -> Chosen:
    """Tiles whose pictures are least like those that are labelled, and like each other.

    What is compared is the sketch of a picture (`winnow_edge.products.sketch`: brightness,
    contrast, energy by octave), not features of the net: the catalogue has none. Each next tile is
    the one that is farthest from all before it and from all labelled ones (T. F. Gonzalez,
    Theoretical Computer Science 38, 1985; as core set: O. Sener and S. Savarese, ICLR 2018). The
    score is this distance in octaves, Euclidean. Of more than MOST_COMPARED pictures, evenly spaced
    ones are compared, and tiles are cut out of at most MOST_OPENED pictures of swaths.
    """
    pictures = pictures or Pictures()
    rows = _rows(db, among)
    here = rows[rows["here"] == 1]
    ids = here["id"][np.lexsort((here["id"], here["swath"]))]
    pictured, lost = _pictured(db, np.array(_spread(ids.tolist(), MOST_COMPARED), np.int64))
    absent = len(rows) - len(here) + lost
    known = db.execute(
        "SELECT DISTINCT tile FROM label WHERE withdrawn IS NULL AND answer IN ('shows', 'nothing')"
    )
    labelled = _spread([row[0] for row in known], MOST_COMPARED)
    anchors, _ = _pictured(db, np.array(labelled, np.int64))
    tiles, looks = _sketches(db, pictures, _comparable(db, pictured))
    _, anchored = _sketches(db, pictures, _comparable(db, anchors))
    picked, far = _farthest(looks, anchored, most)
    how = {"way": "novel", "by": "sketch", "compared": len(tiles), "labelled": len(anchored)}
    return Chosen([tiles[i] for i in picked], far, how, absent)


def audit(db: sqlite3.Connection, draw: Draw | None = None) -> Chosen:
    """Tiles drawn at random, whatever the net says of them: those that were drawn when the net ran,
    on board or in an archive, or those of a `draw` of its own.

    The same seed and share draw the same tiles as on board. Every tile of a swath may be drawn,
    also those that were screened and those that no detection came of. `absent` are the drawn ones
    of which no picture is here: `winnow_ground.labelling.audits` says if the others are a fair
    sample. Raises CatalogueError for a share that draws nothing.
    """
    if draw is not None and not 0 < draw.share <= 1:
        raise CatalogueError(f"a share of {draw.share} draws nothing", hint="over 0, at most 1")
    tiles, total = list[int](), 0
    swaths = db.execute("SELECT id, name, tiles, about FROM swath ORDER BY id").fetchall()
    for swath, name, count, about in swaths:
        if draw is None:
            found, number = _drawn_then(db, swath, _told(about))
        else:
            found, number = _drawn_now(db, swath, count, name, _told(about), draw)
        tiles += found
        total += number
    here, _ = _pictured(db, np.array(tiles, np.int64))
    by = {"by": "the run"} if draw is None else {"seed": draw.seed, "share": draw.share}
    how = {"way": "audit", **by, "drawn": total, "absent": total - len(here)}
    return Chosen(here, [], how, total - len(here))


def _drawn_then(
    db: sqlite3.Connection, swath: int, told: Mapping[str, Any]
) -> tuple[list[int], int]:
    """The tiles of a swath that were drawn when the net ran, and how many there are of them."""
    rows = db.execute("SELECT id FROM tile WHERE swath = ? AND drawn = 1 ORDER BY id", (swath,))
    tiles = [row[0] for row in rows]
    audit = told.get("audit")
    number = audit.get("tiles") if isinstance(audit, dict) else None
    return tiles, max(number, len(tiles)) if type(number) is int else len(tiles)


def _drawn_now(
    db: sqlite3.Connection, swath: int, count: int, name: str, told: Mapping[str, Any], draw: Draw
) -> tuple[list[int], int]:
    """The same of a draw of its own."""
    rows = dict(db.execute("SELECT number, id FROM tile WHERE swath = ?", (swath,)))
    # A swath that is not complete has not told how many tiles it has; one whose audit on board met
    # its quota has told where.
    known = {"tiles": max(count, max(rows, default=-1) + 1)}
    size = population(known | ({"audit": told["audit"]} if "audit" in told else {}))
    flown = str(told.get("swath", name))
    numbers = np.flatnonzero(drawn(draw.seed, flown, 0, size, draw.share)).tolist()
    return [rows[number] for number in numbers if number in rows], len(numbers)


WAYS: Final[Mapping[str, Callable[[sqlite3.Connection, Among, int], Chosen]]] = {
    "unsure": unsure,
    "disputed": disputed,
    "novel": novel,
}
"""Ways of choosing the most worthwhile; `audit` is none of them: it is drawn."""


def _rows(db: sqlite3.Connection, among: Among) -> npt.NDArray[Any]:
    """The tiles that may be chosen; `here` is 1 where the catalogue names a picture."""
    where, values = ["class IS NOT NULL"], list[object]()
    if among.class_name is not None:
        where.append("class = (SELECT id FROM class WHERE name = ?)")
        values.append(among.class_name)
    if not among.labelled:
        where.append("NOT EXISTS (SELECT 1 FROM label WHERE tile = tile.id AND withdrawn IS NULL)")
    cursor = db.execute(
        "SELECT id, swath, class, posterior, detection, line, sample, lines, samples,"
        " file IS NOT NULL OR swath IN (SELECT id FROM swath WHERE picture IS NOT NULL) FROM tile"
        f" WHERE {' AND '.join(where)}",
        values,
    )
    return np.fromiter(cursor, _ROW)


def _here(
    db: sqlite3.Connection,
    ids: npt.NDArray[np.int64],
    scores: npt.NDArray[np.float64],
    most: int,
    how: Mapping[str, Any],
) -> Chosen:
    """The first `most` of those with a picture."""
    tiles, worth, absent = list[int](), list[float](), 0
    for first in range(0, len(ids), 1000):
        part = ids[first : first + 1000].tolist()
        there = seen(db, part)
        for tile, score in zip(part, scores[first : first + 1000].tolist(), strict=True):
            if tile in there and there[tile].pictured:
                tiles.append(tile)
                worth.append(score)
            else:
                absent += 1
            if len(tiles) == most:
                return Chosen(tiles, worth, how, absent)
    return Chosen(tiles, worth, how, absent)


def _pictured(db: sqlite3.Connection, ids: npt.NDArray[np.int64]) -> tuple[list[int], int]:
    """Those whose picture is here, in their order, and how many are not."""
    there = seen(db, ids.tolist())
    tiles = [tile for tile in ids.tolist() if tile in there and there[tile].pictured]
    return tiles, len(ids) - len(tiles)


def _by_picture(rows: npt.NDArray[Any], db: sqlite3.Connection) -> Iterator[npt.NDArray[Any]]:
    """The tiles of each picture, of however many bundles: swaths of one digest, and those of their
    names that have none. Pictures of one name whose digests differ are not the same."""
    digests: dict[str, list[tuple[int, str]]] = {}
    plain: dict[str, list[int]] = {}
    for swath, name, sha256 in db.execute("SELECT id, name, sha256 FROM swath ORDER BY id"):
        if sha256:
            digests.setdefault(sha256, []).append((swath, name))
        else:
            plain.setdefault(name, []).append(swath)
    named = {name for some in digests.values() for _, name in some}
    groups = [swaths for name, swaths in plain.items() if name not in named]
    for some in digests.values():
        names = sorted({name for _, name in some})
        groups.append([s for s, _ in some] + [s for name in names for s in plain.get(name, [])])
    rows = rows[np.argsort(rows["swath"], kind="stable")]
    of = np.ascontiguousarray(rows["swath"])
    for swaths in groups:
        begin, end = (np.searchsorted(of, swaths, side) for side in _SIDES)
        if (end > begin).any():
            yield np.concatenate([rows[a:b] for a, b in zip(begin, end, strict=True)])


def _over_each_other(
    rows: npt.NDArray[Any], overlap: float
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Pairs of tiles, at least one a detection, that share enough: some at a time."""
    order = np.argsort(rows["line"], kind="stable")
    top, low = rows["line"][order], (rows["line"] + rows["lines"])[order]
    left, right = rows["sample"][order], (rows["sample"] + rows["samples"])[order]
    area = (low - top) * (right - left)
    found = rows["detection"][order] == 1
    # Those that begin before a tile ends, of all that begin after it.
    numbers = np.arange(len(order))
    near = np.maximum(np.searchsorted(top, low, side="left") - numbers - 1, 0)
    before = np.concatenate([[0], np.cumsum(near)])
    start = 0
    while start < len(order):
        fits = np.searchsorted(before, before[start] + _PAIRS, side="right") - 1
        stop = max(start + 1, int(fits))
        counts = near[start:stop]
        i = np.repeat(numbers[start:stop], counts)
        j = i + 1 + np.arange(len(i)) - np.repeat(before[start:stop] - before[start], counts)
        high = np.minimum(low[i], low[j]) - top[j]
        wide = np.minimum(right[i], right[j]) - np.maximum(left[i], left[j])
        shared = np.clip(high, 0, None) * np.clip(wide, 0, None)
        smaller, union = np.minimum(area[i], area[j]), area[i] + area[j] - shared
        whole = np.where(area[i] == area[j], union, smaller)
        over = (shared >= overlap * whole) & (found[i] | found[j])
        yield order[i[over]], order[j[over]]
        start = stop


def _spread(tiles: Sequence[T], most: int) -> list[T]:
    """At most so many, evenly spaced."""
    if len(tiles) <= most:
        return list(tiles)
    return [tiles[i] for i in np.linspace(0, len(tiles) - 1, most).astype(int).tolist()]


def _comparable(db: sqlite3.Connection, tiles: Sequence[int]) -> list[int]:
    """Those of the tiles whose pictures are opened."""
    there = seen(db, tiles)
    swaths = sorted({str(one.swath) for one in there.values() if one.file is None})
    opened = set(_spread(swaths, MOST_OPENED))
    return [t for t in tiles if there[t].file is not None or str(there[t].swath) in opened]


def _sketches(
    db: sqlite3.Connection, pictures: Pictures, tiles: Sequence[int]
) -> tuple[list[int], npt.NDArray[np.float64]]:
    """The tiles whose pictures can be read, and their sketches (tiles, octets), in octaves."""
    there, kept, looks = seen(db, tiles), list[int](), list[bytes]()
    for tile in tiles:
        pixels = pictures.pixels(there[tile])
        if pixels is not None:
            kept.append(tile)
            looks.append(sketch(pixels))
    octets = np.frombuffer(b"".join(looks), np.uint8).reshape(len(looks), SKETCH_BYTES)
    return kept, octets.astype(np.float64) / STEP


def _farthest(
    looks: npt.NDArray[np.float64], anchors: npt.NDArray[np.float64], most: int
) -> tuple[list[int], list[float]]:
    """Which of `looks` to take, in order, and how far each was from all before it."""
    if not len(looks):
        return [], []
    # Without a label the first is the one that is farthest from the mean of all.
    start = anchors if len(anchors) else looks.mean(axis=0, keepdims=True)
    near = np.full(len(looks), np.inf)
    for anchor in start:
        near = np.minimum(near, np.linalg.norm(looks - anchor, axis=1))
    picked, far = list[int](), list[float]()
    while len(picked) < min(most, len(looks)):
        best = int(near.argmax())
        picked.append(best)
        far.append(float(near[best]))
        distance = np.linalg.norm(looks - looks[best], axis=1)
        near = np.minimum(near, distance) if len(picked) > 1 or len(anchors) else distance
        near[picked] = -1.0
    return picked, far


def _told(about: str) -> dict[str, Any]:
    """What the board said of a swath; its name there is the one that the draw depends on."""
    try:
        told = json.loads(about)
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}
