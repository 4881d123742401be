"""Impact craters: fresh shape, degradation by diffusion, size-frequency distribution, ejecta."""

from __future__ import annotations

import functools

import numpy as np
from PIL import Image

from winnow_ground.scene.canvas import Canvas, Field, polar

DEPTH_TO_DIAMETER = 0.20
"""Rim to floor, fresh simple craters: 0.2 (Pike 1974, doi:10.1029/GL001i007p00291; on Mars small
fresh ones scatter about it, Daubar et al. 2014, doi:10.1002/2014JE004671)."""
RIM_TO_DIAMETER = 0.036
"""Rim over the plain (Pike 1977, Impact and Explosion Cratering, p. 489)."""
CAVITY_EXPONENT = 1.75
"""Cross-section of the cavity: neither cone nor paraboloid (Watters et al. 2015,
doi:10.1002/2014JE004630)."""
EJECTA_EXPONENT = -3.0
"""Thickness of ejecta against distance (McGetchin et al. 1973,
doi:10.1016/0012-821X(73)90162-3)."""
COUNT_EXPONENT = -2.0
"""Cumulative size-frequency slope of small craters in equilibrium (Minton et al. 2019,
doi:10.1016/j.icarus.2019.02.021)."""

TRUTH_DIAMETER = 24.0
"""Craters of at least so many pixels (70 m) across count as true features ..."""
TRUTH_DEPTH = 0.08
"""... if at least this depth-to-diameter is left of them."""

_STEP = 0.02
_AGES = np.array([0, 0.0015, 0.004, 0.008, 0.016, 0.03, 0.06, 0.12, 0.25])


@functools.cache
def _profiles() -> tuple[Field, Field]:
    """Radii (in crater radii) and profiles (heights in crater radii) at each age of `_AGES`.

    Craters soften by topographic diffusion, dz/dt = kappa laplacian(z) (Fassett & Thomson 2014,
    doi:10.1002/2014JE004698); age is kappa t / R^2.
    """
    r = np.arange(0, 4 + _STEP, _STEP)
    rim, depth = 2 * RIM_TO_DIAMETER, 2 * DEPTH_TO_DIAMETER
    inside = rim - depth * (1 - np.minimum(r, 1) ** CAVITY_EXPONENT)
    z = np.where(r < 1, inside, rim * np.maximum(r, 1) ** EJECTA_EXPONENT)
    out, now, step = [], 0.0, 0.2 * _STEP**2
    half = r[:-1] + _STEP / 2
    for age in _AGES:
        for _ in range(round((age - now) / step)):
            flux = half * np.diff(z)
            z[1:-1] += step / _STEP**2 * np.diff(flux) / r[1:-1]
            z[0] += step / _STEP**2 * 4 * (z[1] - z[0])
        now = age
        out.append(z - z[-1])
    return r.astype(np.float32), np.array(out, dtype=np.float32)


def profile(radius: Field, age: float) -> Field:
    """Height (in crater radii) at `radius` (in crater radii) of a crater of diffusive age `age`."""
    r, table = _profiles()
    age = float(np.clip(age, 0, _AGES[-1]))
    upper = min(int(np.searchsorted(_AGES, age, side="right")), len(_AGES) - 1)
    share = (age - _AGES[upper - 1]) / (_AGES[upper] - _AGES[upper - 1])
    mixed = table[upper - 1] * (1 - share) + table[upper] * share
    out: Field = np.interp(radius, r, mixed, right=0.0).astype(np.float32)
    return out


def depth_left(age: float) -> float:
    """Depth-to-diameter ratio left at a diffusive age."""
    z = profile(np.linspace(0, 2, 101, dtype=np.float32), age)
    return float(z.max() - z[0]) / 2


def dig(
    canvas: Canvas, line: float, sample: float, radius: float, age: float, *, fill: float = 0.0
) -> None:
    """One crater of `radius` pixels: dug, with a raised rim; `fill` of its depth is sand.

    The outline departs from a circle by low harmonics, as fitted to Martian craters by Watters et
    al. (2017, doi:10.1016/j.icarus.2016.12.015).
    """
    window = canvas.window(line, sample, radius * 3.2)
    if window is None:
        return
    distance, angle = polar(window)
    outline: Field = np.ones_like(distance)
    if radius > 4:
        for n in range(2, 8):
            size = canvas.rng.normal(0, 0.055 / n**0.8)
            outline += np.float32(size) * np.cos(n * angle + canvas.rng.uniform(0, 2 * np.pi))
    reach = distance / (radius * outline)
    z = profile(reach, age)
    if radius > 7:
        z += (
            spurs(canvas, angle)
            * np.exp(-(((reach - 0.93) / 0.17) ** 2))
            * np.float32(0.024 * max(0.2, 1 - age / 0.03))
        )
    if fill > 0:
        low, high = float(z.min()), 0.0
        z = np.maximum(z, low + fill * (high - low))
    # Outside its rim, ejecta drape the ground; inside, the old relief is gone.
    inside = np.clip(1.15 - reach, 0, 0.15) / 0.15
    patch = canvas.height[window.at]
    level = trend(patch)
    keep = np.float32(max(0.0, 1 - age / 0.02) * 0.8)
    patch += z * np.float32(radius) - inside * keep * (patch - level) * (1 - fill)


def spurs(canvas: Canvas, angle: Field) -> Field:
    """Rock spurs and chutes round a rim: smooth noise in the direction, about -2 to 2."""
    bins = 48
    noise = canvas.rng.standard_normal(bins)
    noise = (noise + 0.5 * np.roll(noise, 1) + 0.5 * np.roll(noise, -1)) / 1.22
    turn = (angle / (2 * np.pi)) % 1.0
    at = np.arange(bins + 1) / bins
    out: Field = np.interp(turn, at, np.append(noise, noise[0])).astype(np.float32)
    return out


def trend(patch: Field) -> Field:
    """The plane through the edges of a patch: the slope that a crater was dug into."""
    lines, samples = patch.shape
    fall = (patch[-1].mean() - patch[0].mean()) / max(lines - 1, 1)
    tilt = (patch[:, -1].mean() - patch[:, 0].mean()) / max(samples - 1, 1)
    edges = (patch[0].mean() + patch[-1].mean() + patch[:, 0].mean() + patch[:, -1].mean()) / 4
    y = np.arange(lines, dtype=np.float32)[:, None] - np.float32((lines - 1) / 2)
    x = np.arange(samples, dtype=np.float32)[None, :] - np.float32((samples - 1) / 2)
    out: Field = (edges + fall * y + tilt * x).astype(np.float32)
    return out


def population(
    canvas: Canvas,
    weight: Field,
    *,
    per_megapixel: float,
    softening: float,
    smallest: float = 3.0,
    largest: float = 170.0,
) -> None:
    """Craters all over the ground where `weight` (0 to 1 for each line) lets them, oldest first.

    `per_megapixel` counts those over TRUTH_DIAMETER in a million pixels. Each has a random age up
    to that of the ground; the oldest crater of TRUTH_DIAMETER has the diffusive age `softening`.
    """
    rng, (lines, samples) = canvas.rng, canvas.shape
    area = float(weight.sum()) * samples / 1e6
    mean = per_megapixel * area * (smallest / TRUTH_DIAMETER) ** COUNT_EXPONENT
    count = int(rng.poisson(mean))
    if count == 0:
        return
    diameters = smallest * rng.random(count) ** (1 / COUNT_EXPONENT)
    chance = weight / weight.sum()
    rows = rng.choice(lines, count, p=chance.astype(np.float64) / float(chance.sum(dtype=float)))
    columns = rng.uniform(0, samples, count)
    ages = np.sort(rng.random(count))[::-1]
    for line, sample, diameter, age in zip(rows, columns, diameters, ages, strict=True):
        if diameter > largest:
            continue
        tau = softening * age * (TRUTH_DIAMETER / diameter) ** 2
        if tau > _AGES[-1]:
            continue
        fill = rng.uniform(0.1, 0.6) if diameter > 12 and rng.random() < 0.6 else 0.0
        dig(canvas, line, sample, diameter / 2, tau, fill=fill)
        left = depth_left(tau) * (1 - fill * 0.85)
        if diameter >= TRUTH_DIAMETER and left >= TRUTH_DEPTH:
            reach = diameter / 2 * 1.15
            canvas.add(
                "crater", line - reach, sample - reach, line + reach, sample + reach,
                diameter=float(diameter), depth_to_diameter=left,
            )  # fmt: skip


def fresh_impact(canvas: Canvas, line: float, sample: float, radius: float) -> None:
    """A new crater in dust: dark blast zone and rays, as in HiRISE images of dated impacts.

    The blast strips bright dust: darkest near the crater, ragged and grainy further out, rays of
    uneven length (Malin et al. 2006, doi:10.1126/science.1135156; Daubar et al. 2013,
    doi:10.1016/j.icarus.2013.04.009). Dark zones reach 10 to 20 crater radii.
    """
    rng = canvas.rng
    reach = radius * rng.uniform(11, 17)
    window = canvas.window(line, sample, reach * 3.0)
    if window is None:
        return
    dig(canvas, line, sample, radius, 0.0)
    distance, angle = polar(window)
    turn = (angle / (2 * np.pi)) % 1.0
    # Rays: reach against direction, many thin and some wide, lengths log-normal.
    bins = 360
    rays = np.full(bins, 0.6)
    spots = np.arange(bins)
    for _ in range(int(rng.integers(40, 64))):
        away = np.abs((spots - rng.integers(bins) + bins // 2) % bins - bins // 2)
        tall, wide = min(1.0, rng.lognormal(-1.3, 0.6)), rng.uniform(2, 9)
        rays = np.maximum(rays, 0.6 + tall * np.exp(-((away / wide) ** 2)))
    edge = np.interp(turn, np.arange(bins + 1) / bins, np.append(rays, rays[0]), period=1.0)
    # Grain drawn out radially: noise over (log radius, direction).
    grain = Image.fromarray(rng.standard_normal((32, 180), dtype=np.float32))
    fine = np.asarray(grain.resize((1440, 256), Image.Resampling.BICUBIC))
    row = np.clip(np.log(distance / reach + 0.05) * 56 + 170, 0, 255)
    texture = 1.3 * fine[row.astype(int), (turn * 1439.99).astype(int)]
    shape = distance / (reach * edge)
    fading = 1.5 * np.exp(-((shape / 0.62) ** 1.3))
    darkness = np.clip(fading * (1 + 0.55 * texture * np.minimum(2 * shape, 1)), 0, 1)
    halo = 0.14 * np.exp(-((distance / (reach * 1.7)) ** 2))
    grains = rng.random(distance.shape, dtype=np.float32)
    darkness *= 0.55 + 0.45 * (grains < 1.35 - 0.75 * np.clip(shape, 0, 1.4))
    canvas.albedo[window.at] *= (1 - np.maximum(0.9 * darkness, halo)).astype(np.float32)
    half = reach * 1.1
    canvas.add(
        "impact ejecta", line - half, sample - half, line + half, sample + half,
        diameter=2 * radius,
    )  # fmt: skip
