"""Refusals that come before Keras is loaded, and what a set lacks."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.running import winnow
from winnow_base.background import proposed, without_background
from winnow_base.errors import DataError
from winnow_train.datasets import PROVENANCE, read_dataset

COMMAND = """
import sys
from winnow_cli.app import main
sys.argv = ["winnow", *sys.argv[1:]]
try:
    main()
finally:
    print("keras" in sys.modules, "tensorflow" in sys.modules)
"""


def train_alone(*arguments: object) -> tuple[int, str, str]:
    """`winnow train` in a fresh interpreter; stdout says whether Keras and TensorFlow are there."""
    command = [sys.executable, "-c", COMMAND, "train", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def no_val(root: Path) -> str:
    shutil.rmtree(root / "val")
    return "has no tile in the set 'val'"


def one_class(root: Path) -> str:
    for split in ("train", "val"):
        for name in ("bar", "plain"):
            shutil.rmtree(root / split / name)
    return "has one class alone, disc"


def empty_picture(root: Path) -> str:
    path = sorted((root / "val" / "disc").iterdir())[0]
    path.write_bytes(b"")
    return f"{path}: the image is empty"


def no_picture(root: Path) -> str:
    path = sorted((root / "train" / "disc").iterdir())[0]
    path.write_bytes(b"%!PS-Adobe-3.0 nothing")
    return f"{path}: the image cannot be decoded"


def bad_licence(root: Path) -> str:
    (root / PROVENANCE).write_text("[1]")
    return "is no table of JSON"


@pytest.mark.parametrize("spoil", [no_val, one_class, empty_picture, no_picture, bad_licence])
def test_bad_data_are_refused_before_keras_is_loaded(
    spoil: object, shapes: Path, recipe_file: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    shutil.copytree(shapes, data)
    assert callable(spoil)
    says = spoil(data)
    code, loaded, said = train_alone(recipe_file, "--data", data, "--out", tmp_path / "run")
    assert code == 3
    assert says in said
    assert len(said.splitlines()) == 1
    assert loaded.split() == ["False", "False"]
    assert not (tmp_path / "run").exists()


def test_missing_weights_and_teachers_are_refused_before_keras_is_loaded(
    shapes: Path, recipe_file: Path, tmp_path: Path
) -> None:
    common = (recipe_file, "--data", shapes, "--out", tmp_path / "run")
    for changes, says in (
        (['--set=model.weights="mobilenet-0.25-128"'], "winnow weights fetch mobilenet-0.25-128"),
        (["--set=distill.start=true"], "distill.start needs a run to start from"),
        (["--teacher", tmp_path / "none.winnow"], "no such model"),
        (["--teacher", "crater-dune"], "takes no teacher, but one is given"),
    ):
        code, loaded, said = train_alone(*common, *changes)
        assert (code, len(said.splitlines())) == (3, 1)
        assert says in said
        assert loaded.split() == ["False", "False"]


def test_a_set_without_val_or_with_one_class_is_refused_by_the_check(
    shapes: Path, tmp_path: Path
) -> None:
    shutil.copytree(shapes / "train", tmp_path / "a" / "train")
    done = winnow("data", "check", "folder", "--data", tmp_path / "a")
    assert done.returncode == 3
    assert "no tile in val (sources: 12 in train); `winnow new data` splits" in done.stderr
    shutil.copytree(shapes / "val" / "disc", tmp_path / "b" / "train" / "disc")
    done = winnow("data", "check", "folder", "--data", tmp_path / "b", "--json")
    assert done.returncode == 3
    assert "one class alone (disc)" in json.loads(done.stdout)["refused"]
    (tmp_path / "c" / "train" / "disc").mkdir(parents=True)
    done = winnow("data", "check", "folder", "--data", tmp_path / "c")
    assert done.returncode == 3
    assert len(done.stderr.splitlines()) == 1


def test_an_empty_label_file_is_refused_by_the_check(tmp_path: Path) -> None:
    folder = tmp_path / "hirise-map-proj-v1"
    (folder / "map-proj").mkdir(parents=True)
    (folder / "labels-map-proj.txt").write_text("")
    (folder / "landmarks_map-proj_classmap.csv").write_text("0,other\n1,crater\n")
    done = winnow("data", "check", "hirise-v1", "--data", tmp_path)
    assert done.returncode == 3
    assert "not fit for training: no tile at all" in done.stderr


def test_a_folder_states_its_licence_or_none_is_stated(shapes: Path, tmp_path: Path) -> None:
    found = read_dataset("folder", shapes)
    assert (found.attribution, found.licence) == (f"{shapes.name}: a folder per class", "")
    shutil.copytree(shapes, tmp_path / "own")
    said = {"attribution": "A. Nonym", "licence": "CC0"}
    (tmp_path / "own" / PROVENANCE).write_text(json.dumps(said))
    found = read_dataset("folder", tmp_path / "own")
    assert (found.attribution, found.licence) == ("A. Nonym", "CC0")
    (tmp_path / "own" / PROVENANCE).write_text(json.dumps({"licence": 7}))
    with pytest.raises(DataError, match="must be texts"):
        read_dataset("folder", tmp_path / "own")


def test_which_classes_read_as_background() -> None:
    names = ["crater", "Other", "no-crater", "no ice", "NONE", "novel", "background", "negative"]
    assert proposed(names) == ("Other", "no-crater", "no ice", "NONE", "background", "negative")
    said = without_background(["crater", "no-crater"], ("other", "edge"), "softmax")
    assert 'set [convert] background = ["no-crater"] in the recipe' in said
    assert "is missing" in without_background(["crater", "dune"], ("other",), "softmax")
    assert without_background(["crater", "other"], ("other",), "softmax") == ""
    assert without_background(["crater", "dune"], (), "sigmoid") == ""


def test_imagenet_weights_without_a_net_are_one_line(
    shapes: Path, recipe_file: Path, tmp_path: Path
) -> None:
    """Through a proxy that is not there, with nothing kept by Keras."""
    closed = {"https_proxy": "http://127.0.0.1:1", "HTTPS_PROXY": "http://127.0.0.1:1"}
    options = ["--set", 'model.weights="imagenet"', "--out", tmp_path / "run"]
    code = "from winnow_cli.app import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "train", recipe_file, "--data", shapes, *options],
        env={**os.environ, **closed, "no_proxy": "", "KERAS_HOME": str(tmp_path / "keras")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 4
    says = "winnow: MobileNet: Keras cannot fetch the ImageNet weights; name a file instead"
    assert done.stderr.splitlines()[-1].startswith(says)
    assert "Traceback" not in done.stderr
