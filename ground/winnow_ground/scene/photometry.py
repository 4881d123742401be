"""From heights and albedo to 8-bit samples: sun, shadow, sky, detector, map projection."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from winnow_ground.scene.canvas import Canvas, Field

INCIDENCE = 56.0
"""Degrees of the sun from the zenith: mid-afternoon, as HiRISE sees (ESP_072719_1970: 56.2)."""
SKY = 0.22
"""Light of the dusty sky, as a share of the sun's on level ground: shadows in real strips keep some
fifth of the brightness around them."""
LEAST_RANGE = 1.6
"""Radiance range of a stretch, in units of level ground: plain-only strips are no more contrasty
than real ones (their samples scatter by 9 to 27 of 255)."""


@dataclass(frozen=True, slots=True)
class Sun:
    """Where light comes from: `incidence` from the zenith and `azimuth` in the image, degrees.

    Azimuth 0 is towards growing samples, 90 towards growing lines.
    """

    incidence: float = INCIDENCE
    azimuth: float = 190.0


def lunar_lambert_weight(phase: float) -> float:
    """Limb-darkening parameter L at a phase angle in degrees.

    The cubic of McEwen (1996, Lunar Planet. Sci. XXVII, 841) for the function of McEwen (1991,
    doi:10.1016/0019-1035(91)90053-V).
    """
    return 1 - 0.019 * phase + 2.42e-4 * phase**2 - 1.46e-6 * phase**3


def shade(height: Field, albedo: Field, sun: Sun, *, sky: float = SKY) -> Field:
    """Radiance of the surface seen from above, relative to level ground of albedo 1.

    Lunar-Lambert: A (2 L mu0 / (mu0 + mu) + (1 - L) mu0); ground in a cast shadow gets the light of
    the sky alone, `sky` of what level ground gets from the sun.
    """
    i, azimuth = np.radians(sun.incidence), np.radians(sun.azimuth)
    p, q = np.gradient(height, axis=1), np.gradient(height, axis=0)
    mu = 1 / np.sqrt(1 + p * p + q * q)
    towards = np.float32(np.cos(azimuth)) * p + np.float32(np.sin(azimuth)) * q
    mu0 = np.clip((np.float32(np.cos(i)) - np.float32(np.sin(i)) * towards) * mu, 0, None)
    weight = np.float32(lunar_lambert_weight(sun.incidence))
    level = 2 * weight * np.cos(i) / (np.cos(i) + 1) + (1 - weight) * np.cos(i)
    light = 2 * weight * mu0 / (mu0 + mu) + (1 - weight) * mu0
    light *= lit(height, sun)
    out: Field = albedo * (light / np.float32(level) + np.float32(sky)) / np.float32(1 + sky)
    return out


def lit(height: Field, sun: Sun, *, reach: int = 128) -> Field:
    """1 where the sun is seen, 0 in shadow cast from within `reach` pixels, soft at the edge.

    The horizon towards the sun, raised to the ground's level by the tangent of the sun's elevation,
    is a running maximum; windows double, so it takes log2(reach) passes.
    """
    slope = np.float32(1 / np.tan(np.radians(sun.incidence)))
    dy, dx = np.sin(np.radians(sun.azimuth)), np.cos(np.radians(sun.azimuth))
    horizon = shifted(height, dy, dx) - slope
    step = 1
    while step < reach:
        far = shifted(horizon, dy * step, dx * step) - slope * step
        np.maximum(horizon, far, out=horizon)
        step *= 2
    out: Field = np.clip(1 - (horizon - height) * np.float32(2.0), 0, 1)
    return out


def shifted(field: Field, dy: float, dx: float) -> Field:
    """The field read `dy` lines and `dx` samples further on (whole pixels), far below beyond it."""
    (lines, samples), y, x = field.shape, round(dy), round(dx)
    out: Field = np.full_like(field, -1e6)
    if abs(y) < lines and abs(x) < samples:
        to = slice(max(0, -y), lines - max(0, y)), slice(max(0, -x), samples - max(0, x))
        out[to] = field[max(0, y) : lines - max(0, -y), max(0, x) : samples - max(0, -x)]
    return out


def expose(canvas: Canvas, radiance: Field, valid: Field, tilt: float) -> Field:
    """8-bit samples (as float): optics, detector, stretch as a browse product has it.

    A light blur, ten detectors side by side that differ by a fraction of a per cent (HiRISE's red
    mosaic, McEwen et al. 2007, doi:10.1029/2005JE002605), columns along the tilted track, shot
    noise, and a linear stretch between the 0.1 and 99.9 percentiles of what carries image.
    """
    rng, (lines, samples) = canvas.rng, canvas.shape
    blur = 0.05
    soft = radiance * np.float32(1 - 2 * blur)
    soft[1:-1] += np.float32(blur) * (radiance[2:] + radiance[:-2])
    soft[[0, -1]] += np.float32(2 * blur) * radiance[[0, -1]]
    across = soft * np.float32(1 - 2 * blur)
    across[:, 1:-1] += np.float32(blur) * (soft[:, 2:] + soft[:, :-2])
    across[:, [0, -1]] += np.float32(2 * blur) * soft[:, [0, -1]]
    y = np.arange(lines, dtype=np.float32)[:, None]
    x = np.arange(samples, dtype=np.float32)[None, :]
    column = (x - np.float32(np.tan(np.radians(tilt))) * y).astype(np.int32) % samples
    gain = 1 + np.repeat(rng.normal(0, 0.004, 12), -(-samples // 10))[:samples]
    gain = gain + rng.normal(0, 0.0015, samples)
    across *= gain.astype(np.float32)[column]
    image = stretch(across, valid)
    image += rng.standard_normal(image.shape, dtype=np.float32) * np.sqrt(0.5 + 0.006 * image)
    return image


def stretch(radiance: Field, valid: Field) -> Field:
    """Linear to 0..255, the 0.1 and 99.9 percentiles of the valid samples to 8 and 247.

    Ground without strong contrast keeps some of its blandness: the range is never less than
    LEAST_RANGE.
    """
    seen = radiance[::3, ::3][valid[::3, ::3] > 0]
    low, high = (float(v) for v in np.percentile(seen, [0.1, 99.9]))
    spare = max(0.0, LEAST_RANGE - (high - low)) / 2
    low, high = low - spare, high + spare
    out: Field = 8 + (radiance - np.float32(low)) * np.float32(239 / (high - low))
    return out


def footprint(shape: tuple[int, int], tilt: float) -> Field:
    """1 where a map-projected strip has image: a rectangle turned by `tilt` degrees in its frame.

    Negative tilts lean the other way; 0 fills the frame.
    """
    lines, samples = shape
    angle = np.radians(tilt)
    y = np.arange(lines, dtype=np.float32)[:, None]
    x = np.arange(samples, dtype=np.float32)[None, :]
    if tilt < 0:
        x, angle = samples - 1 - x, -angle
    # The largest strip of this tilt whose bounding rectangle is the frame.
    c, s = np.cos(angle), np.sin(angle)
    length = (lines * c - samples * s) / (c * c - s * s)
    width = (samples * c - lines * s) / (c * c - s * s)
    u = np.float32(c) * x - np.float32(s) * (y - np.float32(width * s))
    v = np.float32(s) * x + np.float32(c) * (y - np.float32(width * s))
    out: Field = ((u >= 0) & (u < width) & (v >= 0) & (v < length)).astype(np.float32)
    return out
