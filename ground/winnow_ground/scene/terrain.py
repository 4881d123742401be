"""Ground between the features: fractal relief, scarps, ripples."""

from __future__ import annotations

import numpy as np
from PIL import Image

from winnow_ground.scene.canvas import Canvas, Field, smoothstep


def fractal(
    shape: tuple[int, int],
    rng: np.random.Generator,
    *,
    hurst: float,
    longest: float,
    shortest: float = 0.0,
) -> Field:
    """A self-affine random field of zero mean and unit standard deviation, by spectral synthesis.

    `hurst` H sets the power spectrum k^-(2H + 2) of an isotropic surface (Turcotte 1997, Fractals
    and Chaos in Geology and Geophysics, 7.3); `longest` and `shortest` (pixels) are the wavelengths
    beyond which it falls to nothing. Periodic; a rectangle is cut from a larger period.
    """
    lines, samples = (-(-n // 128) * 128 for n in shape)
    noise = np.fft.rfft2(rng.standard_normal((lines, samples), dtype=np.float32))
    ky = np.fft.fftfreq(lines).astype(np.float32)[:, None]
    kx = np.fft.rfftfreq(samples).astype(np.float32)[None, :]
    k = np.hypot(ky, kx)
    k[0, 0] = 1.0
    gain = k ** np.float32(-(hurst + 1))
    gain *= 1 - np.exp(-((k * longest) ** 4))
    if shortest:
        gain *= np.exp(-((k * shortest) ** 2))
    gain[0, 0] = 0
    surface = np.fft.irfft2(noise * gain, s=(lines, samples)).astype(np.float32)
    surface = surface[: shape[0], : shape[1]]
    out: Field = (surface - surface.mean()) / (surface.std() + np.float32(1e-9))
    return out


def smooth_field(shape: tuple[int, int], rng: np.random.Generator, scale: float) -> Field:
    """A smooth random field with features of about `scale` pixels, unit standard deviation."""
    step = max(1, int(scale / 8))
    small = (-(-shape[0] // step) + 8, -(-shape[1] // step) + 8)
    coarse = fractal(small, rng, hurst=1.6, longest=scale / step)
    return upscale(coarse, step, shape)


def upscale(coarse: Field, step: int, shape: tuple[int, int]) -> Field:
    """A coarse field enlarged `step` times by cubic interpolation and cut to `shape`."""
    size = (coarse.shape[1] * step, coarse.shape[0] * step)
    fine = np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC))
    out: Field = np.ascontiguousarray(fine[: shape[0], : shape[1]], dtype=np.float32)
    return out


def shrink(field: Field, step: int) -> Field:
    """The field box-averaged by `step`."""
    size = (max(1, field.shape[1] // step), max(1, field.shape[0] // step))
    out: Field = np.asarray(
        Image.fromarray(field).resize(size, Image.Resampling.BOX), dtype=np.float32
    )
    return out


def relief(shape: tuple[int, int], rng: np.random.Generator) -> Field:
    """Cratered plain without its craters: height in pixels.

    Self-affine with H = 0.8, rough and smooth patches side by side (roughness itself varies: Mars
    is multifractal, Landais et al. 2015, doi:10.5194/npg-22-713-2015), low scarps along level lines
    of a smooth field, as lobate flows and layers make them.
    """
    patches = smooth_field(shape, rng, 420)
    rough = np.exp(0.6 * patches + 0.3 * smooth_field(shape, rng, 120))
    # What is longer than a few pixels is made at half the resolution, in a quarter of the time.
    half = (-(-shape[0] // 2) + 1, -(-shape[1] // 2) + 1)
    ground = 2.6 * upscale(fractal(half, rng, hurst=0.85, longest=450), 2, shape)
    ground += 0.15 * rough * fractal(shape, rng, hurst=0.45, longest=70, shortest=1.2)
    wander = upscale(fractal(half, rng, hurst=1.15, longest=250, shortest=1.5), 2, shape)
    strength = smoothstep(smooth_field(shape, rng, 350) * 0.8)
    for level in (-0.8, 0.5):
        ground += 1.5 * strength * smoothstep(across(wander, level) / 5 + 0.5)
    return ground


def distance(form: Field, level: float, step: int = 8) -> Field:
    """Signed distance (pixels) from a level line of a smooth field, good to a part of `step`.

    Crossings are found between neighbours of a coarse grid and every cell is measured against all
    of them; without a crossing the distance is one canvas away.
    """
    coarse = shrink(form, step) - np.float32(level)
    points = []
    for axis in (0, 1):
        a, b = np.moveaxis(coarse, axis, 0)[:-1], np.moveaxis(coarse, axis, 0)[1:]
        row, column = np.nonzero(a * b < 0)
        before, after = a[row, column], b[row, column]
        at = np.stack([row + before / (before - after), column], axis=1).astype(np.float32)
        points.append(at if axis == 0 else at[:, ::-1])
    crossings = np.concatenate(points)
    if len(crossings) == 0:
        crossings = np.array([[-9e3, -9e3]], dtype=np.float32)
    y = np.arange(coarse.shape[0], dtype=np.float32)[:, None]
    x = np.arange(coarse.shape[1], dtype=np.float32)[None, :]
    near = np.full(coarse.shape, np.inf, dtype=np.float32)
    for part in np.array_split(crossings, -(-len(crossings) // 64)):
        away = (y[..., None] - part[:, 0]) ** 2 + (x[..., None] - part[:, 1]) ** 2
        np.minimum(near, away.min(-1), out=near)
    signed = np.sqrt(near) * np.sign(coarse) * step
    # Where two walls meet, distances have a crease that the grid would turn into a saw.
    soft = smooth_under(signed.astype(np.float32), 2)
    return upscale(np.pad(soft, ((0, 1), (0, 1)), mode="edge"), step, form.shape)


def across(form: Field, level: float) -> Field:
    """Signed distance (pixels, near enough) from a level line of a smooth field."""
    dy, dx = np.gradient(form)
    steep = np.hypot(dy, dx)
    out: Field = (form - np.float32(level)) / np.maximum(steep, np.float32(0.4) * steep.mean())
    return out


def ripples(
    shape: tuple[int, int], rng: np.random.Generator, *, wavelength: float, azimuth: float
) -> Field:
    """Transverse aeolian ridges: sharp crests across the wind, 0 to 1, crest lines that wander.

    Mars's ridges lie 10 to 60 m apart and are symmetric (Balme et al. 2008,
    doi:10.1016/j.geomorph.2008.03.011).
    """
    lines, samples = shape
    y = np.arange(lines, dtype=np.float32)[:, None]
    x = np.arange(samples, dtype=np.float32)[None, :]
    along = np.float32(np.cos(azimuth)) * x + np.float32(np.sin(azimuth)) * y
    phase = along / np.float32(wavelength) + 0.9 * smooth_field(shape, rng, 200)
    phase += 0.12 * smooth_field(shape, rng, 30)
    crest = 1 - np.abs(np.sin(np.pi * phase))
    out: Field = (crest**1.3 * smoothstep(smooth_field(shape, rng, 24) + 1.2)).astype(np.float32)
    return out


def zone_mask(
    canvas: Canvas, top: int, bottom: int, *, soft: float = 120.0, ragged: float = 7.0
) -> Field:
    """1 between two lines, falling to 0 over `soft` lines on either side of a border that wanders,
    `ragged` pixels of it at short wavelengths.
    """
    y = np.arange(canvas.shape[0], dtype=np.float32)[:, None]
    wander = 30 * smooth_field(canvas.shape, canvas.rng, 420)
    if ragged:
        wander += ragged * smooth_field(canvas.shape, canvas.rng, 70)
    # At the ends of the swath the zone just goes on.
    upper = np.float32(1) if top <= 0 else smoothstep((y - top + wander) / soft + 0.5)
    lower = smoothstep((bottom - y + wander) / soft + 0.5) if bottom < len(y) else np.float32(1)
    out: Field = np.broadcast_to(upper * lower, canvas.shape)
    return out


def smooth_under(height: Field, step: int = 16) -> Field:
    """The ground without its small relief: what lies under sand."""
    lines, samples = height.shape
    padded = np.pad(height, ((0, -lines % step + step), (0, -samples % step + step)), mode="edge")
    return upscale(shrink(padded, step), step, height.shape)
