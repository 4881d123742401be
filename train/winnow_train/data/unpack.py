"""Unzipping what was fetched, trusting nothing in it."""

from __future__ import annotations

import shutil
import stat
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath

from winnow_base.errors import DataError
from winnow_edge.errors import OutputError

_JUNK = ("__MACOSX", ".DS_Store")


def unpack(
    archive: Path,
    folder: Path,
    advance: Callable[[int], None] = lambda n: None,
    notes: Mapping[str, str] | None = None,
) -> int:
    """Unzip `archive` into the new folder `folder`; returns the number of files.

    A single folder at the archive's top is left out, so that its contents lie in `folder`. Members
    with absolute paths, `..`, drives, links or passwords are refused before anything is written.
    Files are unpacked aside, the texts of `notes` (name: text) laid beside them, and all renamed in
    one step; `advance` counts unpacked bytes.
    Raises DataError for an archive that is damaged or refused, OutputError for a full disk.
    """
    aside = folder.with_name(f".{folder.name}.unpacking")
    try:
        with zipfile.ZipFile(archive) as pack:
            members = _members(pack, archive)
            total = sum(info.file_size for info in members.values())
            free = shutil.disk_usage(folder.parent).free
            if total > free:
                raise OutputError(
                    f"unpacking takes {total / 1e6:,.0f} MB, {free / 1e6:,.0f} MB are free",
                    where=folder.parent,
                    hint="free some space or name another folder with --data",
                )
            shutil.rmtree(aside, ignore_errors=True)
            aside.mkdir(parents=True)
            for path, info in members.items():
                target = aside / path
                target.parent.mkdir(parents=True, exist_ok=True)
                with pack.open(info) as source, target.open("wb") as out:
                    shutil.copyfileobj(source, out)
                advance(info.file_size)
        for name, text in (notes or {}).items():
            (aside / name).write_text(text, encoding="utf-8")
        aside.rename(folder)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        shutil.rmtree(aside, ignore_errors=True)
        raise DataError(
            f"is no sound zip archive: {error}", where=archive, hint="remove it and fetch it again"
        ) from error
    except OSError as error:
        shutil.rmtree(aside, ignore_errors=True)
        raise OutputError(
            f"cannot be written: {error.strerror or error}",
            where=folder,
            hint="free some space or name another folder with --data",
        ) from error
    return len(members)


def unpacked_size(archive: Path) -> int:
    """Bytes of all members of a zip archive. Raises DataError if it cannot be read."""
    try:
        with zipfile.ZipFile(archive) as pack:
            return sum(info.file_size for info in pack.infolist())
    except zipfile.BadZipFile as error:
        raise DataError(
            f"is no sound zip archive: {error}", where=archive, hint="remove it and fetch it again"
        ) from error


def _members(pack: zipfile.ZipFile, archive: Path) -> dict[PurePosixPath, zipfile.ZipInfo]:
    members: dict[PurePosixPath, zipfile.ZipInfo] = {}
    for info in pack.infolist():
        path = PurePosixPath(info.filename)
        if info.is_dir() or any(part in _JUNK for part in path.parts):
            continue
        if why := _refused(info, path):
            raise DataError(f"member {info.filename!r} {why}", where=archive, hint="not unpacked")
        if path in members:
            raise DataError(f"member {info.filename!r} is there twice", where=archive)
        members[path] = info
    if not members:
        raise DataError("holds no file", where=archive)
    tops = {path.parts[0] for path in members}
    if len(tops) == 1 and all(len(path.parts) > 1 for path in members):
        members = {PurePosixPath(*path.parts[1:]): info for path, info in members.items()}
    return members


def _refused(info: zipfile.ZipInfo, path: PurePosixPath) -> str | None:
    # The mode of a Unix member is in the high half of the external attributes.
    mode = info.external_attr >> 16
    if path.is_absolute() or "\\" in info.filename or ":" in path.parts[0]:
        return "has an absolute path"
    if ".." in path.parts:
        return "leads out of the folder"
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        return "is a link or a device"
    if info.flag_bits & 0x1:
        return "is encrypted"
    return None
