"""The second stage: what it is shown, what becomes of what it says, and that nothing but the swath
and the bundle decides it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sqlite3
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.forked import run
from winnow_edge.archive import pack, sha256
from winnow_edge.board.bench import MemorySource
from winnow_edge.bundle import (
    VERIFIER_BYTES,
    Bundle,
    Golden,
    InputSpec,
    Manifest,
    OutputSpec,
    Verifier,
    encode_bundle,
    open_bundle,
    parse_bundle,
    write_bundle,
)
from winnow_edge.errors import BundleError, MissionError
from winnow_edge.loop import intake
from winnow_edge.loop.band import bin_lines
from winnow_edge.loop.interpreters import Interpreters
from winnow_edge.loop.run import run_swath
from winnow_edge.loop.settings import Settings
from winnow_edge.loop.summary import SwathSummary
from winnow_edge.mission import Mission, parse_mission
from winnow_edge.place.door import Asked, Shape, look
from winnow_edge.place.place import Place
from winnow_edge.prepare.chain import Chain
from winnow_edge.products.encode import decode_picture, decode_record
from winnow_edge.products.kinds import Flag, Kind
from winnow_edge.runtimes.fake import FakeClassifier
from winnow_edge.store.store import Store

SIDE = 8
FIRST = Manifest(
    name="probe",
    classes=("dark", "middle", "bright"),
    head="softmax",
    input=InputSpec(SIDE, SIDE, 1, 1.0, -128),
    output=OutputSpec(0.05, 0),
    temperature=1.0,
    thresholds={"dark": 0.9, "bright": 0.9},
)
SECOND = dataclasses.replace(
    FIRST,
    name="probe-verifier",
    input=InputSpec(2 * SIDE, SIDE, 1, 1.0, -128),
    thresholds={"dark": 0.97, "middle": 0.6, "bright": 0.97},
)
GOLDEN = Golden(np.zeros((0, SIDE, SIDE, 1), np.int8), {})
GOLDEN_SECOND = Golden(np.zeros((0, 2 * SIDE, SIDE, 1), np.int8), {})


def verifier_of(model: bytes = b"none", golden: Golden = GOLDEN_SECOND, **more: Any) -> Verifier:
    return Verifier(dataclasses.replace(SECOND, **more), model, golden)


def make(folder: Path, verifier: Verifier | None) -> Bundle:
    folder.mkdir(exist_ok=True)
    path = folder / "probe.winnow"
    return write_bundle(path, FIRST, model=b"none", golden=GOLDEN, card="", verifier=verifier)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make(tmp_path_factory.mktemp("two"), verifier_of())


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make(tmp_path_factory.mktemp("one"), None)


@pytest.fixture(scope="module")
def pool(bundle: Bundle) -> Iterator[Interpreters]:
    with Interpreters(bundle, "fake", 1) as one:
        yield one


def mission_of(more: str = "", scales: str = "[1]", nodata: str = "") -> Mission:
    return parse_mission(
        f'name = "probe"\n[instrument.camera]\nbundle = "probe"\n{nodata}\n'
        f"[tiling]\nscales = {scales}\n{more}"
    )


def swath(lines: int, samples: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    """Dark and bright blobs of many sizes on middle grey: surroundings that agree, and others."""
    rng = np.random.default_rng(seed)
    pixels = 128 + rng.integers(0, 9, (lines, samples), np.uint8)
    for _ in range(max(lines * samples // 900, 1)):
        line, sample, side = rng.integers(0, lines), rng.integers(0, samples), rng.integers(8, 20)
        pixels[line : line + side, sample : sample + side] = rng.choice([3, 250])
    return pixels


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
        chosen = Settings.of(mission, "camera", pool.bundle)
        lines = Chain(MemorySource(pixels, "strip"), chosen.camera)
        return run_swath(lines, chosen, store, pool, **more)


def around(
    pixels: npt.NDArray[np.uint8], line: int, sample: int, scale: int, nodata: int
) -> npt.NDArray[np.uint8]:
    """The surroundings of a tile as docs/second-stage.md has them, out of the whole swath."""
    whole = np.pad(bin_lines(pixels, 2 * scale), 2 * SIDE, constant_values=nodata)
    top, left = ((at // scale - SIDE // 2) // 2 + 2 * SIDE for at in (line, sample))
    return whole[top : top + SIDE, left : left + SIDE]


@given(
    lines=st.integers(1, 90),
    samples=st.integers(1, 60),
    hop=st.integers(1, SIDE),
    scales=st.sets(st.integers(1, 4), min_size=1, max_size=3),
    block=st.integers(1, 40),
    nodata=st.none() | st.integers(0, 255),
    seed=st.integers(0, 99),
)
@settings(max_examples=40, deadline=None)
def test_the_second_stage_is_shown_the_tile_and_its_surroundings_out_of_the_whole_swath(
    lines: int,
    samples: int,
    hop: int,
    scales: set[int],
    block: int,
    nodata: int | None,
    seed: int,
    bundle: Bundle,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    pixels = swath(lines, samples, seed)
    mission = mission_of(
        f"hop = {hop}\n[screening]\nnodata_max = 1.0",
        str(sorted(scales)),
        "" if nodata is None else f"nodata = {nodata}",
    )
    folder = tmp_path_factory.mktemp("store")
    # A second stage that confirms whatever it is shown, so that the pictures say where it was.
    sure = dict.fromkeys(FIRST.classes, 0.0)
    assert bundle.verifier is not None
    second = dataclasses.replace(
        bundle.verifier, manifest=dataclasses.replace(SECOND, thresholds=sure)
    )
    with (
        Interpreters(dataclasses.replace(bundle, verifier=second), "fake", 1) as pool,
        pytest.MonkeyPatch.context() as patch,
    ):
        seen: list[npt.NDArray[np.uint8]] = []
        infer = FakeClassifier.infer

        def watch(self: FakeClassifier, tile: Any, logits: Any) -> None:
            if tile.shape == (2 * SIDE, SIDE, 1):
                seen.append((tile[..., 0].view(np.uint8) ^ 0x80).copy())
            infer(self, tile, logits)

        patch.setattr(FakeClassifier, "infer", watch)
        patch.setattr(intake, "block_lines", lambda lines, scales: block)
        summary = fly(folder, pixels, pool, mission)
    with Store.open(folder, mission=mission, read_only=True) as store:
        heads = [
            decode_picture(store.data(p.id)).head.record for p in store.products(kinds=[Kind.IMAGE])
        ]
    assert len(seen) == len(heads) == summary.tally.detections
    assert summary.verified is not None
    assert summary.verified.verified == len(seen)
    for shown, record in zip(seen, heads, strict=True):
        box, scale = record.box, record.scale
        row, column = box.line // scale, box.sample // scale
        tile = bin_lines(pixels, scale)[row : row + SIDE, column : column + SIDE]
        assert (shown[: tile.shape[0], : tile.shape[1]] == tile).all()
        assert (shown[SIDE:] == around(pixels, box.line, box.sample, scale, nodata or 0)).all()


def test_detections_are_confirmed_refused_or_relabelled(
    pool: Interpreters, plain: Bundle, tmp_path: Path
) -> None:
    pixels, mission = swath(300, 200), mission_of(scales="[1, 2]")
    two = fly(tmp_path / "two", pixels, pool, mission)
    with Interpreters(plain, "fake", 1) as once:
        one = fly(tmp_path / "one", pixels, once, mission)
    counts = two.verified
    assert counts is not None
    assert one.verified is None
    assert min(counts.refused, counts.relabelled, two.tally.by_class["dark"]) > 0
    assert counts.verified == one.tally.detections
    assert two.tally.detections == counts.verified - counts.refused
    assert two.tally.hits == one.tally.hits
    assert two.lasting()["refused"] == counts.refused
    assert "refused" not in one.lasting()
    # Records of what passed say what the pictures say, all others what the first stage said.
    first, second = records(tmp_path / "one", mission), records(tmp_path / "two", mission)
    shown = pictures(tmp_path / "two", mission)
    assert [r.box for r in first.values()] == [r.box for r in second.values()]
    changes, changed = {Flag.REFUSED: 0, Flag.NONE: 0}, 0
    for tile, was in first.items():
        now = second[tile]
        if was.flags.is_feature and tile in shown:
            assert now.flags == Flag.DETECTION
            assert (now.class_index, now.posterior) == (
                shown[tile].class_index,
                shown[tile].posterior,
            )
            changed += now.posterior != was.posterior
            changes[Flag.NONE] += now.class_index != was.class_index
        elif was.flags.is_feature:
            assert now == dataclasses.replace(was, flags=Flag.DETECTION | Flag.REFUSED)
            assert not now.flags.is_feature
            changes[Flag.REFUSED] += 1
        else:
            assert now == was
    assert changed > 0
    assert changes == {Flag.REFUSED: counts.refused, Flag.NONE: counts.relabelled}
    with Store.open(tmp_path / "two", mission=mission, read_only=True) as store:
        listed = {p.tile_index: p for p in store.products(kinds=[Kind.RECORD])}
    for tile, record in second.items():
        assert listed[tile].detection == record.flags.is_feature
        assert listed[tile].class_index == record.class_index
        assert listed[tile].posterior == pytest.approx(record.posterior, abs=1e-5)
    assert f"verified {counts.verified}: {counts.refused} refused" in two.as_text()


def test_the_second_stage_gives_no_class_that_is_not_at_its_place(
    pool: Interpreters, tmp_path: Path
) -> None:
    pixels, places = swath(300, 200), '[class."middle"]\nlatitude = [80, 90]\n'
    free = fly(tmp_path / "free", pixels, pool, mission_of())
    seen = look("-", Shape(200, None, None), Asked(place=Place(-71.0, None)))
    bound = fly(tmp_path / "bound", pixels, pool, mission_of(places), geometry=seen)
    assert free.verified is not None
    assert bound.verified is not None
    assert free.tally.by_class["middle"] > 0
    assert "middle" not in bound.tally.by_class
    assert bound.verified.verified == free.verified.verified
    assert bound.verified.refused > free.verified.refused
    there = fly(tmp_path / "there", pixels, pool, mission_of(places))
    assert there.tally.by_class == free.tally.by_class


def records(folder: Path, mission: Mission) -> dict[int, Any]:
    with Store.open(folder, mission=mission, read_only=True) as store:
        found = [
            decode_record(store.data(p.id)).record for p in store.products(kinds=[Kind.RECORD])
        ]
    return {record.index: record for record in found}


def pictures(folder: Path, mission: Mission) -> dict[int, Any]:
    with Store.open(folder, mission=mission, read_only=True) as store:
        found = [decode_picture(store.data(p.id)).head for p in store.products(kinds=[Kind.IMAGE])]
    return {head.record.index: head.record for head in found}


def test_classes_without_a_threshold_in_the_second_stage_pass_as_they_are(
    plain: Bundle, tmp_path: Path
) -> None:
    bright = make(tmp_path / "bright", verifier_of(thresholds={"bright": 1.0}))
    pixels, mission = swath(200, 120), mission_of()
    with Interpreters(bright, "fake", 1) as pool, Interpreters(plain, "fake", 1) as once:
        two = fly(tmp_path / "two", pixels, pool, mission)
        one = fly(tmp_path / "one", pixels, once, mission)
    assert two.tally.by_class == {"dark": one.tally.by_class["dark"]}
    assert two.verified is not None
    assert two.verified.verified == two.verified.refused == one.tally.by_class["bright"]


@pytest.mark.parametrize("scales", ["[1]", "[1, 2]", "[2, 3]"])
def test_block_size_and_threads_change_nothing(
    scales: str, bundle: Bundle, pool: Interpreters, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels, mission = swath(171, 97), mission_of(scales=scales, nodata="nodata = 0")
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
    pixels, mission = swath(150, 60, seed=4), mission_of(scales=scales)
    monkeypatch.setattr(intake, "BLOCK_LINES", 21)
    whole = fly(tmp_path / "whole", pixels, pool, mission)
    assert whole.verified is not None
    assert min(dataclasses.astuple(whole.verified)) > 0

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


def run_command(folder: Path, store: str, *more: str, stdin: bytes = b"") -> dict[str, Any]:
    command = ("run", "mission.toml", *more, "--store", store, "--json")
    done = run("winnow-edge", *command, cwd=folder, stdin=stdin)
    assert done.returncode == 0, done.stderr
    summary: dict[str, Any] = json.loads(done.stdout)
    return {k: v for k, v in summary.items() if k not in ("seconds", "threads")}


def test_file_pipe_and_threads_say_the_same_and_so_does_a_run_that_was_killed(
    bundle: Bundle, tmp_path: Path
) -> None:
    pixels = swath(3000, 120)
    (tmp_path / "strip.raw").write_bytes(pixels.tobytes())
    (tmp_path / "mission.toml").write_text(
        f'name = "probe"\n[instrument.camera]\nbundle = "{bundle.path}"\nsamples = 120\n'
        '[tiling]\nscales = [1, 2]\n[compute]\nruntime = "fake"\nthreads = 1\n'
    )
    whole = run_command(tmp_path, "file", "strip.raw", "--name", "strip")
    assert min(whole["verified"], whole["refused"], whole["relabelled"]) > 0
    piped = run_command(tmp_path, "pipe", "-", "--name", "strip", stdin=pixels.tobytes())
    many = run_command(tmp_path, "many", "strip.raw", "--name", "strip", "--threads", "3")
    assert piped == many == whole
    killed_run(tmp_path, pixels)
    resumed = run_command(tmp_path, "killed", "-", "--name", "strip", stdin=pixels.tobytes())
    assert resumed == whole
    for other in ("pipe", "many", "killed"):
        assert contents(tmp_path / other)[:-1] == contents(tmp_path / "file")[:-1]


def killed_run(folder: Path, pixels: npt.NDArray[np.uint8]) -> None:
    """A run that gets the first half of its lines and is killed once it has committed some."""
    command = [sys.executable, "-m", "winnow_edge", "run", "mission.toml", "-", "--name", "strip"]
    lines = pixels[: len(pixels) // 2].tobytes()
    with subprocess.Popen(
        [*command, "--store", "killed"], cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        process.stdin.write(lines)
        process.stdin.flush()
        while committed(folder / "killed") == 0:
            assert process.poll() is None
            threading.Event().wait(0.05)
        process.kill()


def committed(store: Path) -> int:
    """Tiles that are committed of the store's swath."""
    try:
        with contextlib.closing(sqlite3.connect(f"file:{store}/store.db?mode=ro", uri=True)) as db:
            found = db.execute("SELECT next_tile FROM swath").fetchone()
    except sqlite3.Error:
        return 0  # not begun yet
    return int(found[0]) if found else 0


def test_a_mission_may_do_without_and_is_then_as_with_a_bundle_of_one_stage(
    bundle: Bundle, plain: Bundle, tmp_path: Path
) -> None:
    pixels, without = swath(200, 120), mission_of("[compute]\nverifier = false")
    with Interpreters(bundle, "fake", 1, verifier=False) as pool:
        off = fly(tmp_path / "off", pixels, pool, without)
    with Interpreters(plain, "fake", 1) as once:
        fly(tmp_path / "one", pixels, once, without)
    assert off.verified is None
    assert contents(tmp_path / "off") == contents(tmp_path / "one")
    with pytest.raises(MissionError, match=r"`compute.verifier` is true.*has no verifier"):
        Settings.of(mission_of("[compute]\nverifier = true"), "camera", plain)
    assert Settings.of(mission_of("[compute]\nverifier = true"), "camera", bundle).verifier
    with (
        Interpreters(bundle, "fake", 1, verifier=False) as pool,
        pytest.raises(ValueError, match="without the verifier"),
    ):
        fly(tmp_path / "wrong", pixels, pool, mission_of())


def test_a_bundle_with_a_verifier_opens_with_the_same_content(
    bundle: Bundle, plain: Bundle
) -> None:
    opened = open_bundle(bundle.path)
    assert opened.manifest.format_version == 2
    assert opened.verifier is not None
    assert opened.verifier.manifest == SECOND
    assert opened.verifier.model == b"none"
    assert plain.manifest.format_version == 1
    assert plain.verifier is None
    assert "verifier" not in json.loads(members_of(plain)["manifest.json"])


def members_of(bundle: Bundle) -> dict[str, bytes]:
    with zipfile.ZipFile(bundle.path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.mark.parametrize(
    ("verifier", "says"),
    [
        (verifier_of(classes=("middle", "dark", "bright")), "other classes than its first stage"),
        (verifier_of(classes=("dark", "middle", "b"), thresholds={}), "other classes than its"),
        (verifier_of(input=InputSpec(8, 8, 1, 1.0, -128)), "8 x 8 x 1, must be .* 16 x 8 x 1"),
        (verifier_of(input=InputSpec(16, 8, 3, 1.0, -128)), "16 x 8 x 3, must be .* 16 x 8 x 1"),
        (verifier_of(head="sigmoid"), "needs a softmax head"),
        (verifier_of(temperature=0.0), "`verifier.temperature` is 0.0"),
        (verifier_of(thresholds={"dust": 0.5}), "verifier: `thresholds` names 'dust'"),
        (verifier_of(model=bytes(VERIFIER_BYTES + 1)), "verifier.tflite has 3,000,001 bytes"),
        (verifier_of(golden=GOLDEN), "golden verifier_tiles are int8"),
    ],
)
def test_a_verifier_that_does_not_fit_is_refused(
    verifier: Verifier, says: str, tmp_path: Path
) -> None:
    with pytest.raises(BundleError, match=says):
        make(tmp_path, verifier)


def test_damage_to_the_verifier_is_refused(bundle: Bundle) -> None:
    data = bundle.path.read_bytes()
    for at in (data.index(b"verifier.tflite") + len("verifier.tflite"), len(data) // 2):
        flipped = bytearray(data)
        flipped[at] ^= 1
        with pytest.raises(BundleError):
            parse_bundle(bytes(flipped), bundle.path)
    for length in range(0, len(data), 97):
        with pytest.raises(BundleError):
            parse_bundle(data[:length], bundle.path)


def test_a_verifier_needs_its_member_its_table_and_its_golden_tiles(tmp_path: Path) -> None:
    made = make(tmp_path, verifier_of())
    members = members_of(made)
    manifest = json.loads(members["manifest.json"])

    def refused(says: str, table: dict[str, Any], **changed: bytes | None) -> None:
        parts = {**members, **{name.replace("_", "."): data for name, data in changed.items()}}
        held = {name: data for name, data in parts.items() if data is not None}
        held["manifest.json"] = json.dumps(table).encode()
        with pytest.raises(BundleError, match=says):
            parse_bundle(pack(held), made.path)

    without = {k: v for k, v in manifest.items() if k != "verifier"}
    refused("verifier.tflite is missing", manifest, verifier_tflite=None)
    refused("`format_version` is 2", without)
    refused("`format_version` is 1", {**manifest, "format_version": 1})
    nested = {**manifest["verifier"], "borderline": 0.5}
    refused("verifier.borderline", {**manifest, "verifier": nested})
    plain = encode_bundle(FIRST, model=b"none", golden=GOLDEN, card="")
    golden = members_of(write_file(tmp_path / "plain.winnow", plain))["golden.npz"]
    digests = {**manifest["sha256"], "golden.npz": sha256(golden)}
    refused("has no verifier_tiles", {**manifest, "sha256": digests}, golden_npz=golden)


def write_file(path: Path, data: bytes) -> Bundle:
    path.write_bytes(data)
    return open_bundle(path)
