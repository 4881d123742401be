"""Contexts: what lies around a detection comes down with it, where the mission asks for it."""

from __future__ import annotations

import io
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from winnow_edge.board.bench import MemorySource
from winnow_edge.errors import MissionError
from winnow_edge.loop import intake
from winnow_edge.loop.interpreters import Interpreters
from winnow_edge.loop.run import run_swath
from winnow_edge.loop.settings import Settings
from winnow_edge.loop.summary import SwathSummary
from winnow_edge.mission import Mission
from winnow_edge.prepare.chain import Chain
from winnow_edge.products.encode import Picture, decode_picture
from winnow_edge.products.kinds import Kind
from winnow_edge.products.worth import utility
from winnow_edge.store.store import Store
from winnow_edge.testing import painted_swath, probe_bundle, probe_mission

SIDE = 8
LINES, SAMPLES = 163, 50
PIXELS = painted_swath(LINES, SAMPLES, seed=3, squares=24, side=14, grain=8)
ASKED = "[context]\ntimes = {}\nbytes = 100_000\n[tiling]\nscales = [1, 2]\nhop = {}\n"


def fly(folder: Path, pool: Interpreters, mission: Mission, **more: Any) -> SwathSummary:
    with Store.open(folder, mission=mission) as store:
        settings = Settings.of(mission, "camera", pool.bundle)
        lines = Chain(MemorySource(PIXELS, "strip"), settings.camera)
        return run_swath(lines, settings, store, pool, **more)


def pictures(folder: Path, kind: Kind) -> dict[tuple[int, int], Picture]:
    with Store.open(folder, mission=None, read_only=True) as store:
        rows = list(store.products(kinds=[kind]))
        return {(p.tile_index, p.class_index): decode_picture(store.data(p.id)) for p in rows}


def contents(folder: Path) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(folder / "store.db")) as db, db:
        return db.execute("SELECT id, kind, tile, class, detection, data FROM product").fetchall()


def mean(line: int, sample: int, scale: int) -> float:
    return float(PIXELS[line : line + scale, sample : sample + scale].mean())


def seen(picture: Picture) -> npt.NDArray[np.float64]:
    with Image.open(io.BytesIO(picture.jpeg)) as image:
        return np.asarray(image, np.float64)


@pytest.mark.parametrize(("times", "hop"), [(2, 4), (3, 4), (3, 1), (3, 7)])
def test_a_context_shows_the_swath_around_its_tile(
    tmp_path: Path, pool: Interpreters, monkeypatch: pytest.MonkeyPatch, times: int, hop: int
) -> None:
    monkeypatch.setattr(intake, "BLOCK_LINES", 16)
    fly(tmp_path, pool, probe_mission(ASKED.format(times, hop)))
    images, contexts = (pictures(tmp_path, kind) for kind in (Kind.IMAGE, Kind.CONTEXT))
    assert contexts.keys() == images.keys()
    cut = 0
    for key, context in contexts.items():
        tile, head = images[key].head.record, context.head.record
        box, scale = head.box, head.scale
        assert scale == times * tile.scale
        assert (head.class_index, head.posterior) == (tile.class_index, tile.posterior)
        whole = times * SIDE * tile.scale
        # About the tile's middle, to two bins; at an edge of the swath less of it.
        before = (times - 1) * SIDE * tile.scale // 2
        assert abs(box.line - max(tile.box.line - before, 0)) <= 2 * scale
        assert abs(box.sample - max(tile.box.sample - before, 0)) <= 2 * scale
        assert box.line + box.lines <= LINES
        assert box.sample + box.samples <= SAMPLES
        inside = (
            tile.box.line > whole
            and tile.box.sample > whole
            and tile.box.line + 2 * whole < LINES
            and tile.box.sample + 2 * whole < SAMPLES
        )
        assert (box.lines, box.samples) == (whole, whole) or not inside
        cut += (box.lines, box.samples) != (whole, whole)
        shown = seen(context)
        assert shown.shape == (-(-box.lines // scale), -(-box.samples // scale))
        wanted = [
            [
                mean(line, sample, scale)
                for sample in range(box.sample, box.sample + box.samples, scale)
            ]
            for line in range(box.line, box.line + box.lines, scale)
        ]
        assert np.abs(shown - np.array(wanted)).mean() < 12
    assert cut > 0


@pytest.mark.parametrize("times", [2, 3])
def test_block_size_and_interruptions_change_nothing(
    tmp_path: Path, pool: Interpreters, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    mission = probe_mission(ASKED.format(times, 4))
    fly(tmp_path / "whole", pool, mission)
    monkeypatch.setattr(intake, "BLOCK_LINES", 16)

    class Power:
        def __init__(self, blocks: int) -> None:
            self.left = blocks

        def __call__(self, *_: object) -> None:
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt

    for blocks in range(7):
        with pytest.raises(KeyboardInterrupt):
            fly(tmp_path / "cut", pool, mission, progress=Power(blocks))
    fly(tmp_path / "cut", pool, mission)
    fly(tmp_path / "blocks", pool, mission)
    assert contents(tmp_path / "cut") == contents(tmp_path / "blocks")
    whole, cut = (pictures(tmp_path / name, Kind.CONTEXT) for name in ("whole", "cut"))
    assert whole == cut != {}


def test_without_the_key_there_are_none_and_it_changes_nothing_else(
    tmp_path: Path, pool: Interpreters
) -> None:
    fly(tmp_path / "off", pool, probe_mission())
    fly(tmp_path / "on", pool, probe_mission("[context]\ntimes = 3\n"))
    assert not pictures(tmp_path / "off", Kind.CONTEXT)
    assert pictures(tmp_path / "on", Kind.CONTEXT)
    others = [row[1:] for row in contents(tmp_path / "on") if row[1] not in (0, Kind.CONTEXT)]
    assert others == [row[1:] for row in contents(tmp_path / "off") if row[1] != 0]
    digests = {
        probe_mission(m).processing_digest("camera", "") for m in ("", "[context]\nshare = 1")
    }
    assert len(digests) == 1
    assert probe_mission("[context]\ntimes = 2").processing_digest("camera", "") not in digests


def test_a_context_keeps_to_its_bytes_and_is_worth_its_share(
    tmp_path: Path, pool: Interpreters
) -> None:
    mission = probe_mission(
        "[context]\ntimes = 3\nbytes = 700\nshare = 0.2\n[class.dark]\nutility = 5\n"
    )
    fly(tmp_path, pool, mission)
    with Store.open(tmp_path, mission=mission, read_only=True) as store:
        rows = list(store.products(kinds=[Kind.CONTEXT]))
        names = store.swaths()[0].classes
    assert rows
    assert all(row.bytes <= 700 for row in rows)
    for row in rows:
        wanted = {"dark": 5, "bright": 1}[names[row.class_index]] * 0.2 * row.posterior
        assert utility(row, mission, names) == pytest.approx(wanted)


def test_contexts_that_no_head_can_tell_are_refused(tmp_path: Path) -> None:
    bundle = probe_bundle(tmp_path, 1024)
    mission = probe_mission("[context]\ntimes = 3\n[tiling]\nscales = [64]\n")
    with pytest.raises(MissionError, match="a context would be 196,608 lines high"):
        Settings.of(mission, "camera", bundle)
    with pytest.raises(MissionError, match=r"`context\.times`"):
        probe_mission("[context]\ntimes = 4\n")
