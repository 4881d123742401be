"""A raw region from the ground's list to a PNG of 16 bits on the ground, and what is refused."""

from __future__ import annotations

import io
import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from tests.forked import run, run_text
from tests.running import winnow
from winnow_edge.downlink.requests import Request, Requests, answer, load_requests
from winnow_edge.errors import PacketError
from winnow_edge.loop.flight import Flight
from winnow_edge.mission import Mission, load_mission
from winnow_edge.products.kinds import Kind
from winnow_edge.products.ranking import rank
from winnow_edge.store.store import Store
from winnow_edge.testing import painted_swath, write_probe
from winnow_ground.receive import receive
from winnow_ground.received import load_received
from winnow_ground.regions import regions
from winnow_ground.regions import shown as shown_of
from winnow_ground.report import write_report

LINES, SAMPLES = 300, 120
CAMERA = "bits = 16\nsamples = 120\nstretch_limits = [0, 4095]\n"
MORE = "[link]\ncontainer_bytes = 4096\n"


def raw(seed: int = 1) -> npt.NDArray[np.uint16]:
    """A swath of 12 bits in 16."""
    rng = np.random.default_rng(seed)
    painted = painted_swath(LINES, SAMPLES, seed=seed).astype(np.uint16) * 16
    return painted + rng.integers(0, 16, painted.shape, np.uint16)


@pytest.fixture
def flown(tmp_path: Path) -> Path:
    """A mission, a swath that was flown and lies in `done`, and its first contact in `in`."""
    write_probe(tmp_path, MORE, camera=CAMERA)
    (tmp_path / "done").mkdir()
    raw().tofile(tmp_path / "done" / "strip.raw")
    with Flight(load_mission(tmp_path / "mission.toml"), tmp_path / "store") as flight:
        flight.run(tmp_path / "done" / "strip.raw")
    assert downlink(tmp_path, "1.bin", "--bytes", "3000")["requests"] is None
    receive([tmp_path / "1.bin"], tmp_path / "in")
    return tmp_path


def pixels_of(jpeg: bytes | None) -> npt.NDArray[np.float64]:
    with Image.open(io.BytesIO(jpeg or b"")) as picture:
        return np.asarray(picture, np.float64)


def edge(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_text("winnow-edge", "downlink", "mission.toml", *arguments, cwd=folder)


def downlink(folder: Path, out: str, *more: str) -> dict[str, Any]:
    done = edge(folder, "--store", "store", "--out", out, "--json", *more)
    assert (done.returncode, done.stderr) == (0, "")
    return {"requests": None, **json.loads(done.stdout)}


ASKED = ("--request", "in/requests.json", "--swaths", "done")


def test_a_region_comes_down_as_it_was(flown: Path) -> None:
    done = winnow("request", flown / "in", "strip.raw", "--line", 100, "--lines", 90, "--sample",
                  30, "--samples", 50)  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("request 1, 90 lines of 50 samples of strip.raw\n")
    told = downlink(flown, "2.bin", "--bytes", "100000", *ASKED, "--ack", "in/ack.json")
    (answered,) = told["requests"]
    assert answered["why"] is None
    assert answered["products"] == told["products"]["region"] > 1
    assert answered["bytes"] < 90 * 50 * 2
    # Given once more, nothing is sent twice.
    again = downlink(flown, "3.bin", "--bytes", "100000", *ASKED)
    assert again["requests"] == []
    assert again["products"]["region"] == 0
    shown = winnow("receive", flown / "2.bin", "--out", flown / "in").stdout
    received = load_received(flown / "in")
    (file,) = [line for line in shown.splitlines() if line.startswith("region: ")]
    assert file.startswith("region: request 1, strip.raw, lines 100 to 189: regions/")
    with Image.open(flown / "in" / file.rpartition(" ")[2]) as picture:
        assert picture.mode == "I;16"
        np.testing.assert_array_equal(np.asarray(picture), raw()[100:190, 30:80])
    parts = [p for p in received.products if p.kind == "region"]
    assert {p.request for p in parts} == {1}
    assert sum(p.box.lines for p in parts if p.box) == 90
    assert max(p.bytes for p in parts) < 4096
    page = write_report(flown / "in").page.read_text(encoding="utf-8")
    assert 'alt="request 1 at line 100, sample 30"' in page
    (region,) = regions(received)
    picture = pixels_of(shown_of(received, region))
    assert picture.shape == (90, 50)
    likeness = np.corrcoef(picture.reshape(-1), raw()[100:190, 30:80].reshape(-1))[0, 1]
    assert likeness > 0.98
    # The next request has the next number, and the list keeps both.
    winnow("request", flown / "in", "strip.raw", "--line", 0, "--lines", 1)
    listed = load_requests(flown / "in" / "requests.json").requests
    assert [(r.id, r.lines, r.samples) for r in listed] == [(1, 90, 50), (2, 1, 120)]


def test_parts_that_are_lost_come_again_and_the_rest_says_so(flown: Path) -> None:
    winnow("request", flown / "in", "strip.raw", "--line", 0, "--lines", 200)
    downlink(flown, "2.bin", "--bytes", "9000", *ASKED)
    shown = winnow("receive", flown / "2.bin", "--out", flown / "in").stdout
    assert " of 200 lines are here" in shown
    received = load_received(flown / "in")
    (region,) = regions(received)
    black = (pixels_of(shown_of(received, region)) < 16).all(axis=1)
    here = np.zeros(200, bool)
    for part in region.parts:
        assert part.box
        here[part.box.line : part.box.line + part.box.lines] = True
    np.testing.assert_array_equal(black[4:-4], ~here[4:-4])
    for n in (3, 4, 5, 6, 7, 8):
        downlink(flown, f"{n}.bin", "--bytes", "9000", "--ack", "in/ack.json")
        shown = winnow("receive", flown / f"{n}.bin", "--out", flown / "in").stdout
    (picture,) = (flown / "in" / "regions").glob("*.png")
    with Image.open(picture) as image:
        np.testing.assert_array_equal(np.asarray(image), raw()[:200])


@pytest.mark.parametrize("policy", ["utility-per-byte", "confidence", "diversity"])
def test_what_the_ground_asked_for_goes_first(flown: Path, policy: str) -> None:
    mission = load_mission(flown / "mission.toml")
    with Store.open(flown / "store", mission=mission) as store:
        asked = Requests(store.store_id, (Request(4, "strip.raw", 7, 0, 40, 120),))
        (done,) = answer(store, mission, asked, [flown / "done"])
        table = store.table()
        first = rank(table, policy, mission)[: done.products]
        assert (table.columns["kind"][first] == Kind.REGION).all()
        assert answer(store, mission, asked, [flown / "done"]) == []


def asked_of(folder: Path, request: Request, mission: Mission | None = None) -> str | None:
    mission = mission or load_mission(folder / "mission.toml")
    with Store.open(folder / "store", mission=mission) as store:
        one = Requests(store.store_id, (request,))
        (done,) = answer(store, mission, one, [folder / "nowhere", folder / "done"])
    return done.why


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        (Request(1, "other.raw", 0, 0, 1, 1), "the store has no swath of that name"),
        (Request(1, "strip.raw", 0, 100, 1, 21), "the swath has 120 samples"),
        (Request(1, "strip.raw", 299, 0, 2, 120), "the swath has 300 lines"),
        (Request(1, "strip.raw", 2**32 - 1, 0, 2**32 - 1, 120), "`requests.bytes` of the mission"),
    ],
)
def test_what_cannot_be_served_becomes_an_event(flown: Path, request_: Request, why: str) -> None:
    assert why in (asked_of(flown, request_) or "")
    (flown / "in" / "requests.json").unlink(missing_ok=True)
    told = downlink(flown, "2.bin", "--bytes", "100000")
    assert told["products"]["event"] == 1
    shown = winnow("receive", flown / "2.bin", "--out", flown / "in").stdout
    assert f"event: request 1, {request_.swath}: refused: " in shown
    assert why in shown
    (event,) = load_received(flown / "in").events
    assert (event["about"], event["request"]) == ("request", 1)
    assert not [s for s in shown.splitlines() if "has not come down" in s]


def test_a_swath_that_is_gone_or_another_is_refused(flown: Path) -> None:
    request = Request(1, "strip.raw", 0, 0, 5, 5)
    raw(seed=2).tofile(flown / "done" / "strip.raw")
    assert "is not the swath any more" in (asked_of(flown, request) or "")
    (flown / "done" / "strip.raw").unlink()
    assert "its file is not in" in (asked_of(flown, Request(2, "strip.raw", 0, 0, 5, 5)) or "")


def test_a_mission_may_serve_none_and_frames_are_no_swaths(flown: Path) -> None:
    request = Request(1, "strip.raw", 0, 0, 5, 5)
    write_probe(flown, MORE + "[requests]\nbytes = 0\n", camera=CAMERA)
    assert "`requests.bytes` of the mission is 0" in (asked_of(flown, request) or "")
    write_probe(flown, MORE, camera="frame = true\n")
    assert "takes frames" in (asked_of(flown, Request(2, "strip.raw", 0, 0, 5, 5)) or "")


def test_a_region_that_the_quota_does_not_hold_is_refused_whole(tmp_path: Path) -> None:
    path = write_probe(
        tmp_path, MORE + "[store]\nquota_mb = 0.5\n[tiling]\nhop = 16\n", camera=CAMERA
    )
    noise = np.random.default_rng(0).integers(0, 2**16, (2500, SAMPLES), np.uint16)
    noise.tofile(tmp_path / "strip.raw")
    mission = load_mission(path)
    with Flight(mission, tmp_path / "store") as flight:
        flight.run(tmp_path / "strip.raw")
        store = flight.store
        asked = Requests(store.store_id, (Request(1, "strip.raw", 0, 0, 2500, SAMPLES),))
        (done,) = answer(store, mission, asked, [tmp_path])
        assert "over 25% of the store's quota" in (done.why or "")
        kinds = [p.kind for p in store.products(kinds=(Kind.REGION, Kind.EVENT))]
        assert kinds == [Kind.EVENT]
        assert answer(store, mission, asked, [tmp_path]) == []


@pytest.mark.parametrize("name", ["strip.png", "strip.pgm", "eight.png"])
def test_pictures_give_their_own_samples(tmp_path: Path, name: str) -> None:
    pixels = painted_swath(LINES, SAMPLES, seed=1) if name == "eight.png" else raw()
    write_probe(tmp_path, MORE)
    path = tmp_path / name
    if path.suffix == ".pgm":  # of 12 bits: what the net sees is scaled
        path.write_bytes(b"P5 120 300 4095\n" + pixels.astype(">u2").tobytes())
    else:
        Image.fromarray(pixels).save(path)
    mission = load_mission(tmp_path / "mission.toml")
    with Flight(mission, tmp_path / "store") as flight:
        flight.run(path)
        asked = Requests(flight.store.store_id, (Request(1, name, 290, 100, 10, 20),))
        (done,) = answer(flight.store, mission, asked, [tmp_path])
    assert done.why is None
    downlink(tmp_path, "1.bin", "--bytes", "100000")
    receive([tmp_path / "1.bin"], tmp_path / "in")
    (picture,) = (tmp_path / "in" / "regions").glob("*.png")
    with Image.open(picture) as image:
        assert image.mode == ("L" if name == "eight.png" else "I;16")
        np.testing.assert_array_equal(np.asarray(image), pixels[290:, 100:])


def test_a_pipe_is_not_kept(tmp_path: Path) -> None:
    write_probe(tmp_path, camera=CAMERA)
    command = ("run", "mission.toml", "-", "--store", "store", "--name", "pass")
    assert run("winnow-edge", *command, cwd=tmp_path, stdin=raw().tobytes()).returncode == 0
    assert "over a pipe or socket" in (asked_of(tmp_path, Request(1, "pass", 0, 0, 5, 5)) or "")


LIST = {"store": "0000002a", "requests": [
    {"id": 1, "swath": "s", "line": 0, "sample": 0, "lines": 1, "samples": 1},
]}  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "{}", "\x00", json.dumps(LIST)[:-9], json.dumps({**LIST, "store": "x"}),
        json.dumps({**LIST, "store": "-1"}), json.dumps({**LIST, "more": 1}),
        json.dumps({**LIST, "requests": LIST["requests"] * 2}),
        *(
            json.dumps({**LIST, "requests": [{**dict(LIST["requests"][0]), **change}]})
            for change in ({"id": 0}, {"line": -1}, {"lines": 0}, {"samples": 2**40}, {"swath": 5},
                           {"swath": ""}, {"line": 1.5}, {"line": None}, {"x": 1})
        ),
    ],
)  # fmt: skip
def test_a_list_that_makes_no_sense_is_refused(flown: Path, text: str) -> None:
    path = flown / "in" / "requests.json"
    path.write_text(text)
    with pytest.raises(PacketError) as caught:
        load_requests(path)
    assert len(str(caught.value).splitlines()) == 1
    assert str(path) in str(caught.value)


def test_refusals_are_one_line(flown: Path) -> None:
    (flown / "in" / "requests.json").write_text(json.dumps(LIST))
    for code, arguments, says in (
        (3, ASKED, "the requests are about store 0000002a"),
        (2, ASKED[:2], "--request needs --swaths DIR"),
        (3, ("--request", "none.json", *ASKED[2:]), "none.json: No such file"),
    ):
        done = edge(flown, "--bytes", "1000", "--store", "store", "--out", "x.bin", *arguments)
        assert done.returncode == code
        assert says in done.stderr
        assert len(done.stderr.splitlines()) == 1
    for code, arguments, says in (
        (3, ("nobody.raw", "--line", 0, "--lines", 1), "0 swaths are named 'nobody.raw'"),
        (3, ("strip.raw", "--line", 299, "--lines", 2), "is not within the swath"),
        (3, ("strip.raw", "--line", 0, "--lines", 1), "asks another store, 0000002a"),
        (2, ("strip.raw", "--line", -1, "--lines", 1), "--line"),
    ):
        asked = winnow("request", flown / "in", *arguments)
        assert (asked.returncode, says in " ".join(asked.stderr.split())) == (code, True)
        assert "Traceback" not in asked.stderr


def test_clock_events_go_down_once_where_packets_carry_times(tmp_path: Path) -> None:
    write_probe(tmp_path, "[link]\ntime_code = true\n")
    Image.fromarray(painted_swath(60, 80)).save(tmp_path / "a.png")
    with Flight(load_mission(tmp_path / "mission.toml"), tmp_path / "store") as flight:
        flight.run(tmp_path / "a.png")
    assert downlink(tmp_path, "1.bin", "--bytes", "100000")["products"]["event"] == 1
    assert downlink(tmp_path, "2.bin", "--bytes", "100000")["products"]["event"] == 0
    received = receive([tmp_path / "1.bin"], tmp_path / "in")
    first = received.events[0]
    assert (first["about"], first["event"], first["boot"]) == ("clock", "boot", 1)
    said = winnow("receive", tmp_path / "1.bin", "--out", tmp_path / "in").stdout
    assert "event: clock: event boot, boot 1, mission_s" in said
