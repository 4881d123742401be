"""Ground between the features: fractal relief, scarps, ripples."""

from __future__ import annotations

import numpy as np
from PIL import Image

from winnow_ground.scene.canvas import Field, smoothstep


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
    ground = 2.6 * fractal(shape, rng, hurst=0.85, longest=900)
    ground += 0.17 * rough * fractal(shape, rng, hurst=0.45, longest=70, shortest=1.2)
    wander = fractal(shape, rng, hurst=1.15, longest=500, shortest=3.0)
    strength = smoothstep(smooth_field(shape, rng, 350) * 0.8)
    for level in (-0.8, 0.5):
        ground += 1.5 * strength * smoothstep(across(wander, level) / 5 + 0.5)
    return ground


def distance(form: Field, level: float, step: int = 8) -> Field:
    """Signed distance (pixels) from a level line of a smooth field, exact to a small part of `step`.

    Crossings are found between neighbours of a coarse grid and every cell is measured against all
    of them; without a crossing the distance is one canvas away.
    """
    coarse = shrink(form, step) - np.float32(level)
    points = []
    for axis in (0, 1):
        a, b = np.moveaxis(coarse, axis, 0)[:-1], np.moveaxis(coarse, axis, 0)[1:]
        at = np.argwhere(a * b < 0)
        share = a[tuple(at.T)] / (a[tuple(at.T)] - b[tuple(at.T)])
        at = at.astype(np.float32)
        at[:, 0] += share
        points.append(at if axis == 0 else at[:, ::-1])
    crossings = np.concatenate(points)
    if len(crossings) == 0:
        crossings = np.array([[-9e3, -9e3]], dtype=np.float32)
    y, x = np.indices(coarse.shape, dtype=np.float32)
    near = np.full(coarse.shape, np.inf, dtype=np.float32)
    for part in np.array_split(crossings, -(-len(crossings) // 64)):
        away = (y[..., None] - part[:, 0]) ** 2 + (x[..., None] - part[:, 1]) ** 2
        np.minimum(near, away.min(-1), out=near)
    signed = np.sqrt(near) * np.sign(coarse) * step
    edge = np.pad(signed, ((0, 1), (0, 1)), mode="edge")
    return upscale(edge.astype(np.float32), step, form.shape)


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
