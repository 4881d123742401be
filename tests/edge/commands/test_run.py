"""`winnow-edge run` as real processes: pipes, kills, signals, exit codes."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest
from PIL import Image

from tests import forked
from winnow_edge.board.bench import problems
from winnow_edge.board.host import Taken
from winnow_edge.cli import main
from winnow_edge.testing import painted_swath, write_probe

WIDTH = 200


@pytest.fixture
def flight(tmp_path: Path) -> Path:
    """A folder with a mission on the fake runtime, its bundle and a swath in three formats."""
    write_probe(tmp_path, "[tiling]\nscales = [1, 3]")
    pixels = painted_swath(700, WIDTH, seed=3)
    Image.fromarray(pixels).save(tmp_path / "strip.png")
    Image.fromarray(pixels).save(tmp_path / "strip.pgm")
    (tmp_path / "strip.raw").write_bytes(pixels.tobytes())
    return tmp_path


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "winnow_edge.cli", *map(str, arguments)]


def edge(
    folder: Path, *arguments: str | Path, stdin: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    return forked.run("winnow-edge", *arguments, cwd=folder, stdin=stdin)


def contents(store: Path, *, without_name: bool = False) -> list[tuple[Any, ...]]:
    """Everything in a store that a run decides."""
    db = sqlite3.connect(store / "store.db")
    kinds = "WHERE kind <> 0" if without_name else ""
    rows = db.execute(
        f"SELECT swath, kind, tile, class, posterior, detection, data FROM product {kinds}"
    ).fetchall()
    if not without_name:
        rows += db.execute(
            "SELECT name, next_tile, next_line, pending, summary FROM swath"
        ).fetchall()
    db.close()
    return rows


def ok(done: subprocess.CompletedProcess[bytes]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    result: dict[str, Any] = json.loads(line)
    return result


def test_json_has_the_promised_keys_and_text_is_for_people(flight: Path) -> None:
    summary = ok(edge(flight, "run", "mission.toml", "strip.png", "--json"))
    assert {
        *("swath", "lines", "samples", "tiles", "screened", "detections"),
        *("products", "bytes", "seconds", "runtime"),
    } <= set(summary)
    assert (summary["swath"], summary["lines"], summary["samples"]) == ("strip.png", 700, WIDTH)
    assert summary["detections"] == sum(summary["by_class"].values()) > 5
    assert (flight / "winnow-store" / "store.db").is_file()
    text = edge(flight, "run", "mission.toml", "strip.pgm", "--store", "other")
    assert text.returncode == 0
    assert b"strip.pgm: 700 lines of 200 samples" in text.stdout
    assert text.stderr == b""


def test_a_pipe_from_another_process_gives_the_very_records_of_the_file(flight: Path) -> None:
    whole = ok(edge(flight, "run", "mission.toml", "strip.png", "--json", "--store", "a"))
    run = command("run", "mission.toml", "-", "--samples", str(WIDTH), "--json", "--store", "b")
    with subprocess.Popen(["cat", "strip.raw"], cwd=flight, stdout=subprocess.PIPE) as cat:
        done = subprocess.run(run, cwd=flight, stdin=cat.stdout, capture_output=True, check=False)
    piped = ok(done)
    assert piped["swath"] == "stdin"
    assert contents(flight / "b", without_name=True) == contents(flight / "a", without_name=True)
    assert {k: v for k, v in piped.items() if k not in ("swath", "seconds")} == {
        k: v for k, v in whole.items() if k not in ("swath", "seconds")
    }


PICTURES = {
    "strip.jpg": "JPEG",
    "strip.png": "PNG",
    "strip.tif": "TIFF",
    "strip.pgm": "PGM or PPM",
    "strip.jp2": "JPEG 2000",
}


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_in_a_pipe_is_not_taken_for_raw_lines(flight: Path, name: str) -> None:
    Image.open(flight / "strip.png").save(flight / name)
    arguments = ("run", "mission.toml", "-", "--samples", str(WIDTH))
    done = edge(flight, *arguments, stdin=(flight / name).read_bytes())
    assert (done.returncode, done.stdout) == (3, b"")
    (line,) = done.stderr.decode().splitlines()
    assert f"stdin: begins as a {PICTURES[name]} file does" in line
    assert "name the file itself" in line
    # It used up no swath of the store, so that the lines may come under the same name.
    ok(edge(flight, *arguments, "--json", stdin=(flight / "strip.raw").read_bytes()))


def test_samples_that_look_like_a_picture_fly_behind_a_line_of_zeros(flight: Path) -> None:
    data = b"\xff\xd8\xff\xe0" + (flight / "strip.raw").read_bytes()[4:]
    arguments = ("run", "mission.toml", "-", "--samples", str(WIDTH), "--json")
    refused = edge(flight, *arguments, stdin=data)
    assert b"send a line of zeros before them" in refused.stderr
    assert ok(edge(flight, *arguments, stdin=bytes(WIDTH) + data))["lines"] == 701


def test_results_that_cannot_be_written_are_one_line(flight: Path) -> None:
    commands: list[tuple[str, ...]] = [
        ("run", "mission.toml", "strip.png", "--json"),
        ("run", "mission.toml", "strip.png"),
        ("downlink", "mission.toml", "--bytes", "5000", "--out", "1.bin"),
        ("info", "hirise-landmarks", "--json"),
        ("schema",),
        ("--help",),
        ("--version",),
    ]
    for arguments in commands:
        with Path("/dev/full").open("wb") as full:
            done = subprocess.run(
                command(*arguments), cwd=flight, stdout=full, stderr=subprocess.PIPE, check=False
            )
        (line,) = done.stderr.decode().splitlines()
        assert done.returncode == 6, arguments
        assert line.startswith("winnow-edge: standard output: cannot be written: "), arguments
        assert "where there is room" in line
    # What was flown before is in the store for good.
    assert ok(edge(flight, "run", "mission.toml", "strip.png", "--json"))["complete"]


def test_a_fault_keeps_its_exit_code_where_it_cannot_be_told(flight: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(command("info", "absent"), cwd=flight, stderr=full, check=False)
    assert done.returncode == 3


def test_a_second_pipe_of_the_same_name_is_refused(flight: Path) -> None:
    data = (flight / "strip.raw").read_bytes()
    arguments = ("run", "mission.toml", "-", "--samples", str(WIDTH), "--json")
    ok(edge(flight, *arguments, stdin=data))
    second = edge(flight, *arguments, stdin=data)
    assert second.returncode == 3
    assert b"give this one another --name" in second.stderr
    ok(edge(flight, *arguments, "--name", "pass-2", stdin=data))


def test_a_pipe_that_closes_within_a_line_keeps_the_whole_lines(flight: Path) -> None:
    data = (flight / "strip.raw").read_bytes()[: 500 * WIDTH + 77]
    summary = ok(
        edge(flight, "run", "mission.toml", "-", "--samples", str(WIDTH), "--json", stdin=data)
    )
    assert summary["lines"] == 500
    assert summary["truncated"] == f"the last line has 77 of {WIDTH} bytes; it was left out"
    (flight / "cut.raw").write_bytes(data[: 500 * WIDTH])
    ok(
        edge(
            flight,
            "run",
            "mission.toml",
            "cut.raw",
            "--samples",
            str(WIDTH),
            "--store",
            "b",
            "--json",
        )
    )
    assert contents(flight / "b", without_name=True) == contents(
        flight / "winnow-store", without_name=True
    )


def test_a_socket_gives_the_very_records_of_the_file(flight: Path) -> None:
    whole = ok(edge(flight, "run", "mission.toml", "strip.png", "--json", "--store", "a"))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"tcp://127.0.0.1:{listening.getsockname()[1]}"
        run = command("run", "mission.toml", address, "--samples", str(WIDTH), "--json")
        with subprocess.Popen(run, cwd=flight, stdout=subprocess.PIPE) as process:
            link, _ = listening.accept()
            with link:
                link.sendall((flight / "strip.raw").read_bytes())
            assert process.stdout is not None
            fed = json.loads(process.stdout.read())
    assert fed["swath"] == address.removeprefix("tcp://")
    assert fed["detections"] == whole["detections"]
    assert contents(flight / "winnow-store", without_name=True) == contents(
        flight / "a", without_name=True
    )


def test_bench_says_what_it_measured_and_judges_it(
    flight: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--runtime", "fake", "--seconds", "0", "--threads", "2", "--json"]
    swath = str(flight / "strip.png")
    assert main(["bench", str(flight / "probe.winnow"), "--swath", swath, *arguments]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["bundle"], result["runtime"], result["threads"]) == ("probe", "fake", 2)
    assert result["tiles"] == 24 * 87
    assert result["detections"] > 0
    assert result["invocations"] == result["rounds"] * result["tiles"]
    assert {"invoke_ms", "tile_ms", "efficiency", "tiles_per_s", "peak_rss_mb"} <= set(result)
    assert 0 < result["efficiency"] < 1.5
    assert 0 <= result["others_share"] <= 1
    assert 0 <= result["stolen_share"] <= 1
    assert result["verdict"] == "VALID" or result["verdict"].startswith("INVALID: ")


def test_bench_tells_people_in_words(flight: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Figures in lines with their units; what they come to is said in a sentence at the end."""
    arguments = ["--runtime", "fake", "--seconds", "0", "--threads", "2"]
    swath = ["--swath", str(flight / "strip.png")]
    assert main(["bench", str(flight / "probe.winnow"), *swath, *arguments]) == 0
    first, *figures = capsys.readouterr().out.splitlines()
    doubt = figures.pop() if figures[-1].startswith("Do not rely") else None
    sentence = figures.pop()
    assert first == "probe on fake, strip.png swath, 5 rounds"
    assert [line.split(None, 1)[0] for line in figures] == [
        *("tile", "net", "efficiency", "swath", "rate", "speed-up", "memory", "board", "energy")
    ]
    assert re.fullmatch(
        r"This board classifies [\d,.]+ tiles a second with probe: it keeps up with a camera of "
        r"200 samples that sends a line every [\d,.]+ microseconds, with [\d,]+ MB of memory\.",
        sentence,
    )
    assert doubt is None or doubt.endswith(".")


@pytest.mark.parametrize(
    ("spread", "rounds", "taken", "says"),
    [
        (0.01, 5, Taken(0.01, 0.0), None),
        (0.01, 5, Taken(None, None), None),
        (0.01, 5, Taken(0.3, 0.0), "other processes took 30 %"),
        (0.01, 5, Taken(0.0, 0.2), "host of this virtual machine took 20 %"),
        (0.2, 5, Taken(0.0, 0.0), "efficiency varies"),
        (0.01, 2, Taken(0.0, 0.0), "only 2 rounds"),
    ],
)
def test_a_bench_on_a_busy_machine_is_invalid(
    spread: float, rounds: int, taken: Taken, says: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("winnow_edge.board.host.governor", lambda: "performance")
    monkeypatch.setattr("winnow_edge.board.host.throttling", lambda: None)
    found = problems(0.95, spread, rounds, taken)
    assert [words for words in found if says and says in words] == found
    assert bool(found) == (says is not None)


def test_a_silent_socket_does_not_keep_a_run_from_being_ended(flight: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"tcp://127.0.0.1:{listening.getsockname()[1]}"
        run = command("run", "mission.toml", address, "--samples", str(WIDTH), "--json")
        with subprocess.Popen(run, cwd=flight, stdout=subprocess.PIPE) as process:
            link, _ = listening.accept()
            with link:
                link.sendall(bytes(WIDTH + 1))
                process.send_signal(signal.SIGTERM)
                out, _ = process.communicate()
    assert process.returncode == 0
    # On a busy machine the signal may come before the first line, and then there is no swath.
    assert not out or json.loads(out)["complete"] is False


def test_passes_are_for_addresses_that_are_listened_at(flight: Path) -> None:
    for swaths in (["strip.png"], ["-"], ["unix-listen:x.sock", "strip.png"]):
        done = edge(flight, "run", "mission.toml", *swaths, "--passes", "3", stdin=b"")
        assert done.returncode == 2
        assert done.stderr.count(b"\n") == 1
        assert b"--passes is for addresses that are listened at" in done.stderr
    assert not (flight / "winnow-store").exists()


def swaths(store: Path) -> list[tuple[Any, ...]]:
    """Swaths and products that a store knows, if there is one."""
    if not (store / "store.db").exists():
        return []
    with contextlib.closing(sqlite3.connect(store / "store.db")) as db:
        try:
            return db.execute("SELECT name FROM swath UNION ALL SELECT id FROM product").fetchall()
        except sqlite3.OperationalError:  # the tables are being made
            return []


def test_a_camera_that_closes_before_one_whole_line_leaves_no_swath(flight: Path) -> None:
    """A service starts anew every few seconds, and a store can number 65,535 swaths."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"tcp://127.0.0.1:{listening.getsockname()[1]}"
        run = command("run", "mission.toml", address, "--samples", str(WIDTH), "--store", "store")
        for sent in (0, 1, WIDTH - 1):
            with subprocess.Popen(run, cwd=flight, stderr=subprocess.PIPE) as process:
                link, _ = listening.accept()
                link.sendall(bytes(sent))
                link.close()
                _, said = process.communicate()
            assert process.returncode == 3
            assert b"holds no whole line" in said
            assert said.count(b"\n") == 1
    assert (flight / "store" / "store.db").exists()
    assert swaths(flight / "store") == []
    # Nor does a mission that does not fit its bundle.
    with (flight / "mission.toml").open("a") as mission:
        mission.write("[class.volcano]\nutility = 1\n")
    assert edge(flight, "run", "mission.toml", "strip.png", "--store", "store").returncode == 3
    assert swaths(flight / "store") == []


def unread(pipe: IO[bytes]) -> int:
    """Octets written into a pipe that nobody has read yet."""
    count = fcntl.ioctl(pipe, termios.FIONREAD, bytes(4))
    return int.from_bytes(count, sys.byteorder)


def test_a_pipes_swath_is_known_with_its_first_line(flight: Path) -> None:
    run = command("run", "mission.toml", "-", "--samples", str(WIDTH), "--store", "store", "--json")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    for sent, known in ((WIDTH - 1, []), (WIDTH, [("stdin",), (1,)])):
        with subprocess.Popen(run, cwd=flight, **pipes) as process:  # type: ignore[call-overload]
            process.stdin.write(bytes(sent))
            process.stdin.flush()
            while unread(process.stdin) or swaths(flight / "store") != known:
                assert process.poll() is None
                time.sleep(0.02)
            process.send_signal(signal.SIGTERM)
            out, _ = process.communicate()
        assert process.returncode == 0
        assert swaths(flight / "store") == known
        summary = json.loads(out)
        assert (summary["complete"], summary["lines"], summary["tiles"]) == (False, 0, 0)


def test_a_store_that_is_deleted_under_a_run_is_told(flight: Path) -> None:
    process = start_slowly(flight, "store")
    assert process.stdin is not None
    while not swaths(flight / "store"):
        time.sleep(0.02)
    shutil.rmtree(flight / "store")
    _, said = process.communicate((flight / "strip.raw").read_bytes()[600 * WIDTH :])
    assert process.returncode == 3
    assert b"store.db: was deleted or replaced while it was filled" in said


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_a_signal_that_asks_to_end_commits_what_is_there(flight: Path, number: int) -> None:
    process = start_slowly(flight, "store")
    while not swaths(flight / "store"):
        time.sleep(0.02)
    process.send_signal(number)
    process.wait()  # before its standard input is closed, which would end the swath
    out, _ = process.communicate()
    assert process.returncode == 0
    assert json.loads(out)["complete"] is False


@contextlib.contextmanager
def full_pipe() -> Iterator[int]:
    """The end to write to of a pipe that is full and that nobody reads."""
    reader, writer = os.pipe()
    try:
        os.set_blocking(writer, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(writer, b"x")
        os.set_blocking(writer, True)
        yield writer
    finally:
        os.close(reader)
        os.close(writer)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_run_whose_results_are_not_read_can_be_ended(
    flight: Path, number: signal.Signals, code: int
) -> None:
    run = command("run", "mission.toml", "strip.png", "strip.pgm", "--json")
    with full_pipe() as pipe:
        process = subprocess.Popen(
            ["env", "--default-signal=INT", *run], cwd=flight, stdout=pipe, stderr=subprocess.PIPE
        )
        while ("strip.png",) not in finished(flight / "winnow-store"):
            time.sleep(0.02)
        time.sleep(0.3)
        process.send_signal(number)
        _, said = process.communicate()
    assert process.returncode == code, said
    assert finished(flight / "winnow-store") == [("strip.png",)]


def finished(store: Path) -> list[tuple[str]]:
    """The names of swaths that are complete."""
    if not swaths(store):
        return []
    with contextlib.closing(sqlite3.connect(store / "store.db")) as db:
        return db.execute("SELECT name FROM swath WHERE summary IS NOT NULL").fetchall()


def test_messages_that_are_not_read_stop_no_work(flight: Path) -> None:
    run = command("run", "mission.toml", "no-such.png", "strip.png", "--json")
    with full_pipe() as pipe:
        done = subprocess.run(run, cwd=flight, stdout=subprocess.PIPE, stderr=pipe, check=False)
    assert json.loads(done.stdout)["swath"] == "strip.png"
    assert done.returncode == 3


def start_slowly(flight: Path, store: str) -> subprocess.Popen[bytes]:
    """A run on a pipe that has been given 600 of 700 lines and waits for more."""
    run = command("run", "mission.toml", "-", "--samples", str(WIDTH), "--json", "--store", store)
    # Tests may be run under nohup, and a run would honour that.
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    process = subprocess.Popen(
        run, cwd=flight, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    signal.signal(signal.SIGHUP, before)
    assert process.stdin is not None
    process.stdin.write((flight / "strip.raw").read_bytes()[: 600 * WIDTH])
    process.stdin.flush()
    while process.poll() is None:
        path = flight / store / "store.db"
        if path.exists():
            db = sqlite3.connect(path)
            try:
                if db.execute("SELECT next_tile FROM swath").fetchall() not in ([], [(0,)]):
                    return process
            except sqlite3.OperationalError:
                pass  # the tables are being made
            finally:
                db.close()
        time.sleep(0.02)
    raise AssertionError(f"nothing was committed: {process.communicate()}")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_run_that_was_ended_half_way_goes_on_to_the_same_store(
    flight: Path, number: signal.Signals
) -> None:
    """What is committed while the pipe is silent survives both, and the rest follows."""
    data = (flight / "strip.raw").read_bytes()
    arguments = ("run", "mission.toml", "-", "--samples", str(WIDTH), "--json")
    whole = ok(edge(flight, *arguments, "--store", "whole", stdin=data))
    process = start_slowly(flight, "ended")
    process.send_signal(number)
    out, err = process.communicate()
    if number == signal.SIGTERM:
        assert process.returncode == 0, err
        stopped = json.loads(out)
        assert not stopped["complete"]
        assert 0 < stopped["tiles"] < whole["tiles"]
    else:
        assert process.returncode == -signal.SIGKILL
    resumed = ok(edge(flight, *arguments, "--store", "ended", stdin=data))
    assert {k: v for k, v in resumed.items() if k != "seconds"} == {
        k: v for k, v in whole.items() if k != "seconds"
    }
    assert contents(flight / "ended") == contents(flight / "whole")


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["run", "mission.toml", "none.png"], 3, "none.png: no such swath"),
        (["run", "mission.toml", "strip.raw", "--samples", "201"], 3, "that would fit: 200"),
        (["run", "mission.toml", "strip.png", "--samples", "100"], 3, "is 200 samples wide"),
        (["run", "mission.toml", "mission.toml"], 3, "is not PNG, JPEG or PGM (P5)"),
        (["run", "none.toml", "strip.png"], 3, "none.toml: No such file"),
        (["run", "mission.toml", "strip.png", "--instrument", "x"], 3, "no instrument 'x'"),
        (["run", "mission.toml", "strip.png", "--bundle", "none"], 3, "none: no such bundle"),
        (["run", "mission.toml", "-"], 3, "raw lines have no header"),
        (["run", "mission.toml", "-", "--samples", "200"], 3, "holds no whole line"),
        (["run", "mission.toml", "strip.png", "--store", "strip.png"], 3, "strip.png"),
        (["run", "mission.toml", "strip.png", "--runtime", "edgetpu"], 4, "Edge TPU"),
        (["run", "mission.toml", "a", "b", "--name", "x"], 2, "--name is for a single swath"),
        (["run", "mission.toml"], 2, "SWATH"),
        (["run", "mission.toml", "strip.png", "--samples", "0"], 2, "0 is not 1 to 1,000,000"),
        (["run", "mission.toml", "strip.png", "--threads", "no"], 2, "--threads"),
        ([], 2, "COMMAND"),
    ],
)
def test_bad_input_is_one_line_and_an_exit_code(
    arguments: list[str],
    code: int,
    says: str,
    flight: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(flight)
    with (flight / "nothing").open("w+") as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        try:
            got = main(arguments)
        except SystemExit as ended:
            got = int(ended.code or 0)
    out, err = capsys.readouterr()
    assert got == code, err
    assert says in err
    assert out == ""
    if code != 2:
        assert len(err.splitlines()) == 1


def test_a_class_that_the_bundle_lacks(flight: Path) -> None:
    mission = flight / "mission.toml"
    mission.write_text(mission.read_text() + "[class.volcano]\nutility = 2.0\n")
    done = edge(flight, "run", "mission.toml", "strip.png")
    assert done.returncode == 3
    assert b"its classes: dark, middle, bright" in done.stderr
    assert re.search(rb"mission\.toml:\d+: \[class\.'volcano'\]", done.stderr)


def test_a_bad_swath_does_not_keep_the_next_from_being_run(flight: Path) -> None:
    (flight / "empty.png").touch()
    done = edge(flight, "run", "mission.toml", "empty.png", "strip.png", "--json")
    assert done.returncode == 3
    assert b"empty.png: is empty" in done.stderr
    assert [json.loads(line)["swath"] for line in done.stdout.splitlines()] == ["strip.png"]


@pytest.mark.parametrize("keep", [700, 200])
def test_a_run_that_was_killed_does_not_go_on_with_another_swath(flight: Path, keep: int) -> None:
    """Other lines, or too few of them: what is committed is not mixed with them."""
    process = start_slowly(flight, "ended")
    process.kill()
    process.communicate()
    committed = contents(flight / "ended")
    lines = (flight / "strip.raw").read_bytes()[: keep * WIDTH]
    other = lines if keep < 700 else lines[::-1]
    arguments = ("run", "mission.toml", "-", "--samples", str(WIDTH), "--store", "ended")
    done = edge(flight, *arguments, stdin=other)
    assert done.returncode == 3
    assert b"is not the swath of which an earlier run committed" in done.stderr
    assert contents(flight / "ended") == committed
    ok(edge(flight, *arguments, "--name", "next", "--json", stdin=other))


def test_a_name_that_is_taken_does_not_keep_the_next_from_being_run(flight: Path) -> None:
    """Frames of one size that begin and end alike are told apart, too."""
    frame = bytearray((flight / "strip.raw").read_bytes())
    for folder in ("one", "two"):
        (flight / folder).mkdir()
        (flight / folder / "frame.raw").write_bytes(frame)
        middle = len(frame) // 2
        frame[middle : middle + 8192] = bytes(8192)
    run = ("run", "mission.toml", "--samples", str(WIDTH), "--json")
    done = edge(flight, *run, "one/frame.raw", "two/frame.raw", "strip.raw")
    assert done.returncode == 3
    assert b"swath 'frame.raw' is known with other content" in done.stderr
    ran = [json.loads(line)["swath"] for line in done.stdout.splitlines()]
    assert ran == ["frame.raw", "strip.raw"]


def test_a_reader_that_goes_away_is_no_error(flight: Path) -> None:
    with subprocess.Popen(
        command("run", "mission.toml", "strip.png", "--json"),
        cwd=flight,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0
    assert ok(edge(flight, "run", "mission.toml", "strip.png", "--json"))["complete"]


@pytest.mark.skipif(os.geteuid() != 0, reason="a small disk is mounted for this")
def test_a_full_disk_loses_nothing_that_was_committed(flight: Path) -> None:
    disk = flight / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=160k", "tmpfs", disk], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount: {mounted.stderr.decode().strip()}")
    try:
        done = edge(flight, "run", "mission.toml", "strip.png", "--store", "disk/store")
        assert done.returncode == 6
        assert re.search(rb"full", done.stderr)
        assert len(done.stderr.splitlines()) == 1
        subprocess.run(["mount", "-o", "remount,size=16m", disk], check=True)
        ok(edge(flight, "run", "mission.toml", "strip.png", "--store", "disk/store", "--json"))
        ok(edge(flight, "run", "mission.toml", "strip.png", "--store", "whole", "--json"))
        assert contents(disk / "store") == contents(flight / "whole")
    finally:
        subprocess.run(["umount", disk], check=True)


def test_repairs_are_counted_and_the_same_after_a_kill(flight: Path) -> None:
    mission = flight / "mission.toml"
    mission.write_text(
        mission.read_text().replace(
            "[instrument.camera]",
            "[instrument.camera]\nbright_pixels = 60\ndead_samples = [7]",
        )
    )
    pixels = np.frombuffer((flight / "strip.raw").read_bytes(), np.uint8).reshape(-1, WIDTH).copy()
    pixels[100:690:59, 50] = 255
    (flight / "strip.raw").write_bytes(pixels.tobytes())
    data = pixels.tobytes()
    arguments = ("run", "mission.toml", "-", "--samples", str(WIDTH), "--json")
    whole = ok(edge(flight, *arguments, "--store", "whole", stdin=data))
    assert whole["repaired"]["samples"] == [7]
    assert 0 < whole["repaired"]["pixels"] <= 10
    process = start_slowly(flight, "ended")
    process.kill()
    process.communicate()
    ok(edge(flight, *arguments, "--store", "ended", stdin=data))
    assert contents(flight / "ended") == contents(flight / "whole")


@pytest.mark.slow
def test_a_million_lines_take_no_more_memory_than_thousands(flight: Path) -> None:
    """A million lines of 64 samples through a pipe."""
    mission = flight / "mission.toml"
    mission.write_text(mission.read_text().replace("scales = [1, 3]", "scales = [60]"))
    run = command("run", "mission.toml", "-", "--samples", "64", "--json")
    block = np.random.default_rng(0).integers(100, 140, 10_000 * 64, np.uint8).tobytes()
    with subprocess.Popen(
        run, cwd=flight, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        status = Path(f"/proc/{process.pid}/status")
        sizes = []
        for _ in range(100):
            process.stdin.write(block)
            text = status.read_text()
            sizes.append(int(re.search(r"VmRSS:\s+(\d+) kB", text)[1]) / 1000)  # type: ignore[index]
        process.stdin.close()
        summary = json.loads(process.stdout.read())
    assert summary["lines"] == 1_000_000
    assert abs(sizes[-1] - sizes[20]) < 2


def test_peak_memory_of_a_strip_is_bounded(flight: Path) -> None:
    """With the real runtime, on a strip of 2,048 samples: the band, not the swath, sets it."""
    from winnow_edge.bundle import shipped_bundles

    if not shipped_bundles():
        pytest.skip("no bundle is installed")
    peak = """
import json, sys
from winnow_edge.cli import main
from winnow_edge.board.host import peak_rss_mb
code = main(sys.argv[1:])
print(json.dumps(peak_rss_mb()))
sys.exit(code)
"""
    bundle = shutil.copy(shipped_bundles()[0], flight / "real.winnow")
    pixels = np.random.default_rng(0).integers(90, 110, (1024, 2048), np.uint8)
    peaks = []
    for lines in (512, 1024):
        (flight / "wide.raw").write_bytes(pixels[:lines].tobytes())
        arguments = ["run", "mission.toml", "wide.raw", "--samples", "2048", "--store", f"s{lines}"]
        more = ["--runtime", "litert", "--bundle", str(bundle), "--json", "--threads", "4"]
        done = subprocess.run(
            [sys.executable, "-c", peak, *arguments, *more],
            cwd=flight,
            capture_output=True,
            check=True,
        )
        peaks.append(float(done.stdout.splitlines()[-1]))
    assert max(peaks) <= 96
    assert abs(peaks[1] - peaks[0]) < 4
