"""The model zoo page."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from winnow_cli import app
from winnow_convert.convert import Converted, write
from winnow_convert.zoo import PUBLISHED, page
from winnow_edge.bundle import shipped_bundles

COMMITTED = Path(__file__).parents[2] / "docs" / "zoo.md"


def test_the_committed_page_is_that_of_the_shipped_bundles() -> None:
    made = page()
    assert COMMITTED.read_text(encoding="utf-8") == made, "winnow zoo --out docs/zoo.md"
    for path in shipped_bundles():
        assert f"`{path.stem}`" in made


def test_every_shipped_bundle_comes_from_a_recipe_that_is_here() -> None:
    recipes = Path(__file__).parents[2] / "train" / "recipes"
    for path in shipped_bundles():
        assert (recipes / f"{path.stem}.toml").is_file()


def test_a_page_says_what_manifests_say(converted: Converted, tmp_path: Path) -> None:
    bundle = write(converted, tmp_path / "tiny.winnow")
    made = page([bundle])
    metrics = bundle.manifest.metrics
    assert f"| {metrics['float']['accuracy']:.4f} / {metrics['int8']['accuracy']:.4f} |" in made
    assert "| 3 (softmax) | 32 x 32 grey |" in made
    assert "none known" in made
    assert "crater 1.00 (15)" in made
    assert "tiny" not in PUBLISHED


def test_what_to_expect_stands_with_its_interval(converted: Converted, tmp_path: Path) -> None:
    bundle = write(converted, tmp_path / "tiny.winnow")
    assert " | - | " in page([bundle])  # nothing was cross-validated
    spans = {
        "accuracy": {"value": 0.75, "low": 0.5, "high": 0.875},
        "macro_f1": {"value": 0.5, "low": None, "high": None},
    }
    crossed = {**bundle.manifest.metrics, "cross_validated": {"intervals": spans}}
    told = replace(bundle, manifest=replace(bundle.manifest, metrics=crossed))
    assert "| 0.750 [0.500, 0.875] / 0.500 |" in page([told])


def test_the_command_writes_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "zoo.md"
    for arguments in ([], ["--out", str(out)]):
        monkeypatch.setattr("sys.argv", ["winnow", "zoo", *arguments])
        with pytest.raises(SystemExit) as ended:
            app.main()
        assert ended.value.code == 0
    assert capsys.readouterr().out == out.read_text(encoding="utf-8") == page()
