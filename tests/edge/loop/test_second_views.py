"""Second views of borderline tiles: which tiles get one, what it changes, and that nothing but the
tile and the bundle decides it."""

from __future__ import annotations

import dataclasses
import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from winnow_edge.board.bench import MemorySource, bench, rendered
from winnow_edge.bundle import (
    Bundle,
    Golden,
    OutputSpec,
    Tile,
    find_bundle,
    open_bundle,
    write_bundle,
)
from winnow_edge.errors import MissionError
from winnow_edge.loop import intake
from winnow_edge.loop.decision import Borderline, Decider, SecondViews, softmax_table
from winnow_edge.loop.interpreters import Interpreters
from winnow_edge.loop.run import run_swath
from winnow_edge.loop.settings import Settings
from winnow_edge.loop.summary import SwathSummary
from winnow_edge.mission import Mission, parse_mission
from winnow_edge.prepare.chain import Chain
from winnow_edge.products.encode import decode_record
from winnow_edge.products.kinds import Kind
from winnow_edge.runtimes import load_classifier
from winnow_edge.store.store import Store
from winnow_edge.testing import CLASSES, probe_manifest, probe_mission

SIDE = 8
PLAIN = probe_manifest(SIDE)
TWICE = dataclasses.replace(PLAIN, borderline=0.9)


def logits_of(classes: int, rows: int = 1) -> st.SearchStrategy[npt.NDArray[np.int8]]:
    return arrays(np.int8, (rows, classes))


@given(
    st.integers(1, 9).flatmap(logits_of),
    st.sampled_from([0.01, 0.05, 0.3]),
    st.floats(0.001, 1.0) | st.just(0.9),
)
def test_a_tile_is_borderline_where_its_best_posterior_is_under_the_limit(
    logits: npt.NDArray[np.int8], scale: float, limit: float
) -> None:
    names = tuple(f"c{k}" for k in range(logits.shape[1]))
    manifest = dataclasses.replace(
        PLAIN, classes=names, output=OutputSpec(scale, 0), thresholds={}, temperature=1.3
    )
    decider = Decider(manifest, {})
    total = sum(softmax_table(manifest)[int(logits.max()) - q] for q in logits[0].tolist())
    exactly = Fraction(1 << 32, total) < Fraction(limit)
    assert Borderline(manifest, limit)(logits[0]) == exactly
    if abs(decider.posteriors(logits).max() - limit) > 1e-12:
        assert exactly == (decider.posteriors(logits).max() < limit)


def test_posteriors_of_tiles_shown_twice_are_means_of_both_views() -> None:
    decider = Decider(PLAIN, {"dark": 0.6})
    first = np.array([[20, 0, 0], [90, 0, 0], [0, 30, 20]], np.int8)
    mirrored = np.array([[60, 0, 0], [0, 10, 0]], np.int8)
    second = SecondViews(np.array([0, 2]), mirrored)
    alone, other = decider.posteriors(first), decider.posteriors(mirrored)
    got = decider.posteriors(first, second)
    np.testing.assert_array_equal(got[1], alone[1])
    np.testing.assert_array_equal(got[[0, 2]], (alone[[0, 2]] + other) / 2)
    # What is decided is decided on the means: alone, tile 0 does not reach its threshold.
    assert alone[0, 0] < 0.6 < got[0, 0]
    assert decider.decide(first).tiles.tolist() == [1]
    assert decider.decide(first, second).tiles.tolist() == [0, 1]
    nothing = SecondViews(np.array([], np.intp), np.empty((0, 3), np.int8))
    np.testing.assert_array_equal(decider.posteriors(first, nothing), alone)


@pytest.mark.parametrize("name", ["hirise-landmarks", "rover-or-surface"])
def test_the_net_sees_the_mirror_image(name: str) -> None:
    bundle = open_bundle(find_bundle(name))
    classifier = load_classifier(bundle, "litert", self_test=False)
    spec, count = bundle.manifest.input, len(bundle.manifest.classes)
    rng = np.random.default_rng(0)
    shape = (spec.height, 3 * spec.width, *([3] if spec.channels == 3 else []))
    band = rng.integers(-128, 128, shape, np.int8)
    band[:, : 2 * spec.width] //= 3  # no tile like its mirror image
    wanted, got, plain = (np.empty(count, np.int8) for _ in range(3))
    for column in (0, spec.width + 5, 2 * spec.width):
        tile = band[:, column : column + spec.width]
        classifier.infer(np.ascontiguousarray(tile[:, ::-1]), wanted)
        classifier.infer_mirrored(tile, got)
        np.testing.assert_array_equal(got, wanted)
        classifier.infer(tile, plain)  # and the next plain one is not mirrored


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bundle]:
    """Bundles for the fake runtime that look at tiles once and twice."""
    folder = tmp_path_factory.mktemp("bundles")
    golden = Golden(np.zeros((0, SIDE, SIDE, 1), np.int8), {})
    return {
        name: write_bundle(
            folder / f"{name}.winnow", manifest, model=b"none", golden=golden, card=""
        )
        for name, manifest in (("once", PLAIN), ("twice", TWICE))
    }


def lopsided(pool: Interpreters) -> Interpreters:
    """The pool, its classifiers seeing the left half of a tile alone: mirrored, the right half."""

    def left_twice(tile: Tile, step: int) -> npt.NDArray[np.int8]:
        pixels = (tile[:, None] if tile.ndim == 1 else tile).view(np.int8)[:, ::step]
        return np.repeat(pixels[:, : SIDE // 2], 2, axis=1)

    for classifier in pool.classifiers:
        infer = classifier.infer
        classifier.infer = lambda tile, out, see=infer: see(left_twice(tile, 1), out)
        classifier.infer_mirrored = lambda tile, out, see=infer: see(left_twice(tile, -1), out)
    return pool


@pytest.fixture(scope="module")
def pool(bundles: dict[str, Bundle]) -> Iterator[Interpreters]:
    with Interpreters(bundles["twice"], "fake", 1) as one:
        yield lopsided(one)


def mission_of(more: str = "", scales: str = "[1, 2]") -> Mission:
    return probe_mission(f"[tiling]\nscales = {scales}\n{more}")


def swath(lines: int, samples: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    """Blobs of any grey on middle grey: tiles of all degrees of certainty."""
    rng = np.random.default_rng(seed)
    pixels = np.full((lines, samples), 128, np.uint8)
    for _ in range(max(lines * samples // 300, 1)):
        line, sample = rng.integers(0, lines), rng.integers(0, samples)
        pixels[line : line + 14, sample : sample + 14] = rng.integers(0, 256)
    return pixels


def fly(
    folder: Path, pixels: npt.NDArray[np.uint8], pool: Interpreters, mission: Mission, **more: Any
) -> SwathSummary:
    with Store.open(folder, mission=mission) as store:
        settings = Settings.of(mission, "camera", pool.bundle)
        lines = Chain(MemorySource(pixels, "strip"), settings.camera)
        return run_swath(lines, settings, store, pool, **more)


def contents(folder: Path) -> list[tuple[Any, ...]]:
    """Everything in a store that a run decides."""
    with closing(sqlite3.connect(folder / "store.db")) as db, db:
        rows = db.execute(
            "SELECT swath, kind, tile, class, posterior, detection, data FROM product"
        ).fetchall()
        rows += db.execute("SELECT next_tile, next_line, pending, summary FROM swath").fetchall()
    return rows


def test_records_carry_the_means_and_twice_shown_tiles_are_counted(
    pool: Interpreters, tmp_path: Path
) -> None:
    pixels, mission = swath(SIDE, 100), mission_of(scales="[1]")
    summary = fly(tmp_path, pixels, pool, mission)
    decider, borderline = Decider(TWICE, TWICE.thresholds), Borderline(TWICE, 0.9)
    logits = np.empty((2, len(CLASSES)), np.int8)
    wanted, twice = [], 0
    for column in range(0, 93, SIDE // 2):
        tile = (pixels[:, column : column + SIDE] ^ 0x80).view(np.int8)
        pool.classifiers[0].infer(tile, logits[0])
        pool.classifiers[0].infer(np.ascontiguousarray(tile[:, ::-1]), logits[1])
        again = borderline(logits[0])
        both = SecondViews(np.array([0]), logits[1:]) if again else None
        found = decider.decide(logits[:1], both)
        wanted.append((int(found.class_index[0]), pytest.approx(found.posterior[0], abs=1e-5)))
        twice += again
    records = [
        decode_record(row[6]).record for row in contents(tmp_path)[:-1] if row[1] == Kind.RECORD
    ]
    records.sort(key=lambda record: record.index)
    assert [(r.class_index, r.posterior) for r in records] == wanted
    assert 0 < twice < len(wanted)
    assert summary.tally.second_views == summary.as_json()["second_views"] == twice
    assert f"shown twice {twice}" in summary.as_text()


def test_blocks_and_threads_change_nothing(
    bundles: dict[str, Bundle], pool: Interpreters, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels, mission = swath(131, 77), mission_of('[verdict]\nclass_name = "bright"')
    whole = fly(tmp_path / "plain", pixels, pool, mission)
    assert whole.tally.second_views > 20
    assert whole.tally.detections > 5
    for block in (16, 50):
        monkeypatch.setattr(intake, "block_lines", lambda lines, scales, n=block: n)
        fly(tmp_path / f"{block}", pixels, pool, mission)
        assert contents(tmp_path / f"{block}") == contents(tmp_path / "plain")
    with Interpreters(bundles["twice"], "fake", 3) as three:
        fly(tmp_path / "three", pixels, lopsided(three), mission)
    assert contents(tmp_path / "three") == contents(tmp_path / "plain")


class CutError(Exception):
    """Stands for a power cut."""


@pytest.mark.parametrize("after", [1, 3])
def test_a_run_that_was_cut_off_goes_on_to_the_same_store(
    after: int, pool: Interpreters, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels, mission = swath(150, 60, seed=5), mission_of()
    monkeypatch.setattr(intake, "BLOCK_LINES", 22)
    whole = fly(tmp_path / "whole", pixels, pool, mission)
    assert whole.tally.second_views > 20

    def cut(tally: object, lines: int, total: int | None) -> None:
        nonlocal left
        left -= 1
        if not left:
            raise CutError

    for _ in range(2):
        left = after
        with pytest.raises(CutError):
            fly(tmp_path / "cut", pixels, pool, mission, progress=cut)
    resumed = fly(tmp_path / "cut", pixels, pool, mission)
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")
    again = fly(tmp_path / "cut", pixels, pool, mission)
    assert again.lasting() == resumed.lasting() == whole.lasting()


def test_the_mission_turns_second_views_off_and_on(
    bundles: dict[str, Bundle], pool: Interpreters, tmp_path: Path
) -> None:
    pixels = swath(64, 60)
    on, off, all_off = mission_of(), mission_of("[compute]\nborderline = 0"), tmp_path / "off"
    assert on.processing_digest("camera", "x") != off.processing_digest("camera", "x")
    shown_once = fly(all_off, pixels, pool, off)
    assert shown_once.tally.second_views == 0
    with Interpreters(bundles["once"], "fake", 1) as once:
        lopsided(once)
        fly(tmp_path / "once", pixels, once, on)
        asked = mission_of("[compute]\nborderline = 0.9")
        assert fly(tmp_path / "asked", pixels, once, asked).tally.second_views > 0
    fly(tmp_path / "on", pixels, pool, on)
    products = [contents(tmp_path / name)[:-1] for name in ("off", "once", "asked", "on")]
    assert products[0] == products[1]
    assert products[2] == products[3] != products[0]


def test_only_softmax_heads_have_a_best_posterior(bundles: dict[str, Bundle]) -> None:
    """A limit of the whole mission is for its softmax heads, and an error if there is none."""
    folder = bundles["once"].path.parent
    manifest = dataclasses.replace(PLAIN, name="both", head="sigmoid")
    golden = Golden(np.zeros((0, SIDE, SIDE, 1), np.int8), {})
    sigmoid = write_bundle(folder / "both.winnow", manifest, model=b"none", golden=golden, card="")

    def mission(*names: str, limit: str = "") -> Mission:
        cameras = "".join(f'[instrument.{n}]\nbundle = "{folder / n}.winnow"\n' for n in names)
        compute = f"[compute]\nborderline = {limit}\n" if limit else ""
        return parse_mission(f'name = "probe"\n{cameras}{compute}')

    def borderline(mission: Mission, bundle: Bundle) -> Borderline | None:
        return Settings.of(mission, bundle.path.stem, bundle).borderline

    assert borderline(mission("both"), sigmoid) is None
    assert borderline(mission("both", limit="0"), sigmoid) is None
    with pytest.raises(MissionError, match=r"`compute.borderline` is 0.9, but .*sigmoid head"):
        borderline(mission("both", limit="0.9"), sigmoid)
    mixed = mission("both", "once", limit="0.9")
    assert borderline(mixed, sigmoid) is None
    assert borderline(mixed, bundles["once"]) is not None
    assert borderline(mission("both", "twice", limit="0"), bundles["twice"]) is None


def test_bench_counts_net_calls(bundles: dict[str, Bundle], tmp_path: Path) -> None:
    path = tmp_path / "strip.pgm"
    pixels = np.ascontiguousarray(rendered(400, 64))
    path.write_bytes(b"P5 64 400 255\n" + pixels.tobytes())
    results = [
        bench(bundles[name], swath=str(path), runtime="fake", threads=1, seconds=0)
        for name in ("once", "twice")
    ]
    assert [r.second_views > 0 for r in results] == [False, True]
    assert results[0].tiles == results[1].tiles
    once, twice = (r.invocations / r.rounds for r in results)
    assert twice - once == pytest.approx(results[1].second_views, abs=1)


@pytest.mark.parametrize("threads", ["1", "3"])
def test_a_pipe_gives_the_products_of_the_file_with_the_real_net(
    threads: str, tmp_path: Path
) -> None:
    pixels = rendered(300, 400)
    (tmp_path / "strip.raw").write_bytes(pixels.tobytes())
    (tmp_path / "mission.toml").write_text(
        'name = "real"\n[instrument.camera]\nbundle = "hirise-landmarks"\nsamples = 400\n'
        '[compute]\nborderline = 0.95\nruntime = "litert"\n'
    )
    found = []
    for store, what, sent in (("file", "strip.raw", None), ("pipe", "-", pixels.tobytes())):
        command = [sys.executable, "-m", "winnow_edge.cli", "run", "mission.toml", what, "--json"]
        command += ["--store", store, "--name", "strip", "--threads", threads]
        done = subprocess.run(command, cwd=tmp_path, input=sent, capture_output=True, check=True)
        found.append({**json.loads(done.stdout), "seconds": 0})
    assert found[0] == found[1]
    assert found[0]["second_views"] > 0
    products = [contents(tmp_path / store)[:-1] for store in ("file", "pipe")]
    assert products[0] == products[1]
