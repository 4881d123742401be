"""Refusals that come before Keras is loaded, and what a set lacks."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.running import winnow
from winnow_base.background import proposed, without_background
from winnow_base.errors import DataError
from winnow_train.datasets import PROVENANCE, read_dataset

COMMANDS = """
import contextlib, io, json, sys
from winnow_cli.app import main
told = []
for arguments in json.load(sys.stdin):
    sys.argv = ["winnow", *arguments]
    said, code = io.StringIO(), 0
    with contextlib.redirect_stderr(said):
        try:
            main()
        except SystemExit as end:
            code = end.code
    told.append((code, said.getvalue(), "keras" in sys.modules or "tensorflow" in sys.modules))
json.dump(told, sys.stdout)
"""


def trained_alone(*commands: tuple[object, ...]) -> list[tuple[int, str, bool]]:
    """`winnow train` so often in one fresh interpreter: the exit code, what was said, and whether
    Keras or TensorFlow was there after it."""
    arguments = json.dumps([["train", *map(str, command)] for command in commands])
    done = subprocess.run(
        [sys.executable, "-c", COMMANDS], input=arguments, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return [tuple(one) for one in json.loads(done.stdout)]


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


def test_bad_data_are_refused_before_keras_is_loaded(
    shapes: Path, recipe_file: Path, tmp_path: Path
) -> None:
    run, says, commands = tmp_path / "run", [], []
    for spoil in (no_val, one_class, empty_picture, no_picture, bad_licence):
        data = shutil.copytree(shapes, tmp_path / spoil.__name__)
        says.append(spoil(data))
        commands.append((recipe_file, "--data", data, "--out", run))
    for wanted, (code, said, loaded) in zip(says, trained_alone(*commands), strict=True):
        assert (code, len(said.splitlines())) == (3, 1)
        assert wanted in said
        assert not loaded
    assert not run.exists()


def test_missing_weights_and_teachers_are_refused_before_keras_is_loaded(
    shapes: Path, recipe_file: Path, tmp_path: Path
) -> None:
    common = (recipe_file, "--data", shapes, "--out", tmp_path / "run")
    cases = {
        "winnow weights fetch mobilenet-0.25-128": ['--set=model.weights="mobilenet-0.25-128"'],
        "distill.start needs a run to start from": ["--set=distill.start=true"],
        "no such model": ["--teacher", tmp_path / "none.winnow"],
        "takes no teacher, but one is given": ["--teacher", "crater-dune"],
    }
    found = trained_alone(*((*common, *changes) for changes in cases.values()))
    for wanted, (code, said, loaded) in zip(cases, found, strict=True):
        assert (code, len(said.splitlines())) == (3, 1)
        assert wanted in said
        assert not loaded


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


@pytest.fixture
def no_internet() -> Iterator[None]:
    """Everything goes through a proxy that is not there."""
    closed = urllib.request.ProxyHandler(dict.fromkeys(("http", "https"), "http://127.0.0.1:1"))
    urllib.request.install_opener(urllib.request.build_opener(closed))
    yield
    urllib.request.install_opener(None)  # type: ignore[arg-type]


@pytest.mark.usefixtures("no_internet")
def test_imagenet_weights_without_a_net_are_one_line(
    shapes: Path, recipe_file: Path, tmp_path: Path
) -> None:
    """With nothing kept by Keras, as the tests' KERAS_HOME sees to."""
    options = ["--set", 'model.weights="imagenet"', "--out", tmp_path / "run"]
    done = winnow("train", recipe_file, "--data", shapes, *options)
    assert done.returncode == 4
    says = "winnow: MobileNet: Keras cannot fetch the ImageNet weights; name a file instead"
    assert done.stderr.splitlines()[-1].startswith(says)
    assert "Traceback" not in done.stderr
