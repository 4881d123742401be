"""Tables of what a flatbuffer holds: noise per layer, op profile, Edge TPU readiness."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from winnow_base.console import show_table
from winnow_convert.edgetpu import CompilerLog
from winnow_convert.layers import LayerNoise
from winnow_convert.profile import BOARDS, Profile
from winnow_convert.readiness import Readiness

WORST = 10


def print_layers(console: Console, layers: list[LayerNoise]) -> None:
    """The layers with the noisiest output, worst first."""
    table = _table(
        f"noisiest of {len(layers)} layers",
        ("op", "name", "output", "SQNR dB", "weights dB", "clipped"),
    )
    for layer in sorted(layers, key=lambda x: x.sqnr)[:WORST]:
        weights = "" if layer.weight_sqnr is None else f"{layer.weight_sqnr:.1f}"
        table.add_row(
            f"{layer.index} {layer.op}",
            short_name(layer.name),
            "x".join(str(n) for n in layer.shape[1:]),
            f"{layer.sqnr:.1f}",
            weights,
            f"{layer.saturated:.1%}",
        )
    show_table(console, table)


def plot_layers(layers: list[LayerNoise], path: Path) -> None:
    """The same for all layers as a PNG: SQNR of activations and weights in graph order."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    at = [layer.index for layer in layers]
    axes.plot(at, [layer.sqnr for layer in layers], "o-", label="activation")
    weighted = [layer for layer in layers if layer.weight_sqnr is not None]
    axes.plot(
        [x.index for x in weighted], [x.weight_sqnr or 0.0 for x in weighted], "x", label="weights"
    )
    axes.set_xlabel("op")
    axes.set_ylabel("signal to quantization noise, dB")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=110, metadata={"Software": None})


def print_profile(console: Console, found: Profile) -> None:
    """Work, memory and least time of every op, the layers to shrink, and sources of the numbers."""
    boards = [board.name for board in BOARDS]
    short = [name.removeprefix("Cortex-") for name in boards]
    table = _table(
        f"op profile (least time in microseconds on {', '.join(boards)})",
        ("op", "output", "kMAC", "weights", "alive kB", *short),
    )
    for row in found.ops:
        table.add_row(
            f"{row.op.index} {row.op.name}",
            "x".join(str(n) for n in row.op.outputs[0].shape[1:]),
            f"{row.macs / 1e3:,.0f}",
            f"{row.parameters:,}",
            f"{row.alive_bytes / 1e3:.0f}",
            *(f"{1e3 * row.milliseconds[name]:.1f}" for name in boards),
        )
    table.add_section()
    table.add_row(
        "all",
        "",
        f"{found.macs / 1e3:,.0f}",
        f"{found.parameters:,}",
        f"{found.arena_bytes / 1e3:.0f}",
        *(f"{1e3 * found.milliseconds[name]:.0f}" for name in boards),
    )
    show_table(console, table)
    for board in BOARDS:
        slow = ", ".join(
            f"{p.op.index} {short_name(p.op.outputs[0].name)} "
            f"({p.milliseconds[board.name] / _sum(found, board.name):.0%})"
            for p in found.shrink_first(board.name)
        )
        console.print(f"{board.name}: shrink first {slow}", highlight=False)
    console.print("Least times by a roofline model; real kernels take a multiple. It assumes")
    for board in BOARDS:
        rate = f"{board.dense / 1e9:.0f} GMAC/s"
        if board.depthwise != board.dense:
            rate += f" ({board.depthwise / 1e9:.0f} depthwise)"
        if board.link is None:
            rate += f", {board.memory / 1e9:.1f} GB/s of memory"
        else:
            rate += f", {board.link / 1e6:.0f} MB/s to the host"
        console.print(f"{board.name}: {rate}. {board.source}", highlight=False)


def print_readiness(console: Console, found: Readiness) -> None:
    """Edge TPU: one line, and a row for every op that does not map."""
    mapped = f"{found.on_device} of {len(found.verdicts)} ops, {found.mac_share:.1%} of the MACs"
    cache = "fit" if found.fits_cache else "do not fit"
    console.print(
        f"[bold]Edge TPU[/bold]  {mapped} would run on the device; parameters "
        f"({found.parameter_bytes / 1e3:.0f} kB) {cache} its 8 MB",
        highlight=False,
    )
    for verdict in found.verdicts:
        if not verdict.maps:
            op = verdict.op
            console.print(
                f"  op {op.index} {op.name} v{op.version}: {'; '.join(verdict.reasons)}",
                highlight=False,
            )


def print_compiler_log(console: Console, log: CompilerLog) -> None:
    """What `edgetpu_compiler` made of the model: one line, and one for every op it refused."""
    console.print(
        f"[bold]edgetpu_compiler[/bold] {log.version}  mapped {log.mapped} of {log.total} ops; "
        f"{log.cached_bytes / 1e3:.0f} kB of parameters on the device, "
        f"{log.streamed_bytes / 1e3:.0f} kB fetched for every tile",
        highlight=False,
    )
    for (op, status), count in log.refused.items():
        console.print(f"  {count} {op}: {status}", highlight=False)


def compiler_json(log: CompilerLog) -> dict[str, Any]:
    """What `--json` says of the compiler's log."""
    return {
        "version": log.version,
        "mapped": log.mapped,
        "ops": log.total,
        "cached_bytes": log.cached_bytes,
        "streamed_bytes": log.streamed_bytes,
        "refused": [
            {"name": op, "count": count, "reason": status}
            for (op, status), count in log.refused.items()
        ],
    }


def readiness_json(found: Readiness) -> dict[str, Any]:
    """What `--json` says of Edge TPU readiness."""
    return {
        "complete": found.complete,
        "ops_on_device": found.on_device,
        "ops": len(found.verdicts),
        "mac_share": found.mac_share,
        "parameter_bytes": found.parameter_bytes,
        "fits_cache": found.fits_cache,
        "refused": [
            {"op": v.op.index, "name": v.op.name, "reasons": list(v.reasons)}
            for v in found.verdicts
            if not v.maps
        ],
    }


def profile_json(found: Profile) -> dict[str, Any]:
    """What `--json` says of the op profile."""
    return {
        "macs": found.macs,
        "parameters": found.parameters,
        "weight_bytes": found.weight_bytes,
        "arena_bytes": found.arena_bytes,
        "least_milliseconds": found.milliseconds,
        "ops": [
            {
                "op": row.op.index,
                "name": row.op.name,
                "macs": row.macs,
                "parameters": row.parameters,
                "alive_bytes": row.alive_bytes,
                "least_milliseconds": row.milliseconds,
            }
            for row in found.ops
        ],
    }


def layers_json(layers: list[LayerNoise]) -> list[dict[str, Any]]:
    """What `--json` says of the noise per layer; infinite figures (no noise at all) are null."""

    def finite(value: float | None) -> float | None:
        return None if value is None or value == float("inf") else round(value, 3)

    return [
        {
            "op": layer.index,
            "name": layer.name,
            "sqnr_db": finite(layer.sqnr),
            "weight_sqnr_db": finite(layer.weight_sqnr),
            "saturated": round(layer.saturated, 5),
        }
        for layer in layers
    ]


def short_name(name: str) -> str:
    """The layer's part of a tensor name such as `functional_1/block_1_project_1/BiasAdd`."""
    parts = [part for part in name.split("/") if not part.startswith("functional")]
    return parts[0] if parts else name


def _sum(found: Profile, board: str) -> float:
    return sum(p.milliseconds[board] for p in found.ops) or 1.0


def _table(title: str, headings: tuple[str, ...]) -> Table:
    table = Table(title=title)
    for place, heading in enumerate(headings):
        table.add_column(heading, justify="left" if place < 2 else "right", no_wrap=True)
    return table
