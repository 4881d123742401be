"""Swiss cheese: flat-floored pits in a slab of CO2 ice of the south polar residual cap."""

from __future__ import annotations

import numpy as np

from winnow_ground.scene.canvas import GROUND_SAMPLE_M, Canvas, Field, smoothstep
from winnow_ground.scene.terrain import fractal, smooth_field, smooth_under, zone_mask

SLAB_M = 8.0
"""Depth of the pits in metres: that of the CO2 slab (Byrne & Ingersoll 2003,
doi:10.1126/science.1080148)."""
ICE = 0.98
"""Albedo of the slab against dusty plain, compressed as a strip that shows both is stretched."""


def cap(canvas: Canvas, top: int, bottom: int) -> None:
    """A stretch of residual cap between two lines: smooth slab, round and bean-shaped pits.

    Walls retreat some metres a year and keep their steepness (Thomas et al. 2005,
    doi:10.1016/j.icarus.2004.07.028), so that neighbouring pits run together; many have a shallow
    step around them.
    """
    rng, shape = canvas.rng, canvas.shape
    inside = zone_mask(canvas, top, bottom, soft=40)
    ground = smooth_under(canvas.height, 32)
    slab = ground + 0.10 * fractal(shape, rng, hurst=0.5, longest=60, shortest=2)
    canvas.height += inside * (slab - canvas.height)
    canvas.albedo += inside * (np.float32(ICE) - canvas.albedo)
    canvas.bury(inside)
    far = np.full(shape, 999.0, dtype=np.float32)
    pits = scatter(canvas, far, top, bottom)
    far += 1.6 * smooth_field(shape, rng, 60) + 0.35 * smooth_field(shape, rng, 16)
    depth = np.float32(SLAB_M / GROUND_SAMPLE_M)
    pit = smoothstep(-far / 3.2 + 0.5) * inside
    step = smoothstep((18 + 7 * smooth_field(shape, rng, 150) - far) / 9) * inside
    rubble = fractal(shape, rng, hurst=0.4, longest=24, shortest=2.5)
    canvas.height -= depth * pit + np.float32(0.32) * depth * step
    canvas.height += 0.26 * rubble * smoothstep(-far / 6 - 0.3) * inside
    # Walls have lost their frost.
    wall = np.exp(-(((far + 0.5) / 2.4) ** 2)) * inside
    canvas.albedo *= 1 - 0.20 * wall - 0.06 * pit
    for y0, x0, y1, x1 in pits:
        canvas.add("swiss cheese", y0, x0, y1, x1)


def scatter(
    canvas: Canvas, far: Field, top: int, bottom: int
) -> list[tuple[float, float, float, float]]:
    """Write distances to the nearest pit wall into `far` (negative inside); boxes of the pits."""
    rng, (_, samples) = canvas.rng, canvas.shape
    boxes = []
    placed: list[tuple[float, float, float]] = []
    for _ in range(int(0.00007 * samples * (bottom - top))):
        line, sample = rng.uniform(top + 60, max(top + 61, bottom - 60)), rng.uniform(0, samples)
        size = float(rng.lognormal(np.log(27), 0.4))
        if any(np.hypot(line - y, sample - x) < 1.25 * (size + s) + 14 for y, x, s in placed):
            continue
        placed.append((line, sample, size))
        turn, bend = rng.uniform(0, 2 * np.pi), rng.normal(0, 0.7)
        parts, y, x = [], line, sample
        for _ in range(int(rng.choice([1, 2, 3, 4], p=[0.35, 0.3, 0.2, 0.15]))):
            part = size * rng.uniform(0.55, 0.85)
            parts.append((y, x, part))
            y, x, turn = y + np.sin(turn) * part * 1.1, x + np.cos(turn) * part * 1.1, turn + bend
        for y, x, part in parts:
            window = canvas.window(y, x, part + 90)
            if window is not None:
                near = np.hypot(window.y, window.x) - np.float32(part)
                np.minimum(far[window.at], near, out=far[window.at])
        boxes.append(
            (min(y - r for y, _, r in parts), min(x - r for _, x, r in parts),
             max(y + r for y, _, r in parts), max(x + r for _, x, r in parts))
        )  # fmt: skip
    return boxes
