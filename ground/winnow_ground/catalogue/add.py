"""Receptions into the catalogue: what `winnow receive` wrote, once, whatever comes again."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from winnow_edge.files import printable
from winnow_edge.products.kinds import Box, Kind
from winnow_ground.catalogue.schema import BUSY_S, HAVE, changes, create
from winnow_ground.received import Received, ReceivedProduct

_BEST: Final = {name: have for have, name in enumerate(HAVE)} | {"audit": 1, "question": 1}
"""What of a tile a kind of product brings; audits and questions are thumbnails."""


@dataclass(frozen=True, slots=True)
class Added:
    """What a reception brought that the catalogue did not have."""

    swaths: int
    tiles: int
    products: int


def add_reception(catalogue: Path, received: Received, *, patience_s: float = BUSY_S) -> Added:
    """Put all that came down into `received.folder` into the catalogue, made where it is not there.

    Another program that writes is waited for `patience_s` seconds.
    What is there already stays as it is: labels and requests are kept, a tile whose picture comes
    down after its record gets the picture. Raises CatalogueError; then nothing was added.
    """
    db = create(catalogue)
    try:
        db.execute(f"PRAGMA busy_timeout = {round(1000 * patience_s)}")
        with changes(db, catalogue) as number:
            return _Adding(db, received, number).all()
    finally:
        db.close()


class _Adding:
    """One reception on its way into the catalogue."""

    def __init__(self, db: sqlite3.Connection, received: Received, number: int) -> None:
        self._db, self._received, self._number = db, received, number
        self._folder = str(received.folder.resolve())
        self._classes = dict(db.execute("SELECT name, id FROM class"))

    def all(self) -> Added:
        before = self._counts()
        swaths = self._swaths()
        self._products(swaths)
        self._tiles(swaths)
        self._contacts()
        after = self._counts()
        return Added(*(now - then for now, then in zip(after, before, strict=True)))

    def _counts(self) -> tuple[int, ...]:
        return tuple(
            self._db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            for table in ("swath", "tile", "product")
        )

    def _swaths(self) -> dict[tuple[int, int], int]:
        """A row for every swath that was told of, or of which a product came; its ids."""
        keys = {(p.store, p.swath) for p in self._received.products}
        rows = []
        looks = self._quick_looks()
        for key in sorted(keys | set(self._received.swaths)):
            info = self._received.swaths.get(key, {})
            rows.append({**self._swath(key, info), "quick_look": looks.get(key)})
        self._db.executemany(_SWATH, rows)
        found = self._db.execute("SELECT store, number, id FROM swath WHERE store IS NOT NULL")
        return {(store, number): row for store, number, row in found}

    def _swath(self, key: tuple[int, int], info: Mapping[str, Any]) -> dict[str, Any]:
        start = info.get("start") or {}
        verdict = info.get("verdict")
        utc = start.get("utc") if isinstance(start, dict) else None
        return {
            "store": key[0],
            "number": key[1],
            "name": self._received.swath_name(*key),
            "bundle": self._bundle(info.get("bundle")),
            "mission": _text(info.get("mission")),
            "instrument": _text(info.get("instrument")) or "",
            "lines": info.get("lines"),
            "samples": info.get("samples"),
            "tiles": info.get("tiles") or 0,
            "screened": info.get("screened") or 0,
            "complete": bool(info.get("complete")),
            "verdict": _text(verdict.get("verdict")) if isinstance(verdict, dict) else None,
            "start": _text(utc),
            "folder": self._folder,
            "about": json.dumps(info, ensure_ascii=True, sort_keys=True),
        }

    def _bundle(self, name: Any) -> int | None:
        if not isinstance(name, str) or not name:
            return None
        return id_of(self._db, "bundle", printable(name))

    def _class(self, name: str) -> int:
        if name not in self._classes:
            self._classes[name] = id_of(self._db, "class", name)
        return int(self._classes[name])

    def _quick_looks(self) -> dict[tuple[int, int], str]:
        kind = Kind.QUICK_LOOK.name.lower()
        return {
            (p.store, p.swath): p.file for p in self._received.products if p.kind == kind and p.file
        }

    def _products(self, swaths: Mapping[tuple[int, int], int]) -> None:
        self._db.executemany(
            "INSERT INTO product VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (
                (p.store, p.id, swaths[p.store, p.swath], p.kind, p.tile, p.contact, p.container,
                 p.bytes, p.order, p.file)
                for p in self._received.products
            ),
        )  # fmt: skip

    def _tiles(self, swaths: Mapping[tuple[int, int], int]) -> None:
        self._db.executemany(_TILE, self._tile_rows(swaths))
        # A swath lies where the middle of its tiles does, nearly: enough for a map of all of them.
        self._db.execute(_MIDDLE)

    def _tile_rows(self, swaths: Mapping[tuple[int, int], int]) -> Iterable[dict[str, Any]]:
        for p in self._received.products:
            if p.kind not in _BEST or p.tile is None or p.box is None:
                continue
            yield self._tile(p, p.box, swaths[p.store, p.swath])

    def _tile(self, p: ReceivedProduct, box: Box, swath: int) -> dict[str, Any]:
        name = None if p.screened else self._received.class_name(p)
        return {
            "swath": swath,
            "number": p.tile,
            "class": None if name is None else self._class(name),
            "posterior": p.posterior or 0.0,
            "detection": p.detection,
            "refused": p.refused,
            "out_of_place": p.out_of_place,
            "merged": p.merged or 1,
            "line": box.line,
            "sample": box.sample,
            "lines": box.lines,
            "samples": box.samples,
            "scale": p.scale or 1,
            "time": p.time,
            "latitude": p.latitude,
            "longitude": p.longitude,
            "drawn": p.kind == "audit",
            "asked": p.kind == "question",
            "sampled": p.kind in ("audit", "question"),
            "have": _BEST[p.kind],
            "file": p.file,
            "changed": self._number,
        }

    def _contacts(self) -> None:
        self._db.executemany(
            "INSERT INTO contact VALUES (:store, :contact, :containers, :products, :bytes, :folder)"
            " ON CONFLICT DO UPDATE SET containers = max(containers, excluded.containers),"
            " products = max(products, excluded.products), bytes = max(bytes, excluded.bytes)",
            ({**row, "folder": self._folder} for row in self._received.contacts()),
        )


def id_of(db: sqlite3.Connection, table: str, name: str) -> int:
    """The id of a bundle or class by name, given to it where it is new."""
    db.execute(f"INSERT INTO {table} (name) VALUES (?) ON CONFLICT DO NOTHING", (name,))
    (found,) = db.execute(f"SELECT id FROM {table} WHERE name = ?", (name,)).fetchone()
    return int(found)


def _text(value: Any) -> str | None:
    return printable(value) if isinstance(value, str) else None


_SWATH: Final = """
INSERT INTO swath (store, number, name, bundle, mission, instrument, lines, samples, tiles,
    screened, complete, verdict, start, folder, about, quick_look)
VALUES (:store, :number, :name, :bundle, :mission, :instrument, :lines, :samples, :tiles,
    :screened, :complete, :verdict, :start, :folder, :about, :quick_look)
ON CONFLICT (store, number) DO UPDATE SET name = excluded.name, bundle = excluded.bundle,
    mission = excluded.mission, instrument = excluded.instrument, lines = excluded.lines,
    samples = excluded.samples, tiles = excluded.tiles, screened = excluded.screened,
    complete = excluded.complete, verdict = excluded.verdict, start = excluded.start,
    about = excluded.about, quick_look = coalesce(excluded.quick_look, quick_look)
WHERE excluded.complete >= complete AND excluded.about <> '{}'
"""
# A sampled tile's picture was taken before its detection was merged into another one's: the record
# knows better. An image is of a detection that stands for its feature.
_DETECTION: Final = """CASE WHEN :sampled THEN detection
    WHEN excluded.have = 0 AND have < 2 THEN excluded.detection
    ELSE max(detection, excluded.detection) END"""
_TILE: Final = f"""
INSERT INTO tile (swath, number, class, posterior, detection, refused, out_of_place, merged, line,
    sample, lines, samples, scale, time, latitude, longitude, drawn, asked, have, file, changed)
VALUES (:swath, :number, :class, :posterior, :detection, :refused, :out_of_place, :merged, :line,
    :sample, :lines, :samples, :scale, :time, :latitude, :longitude, :drawn, :asked, :have, :file,
    :changed)
ON CONFLICT (swath, number) DO UPDATE SET have = max(have, excluded.have),
    file = CASE WHEN excluded.have >= have THEN coalesce(excluded.file, file) ELSE file END,
    class = CASE WHEN excluded.have >= have THEN coalesce(excluded.class, class) ELSE class END,
    detection = {_DETECTION}, merged = max(merged, excluded.merged),
    time = coalesce(time, excluded.time), latitude = coalesce(latitude, excluded.latitude),
    longitude = coalesce(longitude, excluded.longitude), drawn = max(drawn, excluded.drawn),
    asked = max(asked, excluded.asked), changed = excluded.changed
WHERE excluded.have > have OR (excluded.have = have AND excluded.class <> class)
    OR detection <> {_DETECTION}
    OR excluded.drawn > drawn OR excluded.asked > asked
    OR (time IS NULL) > (excluded.time IS NULL)
    OR (latitude IS NULL) > (excluded.latitude IS NULL) OR merged < excluded.merged
"""
_MIDDLE: Final = """
UPDATE swath SET
    latitude = (SELECT latitude FROM tile WHERE swath = swath.id AND latitude IS NOT NULL
        ORDER BY number LIMIT 1),
    longitude = (SELECT longitude FROM tile WHERE swath = swath.id AND longitude IS NOT NULL
        ORDER BY number LIMIT 1)
WHERE latitude IS NULL
"""
