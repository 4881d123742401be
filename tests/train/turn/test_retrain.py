"""`winnow retrain` whole: labels become the next bundle, and what is worse is refused."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.running import Done, winnow
from tests.train.conftest import RECIPE, draw
from winnow_edge.bundle import open_bundle
from winnow_train.turn.plan import Flying, Settings

pytestmark = pytest.mark.slow  # two minutes of processor time; test_turn.py has the quick parts

LOOSE = """
[convert]
background = ["plain"]
calibration = 48
max_accuracy_loss = 0.5
max_recall_loss = 0.5
min_agreement = 0.3
min_rank_correlation = -1.0
"""
KINDS = ("bar", "disc", "plain")
SIDE = 40


@pytest.fixture(scope="module")
def flying(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that was trained for a moment, and has something to learn."""
    folder = tmp_path_factory.mktemp("flying")
    (folder / "shapes.toml").write_text(RECIPE.replace('last = "conv_pw_2_relu"\n', "") + LOOSE)
    run, bundle = folder / "run", folder / "shapes.winnow"
    command = ("train", folder / "shapes.toml", "--data", shapes, "--out", run)
    for done in (
        winnow(*command, "--set", "train.epochs=4"),
        winnow("convert", run, "--data", shapes, "--out", bundle),
    ):
        assert done.returncode == 0, done.stderr
    return bundle


@pytest.fixture(scope="module")
def catalogue(flying: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of six strips that was classified, and every tile of it labelled as it is."""
    folder = tmp_path_factory.mktemp("archive")
    rng, truth = np.random.default_rng(5), {}
    for number in range(6):
        kinds = rng.choice(KINDS, (6, 6))
        rows = [np.concatenate([draw(k, rng)[4:36, 4:36] for k in row], axis=1) for row in kinds]
        Image.fromarray(np.concatenate(rows)).save(folder / f"strip-{number}.png")
        truth[f"strip-{number}.png"] = kinds
    mission = folder / "mission.toml"
    mission.write_text(
        f'name = "m"\n[instrument.camera]\nbundle = "{flying}"\n[tiling]\nhop = 32\n'
    )
    path = folder / "mars.db"
    done = winnow(
        "catalogue", "build", folder, "--mission", mission, "--to", path, "--every-tile",
        "--workers", 1,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    with closing(sqlite3.connect(path)) as db, db:
        db.executemany("INSERT OR IGNORE INTO class (name) VALUES (?)", [(k,) for k in KINDS])
        classes = dict(db.execute("SELECT name, id FROM class"))
        for tile, name, line, sample in db.execute(
            "SELECT tile.id, name, line, sample FROM tile JOIN swath ON swath.id = tile.swath"
        ).fetchall():
            kind = str(truth[name][line // 32, sample // 32])
            answer = ("nothing", None) if kind == "plain" else ("shows", classes[kind])
            db.execute(
                "INSERT INTO label (tile, person, at, answer, class) VALUES (?, 'ann', '', ?, ?)",
                (tile, *answer),
            )
    return path


def retrained(flying: Path, catalogue: Path, shapes: Path, to: Path, *more: object) -> Done:
    return winnow("retrain", flying, "--labels", catalogue, "--data", shapes, "--to", to, *more)


def test_a_turn_leaves_a_better_bundle_that_flies(
    flying: Path, catalogue: Path, shapes: Path, tmp_path: Path
) -> None:
    to = tmp_path / "shapes-r2.winnow"
    done = retrained(flying, catalogue, shapes, to, "--epochs", 8, "--rate", 0.003)
    assert done.returncode == 0, done.stderr + done.stdout
    before, after = open_bundle(flying).manifest, open_bundle(to).manifest
    assert after.name == "shapes-r2" and after.classes == before.classes
    assert set(before.training["sources"]["val"]) <= set(after.training["sources"]["val"])
    assert not set(after.training["sources"]["train"]) & set(after.training["sources"]["val"])
    told = json.loads((tmp_path / "shapes-r2-turn" / "turn.json").read_text())
    gains = {(gain["on"], gain["figure"]): gain for gain in told["gains"]}
    assert gains["new labels", "accuracy"]["gain"] > 0
    assert gains["old val", "accuracy"]["n"] == 30
    assert told["tiles"]["new"] == 6 * 36
    assert "whole strips: none were given (--swaths)" in told["notes"]
    mission = tmp_path / "mission.toml"
    mission.write_text(f'name = "m"\n[instrument.camera]\nbundle = "{to}"\n')
    strip = catalogue.parent / "strip-0.png"
    assert winnow("look", strip, "--mission", mission, "--out", tmp_path / "look").returncode == 0
    # What it made flies and is trained on in the next turn, where its sources stay.
    flew = Flying.of(open_bundle(to))
    old = flew.old_tiles(tmp_path / "shapes-r2-turn" / "tiles")
    assert set(old.sources) >= {"sitea_bar", "sitef_plain", "strip-0"}
    recipe = flew.recipe_of_turn(old, Settings(), tmp_path)
    assert tuple(recipe.data.map) == after.classes and recipe.name == "shapes-r3"


def test_a_net_that_is_worse_is_refused_and_nothing_is_written(
    flying: Path, catalogue: Path, shapes: Path, tmp_path: Path
) -> None:
    """Steps that are far too long ruin the net, with luck so far that it has no int8 form."""
    to = tmp_path / "worse.winnow"
    done = retrained(flying, catalogue, shapes, to, "--epochs", 1, "--rate", 0.3, "--tuned")
    said = done.stderr.strip().splitlines()[-1]
    assert done.returncode in (3, 5), done.stderr + done.stdout
    assert "accuracy" in said if done.returncode == 5 else "the net is ruined" in said
    assert not to.exists()
