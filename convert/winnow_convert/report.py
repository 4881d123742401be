"""The report that `winnow convert` prints."""

from __future__ import annotations

import json
from typing import Any

from rich.table import Table

from winnow_base.console import report_console, show_table
from winnow_convert.convert import Converted
from winnow_edge.bundle import Bundle


def as_json(
    converted: Converted,
    bundle: Bundle,
    tried: dict[str, Converted],
    extras: dict[str, Any],
    verifier: Converted | None = None,
) -> str:
    """The report as one line of JSON; `extras` as `winnow_convert.extras.Extras.as_json`;
    `verifier` is the second stage's."""
    return json.dumps(
        {
            "method": converted.quantized.method,
            "methods": {name: _method_row(found) for name, found in tried.items()},
            **extras,
            "bundle": str(bundle.path),
            "sha256": bundle.sha256,
            "bytes": bundle.path.stat().st_size,
            "model_bytes": len(bundle.model),
            "name": bundle.manifest.name,
            "temperature": bundle.manifest.temperature,
            "thresholds": bundle.manifest.thresholds,
            "metrics": bundle.manifest.metrics,
            "verifier": None if verifier is None else _verifier_row(verifier),
        }
    )


def print_comparison(tried: dict[str, Converted]) -> None:
    """One row per method, all on the same tiles."""
    table = Table(title="methods on the same tiles")
    for heading in (
        "method",
        "steps",
        "accuracy",
        "macro recall",
        "agreement",
        "ECE",
        "kB",
        "gate",
    ):
        table.add_column(heading, justify="left" if heading in ("method", "steps") else "right")
    for name, found in tried.items():
        row = _method_row(found)
        table.add_row(
            name,
            " + ".join(row["steps"]) or "-",
            f"{row['accuracy']:.4f}",
            f"{row['macro_recall']:.4f}",
            f"{row['agreement']:.4f}",
            f"{row['ece']:.4f}",
            f"{row['model_bytes'] / 1000:.0f}",
            "passed" if row["passed"] else "failed",
        )
    show_table(report_console(), table)


def _verifier_row(converted: Converted) -> dict[str, Any]:
    manifest = converted.manifest
    return {
        "method": converted.quantized.method,
        "name": manifest.name,
        "temperature": manifest.temperature,
        "thresholds": manifest.thresholds,
        "metrics": manifest.metrics,
        **_method_row(converted),
    }


def _method_row(found: Converted) -> dict[str, Any]:
    metrics = found.manifest.metrics
    return {
        "steps": list(found.quantized.steps),
        "variants_db": found.quantized.variants,
        "accuracy": metrics["int8"]["accuracy"],
        "macro_recall": metrics["int8"]["macro_recall"],
        "ece": metrics["int8"]["ece"],
        "agreement": metrics["quantization"]["agreement"],
        "model_bytes": len(found.int8.flatbuffer),
        "passed": not found.failures,
        "failures": list(found.failures),
    }


def print_report(converted: Converted, bundle: Bundle | None) -> None:
    """Tables of float against int8; what was written, if anything was."""
    console = report_console()
    metrics, change = converted.manifest.metrics, converted.manifest.metrics["quantization"]
    table = Table(title=f"{converted.source.name} on {metrics['n']} tiles, {metrics['split']}")
    for heading in ("", "float", "int8", "change"):
        table.add_column(heading, justify="left" if not heading else "right")
    for key in ("accuracy", "macro_f1", "macro_recall", "ece", "nll"):
        old, new = metrics["float"][key], metrics["int8"][key]
        table.add_row(key.replace("_", " "), f"{old:.4f}", f"{new:.4f}", f"{new - old:+.4f}")
    rows = metrics["float"]["per_class"]
    for name, was in rows.items():
        if not was["support"]:
            continue
        now = metrics["int8"]["per_class"][name]
        interval = change["recall_change"].get(name)
        spread = f" [{interval['low']:+.3f}, {interval['high']:+.3f}]" if interval else ""
        table.add_row(
            f"recall {name} ({was['support']})",
            f"{was['recall']:.4f}",
            f"{now['recall']:.4f}",
            f"{now['recall'] - was['recall']:+.4f}{spread}",
        )
    show_table(console, table)
    if unseen := [name for name, was in rows.items() if not was["support"]]:
        console.print(f"[bold]no such tile[/bold]  {', '.join(unseen)}", highlight=False)
    moved = change["posterior_change"]
    variants = ", ".join(f"{k} {v:.1f}" for k, v in converted.quantized.variants.items())
    for name, text in (
        ("method", f"{converted.quantized.method}; logits above noise in dB: {variants}"),
        ("argmax agreement", f"{change['agreement']:.4f}"),
        ("detection agreement", f"{change['detection_agreement']:.4f}"),
        ("posterior change", f"mean {moved['mean']:.4f}, 99th percentile {moved['p99']:.4f}"),
        (
            "downlink order",
            f"rank correlation {change['rank_correlation']:.4f}, among detections "
            f"{change['rank_correlation_detections']:.4f}",
        ),
        ("value lost at 5 % of bytes", f"{change['value_lost_at_5_percent']:.4f}"),
        *(
            [
                (
                    "second views",
                    f"best posterior under {converted.manifest.borderline:g}; net calls a tile: "
                    f"float {metrics['float']['net_calls']:.3f}, int8 "
                    f"{metrics['int8']['net_calls']:.3f}",
                )
            ]
            if converted.manifest.borderline
            else []
        ),
        (
            "temperature",
            f"float {metrics['temperature']['float']:.4f}, int8 "
            f"{metrics['temperature']['int8']:.4f}",
        ),
        (
            "thresholds",
            ", ".join(f"{k} {v:.2f}" for k, v in converted.manifest.thresholds.items()),
        ),
    ):
        console.print(f"[bold]{name}[/bold]  {text}", highlight=False)
    if bundle is not None:
        size = bundle.path.stat().st_size
        console.print(
            f"wrote {bundle.path} ({size:,} bytes, sha256 {bundle.sha256[:16]}…)",
            highlight=False,
            soft_wrap=True,
        )
