"""Which ground lies where along the track, and the scene as a whole."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from winnow_ground.scene import craters, dunes, ice, photometry, streaks
from winnow_ground.scene.canvas import Canvas, Feature, Field
from winnow_ground.scene.terrain import relief, ripples, smooth_field, zone_mask

ZONES = ("plain", "dark dunes", "slopes", "frosted dunes", "cap")
"""Kinds of ground, one after the other along the track. No real strip crosses them all."""
ZONE_LINES = 850
"""About how many lines one kind of ground takes."""
MARGIN = 160
"""Lines beyond a zone over which it fades into its neighbours."""


@dataclass(frozen=True, slots=True)
class Scene:
    """A rendered strip: `image` uint8 (lines, samples), the true `features` that can be seen in it,
    and the `zones` along it (kind, first line, line after the last)."""

    image: npt.NDArray[np.uint8]
    features: tuple[Feature, ...]
    zones: tuple[tuple[str, int, int], ...]
    seed: int
    nodata: int = 0


def plan_zones(lines: int, rng: np.random.Generator) -> list[tuple[str, int, int]]:
    """Zones of random length in random order: one in three is plain, the others take turns."""
    count = max(1, round(lines / ZONE_LINES))
    plains = -(-count // 3)
    others = [kind for _ in range(count) for kind in rng.permutation(ZONES[1:])]
    kinds = rng.permutation([ZONES[0]] * plains + others[: count - plains])
    shares = rng.uniform(0.8, 1.2, count)
    edges = np.concatenate([[0], np.cumsum(shares / shares.sum())]) * lines
    cuts = [round(e) for e in edges]
    return [(str(kind), cuts[n], cuts[n + 1]) for n, kind in enumerate(kinds)]


def render_scene(
    *, lines: int = 5120, samples: int = 2048, seed: int = 1, tilt: float | None = None
) -> Scene:
    """Render a strip; the same arguments give the same pixels and truth.

    `tilt` degrees by which the strip stands in its map-projected frame (None: random, 3 to 6).
    """
    rng = np.random.default_rng(seed)
    if tilt is None:
        # A long or short frame holds a strip of at least three quarters of its width only if the
        # strip leans little.
        steepest = np.degrees(np.arctan(0.25 * min(lines / samples, samples / lines)))
        tilt = min(float(rng.uniform(3, 6)), float(steepest))
    shape = (lines, samples)
    canvas = Canvas(height=relief(shape, rng), albedo=np.ones(shape, dtype=np.float32), rng=rng)
    canvas.albedo *= np.exp(
        0.05 * smooth_field(shape, rng, 700) + 0.03 * smooth_field(shape, rng, 130)
    )
    zones = plan_zones(lines, rng)
    paint(canvas, zones)
    sun = photometry.Sun(azimuth=float(rng.uniform(150, 215)))
    radiance = photometry.shade(canvas.height, canvas.albedo, sun)
    valid = photometry.footprint(shape, tilt)
    bright = radiance > 0.4 * canvas.albedo
    image = photometry.expose(canvas, radiance, valid, tilt)
    pixels = np.clip(np.rint(image), 1, 255).astype(np.uint8)
    pixels[valid == 0] = 0
    return Scene(pixels, tuple(visible(canvas.features, valid * bright)), tuple(zones), seed)


DENSITY = {"plain": 1.0, "dark dunes": 0.5, "slopes": 0.35, "frosted dunes": 0.0, "cap": 0.0}
"""Craters of a zone beside those of a plain."""


def paint(canvas: Canvas, zones: list[tuple[str, int, int]]) -> None:
    """The features of every zone, in the order in which nature laid them down."""
    cratered = np.zeros(canvas.shape[0], dtype=np.float32)
    for kind, top, bottom in zones:
        cratered[top:bottom] = DENSITY[kind]
        if kind == "slopes":
            streaks.mesas(canvas.part(top - MARGIN, bottom + MARGIN), *within(top, bottom))
    if cratered.any():
        craters.population(canvas, cratered, per_megapixel=20, softening=0.012)
    for kind, top, bottom in zones:
        wind = float(canvas.rng.uniform(0, 2 * np.pi))
        cover(canvas.part(top - MARGIN, bottom + MARGIN), kind, *within(top, bottom), wind)
    for kind, top, bottom in zones:
        if kind == "plain":
            impacts(canvas, top, bottom)


def cover(canvas: Canvas, kind: str, top: int, bottom: int, wind: float) -> None:
    """Sand, frost, ice or streaks of one zone; `wind` is the azimuth it blows from."""
    if kind == "plain":
        drift(canvas, top, bottom, wind)
    elif kind == "dark dunes":
        dunes.dark_field(canvas, top, bottom, wind)
    elif kind == "frosted dunes":
        dunes.frosted_field(canvas, top, bottom, wind)
    elif kind == "cap":
        ice.cap(canvas, top, bottom)
    elif kind == "slopes":
        count = int((bottom - top) * canvas.shape[1] / 42_000)
        streaks.streak_zone(canvas, top, bottom, count)


def impacts(canvas: Canvas, top: int, bottom: int) -> None:
    """One or two fresh impacts on a plain, away from its borders."""
    rng = canvas.rng
    for _ in range(1 + int(rng.random() < 0.5)):
        line = rng.uniform(top + 0.2 * (bottom - top), bottom - 0.2 * (bottom - top))
        sample = rng.uniform(0.25, 0.75) * canvas.shape[1]
        craters.fresh_impact(canvas, line, sample, float(rng.uniform(4, 8)))


def within(top: int, bottom: int) -> tuple[int, int]:
    """A zone's lines as seen from its part of the canvas, which has MARGIN more where it can."""
    margin = min(top, MARGIN)
    return margin, margin + bottom - top


def drift(canvas: Canvas, top: int, bottom: int, wind: float) -> None:
    """Patches of aeolian ridges on a plain: what is there and is no landmark."""
    inside = zone_mask(canvas, top, bottom)
    where = inside * np.clip(smooth_field(canvas.shape, canvas.rng, 260) - 1.1, 0, 0.5)
    crests = ripples(canvas.shape, canvas.rng, wavelength=11, azimuth=wind)
    canvas.height += 2.2 * where * crests


def visible(features: list[Feature], valid: Field) -> list[Feature]:
    """The features of which at least 60 per cent of the box carries image and is not in shadow, in
    line order; `valid` is 1 where that is so.
    """
    kept = []
    for feature in features:
        b = feature.box
        part = valid[b.line : b.line + b.lines, b.sample : b.sample + b.samples]
        if float(part.mean()) >= 0.6:
            kept.append(feature)
    return sorted(kept, key=lambda f: (f.box.line, f.box.sample, f.class_name))
