"""`winnow-edge run --incoming`: a folder that is worked off, whatever lies in it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests import forked
from winnow_edge.board.incoming import Incoming
from winnow_edge.store.store import Store
from winnow_edge.testing import painted_swath, write_probe

DIES = """
import os, signal, sys
from winnow_edge.cli import main
from winnow_edge.sources import picture
opened = picture.open_picture
def open_picture(path, **more):
    if "bomb" in path.name:
        os.kill(os.getpid(), signal.SIGKILL)
    return opened(path, **more)
picture.open_picture = open_picture
sys.exit(main())
"""
"""A board on which a picture of that name ends the process, as the kernel does for memory."""


@pytest.fixture
def flight(tmp_path: Path) -> Path:
    """A folder with a mission on the fake runtime, and `incoming` with two swaths."""
    write_probe(tmp_path)
    (tmp_path / "incoming").mkdir()
    for number, name in enumerate(("b.png", "z.pgm")):
        picture = Image.fromarray(painted_swath(300, 200, seed=number))
        picture.save(tmp_path / "incoming" / name)
    return tmp_path


def run(flight: Path, *more: str, program: str | None = None) -> subprocess.CompletedProcess[bytes]:
    arguments = ["run", "mission.toml", "incoming", "--incoming", "--store", "store", *more]
    if program is None:
        return forked.run("winnow-edge", *arguments, cwd=flight)
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, cwd=flight, capture_output=True, check=False)


def swaths(flight: Path) -> list[str]:
    """The complete swaths of the store, in the order in which they were begun."""
    with Store.open(flight / "store", mission=None, read_only=True) as store:
        return [swath.name for swath in store.swaths() if swath.complete]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_finished_files_are_moved_and_a_second_start_finds_nothing(flight: Path) -> None:
    done = run(flight, "--json")
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["swath"] for line in done.stdout.splitlines()] == ["b.png", "z.pgm"]
    assert names(flight / "incoming") == ["done", "set-aside"]
    assert names(flight / "incoming" / "done") == ["b.png", "z.pgm"]
    again = run(flight, "--json")
    assert (again.returncode, again.stdout) == (0, b"")


def test_a_bad_file_is_set_aside_with_an_event_and_the_next_is_taken(flight: Path) -> None:
    incoming = flight / "incoming"
    (incoming / "a.png").write_bytes(b"no picture at all")
    os.mkfifo(incoming / "c.pipe")
    (incoming / ".later.png").write_bytes(b"is still being written")
    done = run(flight)
    assert done.returncode == 0, done.stderr
    assert swaths(flight) == ["b.png", "z.pgm"]
    assert names(incoming) == [".later.png", "done", "set-aside"]
    aside = incoming / "set-aside"
    assert names(aside) == ["a.png", "c.pipe", "events.jsonl"]
    events = [json.loads(line) for line in (aside / "events.jsonl").read_text().splitlines()]
    assert [(event["file"], event["tries"]) for event in events] == [("a.png", 2), ("c.pipe", 0)]
    assert "is not PNG, JPEG or PGM" in events[0]["why"]
    assert b"set aside as set-aside/a.png after 2 tries" in done.stderr


def test_a_file_that_kills_the_run_is_set_aside_at_the_third_start(flight: Path) -> None:
    incoming = flight / "incoming"
    (incoming / "b.png").rename(incoming / "a-bomb.png")
    for _ in range(2):
        assert run(flight, program=DIES).returncode == -signal.SIGKILL
        assert names(incoming) == ["a-bomb.png", "done", "set-aside", "z.pgm"]
    done = run(flight, program=DIES)
    assert done.returncode == 0, done.stderr
    assert swaths(flight) == ["z.pgm"]
    assert names(incoming / "set-aside") == ["a-bomb.png", "events.jsonl"]


def test_a_swath_that_comes_on_between_power_cuts_is_not_set_aside(tmp_path: Path) -> None:
    incoming = Incoming(tmp_path / "in", tmp_path / "store")
    path = tmp_path / "in" / "swath.raw"
    path.touch()
    for lines in (-1, 0, 512, 1024, 1536):
        assert incoming.begin(path, lines)
    assert incoming.begin(path, 1536)
    assert not incoming.begin(path, 1536)
    assert names(tmp_path / "in" / "set-aside") == ["events.jsonl", "swath.raw"]


def test_power_cuts_are_not_held_against_a_file_until_there_are_ten(tmp_path: Path) -> None:
    def begun(boot: int) -> bool:
        return Incoming(tmp_path / "in", tmp_path / "store", boot=str(boot)).begin(path, -1)

    path = tmp_path / "in" / "swath.raw"
    path.parent.mkdir()
    path.touch()
    assert all(begun(boot) for boot in range(10))
    assert not begun(10)
    assert names(tmp_path / "in" / "set-aside") == ["events.jsonl", "swath.raw"]


def test_a_file_that_kills_the_run_after_a_power_cut_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "in" / "swath.raw"
    Incoming(tmp_path / "in", tmp_path, boot="1")
    path.touch()
    assert Incoming(tmp_path / "in", tmp_path, boot="1").begin(path, -1)
    after = Incoming(tmp_path / "in", tmp_path, boot="2")
    assert [after.begin(path, -1) for _ in range(3)] == [True, True, False]


@pytest.mark.parametrize("text", ["", "[]", '{"file":"swath.raw"}', "[" * 60_000, '{"tries":9}'])
def test_a_damaged_count_of_tries_counts_from_the_first(tmp_path: Path, text: str) -> None:
    incoming = Incoming(tmp_path / "in", tmp_path)
    path = tmp_path / "in" / "swath.raw"
    path.touch()
    (tmp_path / "tries.json").write_text(text)
    assert incoming.begin(path, 0)
    assert incoming.begin(path, 0)
    assert not incoming.begin(path, 0)


def test_set_aside_twice_keeps_both(flight: Path) -> None:
    for content in (b"one", b"two"):
        (flight / "incoming" / "a.png").write_bytes(content)
        assert run(flight).returncode == 0
    aside = flight / "incoming" / "set-aside"
    assert ((aside / "a.png").read_bytes(), (aside / "a.png.2").read_bytes()) == (b"one", b"two")


def test_a_name_that_is_no_utf_8_is_run_under_a_name_with_escapes(flight: Path) -> None:
    incoming = flight / "incoming"
    odd = os.fsencode(incoming) + b"/m\xff\x1b]0;x\x07\xf0\x9f\x9b\xb0.png"
    (incoming / "b.png").rename(os.fsdecode(odd))
    plain = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-m", "winnow_edge.cli", "run", "mission.toml"]
    done = subprocess.run(
        [*command, "incoming", "--incoming", "--store", "store"],
        cwd=flight, capture_output=True, check=False, env=plain,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert b"\x1b" not in done.stdout
    assert len(swaths(flight)) == 2
    assert all(name.isprintable() for name in swaths(flight))
    assert len(names(incoming / "done")) == 2


def test_a_full_disk_is_not_held_against_the_file(flight: Path) -> None:
    """The store cannot grow: the run ends, and the file stays where it is, however often."""
    import resource

    def limited() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))

    pixels = np.random.default_rng(1).integers(0, 255, (4000, 200), np.uint8)
    Image.fromarray(pixels).save(flight / "incoming" / "b.png")
    command = [sys.executable, "-m", "winnow_edge.cli", "run", "mission.toml"]
    for _ in range(3):
        done = subprocess.run(
            [*command, "incoming", "--incoming", "--store", "store", "--patience", "0"],
            cwd=flight, capture_output=True, check=False, preexec_fn=limited,
        )  # fmt: skip
        assert done.returncode == 6, done.stderr
        assert b"Traceback" not in done.stderr
    assert "b.png" in names(flight / "incoming")
    assert run(flight).returncode == 0
    assert swaths(flight) == ["b.png", "z.pgm"]


def test_a_run_waits_for_its_disk_and_goes_on_with_the_same_file(flight: Path) -> None:
    """The files of the process may not grow, until they may again."""
    import resource

    def limited() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (120_000, resource.RLIM_INFINITY))

    pixels = np.random.default_rng(1).integers(0, 255, (4000, 200), np.uint8)
    Image.fromarray(pixels).save(flight / "incoming" / "b.png")
    with subprocess.Popen(
        [sys.executable, "-m", "winnow_edge.cli", "run", "mission.toml", "incoming", "--incoming",
         "--store", "store", "--patience", "600"],
        cwd=flight, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=limited,
    ) as process:  # fmt: skip
        assert process.stderr is not None
        waits = [process.stderr.readline() for _ in range(2)]
        assert [line.split(b";")[-1] for line in waits] == [
            b" trying again in 1 s\n", b" trying again in 2 s\n"
        ]  # fmt: skip
        assert "b.png" in names(flight / "incoming")
        no_limit = (resource.RLIM_INFINITY,) * 2
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, no_limit)
        process.communicate()
    assert process.returncode == 0
    assert swaths(flight) == ["b.png", "z.pgm"]
    assert names(flight / "incoming" / "done") == ["b.png", "z.pgm"]


def test_a_run_that_waits_for_its_disk_ends_with_sigterm(flight: Path) -> None:
    import resource

    def limited() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (120_000, 120_000))

    pixels = np.random.default_rng(1).integers(0, 255, (4000, 200), np.uint8)
    Image.fromarray(pixels).save(flight / "incoming" / "b.png")
    with subprocess.Popen(
        [sys.executable, "-m", "winnow_edge.cli", "run", "mission.toml", "incoming", "--incoming",
         "--store", "store", "--patience", "600"],
        cwd=flight, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=limited,
    ) as process:  # fmt: skip
        assert process.stderr is not None
        process.stderr.readline()
        process.terminate()
        _, error = process.communicate()
    assert process.returncode in (0, 6)
    assert b"Traceback" not in error


def test_results_that_nobody_reads_stop_no_work(flight: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "winnow_edge.cli", "run", "mission.toml", "incoming/b.png",
         "incoming/none.png", "incoming/z.pgm", "--store", "store", "--json"],
        cwd=flight, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        process.stdout.close()
        process.wait()
    assert process.returncode == 3  # of the file that is not there
    assert swaths(flight) == ["b.png", "z.pgm"]


def test_results_on_a_full_disk_stop_no_work(flight: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "winnow_edge.cli", "run", "mission.toml", "incoming/b.png",
             "incoming/z.pgm", "--store", "store"],
            cwd=flight, stdout=full, stderr=subprocess.PIPE, check=False,
        )  # fmt: skip
    assert done.returncode == 6
    assert done.stderr.startswith(b"winnow-edge: standard output: cannot be written")
    assert swaths(flight) == ["b.png", "z.pgm"]


def test_a_closed_standard_error_stops_no_work(flight: Path) -> None:
    script = f'exec "{sys.executable}" -m winnow_edge.cli run mission.toml incoming/* --store store'
    done = subprocess.run(["sh", "-c", script + " 2>&-"], cwd=flight, check=False)
    assert done.returncode == 0
    assert swaths(flight) == ["b.png", "z.pgm"]


def test_what_tells_about_a_swath_is_none_and_follows_it(flight: Path) -> None:
    incoming = flight / "incoming"
    entries = '{"line": 0, "latitude": -71}\n{"line": 299, "latitude": -72}\n'
    for name in ("b.geometry.jsonl", "early.geometry.jsonl", "z.LBL"):
        (incoming / name).write_text(entries)
    (incoming / "z.2.pgm").write_bytes((incoming / "z.pgm").read_bytes())
    done = run(flight, "--json")
    assert done.returncode == 0, done.stderr
    assert swaths(flight) == ["b.png", "z.2.pgm", "z.pgm"]
    # The label tells about both swaths of its name, and goes with the last.
    assert names(incoming) == ["done", "early.geometry.jsonl", "set-aside"]
    assert names(incoming / "done") == ["b.geometry.jsonl", "b.png", "z.2.pgm", "z.LBL", "z.pgm"]
    assert done.stderr.count(b"z.LBL: is no PDS3 label") == 2
    with Store.open(flight / "store", mission=None, read_only=True) as store:
        assert [s.info.get("geometry", {}).get("source") for s in store.swaths()] == [
            "sidecar", None, None,
        ]  # fmt: skip


def test_what_tells_about_two_swaths_follows_the_last(tmp_path: Path) -> None:
    """A longer name that begins alike is of another swath."""
    for name in ("a.png", "a.pgm", "a.nmea", "ab.png"):
        (tmp_path / name).write_bytes(b"x")
    incoming = Incoming(tmp_path, tmp_path / "state")
    gone = []
    for path in incoming.files():
        incoming.done(path)
        gone.append((path.name, (tmp_path / "done" / "a.nmea").exists()))
    assert gone == [("a.pgm", False), ("a.png", True), ("ab.png", True)]


def test_geometry_that_comes_after_its_swath_follows_it_and_is_told_of(flight: Path) -> None:
    assert run(flight).returncode == 0
    incoming = flight / "incoming"
    for name in ("b.geometry.jsonl", "early.geometry.jsonl"):
        (incoming / name).write_text('{"line": 0, "latitude": 5, "longitude": 6}\n')
    done = run(flight)
    assert done.returncode == 0
    (line,) = done.stderr.decode().splitlines()
    assert line == (
        "winnow-edge: b.geometry.jsonl: came late: its swath is done; "
        "`winnow place` on the ground uses it"
    )
    assert names(incoming) == ["done", "early.geometry.jsonl", "set-aside"]
    assert "b.geometry.jsonl" in names(incoming / "done")
    assert run(flight).stderr == b""


def test_a_swath_that_is_set_aside_takes_its_geometry_along(flight: Path) -> None:
    incoming = flight / "incoming"
    (incoming / "a.png").write_bytes(b"no picture")
    (incoming / "a.geometry.jsonl").write_text('{"line": 0}\n')
    assert run(flight).returncode == 0
    assert {"a.png", "a.geometry.jsonl"} <= set(names(incoming / "set-aside"))
    assert names(incoming) == ["done", "set-aside"]
