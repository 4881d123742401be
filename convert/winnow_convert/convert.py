"""From a trained model to a bundle: quantize, compare with float on val, gate, write."""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from winnow_base import views
from winnow_base.conversion import METHODS, Conversion
from winnow_base.errors import GateError
from winnow_base.progress import Step
from winnow_base.tiles import LabelledTiles
from winnow_base.views import Answers
from winnow_convert.card import write_card
from winnow_convert.data import CALIBRATION_SEED, calibration_sample, check_calibration
from winnow_convert.flatbuffer import read_graph
from winnow_convert.int8 import Int8Model
from winnow_convert.measure import (
    Outputs,
    choose_temperature,
    compare,
    figures,
    rounded,
)
from winnow_convert.methods import Quantized, quantize_by
from winnow_convert.ptq import UInt8Array
from winnow_convert.source import Source, float_logits
from winnow_convert.thresholds import choose_thresholds
from winnow_edge.bundle import Bundle, Manifest, Verifier, write_bundle

PACKAGES = ("keras", "tensorflow-cpu", "ai-edge-litert", "numpy")


@dataclass(frozen=True)
class Converted:
    """A quantized model with all that was measured on it; not yet written, not yet gated.

    `failures` are sentences that say which limits of the gate are broken and by how much.
    """

    source: Source
    options: Conversion
    quantized: Quantized
    calibration: UInt8Array
    manifest: Manifest
    failures: tuple[str, ...]

    @property
    def int8(self) -> Int8Model:
        """The model that would fly."""
        return self.quantized.int8


@dataclass(frozen=True)
class Compared:
    """Answers of float nets (`before`) and int8 ones (`after`) to tiles that they never saw:
    those of `split`, with labels [n] or [n, K] and sources."""

    split: str
    labels: npt.NDArray[np.int64]
    sources: tuple[str, ...]
    before: Answers
    after: Answers


def best_of(tried: dict[str, Converted]) -> Converted:
    """The one to fly: of those through the gate (loss, size, time) the most accurate on val."""
    return min(tried.values(), key=_rank)


def compare_methods(
    source: Source,
    train: LabelledTiles,
    val: LabelledTiles,
    options: Conversion,
    progress: Step,
) -> dict[str, Converted]:
    """Every method that `options.method` asks for, by name: quantized on tiles of train, measured
    on the same tiles of val; nothing is written.

    Raises DataError for unusable tiles and ModelError for a model that has no int8 form.
    """
    calibration = calibration_sample(train, len(source.classes), options.calibration)
    check_calibration(calibration, source)
    before = views.ask(
        lambda tiles: np.asarray(float_logits(source, tiles, progress)),
        val.tiles,
        source.borderline,
    )
    found = {}
    for method in methods_of(options):
        quantized = quantize_by(method, source, train, calibration, options, progress)
        progress(f"comparing on val ({method})", 0, 1)
        after = views.ask(quantized.int8.real_logits, val.tiles, source.borderline)
        compared = Compared("val", val.labels, val.sources, before, after)
        manifest, failures = judge(source, options, quantized, compared, len(calibration))
        progress(f"comparing on val ({method})", 1, 1)
        found[method] = Converted(source, options, quantized, calibration, manifest, failures)
    return found


def methods_of(options: Conversion) -> list[str]:
    """The methods to try."""
    return [m for m in METHODS if m != "auto"] if options.method == "auto" else [options.method]


def _rank(converted: Converted) -> tuple[bool, float, float]:
    """Sorts the best first: through the gate, then most accurate, then closest to float."""
    metrics = converted.manifest.metrics
    return (
        bool(converted.failures),
        -metrics["int8"]["accuracy"] - metrics["int8"]["macro_recall"],
        -metrics["quantization"]["agreement"],
    )


def judge(
    source: Source,
    options: Conversion,
    quantized: Quantized,
    compared: Compared,
    calibrated_on: int,
    seen: dict[str, Any] | None = None,
) -> tuple[Manifest, tuple[str, ...]]:
    """The finished manifest of a quantized model, and how it fails the gate, if it does.

    `seen` says how its own answers agree with the float net's on tiles that both know, where
    `compared` holds those of the nets of folds.
    """
    classes, head, int8 = source.classes, source.head, quantized.int8
    labels, answers = compared.labels, compared.after
    temperature = source.temperature
    if options.refit:
        temperature = choose_temperature(answers.logits, labels, head, temperature)
    before = Outputs(compared.before, head, source.temperature)
    kept = Outputs(answers, head, source.temperature)
    after = Outputs(answers, head, temperature)
    chosen = choose_thresholds(
        after.posterior,
        labels,
        classes,
        options.background,
        options.min_precision,
        options.thresholds,
    )
    thresholds = {name: row["threshold"] for name, row in chosen.items()}
    change = compare(before, after, labels, compared.sources, classes, thresholds)
    metrics = {
        "split": compared.split,
        "n": len(labels),
        "float": figures(before, labels, classes),
        "int8": figures(after, labels, classes),
        "quantization": {
            **change,
            "method": quantized.method,
            "steps": list(quantized.steps),
            "calibration_tiles": calibrated_on,
            "calibration_seed": CALIBRATION_SEED,
            **({"seen_tiles": seen} if seen else {}),
        },
        "temperature": {
            "float": source.temperature,
            "int8": temperature,
            "ece_int8_with_float_temperature": figures(kept, labels, classes)["ece"],
        },
        "thresholds": {"min_precision": options.min_precision, "by_class": chosen},
    }
    described = source.description
    expected = described.get("metrics", {})
    if "intervals" in expected:  # of the float nets, settings chosen on the other folds
        kept_keys = ("split", "groups", "intervals")
        metrics["cross_validated"] = {k: expected[k] for k in kept_keys}
    manifest = Manifest(
        name=source.name,
        classes=classes,
        head=head,
        input=int8.input,
        output=int8.output,
        temperature=temperature,
        borderline=source.borderline,
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
    failures = (*_gate(options, change, seen), *_budget(options, int8.flatbuffer))
    return manifest, failures


def write(
    converted: Converted,
    out: Path,
    for_edgetpu: bytes | None = None,
    verifier: Verifier | None = None,
) -> Bundle:
    """Write the bundle aside and move it into place; `for_edgetpu` is the model as compiled,
    `verifier` the second stage.

    Raises GateError, leaving what is at `out` alone, if the gate failed, and OutputError if `out`
    cannot be written.
    """
    refuse_failures(converted)
    second = verifier.manifest if verifier is not None else None
    manifest = replace(converted.manifest, verifier=second)
    return write_bundle(
        out,
        manifest,
        model=converted.int8.flatbuffer,
        golden=converted.int8.golden,
        card=write_card(manifest, len(converted.int8.flatbuffer)),
        model_edgetpu=for_edgetpu,
        verifier=verifier,
    )


def refuse_failures(converted: Converted) -> None:
    """Raise GateError if the gate failed."""
    if converted.failures:
        raise GateError(
            "; ".join(converted.failures),
            where=converted.source.folder,
            hint="no bundle was written",
        )


def _gate(options: Conversion, change: dict[str, Any], seen: dict[str, Any] | None) -> list[str]:
    limits = [
        ("accuracy loss", change["accuracy_loss"], "max_accuracy_loss", 1),
        ("macro recall loss", change["macro_recall_loss"], "max_recall_loss", 1),
        ("argmax agreement", change["agreement"], "min_agreement", -1),
        ("rank correlation", change["rank_correlation"], "min_rank_correlation", -1),
    ]
    if seen:
        limits.append(("agreement on seen tiles", seen["agreement"], "min_agreement", -1))
    failures = []
    for what, value, key, sign in limits:
        limit = getattr(options, key)
        if sign * value > sign * limit + 1e-9:
            failures.append(f"{what} is {value:.4f}, {key} is {limit:g}")
    return failures


def _budget(options: Conversion, flatbuffer: bytes) -> list[str]:
    macs = read_graph(flatbuffer).macs / 1e6
    failures = []
    if len(flatbuffer) > options.max_bytes:
        failures.append(f"the model has {len(flatbuffer)} bytes, max_bytes is {options.max_bytes}")
    if macs > options.max_mmac:
        failures.append(f"a tile takes {macs:.1f} MMAC, max_mmac is {options.max_mmac:g}")
    return failures


def _versions() -> list[tuple[str, str]]:
    found = []
    for name in PACKAGES:
        try:
            found.append((name, importlib.metadata.version(name)))
        except importlib.metadata.PackageNotFoundError:
            continue  # e.g. tensorflow instead of tensorflow-cpu
    return found
