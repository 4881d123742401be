"""From a trained model to a bundle: quantize, compare with float on val, gate, write."""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from winnow_convert.card import write_card
from winnow_convert.data import (
    LabelledTiles,
    Progress,
    calibration_sample,
    check_calibration,
    load_split,
)
from winnow_convert.int8 import Int8Model
from winnow_convert.measure import (
    Outputs,
    choose_temperature,
    compare,
    figures,
    rounded,
)
from winnow_convert.options import Options
from winnow_convert.ptq import UInt8Array, quantize
from winnow_convert.source import Source
from winnow_convert.thresholds import choose_thresholds
from winnow_edge.bundle import Bundle, Manifest, write_bundle
from winnow_ground.errors import GateError

PACKAGES = ("keras", "tensorflow-cpu", "ai-edge-litert", "numpy")
BATCH = 64


@dataclass(frozen=True)
class Converted:
    """A quantized model with all that was measured on it; not yet written, not yet gated."""

    source: Source
    options: Options
    int8: Int8Model
    calibration: UInt8Array
    manifest: Manifest
    failures: tuple[str, ...]
    """Sentences that say which limits of the gate are broken and by how much."""


def convert(source: Source, data: Path, options: Options, progress: Progress) -> Converted:
    """Quantize a model on tiles of train and measure it on val; writes nothing.

    Raises DataError for unusable data and ModelError for a model that has no int8 form.
    """
    train = load_split(source, data, "train", progress)
    val = load_split(source, data, "val", progress)
    calibration = calibration_sample(train, len(source.classes), options.calibration, options.seed)
    check_calibration(calibration, source)
    progress("quantizing", 0, 1)
    int8 = Int8Model(source, quantize(source, calibration))
    progress("quantizing", 1, 1)
    before = float_logits(source, val.tiles, progress)
    progress("comparing on val", 0, 1)
    manifest, failures = judge(source, options, int8, before, val, len(calibration))
    progress("comparing on val", 1, 1)
    return Converted(source, options, int8, calibration, manifest, failures)


def float_logits(source: Source, tiles: UInt8Array, progress: Progress) -> Any:
    """Logits of the Keras model, float64 (n, classes)."""
    logits = np.empty((len(tiles), len(source.classes)))
    for start in range(0, len(tiles), BATCH):
        batch = tiles[start : start + BATCH]
        out = np.asarray(source.model(batch.astype(np.float32), training=False))
        logits[start : start + len(batch)] = out.reshape(len(batch), -1)
        progress("float model on val", start + len(batch), len(tiles))
    return logits


def judge(
    source: Source,
    options: Options,
    int8: Int8Model,
    float_val: Any,
    val: LabelledTiles,
    calibrated_on: int,
) -> tuple[Manifest, tuple[str, ...]]:
    """The finished manifest of a quantized model, and how it fails the gate, if it does."""
    classes, head = source.classes, source.head
    logits = int8.real_logits(val.tiles)
    temperature = choose_temperature(logits, val.labels, head, source.temperature)
    before = Outputs(float_val, head, source.temperature)
    kept = Outputs(logits, head, source.temperature)
    after = Outputs(logits, head, temperature)
    chosen = choose_thresholds(
        after.posterior, val.labels, classes, options.background, options.min_precision
    )
    thresholds = {name: row["threshold"] for name, row in chosen.items()}
    change = compare(before, after, val.labels, val.sources, classes, thresholds)
    metrics = {
        "split": "val",
        "n": len(val.labels),
        "float": figures(before, val.labels, classes),
        "int8": figures(after, val.labels, classes),
        "quantization": {
            **change,
            "method": options.method,
            "calibration_tiles": calibrated_on,
            "calibration_seed": options.seed,
        },
        "temperature": {
            "float": source.temperature,
            "int8": temperature,
            "ece_int8_with_float_temperature": figures(kept, val.labels, classes)["ece"],
        },
        "thresholds": {"min_precision": options.min_precision, "by_class": chosen},
    }
    described = source.description
    manifest = Manifest(
        name=source.name,
        classes=classes,
        head=head,
        input=int8.input,
        output=int8.output,
        temperature=temperature,
        thresholds=thresholds,
        training={
            **described.get("training", {}),
            "recipe": described.get("recipe"),
            "seed": described.get("seed"),
            "metrics": described.get("metrics", {}),
        },
        metrics=rounded(metrics),
        versions={**described.get("versions", {}), **{f"convert {k}": v for k, v in _versions()}},
        licence=str(described.get("licence", "")),
        attribution=str(described.get("attribution", "")),
    )
    return manifest, tuple(_gate(options, change))


def write(converted: Converted, out: Path) -> Bundle:
    """Write the bundle aside and move it into place.

    Raises GateError, leaving what is at `out` alone, if the gate failed, and OutputError if `out`
    cannot be written.
    """
    if converted.failures:
        raise GateError(
            "; ".join(converted.failures),
            where=converted.source.folder,
            hint="no bundle was written",
        )
    return write_bundle(
        out,
        converted.manifest,
        model=converted.int8.flatbuffer,
        golden=converted.int8.golden,
        card=write_card(converted.manifest, len(converted.int8.flatbuffer)),
    )


def _gate(options: Options, change: dict[str, Any]) -> list[str]:
    limits = (
        ("accuracy loss", change["accuracy_loss"], "max_accuracy_loss", 1),
        ("macro recall loss", change["macro_recall_loss"], "max_recall_loss", 1),
        ("argmax agreement", change["agreement"], "min_agreement", -1),
        ("rank correlation", change["rank_correlation"], "min_rank_correlation", -1),
    )
    failures = []
    for what, value, key, sign in limits:
        limit = getattr(options, key)
        if sign * value > sign * limit + 1e-9:
            failures.append(f"{what} is {value:.4f}, {key} is {limit:g}")
    return failures


def _versions() -> list[tuple[str, str]]:
    found = []
    for name in PACKAGES:
        try:
            found.append((name, importlib.metadata.version(name)))
        except importlib.metadata.PackageNotFoundError:
            continue  # e.g. tensorflow instead of tensorflow-cpu
    return found
