"""A bundle, a mission and swaths for the fake runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from winnow_edge.bundle import Bundle, Golden, InputSpec, Manifest, OutputSpec, write_bundle
from winnow_edge.mission import Mission, parse_mission

#: By rising brightness, as the fake runtime names a tile.
CLASSES = ("dark", "middle", "bright")
#: Lines and samples of a tile of the probe bundle.
SIDE = 16
#: What a tile of each of the three classes may be painted with.
DARK, MIDDLE, BRIGHT = 2, 128, 251


def probe_manifest(side: int = SIDE, channels: int = 1, **changes: Any) -> Manifest:
    """The manifest of `probe_bundle`; `changes` are fields of `winnow_edge.bundle.Manifest`."""
    plain: dict[str, Any] = {
        "name": "probe",
        "classes": CLASSES,
        "head": "softmax",
        "input": InputSpec(side, side, channels, 1.0, -128),
        "output": OutputSpec(0.05, 0),
        "temperature": 1.0,
        "thresholds": {"dark": 0.9, "bright": 0.9},
    }
    return Manifest(**(plain | changes))


def probe_bundle(folder: Path, side: int = SIDE, channels: int = 1, **changes: Any) -> Bundle:
    """Write ``probe.winnow`` into `folder`: no model, no golden tiles, the fake runtime alone.

    Its tiles are `side` x `side` x `channels`; see `probe_manifest` for `changes`. Raises what
    `winnow_edge.bundle.write_bundle` raises.
    """
    golden = Golden(np.zeros((0, side, side, channels), np.int8), {})
    manifest = probe_manifest(side, channels, **changes)
    path = folder / "probe.winnow"
    return write_bundle(path, manifest, model=b"none", golden=golden, card="A probe.")


def _mission_text(more: str, camera: str) -> str:
    return f'name = "probe"\n[instrument.camera]\nbundle = "probe.winnow"\n{camera}\n{more}\n'


def probe_mission(more: str = "", *, camera: str = "") -> Mission:
    """A mission of one instrument, ``camera``, that flies the probe bundle.

    `camera` adds lines to its table, `more` adds tables. Raises MissionError as a file would.
    """
    return parse_mission(_mission_text(more, camera))


def write_probe(folder: Path, more: str = "", *, camera: str = "", side: int = SIDE) -> Path:
    """Write ``probe.winnow`` and a ``mission.toml`` that flies it on the fake runtime.

    Arguments as of `probe_bundle` and `probe_mission`. Returns the mission file's path.
    """
    probe_bundle(folder, side)
    path = folder / "mission.toml"
    path.write_text(_mission_text(f'{more}\n[compute]\nruntime = "fake"', camera))
    return path


def painted_swath(
    lines: int, samples: int, *, seed: int = 0, squares: int = 60, side: int = 30, grain: int = 0
) -> npt.NDArray[np.uint8]:
    """Pixels uint8 (lines, samples): dark and bright squares on middle grey, some overlapping.

    `grain` adds noise of 0 to `grain` to the grey. The same arguments give the same pixels.
    """
    rng = np.random.default_rng(seed)
    pixels = np.full((lines, samples), MIDDLE, np.uint8)
    pixels += rng.integers(0, grain, (lines, samples), np.uint8, endpoint=True)
    for line, sample in zip(
        rng.integers(0, lines, squares), rng.integers(0, samples, squares), strict=True
    ):
        pixels[line : line + side, sample : sample + side] = rng.choice([DARK, BRIGHT])
    return pixels
