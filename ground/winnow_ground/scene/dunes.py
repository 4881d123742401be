"""Dunes: dark barchans of basaltic sand, and polar dunes under seasonal frost."""

from __future__ import annotations

import numpy as np

from winnow_ground.scene.canvas import Canvas, Field, smoothstep
from winnow_ground.scene.terrain import fractal, ripples, smooth_field, smooth_under, zone_mask

REPOSE = float(np.tan(np.radians(33)))
"""Slope of the slip face, the angle of repose of sand (on Mars 33-34 degrees: Atwood-Stone & McEwen
2013, doi:10.1002/grl.50586)."""
HEIGHT_TO_WIDTH = 0.10
"""Barchans are about a tenth as high as wide (Hesp & Hastings 1998,
doi:10.1016/S0169-555X(97)00070-2)."""
DARK_SAND, DARK_GROUND, FROST = 0.24, 0.5, 1.4
"""Albedo against dusty plain: basaltic sand, ground under a film of it as round every dark field
(ESP_037117_1755), CO2 frost as strips that show both are stretched."""
FROSTED_GROUND = 1.17
"""Albedo of the ground under thinner frost around frosted dunes."""

Dune = tuple[float, float, float]
"""Line, sample, width (pixels)."""


def barchan(x: Field, y: Field, width: float, curl: float) -> Field:
    """Height (pixels) of a barchan at `x` pixels downwind and `y` pixels across from its middle.

    A parabolic windward body cut by a slip face at the angle of repose, whose foot is a parabola
    that runs out into the horns (the two parabolas of Sauermann et al. 2000,
    doi:10.1016/S0169-555X(00)00047-6); `curl` 0 gives a dome, 1 long horns.
    """
    high = HEIGHT_TO_WIDTH * width
    half, length = width / 2, width * 0.75
    body = high * (1.15 - (x / length) ** 2 - (y / half) ** 2)
    foot = 0.22 * length + curl * 1.9 * y**2 / width
    out: Field = np.clip(np.minimum(body, REPOSE * (foot - x)), 0, None).astype(np.float32)
    return out


def lay(canvas: Canvas, dunes: list[Dune], wind: float, *, curl: float) -> tuple[Field, Field]:
    """Heights of the dunes alone (pixels) and the share of sand (0 to 1), over the whole canvas.

    `wind` is the direction in which the dunes move, radians from the sample axis to the line axis.
    """
    sand = np.zeros(canvas.shape, dtype=np.float32)
    warp = (
        2.4 * smooth_field(canvas.shape, canvas.rng, 150),
        2.4 * smooth_field(canvas.shape, canvas.rng, 150),
    )
    for line, sample, width in dunes:
        window = canvas.window(line, sample, width * 1.7)
        if window is None:
            continue
        bend = np.float32(min(2.0, width / 35))
        dy, dx = window.y + bend * warp[0][window.at], window.x + bend * warp[1][window.at]
        turn = wind + canvas.rng.normal(0, 0.12)
        along = np.float32(np.cos(turn)) * dx + np.float32(np.sin(turn)) * dy
        across = np.float32(np.cos(turn)) * dy - np.float32(np.sin(turn)) * dx
        one = barchan(along, across, width, curl * canvas.rng.uniform(0.6, 1.3))
        np.maximum(sand[window.at], one, out=sand[window.at])
    # Saltating sand leaves no step at a dune's toe.
    sand -= np.float32(1.2) * (1 - np.exp(-sand / np.float32(1.2)))
    return sand, 1 - np.exp(-sand / np.float32(0.35))


def groups(dunes: list[Dune], reach: float) -> list[list[Dune]]:
    """Dunes whose discs of `reach` widths touch are one group: a field reads as one feature."""
    parent = list(range(len(dunes)))

    def root(i: int) -> int:
        while parent[i] != i:
            i = parent[i]
        return i

    for i, (y, x, w) in enumerate(dunes):
        for j in range(i):
            v, u, s = dunes[j]
            if np.hypot(y - v, x - u) < reach * (w + s):
                parent[root(i)] = root(j)
    found: dict[int, list[Dune]] = {}
    for i, dune in enumerate(dunes):
        found.setdefault(root(i), []).append(dune)
    return list(found.values())


def note(canvas: Canvas, class_name: str, members: list[Dune], reach: float) -> None:
    """Write a group of dunes into the truth, its box around every member."""
    canvas.add(
        class_name,
        min(y - reach * w for y, _, w in members),
        min(x - reach * w for _, x, w in members),
        max(y + reach * w for y, _, w in members),
        max(x + reach * w for _, x, w in members),
        dunes=float(len(members)),
    )


def dark_field(canvas: Canvas, top: int, bottom: int, wind: float) -> None:
    """A field of dark dunes between two lines: crowded inside, single barchans at its margins."""
    rng, (_, samples) = canvas.rng, canvas.shape
    middle, half = (top + bottom) / 2, (bottom - top) / 2
    dunes: list[Dune] = []
    for _ in range(int(0.0003 * samples * half)):
        line = middle + half * float(np.clip(rng.normal(0, 0.36), -0.95, 0.95))
        centred = 1 - abs(line - middle) / half
        width = float(rng.lognormal(np.log(44 + 60 * centred), 0.38))
        sample = float(rng.uniform(0, samples))
        # Downwind neighbours in a field do not stand inside each other.
        if all(np.hypot(line - y, sample - x) > 0.33 * (width + w) for y, x, w in dunes):
            dunes.append((line, sample, width))
    sand, share = lay(canvas, dunes, wind, curl=0.9)
    shape = canvas.shape
    ripple = ripples(shape, rng, wavelength=7, azimuth=wind + 0.3)
    sand += 0.16 * share * ripple * smoothstep(smooth_field(shape, rng, 90))
    # Thin sheets of sand between the dunes where they crowd, ground showing through.
    near = np.exp(-(((np.arange(shape[0], dtype=np.float32) - middle) / (0.62 * half)) ** 2))
    veil = fractal(shape, rng, hurst=0.6, longest=260, shortest=2)
    sheet = 0.7 * near[:, None] * smoothstep(0.2 + 0.75 * veil)
    film = zone_mask(canvas, top, bottom, soft=260) * (0.85 + 0.15 * np.clip(veil, -1, 1))
    canvas.albedo *= 1 - film * np.float32(1 - DARK_GROUND)
    ground = canvas.height
    level = smooth_under(ground)
    canvas.height[:] = ground * (1 - share) + share * level + sand
    dark = np.maximum(share, sheet)
    canvas.albedo *= 1 - dark * np.float32(1 - DARK_SAND / DARK_GROUND)
    canvas.bury(share)
    for members in groups(dunes, 0.42):
        if max(w for _, _, w in members) >= 36:
            note(canvas, "dark dune", members, 0.62)


def frosted_field(canvas: Canvas, top: int, bottom: int, wind: float) -> None:
    """Single bright dunes under frost on pitted ground; sand breaks through at their feet.

    In spring gas jets spill dark sand over the frost, first along crests and feet (Hansen et al.
    2011, doi:10.1126/science.1197636).
    """
    rng, (_, samples) = canvas.rng, canvas.shape
    dunes: list[Dune] = []
    for _ in range(int(0.00003 * samples * (bottom - top))):
        width = float(rng.lognormal(np.log(50), 0.35))
        line, sample = float(rng.uniform(top, bottom)), float(rng.uniform(0, samples))
        if all(np.hypot(line - y, sample - x) > 0.9 * (width + w) for y, x, w in dunes):
            dunes.append((line, sample, width))
    sand, share = lay(canvas, dunes, wind, curl=0.12)
    inside = zone_mask(canvas, top, bottom)
    pits = fractal(canvas.shape, rng, hurst=0.3, longest=22, shortest=4.0)
    canvas.height += 0.2 * inside * (1 - share) * np.abs(pits)
    # Frost rounds off the brink.
    sand = smooth_under(sand, 3)
    canvas.height += share * (smooth_under(canvas.height) - canvas.height) + sand
    canvas.bury(share)
    canvas.albedo *= 1 + inside * np.float32(FROSTED_GROUND - 1)
    canvas.albedo *= 1 + (np.float32(FROST / FROSTED_GROUND) - 1) * share
    for line, sample, width in dunes:
        spill(canvas, line, sample, width, sand, wind)
        if width >= 24:
            note(canvas, "bright dune", [(line, sample, width)], 0.75)


def spill(
    canvas: Canvas, line: float, sample: float, width: float, sand: Field, wind: float
) -> None:
    """Dark spots of bare sand along the foot of one frosted dune, and its dark slip face."""
    rng, (lines, samples) = canvas.rng, canvas.shape
    window = canvas.window(line, sample, width * 1.1)
    if window is None:
        return
    low = sand[window.at]
    # The lee foot lies longest in shade and keeps no frost.
    lee = np.float32(np.cos(wind)) * window.x + np.float32(np.sin(wind)) * window.y
    bare = smoothstep(lee / (0.3 * width)) * smoothstep(low / 0.4) * smoothstep((2.4 - low) / 1.5)
    bare *= np.hypot(window.y, window.x) < 0.7 * width
    canvas.albedo[window.at] *= 1 - 0.6 * bare
    for turn in rng.uniform(0, 2 * np.pi, int(rng.integers(8, 19))):
        step = np.array([np.sin(turn), np.cos(turn)])
        for reach in np.arange(0.15 * width, 1.05 * width, 1.0):
            y, x = int(line + step[0] * reach), int(sample + step[1] * reach)
            if not (0 <= y < lines and 0 <= x < samples):
                break
            if sand[y, x] < 0.25:
                away = float(rng.uniform(0.4, 2.0))
                size = float(rng.lognormal(np.log(1.9), 0.4)) * (0.7 + width / 120)
                y, x = int(y + step[0] * size * away), int(x + step[1] * size * away)
                spot = canvas.window(y, x, size * 3)
                if spot is not None:
                    far = np.hypot(spot.y, spot.x * np.float32(rng.uniform(0.6, 1.6)))
                    dark = np.clip(1.6 - far / np.float32(size), 0, 1)
                    canvas.albedo[spot.at] *= 1 - 0.78 * dark
                break
