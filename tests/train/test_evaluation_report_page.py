"""The evaluation page of a small net on a folder of rendered tiles, maps included."""

from __future__ import annotations

import json
import re
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from winnow_base.errors import DataError
from winnow_base.progress import Progress
from winnow_edge.errors import OutputError
from winnow_train.evaluate import evaluate
from winnow_train.report_maps import activation_maps, centred, occlusion_maps, overlay
from winnow_train.report_page import write_report

SIDE = 32


def net_of_spots() -> keras.Model:
    """A net whose second logit is the amount of bright pixels: its map must lie on the spot."""
    pixels = keras.Input((SIDE, SIDE, 1), name="pixels")
    features = keras.layers.Conv2D(2, 4, strides=4, activation="relu", name="stem")(pixels)
    pooled = keras.layers.GlobalAveragePooling2D(keepdims=True, name="pool")(features)
    norm = keras.layers.BatchNormalization(name="norm")(pooled)  # an affine head, not folded
    logits = keras.layers.Conv2D(3, 1, name="head")(norm)
    net = keras.Model(pixels, keras.layers.Reshape((3,), name="logits")(logits))
    kernel = np.full((4, 4, 1, 2), 1 / 16 / 255, np.float32)
    kernel[..., 1] *= -1
    net.get_layer("stem").set_weights([kernel, np.array([-0.5, 0.5], np.float32)])
    weights = np.array([[[[-9.0, 300.0, 0.0], [4.0, 0.0, 1.0]]]], np.float32)
    net.get_layer("head").set_weights([weights, np.array([0.5, -2.0, 0.0], np.float32)])
    return net


def spot(row: int, column: int, seed: int = 0) -> np.ndarray:
    tile = np.random.default_rng(seed).integers(20, 90, (SIDE, SIDE), np.uint8)
    tile[row : row + 8, column : column + 8] = 250
    return tile


def test_maps_add_up_to_the_logits_and_lie_on_the_spot() -> None:
    net = net_of_spots()
    tiles = np.stack([spot(4, 20), spot(20, 0, 1)])[..., None]
    made = activation_maps(net, tiles)
    assert made is not None
    maps, off = made
    assert maps.shape == (2, 8, 8, 3)
    assert off < 1e-3
    logits = keras.ops.convert_to_numpy(net(tiles.astype(np.float32)))
    assert maps.mean(axis=(1, 2)) == pytest.approx(logits, abs=1e-3)
    hot = [np.unravel_index(m[..., 1].argmax(), (8, 8)) for m in maps]
    assert [tuple(map(int, h)) for h in hot] == [(1, 5), (5, 0)]
    assert centred(maps, "softmax").sum(axis=3) == pytest.approx(np.zeros((2, 8, 8)), abs=1e-3)


def test_a_head_that_is_not_affine_gets_no_such_map() -> None:
    net = net_of_spots()
    squared = keras.layers.Activation("tanh")(net.output)
    tiles = np.stack([spot(4, 20)])[..., None]
    assert activation_maps(keras.Model(net.input, squared), tiles) is None
    flat = keras.layers.Flatten()(net.get_layer("stem").output)
    bare = keras.Model(net.input, keras.layers.Dense(3)(flat))
    assert activation_maps(bare, tiles) is None


def test_occlusion_finds_what_matters() -> None:
    tiles = np.stack([spot(8, 16)])[..., None]

    def infer(batch: np.ndarray) -> np.ndarray:
        corner = batch[:, 8:16, 16:24, 0].mean(axis=(1, 2))
        return np.stack([corner, np.zeros(len(batch))], axis=1)

    maps = occlusion_maps(infer, tiles)
    assert maps.shape == (1, 8, 8, 2)
    lost = maps[0, ..., 0] > 1
    assert lost.sum() == 4
    assert lost[2:4, 4:6].all()
    assert not maps[..., 1].any()


def test_an_overlay_is_red_for_and_blue_against() -> None:
    tile = np.full((16, 16, 1), 128, np.uint8)
    evidence = np.zeros((4, 4), np.float32)
    evidence[0, 0], evidence[3, 3] = 2.0, -2.0
    shown = overlay(tile, evidence).astype(int)
    assert shown[0, 0, 0] > shown[0, 0, 2] + 50
    assert shown[15, 15, 2] > shown[15, 15, 0] + 50


CLASSES = ("plain", "spot", "void")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run folder and a data folder: spots, plain ground, and some spots labelled plain."""
    root, folder = tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("run")
    rng = np.random.default_rng(5)
    for i in range(48):
        label = CLASSES[i % 2]
        wrong = i % 12 == 0
        tile = rng.integers(20, 90, (SIDE, SIDE), np.uint8)
        if (label == "spot") != wrong:
            row, column = rng.integers(0, SIDE - 8, 2)
            tile[row : row + 8, column : column + 8] = 250
        home = root / "val" / label
        home.mkdir(parents=True, exist_ok=True)
        Image.fromarray(tile).save(home / f"site{i % 6}-{i:06d}.png")
    (root / "val" / "void").mkdir()
    net_of_spots().save(folder / "model.keras")
    card = {
        "name": "spots & <b>bold</b>",
        "classes": list(CLASSES),
        "head": "softmax",
        "input": {"height": SIDE, "width": SIDE, "channels": 1},
        "temperature": 1.5,
        "training": {"dataset": "folder", "sources": {"train": ["site3", "elsewhere"]}},
        "seed": 4,
    }
    (folder / "model.json").write_text(json.dumps(card))
    return folder, root


def test_the_page_is_whole_and_its_figures_are_those_of_evaluate(
    run: tuple[Path, Path], tmp_path: Path
) -> None:
    folder, root = run
    found = write_report(folder, "folder", root, "val", tmp_path / "page", Progress())
    plain = evaluate(folder, "folder", root, "val", Progress())
    assert {k: found[k] for k in plain} == plain
    assert json.loads((tmp_path / "page" / "evaluation.json").read_text()) == found
    assert found["maps"]["method"] == "class activation"
    mistakes = {(w["true"], w["predicted"]): w for w in found["worst_confusions"]}
    assert set(mistakes["plain", "spot"]["tiles"]) == {
        "site0-000000.png",
        "site0-000012.png",
        "site0-000024.png",
        "site0-000036.png",
    }
    assert any("trained on 1 of these 6 sources (site3)" in n for n in found["notices"])
    assert any("No tile here of: void" in n for n in found["notices"])

    page = (tmp_path / "page" / "evaluation.html").read_text()
    assert "spots &amp; &lt;b&gt;bold" in page
    linked = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert linked
    assert all(uri.startswith("data:image/") for uri in linked)
    names = {p.name for p in (tmp_path / "page").glob("*.png")}
    assert names == {
        f"{n}.png"
        for n in (
            "confusion",
            "intervals",
            "precision-recall",
            "reliability",
            "risk-coverage",
            "roc",
            "thresholds",
        )
    }
    for name in names:
        with Image.open(tmp_path / "page" / name) as picture:
            assert picture.width > 300


def test_what_cannot_be_reported(run: tuple[Path, Path], tmp_path: Path) -> None:
    folder, root = run
    with pytest.raises(DataError, match="no tile in the set 'train'"):
        write_report(folder, "folder", root, "train", tmp_path / "page", Progress())
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError):
        write_report(folder, "folder", root, "val", tmp_path / "file", Progress())
