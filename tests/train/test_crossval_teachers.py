"""`winnow cv` of nets that learn from others: teachers, and weights that they start from."""

from __future__ import annotations

import json
from pathlib import Path

import keras
import pytest

from tests.running import winnow
from winnow_train.crossval.outcome import load

SHORT = ("--set", "train.epochs=1", "--folds", 2)


def test_the_folder_of_weights_serves_the_export_too(
    shapes: Path, recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WINNOW_WEIGHTS", raising=False)
    small = {"input_shape": (32, 32, 3), "alpha": 0.25, "weights": None, "include_top": False}
    keras.applications.MobileNet(**small).save_weights(tmp_path / "small.weights.h5")
    given = ("--set", 'model.weights="small.weights.h5"', "--weights-dir", tmp_path)
    done = winnow("cv", recipe_file, "--data", shapes, "--out", tmp_path / "cv", *SHORT, *given)
    assert done.returncode == 0, done.stderr
    chosen = json.loads((tmp_path / "cv" / "cv.json").read_text())["chosen"]
    for fold in (1, 2):
        card = json.loads((tmp_path / "cv" / f"fold-{fold}" / "model.json").read_text())
        assert card["training"]["prior"] == chosen["prior"]


def test_teachers_are_trained_anew_in_every_fold(
    shapes: Path, recipe_file: Path, tmp_path: Path
) -> None:
    student = tmp_path / "student.toml"
    text = recipe_file.read_text().replace("epochs = 3", "epochs = 1")
    (tmp_path / "elder.toml").write_text(text)
    student.write_text(text + '[distill]\nweight = 0.5\nstart = true\nteachers = ["elder"]\n')
    out = tmp_path / "cv"
    done = winnow("cv", student, "--data", shapes, "--out", out, "--folds", 2)
    assert done.returncode == 0, done.stderr
    held = json.loads((out / "fold-1/model.json").read_text())["training"]["held"]
    taught = json.loads((out / "fold-1/teachers/elder/model.json").read_text())
    assert taught["training"]["held"] == held
    assert not set(held) & set(taught["lineage"]["sources"])


def test_a_given_teacher_serves_all_folds_and_its_own_sources_are_not_judged(
    shapes: Path, recipe_file: Path, tmp_path: Path
) -> None:
    elder, out = tmp_path / "elder", tmp_path / "cv"
    done = winnow("train", recipe_file, "--data", shapes, "--out", elder, *SHORT[:2])
    assert done.returncode == 0, done.stderr
    seen = set(json.loads((elder / "model.json").read_text())["lineage"]["sources"])
    student = tmp_path / "student.toml"
    text = recipe_file.read_text().replace("epochs = 3", "epochs = 1")
    student.write_text(text + "[distill]\nweight = 0.5\nstart = true\n")
    command = ("cv", student, "--data", shapes, "--out", out, "--folds", 2)
    done = winnow(*command, "--teacher", elder)
    assert done.returncode == 0, done.stderr
    found = load(out)
    assert len(found.sources) and not seen & set(found.sources)
    for fold in (1, 2):
        card = json.loads((out / f"fold-{fold}/model.json").read_text())
        assert seen <= set(card["lineage"]["sources"])
        assert not set(card["training"]["held"]) & set(card["lineage"]["sources"])
    rows = (out / "folds.csv").read_text().splitlines()[1:]
    judged = "".join(f"{row[:-1]}{row[-1].replace('0', '1')}\n" for row in rows)
    (tmp_path / "folds.csv").write_text("source,group,fold\n" + judged)
    (elder / "model.keras").write_bytes(b"another")
    done = winnow(*command, "--teacher", elder)
    assert "was begun with other teachers" in done.stderr
    done = winnow(*command, "--teacher", elder, "--fold-file", tmp_path / "folds.csv")
    assert "but a teacher learned from it" in done.stderr
