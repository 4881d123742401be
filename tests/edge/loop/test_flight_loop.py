"""The flight loop as a whole: what it shows to the net, and that nothing but the swath matters."""

from __future__ import annotations

import contextlib
import io
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from winnow_edge.board.bench import MemorySource
from winnow_edge.bundle import Bundle, InputSpec
from winnow_edge.errors import MissionError, StoreError, SwathError, SwathKnownError
from winnow_edge.loop import intake
from winnow_edge.loop.band import bin_lines
from winnow_edge.loop.interpreters import Interpreters
from winnow_edge.loop.run import run_swath
from winnow_edge.loop.schedule import origins
from winnow_edge.loop.settings import Settings
from winnow_edge.loop.summary import SwathSummary
from winnow_edge.mission import Mission
from winnow_edge.prepare.chain import Chain
from winnow_edge.products.encode import decode_picture, decode_record
from winnow_edge.products.kinds import NO_CLASS, Box, Flag, Kind
from winnow_edge.products.quick_look import ROWS, decode_quick_look
from winnow_edge.runtimes.fake import FakeClassifier
from winnow_edge.store.schema import seal, unseal
from winnow_edge.store.store import Store
from winnow_edge.store.writer import SwathWriter
from winnow_edge.testing import painted_swath, probe_bundle, probe_mission

SIDE = 8


def mission_of(more: str = "", scales: str = "[1]", nodata: str = "") -> Mission:
    return probe_mission(f"[tiling]\nscales = {scales}\n{more}", camera=nodata)


def swath(lines: int, samples: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    """A few detections, some of them overlapping."""
    squares = max(lines * samples // 600, 1)
    return painted_swath(lines, samples, seed=seed, squares=squares, side=14, grain=8)


def contents(folder: Path) -> list[tuple[Any, ...]]:
    """Everything in a store that a run decides."""
    with contextlib.closing(sqlite3.connect(folder / "store.db")) as db, db:
        rows = db.execute(
            "SELECT id, swath, kind, tile, class, posterior, detection, data FROM product"
        ).fetchall()
        rows += db.execute(
            "SELECT name, next_tile, next_line, pending, summary FROM swath"
        ).fetchall()
    return rows


def fly(
    folder: Path,
    pixels: npt.NDArray[np.uint8],
    pool: Interpreters,
    mission: Mission,
    **more: Any,
) -> SwathSummary:
    with Store.open(folder, mission=mission) as store:
        settings = Settings.of(mission, "camera", pool.bundle)
        lines = Chain(MemorySource(pixels, "strip"), settings.camera)
        return run_swath(lines, settings, store, pool, **more)


class Recording:
    """Keeps a copy of every tile that a fake classifier is shown."""

    def __init__(self, classifier: Any) -> None:
        self.tiles: list[npt.NDArray[np.int8]] = []
        self._infer = FakeClassifier.infer.__get__(classifier)

    def __call__(self, tile: npt.NDArray[np.void], logits: memoryview) -> None:
        self.tiles.append(tile[:, None].view(np.int8).copy())
        self._infer(tile, logits)


@given(
    lines=st.integers(1, 90),
    samples=st.integers(1, 60),
    hop=st.integers(1, SIDE),
    scales=st.sets(st.integers(1, 4), min_size=1, max_size=3),
    block=st.integers(1, 40),
    nodata=st.booleans(),
)
@settings(max_examples=50)
def test_tiles_are_slices_of_the_whole_binned_swath_and_cover_it(
    lines: int,
    samples: int,
    hop: int,
    scales: set[int],
    block: int,
    nodata: bool,
    pool: Interpreters,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    pixels = np.random.default_rng(lines * samples).integers(1, 255, (lines, samples), np.uint8)
    order = sorted(scales)
    mission = mission_of(
        f"hop = {hop}\n[screening]\nnodata_max = 1.0", str(order), "nodata = 0" * nodata
    )
    recording = Recording(pool.classifiers[0])
    pool.classifiers[0].infer = recording  # type: ignore[method-assign]
    folder = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(intake, "block_lines", lambda lines, scales: block)
        summary = fly(folder, pixels, pool, mission)
    with Store.open(folder, mission=mission, read_only=True) as store:
        records = [
            decode_record(store.data(p.id)).record for p in store.products(kinds=[Kind.RECORD])
        ]
    assert [r.index for r in records] == list(range(summary.tally.tiles))
    assert len(recording.tiles) == len(records)
    covered = {scale: np.zeros((lines, samples), bool) for scale in order}
    for record, tile in zip(records, recording.tiles, strict=True):
        box, scale = record.box, record.scale
        covered[scale][box.line : box.line + box.lines, box.sample : box.sample + box.samples] = (
            True
        )
        whole = bin_lines(pixels, scale)
        row, column = box.line // scale, box.sample // scale
        part = whole[row : row + SIDE, column : column + SIDE]
        seen = tile.view(np.uint8) ^ 0x80
        assert (seen[: part.shape[0], : part.shape[1]] == part).all()
        if nodata:
            assert (seen[part.shape[0] :] == 0).all()
            assert (seen[:, part.shape[1] :] == 0).all()
        else:
            assert (seen[part.shape[0] :, : part.shape[1]] == part[-1]).all()
            assert (seen[: part.shape[0], part.shape[1] :] == part[:, -1:]).all()
        assert box.line + box.lines <= lines
        assert box.sample + box.samples <= samples
    assert all(mask.all() for mask in covered.values())
    for scale in order:
        rows = sorted({r.box.line // scale for r in records if r.scale == scale})
        assert rows == origins(-(-lines // scale), SIDE, hop)


def test_box_means_are_rounded_to_nearest_and_partial_bins_average_what_is_there() -> None:
    lines = np.array([[0, 1, 10, 20, 7], [1, 1, 30, 41, 8], [9, 9, 0, 0, 255]], np.uint8)
    assert bin_lines(lines, 2).tolist() == [[1, 25, 8], [9, 0, 255]]
    assert bin_lines(lines, 1) is lines
    colour = np.repeat(lines[..., None], 3, axis=2)
    assert (bin_lines(colour, 2) == bin_lines(lines, 2)[..., None]).all()


@pytest.mark.parametrize("scales", ["[1]", "[1, 2]", "[2, 3]", "[4]"])
def test_block_size_and_threads_change_nothing(
    scales: str, bundle: Bundle, pool: Interpreters, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels, mission = swath(131, 77), mission_of(scales=scales, nodata="nodata = 0")
    fly(tmp_path / "plain", pixels, pool, mission)
    for block in (3, 16, 50):
        monkeypatch.setattr(intake, "block_lines", lambda lines, scales, n=block: n)
        fly(tmp_path / f"{block}", pixels, pool, mission)
        assert contents(tmp_path / f"{block}") == contents(tmp_path / "plain")
    with Interpreters(bundle, "fake", 3) as three:
        fly(tmp_path / "three", pixels, three, mission)
    assert contents(tmp_path / "three") == contents(tmp_path / "plain")


class CutError(Exception):
    """Stands for a power cut."""


@pytest.mark.parametrize("after", [1, 2, 3, 5])
@pytest.mark.parametrize("scales", ["[1]", "[1, 3]"])
def test_a_run_that_was_cut_off_goes_on_to_the_same_store(
    after: int, scales: str, pool: Interpreters, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = swath(150, 60, seed=5)
    mission = mission_of('[verdict]\nclass_name = "bright"', scales=scales)
    monkeypatch.setattr(intake, "BLOCK_LINES", 21)
    whole = fly(tmp_path / "whole", pixels, pool, mission)
    assert whole.tally.detections > 5

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
    assert resumed.lasting() == whole.lasting()
    again = fly(tmp_path / "cut", pixels, pool, mission)
    assert again.lasting() == whole.lasting()
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


def test_a_run_cut_off_before_any_of_its_commits_goes_on_to_the_same_store(
    pool: Interpreters, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One block of many rows, which is committed in two parts, and several.
    pixels, commit, calls = swath(150, 60, seed=5), SwathWriter.commit, 0
    mission = mission_of('[verdict]\nclass_name = "bright"', scales="[1, 3]")
    fly(tmp_path / "whole", pixels, pool, mission)

    def cut(writer: SwathWriter, **band: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == at:
            raise CutError
        commit(writer, **band)

    for block, commits in ((256, 2), (40, 5)):
        monkeypatch.setattr(intake, "BLOCK_LINES", block)
        for at in range(1, commits + 1):
            folder, calls = tmp_path / f"{block}-{at}", 0
            with monkeypatch.context() as patch, pytest.raises(CutError):
                patch.setattr(SwathWriter, "commit", cut)
                fly(folder, pixels, pool, mission)
            fly(folder, pixels, pool, mission)
            assert contents(folder) == contents(tmp_path / "whole")


def test_stop_commits_the_band_and_the_next_run_goes_on(
    pool: Interpreters, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels, mission = swath(150, 60), mission_of()
    monkeypatch.setattr(intake, "BLOCK_LINES", 30)
    fly(tmp_path / "whole", pixels, pool, mission)
    calls = iter([False, False, True])
    stopped = fly(tmp_path / "stop", pixels, pool, mission, stop=lambda: next(calls, True))
    assert not stopped.complete
    assert 0 < stopped.tally.tiles < 434
    assert stopped.lines == 60
    finished = fly(tmp_path / "stop", pixels, pool, mission)
    assert finished.complete
    assert contents(tmp_path / "stop") == contents(tmp_path / "whole")


def test_a_resumed_run_may_be_stopped_anywhere(
    pool: Interpreters, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also while it passes over what was committed, with detections open whose pixels are not
    there again yet."""
    pixels, mission = swath(150, 60, seed=5), mission_of(scales="[1, 3]")
    monkeypatch.setattr(intake, "BLOCK_LINES", 15)
    whole = fly(tmp_path / "whole", pixels, pool, mission)

    def after(blocks: int) -> Callable[[], bool]:
        calls = iter([False] * blocks)
        return lambda: next(calls, True)

    first = fly(tmp_path / "stop", pixels, pool, mission, stop=after(8))
    assert first.lines == 120
    open_detections = json.loads(unseal(contents(tmp_path / "stop")[-1][3]) or b"")["merger"]
    assert not all("dropped" in detection for detection in open_detections)
    for blocks in range(8):
        again = fly(tmp_path / "stop", pixels, pool, mission, stop=after(blocks))
        assert again.lasting() == first.lasting()
    assert fly(tmp_path / "stop", pixels, pool, mission).lasting() == whole.lasting()
    assert contents(tmp_path / "stop") == contents(tmp_path / "whole")


def test_a_swath_without_detections_leaves_a_quick_look(pool: Interpreters, tmp_path: Path) -> None:
    summary = fly(tmp_path / "with", np.full((60, 40), 128, np.uint8), pool, mission_of())
    with Store.open(tmp_path / "with", mission=None, read_only=True) as store:
        (look,) = store.products(kinds=(Kind.QUICK_LOOK,))
        shown = decode_quick_look(store.data(look.id))
        assert summary.tally.bytes == sum(
            p.bytes for p in store.products() if p.kind is not Kind.SWATH
        )
    assert (summary.tally.detections, shown.box) == (0, Box(0, 0, 60, 40))
    assert summary.tally.products == summary.tally.tiles + 1
    none = mission_of("[quick_look]\nbytes = 0")
    summary = fly(tmp_path / "without", np.full((60, 40), 128, np.uint8), pool, none)
    assert summary.tally.products == summary.tally.tiles


def test_quick_looks_of_a_long_swath_are_made_once(pool: Interpreters, tmp_path: Path) -> None:
    """Wherever the run is stopped: sections end within blocks and between them."""
    pixels, mission = swath(3 * ROWS + 100, 8), mission_of("hop = 8\n[quick_look]\nbytes = 1000")
    fly(tmp_path / "whole", pixels, pool, mission)
    blocks = ROWS // intake.BLOCK_LINES
    for more in (blocks - 1, blocks, blocks + 1, 0, blocks):
        stops = iter([False] * (more + 1))
        fly(tmp_path / "stop", pixels, pool, mission, stop=lambda stops=stops: next(stops, True))
    assert fly(tmp_path / "stop", pixels, pool, mission).complete
    assert contents(tmp_path / "stop") == contents(tmp_path / "whole")
    with Store.open(tmp_path / "stop", mission=None, read_only=True) as store:
        looks = [
            decode_quick_look(store.data(p.id)) for p in store.products(kinds=[Kind.QUICK_LOOK])
        ]
    assert [look.box.line for look in looks] == [0, ROWS, 2 * ROWS, 3 * ROWS]
    assert looks[-1].box.lines == 100


def test_a_swath_that_another_version_left_unfinished_is_refused(
    pool: Interpreters, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels, mission = swath(150, 60, seed=5), mission_of()
    monkeypatch.setattr(intake, "BLOCK_LINES", 15)
    stops = iter([False] * 5)
    fly(tmp_path, pixels, pool, mission, stop=lambda: next(stops, True))
    with contextlib.closing(sqlite3.connect(tmp_path / "store.db")) as db, db:
        ((pending,),) = db.execute("SELECT pending FROM swath").fetchall()
        state = json.loads(unseal(pending) or b"")
        state["state"] = 1
        db.execute("UPDATE swath SET pending = ?", (seal(json.dumps(state).encode()),))
    with pytest.raises(SwathKnownError, match="left unfinished by another version"):
        fly(tmp_path, pixels, pool, mission)


def entry_of(state: dict[str, Any]) -> dict[str, Any]:
    """The first of the open detections."""
    found: dict[str, Any] = state["merger"][0]
    return found


@pytest.mark.parametrize(
    "damage",
    [
        lambda state: state.pop("tally"),
        lambda state: state.update(check="x"),
        lambda state: state["tally"].update(tiles=-1),
        lambda state: state["tally"]["by_class"].update(x=1.5),
        lambda state: state["votes"].update(more=1),
        lambda state: state.update(merger={}),
        lambda state: entry_of(state).update(tile=10**6),
        lambda state: entry_of(state).update(posterior=2),
        lambda state: entry_of(state).update({"class": 99}),
        lambda state: entry_of(state).update(box=[1, 2, 3]),
        lambda state: entry_of(state).update(touched=[999]),
        lambda state: entry_of(state).update(beside=[[0]]),
        lambda state: entry_of(state).update(owner=999),
    ],
)
def test_a_state_that_makes_no_sense_is_refused_in_one_line(
    pool: Interpreters,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    damage: Callable[[dict[str, Any]], object],
) -> None:
    """Though its checksum is right."""
    pixels, mission = swath(150, 60, seed=5), mission_of()
    monkeypatch.setattr(intake, "BLOCK_LINES", 15)
    stops = iter([False] * 5)
    fly(tmp_path, pixels, pool, mission, stop=lambda: next(stops, True))
    with contextlib.closing(sqlite3.connect(tmp_path / "store.db")) as db, db:
        ((pending,),) = db.execute("SELECT pending FROM swath").fetchall()
        state = json.loads(unseal(pending) or b"")
        assert state["merger"]
        damage(state)
        db.execute("UPDATE swath SET pending = ?", (seal(json.dumps(state).encode()),))
    with pytest.raises(
        SwathKnownError, match=r"^swath 'strip': .*; (give it another --name|known here)"
    ):
        fly(tmp_path, pixels, pool, mission)


def test_lines_that_trickle_in_give_the_same_store(
    pool: Interpreters, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Trickle(MemorySource):
        """Now nothing, now some lines, as a slow camera's pipe."""

        asked = 0

        def read(self, out: npt.NDArray[Any]) -> int | None:
            self.asked += 1
            return super().read(out[: 1 + self.asked % 7]) if self.asked % 3 else None

    pixels, mission = swath(150, 60, seed=5), mission_of(scales="[1, 3]")
    more = "bright_pixels = 90\nfind_dead_samples = true"
    for camera in ("", more):
        mission = mission_of(scales="[1, 3]", nodata=camera)
        monkeypatch.setattr(intake, "BLOCK_LINES", 21)
        plain, slow = tmp_path / f"plain{len(camera)}", tmp_path / f"slow{len(camera)}"
        whole = fly(plain, pixels, pool, mission)
        settings = Settings.of(mission, "camera", pool.bundle)
        with Store.open(slow, mission=mission) as store:
            lines = Chain(Trickle(pixels, "strip"), settings.camera)
            assert run_swath(lines, settings, store, pool).lasting() == whole.lasting()
        assert contents(slow) == contents(plain)


def test_interpreters_of_another_bundle_are_refused(pool: Interpreters, tmp_path: Path) -> None:
    other = probe_bundle(tmp_path, SIDE, thresholds={})
    with pytest.raises(MissionError, match="no instrument 'infrared'"):
        Settings.of(mission_of(), "infrared", other)
    settings = Settings.of(mission_of(), "camera", other)
    with (
        Store.open(tmp_path / "s", mission=None) as store,
        pytest.raises(ValueError, match="another bundle"),
    ):
        run_swath(Chain(MemorySource(swath(9, 9)), settings.camera), settings, store, pool)


def test_detections_carry_the_pixels_of_their_box_and_their_merge_count(
    pool: Interpreters, tmp_path: Path
) -> None:
    pixels = np.full((64, 64), 128, np.uint8)
    pixels[16:32, 24:40] = 255
    summary = fly(tmp_path, pixels, pool, mission_of("[products]\nimage_quality = 95"))
    assert summary.tally.by_class == {"bright": summary.tally.detections}
    assert summary.tally.hits > summary.tally.detections > 0
    with Store.open(tmp_path, mission=None, read_only=True) as store:
        images = list(store.products(kinds=[Kind.IMAGE]))
        assert len(images) == summary.tally.detections
        assert len(list(store.products(kinds=[Kind.THUMBNAIL]))) == len(images)
        for row in images:
            picture = decode_picture(store.data(row.id))
            box = picture.head.record.box
            there = pixels[box.line : box.line + box.lines, box.sample : box.sample + box.samples]
            with Image.open(io.BytesIO(picture.jpeg)) as image:
                assert abs(np.asarray(image).astype(int) - there).max() <= 8
        # Every tile over threshold is counted by one picture.
        pictures = [decode_picture(store.data(row.id)) for row in images]
        assert sum(picture.head.merged for picture in pictures) == summary.tally.hits
        assert all((p.outline is None) == (p.head.merged == 1) for p in pictures)


def test_screened_tiles_leave_a_record_without_a_class(pool: Interpreters, tmp_path: Path) -> None:
    pixels = swath(40, 40)
    pixels[:, :20] = 0
    summary = fly(tmp_path, pixels, pool, mission_of(nodata="nodata = 0"))
    with Store.open(tmp_path, mission=None, read_only=True) as store:
        records = [
            decode_record(store.data(p.id)).record for p in store.products(kinds=[Kind.RECORD])
        ]
    out = [r for r in records if r.flags & Flag.SCREENED]
    assert len(out) == summary.tally.screened > 0
    assert all(r.class_index == NO_CLASS and r.posterior == 0 for r in out)
    # Columns 0 to 12 are wholly nodata, the tile at 16 is half: not above half, so it is shown.
    assert {r.box.sample for r in out} == {0, 4, 8, 12}


def test_colour_swaths_and_colour_nets(tmp_path: Path) -> None:
    colour = probe_bundle(tmp_path, SIDE, channels=3)
    grey = swath(40, 40)
    # The quick look of a colour swath has colours; what the net sees are the same tiles.
    mission = mission_of("[quick_look]\nbytes = 0", scales="[1, 2]")
    with Interpreters(colour, "fake", 1) as pool:
        from_grey = fly(tmp_path / "a", grey, pool, mission)
        from_rgb = fly(tmp_path / "b", np.repeat(grey[..., None], 3, axis=2), pool, mission)
    assert from_grey.lasting() == from_rgb.lasting()
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_a_quantized_input_of_another_scale_is_honoured(tmp_path: Path) -> None:
    odd = probe_bundle(tmp_path, SIDE, input=InputSpec(SIDE, SIDE, 1, 2.0, -100))
    with Interpreters(odd, "fake", 1) as pool:
        recording = Recording(pool.classifiers[0])
        pool.classifiers[0].infer = recording  # type: ignore[method-assign]
        pixels = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4
        fly(tmp_path / "s", pixels, pool, mission_of())
    wanted = np.clip(np.round(pixels / 2.0) - 100, -128, 127)
    assert (recording.tiles[0] == wanted).all()


def test_sigmoid_heads_find_several_classes_in_a_tile(tmp_path: Path) -> None:
    both = probe_bundle(tmp_path, SIDE, head="sigmoid", thresholds={"dark": 0.0, "bright": 0.0})
    with Interpreters(both, "fake", 1) as pool:
        summary = fly(tmp_path / "s", np.full((8, 8), 128, np.uint8), pool, mission_of())
    assert summary.tally.by_class == {"bright": 1, "dark": 1}


def test_the_missions_threshold_goes_before_the_bundles(pool: Interpreters, tmp_path: Path) -> None:
    pixels = np.full((8, 8), 128, np.uint8)
    plain = fly(tmp_path / "a", pixels, pool, mission_of())
    asked = fly(tmp_path / "b", pixels, pool, mission_of("[class.middle]\nthreshold = 0.5"))
    assert plain.tally.by_class == {}
    assert asked.tally.by_class == {"middle": 1}


def test_what_does_not_fit_together_is_refused(pool: Interpreters, tmp_path: Path) -> None:
    pixels = swath(20, 20)
    with pytest.raises(MissionError, match=r"`tiling.tile` is 16, bundle 'probe' takes 8"):
        fly(tmp_path, pixels, pool, mission_of("tile = 16"))
    with pytest.raises(MissionError, match=r"`tiling.hop` is 9"):
        fly(tmp_path, pixels, pool, mission_of("hop = 9"))
    with pytest.raises(MissionError, match=r"'volcano'.*its classes: dark, middle, bright"):
        fly(tmp_path, pixels, pool, mission_of("[class.volcano]\nutility = 1"))
    with pytest.raises(SwathError, match="holds no whole line"):
        fly(tmp_path, pixels[:0], pool, mission_of())


def test_another_swath_or_processing_under_a_known_name_is_refused(
    pool: Interpreters, tmp_path: Path
) -> None:
    fly(tmp_path, swath(20, 20), pool, mission_of())
    with pytest.raises(StoreError, match="other samples"):
        fly(tmp_path, swath(20, 21), pool, mission_of())
    with pytest.raises(StoreError, match="other processing"):
        fly(tmp_path, swath(20, 20), pool, mission_of("hop = 3"))
    assert fly(tmp_path, swath(20, 21), pool, mission_of(), name="second").complete


def test_a_failing_interpreter_ends_the_run_and_nothing_is_lost(
    bundle: Bundle, tmp_path: Path
) -> None:
    def fail(tile: object, logits: object) -> None:
        raise RuntimeError("the device went away")

    with Interpreters(bundle, "fake", 2) as two:
        for classifier in two.classifiers:
            classifier.infer = fail  # type: ignore[method-assign]
        with pytest.raises(RuntimeError, match="went away"):
            fly(tmp_path, swath(300, 40), two, mission_of())
    with Interpreters(bundle, "fake", 2) as two:
        assert fly(tmp_path, swath(300, 40), two, mission_of()).complete
