"""Labels as a folder per class, each with the pictures that people said it of.

Pictures are of settled tiles: what all agree on, or what was decided. A picture's name ends with
what finds its tile again, so that pictures may be moved between the folders and brought back in.
"""

from __future__ import annotations

import hashlib
import re
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote

from winnow_base.errors import DataError
from winnow_base.files import make_folder
from winnow_edge.errors import OutputError
from winnow_edge.files import printable, read_small, write_file
from winnow_ground.labelling.answers import NOTHING
from winnow_ground.labelling.exchange.lines import Line, Place, answer_of
from winnow_ground.labelling.pictures import Pictures, digest, seen
from winnow_ground.labelling.settle import Settled

_NAME: Final = re.compile(
    r".*\.(?:s(?P<store>\d{1,18})-(?P<number>\d{1,18})|p(?P<sha256>[0-9a-f]{16})-(?P<bundle>[0-9a-f]{8}))"
    r"_(?P<tile>\d{1,18})\.(?:jpe?g|png)",
    re.ASCII | re.IGNORECASE,
)
_MOST_BYTES: Final = 64_000_000


def write(db: sqlite3.Connection, known: Mapping[int, Settled], folder: Path) -> tuple[int, int]:
    """Write the pictures of settled tiles into an empty or new folder; how many, and how many had
    none that could be read. Raises OutputError."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError("is there already", where=folder, hint="name an empty or a new folder")
    make_folder(folder)
    pictures, count, absent = Pictures(), 0, 0
    there = seen(db, known)
    # By swath, so that a picture that tiles are cut from is decoded once.
    for tile in sorted(known, key=lambda tile: (str(there[tile].swath), tile)):
        data = pictures.tile(there[tile])
        if data is None:
            absent += 1
            continue
        home = folder / _folder_name(known[tile].class_name or NOTHING)
        write_file(home / _file_name(db, tile), data, durable=False)
        count += 1
    return count, absent


def read(db: sqlite3.Connection, folder: Path) -> list[Line]:
    """The pictures of a folder per class as labels. Raises DataError, which names the file."""
    bundles = {
        hashlib.sha256(name.encode()).hexdigest()[:8]: name
        for (name,) in db.execute("SELECT name FROM bundle")
    }
    try:
        homes = sorted(one for one in folder.iterdir() if not one.name.startswith("."))
        if not any(one.is_dir() for one in homes):
            raise DataError("holds no folder of a class", where=folder, hint="one folder per class")
        lines = []
        for home in homes:
            if not home.is_dir():
                hint = "pictures lie in the folders of their classes"
                raise DataError("lies beside the classes' folders", where=home, hint=hint)
            lines += [
                _line(file, unquote(home.name), bundles)
                for file in sorted(home.iterdir())
                if not file.name.startswith(".")
            ]
    except OSError as error:
        raise DataError(error.strerror or "cannot be read", where=folder) from error
    return lines


def _line(file: Path, class_name: str, bundles: Mapping[str, str]) -> Line:
    found = _NAME.fullmatch(file.name)
    shown = Path(printable(str(file)))
    if found is None:
        hint = "names of `winnow label export` end so that the tile is found again"
        raise DataError("is no picture that was exported from a catalogue", where=shown, hint=hint)
    try:
        data = read_small(file, _MOST_BYTES)
    except OSError as error:
        raise DataError(error.strerror or "cannot be read", where=shown) from error
    if not data.startswith((b"\xff\xd8", b"\x89PNG")):
        raise DataError("is no JPEG or PNG", where=shown, hint="it may have been cut short")
    told = found.groupdict()
    bundle = bundles.get(told["bundle"] or "", told["bundle"])
    number = {key: int(told[key]) if told[key] else None for key in ("store", "number", "tile")}
    place = Place(None, number["store"], number["number"], told["sha256"], bundle, number["tile"])
    answer, name = answer_of(class_name)
    where = printable(f"{file.parent.name}/{file.name}")
    return Line(where, place, answer, name, None, None, "", digest(data))


def _folder_name(name: str) -> str:
    """A class as the name of one folder below this one, whatever it is called.

    >>> _folder_name("../dark dune")
    '%2E%2E%2Fdark dune'
    """
    quoted = quote(name, safe=" ()")
    plain = quoted.lstrip(".")
    return "%2E" * (len(quoted) - len(plain)) + plain


def _file_name(db: sqlite3.Connection, tile: int) -> str:
    name, store, number, sha256, bundle, index = db.execute(
        "SELECT swath.name, store, swath.number, sha256, bundle.name, tile.number FROM tile"
        " JOIN swath ON swath.id = tile.swath LEFT JOIN bundle ON bundle.id = swath.bundle"
        " WHERE tile.id = ?",
        (tile,),
    ).fetchone()
    key = f"s{store}-{number}"
    if store is None:
        key = f"p{sha256[:16]}-{hashlib.sha256((bundle or '').encode()).hexdigest()[:8]}"
    plain = re.sub(r"[^\w-]", "_", name, flags=re.ASCII)[:80]
    # A data set's source is the name up to the last number: tiles of a swath stay in one set.
    return f"{plain}.{key}_{index}.jpg"
