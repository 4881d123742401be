"""The bundle: the one file that flies, a model plus everything needed to trust and use it.

``NAME.winnow`` is a zip archive of stored (uncompressed) members in this order:

=====================  ===========================================================================
`manifest.json`        what the model is and how its numbers are read (`Manifest`)
`model.tflite`         the int8 model: batch 1, static shapes, int8 logits
`model_edgetpu.tflite`  optional: the same model compiled for the Edge TPU
`verifier.tflite`       optional: the second stage, which verifies detections
`golden.npz`           rendered tiles and the exact logits they must give, per runtime (`Golden`)
`card.md`              for people: what it was trained on, how good it is, what to beware of
=====================  ===========================================================================

The manifest holds the SHA-256 of every other member and the archive's comment that of the manifest.
The encoding is canonical (fixed order, time stamps and flags), so the same content gives the same
bytes, and a bundle that is not byte for byte what its content encodes to is refused: no flipped bit
goes unseen, not even in a zip header. Layout: `docs/bundle.md`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import stat
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from winnow_edge.archive import (
    CARD,
    GOLDEN,
    MANIFEST,
    MODEL,
    MODEL_EDGETPU,
    ORDER,
    VERIFIER,
    comment_of,
    damaged,
    pack,
    sha256,
    unpack,
)
from winnow_edge.errors import BundleError
from winnow_edge.files import write_aside
from winnow_edge.manifest import (
    FORMAT_VERSION,
    HEADS,
    InputSpec,
    Manifest,
    OutputSpec,
    read_manifest,
    write_manifest,
)
from winnow_edge.tables import shortened

SUFFIX = ".winnow"
VERIFIER_BYTES = 3_000_000
"""Most bytes of a verifier: a bundle must go up to the board in a pass."""
_LARGEST = 64 * 2**20
"""No bundle for a board comes near this (bytes); a larger file is not read into memory."""

Int8Array = npt.NDArray[np.int8]
Tile = npt.NDArray[np.int8] | npt.NDArray[np.void]
"""A quantized tile: int8 (height, width[, channels]), or its lines as opaque elements (height,)."""
Logits = Int8Array | memoryview
"""Where quantized logits, int8 (classes,), are written."""


@dataclass(frozen=True)
class Golden:
    """Self-test vectors: `tiles` int8 (n, height, width, channels), `logits` int8 (n, classes) by
    runtime name. Logits are exact for the runtime they belong to and no other."""

    tiles: Int8Array
    logits: dict[str, Int8Array]


@dataclass(frozen=True)
class Verifier:
    """The second stage as it goes into a bundle; its manifest is that of the bundle's `verifier`.

    Its input is a tile, above it as the first stage saw it and below it its surroundings
    (`winnow_edge.loop.surroundings`); its classes are the first stage's.
    """

    manifest: Manifest
    model: bytes
    golden: Golden


@dataclass(frozen=True)
class Bundle:
    """An opened, verified bundle; `sha256` is the hex digest of the whole file.

    `verifier` is the second stage as a bundle of its own, with the path and digest of the whole
    (None: there is none); `member` is the name of the member that `model` is.
    """

    path: Path
    sha256: str
    manifest: Manifest
    model: bytes
    golden: Golden
    card: str
    model_edgetpu: bytes | None = None
    verifier: Bundle | None = None
    member: str = MODEL


def bundles_folder() -> Path:
    """The folder of the bundles that are installed with this package."""
    return Path(__file__).parent / "bundles"


def shipped_bundles() -> list[Path]:
    """Bundles that are installed with this package, by name."""
    return sorted(bundles_folder().glob(f"*{SUFFIX}"))


def find_bundle(name: str | os.PathLike[str], *, beside: Path | None = None) -> Path:
    """The file that `name` means: a path (absolute, or relative to the folder of the file `beside`
    or to the working directory), or the bare name of a shipped bundle.

    Raises BundleError naming the shipped bundles if there is no such file.
    """
    try:
        given = Path(name).expanduser()
    except RuntimeError:  # ~somebody who is not there
        given = Path(name)
    folders = [*([beside.parent] if beside is not None else []), Path()]
    candidates = [given] if given.is_absolute() else [folder / given for folder in folders]
    if given.name == str(given):
        candidates.append(bundles_folder() / f"{given.name.removesuffix(SUFFIX)}{SUFFIX}")
    for candidate in candidates:
        with contextlib.suppress(OSError, ValueError):  # too long, in a closed folder, a NUL in it
            if stat.S_ISREG(candidate.stat().st_mode):
                return candidate
    shipped = ", ".join(path.stem for path in shipped_bundles()) or "none"
    raise BundleError(
        "no such bundle",
        where=shortened(str(name)),
        hint=f"give a {SUFFIX} file or a shipped name: {shipped}",
    )


def open_bundle(path: str | os.PathLike[str]) -> Bundle:
    """Read and verify a bundle: archive, format version, every digest, manifest, canonical bytes.

    The model is not run; `winnow_edge.runtimes.load_classifier` does the golden self-test.
    Raises BundleError that says what differs.
    """
    path = Path(path)
    try:
        if path.stat().st_size > _LARGEST:
            raise BundleError(
                f"is larger than {_LARGEST >> 20} MiB", where=path, hint="not a bundle"
            )
        data = path.read_bytes()
    except FileNotFoundError:
        raise BundleError("no such bundle", where=path, hint=f"give a {SUFFIX} file") from None
    except OSError as error:
        raise BundleError(f"cannot be read: {error.strerror}", where=path) from None
    return parse_bundle(data, path)


def parse_bundle(data: bytes, path: Path) -> Bundle:
    """`open_bundle` for bytes at hand; `path` only names them in errors and in the result."""
    members, comment = unpack(data, path)
    manifest = read_manifest(members[MANIFEST], path)
    for name in ORDER[1:]:
        wanted, there = manifest.sha256.get(name), name in members
        if (wanted is not None) != there:
            has = "is there but has no digest" if there else "is missing"
            raise damaged(path, f"member {name} {has}")
        if wanted is not None and (got := sha256(members[name])) != wanted:
            raise damaged(path, f"{name} has SHA-256 {got[:12]}…, the manifest says {wanted[:12]}…")
    if comment != comment_of(members[MANIFEST]):
        raise damaged(path, f"the archive comment does not carry the digest of {MANIFEST}")
    if pack(members) != data:
        raise damaged(path, "its bytes are not the canonical encoding of its members")
    arrays = _read_golden(members[GOLDEN], path)
    golden = _golden(arrays, manifest, path)
    try:
        card = members[CARD].decode("utf-8")
    except UnicodeDecodeError:
        raise damaged(path, f"{CARD} is not UTF-8") from None
    bundle = Bundle(
        path=path,
        sha256=sha256(data),
        manifest=manifest,
        model=members[MODEL],
        golden=golden,
        card=card,
        model_edgetpu=members.get(MODEL_EDGETPU),
    )
    if manifest.verifier is None:
        return bundle
    return dataclasses.replace(bundle, verifier=_second(bundle, members[VERIFIER], arrays))


def _second(bundle: Bundle, model: bytes, arrays: Mapping[str, npt.NDArray[Any]]) -> Bundle:
    """The second stage of a bundle as a bundle of its own."""
    manifest = bundle.manifest.verifier
    assert manifest is not None
    if len(model) > VERIFIER_BYTES:
        raise BundleError(
            f"{VERIFIER} has {len(model):,} bytes, at most {VERIFIER_BYTES:,} are legal",
            where=bundle.path,
            hint="train a smaller verifier",
        )
    golden = _golden(arrays, manifest, bundle.path, _OF_VERIFIER)
    return dataclasses.replace(
        bundle, manifest=manifest, model=model, golden=golden, model_edgetpu=None, member=VERIFIER
    )


def encode_bundle(
    manifest: Manifest,
    *,
    model: bytes,
    golden: Golden,
    card: str,
    model_edgetpu: bytes | None = None,
    verifier: Verifier | None = None,
) -> bytes:
    """The bytes of a bundle; the digests of `manifest` and its `verifier` are filled in here."""
    members = {MODEL: model, CARD: card.encode("utf-8")}
    if model_edgetpu is not None:
        members[MODEL_EDGETPU] = model_edgetpu
    if verifier is not None:
        members[VERIFIER] = verifier.model
    members[GOLDEN] = _write_golden(golden, verifier.golden if verifier is not None else None)
    manifest = dataclasses.replace(
        manifest,
        sha256={name: sha256(content) for name, content in members.items()},
        verifier=verifier.manifest if verifier is not None else None,
    )
    return pack({MANIFEST: write_manifest(manifest), **members})


def write_bundle(
    path: str | os.PathLike[str],
    manifest: Manifest,
    *,
    model: bytes,
    golden: Golden,
    card: str,
    model_edgetpu: bytes | None = None,
    verifier: Verifier | None = None,
) -> Bundle:
    """Write a bundle aside, sync it and move it into place: whatever happens, `path` is either the
    old file or the whole new one. The same arguments give the same bytes.

    Raises OutputError where `path` cannot be written and BundleError where the arguments would make
    a bundle that does not open.
    """
    path = Path(path)
    data = encode_bundle(
        manifest,
        model=model,
        golden=golden,
        card=card,
        model_edgetpu=model_edgetpu,
        verifier=verifier,
    )
    bundle = parse_bundle(data, path)
    with write_aside(path, hint="give --out a writable path") as out:
        out.write(data)
    return bundle


_OF_VERIFIER = "verifier_"
"""Begins the names of the verifier's golden arrays."""


def _write_golden(golden: Golden, verifier: Golden | None) -> bytes:
    out = io.BytesIO()
    arrays: dict[str, Any] = {}
    for prefix, vectors in (("", golden), (_OF_VERIFIER, verifier)):
        if vectors is not None:
            arrays[f"{prefix}tiles"] = vectors.tiles
            for runtime in sorted(vectors.logits):
                arrays[f"{prefix}logits_{runtime}"] = vectors.logits[runtime]
    np.savez_compressed(out, **arrays)  # numpy dates its members 1980
    return out.getvalue()


def _read_golden(data: bytes, path: Path) -> dict[str, npt.NDArray[Any]]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as members:
            size = sum(member.file_size for member in members.infolist())
        if size > _LARGEST:  # and the archive hands out no more than it says here
            raise ValueError(f"it inflates to {size / 1e6:,.0f} MB")
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except Exception as error:  # numpy raises KeyError, ValueError, BadZipFile, zlib.error ...
        raise damaged(path, f"{GOLDEN} cannot be read ({error})") from None


def _golden(
    arrays: Mapping[str, npt.NDArray[Any]], manifest: Manifest, path: Path, prefix: str = ""
) -> Golden:
    """The golden vectors of one net, whose arrays' names begin with `prefix`."""
    tiles = arrays.get(f"{prefix}tiles")
    if tiles is None:
        raise damaged(path, f"{GOLDEN} has no {prefix}tiles")
    spec, start = manifest.input, f"{prefix}logits_"
    logits = {n.removeprefix(start): arrays[n] for n in arrays if n.startswith(start)}
    shape = (*tiles.shape[:1], spec.height, spec.width, spec.channels)
    if tiles.dtype != np.int8 or tiles.shape != shape:
        raise BundleError(
            f"golden {prefix}tiles are {tiles.dtype} {tiles.shape}, the input is int8 {shape}",
            where=path,
        )
    for runtime, values in logits.items():
        if values.dtype != np.int8 or values.shape != (len(tiles), len(manifest.classes)):
            raise BundleError(
                f"golden {prefix}logits of {runtime} are {values.dtype} {values.shape}, must be "
                f"int8 ({len(tiles)}, {len(manifest.classes)})",
                where=path,
            )
    return Golden(tiles=tiles, logits=logits)


__all__ = [
    "FORMAT_VERSION",
    "HEADS",
    "SUFFIX",
    "VERIFIER_BYTES",
    "Bundle",
    "Golden",
    "InputSpec",
    "Int8Array",
    "Logits",
    "Manifest",
    "OutputSpec",
    "Tile",
    "Verifier",
    "bundles_folder",
    "encode_bundle",
    "find_bundle",
    "open_bundle",
    "parse_bundle",
    "shipped_bundles",
    "write_bundle",
]
