"""The bundle: the one file that flies, a model plus everything needed to trust and use it.

``NAME.winnow`` is a zip archive of stored (uncompressed) members in this order:

=====================  ===========================================================================
`manifest.json`        what the model is and how its numbers are read (`Manifest`)
`model.tflite`         the int8 model: batch 1, static shapes, int8 logits
`model_edgetpu.tflite`  optional: the same model compiled for the Edge TPU
`golden.npz`           rendered tiles and the exact logits they must give, per runtime (`Golden`)
`card.md`              for people: what it was trained on, how good it is, what to beware of
=====================  ===========================================================================

The manifest holds the SHA-256 of every other member and the archive's comment that of the manifest.
The encoding is canonical (fixed order, time stamps and flags), so the same content gives the same
bytes, and a bundle that is not byte for byte what its content encodes to is refused: no flipped bit
goes unseen, not even in a zip header. Layout: `docs/bundle.md`.
"""

from __future__ import annotations

import dataclasses
import io
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
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
    comment_of,
    damaged,
    pack,
    sha256,
    unpack,
)
from winnow_edge.errors import BundleError
from winnow_edge.files import write_aside

FORMAT_VERSION = 1
SUFFIX = ".winnow"
HEADS = ("softmax", "sigmoid")
_LARGEST = 64 * 2**20
"""No bundle for a board comes near this (bytes); a larger file is not read into memory."""

Int8Array = npt.NDArray[np.int8]
Tile = npt.NDArray[np.int8] | npt.NDArray[np.void]
"""A quantized tile: int8 (height, width[, channels]), or its lines as opaque elements (height,)."""
Logits = Int8Array | memoryview
"""Where quantized logits, int8 (classes,), are written."""


@dataclass(frozen=True)
class InputSpec:
    """The net's input, int8 of shape (1, height, width, channels).

    A real value is ``scale * (q - zero_point)``; pixels 0..255 with scale 1.0 and zero point -128
    are quantized exactly by flipping their top bit (``u8 ^ 0x80``).
    """

    height: int
    width: int
    channels: int
    scale: float
    zero_point: int

    @property
    def exact_pixels(self) -> bool:
        """Whether ``(u8 ^ 0x80).view(int8)`` is the quantized pixel."""
        return self.scale == 1.0 and self.zero_point == -128


@dataclass(frozen=True)
class OutputSpec:
    """The net's int8 logits: a real logit is ``scale * (q - zero_point)``."""

    scale: float
    zero_point: int


@dataclass(frozen=True)
class Manifest:
    """What a bundle says about its model.

    `head` is "softmax" (one class per tile) or "sigmoid" (each class on its own); real logits are
    divided by `temperature` before it. `thresholds` maps a class to the posterior (0..1) from which
    a tile is a detection of it; a class without one is never a detection unless the mission sets
    its threshold. A tile whose best posterior is under `borderline` is shown to the net a second
    time, mirrored, and its posteriors are the means of both views (0: every tile is shown once).
    `sha256` maps member names to hex digests.
    """

    name: str
    classes: tuple[str, ...]
    head: str
    input: InputSpec
    output: OutputSpec
    temperature: float
    thresholds: dict[str, float]
    training: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, Any] = field(default_factory=dict)
    licence: str = ""
    attribution: str = ""
    sha256: dict[str, str] = field(default_factory=dict)
    borderline: float = 0.0
    format_version: int = FORMAT_VERSION


@dataclass(frozen=True)
class Golden:
    """Self-test vectors: `tiles` int8 (n, height, width, channels), `logits` int8 (n, classes) by
    runtime name. Logits are exact for the runtime they belong to and no other."""

    tiles: Int8Array
    logits: dict[str, Int8Array]


@dataclass(frozen=True)
class Bundle:
    """An opened, verified bundle; `sha256` is the hex digest of the whole file."""

    path: Path
    sha256: str
    manifest: Manifest
    model: bytes
    golden: Golden
    card: str
    model_edgetpu: bytes | None = None


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
    given = Path(name).expanduser()
    folders = [*([beside.parent] if beside is not None else []), Path()]
    candidates = [given] if given.is_absolute() else [folder / given for folder in folders]
    if given.name == str(given):
        candidates.append(bundles_folder() / f"{given.name.removesuffix(SUFFIX)}{SUFFIX}")
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    shipped = ", ".join(path.stem for path in shipped_bundles()) or "none"
    raise BundleError(
        "no such bundle", where=name, hint=f"give a {SUFFIX} file or a shipped name: {shipped}"
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
    manifest = _read_manifest(members[MANIFEST], path)
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
    golden = _read_golden(members[GOLDEN], manifest, path)
    try:
        card = members[CARD].decode("utf-8")
    except UnicodeDecodeError:
        raise damaged(path, f"{CARD} is not UTF-8") from None
    return Bundle(
        path=path,
        sha256=sha256(data),
        manifest=manifest,
        model=members[MODEL],
        golden=golden,
        card=card,
        model_edgetpu=members.get(MODEL_EDGETPU),
    )


def encode_bundle(
    manifest: Manifest,
    *,
    model: bytes,
    golden: Golden,
    card: str,
    model_edgetpu: bytes | None = None,
) -> bytes:
    """The bytes of a bundle; the digests of `manifest` are filled in here."""
    members = {MODEL: model, GOLDEN: _write_golden(golden), CARD: card.encode("utf-8")}
    if model_edgetpu is not None:
        members[MODEL_EDGETPU] = model_edgetpu
    digests = {name: sha256(content) for name, content in members.items()}
    content = dataclasses.asdict(dataclasses.replace(manifest, sha256=digests))
    text = json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return pack({MANIFEST: (text + "\n").encode("utf-8"), **members})


def write_bundle(
    path: str | os.PathLike[str],
    manifest: Manifest,
    *,
    model: bytes,
    golden: Golden,
    card: str,
    model_edgetpu: bytes | None = None,
) -> Bundle:
    """Write a bundle aside, sync it and move it into place: whatever happens, `path` is either the
    old file or the whole new one. The same arguments give the same bytes.

    Raises OutputError where `path` cannot be written and BundleError where the arguments would make
    a bundle that does not open.
    """
    path = Path(path)
    data = encode_bundle(
        manifest, model=model, golden=golden, card=card, model_edgetpu=model_edgetpu
    )
    bundle = parse_bundle(data, path)
    with write_aside(path, hint="give --out a writable path") as out:
        out.write(data)
    return bundle


def _write_golden(golden: Golden) -> bytes:
    out = io.BytesIO()
    arrays: dict[str, Any] = {"tiles": golden.tiles}
    for runtime in sorted(golden.logits):
        arrays[f"logits_{runtime}"] = golden.logits[runtime]
    np.savez_compressed(out, **arrays)  # numpy dates its members 1980
    return out.getvalue()


def _read_golden(data: bytes, manifest: Manifest, path: Path) -> Golden:
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            tiles = arrays["tiles"]
            logits = {
                name.removeprefix("logits_"): arrays[name]
                for name in arrays.files
                if name.startswith("logits_")
            }
    except Exception as error:  # numpy raises KeyError, ValueError, BadZipFile, zlib.error ...
        raise damaged(path, f"{GOLDEN} cannot be read ({error})") from None
    spec = manifest.input
    shape = (*tiles.shape[:1], spec.height, spec.width, spec.channels)
    if tiles.dtype != np.int8 or tiles.shape != shape:
        raise BundleError(
            f"golden tiles are {tiles.dtype} {tiles.shape}, the input is int8 {shape}", where=path
        )
    for runtime, values in logits.items():
        if values.dtype != np.int8 or values.shape != (len(tiles), len(manifest.classes)):
            raise BundleError(
                f"golden logits of {runtime} are {values.dtype} {values.shape}, must be int8 "
                f"({len(tiles)}, {len(manifest.classes)})",
                where=path,
            )
    return Golden(tiles=tiles, logits=logits)


def _read_manifest(data: bytes, path: Path) -> Manifest:
    try:
        raw = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise damaged(path, f"{MANIFEST} is not JSON ({error})") from None
    if not isinstance(raw, dict):
        raise damaged(path, f"{MANIFEST} is not an object")
    version = raw.get("format_version")
    if version != FORMAT_VERSION:
        raise BundleError(
            f"has bundle format version {version!r}, this winnow-edge reads {FORMAT_VERSION}",
            where=path,
            hint="update winnow-edge, or convert the model again",
        )
    try:
        manifest = Manifest(
            **{
                **raw,
                "classes": tuple(raw["classes"]),
                "input": InputSpec(**raw["input"]),
                "output": OutputSpec(**raw["output"]),
            }
        )
        problems = list(_problems(manifest))
    except (KeyError, TypeError, AttributeError) as error:
        raise BundleError(f"{MANIFEST} is not a bundle manifest ({error})", where=path) from None
    for problem in problems:
        raise BundleError(f"{MANIFEST}: {problem}", where=path)
    return manifest


def _problems(manifest: Manifest) -> Iterator[str]:
    """The faults of a manifest's values, in words."""
    classes = manifest.classes
    if not classes or len(set(classes)) != len(classes) or len(classes) > 255:
        yield "`classes` must be 1 to 255 different names"
    if not all(isinstance(name, str) and name for name in classes):
        yield "`classes` must be names"
    if manifest.head not in HEADS:
        yield f"`head` is {manifest.head!r}, legal is one of: {', '.join(HEADS)}"
    yield from _problems_of_tensors(manifest)
    yield from _problems_of_decision(manifest)
    if not all(isinstance(v, str) for v in manifest.sha256.values()):
        yield "`sha256` must map member names to digests"


def _problems_of_tensors(manifest: Manifest) -> Iterator[str]:
    spec = manifest.input
    for key in ("height", "width", "channels"):
        value = getattr(spec, key)
        if type(value) is not int or not 1 <= value <= 4096:
            yield f"`input.{key}` is {value!r}, legal is 1 to 4096"
    if spec.channels not in (1, 3):
        yield f"`input.channels` is {spec.channels!r}, legal is 1 or 3"
    for name, quantized in (("input", spec), ("output", manifest.output)):
        if not _positive(quantized.scale):
            yield f"`{name}.scale` is {quantized.scale!r}, must be above 0"
        if type(quantized.zero_point) is not int or not -128 <= quantized.zero_point <= 127:
            yield f"`{name}.zero_point` is {quantized.zero_point!r}, legal: -128 to 127"


def _problems_of_decision(manifest: Manifest) -> Iterator[str]:
    if not _positive(manifest.temperature):
        yield f"`temperature` is {manifest.temperature!r}, must be above 0"
    for name, threshold in manifest.thresholds.items():
        if name not in manifest.classes:
            yield f"`thresholds` names {name!r}, which is not a class"
        if not isinstance(threshold, int | float) or not 0 <= threshold <= 1:
            yield f"`thresholds.{name}` is {threshold!r}, legal is 0 to 1"
    if type(manifest.borderline) not in (int, float) or not 0 <= manifest.borderline <= 1:
        yield f"`borderline` is {manifest.borderline!r}, legal is 0 to 1"
    elif manifest.borderline and manifest.head != "softmax":
        yield "`borderline` needs a softmax head: it is a limit on the best posterior"


def _positive(value: object) -> bool:
    return isinstance(value, int | float) and 0 < value < float("inf")
