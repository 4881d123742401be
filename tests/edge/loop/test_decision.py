"""Posteriors and thresholds."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from winnow_edge.bundle import InputSpec, Manifest, OutputSpec
from winnow_edge.loop.decision import Decider
from winnow_edge.loop.screening import Screen, contrasts, salience, value_counts
from winnow_edge.mission import Screening


def manifest(head: str, scale: float = 0.1, temperature: float = 1.3, zero: int = 7) -> Manifest:
    return Manifest(
        name="m",
        classes=("a", "b", "c"),
        head=head,
        input=InputSpec(8, 8, 1, 1.0, -128),
        output=OutputSpec(scale, zero),
        temperature=temperature,
        thresholds={},
    )


Logits = npt.NDArray[np.int8]
logits_of = arrays(np.int8, st.tuples(st.integers(1, 6), st.just(3)))


@given(logits_of)
def test_softmax_is_that_of_the_dequantized_logits(logits: Logits) -> None:
    real = 0.1 * (logits.astype(float) - 7) / 1.3
    wanted = np.exp(real) / np.exp(real).sum(axis=1, keepdims=True)
    got = Decider(manifest("softmax"), {}).posteriors(logits)
    np.testing.assert_allclose(got, wanted, atol=1e-8)


@given(logits_of)
def test_sigmoid_is_that_of_the_dequantized_logits(logits: Logits) -> None:
    wanted = 1 / (1 + np.exp(-0.1 * (logits.astype(float) - 7) / 1.3))
    got = Decider(manifest("sigmoid"), {}).posteriors(logits)
    np.testing.assert_allclose(got, wanted, atol=1e-8)


def test_the_best_class_that_reaches_its_threshold_is_detected() -> None:
    decider = Decider(manifest("softmax", scale=0.02, zero=0), {"b": 0.3, "c": 0.35})
    logits = np.array([[50, 40, 0], [127, 0, 0], [0, 40, 45], [0, 0, 127]], np.int8)
    decided = decider.decide(logits)
    # Tile 0: a is best but has no threshold, b reaches its own. Tile 1: nothing does.
    assert decided.class_index.tolist() == [1, 0, 2, 2]
    assert list(zip(decided.tiles, decided.classes, strict=True)) == [(0, 1), (2, 2), (3, 2)]
    posterior = decider.posteriors(logits)
    assert decided.posterior.tolist() == [
        posterior[0, 1],
        posterior[1, 0],
        posterior[2, 2],
        posterior[3, 2],
    ]
    assert decided.posteriors.tolist() == decided.posterior[[0, 2, 3]].tolist()


def test_sigmoid_classes_stand_alone() -> None:
    decider = Decider(manifest("sigmoid", zero=0), {"a": 0.5, "c": 0.5})
    decided = decider.decide(np.array([[1, 9, 5], [-1, 9, -5]], np.int8))
    assert list(zip(decided.tiles, decided.classes, strict=True)) == [(0, 0), (0, 2)]
    assert decided.class_index.tolist() == [2, 1]


def test_no_tiles_at_all() -> None:
    decided = Decider(manifest("softmax"), {"a": 0.5}).decide(np.empty((0, 3), np.int8))
    assert len(decided.class_index) == len(decided.tiles) == 0


@given(
    arrays(
        np.int8, st.tuples(st.integers(1, 9), st.integers(9, 30)), elements=st.integers(-128, -126)
    ),
    st.integers(1, 9),
)
def test_nodata_is_counted_per_tile(rows: Logits, hop: int) -> None:
    tile = len(rows)
    columns = list(range(0, rows.shape[1] - tile + 1, hop))
    wanted = [int((rows[:, c : c + tile] == -128).sum()) for c in columns]
    assert value_counts(rows, columns, -128).tolist() == wanted


def test_tiles_of_more_than_255_rows_are_counted_right() -> None:
    assert value_counts(np.full((300, 310), -128, np.int8), [0, 10], -128).tolist() == [90_000] * 2


@pytest.mark.parametrize(("limit", "wanted"), [(0.5, False), (0.49, True)])
@pytest.mark.parametrize("what", ["nodata_max", "saturated_max"])
def test_a_share_at_the_limit_is_shown(what: str, limit: float, wanted: bool) -> None:
    rows = np.zeros((4, 4), np.int8)
    rows[:2] = -128 if what == "nodata_max" else 127
    screen = Screen(Screening(**{what: limit}), nodata=-128, white=127, step=1.0)
    assert screen(rows, [0]).tolist() == [wanted]
    assert Screen(Screening(), nodata=None, white=127, step=1.0)(rows, [0]).tolist() == [False]


def test_contrast_is_the_standard_deviation_of_every_fourth_line() -> None:
    rows = np.random.default_rng(0).integers(-128, 128, (16, 40), np.int8)
    wanted = [float(rows[::4, c : c + 16].std()) for c in (0, 8, 24)]
    np.testing.assert_allclose(contrasts(rows, [0, 8, 24]), wanted)
    plain = np.full((16, 40), 3, np.int8)
    plain[:, 20:] = rows[:, 20:]
    screen = Screen(Screening(contrast_min=5.0), nodata=None, white=127, step=1.0)
    assert screen(plain, [0, 8, 24]).tolist() == [True, False, False]


def test_salience_is_contrast_with_the_surround_and_within() -> None:
    rows = np.random.default_rng(1).integers(-128, 128, (16, 60), np.int8)

    def by_hand(column: int) -> float:
        tile = rows[:, column : column + 16].astype(float)
        inner = tile[4:12, 4:12]
        around = (tile.sum() - inner.sum()) / (256 - 64)
        return float(abs(inner.mean() - around) + inner.std())

    columns = [0, 7, 30, 44]
    np.testing.assert_allclose(salience(rows, columns), [by_hand(c) for c in columns])


def test_the_most_salient_share_of_a_row_is_shown() -> None:
    rows = np.zeros((8, 80), np.int8)
    rows[2:6, 34:38] = 100  # in the tile at 32
    rows[3:5, 59:61] = 60  # in the tile at 56, fainter
    rows[:, :16] = -128
    columns = list(range(0, 73, 8))
    screen = Screen(Screening(nodata_max=0.5), nodata=-128, white=127, step=1.0, share=0.25)
    shown = [c for c, out in zip(columns, screen(rows, columns), strict=True) if not out]
    # Of the eight that are not nodata a quarter, the two with something in them.
    assert shown == [32, 56]
    every = Screen(Screening(), nodata=None, white=127, step=1.0, share=0.01)
    assert every(np.zeros((8, 80), np.int8), columns).tolist() == [False] + [True] * 9
    # Where all of a row is nodata, as beside a map-projected strip, no share is left to be shown.
    assert screen(np.full((8, 80), -128, np.int8), columns).all()
