"""The model as C source, for boards below a Pi that run TensorFlow Lite for Microcontrollers."""

from __future__ import annotations

import re
from pathlib import Path

from winnow_convert.flatbuffer import read_graph
from winnow_edge.bundle import Bundle
from winnow_edge.files import write_file

ALIGNMENT = 16
"""Bytes: flatbuffers are read in place, and TFLite Micro wants its model aligned like its arena."""


def export_c(bundle: Bundle, folder: Path) -> tuple[Path, Path]:
    """Write `NAME_model.h` and `NAME_model.c` into a folder; returns both paths."""
    stem = re.sub(r"\W", "_", bundle.manifest.name)
    stem = f"m_{stem}" if stem[0].isdigit() else stem
    header, source = folder / f"{stem}_model.h", folder / f"{stem}_model.c"
    write_file(header, _header(bundle, stem).encode())
    write_file(source, _source(bundle, stem).encode())
    return header, source


def _header(bundle: Bundle, stem: str) -> str:
    manifest, spec = bundle.manifest, bundle.manifest.input
    guard = f"{stem.upper()}_MODEL_H_"
    graph = read_graph(bundle.model)
    ops = ", ".join(sorted({op.name for op in graph.ops}))
    return f"""/* {manifest.name}: int8 tile classifier, made from bundle sha256 {bundle.sha256}.
 * Input: int8 [1, {spec.height}, {spec.width}, {spec.channels}], pixel minus 128.
 * Output: int8 [1, {len(manifest.classes)}], logit = scale * (value - zero point).
 * Ops to register: {ops}.
 * The tensor arena must hold at least {graph.arena_bytes()} bytes of activations, plus overhead. */
#ifndef {guard}
#define {guard}

#ifdef __cplusplus
extern "C" {{
#endif

#define {stem.upper()}_HEIGHT {spec.height}
#define {stem.upper()}_WIDTH {spec.width}
#define {stem.upper()}_CHANNELS {spec.channels}
#define {stem.upper()}_CLASSES {len(manifest.classes)}
#define {stem.upper()}_LOGIT_SCALE {manifest.output.scale!r}f
#define {stem.upper()}_LOGIT_ZERO_POINT ({manifest.output.zero_point})
#define {stem.upper()}_TEMPERATURE {manifest.temperature!r}f

extern const unsigned char {stem}_model[];
extern const unsigned int {stem}_model_len;
extern const char *const {stem}_labels[{len(manifest.classes)}];
/* Posterior from which a tile is a detection of the class; above 1 for background classes. */
extern const float {stem}_thresholds[{len(manifest.classes)}];

#ifdef __cplusplus
}}
#endif

#endif  /* {guard} */
"""


def _source(bundle: Bundle, stem: str) -> str:
    manifest = bundle.manifest
    rows = [
        "  " + ", ".join(f"0x{byte:02x}" for byte in bundle.model[start : start + 16])
        for start in range(0, len(bundle.model), 16)
    ]
    labels = ",\n".join(f"  {_quote(name)}" for name in manifest.classes)
    thresholds = ", ".join(f"{manifest.thresholds.get(n, 2.0):.4f}f" for n in manifest.classes)
    data = ",\n".join(rows)
    return f"""#include "{stem}_model.h"

#if defined(__GNUC__)
__attribute__((aligned({ALIGNMENT})))
#endif
const unsigned char {stem}_model[] = {{
{data}
}};
const unsigned int {stem}_model_len = {len(bundle.model)};
const char *const {stem}_labels[] = {{
{labels}
}};
const float {stem}_thresholds[] = {{{thresholds}}};
"""


def _quote(text: str) -> str:
    escaped = "".join(
        chr(b) if 32 <= b < 127 and chr(b) not in '"\\' else f"\\{b:03o}" for b in text.encode()
    )
    return f'"{escaped}"'
