"""What is chosen on out-of-fold logits, what is quoted for it, and which labels look wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from winnow_base.errors import DataError, RecipeError
from winnow_train.crossval import noise
from winnow_train.crossval.choose import choose, nested
from winnow_train.crossval.figures import compare, figures, verdict
from winnow_train.crossval.outcome import OutOfFold, join, load

CLASSES = ("plain", "crater", "dune")


def answered(
    n: int = 600, *, seed: int = 1, sharp: float = 2.0, heat: float = 1.0, **about: Any
) -> OutOfFold:
    """Tiles of 20 sources in 4 folds; the label is drawn from the softmax of the true logits, so
    that at temperature `heat` and prior 1 the logits are as calibrated as can be."""
    rng = np.random.default_rng(seed)
    shift = np.log(np.array([0.8, 0.15, 0.05], np.float32))
    balanced = rng.normal(0, sharp, (n, 3))
    powers = np.exp(balanced + shift)
    truth = np.array([rng.choice(3, p=p / p.sum()) for p in powers], np.int32)
    source = rng.integers(20, size=n)
    logits = (heat * (balanced + shift) - shift).astype(np.float32)
    return OutOfFold(
        dataset="folder",
        classes=CLASSES,
        head="softmax",
        names=np.array([f"x/{i:04d}.png" for i in range(n)]),
        sources=np.array([f"s{s:02d}" for s in source]),
        groups=np.array([f"s{s:02d}" for s in source]),
        fold=source % 4 + 1,
        truth=truth,
        logits=logits,
        mirrored=logits,
        shift=np.tile(shift, (n, 1)),
        about={"recipe": {"name": "r"}, "folds": 4, "unit": "source", "notices": [], **about},
    )


def test_prior_and_temperature_are_found_again() -> None:
    settings = choose(answered(4000), "likelihood")
    assert settings.prior == 1.0
    assert settings.temperature == pytest.approx(1.0, abs=0.1)
    assert settings.borderline == 0  # the mirror image tells nothing new


def test_overconfident_logits_are_cooled() -> None:
    assert choose(answered(4000, heat=3.0), "likelihood").temperature == pytest.approx(3.0, abs=0.4)


def test_nested_settings_do_not_see_their_own_fold() -> None:
    found = answered()
    spoiled = replace(found, truth=np.where(found.fold == 1, (found.truth + 1) % 3, found.truth))
    before, after = (nested(f, "accuracy")[1] for f in (found, spoiled))
    assert before[0] == after[0]
    assert before[1:] != after[1:]


def test_second_views_fly_where_they_pay() -> None:
    found = answered(2000, sharp=1.0)
    rng = np.random.default_rng(5)
    noisy = found.logits + rng.normal(0, 2, found.logits.shape).astype(np.float32)
    again = found.logits + rng.normal(0, 2, found.logits.shape).astype(np.float32)
    assert choose(replace(found, logits=noisy, mirrored=again), "likelihood").borderline == 0.9


def test_an_unknown_criterion_is_refused() -> None:
    with pytest.raises(RecipeError, match="of likelihood, accuracy, macro-f1"):
        choose(answered(), "f2")


def test_every_figure_has_an_interval_around_it() -> None:
    report = figures(answered(), "likelihood")
    for key, figure in report["nested"]["intervals"].items():
        assert key == "ece" or figure["low"] < figure["value"] < figure["high"]
    for row in report["nested"]["classes"].values():
        assert row["recall"]["low"] <= row["recall"]["value"] <= row["recall"]["high"]
    assert [r["fold"] for r in report["by_fold"]] == [1, 2, 3, 4]
    assert sum(r["n"] for r in report["by_fold"]) == report["n"] == 600


def test_a_recipe_gains_nothing_over_itself_and_much_over_guessing() -> None:
    found = answered()
    rng = np.random.default_rng(2)
    guessing = replace(found, logits=rng.normal(0, 1, found.logits.shape).astype(np.float32))
    same = compare(found, found, "likelihood")
    assert same["gain"]["accuracy"]["value"] == 0
    assert same["verdict"] == "within its noise: keep what flies"
    assert compare(found, guessing, "likelihood")["verdict"].startswith("better beyond its noise")
    assert compare(guessing, found, "likelihood")["verdict"].startswith("worse")


def test_the_comparison_is_on_the_tiles_of_both() -> None:
    found = answered()
    assert compare(found.rows(np.arange(300)), found, "likelihood")["n"] == 300
    elsewhere = replace(found, names=np.array([f"y/{i}" for i in range(len(found))]))
    with pytest.raises(DataError, match="no tile in common"):
        compare(found, elsewhere, "likelihood")
    with pytest.raises(DataError, match="label a tile differently"):
        compare(found, replace(found, truth=(found.truth + 1) % 3), "likelihood")
    with pytest.raises(DataError, match="the classes are"):
        compare(found, replace(found, classes=("plain", "crater", "spider")), "likelihood")


def test_two_groups_have_no_interval() -> None:
    found = answered()
    halves = replace(found, groups=np.where(found.fold < 3, "early", "late"))
    report = figures(halves, "likelihood")
    assert report["nested"]["intervals"]["accuracy"]["low"] is None
    assert compare(halves, halves, "likelihood")["gain"]["accuracy"]["low"] is None


def test_a_gain_has_no_interval_where_its_figure_has_none() -> None:
    """Macro-F1 and recalls keep to the rule of three groups as accuracy does."""
    found = answered()
    rng = np.random.default_rng(2)
    other = replace(found, logits=rng.normal(0, 1, found.logits.shape).astype(np.float32))
    assert compare(found, other, "likelihood")["gain"]["macro_f1"]["low"] is not None
    halves = replace(found, groups=np.where(found.fold < 3, "early", "late"))
    gain = compare(halves, replace(other, groups=halves.groups), "likelihood")["gain"]
    for figure in (gain["accuracy"], gain["macro_f1"], *gain["recall"].values()):
        assert figure["value"] != 0
        assert (figure["low"], figure["high"]) == (None, None)
    rare = np.isin(found.groups, ["s00", "s01"]) | (found.truth != 2)
    gain = compare(found.rows(rare), other.rows(rare), "likelihood")["gain"]["recall"]
    assert gain["dune"]["low"] is None
    assert gain["crater"]["low"] is not None


def test_the_bootstrap_is_named_and_the_same_every_time() -> None:
    report = figures(answered(), "likelihood")
    assert report["bootstrap"] == {
        "unit": "source", "groups": 20, "draws": 2000, "level": 0.95, "seed": 0,
    }  # fmt: skip
    assert figures(answered(), "likelihood") == report


def test_no_interval_no_claim() -> None:
    assert verdict({"value": 0.1, "low": None, "high": None}).startswith("within its noise")


def test_answers_are_read_as_they_were_saved(tmp_path: Path) -> None:
    found = answered(60)
    parts = [found.rows(found.fold == f) for f in (1, 2, 3, 4)]
    together = join(parts, found.about)
    together.save(tmp_path / "out-of-fold.npz")
    again = load(tmp_path)
    assert again.names.tolist() == found.names.tolist()
    np.testing.assert_array_equal(again.logits, found.logits)
    assert (again.classes, again.about) == (found.classes, found.about)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04half"])
def test_a_damaged_file_is_no_cross_validation(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "out-of-fold.npz").write_bytes(content)
    with pytest.raises(DataError, match="holds no finished cross-validation"):
        load(tmp_path)


def test_wrong_labels_are_found_and_weighed_down() -> None:
    rng = np.random.default_rng(3)
    true = rng.integers(3, size=900)
    posterior = np.full((900, 3), 0.05)
    posterior[np.arange(900), true] = 0.9
    posterior += rng.uniform(0, 0.05, posterior.shape)
    posterior /= posterior.sum(axis=1, keepdims=True)
    wrong = rng.choice(900, 45, replace=False)
    labels = true.copy()
    labels[wrong] = (labels[wrong] + 1) % 3
    found = noise.suspects(posterior, labels)
    assert {s.row for s in found} <= set(wrong.tolist())
    assert len(found) >= 0.95 * len(wrong)  # one may lie under its class's own threshold
    assert all(s.looks_like == true[s.row] for s in found)
    assert all(noise.LEAST_WEIGHT <= s.weight < 1 for s in found)


def test_doubt_of_a_hard_class_is_measured_by_its_own_posteriors() -> None:
    """Where a class is never said with more than 0.5, 0.5 is sure of it."""
    labels = np.array([0] * 50 + [1] * 50)
    posterior = np.tile([0.95, 0.05], (100, 1))
    posterior[50:] = [0.5, 0.5]
    posterior[0] = [0.45, 0.55]
    posterior[1] = [0.55, 0.45]
    assert [s.row for s in noise.suspects(posterior, labels)] == [0]


def test_a_class_that_no_net_recognizes_takes_no_tiles_of_others() -> None:
    """Its threshold is near 0, so that every posterior of it would pass for confident."""
    labels = np.array([0] * 50 + [1] * 5)
    posterior = np.tile([0.99, 0.01], (55, 1))
    posterior[:10] = [0.95, 0.05]
    assert {s.row for s in noise.suspects(posterior, labels)} == set(range(50, 55))


def test_suspects_are_read_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "suspects.csv"
    found = [noise.Suspect(1, 0, 2, 0.3, 0.6), noise.Suspect(0, 1, 2, 0.01, 0.9)]
    path.write_text(noise.as_csv(found, ["x/0.png", "x/1.png"], CLASSES))
    assert noise.read_weights(path) == {"x/1.png": 0.5, "x/0.png": 0.2}


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("tile,weight\nx,2\n", "weight of 0 to 1"),
        ("tile,weight\nx,\n", "weight of 0 to 1"),
        ("name,weight\nx,1\n", "names no tile"),
        ("tile,weight\nx,1\nx,0.5\n", "x is weighed twice"),
    ],
)
def test_bad_weights_are_refused(tmp_path: Path, rows: str, said: str) -> None:
    path = tmp_path / "suspects.csv"
    path.write_text(rows)
    with pytest.raises(DataError, match=said):
        noise.read_weights(path)
