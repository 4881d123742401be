"""Labelled tiles laid out as swaths, with logits that are right more or less often."""

from __future__ import annotations

from typing import Any

import numpy as np

from winnow_edge.mission import Mission
from winnow_edge.testing.probe import probe_manifest, probe_mission
from winnow_ground.contacts import Contact
from winnow_ground.simulation.observation import Observation
from winnow_ground.simulation.scores import TILE, Scores

CLASSES = ("other", "crater", "impact")
MISSION = """
[class.crater]
utility = 1
[class.impact]
utility = 20
"""


def scores(seed: int, tiles: int = 400, *, rare: float = 0.05, wide: int = 20) -> Scores:
    """A swath of `tiles` tiles side by side; a share `rare` shows a crater or an impact."""
    rng = np.random.default_rng(seed)
    thresholds = {"crater": 0.6, "impact": 0.6}
    manifest = probe_manifest(classes=CLASSES, thresholds=thresholds)
    true = rng.choice(3, tiles, p=[1 - rare, rare * 0.8, rare * 0.2])
    logits = rng.normal(0, 14, (tiles, 3))
    logits[np.arange(tiles), true] += rng.normal(60, 25, tiles)
    table, at = np.zeros(tiles, TILE), np.arange(tiles)
    table["line"], table["sample"] = at // wide * 128, at % wide * 128
    table["lines"] = table["samples"] = 128
    table["scale"], table["row"] = 1, at // wide
    table["due"] = table["line"] + 128
    table["screened"] = rng.random(tiles) < 0.05
    table["thumbnail"] = rng.integers(600, 1000, tiles)
    table["image"] = rng.integers(5000, 9000, tiles)
    octets = rng.integers(1, 255, (tiles, 8), dtype=np.uint8)
    table["sketch"] = [bytes(row) for row in octets]
    features = np.flatnonzero(true)
    return Scores(
        name=f"swath-{seed}",
        manifest=manifest,
        lines=int(table["due"].max()),
        samples=128 * wide,
        tiles=table,
        logits=np.clip(logits, -128, 127).astype(np.int8),
        features=tuple(CLASSES[c] for c in true[features]),
        shows=np.stack([features, np.arange(len(features))], axis=1).astype(np.int32),
        quick_looks=((int(table["due"].max()), 3500),),
    )


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
