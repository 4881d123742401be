"""The manifest of a bundle: what its nets are and how their numbers are read."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from winnow_edge.archive import MANIFEST, VERIFIER
from winnow_edge.errors import BundleError
from winnow_edge.tables import Reader, setting

HEADS = ("softmax", "sigmoid")
FORMAT_VERSION, FORMAT_VERSION_VERIFIER = 1, 2
"""A bundle of one net, and one with a verifier, which older readers would fly without it."""
_OF_THE_BUNDLE = ("sha256", "borderline", "format_version", "verifier")
"""Keys that the verifier's table does not have."""
_NAMES_BYTES = 16_000
_FINEST, _COARSEST = 1e-9, 1e9
"""Scales of a quantized tensor: what a net's float32 can tell apart."""


@dataclass(frozen=True)
class InputSpec:
    """The net's input, int8 of shape (1, height, width, channels).

    A real value is ``scale * (q - zero_point)``; pixels 0..255 with scale 1.0 and zero point -128
    are quantized exactly by flipping their top bit (``u8 ^ 0x80``).
    """

    height: int = setting(..., 1, 4096)
    width: int = setting(..., 1, 4096)
    channels: int = setting(..., choices=(1, 3))
    scale: float = setting(..., _FINEST, _COARSEST)
    zero_point: int = setting(..., -128, 127)

    @property
    def exact_pixels(self) -> bool:
        """Whether ``(u8 ^ 0x80).view(int8)`` is the quantized pixel."""
        return self.scale == 1.0 and self.zero_point == -128


@dataclass(frozen=True)
class OutputSpec:
    """The net's int8 logits: a real logit is ``scale * (q - zero_point)``."""

    scale: float = setting(..., _FINEST, _COARSEST)
    zero_point: int = setting(..., -128, 127)


@dataclass(frozen=True)
class _OfClass:
    """Figures of a class, each null where it is not known."""

    support: float | None = setting(None, 0, 1e15)
    detections: float | None = setting(None, 0, 1e15)
    precision: float | None = setting(None, 0, 1)
    recall: float | None = setting(None, 0, 1)
    threshold: float | None = setting(None, 0, 1)


@dataclass(frozen=True)
class _Judged:
    """Figures of a net."""

    n: float | None = setting(None, 0, 1e15)
    accuracy: float | None = setting(None, 0, 1)
    macro_f1: float | None = setting(None, 0, 1)
    ece: float | None = setting(None, 0, 1)
    per_class: dict[str, _OfClass] = setting(dict)


@dataclass(frozen=True)
class _Chosen:
    """How thresholds were chosen."""

    by_class: dict[str, _OfClass] = setting(dict)


@dataclass(frozen=True)
class _Metrics:
    """The figures of a manifest that are read again, as far as it has them."""

    n: float | None = setting(None, 0, 1e15)
    split: str | None = setting(None)
    float_figures: _Judged | None = setting(None, key="float")
    int8: _Judged | None = setting(None)
    thresholds: _Chosen | None = setting(None)


@dataclass(frozen=True)
class _Training:
    """What a manifest says of its training that is read again."""

    dataset: str | None = setting(None)
    appearance: dict[str, Any] | None = setting(None)
    recipe: dict[str, Any] | None = setting(None)


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

    name: str = setting(..., fewest=1)
    classes: tuple[str, ...] = setting(..., fewest=1, most=255)
    head: str = setting(..., choices=HEADS)
    input: InputSpec = setting(...)
    output: OutputSpec = setting(...)
    temperature: float = setting(..., 0.001, 1000.0)
    thresholds: dict[str, float] = setting(..., 0.0, 1.0)
    training: dict[str, Any] = setting(dict)
    metrics: dict[str, Any] = setting(dict)
    versions: dict[str, Any] = setting(dict)
    licence: str = setting("")
    attribution: str = setting("")
    sha256: dict[str, str] = setting(dict)
    borderline: float = setting(0.0, 0.0, 1.0)
    format_version: int = setting(FORMAT_VERSION)
    verifier: Manifest | None = setting(None)


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
    reader = Reader(f"{path}: {MANIFEST}", BundleError, hint="copy or convert the bundle again")
    raw = reader.json(data)
    version = raw.get("format_version") if isinstance(raw, dict) else None
    if version not in (FORMAT_VERSION, FORMAT_VERSION_VERIFIER) or isinstance(version, bool):
        raise BundleError(
            f"has bundle format version {version!r}, this winnow-edge reads {FORMAT_VERSION} and "
            f"{FORMAT_VERSION_VERIFIER}",
            where=path,
            hint="update winnow-edge, or convert the model again",
        )
    nested = raw.get("verifier")
    for key in _OF_THE_BUNDLE if isinstance(nested, dict) else ():
        if key in nested:
            raise reader.refusal(("verifier", key), f"unknown key `verifier.{key}`")
    manifest = reader.table(Manifest, raw)
    told = Reader(f"{path}: {MANIFEST}", BundleError, others=True)
    for at, net in (((), manifest), (("verifier",), manifest.verifier)):
        if net is not None:
            told.table(_Metrics, net.metrics, (*at, "metrics"))
            told.table(_Training, net.training, (*at, "training"))
    for problem in (*_problems(manifest), *_problems_of_verifier(manifest)):
        raise reader.refusal((), problem)
    return manifest


def _problems(manifest: Manifest) -> Iterator[str]:
    """Values of a manifest that do not fit each other, in words."""
    if len(set(manifest.classes)) != len(manifest.classes):
        yield "`classes` must be different names"
    if not all(map(str.isprintable, (manifest.name, *manifest.classes))):
        yield "`name` and `classes` must be names that print"
    if sum(len(name.encode()) for name in manifest.classes) > _NAMES_BYTES:
        yield f"`classes` take more than {_NAMES_BYTES:,} octets, which swath products carry"
    for name in manifest.thresholds:
        if name not in manifest.classes:
            yield f"`thresholds` names {name!r}, which is not a class"
    if manifest.borderline and manifest.head != "softmax":
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
