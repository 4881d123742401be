"""`winnow train` and `winnow evaluate` as commands: run, kill, resume, judge."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.running import winnow
from winnow_base.progress import Progress
from winnow_train.distill import logits_of, posteriors
from winnow_train.recipe import read_recipe
from winnow_train.tasks import read_task
from winnow_train.tiles import decode_all

WINNOW = str(Path(sys.executable).parent / "winnow")


@pytest.fixture(scope="module")
def trained(shapes: Path, recipe_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "whole"
    done = winnow("train", recipe_file, "--data", shapes, "--out", out)
    assert done.returncode == 0, done.stderr
    assert "val accuracy" in done.stdout
    return out


def weights_of(run: Path) -> list[np.ndarray]:
    with np.load(run / "checkpoint.npz") as held:
        return [held[k] for k in sorted(held.files) if k.startswith(("weight", "kept"))]


def test_a_run_folder_says_what_it_holds(trained: Path) -> None:
    card = json.loads((trained / "model.json").read_text())
    assert card["classes"] == ["bar", "disc", "plain"]
    assert card["head"] == "softmax"
    assert card["input"] == {"height": 32, "width": 32, "channels": 1}
    assert card["training"]["counts"]["val"] == {"bar": 10, "disc": 10, "plain": 10}
    looks = card["training"]["appearance"]
    assert (
        looks["tiles"] > 0 and 0 <= looks["brightness"]["p1"] <= looks["brightness"]["p99"] <= 255
    )
    assert card["recipe"]["train"]["epochs"] == 3
    assert card["seed"] == 5
    assert card["licence"] == ""  # neither the recipe nor the data state one
    assert "(licence not stated). Backbone MobileNet: from random weights." in card["attribution"]
    assert card["temperature"] > 0
    lines = (trained / "training.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2, 3]


def test_the_exported_net_takes_pixels_and_has_nothing_left_to_fold(
    trained: Path,
) -> None:
    import keras

    net = keras.models.load_model(trained / "model.keras", compile=False)
    kinds = {type(layer).__name__ for layer in net.layers}
    assert not kinds & {"BatchNormalization", "Dropout", "ZeroPadding2D", "Rescaling"}
    assert net.input_shape == (None, 32, 32, 1)
    assert net.output_shape == (None, 3)
    logits = np.asarray(net(np.full((2, 32, 32, 1), 128, np.float32)))
    assert np.isfinite(logits).all()


def test_evaluate_agrees_with_the_run_and_prints_only_json(trained: Path, shapes: Path) -> None:
    card = json.loads((trained / "model.json").read_text())
    done = winnow("evaluate", trained, "--dataset", "folder", "--data", shapes, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert set(found) >= {
        "accuracy", "macro_f1", "per_class", "confusion", "ece", "at_090", "n", "split"
    }  # fmt: skip
    assert set(found["at_090"]) == {"accuracy", "abstention"}
    assert (found["n"], found["split"]) == (30, "val")
    assert found["accuracy"] == card["metrics"]["accuracy"]
    assert found["ece"] == pytest.approx(card["metrics"]["ece"], abs=1e-6)


def test_second_views_are_exported_and_judged_alike(
    trained: Path, shapes: Path, recipe_file: Path, tmp_path: Path
) -> None:
    run = tmp_path / "twice"
    shutil.copytree(trained, run)
    done = winnow(
        "train", recipe_file, "--data", shapes, "--out", run, "--set", "export.borderline=0.99"
    )
    assert done.returncode == 0, done.stderr
    card = json.loads((run / "model.json").read_text())
    assert card["borderline"] == 0.99
    assert json.loads((trained / "model.json").read_text())["borderline"] == 0
    same = ("--dataset", "folder", "--data", shapes, "--split", "val", "--json")
    once, twice = (json.loads(winnow("evaluate", r, *same).stdout) for r in (trained, run))
    assert once["net_calls"] == 1
    assert 1 < twice["net_calls"] <= 2
    assert twice["ece"] != once["ece"]
    for key in ("accuracy", "macro_f1", "ece", "net_calls"):
        assert twice[key] == pytest.approx(card["metrics"][key])
    page = winnow("evaluate", run, *same, "--report", tmp_path / "page")
    assert json.loads(page.stdout)["accuracy"] == twice["accuracy"]
    assert "shown twice" in (tmp_path / "page" / "evaluation.html").read_text()


def test_a_killed_training_ends_as_if_it_had_not_been(
    trained: Path, shapes: Path, recipe_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "killed"
    command = [WINNOW, "train", recipe_file, "--data", shapes, "--out", out]
    with subprocess.Popen(
        list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        while not (out / "training.jsonl").is_file() and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not (out / "model.keras").exists()
    done = winnow(*command[1:])
    assert done.returncode == 0, done.stderr
    for one, two in zip(weights_of(trained), weights_of(out), strict=True):
        np.testing.assert_array_equal(one, two)
    assert (out / "training.jsonl").read_text() == (trained / "training.jsonl").read_text()


def test_a_student_starts_from_its_teacher_and_learns_its_posterior(
    trained: Path, shapes: Path, recipe_file: Path, tmp_path: Path
) -> None:
    student = tmp_path / "student.toml"
    text = recipe_file.read_text().replace("conv_pw_2_relu", "conv_pw_1_relu")
    text = text.replace("epochs = 3", "epochs = 1")
    student.write_text(text + '[distill]\nweight = 0.5\nstart = true\nteachers = ["shapes"]\n')
    alone = winnow("train", student, "--data", shapes, "--out", tmp_path / "run")
    assert alone.returncode == 3
    assert "train shapes first and give its run folder with --teacher" in alone.stderr
    done = winnow(
        "train", student, "--data", shapes, "--out", tmp_path / "run", "--teacher", trained
    )
    assert done.returncode == 0, done.stderr
    # The stem and one block of four layers with weights; the head does not fit.
    assert "6 layers start from shapes" in done.stderr
    assert "kept in" not in done.stderr
    again = winnow(
        "train", student, "--data", shapes, "--out", tmp_path / "again", "--teacher", trained
    )
    assert "asking shapes (folder): answers kept in" in again.stderr
    for one, two in zip(weights_of(tmp_path / "run"), weights_of(tmp_path / "again"), strict=True):
        np.testing.assert_array_equal(one, two)
    card = json.loads((tmp_path / "run" / "model.json").read_text())
    whole = json.loads((trained / "model.json").read_text())
    assert card["training"] == whole["training"]
    assert card["attribution"].endswith("from random weights by way of shapes.")
    whole["attribution"] = "Backbone MobileNet: from weights of others (their licence) by way of x."
    other = shutil.copytree(trained, tmp_path / "other")
    (other / "model.json").write_text(json.dumps(whole))
    done = winnow("train", student, "--data", shapes, "--out", tmp_path / "run", "--teacher", other)
    assert done.returncode == 0, done.stderr
    card = json.loads((tmp_path / "run" / "model.json").read_text())
    assert card["attribution"].endswith(
        "from weights of others (their licence) by way of x by way of shapes."
    )
    assert (tmp_path / "run" / "model.keras").stat().st_size < (
        trained / "model.keras"
    ).stat().st_size


def test_a_teacher_of_all_classes_serves_a_head_that_merges_them(
    trained: Path, shapes: Path, recipe_file: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(trained, tmp_path / "run")
    text = recipe_file.read_text() + "[distill]\nweight = 0.5\n"
    (tmp_path / "plain.toml").write_text(text)
    (tmp_path / "merged.toml").write_text(
        text + '[data.map]\nempty = ["plain"]\nmarked = ["disc", "bar"]\n'
    )
    found = []
    for name in ("plain", "merged"):
        recipe = read_recipe(tmp_path / f"{name}.toml")
        task = read_task(recipe.data, shapes, "softmax").split("train")
        tiles = decode_all([t.path for t in task.tiles.tiles], 1)
        held = {"folder": read_task(recipe.data, shapes, "softmax")}
        posterior = posteriors(recipe, held, {"folder": tiles}, (run,), Progress())["folder"]
        found.append(posterior)
    bar, disc, plain = found[0].T
    np.testing.assert_allclose(found[1], np.stack([plain, disc + bar], axis=1), rtol=1e-5)


def test_no_epoch_exports_the_mean_of_the_runs_it_starts_from(
    trained: Path, shapes: Path, recipe_file: Path, tmp_path: Path
) -> None:
    other = shutil.copytree(trained, tmp_path / "other")
    with np.load(trained / "checkpoint.npz") as held:
        arrays = {k: held[k] for k in held.files}
    kept = sorted(k for k in arrays if k.startswith("kept-"))
    arrays |= {k: 3 * arrays[k] for k in kept}
    np.savez(other / "checkpoint.npz", **arrays)
    mean = tmp_path / "mean.toml"
    text = recipe_file.read_text().replace("epochs = 3", "epochs = 0")
    mean.write_text(text + "[distill]\nstart = true\naverage = true\n")
    command = ("train", mean, "--data", shapes, "--out", tmp_path / "run")
    done = winnow(*command, "--teacher", trained, "--teacher", other)
    assert done.returncode == 0, done.stderr
    assert "start from the mean of shapes and shapes" in done.stderr
    for found, tripled in zip(weights_of(tmp_path / "run"), kept, strict=True):
        np.testing.assert_allclose(found, 2 / 3 * arrays[tripled], rtol=1e-5, atol=1e-7)
    wider = recipe_file.read_text().replace("alpha = 0.25", "alpha = 0.5")
    (tmp_path / "wide.toml").write_text(wider.replace("epochs = 3", "epochs = 1"))
    assert (
        winnow(
            "train", tmp_path / "wide.toml", "--data", shapes, "--out", tmp_path / "wide"
        ).returncode
        == 0
    )
    done = winnow(
        *(*command[:-1], tmp_path / "no"), "--teacher", trained, "--teacher", tmp_path / "wide"
    )
    assert done.returncode == 3
    assert "so their weights have no mean" in done.stderr


def test_kept_answers_of_a_teacher_belong_to_its_model_and_the_tiles(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from winnow_base.progress import Progress
    from winnow_train.runs import load_run

    run = Path(shutil.copytree(trained, tmp_path / "teacher"))
    for old in run.glob("logits-*"):
        old.unlink()
    net, _ = load_run(run)
    tiles = np.random.default_rng(3).integers(1, 256, (4, 32, 32, 1), np.uint8)
    first = logits_of(net, run, tiles, "asking", Progress())
    (kept,) = run.glob("logits-*")
    np.testing.assert_array_equal(logits_of(net, run, tiles, "asking", Progress()), first)
    assert "kept in" in capsys.readouterr().err
    whole = kept.read_bytes()
    kept.write_bytes(whole[:100])
    np.testing.assert_array_equal(logits_of(net, run, tiles, "asking", Progress()), first)
    assert "asking the teacher again" in capsys.readouterr().err
    assert kept.read_bytes() == whole
    other = logits_of(net, run, tiles ^ 1, "asking", Progress())
    assert len(list(run.glob("logits-*"))) == 2
    assert not np.array_equal(other, first)


def test_two_sigmoid_heads_are_trained_exported_and_judged(
    shapes: Path, recipe_file: Path, tmp_path: Path
) -> None:
    recipe = tmp_path / "pair.toml"
    text = recipe_file.read_text().replace('weights = ""', 'weights = ""\nhead = "sigmoid"')
    text = text.replace("epochs = 3", "epochs = 1")
    recipe.write_text(text + '[data.map]\nround = ["disc"]\nmarked = ["disc", "bar"]\n')
    done = winnow("train", recipe, "--data", shapes, "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    card = json.loads((tmp_path / "run" / "model.json").read_text())
    assert card["training"]["counts"]["val"] == {"round": 10, "marked": 20}
    judged = winnow(
        *("evaluate", tmp_path / "run", "--dataset", "folder", "--data", shapes, "--json"),
        *("--report", tmp_path / "page"),
    )
    assert judged.returncode == 0, judged.stderr
    found = json.loads(judged.stdout)
    assert found["accuracy"] == card["metrics"]["accuracy"]
    assert np.array(found["confusion"]).shape == (2, 2, 2)
    assert np.sum(found["label_sets"]["confusion"]) == 30
    page = (tmp_path / "page" / "evaluation.html").read_text()
    assert "every class of a tile right" in page
    assert "share of the true set of classes" in page


def test_another_recipe_does_not_go_on_from_this_checkpoint(
    trained: Path, shapes: Path, recipe_file: Path
) -> None:
    before = (trained / "model.json").read_bytes()
    same = ("train", recipe_file, "--data", shapes, "--out", trained)
    done = winnow(*same, "--set", "train.average_last=2", "--set", "seed=6")
    assert done.returncode == 3
    assert "checkpoint is of another recipe" in done.stderr
    done = winnow(*same, "--set", "train.epoch=6")
    assert done.returncode == 3
    assert "with --set: unknown key `train.epoch`" in done.stderr
    assert (trained / "model.json").read_bytes() == before


def test_a_renamed_recipe_exports_an_older_run(
    trained: Path, shapes: Path, recipe_file: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    renamed = Path(shutil.copy(recipe_file, tmp_path / "renamed.toml"))
    done = winnow("train", renamed, "--data", shapes, "--out", run)
    assert done.returncode == 0, done.stderr
    assert "is trained; exporting again" in " ".join(done.stderr.split())
    assert json.loads((run / "model.json").read_text())["name"] == "renamed"
    done = winnow("train", renamed, "--data", shapes, "--out", run, "--set", "seed=6")
    assert done.returncode == 3
    assert "checkpoint is of another recipe" in done.stderr


def test_bad_input_is_one_line_and_exit_3(shapes: Path, recipe_file: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text(recipe_file.read_text() + "\n[optimizer]\n")
    weighted = tmp_path / "weighted.toml"
    weighted.write_text(
        recipe_file.read_text().replace('weights = ""', 'weights = "no.weights.h5"')
    )
    cases = [
        (["train", "no-such", "--data", shapes], "no such recipe"),
        (["train", tmp_path / "bad.toml", "--data", shapes], "unknown key `optimizer`"),
        (["train", recipe_file, "--data", tmp_path / "none"], "no such folder"),
        (["train", weighted, "--data", shapes], "no such weights file"),
    ]
    for arguments, says in cases:
        done = winnow(*arguments, "--out", tmp_path / "out")
        assert done.returncode == 3, done.stderr
        assert says in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
        assert done.stdout == ""
    done = winnow("evaluate", tmp_path, "--dataset", "folder", "--data", shapes)
    assert done.returncode == 3
    assert "holds no model.json" in done.stderr


@pytest.mark.parametrize("limit", ["often", None, 2, -0.1, float("nan"), True, [0.9]])
def test_a_broken_borderline_in_a_card_is_one_line(
    trained: Path, shapes: Path, tmp_path: Path, limit: object
) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    card = json.loads((run / "model.json").read_text())
    (run / "model.json").write_text(json.dumps({**card, "borderline": limit}))
    for command in (
        ("evaluate", run, "--dataset", "folder", "--data", shapes),
        ("convert", run, "--data", shapes, "--out", tmp_path / "x.winnow"),
    ):
        done = winnow(*command)
        assert done.returncode == 3
        # JSON has no NaN, so the file is refused before its values are.
        assert re.search("`borderline` is .*(legal is 0 to 1|a number)|NaN is no", done.stderr)
        assert len(done.stderr.strip().splitlines()) == 1
    card |= {"head": "sigmoid", "borderline": 0.5}
    (run / "model.json").write_text(json.dumps(card))
    done = winnow("evaluate", run, "--dataset", "folder", "--data", shapes)
    assert done.returncode == 3
    assert "needs a softmax head" in done.stderr
