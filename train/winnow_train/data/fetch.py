"""`winnow data fetch`: public sets from their DOIs, single HiRISE strips by observation id."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from winnow_base.errors import DataError
from winnow_base.files import make_folder
from winnow_base.pictures import open_picture
from winnow_base.progress import ByteBar, Progress
from winnow_edge.errors import OutputError
from winnow_edge.files import read_small
from winnow_edge.sources.contract import PICTURE_ERRORS
from winnow_edge.tables import Reader, plain_json, setting, shortened
from winnow_train.data.catalogue import (
    HIRISE_CREDIT,
    HIRISE_PDS,
    ZENODO,
    Archive,
    browse_path,
    label_path,
)
from winnow_train.data.download import Patience, alone, download, fetch_json
from winnow_train.data.unpack import unpack, unpacked_size
from winnow_train.datasets import PROVENANCE


def fetch_archive(
    archive: Archive,
    root: Path,
    *,
    base_url: str | None = None,
    patience: Patience | None = None,
    keep_archive: bool = False,
) -> Path | None:
    """Fetch and unpack a published set below `root`; returns its folder, None if it is there.

    `base_url` replaces https://zenodo.org by a server of the same layout. The folder appears in
    one step, when everything in it is right. Raises the errors of `download` and `unpack`.
    """
    folder = make_folder(root) / archive.folder
    if folder.exists():
        return None
    base = (base_url or ZENODO).rstrip("/")
    with alone(root):
        if folder.exists():
            return None
        _fetch_archive(archive, base, folder, patience, keep_archive)
    return folder


def _fetch_archive(
    archive: Archive, base: str, folder: Path, patience: Patience | None, keep_archive: bool
) -> None:
    root = folder.parent
    with Progress().bytes(archive.file) as meter:
        archive = _described(archive, base, patience, meter)
        _room(root, archive)
        target = root / archive.file
        if not (target.is_file() and target.stat().st_size == archive.size):
            url = f"{base}/api/records/{archive.record}/files/{archive.file}/content"
            download(
                url, target, size=archive.size, md5=archive.md5, patience=patience, meter=meter
            )
    done, total = 0, unpacked_size(target)
    with Progress().bytes(f"unpacking {archive.file}") as meter:

        def advance(size: int) -> None:
            nonlocal done
            done += size
            meter.at(done, total)

        notes = {PROVENANCE: json.dumps(_provenance(archive), indent=1) + "\n"}
        unpack(target, folder, advance, notes)
    if not keep_archive:
        target.unlink()


def fetch_browse(
    observation: str,
    root: Path,
    *,
    kind: str = "browse",
    label: bool = False,
    base_url: str | None = None,
    patience: Patience | None = None,
) -> list[Path]:
    """Fetch a browse strip (and its PDS3 label) into `root`/swaths; returns what was fetched.

    What is there already is left alone. Raises DataError if there is no such observation or the
    picture is damaged.
    """
    base = (base_url or HIRISE_PDS).rstrip("/")
    paths = [browse_path(observation, kind), *([label_path(observation)] if label else [])]
    folder = make_folder(root / "swaths")
    fetched = []
    with alone(folder):
        for path in paths:
            target = folder / path.rsplit("/", 1)[1]
            if target.exists():
                continue
            with Progress().bytes(target.name) as meter:
                check = None if target.suffix == ".LBL" else _damaged
                download(f"{base}/{path}", target, check=check, patience=patience, meter=meter)
            fetched.append(target)
    return fetched


def attribution(archive: Archive) -> str:
    """What to print and to keep: title, citation, DOI, licence."""
    licence = archive.licence or "as its record states"
    return f"{archive.title}. {archive.cite}. https://doi.org/{archive.doi}. Licence: {licence}."


def described(folder: Path, archive: Archive) -> Archive:
    """`archive` with the licence that was found when `folder` was fetched."""
    try:
        kept = plain_json(read_small(folder / PROVENANCE))["licence"]
        return replace(archive, licence=kept) if isinstance(kept, str) else archive
    except (OSError, ValueError, KeyError, TypeError):
        return archive


def browse_credit() -> str:
    """How HiRISE asks to be credited."""
    return f"HiRISE: {HIRISE_CREDIT}."


def _described(archive: Archive, base: str, patience: Patience | None, meter: ByteBar) -> Archive:
    """The archive with size, digest and licence from its record, where they are not known."""
    if archive.size is not None and archive.md5 is not None and archive.licence is not None:
        return archive
    url = f"{base}/api/records/{archive.record}"
    record = fetch_json(url, patience=patience, meter=meter)
    hint = "is --base-url the right server?"
    told = Reader(url, _no_record, others=True, hint=hint).table(_Record, record)
    files = {file.key: file for file in told.files}
    if archive.file not in files:
        raise DataError(
            f"the record has no file {archive.file}",
            where=url,
            hint=f"it has {shortened(', '.join(files)) or 'none'}",
        )
    found = files[archive.file]
    method, _, digest = found.checksum.rpartition(":")
    return replace(
        archive,
        size=found.size,
        md5=digest if method in ("md5", "") else None,
        licence=archive.licence or told.metadata.license.id,
    )


def _no_record(what: str, **more: Any) -> DataError:
    return DataError(f"is no Zenodo record: {what}", **more)


@dataclass(frozen=True)
class _File:
    """A file of a record of Zenodo."""

    key: str = setting(...)
    checksum: str = setting(...)
    size: int = setting(..., 0, 10**13, unit="bytes")


@dataclass(frozen=True)
class _Licence:
    id: str | None = setting(None)


@dataclass(frozen=True)
class _Metadata:
    license: _Licence = setting(_Licence)


@dataclass(frozen=True)
class _Record:
    """What a record of Zenodo says, as far as it is read."""

    files: tuple[_File, ...] = setting(...)
    metadata: _Metadata = setting(_Metadata)


def _room(root: Path, archive: Archive) -> None:
    # JPEG tiles hardly shrink in a zip, so the unpacked set is about as large as the archive.
    part = root / f"{archive.file}.part"
    have = part.stat().st_size if part.is_file() else 0
    needed, free = 2 * (archive.size or 0) - have, shutil.disk_usage(root).free
    if needed > free:
        raise OutputError(
            f"{archive.name} takes {needed / 1e6:,.0f} MB while it is unpacked, "
            f"{free / 1e6:,.0f} MB are free",
            where=root,
            hint="free some space or name another folder with --data",
        )


def _provenance(archive: Archive) -> dict[str, Any]:
    return {
        "name": archive.name,
        "title": archive.title,
        "doi": archive.doi,
        "file": archive.file,
        "size": archive.size,
        "md5": archive.md5,
        "licence": archive.licence,
        "cite": archive.cite,
        "fetched": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _damaged(path: Path) -> str | None:
    """What is wrong with a picture: decoding it shows a cut or a broken stream."""
    try:
        with open_picture(path) as image:
            image.load()
    except PICTURE_ERRORS as error:
        return f"the picture cannot be decoded: {error}"
    return None
