"""The rendered strip: its physics against formulas, its truth against its pixels, its files."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

from winnow_cli.app import app
from winnow_ground.scene import Scene, craters, dunes, photometry, render_scene, streaks, terrain
from winnow_ground.scene.canvas import Canvas
from winnow_ground.truth import load_truth


@pytest.fixture(scope="module")
def scene() -> Scene:
    return render_scene(lines=1700, samples=1024, seed=5)


def flat(lines: int, samples: int, seed: int = 0) -> Canvas:
    shape = (lines, samples)
    return Canvas(
        np.zeros(shape, np.float32), np.ones(shape, np.float32), np.random.default_rng(seed)
    )


def test_the_same_seed_gives_the_same_strip_and_another_seed_another() -> None:
    one, again, other = (render_scene(lines=300, samples=400, seed=s) for s in (3, 3, 4))
    assert np.array_equal(one.image, again.image)
    assert one.features == again.features
    assert not np.array_equal(one.image, other.image)


def test_the_frame_is_nodata_and_nothing_in_the_strip_is(scene: Scene) -> None:
    filled = scene.image != scene.nodata
    # One stretch of image in every line that has any: a convex strip in an empty frame.
    changes = np.abs(np.diff(np.pad(filled, ((0, 0), (1, 1))).astype(int), axis=1)).sum(axis=1)
    assert set(np.unique(changes)) <= {0, 2}
    assert 0.6 < filled.mean() < 0.97
    assert not filled[0, 0] and not filled[-1, -1]


def test_true_features_lie_in_the_strip_and_zones_cover_it(scene: Scene) -> None:
    lines, samples = scene.image.shape
    assert len(scene.features) > 10
    for feature in scene.features:
        b = feature.box
        assert 0 <= b.line < b.line + b.lines <= lines
        assert 0 <= b.sample < b.sample + b.samples <= samples
        patch = scene.image[b.line : b.line + b.lines, b.sample : b.sample + b.samples]
        assert (patch != scene.nodata).mean() >= 0.6
    edges = [(top, bottom) for _, top, bottom in scene.zones]
    assert edges[0][0] == 0 and edges[-1][1] == lines
    assert all(a[1] == b[0] for a, b in itertools.pairwise(edges))


def test_a_fresh_crater_has_the_published_shape() -> None:
    canvas = flat(301, 301)
    craters.dig(canvas, 150, 150, 60, 0.0)
    low, high = float(canvas.height.min()), float(canvas.height.max())
    # Spurs on the rim and an outline that is no circle blur the extremes by some per cent.
    assert (high - low) / 120 == pytest.approx(craters.DEPTH_TO_DIAMETER, abs=0.03)
    assert canvas.height[150, 150] == pytest.approx(low, abs=0.5)
    # Ejecta thin out as the cube of the distance.
    ring = canvas.height[150, [150 - 90, 150 + 90]].mean()
    assert ring == pytest.approx(craters.RIM_TO_DIAMETER * 120 * 1.5**-3, rel=0.35)
    assert canvas.height[150, 0] == pytest.approx(0, abs=0.5)


@given(st.floats(0, 0.2), st.floats(0.001, 0.05))
@settings(max_examples=40)
def test_craters_only_ever_get_shallower(age: float, more: float) -> None:
    assert craters.depth_left(age + more) < craters.depth_left(age)
    assert craters.depth_left(0) == pytest.approx(craters.DEPTH_TO_DIAMETER, abs=1e-3)


def test_crater_counts_fall_as_the_square_of_the_diameter() -> None:
    canvas = flat(2000, 2000, seed=2)
    craters.population(
        canvas, np.ones(2000, np.float32), per_megapixel=60, softening=0.0, smallest=12, largest=400
    )
    sizes = np.array([f.about["diameter"] for f in canvas.features])
    assert len(sizes) == pytest.approx(60 * 4, rel=0.2)
    ratio = (sizes >= 2 * craters.TRUTH_DIAMETER).sum() / len(sizes)
    assert ratio == pytest.approx(2**craters.COUNT_EXPONENT, abs=0.08)


def test_a_fractal_field_has_the_spectrum_of_its_hurst_exponent() -> None:
    field = terrain.fractal((512, 512), np.random.default_rng(1), hurst=0.7, longest=400)
    assert field.mean() == pytest.approx(0, abs=1e-4)
    assert field.std() == pytest.approx(1, abs=1e-3)
    power = np.abs(np.fft.fft2(field)) ** 2
    k = np.hypot(*np.meshgrid(np.fft.fftfreq(512) * 512, np.fft.fftfreq(512) * 512))
    rings = [(8, 16), (16, 32), (32, 64), (64, 128)]
    means = [power[(k >= a) & (k < b)].mean() for a, b in rings]
    slope = np.polyfit(np.log2([a for a, _ in rings]), np.log2(means), 1)[0]
    assert slope == pytest.approx(-2 * (0.7 + 1), abs=0.25)


def test_distance_to_a_level_line_is_the_distance() -> None:
    y, x = np.mgrid[0:320, 0:400].astype(np.float32)
    radius = np.hypot(y - 160, x - 200)
    signed = terrain.distance(100 - radius, 0.0)
    wrong = np.abs(signed - (100 - radius))
    wrong[np.abs(radius - 100) > 70] = 0
    assert wrong[12:-12, 12:-12].max() < 4  # half a cell of the grid that it is measured on


@given(st.floats(40, 200), st.floats(0, 1.2))
@settings(max_examples=25)
def test_no_slip_face_is_steeper_than_sand_can_lie(width: float, curl: float) -> None:
    y = np.arange(-width, width, 1, dtype=np.float32)[:, None]
    x = np.arange(-width, width, 1, dtype=np.float32)[None, :]
    height = dunes.barchan(x, y, width, curl)
    assert height.max() <= 1.16 * dunes.HEIGHT_TO_WIDTH * width
    assert height.max() > 0.7 * dunes.HEIGHT_TO_WIDTH * width
    downwind = -np.gradient(height, axis=1)
    assert downwind.max() <= dunes.REPOSE * 1.001


def test_level_ground_keeps_its_albedo_and_slopes_shade_by_the_sun() -> None:
    sun = photometry.Sun(azimuth=180)  # from small samples
    x = np.arange(200, dtype=np.float32)[None, :].repeat(50, axis=0)
    albedo = np.full(x.shape, 0.7, np.float32)
    assert photometry.shade(0 * x, albedo, sun)[:, 150:] == pytest.approx(0.7, rel=1e-3)
    towards = photometry.shade(0.2 * x, albedo, sun)[25, 150]
    away = photometry.shade(-0.2 * x, albedo, sun)[25, 150]
    assert away < 0.7 < towards
    # Steeper than the sun is high and facing away, a slope sees the sky alone.
    dark = photometry.shade(-2 * x, albedo, sun, sky=0.1)[25, 150]
    assert dark == pytest.approx(0.7 * 0.1 / 1.1, rel=1e-3)


def test_a_wall_casts_a_shadow_of_its_height_times_the_tangent_of_incidence() -> None:
    height = np.zeros((9, 300), np.float32)
    height[:, 90:100] = 40
    seen = photometry.lit(height, photometry.Sun(incidence=56, azimuth=180))
    assert (seen[4, 100:] < 0.5).sum() == pytest.approx(40 * np.tan(np.radians(56)), abs=2.5)
    assert seen[4, :90].min() == 1
    turned = photometry.lit(height, photometry.Sun(incidence=56, azimuth=0))
    assert (turned[4, :90] < 0.5).sum() == pytest.approx(40 * np.tan(np.radians(56)), abs=2.5)


def test_limb_darkening_follows_the_published_cubic() -> None:
    assert photometry.lunar_lambert_weight(0) == 1
    assert photometry.lunar_lambert_weight(60) == pytest.approx(0.41584, abs=1e-5)


@given(st.floats(-5, 5), st.integers(300, 900), st.integers(300, 900))
@settings(max_examples=30)
def test_the_footprint_is_a_rectangle_that_touches_its_frame(
    tilt: float, lines: int, samples: int
) -> None:
    valid = photometry.footprint((lines, samples), tilt)
    c, s = np.cos(np.radians(abs(tilt))), np.sin(np.radians(abs(tilt)))
    length = (lines * c - samples * s) / (c * c - s * s)
    width = (samples * c - lines * s) / (c * c - s * s)
    assert valid.sum() == pytest.approx(length * width, rel=0.02)
    touched = np.argwhere(valid)
    assert touched.min(0).max() <= 2
    assert lines - touched[:, 0].max() <= 3 and samples - touched[:, 1].max() <= 3


def test_streaks_run_down_slopes_from_a_point_and_end_where_it_is_level() -> None:
    canvas = flat(400, 300, seed=4)
    # A ramp of 25 degrees that falls with the lines, level from line 300 on.
    fall = np.tan(np.radians(25)) * (300 - np.minimum(np.arange(400), 300))
    canvas.height += fall[:, None].astype(np.float32)
    streaks.streak_zone(canvas, 0, 400, 12)
    assert len(canvas.features) > 2
    assert canvas.albedo.min() < 0.9
    assert canvas.albedo[330:].min() > 0.999
    for feature in canvas.features:
        assert feature.box.lines > feature.box.samples


def test_what_sand_buries_is_no_feature_any_more() -> None:
    canvas = flat(200, 200)
    canvas.add("crater", 20, 20, 60, 60)
    canvas.add("crater", 120, 120, 160, 160)
    part = canvas.part(10, 200)
    cover = np.zeros(part.shape, np.float32)
    cover[0:70, 0:70] = 1
    part.bury(cover)
    assert [f.box.line for f in canvas.features] == [120]


def test_rendered_plains_have_the_roughness_of_real_strips(mars_data: Path) -> None:
    """Contrast, gradients and spectrum of plain ground lie within those of real plain ground."""
    real = [
        figures(tile)
        for name, corners in {
            "ESP_072719_1970_RED.browse.jpg": [(500, 1300), (900, 2000), (1100, 2300)],
            "ESP_037117_1755_RED.abrowse.jpg": [(500, 700), (900, 1300)],
            "ESP_072116_1740_RED.NOMAP.browse.jpg": [(1100, 1700), (300, 1300)],
            "PSP_005038_1935_RED.abrowse.jpg": [(600, 1500), (600, 3600)],
        }.items()
        for tile in windows(mars_data / "swaths" / name, corners)
    ]
    strip = render_scene(lines=1000, samples=1024, seed=7)
    assert [kind for kind, _, _ in strip.zones] == ["plain"]
    corners = [(100, 100), (400, 100), (100, 450), (400, 450), (250, 250)]
    mine = np.median([figures(strip.image[y : y + 512, x : x + 512]) for y, x in corners], axis=0)
    for what, low, high in zip(mine, np.min(real, axis=0), np.max(real, axis=0), strict=True):
        assert 0.8 * low <= what <= 1.25 * high


def windows(path: Path, corners: list[tuple[int, int]]) -> list[np.ndarray]:
    with Image.open(path) as image:
        grey = image.convert("L")
        return [np.asarray(grey.crop((x, y, x + 512, y + 512))) for x, y in corners]


def figures(tile: np.ndarray) -> list[float]:
    """Standard deviation, mean gradient, and minus the slope of the power spectrum."""
    tile = tile.astype(float)
    dy, dx = np.gradient(tile)
    window = np.hanning(len(tile))[:, None] * np.hanning(len(tile))
    power = np.abs(np.fft.fft2((tile - tile.mean()) * window)) ** 2
    k = np.hypot(*np.meshgrid(*[np.fft.fftfreq(len(tile)) * len(tile)] * 2))
    rings = [(6, 12), (12, 24), (24, 48), (48, 96), (96, 192)]
    means = [power[(k >= a) & (k < b)].mean() for a, b in rings]
    slope = np.polyfit(np.log2([a for a, _ in rings]), np.log2(means), 1)[0]
    return [float(tile.std()), float(np.hypot(dy, dx).mean()), float(-slope)]


def test_the_command_writes_strips_and_truth_that_the_ground_reads(tmp_path: Path) -> None:
    runner = CliRunner()
    arguments = ["scene", "--out", str(tmp_path), "--lines", "300", "--samples", "256"]
    done = runner.invoke(app, [*arguments, "--seed", "8", "--count", "2", "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert [Path(entry["path"]).name for entry in told] == ["scene-8.png", "scene-9.png"]
    with Image.open(tmp_path / "scene-9.png") as image:
        assert (image.mode, image.size) == ("L", (256, 300))
    truth = json.loads((tmp_path / "scene-9.truth.json").read_text())
    assert (truth["lines"], truth["samples"], truth["seed"]) == (300, 256, 9)
    assert len(load_truth(tmp_path / "scene-9.truth.json")) == len(truth["features"])
    assert runner.invoke(app, [*arguments, "--lines", "3"]).exit_code == 2


def test_the_command_says_where_it_cannot_write(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    done = CliRunner().invoke(app, ["scene", "--out", str(tmp_path / "file"), "--lines", "256"])
    assert done.exception is not None and "file" in str(done.exception)
