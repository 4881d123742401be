"""`winnow-edge info`: figures never look better than the tiles that they stand on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from winnow_edge.cli import main
from winnow_edge.testing import probe_bundle

CLASSES = ("other", "crater", "dark dune", "impact ejecta", "spider", "a class of a long name")


def told(folder: Path, capsys: pytest.CaptureFixture[str], **per_class: Any) -> dict[str, str]:
    """What `info` says of each class of a bundle with these figures."""
    figures = {"accuracy": 0.9, "macro_f1": 0.8, "per_class": per_class}
    metrics = {"split": "val", "n": 123, "int8": figures}
    bundle = probe_bundle(folder, classes=CLASSES, thresholds={"crater": 0.5}, metrics=metrics)
    assert main(["info", str(bundle.path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    return {name: line for name in CLASSES for line in lines if line.startswith(f"    {name}  ")}


def test_a_figure_of_three_tiles_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = told(
        tmp_path,
        capsys,
        **{
            "other": {"support": 100, "recall": 0.98, "precision": 0.93333},
            "crater": {"support": 3, "recall": 1.0, "precision": 1.0},
            "dark dune": {"support": 4, "recall": 0.0, "precision": 0.0},
            "impact ejecta": {"support": 0, "recall": 0.0, "precision": 0.0},
            "spider": {"support": 7, "recall": None},
        },
    )
    # Wilson's interval of 3 of 3 begins at 3 / (3 + 1.96 ** 2), that of 0 of n ends so.
    assert "recall 3 of 3 (44 to 100 %)" in lines["crater"]
    assert "precision 3 of 3 (44 to 100 %)" in lines["crater"]
    assert "1.000" not in lines["crater"]
    assert "recall 98 of 100 (93 to 99 %)" in lines["other"]
    assert "precision 98 of 105 (87 to 97 %)" in lines["other"]
    assert "recall 0 of 4 (0 to 49 %)" in lines["dark dune"]
    assert "no tile of it was there" in lines["impact ejecta"]
    assert "recall 0 of 7" in lines["spider"]


def test_a_class_without_figures_has_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = told(tmp_path, capsys)
    assert lines["crater"].split() == ["crater", "threshold", "0.50"]
    assert lines["a class of a long name"].endswith("  background")


@pytest.mark.parametrize("figures", [{}, {"accuracy": 0.9}, {"accuracy": None, "macro_f1": 0.5}])
def test_a_net_whose_figures_are_not_all_told_is_described_without_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], figures: dict[str, float | None]
) -> None:
    probe_bundle(tmp_path, metrics={"split": "val", "n": 5, "int8": figures})
    assert main(["info", str(tmp_path / "probe.winnow")]) == 0
    out = capsys.readouterr().out
    assert "probe" in out and "accuracy" not in out
