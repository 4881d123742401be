"""The pictures of an archive: which are there, and which of them the catalogue has already.

A picture is known by the digest of its octets and the bundle. Path, size and time of what is in the
catalogue save reading it again; a picture that was moved keeps its rows.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from winnow_base.errors import DataError
from winnow_edge.bundle import find_bundle, open_bundle
from winnow_edge.errors import MissionError
from winnow_edge.files import printable
from winnow_edge.loop.settings import Settings
from winnow_edge.mission import Mission
from winnow_ground.look import ENDINGS, MADE

_DIGITS: Final = 8
"""Hexadecimal digits of a bundle's digest that tell it from another of its name."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture to be classified: `name` below the archive's folder, `sha256` of its octets,
    `bundle` by its name in the catalogue, `bytes` and `mtime_ns` of the file. `row` is that of the
    swath whose tiles are to be completed (0: it is new)."""

    path: str
    name: str
    sha256: str
    bundle: str
    bytes: int
    mtime_ns: int
    row: int = 0


@dataclass(frozen=True)
class Listed:
    """The pictures below a folder by name, and how many files are of other kinds, by ending."""

    folder: Path
    names: tuple[str, ...]
    others: Mapping[str, int]


def list_pictures(folder: Path) -> Listed:
    """All pictures below `folder`, in order; hidden files and links to folders are passed over.

    Raises DataError for a folder that is not there, cannot be read or holds no picture.
    """
    if not folder.is_dir():
        what = "is no folder" if folder.exists() else "is not there"
        raise DataError(what, where=folder, hint="name the folder that holds the pictures")

    def refuse(error: OSError) -> None:
        raise DataError(f"cannot be read: {error.strerror}", where=error.filename) from error

    root = folder.resolve()
    names, others = [], Counter[str]()
    for home, folders, files in os.walk(root, onerror=refuse):
        folders[:] = sorted(one for one in folders if not one.startswith("."))
        for file in sorted(one for one in files if not one.startswith(".")):
            path, suffix = Path(home, file), Path(file).suffix.lower()
            if suffix in ENDINGS and not file.endswith(MADE) and path.is_file():
                names.append(path.relative_to(root).as_posix())
            else:
                others[printable(suffix) or "no ending"] += 1
    if not names:
        raise DataError(
            "holds no picture", where=folder, hint=f"endings read: {', '.join(ENDINGS)}"
        )
    return Listed(root, tuple(names), dict(others))


@dataclass(frozen=True, slots=True)
class _Known:
    """A picture of the catalogue: its row, where it lay, and what the file was."""

    id: int
    path: Path | None
    about: dict[str, Any]
    whole: bool = True
    """Whether all of its tiles are in the catalogue."""

    def is_file(self, path: Path, status: os.stat_result) -> bool:
        """Whether it is what lies at `path`, by size and time."""
        file = self.about.get("file")
        same = {"bytes": status.st_size, "mtime_ns": status.st_mtime_ns}
        return self.path == path and file == same


@dataclass
class Archive:
    """What is to be done of a folder's pictures; counts fill while `left` is gone through.

    `known` are in the catalogue already, `otherwise` of them with other settings, `copies` are the
    same octets under another name, `moved` have got their new place; `bad` are pictures that
    cannot be read, with the reason. With `every`, pictures of the same settings that lack tiles
    are to be done again.
    """

    listed: Listed
    mission: Mission
    db: sqlite3.Connection
    every: bool = False
    known: int = 0
    otherwise: int = 0
    copies: int = 0
    moved: int = 0
    bad: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._bundles: dict[str, tuple[str, str]] = {}
        """By instrument: the bundle's name in the catalogue, and the digest of the settings."""
        self._known: dict[tuple[str, str], _Known] = {}
        """By the digest of the octets, and bundle."""
        for instrument, camera in self.mission.instruments.items():
            bundle = open_bundle(find_bundle(camera.bundle, beside=self.mission.path))
            name = bundle_name(self.db, printable(bundle.manifest.name), bundle.sha256)
            settings = Settings.of(self.mission, instrument, bundle)
            self._bundles[instrument] = name, settings.digest
        for name, _ in self._bundles.values():
            for row, sha256, folder, picture, whole, about in self.db.execute(_KNOWN, (name,)):
                path = Path(folder, picture) if folder and picture else None
                self._known[sha256, name] = _Known(row, path, _told(about), bool(whole))
        self._by_path = {
            (known.path, name): known for (_, name), known in self._known.items() if known.path
        }

    def left(self) -> Iterator[Picture]:
        """The pictures that are not in the catalogue yet, each once."""
        for name in self.listed.names:
            try:
                picture = self._looked_at(name)
            except (OSError, MissionError, UnicodeEncodeError) as error:
                self.bad.append((printable(name), _why(error)))
                continue
            if picture is not None:
                self._known[picture.sha256, picture.bundle] = _Known(0, Path(picture.path), {})
                yield picture

    def _looked_at(self, name: str) -> Picture | None:
        """The picture of that name; None where the catalogue has it."""
        name.encode()  # SQLite takes no other names
        path = self.listed.folder / name
        instrument, _ = self.mission.instrument_for(printable(path.name))
        bundle, settings = self._bundles[instrument]
        status = path.stat()
        there = self._by_path.get((path, bundle))
        if there is not None and there.is_file(path, status) and not self._lacks(there, settings):
            self._count(there, settings)
            return None
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        known = self._known.get((sha256, bundle))
        size, mtime_ns = status.st_size, status.st_mtime_ns
        if known is None:
            return Picture(str(path), name, sha256, bundle, size, mtime_ns)
        if known.path is not None and known.path != path and known.path.is_file():
            self.copies += 1
            return None
        self._move(known, name, status)
        if self._lacks(known, settings):
            return Picture(str(path), name, sha256, bundle, size, mtime_ns, known.id)
        self._count(known, settings)
        return None

    def _lacks(self, known: _Known, settings: str) -> bool:
        """Whether tiles are missing that the same settings would give."""
        same = known.about.get("settings") == settings
        return self.every and same and not known.whole

    def _count(self, known: _Known, settings: str) -> None:
        self.known += 1
        self.otherwise += known.about.get("settings") != settings

    def _move(self, known: _Known, name: str, status: os.stat_result) -> None:
        """The catalogue's row gets the place at which the picture lies now."""
        self.moved += known.path != self.listed.folder / name
        file = {"bytes": status.st_size, "mtime_ns": status.st_mtime_ns}
        about = json.dumps({**known.about, "file": file}, ensure_ascii=True, sort_keys=True)
        self.db.execute(
            "UPDATE swath SET folder = ?, picture = ?, about = ? WHERE id = ?",
            (str(self.listed.folder), name, about, known.id),
        )


def bundle_name(db: sqlite3.Connection, name: str, sha256: str) -> str:
    """A bundle's name in the catalogue: its own, or with some of its digest where another bundle
    of that name has classified pictures here."""
    for candidate in (name, f"{name} {sha256[:_DIGITS]}"):
        found = [_told(row[-1]).get("bundle_sha256") for row in db.execute(_KNOWN, (candidate,))]
        if not found or next((one for one in found if one), None) == sha256:
            return candidate
    raise DataError(f"two bundles are called {name!r}", hint="give one of them another name")


def _told(about: object) -> dict[str, Any]:
    """What a row tells about its picture; nothing where it is damaged."""
    try:
        told = json.loads(about) if isinstance(about, str) else None
    except (ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def _why(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or "cannot be read"
    if isinstance(error, UnicodeEncodeError):
        return "has a name that is no UTF-8: rename it"
    return str(error)


_KNOWN: Final = """
SELECT swath.id, sha256, folder, picture,
       swath.tiles <= (SELECT count(*) FROM tile WHERE tile.swath = swath.id), about
FROM swath JOIN bundle ON bundle.id = swath.bundle
WHERE bundle.name = ? AND sha256 IS NOT NULL
"""
