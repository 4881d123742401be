"""The ablation matrix and its table: every row a sound recipe, figures where they belong."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.ablations import matrix, pretrain
from winnow_base.errors import DataError
from winnow_base.progress import Progress
from winnow_train.recipe import read_recipe

MATRIX = Path(matrix.__file__).with_suffix(".toml")


def test_every_row_is_a_recipe_that_differs_from_the_base() -> None:
    rows = matrix.read_matrix(MATRIX)
    seen = {}
    for row in rows.rows.values():
        assert row.source == "" or row.source in rows.rows
        if not row.source:
            recipe = read_recipe(rows.base, row.changes).as_dict()
            assert recipe not in seen.values()
            seen[row.name] = recipe
    jobs = matrix.jobs_of(rows, [])
    assert [s for _, s in jobs] == sorted(s for _, s in jobs)
    assert all(not row.source for row, _ in jobs)
    with pytest.raises(SystemExit, match="no such job: base:9"):
        matrix.jobs_of(rows, ["base:9"])


def test_judging_undoes_a_prior_and_a_temperature() -> None:
    rng = np.random.default_rng(2)
    prior = np.log([0.8, 0.15, 0.05])
    truth = rng.choice(3, 4000, p=np.exp(prior))
    evidence = rng.normal(size=(4000, 3)) + 2.0 * np.eye(3)[truth]
    # Evidence of N(2, 1) against N(0, 1) is worth 2 x in log odds.
    plain = matrix.judge(2.0 * evidence, truth, prior, ["a", "b", "c"])
    assert plain["share"] == pytest.approx(1.0, abs=0.1)
    assert plain["scale"] == pytest.approx(1.0, abs=0.1)
    shifted = matrix.judge(4.0 * (2.0 * evidence + 0.7 * prior), truth, prior, ["a", "b", "c"])
    for key in ("accuracy", "macro_f1", "even_recall", "loss"):
        assert shifted[key] == pytest.approx(plain[key], abs=2e-3)
    assert plain["even_recall"] > plain["macro_f1"] - 0.1
    assert sum(plain["tiles"].values()) == 4000


def test_the_table_holds_finished_rows_between_the_markers(tmp_path: Path) -> None:
    rows = matrix.read_matrix(MATRIX)
    for seed, accuracy in ((1, 0.9), (2, 0.92)):
        scores = {
            "accuracy": accuracy,
            "macro_f1": 0.5,
            "loss": 0.3,
            "even_recall": 0.6,
            "right": dict.fromkeys(matrix.RARE, seed),
        }
        held = {"macs": 2_500_000, "kept": {matrix.OWN: scores}, "last": {matrix.OWN: scores}}
        for row in ("base", "size-128") if seed == 1 else ("base",):
            folder = rows.rows[row].folder(tmp_path, seed)
            folder.mkdir()
            (folder / "scores.json").write_text(json.dumps(held))
    document = tmp_path / "doc.md"
    document.write_text(f"before\n{matrix.MARKS[0]}\nold\n{matrix.MARKS[1]}\nafter\n")
    matrix.write_between(document, matrix.table_of(rows, tmp_path))
    text = document.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "| 96 | 2 | 0.910 (0.900-0.920) | 0.500 (0.500-0.500) |" in text
    assert "1.5, 1.5, 1.5, 1.5, 1.5, 1.5 | - | 2.5 |" in text
    assert "| 128 | 1 | 0.900 | 0.500 |" in text
    assert "strong light" not in text
    assert "Class imbalance" not in text
    with pytest.raises(SystemExit, match="no markers"):
        matrix.write_between(tmp_path / "base-1" / "scores.json", text)


def test_a_job_is_trained_scored_and_then_left_alone(
    shapes: Path,
    recipe_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "small.toml").write_text(
        'seeds = [4]\n[rows.base]\n[rows.other]\nset = ["train.balance=0"]\n'
        '[rows.last]\nfrom = "base"\nweights = "last"\n[[tables]]\ntitle = "T"\n'
        'rows = [["base", "both"], ["last", "one"]]\n'
    )
    recipe = recipe_file.read_text().replace("epochs = 3", "epochs = 2")
    (tmp_path / "small.base.toml").write_text(recipe)
    command = ["ablations", "--matrix", tmp_path / "small.toml", "--out", tmp_path / "out"]

    def call(*arguments: object) -> str:
        monkeypatch.setattr("sys.argv", [*map(str, command), *map(str, arguments)])
        matrix.main()
        return capsys.readouterr().out

    assert call("list") == "base:4 open\nother:4 open\n"
    assert call("run", "--data", shapes, "base:4").startswith("base:4  accuracy ")
    assert call("list") == "base:4 done\nother:4 open\n"
    card = json.loads((tmp_path / "out" / "base-4" / "model.json").read_text())
    assert (card["seed"], card["recipe"]["name"]) == (4, "base")
    scores = json.loads((tmp_path / "out" / "base-4" / "scores.json").read_text())
    assert sum(scores["kept"]["folder"]["tiles"].values()) == 30
    assert scores["kept"] != scores["last"]
    assert scores["macs"] > 0
    assert call("run", "--data", shapes, "base:4") == ""


def swaths_and_matrix(tmp_path: Path, shapes: Path, recipe_file: Path) -> tuple[Path, np.ndarray]:
    """A data folder with a strip in it, and small.toml, whose row pretrains on that strip."""
    root = tmp_path / "root"
    (root / "swaths").mkdir(parents=True)
    for split in ("train", "val"):
        (root / split).symlink_to(shapes / split)
    strip = np.random.default_rng(3).integers(1, 255, (400, 120), dtype=np.uint8)
    strip[:200] = 0
    Image.fromarray(strip).save(root / "swaths" / "siteq_RED.browse.jpg")
    (tmp_path / "small.toml").write_text(
        'seeds = [4]\n[rows.pretrained]\nset = ["distill.start=true"]\npretrain = "swaths"\n'
        '[[tables]]\ntitle = "T"\nrows = [["pretrained", "SimSiam"]]\n'
    )
    recipe = recipe_file.read_text().replace("epochs = 3", "epochs = 1")
    recipe = recipe.replace("average_last = 2", "average_last = 1")
    recipe = recipe.replace("dropout = 0.1\n", "")
    (tmp_path / "small.base.toml").write_text(recipe)
    return root, strip


def test_pretraining_sees_no_val_source_and_is_what_a_row_starts_from(
    shapes: Path,
    recipe_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(pretrain, "PER_STRIP", 8)
    root, strip = swaths_and_matrix(tmp_path, shapes, recipe_file)
    command = ["ablations", "--matrix", tmp_path / "small.toml", "--out", tmp_path / "out"]
    monkeypatch.setattr("sys.argv", [*map(str, command), "run", "--data", str(root)])
    matrix.main()
    said = capsys.readouterr()
    assert said.out.startswith("pretrained:4  accuracy ")
    assert "layers start from pretrained" in said.err
    folder = tmp_path / "out" / "pretrained-4" / "pretrained"
    card = json.loads((folder / "model.json").read_text())
    seen = card["training"]["sources"]["train"]
    assert {s[:5] for s in seen} == {"sitea", "siteb", "sitec", "sited", "siteq"}
    for line in card["history"]:
        assert -1 < line["loss"] < 0.5
        assert 0.3 < line["spread"] < 1.1
    # The tiles of a strip are of image, not of nodata.
    tiles = pretrain.cut(strip[..., None], 20, np.random.default_rng(1))
    assert all(t.shape[0] == t.shape[1] <= 120 and (t == 0).mean() < 0.1 for t in tiles)
    with pytest.raises(SystemExit, match="has no 8 tiles of image"):
        pretrain.cut(0 * strip[..., None], 8, np.random.default_rng(1))
    # What is there is used again only by the same recipe and strips.
    base = read_recipe(tmp_path / "small.base.toml", ["seed=4", "distill.start=true"])
    strips = [root / "swaths" / "siteq_RED.browse.jpg"]
    before = (folder / "checkpoint.npz").stat().st_mtime_ns
    again = {"weights_dir": None, "progress": Progress()}
    assert pretrain.pretrain(base, root, strips, folder, **again) == folder
    assert (folder / "checkpoint.npz").stat().st_mtime_ns == before
    other = dataclasses.replace(base, seed=5)
    with pytest.raises(DataError, match="checkpoint is of another recipe"):
        pretrain.pretrain(other, root, strips, folder, **again)
    Image.fromarray(strip[::-1]).save(strips[0])
    with pytest.raises(DataError, match="checkpoint is of another data"):
        pretrain.pretrain(base, root, strips, folder, **again)
    for name, says in (
        ("sitee_bar_RED.jpg", r"sitee_bar_RED\.jpg: the strip is of a val source"),
        ("browse of sitee.jpg", r"sitee\.jpg: no OBSERVATION_RED\.\*: cannot tell what source"),
    ):
        strips = [strips[0].rename(root / "swaths" / name)]
        (tmp_path / "out" / "pretrained-4" / "scores.json").unlink(missing_ok=True)
        with pytest.raises(SystemExit, match=says):
            matrix.main()
