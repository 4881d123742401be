"""Windows of whole pictures: what they teach, where they weigh, what is refused."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from PIL import Image

from winnow_base.errors import DataError, RecipeError
from winnow_base.progress import Progress
from winnow_edge.products.kinds import Box
from winnow_train import fit, samples
from winnow_train.datasets import Tile, TileSet
from winnow_train.mining import drawn_anew, wrongness
from winnow_train.recipe import Recipe, Windows, parse_recipe
from winnow_train.tasks import Task
from winnow_train.windows.cut import label, pixels_of, windows_of
from winnow_train.windows.join import add_windows, fingerprint_of, read_all
from winnow_train.windows.pictures import (
    NO_LOOKS,
    Feature,
    Picture,
    credits_of,
    find_looks,
    read_looks,
    read_pictures,
    read_truth,
)

CLASSES = ("other", "crater", "impact ejecta", "spider")
RULES = Windows(scales=(1, 2), hop=16, each=3, most=1000, centre=11, clear=4)
SIDE = 32


def picture(*features: Feature, **changes: Any) -> Picture:
    known = Picture(Path("scene.png"), "scene", features, ("spider",), 4)
    return dataclasses.replace(known, **changes)


def crater(line: int, sample: int, side: int, name: str = "crater") -> Feature:
    return Feature(name, Box(line, sample, side, side))


@pytest.mark.parametrize(
    ("features", "scale", "expected"),
    [
        ((crater(26, 26, 12),), 1, "crater"),  # in the middle, of size
        ((crater(26, 26, 3),), 1, "other"),  # too small to be seen
        ((crater(26, 26, 5),), 1, ""),  # too small to be shown, too large to be overlooked
        ((crater(20, 20, 60),), 1, ""),  # larger than the window
        ((crater(20, 40, 12),), 1, ""),  # reaches in, far from the middle
        ((crater(80, 80, 12),), 1, "other"),  # outside
        ((crater(52, 52, 24),), 2, "crater"),  # the same at half the size
        ((crater(26, 26, 12), crater(24, 24, 20, "impact ejecta")), 1, "impact ejecta"),
        ((crater(26, 26, 12), crater(16, 16, 9, "impact ejecta")), 1, ""),  # beside a blast zone
    ],
)
def test_what_a_window_shows(features: tuple[Feature, ...], scale: int, expected: str) -> None:
    assert label(picture(*features), 16, 16, SIDE, scale, RULES) == expected


def test_ground_without_boxes_is_background_only_where_boxes_are_complete() -> None:
    assert label(picture(complete=None), 0, 0, SIDE, 1, RULES) == ""
    assert label(picture(complete=8.0), 0, 0, SIDE, 1, RULES) == ""
    assert label(picture(complete=8.0), 0, 0, SIDE, 2, RULES) == "other"


def test_a_field_is_shown_by_windows_whose_middle_lies_in_it_from_its_scale_on() -> None:
    held = picture(Feature("spider", Box(0, 0, 40, 40), field=True), absent=())
    rules = dataclasses.replace(RULES, field_scale=2)
    assert label(held, 0, 0, SIDE, 2, rules) == "spider"
    assert label(held, 0, 0, SIDE, 1, rules) == ""
    assert label(held, 40, 40, SIDE, 2, rules) == ""


def test_windows_lie_within_the_picture_and_are_the_same_every_time() -> None:
    held = picture(crater(40, 40, 12), crater(2, 90, 10))
    made = [windows_of(held, 0, (100, 120), SIDE, RULES, seed=3) for _ in range(2)]
    assert made[0] == made[1] != windows_of(held, 0, (100, 120), SIDE, RULES, seed=4)
    for window in made[0]:
        assert 0 <= window.line <= -(-100 // window.scale) - SIDE
        assert 0 <= window.sample <= -(-120 // window.scale) - SIDE
    assert {w.class_name for w in made[0]} == {"crater", "other", ""}
    few = windows_of(held, 0, (100, 120), SIDE, dataclasses.replace(RULES, most=2), seed=3)
    assert len(few) <= 2 * 3 * 2


def test_windows_are_the_binned_picture_and_those_of_nodata_are_left_out() -> None:
    grey = np.arange(128 * 128, dtype=np.uint32).reshape(128, 128).astype(np.uint8)
    grey[:, :60] = 0
    some = windows_of(picture(), 0, grey.shape, SIDE, RULES, seed=1)
    cut = list(pixels_of(grey, some, SIDE))
    assert 0 < len(cut) < len(some)
    for window, part in cut:
        assert part.shape == (SIDE, SIDE)
        if window.scale == 1:
            rows = slice(window.line, window.line + SIDE)
            np.testing.assert_array_equal(part, grey[rows, window.sample : window.sample + SIDE])


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    """Two noisy pictures, one with the truth of its crater, and what a look says of both."""
    folder = tmp_path / "scenes"
    folder.mkdir()
    for seed, name in enumerate(("ESP_011111_1800_a.png", "b.png")):
        grey = np.random.default_rng(seed).integers(60, 200, (96, 96), np.uint8)
        Image.fromarray(grey).save(folder / name)
    truth = {"lines": 96, "samples": 96, "features": [box_of("crater", 40, 40, 12)]}
    (folder / "b.truth.json").write_text(json.dumps(truth))
    looks = {"*.png": {"absent": ["spider"]}, "b.png": {"complete": 4, "absent": ["impact ejecta"]}}
    (tmp_path / "looks.json").write_text(json.dumps({"pictures": looks}))
    return tmp_path


def box_of(name: str, line: float, sample: float, side: float) -> dict[str, Any]:
    return {"class": name, "line": line, "sample": sample, "lines": side, "samples": side}


def recipe_for(folder: Path, **windows: Any) -> Recipe:
    table = {
        "folders": ["scenes"],
        "looks": str(folder / "looks.json"),
        "scales": [1],
        "hop": 16,
        "centre": 11,
        "clear": 4,
        "draw": {"crater": 6, "other": 4, "none": 10},
        **windows,
    }
    return parse_recipe(
        {
            "name": "small",
            "data": {"dataset": "hirise-v3"},
            "input": {"height": SIDE, "width": SIDE},
            "windows": table,
        }
    )


def sample_and_task() -> tuple[samples.Sample, Task]:
    tiles = tuple(Tile(Path(f"t{i}"), i, "train", f"s{i}") for i in range(4))
    task = Task(TileSet("hirise-v3", CLASSES, tiles, ""), CLASSES, "softmax", np.arange(4))
    own, along = np.eye(4, dtype=np.float32), np.ones((4, 2), np.float32)
    weights = {"hirise-v3": np.ones(4, np.float32), "b": np.ones(4, np.float32)}
    pixels = [np.full((SIDE, SIDE, 1), 90, np.uint8)] * 4
    return samples.Sample(pixels, {"hirise-v3": own, "b": along}, weights, np.full(4, 0.25)), task


def test_what_is_known_of_pictures_is_joined(scenes: Path) -> None:
    first, second = read_all(recipe_for(scenes), scenes)
    assert (first.source, first.absent, first.complete) == ("ESP_011111_1800", ("spider",), None)
    assert (second.source, second.absent) == ("b", ("spider", "impact ejecta"))
    assert (second.complete, second.claimed) == (4, (96, 96))
    assert second.features == (crater(40, 40, 12),)
    assert fingerprint_of([first]) != fingerprint_of([second])


def test_windows_weigh_in_the_own_head_as_often_as_asked(scenes: Path) -> None:
    sample, task = sample_and_task()
    recipe = recipe_for(scenes)
    joined = add_windows(sample, recipe, task, read_all(recipe, scenes), Progress())
    first = joined.first_window
    assert first == 4
    assert joined.drawn == 4 + 20
    assert joined.draw.sum() == pytest.approx(1)
    assert joined.draw[:4].sum() * joined.drawn == pytest.approx(4)
    target = joined.targets["hirise-v3"][first:]
    craters = target[:, 1] == 1
    assert joined.draw[first:][craters].sum() * joined.drawn == pytest.approx(6)
    excluded = (target < 0).any(axis=1)
    assert joined.draw[first:][excluded].sum() * joined.drawn == pytest.approx(10)
    assert set(np.flatnonzero((target[excluded] < 0).any(axis=0))) == {2, 3}
    assert (joined.weights["hirise-v3"][first:] == 1).all()
    assert (joined.weights["b"][first:] == 0).all()
    names = [n for n, g in (("none", 0), ("other", 1)) if (joined.mined == g).any()]
    assert names == ["none", "other"]


def test_windows_keep_a_scale_of_their_own_in_a_batch(scenes: Path) -> None:
    sample, task = sample_and_task()
    recipe = recipe_for(scenes, zoom=[1.0, 1.0], shift=0.0)
    recipe = dataclasses.replace(recipe, augment=dataclasses.replace(recipe.augment, zoom=(3, 3)))
    joined = add_windows(sample, recipe, task, read_all(recipe, scenes), Progress())
    held = {p.tobytes() for p in joined.pixels[4:]}
    inputs, _, _ = fit.Epoch(joined, recipe, 0)[0]
    tiles = np.rint(inputs * 127.5).astype(np.uint8)
    views = [{np.rot90(t, k).tobytes() for k in range(4)} for t in tiles]
    mirrored = [{np.rot90(t[:, ::-1], k).tobytes() for k in range(4)} for t in tiles]
    views = [v | m for v, m in zip(views, mirrored, strict=True)]
    assert sum(bool(v & held) for v in views) >= 18


def test_windows_are_mined_by_the_net_that_learns(scenes: Path) -> None:
    """The net is asked about a window at the scale of its batches, not about pixels of 0 to 255."""
    sample, task = sample_and_task()
    recipe = recipe_for(scenes, mine_from=2)
    joined = add_windows(sample, recipe, task, read_all(recipe, scenes), Progress())
    pixels = keras.Input((SIDE, SIDE, 1))
    spiders = keras.layers.Dense(4, use_bias=False)
    mean = keras.layers.GlobalAveragePooling2D()(pixels)
    net = keras.Model(pixels, {"hirise-v3": spiders(mean)})
    spiders.set_weights([np.array([[0.0, 0.0, 0.0, 1.0]])])
    shift = np.zeros(4)
    assert fit.mine(net, recipe, "hirise-v3", shift, joined, 0) is joined
    draw = fit.mine(net, recipe, "hirise-v3", shift, joined, 1).draw
    chosen = joined.mined >= 0
    inputs = np.stack(joined.pixels)[chosen] / 127.5
    logits = np.zeros((len(inputs), 4))
    logits[:, 3] = inputs.mean(axis=(1, 2, 3))
    wrong = wrongness(logits, joined.targets["hirise-v3"][chosen])
    assert wrong.max() < 0.95
    expected = drawn_anew(joined.draw[chosen], joined.mined[chosen], wrong)
    assert draw[chosen] == pytest.approx(expected, rel=1e-4)
    assert (draw[~chosen] == joined.draw[~chosen]).all()


def test_a_group_without_windows_is_not_drawn(
    scenes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sample, task = sample_and_task()
    recipe = recipe_for(scenes, draw={"spider": 5, "crater": 6})
    joined = add_windows(sample, recipe, task, read_all(recipe, scenes), Progress())
    assert joined.drawn == 4 + 6
    assert "no picture gives a window of spider" in " ".join(capsys.readouterr().err.split())


def test_a_picture_that_can_show_no_class_is_refused(scenes: Path, tmp_path: Path) -> None:
    sample, task = sample_and_task()
    looks = tmp_path / "looks.json"
    looks.write_text(json.dumps({"pictures": {"*": {"absent": list(CLASSES)}}}))
    recipe = recipe_for(scenes, looks=str(looks))
    with pytest.raises(DataError, match="every class of the head is absent"):
        add_windows(sample, recipe, task, read_all(recipe, scenes), Progress())


def test_a_class_that_the_head_lacks_is_refused(scenes: Path) -> None:
    sample, task = sample_and_task()
    recipe = recipe_for(scenes, draw={"dune": 5})
    with pytest.raises(RecipeError, match=r"windows\.draw names 'dune'"):
        add_windows(sample, recipe, task, read_all(recipe, scenes), Progress())


def test_the_truth_of_another_picture_is_refused(scenes: Path) -> None:
    path = scenes / "scenes" / "b.truth.json"
    path.write_text(json.dumps({"lines": 90, "samples": 96, "features": []}))
    sample, task = sample_and_task()
    recipe = recipe_for(scenes)
    with pytest.raises(DataError, match=r"truth of another picture: .* 90 lines x 96 samples"):
        add_windows(sample, recipe, task, read_all(recipe, scenes), Progress())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "must be a table"),
        ("{", "is not JSON"),
        ('{"features": [{"line": 1}]}', r"`features\[0\]\.class` is missing"),
        (
            '{"lines": 9, "samples": 9, "features": [{"class": "a", "line": 9, "sample": 0, '
            '"lines": 2, "samples": 2}]}',
            "outside the picture of 9 lines x 9 samples",
        ),
        (
            '{"features": [{"class": "a", "line": 1, "sample": 0, "lines": 0, "samples": 2}]}',
            r"lines` is 0\.0, legal is 1",
        ),
    ],
)
def test_bad_truth_files_are_refused(tmp_path: Path, text: str, said: str) -> None:
    (path := tmp_path / "x.truth.json").write_text(text)
    with pytest.raises(DataError, match=said):
        read_truth(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "must be a table"),
        ("{}", "`pictures` is missing"),
        ('{"pictures": []}', "`pictures` must be tables"),
        ('{"pictures": {"a*": {"never": []}}}', r"unknown key `pictures\.a\*\.never`"),
        ('{"pictures": {"a*": {"absent": "spider"}}}', r"a\*\.absent` is 'spider', must be a list"),
        ('{"pictures": {"a*": 3}}', "`pictures` must be tables"),
        ('{"pictures": {"a*": {"complete": "20"}}}', "complete` is '20', must be a number"),
        ('{"pictures": {"a*": {"complete": NaN}}}', "no finite number"),
        ('{"pictures": {"a*": {"credit": 3}}}', "credit` is 3, must be a text"),
        (
            '{"pictures": {"a*": {"features": [{"class": "a"}]}}}',
            r"features\[0\]\.line` is missing",
        ),
    ],
)
def test_bad_looks_are_refused(tmp_path: Path, text: str, said: str) -> None:
    (path := tmp_path / "looks.json").write_text(text)
    with pytest.raises(DataError, match=said):
        read_looks(path)


def test_folders_without_pictures_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no picture"):
        read_pictures(tmp_path, NO_LOOKS)
    with pytest.raises(DataError, match="no such folder"):
        read_pictures(tmp_path / "gone", NO_LOOKS)
    with pytest.raises(DataError, match="no such looks file"):
        find_looks("gone")


def test_the_shipped_looks_are_read() -> None:
    looks = read_looks(find_looks("mars"))
    assert "spider" in looks.of("MC11E-A.png").absent
    assert looks.of("mars_crater_042.jpg").source == "mars_crater_033"


def test_a_net_names_whose_pictures_its_windows_were_cut_from(scenes: Path, tmp_path: Path) -> None:
    looks = tmp_path / "looks.json"
    entries = {"*": {"credit": "A. Nonym"}, "b.*": {"credit": "N. N. (CC BY 4.0)"}}
    looks.write_text(json.dumps({"pictures": entries}))
    pictures = read_all(recipe_for(scenes, looks=str(looks)), scenes)
    assert credits_of(pictures) == "Windows: A. Nonym; N. N. (CC BY 4.0). "
    assert credits_of(()) == ""


def test_an_impossible_class_costs_its_posterior_and_nothing_else() -> None:
    loss = fit.AdjustedCrossEntropy(np.zeros(3), "softmax")
    logits = np.log(np.array([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2], [0.1, 0.1, 0.8]], np.float32))
    target = np.array([[-1, 0, -1], [0, 1, 0], [0, 0, 0]], np.float32)
    each = keras.ops.convert_to_numpy(loss.call(target, logits))
    assert each == pytest.approx([-np.log(0.3), -np.log(0.3), 0.0], abs=1e-5)


def test_a_window_of_no_class_moves_its_impossible_classes_alone() -> None:
    loss = fit.AdjustedCrossEntropy(np.zeros(3), "softmax")
    posterior = np.array([[0.5, 0.3, 0.2]], np.float32)
    logits = keras.Variable(np.log(posterior))
    keras.optimizers.SGD(1.0).apply_gradients(
        [(gradient(loss, np.array([[-1, 0, 0]], np.float32), logits), logits)]
    )
    moved = np.asarray(logits) - np.log(posterior)
    # d/dz of -log(1 - p0): p0 for the impossible class, -p0 pk / (1 - p0) for the others.
    assert moved[0] == pytest.approx([-0.5, 0.3, 0.2], abs=1e-5)
    unknown = np.zeros((1, 3), np.float32)
    assert np.asarray(gradient(loss, unknown, logits)) == pytest.approx(0, abs=1e-6)


def gradient(loss: keras.losses.Loss, target: np.ndarray, logits: keras.Variable) -> Any:
    """Of the loss by the logits, on the backend that trains."""
    import tensorflow as tf

    with tf.GradientTape() as tape:
        value = loss(target, logits)
    return tape.gradient(value, logits.value)


def test_hard_negatives_are_drawn_more_often_within_their_group() -> None:
    target = np.array([[1, 0, 0], [0, -1, -1], [0, -1, -1], [1, 0, 0]], np.float32)
    logits = np.log(
        np.array([[0.2, 0.4, 0.4], [0.1, 0.9, 0.0], [0.98, 0.01, 0.01], [0.5, 0.5, 0.0]]) + 1e-6
    )
    assert wrongness(logits, target) == pytest.approx([0.8, 0.9, 0.02, 0.5], abs=1e-3)
    wrong = wrongness(logits, target)
    drawn = drawn_anew(np.full(4, 0.25), np.array([-1, 0, 0, 1]), wrong)
    assert drawn.sum() == pytest.approx(1)
    assert drawn[[0, 3]] == pytest.approx(0.25)
    assert drawn[1] / drawn[2] == pytest.approx(1.0 / 0.12, rel=0.02)
