"""The manifest of a bundle: what its nets are and how their numbers are read."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from winnow_edge.archive import MANIFEST, VERIFIER, damaged
from winnow_edge.errors import BundleError

HEADS = ("softmax", "sigmoid")
FORMAT_VERSION, FORMAT_VERSION_VERIFIER = 1, 2
"""A bundle of one net, and one with a verifier, which older readers would fly without it."""
_OF_THE_BUNDLE = ("sha256", "borderline", "format_version", "verifier")
"""Keys that the verifier's table does not have."""


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
    `verifier` is the manifest of the second stage (None: there is none), `sha256` maps member names
    to hex digests.
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
    verifier: Manifest | None = None


def write_manifest(manifest: Manifest) -> bytes:
    """The manifest as the JSON of a bundle; the format version follows from its content."""
    content = dataclasses.asdict(manifest)
    verifier = content.pop("verifier")
    content["format_version"] = FORMAT_VERSION
    if verifier is not None:
        content["format_version"] = FORMAT_VERSION_VERIFIER
        content["verifier"] = {k: v for k, v in verifier.items() if k not in _OF_THE_BUNDLE}
    text = json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return (text + "\n").encode("utf-8")


def read_manifest(data: bytes, path: Path) -> Manifest:
    """The inverse of `write_manifest`. Raises BundleError, naming `path`, that says what is wrong
    with the manifest or with its first bad value."""
    try:
        raw = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise damaged(path, f"{MANIFEST} is not JSON ({error})") from None
    if not isinstance(raw, dict):
        raise damaged(path, f"{MANIFEST} is not an object")
    version = raw.get("format_version")
    if version not in (FORMAT_VERSION, FORMAT_VERSION_VERIFIER) or isinstance(version, bool):
        raise BundleError(
            f"has bundle format version {version!r}, this winnow-edge reads {FORMAT_VERSION} and "
            f"{FORMAT_VERSION_VERIFIER}",
            where=path,
            hint="update winnow-edge, or convert the model again",
        )
    try:
        nested = raw.get("verifier")
        manifest = _manifest(raw, _verifier(nested) if nested is not None else None)
        problems = [*_problems(manifest), *_problems_of_verifier(manifest)]
    except (KeyError, TypeError, AttributeError) as error:
        raise BundleError(f"{MANIFEST} is not a bundle manifest ({error})", where=path) from None
    for problem in problems:
        raise BundleError(f"{MANIFEST}: {problem}", where=path)
    return manifest


def _verifier(raw: dict[str, Any]) -> Manifest:
    for key in _OF_THE_BUNDLE:
        if key in raw:
            raise KeyError(f"verifier.{key}")
    return _manifest(raw, None)


def _manifest(raw: dict[str, Any], verifier: Manifest | None) -> Manifest:
    made = {
        "classes": tuple(raw["classes"]),
        "input": InputSpec(**raw["input"]),
        "output": OutputSpec(**raw["output"]),
        "verifier": verifier,
    }
    return Manifest(**{**raw, **made})


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


def _problems_of_verifier(manifest: Manifest) -> Iterator[str]:
    """What is wrong with the verifier in itself, and with the two stages together."""
    second, version = manifest.verifier, manifest.format_version
    wanted = FORMAT_VERSION if second is None else FORMAT_VERSION_VERIFIER
    if version != wanted or (VERIFIER in manifest.sha256) != (second is not None):
        yield f"`format_version` is {version}, `verifier` and the digest of {VERIFIER} go with 2"
    if second is None:
        return
    yield from (f"verifier: {problem}" for problem in _problems(second))
    if second.classes != manifest.classes:
        yield (
            "a verifier of other classes than its first stage: "
            f"{', '.join(second.classes)}, not {', '.join(manifest.classes)}"
        )
    if manifest.head != "softmax" or second.head != "softmax":
        yield "a verifier needs a softmax head in both stages"
    spec, got = manifest.input, second.input
    side = spec.width
    if spec.height != side or (got.height, got.width, got.channels) != (
        2 * side,
        side,
        spec.channels,
    ):
        yield (
            f"a verifier's input is {got.height} x {got.width} x {got.channels}, must be the tile "
            f"above its surroundings: {2 * side} x {side} x {spec.channels}"
        )


def _positive(value: object) -> bool:
    return isinstance(value, int | float) and 0 < value < float("inf")
