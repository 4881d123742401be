"""Labelled tiles laid out as swaths, with logits that are right more or less often."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.speed.simulation import swath
from winnow_edge.mission import Mission
from winnow_edge.testing.probe import probe_mission
from winnow_ground.contacts import Contact
from winnow_ground.simulation.observation import Observation
from winnow_ground.simulation.scores import Scores

MISSION = """
[class.crater]
utility = 1
[class.impact]
utility = 20
"""


FLIES = """\
name = "m"
[instrument.camera]
bundle = "hirise-landmarks-96"
line_time_us = 1000
[compute]
runtime = "fake"
"""
"""Begins a mission file whose net is the fake one."""
STRIPS = """\
[instrument.camera]
bundle = "hirise-landmarks"
[compute]
runtime = "fake"
threads = 1
[class.crater]
threshold = 0.0
utility = 1.0
[class."impact ejecta"]
threshold = 0.0
utility = 20.0
[link]
packet_bytes = 512
container_bytes = 2048
"""
"""Of a mission file that fits `draw_strips`."""


def draw_strips(folder: Path) -> None:
    """Write a.png and b.png, whose brightness the fake runtime takes for classes: a crater is 48,
    impact ejecta 176."""
    rng = np.random.default_rng(3)
    for name, levels in (("a", [48] * 10 + [176]), ("b", [16, 48, 176, 16])):
        blocks = [np.full((128, 512), level) + rng.integers(-6, 7, (128, 512)) for level in levels]
        pixels = np.concatenate(blocks).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}.png")


def noise(folder: Path, name: str, lines: int = 300, samples: int = 300) -> Path:
    """Write a swath of noise."""
    pixels = np.random.default_rng(7).integers(0, 256, (lines, samples), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / name)
    return folder / name


def scores(seed: int, tiles: int = 400, *, rare: float = 0.05, wide: int = 20) -> Scores:
    """A swath of `tiles` tiles side by side; a share `rare` shows a crater or an impact."""
    return swath(seed, tiles, rare=rare, wide=wide, screened=0.05)


def mission(more: str = "") -> Mission:
    """A mission of two classes; `more` adds tables."""
    return probe_mission(MISSION + more)


def observations(count: int, every: float = 3600.0, **options: Any) -> list[Observation]:
    """Swaths that take ten minutes each."""
    return [Observation(f"o{n}", n * every, 600.0, scores(n, **options)) for n in range(count)]


def contacts(count: int, every: float = 7200.0, rate: float = 800.0, **more: Any) -> list[Contact]:
    """Contacts of four minutes, the first an hour after the beginning."""
    starts = [3600.0 + n * every for n in range(count)]
    return [Contact(start, start + 240, 1, 2, rate, **more) for start in starts]
