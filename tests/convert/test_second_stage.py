"""`winnow convert --verifier`: both stages are proven, or one line and nothing written; and the
bundle flies with them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from winnow_base.conversion import Conversion
from winnow_base.tiles import LabelledTiles
from winnow_cli import app
from winnow_convert.second_stage import within_the_limit
from winnow_edge.board.bench import MemorySource
from winnow_edge.bundle import Bundle, open_bundle
from winnow_edge.loop.interpreters import Interpreters
from winnow_edge.loop.run import run_swath
from winnow_edge.loop.settings import Settings
from winnow_edge.loop.summary import SwathSummary
from winnow_edge.mission import parse_mission
from winnow_edge.prepare.chain import Chain
from winnow_edge.runtimes import load_classifier
from winnow_edge.store.store import Store
from winnow_train import verifier
from winnow_train.tasks import read_like

LIMITS = ["--max-accuracy-loss", "0.1", "--max-recall-loss", "0.1", "--min-agreement", "0.9",
          "--min-rank-correlation", "0.5"]  # fmt: skip


@pytest.fixture(scope="module")
def write_verifier(
    tiny_model: Any, data_root: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Path]:
    """Writes the run folder of a verifier that says of a pair what the tiny model says of its
    tile: `write_verifier(key=value ...)` overrides keys of model.json."""

    def write(**changes: Any) -> Path:
        from winnow_convert.source import import_keras

        keras = import_keras()
        trunk = keras.Model(tiny_model.input, tiny_model.get_layer("pool").output)
        kernel, bias = tiny_model.get_layer("head").get_weights()
        both = np.concatenate([kernel[0, 0], np.zeros_like(kernel[0, 0])])
        net = verifier.assemble(trunk, both, bias)
        size = tiny_model.input.shape[1]
        card = {
            "name": "tiny-verifier",
            "classes": ["crater", "dune", "other"],
            "head": "softmax",
            "input": {"height": 2 * size, "width": size, "channels": 1},
            "temperature": 1.0,
            "training": {"dataset": "folder", "counts": {}},
            **changes,
        }
        plain = {
            **{key: value for key, value in card.items() if key != "recipe"},
            "input": {"height": size, "width": size, "channels": 1},
            "classes": ["crater", "dune", "other"],
        }
        train, val = (
            paired(read_like(plain, data_root, split, lambda *_: None))
            for split in ("train", "val")
        )
        folder = tmp_path_factory.mktemp("verifier")
        verifier.write_run(folder, net, card, train, val)
        return folder

    return write


def paired(tiles: LabelledTiles) -> LabelledTiles:
    """Pairs of tiles and surroundings, of which the latter are some other tile."""
    pairs = np.concatenate([tiles.tiles, np.roll(tiles.tiles, 7, axis=0)], axis=1)
    return LabelledTiles(pairs, tiles.labels, tiles.sources)


def command(run: Path, second: Path, data: Path, out: Path) -> list[str]:
    return ["winnow", "convert", str(run), "--verifier", str(second), "--data", str(data),
            "--out", str(out), *LIMITS, "--json"]  # fmt: skip


def run_command(monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> int:
    monkeypatch.setattr("sys.argv", arguments)
    try:
        app.main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def test_a_verifier_joins_its_first_stage_and_flies(
    run_folder: Path,
    write_verifier: Callable[..., Path],
    data_root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    second = write_verifier(
        temperature=1.01,
        recipe={
            "name": "v",
            "convert": {"thresholds": {"crater": 0.6, "dune": 0.55}, "refit": False},
        },
    )
    out = tmp_path / "two.winnow"
    assert run_command(monkeypatch, command(run_folder, second, data_root, out)) == 0
    report = json.loads(capsys.readouterr().out)
    bundle = open_bundle(out)
    assert bundle.verifier is not None
    manifest = bundle.verifier.manifest
    assert manifest.thresholds == {"crater": 0.6, "dune": 0.55} == report["verifier"]["thresholds"]
    assert manifest.temperature == 1.01
    assert manifest.metrics["n"] == 45 == report["verifier"]["metrics"]["n"]
    assert manifest.metrics["thresholds"]["by_class"]["crater"]["rule"] == "swaths"
    assert bundle.verifier.golden.logits["litert"].any()
    load_classifier(bundle.verifier, "litert")
    assert "## The second stage" in bundle.card

    tiles = read_like(json.loads((run_folder / "model.json").read_text()), data_root, "val",
                      lambda *_: None).tiles[..., 0]  # fmt: skip
    pixels = np.concatenate([np.concatenate(list(tiles[n : n + 9]), axis=1) for n in (0, 9, 27)])
    text = f'name = "m"\n[instrument.c]\nbundle = "{out}"\n[tiling]\nhop = {tiles.shape[1]}\n'
    one = fly(bundle, pixels, f"{text}[compute]\nverifier = false", tmp_path / "one")
    two = fly(bundle, pixels, text, tmp_path / "two")
    counts = two.verified
    assert counts is not None
    assert one.verified is None
    # It says what the first stage says, but for rounding.
    assert counts.verified == one.tally.detections > 4
    assert counts.refused + counts.relabelled <= counts.verified // 4
    assert two.tally.detections == counts.verified - counts.refused
    assert two.tally.by_class.keys() == one.tally.by_class.keys()


def fly(bundle: Bundle, pixels: np.ndarray, text: str, folder: Path) -> SwathSummary:
    mission = parse_mission(text)
    with (
        Interpreters(bundle, "litert", 1) as pool,
        Store.open(folder, mission=mission) as store,
    ):
        settings = Settings.of(mission, "c", bundle)
        lines = Chain(MemorySource(pixels), settings.camera)
        return run_swath(lines, settings, store, pool)


def test_a_verifier_that_does_not_fit_or_fails_its_gate_ends_in_one_line(
    run_folder: Path,
    write_verifier: Callable[..., Path],
    data_root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "two.winnow"

    def refused(second: Path, code: int, says: str) -> None:
        assert run_command(monkeypatch, command(run_folder, second, data_root, out)) == code
        shown = capsys.readouterr().err
        assert says in shown
        assert shown.count("\n") == 1
        assert not out.exists()

    others = "a verifier of other classes than its first stage: dune, crater, other"
    refused(write_verifier(classes=["dune", "crater", "other"]), 3, others)
    refused(run_folder, 3, "has input (32, 32, 1), must be a tile above its surroundings")
    dust = {"name": "v", "convert": {"thresholds": {"dust": 0.5}}}
    refused(write_verifier(recipe=dust), 3, "convert.thresholds names 'dust'")
    small = {"name": "v", "convert": {"max_bytes": 1000}}
    refused(write_verifier(recipe=small), 5, "max_bytes is 1000")
    without = write_verifier()
    (without / verifier.TILES).unlink()
    refused(without, 3, "holds no pairs of train")


def test_a_verifier_may_have_no_more_bytes_than_a_bundle_takes() -> None:
    assert within_the_limit(Conversion()).max_bytes == 3_000_000
    assert within_the_limit(Conversion(max_bytes=5)).max_bytes == 5
