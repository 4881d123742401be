"""`winnow cv` as a command: run, killed and gone on with, compared, and what it chose trained."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.running import winnow
from winnow_base.errors import RecipeError
from winnow_edge.bundle import open_bundle
from winnow_train.chosen import read_chosen
from winnow_train.crossval.outcome import load
from winnow_train.recipe import Recipe, read_recipe

WINNOW = str(Path(sys.executable).parent / "winnow")
SHORT = ("--set", "train.epochs=1", "--folds", 2)


@pytest.fixture(scope="module")
def crossed(shapes: Path, recipe_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("cv") / "shapes"
    done = winnow("cv", recipe_file, "--data", shapes, "--out", out, *SHORT)
    assert done.returncode == 0, done.stderr
    assert "150 tiles, 18 sources, 18 held out as wholes (source), 2 folds" in done.stdout
    return out


def test_every_tile_is_answered_by_a_net_that_never_saw_its_source(crossed: Path) -> None:
    found = load(crossed)
    assert len(found) == 150
    assert len(set(found.names.tolist())) == 150
    for fold in (1, 2):
        card = json.loads((crossed / f"fold-{fold}/model.json").read_text())
        held = set(found.sources[found.fold == fold].tolist())
        assert set(card["training"]["held"]) == held
        assert not held & set(card["training"]["sources"]["train"])
        assert not held & set(card["lineage"]["sources"])


def test_logits_hold_no_prior_and_their_shift_gives_it_back(crossed: Path) -> None:
    """The recipe adds half of the log prior to the loss, and the run folder's net gives it back."""
    found = load(crossed)
    card = json.loads((crossed / "fold-1/model.json").read_text())
    count = np.array(list(card["training"]["counts"]["train"].values()), float)
    shift = found.shift[found.fold == 1][0]
    np.testing.assert_allclose(shift, 0.5 * np.log(count / count.sum()), atol=1e-6)


def test_the_folder_says_everything(crossed: Path) -> None:
    report = json.loads((crossed / "cv.json").read_text())
    assert report["nested"]["value"]["n"] == 150
    assert set(report["chosen"]) == {"temperature", "prior", "borderline"}
    page = (crossed / "cv.html").read_text()
    assert "shapes, cross-validated" in page
    assert page.count('alt="tile"') == min(48, report["suspects"])
    assert len((crossed / "suspects.csv").read_text().splitlines()) == 1 + report["suspects"]


def test_a_finished_one_is_judged_again_without_training(
    crossed: Path, shapes: Path, recipe_file: Path
) -> None:
    before = (crossed / "fold-1/model.keras").stat().st_mtime_ns
    again = winnow(
        "cv",
        recipe_file,
        "--data",
        shapes,
        "--out",
        crossed,
        *SHORT,
        "--against",
        crossed,
        "--json",
    )
    assert again.returncode == 0, again.stderr
    against = json.loads(again.stdout)["against"]
    assert against["gain"]["accuracy"]["value"] == 0
    assert against["verdict"] == "within its noise: keep what flies"
    assert (crossed / "fold-1/model.keras").stat().st_mtime_ns == before


def test_a_model_is_compared_on_what_it_never_saw(
    crossed: Path, shapes: Path, recipe_file: Path
) -> None:
    command = ("cv", recipe_file, "--data", shapes, "--out", crossed, *SHORT)
    done = winnow(*command, "--against", crossed / "fold-1", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    gain = report["against"]
    assert gain["unseen"] == gain["n"] == report["by_fold"][0]["n"]
    assert gain["its_val"] == 0  # held out: nothing was chosen there
    assert gain["tiles"].startswith(f"{gain['n']} tiles of sources that it never learned from")
    assert f"({150 - gain['n']} left out)" in gain["tiles"]


def test_tiles_of_a_rivals_own_val_are_said_and_compared_apart(
    crossed: Path, shapes: Path, recipe_file: Path, tmp_path: Path
) -> None:
    """A model says that it learned from two thirds of its sources and was chosen on others."""
    rival = tmp_path / "rival"
    shutil.copytree(crossed / "fold-1", rival, ignore=shutil.ignore_patterns("checkpoint*"))
    card = json.loads((rival / "model.json").read_text())
    held = sorted(card["training"].pop("held"))
    card["training"]["sources"]["val"] = held[:4]
    (rival / "model.json").write_text(json.dumps(card))
    command = ("cv", recipe_file, "--data", shapes, "--out", crossed, *SHORT)
    done = winnow(*command, "--against", rival)
    assert done.returncode == 0, done.stderr
    gain = json.loads((crossed / "cv.json").read_text())["against"]
    assert 0 < gain["its_val"] < gain["unseen"]
    assert gain["beyond_val"]["n"] == gain["unseen"] - gain["its_val"]
    said = " ".join(done.stdout.split())
    assert f"{gain['its_val']} are of its own val, where it was chosen" in said
    assert f"on the {gain['beyond_val']['n']} tiles outside its val" in said
    assert "outside its val" in (crossed / "cv.html").read_text()


@pytest.mark.parametrize(
    ("rival", "said"),
    [
        ("nowhere", "no such model"),
        ("hirise-landmarks", "cross-validated are bar, disc, plain"),
        ("begun", "no finished cross-validation"),
        ("empty", "holds no model.json"),
    ],
)
def test_a_rival_that_cannot_be_compared_is_refused_before_training(
    shapes: Path, recipe_file: Path, tmp_path: Path, rival: str, said: str
) -> None:
    for folder in ("begun", "empty"):
        (tmp_path / folder).mkdir()
    (tmp_path / "begun/plan.json").write_text("{}")
    other = tmp_path / rival if (tmp_path / rival).is_dir() else rival
    out = tmp_path / "out"
    done = winnow("cv", recipe_file, "--data", shapes, "--out", out, *SHORT, "--against", other)
    assert (done.returncode, done.stdout) == (3, "")
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not out.exists()


def test_a_joined_head_is_exported_as_it_was_cross_validated(
    crossed: Path, recipe_file: Path, tmp_path: Path
) -> None:
    """Prior and second views are chosen anew, but joined heads are another net."""

    def recipe(*changes: str) -> Recipe:
        return read_recipe(recipe_file, ["train.epochs=1", *changes])

    assert read_chosen(crossed, recipe("export.prior=0.25")) == read_chosen(crossed, recipe())
    along = 'data.along=["hirise-v1"]'
    report = json.loads((crossed / "cv.json").read_text())
    report["recipe"] = recipe(along, "export.join=0.5").as_dict()
    (tmp_path / "cv.json").write_text(json.dumps(report))
    assert read_chosen(tmp_path, recipe(along, "export.join=0.5")).settings.temperature > 0
    for other in ((along,), (along, "export.join=0.25")):
        with pytest.raises(RecipeError, match=r"export\.join differs"):
            read_chosen(tmp_path, recipe(*other))


def test_killed_at_any_point_it_ends_as_if_it_had_not_been(
    crossed: Path, shapes: Path, recipe_file: Path, tmp_path: Path
) -> None:
    """What a kill leaves is what lies there while the process stands still."""
    out = tmp_path / "killed"
    command = ("cv", recipe_file, "--data", shapes, *SHORT, "--out")
    left = {}
    with subprocess.Popen(
        [WINNOW, *map(str, command), str(out)],
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    ) as running:
        for sign in ("fold-1/checkpoint.npz", "fold-1/held.npz"):
            while not (out / sign).is_file() and running.poll() is None:
                time.sleep(0.05)
            running.send_signal(signal.SIGSTOP)
            os.waitid(os.P_PID, running.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
            left[sign] = shutil.copytree(out, tmp_path / f"left-{len(left)}")
            running.send_signal(signal.SIGCONT)
        running.kill()
    for sign, folder in left.items():
        done = winnow(*command, folder)
        assert done.returncode == 0, (sign, done.stderr)
        np.testing.assert_array_equal(load(folder).logits, load(crossed).logits)


def test_the_net_that_flies_quotes_what_was_cross_validated(
    crossed: Path, shapes: Path, recipe_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "flies"
    # What the recipe says of the prior is overruled by what was chosen, here and in convert.
    command = ("train", recipe_file, "--data", shapes, "--out", out, *SHORT[:2])
    done = winnow(*command, "--set", "export.prior=0", "--chosen", crossed)
    assert done.returncode == 0, done.stderr
    report = json.loads((crossed / "cv.json").read_text())
    card = json.loads((out / "model.json").read_text())
    assert card["metrics"]["accuracy"] == report["nested"]["value"]["accuracy"]
    assert card["metrics"]["split"] == "cross-validated, 2 folds"
    assert card["temperature"] == report["chosen"]["temperature"]
    assert card["training"]["counts"] == {"train": {"bar": 50, "disc": 50, "plain": 50}}
    assert "cross-validated, 2 folds accuracy" in done.stdout

    bundle = tmp_path / "flies.winnow"
    convert = ("convert", out, "--data", shapes, "--out", bundle, "--calibration", 32)
    refused = winnow(*convert)
    assert (refused.returncode, "val says nothing" in refused.stderr) == (3, True)
    gate = ("--max-accuracy-loss", 0.2, "--max-recall-loss", 0.2, "--min-agreement", 0.5)
    done = winnow(*convert, "--cv", crossed, *gate, "--min-rank-correlation", -1)
    assert done.returncode == 0, done.stderr
    made = open_bundle(bundle)
    assert made.manifest.metrics["split"] == "cross-validated, 2 folds"
    assert made.manifest.metrics["n"] == 150
    before = made.manifest.metrics["float"]
    seen = report["in_sight"]["value"]
    assert before["accuracy"] == pytest.approx(seen["accuracy"], abs=1e-4)
    assert before["ece"] == pytest.approx(seen["ece"], abs=2e-3)
    expected = made.manifest.metrics["cross_validated"]["intervals"]["accuracy"]["value"]
    assert expected == pytest.approx(report["nested"]["value"]["accuracy"], abs=1e-4)
    assert made.manifest.metrics["quantization"]["seen_tiles"]["n"] == 150
    assert "**Expect accuracy" in made.card
    assert "the published val says nothing of this net" in made.card


def test_all_labelled_tiles_without_a_choice_quote_nothing(
    crossed: Path, shapes: Path, recipe_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "all"
    done = winnow("train", recipe_file, "--data", shapes, "--out", out, *SHORT[:2], "--all")
    assert done.returncode == 0, done.stderr
    assert "not judged" in done.stdout
    assert "accuracy" not in json.loads((out / "model.json").read_text())["metrics"]
    command = ("cv", recipe_file, "--data", shapes, "--out", crossed, *SHORT)
    done = winnow(*command, "--against", out)
    assert (done.returncode, "learned from every source" in done.stderr) == (3, True)


def test_what_was_not_cross_validated_is_not_trained(
    crossed: Path, shapes: Path, recipe_file: Path, tmp_path: Path
) -> None:
    arguments = ("train", recipe_file, "--data", shapes, "--out", tmp_path / "other")
    done = winnow(*arguments, "--chosen", crossed)
    assert (done.returncode, "train differs" in done.stderr) == (3, True)
    done = winnow(*arguments, "--chosen", tmp_path)
    assert (done.returncode, "no finished cross-validation" in done.stderr) == (3, True)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--folds", 20), 3, "18 sources are too few for 20 folds"),
        (("--set", "train.patience=2"), 3, "held-out tiles would choose the epoch"),
        (("--choose", "taste"), 3, "of likelihood, accuracy, macro-f1"),
        (("--fold-file", "nowhere.csv"), 3, "cannot be read"),
        (("--eras",), 3, "is no sol, so it is of no era; leave --eras out"),
        (("--suspects", "nowhere.csv"), 3, "cannot be read"),
        (("--data", "nowhere"), 3, "no such folder"),
        (("--out", "/proc/cv"), 3, "cannot be"),
    ],
)
def test_bad_input_is_one_line(
    shapes: Path, recipe_file: Path, tmp_path: Path, arguments: tuple, code: int, said: str
) -> None:
    done = winnow("cv", recipe_file, "--data", shapes, "--out", tmp_path / "x", *arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [(("--set", "train.batch=8"), "another recipe"), (("--seed", 1), "other folds")],
)
def test_another_recipe_or_other_folds_do_not_go_on(
    crossed: Path, shapes: Path, recipe_file: Path, change: tuple, said: str
) -> None:
    done = winnow("cv", recipe_file, "--data", shapes, "--out", crossed, *SHORT, *change)
    assert done.returncode == 3
    assert said in done.stderr
