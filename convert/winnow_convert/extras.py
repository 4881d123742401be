"""What may come with a bundle: reports on its layers and ops, ONNX and C exports."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from winnow_base.console import report_console
from winnow_base.errors import GroundError
from winnow_convert import edgetpu, tables
from winnow_convert.c_array import export_c
from winnow_convert.convert import Converted
from winnow_convert.flatbuffer import read_graph
from winnow_convert.layers import LayerNoise, layer_noise
from winnow_convert.onnx_export import OnnxRoute, export_onnx
from winnow_convert.profile import Profile, profile
from winnow_convert.ptq import to_float
from winnow_convert.readiness import check_readiness
from winnow_edge.bundle import Bundle

NOISE_TILES = 24
"""Calibration tiles that the noise per layer is measured on."""


def compile_for_edgetpu(converted: Converted, wanted: bool | None) -> edgetpu.Compiled | None:
    """The int8 model compiled for the Edge TPU, if that is `wanted` (None: where the compiler is
    installed); None too where the gate failed, since then nothing is written.

    Raises what `winnow_convert.edgetpu.compile_model` raises if it is wanted by name; else a
    compiler that refuses the model is told of on stderr.
    """
    if wanted is False or converted.failures or (wanted is None and not edgetpu.find_compiler()):
        return None
    try:
        return edgetpu.compile_model(converted.int8.flatbuffer, converted.source.name)
    except GroundError as error:
        if wanted:
            raise
        print(f"winnow: no model for the Edge TPU in the bundle: {error}", file=sys.stderr)
        return None


class Extras:
    """Reports and exports of a written bundle; Edge TPU readiness is always among them."""

    def __init__(
        self,
        converted: Converted,
        bundle: Bundle,
        *,
        layers: bool,
        profiled: bool,
        compiled: edgetpu.Compiled | None = None,
    ) -> None:
        self._bundle, self._quantized = bundle, converted.quantized
        self._compiled = compiled
        graph = read_graph(bundle.model)
        self.readiness = check_readiness(graph)
        self.profile: Profile | None = profile(graph) if profiled else None
        self.layers: list[LayerNoise] = []
        self.files: list[Path] = []
        self.routes: list[OnnxRoute] = []
        if layers:
            tiles = converted.calibration[:NOISE_TILES]
            floats = to_float(converted.quantized.source)
            self.layers = layer_noise(floats, bundle.model, tiles)
            plot = self._beside("layers.png")
            tables.plot_layers(self.layers, plot)
            self.files.append(plot)

    def export_onnx(self) -> None:
        """Write the float and the int8 model as ONNX beside the bundle."""
        tiles = (self._bundle.golden.tiles.view(np.uint8) ^ np.uint8(0x80)).view(np.uint8)
        floats = to_float(self._quantized.source)
        path = self._bundle.path
        self.routes = export_onnx(self._bundle.manifest, floats, self._bundle.model, tiles, path)
        self.files += [route.path for route in self.routes]

    def export_c(self) -> None:
        """Write the int8 model as C source beside the bundle."""
        self.files += export_c(self._bundle, self._bundle.path.parent)

    def print(self) -> None:
        """Print what was asked for, for people."""
        console: Console = report_console()
        tables.print_readiness(console, self.readiness)
        if self._compiled is not None:
            tables.print_compiler_log(console, self._compiled.log)
        if self.layers:
            tables.print_layers(console, self.layers)
        if self.profile is not None:
            tables.print_profile(console, self.profile)
        for route in self.routes:
            console.print(
                f"{route.path.name}: differs from LiteRT by {route.difference:.3g} on the golden "
                f"tiles (allowed {route.tolerance:.3g})",
                highlight=False,
            )
        for path in self.files:
            console.print(f"wrote {path}", highlight=False, soft_wrap=True)

    def as_json(self) -> dict[str, Any]:
        """The same as plain values; what was not asked for is not there."""
        found: dict[str, Any] = {"edgetpu": tables.readiness_json(self.readiness)}
        if self._compiled is not None:
            found["edgetpu_compiler"] = tables.compiler_json(self._compiled.log)
        if self.layers:
            found["layers"] = tables.layers_json(self.layers)
        if self.profile is not None:
            found["profile"] = tables.profile_json(self.profile)
        if self.routes:
            found["onnx"] = [
                {"path": str(r.path), "difference": r.difference, "tolerance": r.tolerance}
                for r in self.routes
            ]
        found["files"] = [str(path) for path in self.files]
        return found

    def _beside(self, ending: str) -> Path:
        path = self._bundle.path
        return path.with_name(f"{path.name.removesuffix('.winnow')}.{ending}")
