"""Dusty slopes and the dark streaks that avalanches of dust leave on them."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from winnow_ground.scene.canvas import Canvas, Field, smoothstep
from winnow_ground.scene.terrain import (
    distance,
    fractal,
    shrink,
    smooth_field,
    smooth_under,
    zone_mask,
)

START_SLOPE = float(np.tan(np.radians(18)))
"""Streaks start on slopes near the angle of repose of dust, on none below about 18 degrees ..."""
STOP_SLOPE = float(np.tan(np.radians(7)))
"""... and run on until it is nearly level (Sullivan et al. 2001, doi:10.1029/2000JE001296)."""
_COARSE = 4

Path = list[tuple[float, float]]
"""Line and sample of points down a slope."""


def mesas(canvas: Canvas, top: int, bottom: int) -> None:
    """Plateaus and basins with smooth walls near the angle of repose, mantled by bright dust."""
    rng, shape = canvas.rng, canvas.shape
    inside = zone_mask(canvas, top, bottom, soft=300, ragged=0)
    form = smooth_field(shape, rng, 900)
    wobble = 6 * smooth_field(shape, rng, 160) + 0.25 * smooth_field(shape, rng, 40)
    rise: Field = np.zeros(shape, dtype=np.float32)
    for level, high in ((-1.0, 52.0), (0.9, 62.0)):
        slope = np.tan(np.radians(rng.uniform(19, 24)))
        reach = (distance(form, level) + wobble) * np.float32(slope / high)
        # A straight wall with a rounded brow and foot.
        rise += np.float32(high / 2) * (np.hypot(reach, 0.08) - np.hypot(reach - 1, 0.08))
    walls = np.hypot(np.gradient(rise, axis=0), np.gradient(rise, axis=1))
    cover = smooth_under(smoothstep(walls / 0.25) * inside, 24)
    flutes = fractal(shape, rng, hurst=0.6, longest=46, shortest=3)
    canvas.height *= 1 - 0.75 * cover
    canvas.height += inside * rise + 0.10 * cover * flutes
    canvas.albedo *= 1 + 0.3 * cover


def streak_zone(canvas: Canvas, top: int, bottom: int, count: int) -> None:
    """Up to `count` streaks on the steepest slopes between two lines, of several ages."""
    rng = canvas.rng
    coarse = smooth_under(shrink(canvas.height, _COARSE), 2)
    dy: Field = np.gradient(coarse, axis=0) / _COARSE
    dx: Field = np.gradient(coarse, axis=1) / _COARSE
    steep = np.hypot(dy, dx)
    rows = slice(top // _COARSE, max(top // _COARSE + 1, bottom // _COARSE))
    spots = np.argwhere(steep[rows] > START_SLOPE)
    if len(spots) == 0:
        return
    taken: list[tuple[float, float]] = []
    for row, column in spots[rng.permutation(len(spots))[: count * 40]]:
        if len(taken) >= count:
            break
        start = ((row + rows.start) * _COARSE, column * _COARSE)
        if any(np.hypot(start[0] - y, start[1] - x) < 46 for y, x in taken):
            continue
        path = descend(start, dy, dx, float(rng.lognormal(np.log(150), 0.5)))
        if len(path) >= 12:
            taken.append((float(start[0]), float(start[1])))
            streak(canvas, path)


def descend(start: tuple[float, float], dy: Field, dx: Field, longest: float) -> Path:
    """Points every four pixels down the steepest descent, until it is level or `longest` is run."""
    path: Path = [start]
    heading = np.zeros(2)
    while 4.0 * len(path) < longest:
        y, x = path[-1]
        row, column = int(y / _COARSE), int(x / _COARSE)
        if not (0 <= row < dy.shape[0] and 0 <= column < dy.shape[1]):
            break
        down = -np.array([dy[row, column], dx[row, column]], dtype=np.float64)
        steepness = float(np.hypot(*down))
        if steepness < STOP_SLOPE:
            break
        # An avalanche has momentum: it rounds off what the ground under it does.
        heading = 0.7 * heading + 0.3 * down / steepness
        heading /= np.hypot(*heading)
        path.append((y + 4 * heading[0], x + 4 * heading[1]))
    return path


def streak(canvas: Canvas, path: Path) -> None:
    """One streak down a path: begins at a point, widens, ends in fingers; dust-free, so darker.

    Contrast is some ten per cent of the albedo when fresh, which browse stretches exaggerate
    (Sullivan et al. 2001), and fades with age; the relief under it shows through.
    """
    rng = canvas.rng
    points = np.array(path)
    length = 4.0 * len(path)
    wide = float(np.clip(length * rng.uniform(0.07, 0.17), 7, 32))
    top, left = points.min(0) - wide - 6
    bottom, right = points.max(0) + wide + 6
    lines, samples = canvas.shape
    y0, x0 = max(0, int(top)), max(0, int(left))
    y1, x1 = min(lines, int(bottom)), min(samples, int(right))
    if y1 <= y0 + 4 or x1 <= x0 + 4:
        return
    scale = 3
    mask = Image.new("L", ((x1 - x0) * scale, (y1 - y0) * scale))
    draw = ImageDraw.Draw(mask)
    along = np.gradient(points, axis=0)
    normal = np.stack([-along[:, 1], along[:, 0]], axis=1)
    normal /= np.maximum(np.hypot(normal[:, 0], normal[:, 1]), 1e-6)[:, None]
    share = np.linspace(0, 1, len(points))
    for finger in range(int(rng.integers(1, 4))):
        end = 1.0 if finger == 0 else rng.uniform(0.6, 0.95)
        offset = 0.0 if finger == 0 else rng.normal(0, 0.45)
        kept = share <= end
        s = share[kept] / end
        half = wide / 2 * s**0.8 * np.clip((1.02 - s) / 0.16, 0, 1) ** 0.6
        half = np.maximum(half, 0.4) * (0.6 if finger else 1.0)
        ragged = 1 + rng.normal(0, 0.12, len(s))
        core = points[kept] + normal[kept] * (offset * wide * s**1.5)[:, None]
        outline = np.concatenate(
            [core + normal[kept] * (half * ragged)[:, None],
             (core - normal[kept] * (half * ragged[::-1])[:, None])[::-1]]
        )  # fmt: skip
        draw.polygon([((x - x0) * scale, (y - y0) * scale) for y, x in outline], fill=255)
    small = mask.resize((x1 - x0, y1 - y0), Image.Resampling.BOX)
    cover = np.asarray(small, dtype=np.float32) / 255
    seen = np.argwhere(cover > 0.3)
    if len(seen) < 20:
        return
    contrast = float(rng.uniform(0.16, 0.42))
    canvas.albedo[y0:y1, x0:x1] *= 1 - np.float32(contrast) * cover
    (a, b), (c, d) = seen.min(0), seen.max(0) + 1
    if contrast >= 0.2:
        canvas.add("slope streak", y0 + a, x0 + b, y0 + c, x0 + d, contrast=contrast, length=length)
