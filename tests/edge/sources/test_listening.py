"""A run that listens: peers that come, go, break off, stall or never come, as real processes."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import sqlite3
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from winnow_edge.cli import main
from winnow_edge.errors import SwathError
from winnow_edge.sources import listening
from winnow_edge.sources.listening import Listener
from winnow_edge.testing import painted_swath, write_probe

SIDE, WIDTH, LINES = 16, 100, 600


def swath(seed: int) -> bytes:
    return painted_swath(LINES, WIDTH, seed=seed, squares=30).tobytes()


@pytest.fixture
def flight(tmp_path: Path) -> Path:
    """A folder with a mission on the fake runtime and its bundle."""
    write_probe(tmp_path, camera=f"samples = {WIDTH}")
    return tmp_path


class Run:
    """A `winnow-edge run` that listens, and where."""

    def __init__(self, flight: Path, address: str, *options: str) -> None:
        command = [sys.executable, "-m", "winnow_edge.cli", "run", "mission.toml", address]
        self.process = subprocess.Popen(
            [*command, "--json", *options],
            cwd=flight,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stderr is not None
        said = self.process.stderr.readline()
        match = re.fullmatch(r"winnow-edge: listening at (\S+)\n", said)
        assert match is not None, said + self.process.stderr.read()
        self.address = match[1]

    def peer(self) -> socket.socket:
        """A connection to it."""
        scheme, _, where = self.address.partition(":")
        if scheme == "unix-listen":
            link = socket.socket(socket.AF_UNIX)
            link.connect(where)
            return link
        host, _, port = where.removeprefix("//").rpartition(":")
        return socket.create_connection((host.strip("[]"), int(port)))

    def send(self, data: bytes) -> None:
        """One peer from connecting to the end of its swath."""
        with self.peer() as link:
            link.sendall(data)
            link.shutdown(socket.SHUT_WR)
            assert link.recv(1) == b""  # closed once the swath is committed

    def end(self, number: int | None = None) -> tuple[int, list[dict[str, Any]], str]:
        """Exit code, summaries and messages, after sending it a signal if one is named."""
        if number is not None:
            self.process.send_signal(number)
        out, errors = self.process.communicate()
        return self.process.returncode, [json.loads(line) for line in out.splitlines()], errors


@contextlib.contextmanager
def running(flight: Path, address: str, *options: str) -> Iterator[Run]:
    """A run that is not left behind."""
    run = Run(flight, address, *options)
    try:
        yield run
    finally:
        run.process.kill()
        run.process.communicate()


def contents(store: Path) -> list[tuple[Any, ...]]:
    """The products of all swaths but what tells their names."""
    with contextlib.closing(sqlite3.connect(store / "store.db")) as db:
        return db.execute(
            "SELECT swath, kind, tile, class, posterior, detection, data FROM product"
            " WHERE kind <> 0"
        ).fetchall()


def from_files(flight: Path, store: str, *data: bytes) -> list[tuple[Any, ...]]:
    """What the same lines leave in a store when they are read from files."""
    for number, lines in enumerate(data):
        (flight / f"{number}.raw").write_bytes(lines)
    files = [str(flight / f"{number}.raw") for number in range(len(data))]
    assert main(["run", str(flight / "mission.toml"), *files, "--store", str(flight / store)]) == 0
    return contents(flight / store)


@pytest.mark.parametrize("address", ["tcp-listen://127.0.0.1:0", "unix-listen:camera.sock"])
def test_one_peer_one_swath_and_the_very_records_of_a_file(flight: Path, address: str) -> None:
    with running(flight, address, "--name", "pass", "--store", "a") as run:
        if address.startswith("unix"):
            run.address = f"unix-listen:{flight / 'camera.sock'}"
        run.send(swath(1))
        code, (summary,), errors = run.end()
    assert (code, errors) == (0, "")
    assert (summary["swath"], summary["lines"], summary["complete"]) == ("pass", LINES, True)
    assert contents(flight / "a") == from_files(flight, "b", swath(1)) != []
    assert not (flight / "camera.sock").exists()


def test_an_address_of_the_newer_protocol_takes_both(flight: Path) -> None:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            pass
    except OSError:
        pytest.skip("no IPv6 here")
    with running(flight, "tcp-listen://[::]:0", "--name", "p", "--passes", "2") as run:
        port = int(run.address.rpartition(":")[2])
        for host in ("::1", "127.0.0.1"):
            run.address = f"tcp-listen://[{host}]:{port}"
            run.send(swath(1))
        code, summaries, _ = run.end()
    assert code == 0
    assert [s["swath"] for s in summaries] == ["p-1", "p-2"]


def test_a_peer_that_breaks_off_and_connects_anew_begins_another_swath(flight: Path) -> None:
    """Three connections: one is reset within line 401, the next two are whole."""
    options = ("--name", "p", "--passes", "all", "--store", "a")
    with running(flight, "tcp-listen://127.0.0.1:0", *options) as run:
        with run.peer() as link:
            link.sendall(swath(1)[: 400 * WIDTH + 7])
            wait_for(lambda: next_line(flight / "a") >= 256)
            # Closing without lingering sends RST: what a peer does that crashed.
            link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        run.send(swath(1))
        run.send(swath(2))
        code, summaries, errors = run.end(signal.SIGTERM)
    assert code == 0
    assert [s["swath"] for s in summaries] == ["p-1", "p-2", "p-3"]
    assert [s["lines"] for s in summaries] == [400, LINES, LINES]
    assert all(s["complete"] for s in summaries)
    assert "the connection broke" in summaries[0]["truncated"]
    assert errors.count("\n") == 1 and "p-1: the connection broke" in errors
    pieces = (swath(1)[: 400 * WIDTH], swath(1), swath(2))
    assert contents(flight / "a") == from_files(flight, "b", *pieces)


def test_a_killed_run_goes_on_when_the_lines_are_sent_again(flight: Path) -> None:
    options = ("--name", "p", "--store", "a")
    address = f"unix-listen:{flight / 'camera.sock'}"
    with running(flight, address, *options) as run:
        run.end(signal.SIGKILL)
    assert (flight / "camera.sock").is_socket()  # left by the dead, and no obstacle
    with running(flight, address, *options) as run, run.peer() as link:
        link.sendall(swath(1)[: 400 * WIDTH])
        wait_for(lambda: next_line(flight / "a") >= 256)
        run.end(signal.SIGKILL)
    with running(flight, address, *options) as run:
        run.send(swath(1))
        code, (summary,), _ = run.end()
    assert (code, summary["lines"], summary["complete"]) == (0, LINES, True)
    assert contents(flight / "a") == from_files(flight, "b", swath(1))
    again = run_to_its_end(flight, address, *options)
    assert again.returncode == 3
    assert "'p' is complete already; give this one another --name" in again.stderr


def test_other_lines_under_the_name_of_a_killed_run_are_refused(flight: Path) -> None:
    with running(flight, "tcp-listen://127.0.0.1:0", "--name", "p") as run, run.peer() as link:
        link.sendall(swath(1)[: 400 * WIDTH])
        wait_for(lambda: next_line(flight / "winnow-store") >= 256)
        run.end(signal.SIGKILL)
    with running(flight, "tcp-listen://127.0.0.1:0", "--name", "p") as run:
        with run.peer() as link, contextlib.suppress(OSError):
            link.sendall(bytes(reversed(swath(2))))
        code, summaries, errors = run.end()
    assert (code, summaries) == (3, [])
    assert "is not the swath of which an earlier run committed" in errors


def test_passes_go_on_after_one_that_fails_and_take_unknown_names(flight: Path) -> None:
    options = ("--name", "p", "--passes", "2")
    with running(flight, "tcp-listen://127.0.0.1:0", *options) as run:
        with run.peer() as link:
            link.sendall(b"x" * (WIDTH - 1))  # less than a line
        run.send(swath(1))
        code, summaries, errors = run.end()
    assert code == 3
    assert [s["swath"] for s in summaries] == ["p-1"], "no swath was begun before"
    assert "p-1: holds no whole line (the last line has 99 of 100 bytes" in errors
    with running(flight, "tcp-listen://127.0.0.1:0", *options) as run:
        run.send(swath(2))
        run.send(swath(3))
        code, summaries, _ = run.end()
    assert code == 0
    assert [s["swath"] for s in summaries] == ["p-2", "p-3"]


def test_peers_that_send_nothing_are_no_swath(flight: Path) -> None:
    """One that looks who listens, one that is silent; the third waited in the queue meanwhile."""
    options = ("--name", "p", "--stall", "2.5")
    with running(flight, "tcp-listen://127.0.0.1:0", *options) as run:
        run.peer().close()
        with run.peer(), run.peer() as third:
            third.sendall(swath(1))
            third.shutdown(socket.SHUT_WR)
            code, (summary,), errors = run.end()
    assert (code, summary["swath"], summary["lines"]) == (0, "p", LINES)
    first, second = errors.splitlines()
    assert re.search(r"127\.0\.0\.1:\d+ closed without sending anything; waiting", first)
    assert re.search(r"127\.0\.0\.1:\d+ sent nothing for 2\.5 s; waiting", second)


@pytest.mark.parametrize("stall_s", [None, 3600.0])
def test_a_silent_peer_gives_way_to_one_that_waits(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, stall_s: float | None
) -> None:
    """Whatever `stall_s` says; but nothing ends its wait while nobody else comes."""
    monkeypatch.setattr(listening, "FIRST_LINE_SECONDS", 0.3)
    with contextlib.ExitStack() as peers, Listener("tcp-listen://127.0.0.1:0") as listener:
        where = ("127.0.0.1", int(listener.address.rpartition(":")[2]))
        peers.enter_context(socket.create_connection(where))
        asked = 0

        def second_comes_late() -> bool:
            nonlocal asked
            asked += 1
            if asked == 5:  # asked every 0.2 s: long after the limit
                assert not caplog.records
                peers.enter_context(socket.create_connection(where)).sendall(b"lines")
            return asked > 300

        link = listener.accept(second_comes_late, stall_s)
        assert link is not None
        with link:
            assert link.recv(5) == b"lines"
    (said,) = (record.getMessage() for record in caplog.records)
    assert re.search(r"127\.0\.0\.1:\d+ sent nothing for 0\.3 s, and another waits; waiting", said)


def test_a_peer_that_sends_less_than_a_line_gives_way_to_one_that_waits(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(listening, "FIRST_LINE_SECONDS", 0.3)
    with contextlib.ExitStack() as peers, Listener("tcp-listen://127.0.0.1:0") as listener:
        where = ("127.0.0.1", int(listener.address.rpartition(":")[2]))
        peers.enter_context(socket.create_connection(where)).sendall(b"abc")
        camera = peers.enter_context(socket.create_connection(where))
        camera.sendall(b"x" * 50)
        # A swath that is cut short within its first line is its reader's to tell of.
        camera.shutdown(socket.SHUT_WR)
        link = listener.accept(lambda: False, None, 100)
        assert link is not None
        with link:
            assert link.recv(100) == b"x" * 50
    (said,) = (record.getMessage() for record in caplog.records)
    assert "sent less than a line for 0.3 s, and another waits; waiting" in said


def test_a_peer_that_stalls_within_its_swath_ends_it(flight: Path) -> None:
    with (
        running(flight, "tcp-listen://127.0.0.1:0", "--name", "p", "--stall", "2.5") as run,
        run.peer() as link,
    ):
        link.sendall(swath(1)[: 300 * WIDTH])
        code, (summary,), _ = run.end()
    assert (code, summary["lines"]) == (0, 300)
    assert summary["truncated"] == "no data came for 2.5 s"


def test_after_the_last_pass_nobody_is_let_in(flight: Path) -> None:
    with running(flight, "tcp-listen://127.0.0.1:0", "--name", "p") as run, run.peer() as link:
        link.sendall(swath(1)[:WIDTH])
        wait_for(lambda: refused(run))
        link.sendall(swath(1)[WIDTH:])
        link.shutdown(socket.SHUT_WR)
        assert run.end()[0] == 0


@pytest.mark.parametrize("silent_peer", [False, True])
def test_sigterm_while_a_peer_is_waited_for(flight: Path, silent_peer: bool) -> None:
    address = f"unix-listen:{flight / 'camera.sock'}"
    with contextlib.ExitStack() as stack:
        run = stack.enter_context(running(flight, address, "--passes", "all"))
        if silent_peer:
            stack.enter_context(run.peer())
        assert run.end(signal.SIGTERM) == (0, [], "")
    assert not (flight / "camera.sock").exists()
    with contextlib.closing(sqlite3.connect(flight / "winnow-store" / "store.db")) as db:
        assert db.execute("SELECT COUNT(*) FROM swath").fetchone() == (0,)


def test_an_address_in_use_is_one_line_and_its_owner_hears_nothing(flight: Path) -> None:
    path = flight / "camera.sock"
    with running(flight, f"unix-listen:{path}", "--name", "p") as run:
        other = run_to_its_end(flight, f"unix-listen:{path}", "--name", "q")
        assert other.returncode == 3
        assert other.stderr == (
            f"winnow-edge: unix-listen:{path}: cannot be listened at: Address already in use; "
            "something listens there already: end it, or choose another address\n"
        )
        run.send(swath(1))
        assert run.end()[0::2] == (0, "")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"tcp-listen://127.0.0.1:{taken.getsockname()[1]}"
        other = run_to_its_end(flight, address)
    assert other.returncode == 3
    assert "Address already in use; something listens there already" in other.stderr
    assert other.stderr.count("\n") == 1


def test_what_is_no_socket_is_not_taken_away(flight: Path) -> None:
    (flight / "camera.sock").write_text("precious")
    with pytest.raises(SwathError, match="Address already in use"):
        Listener(f"unix-listen:{flight / 'camera.sock'}")
    assert (flight / "camera.sock").read_text() == "precious"


def test_a_socket_of_others_that_came_after_is_not_taken_away(tmp_path: Path) -> None:
    path = tmp_path / "camera.sock"
    first = Listener(f"unix-listen:{path}")
    path.unlink()
    with Listener(f"unix-listen:{path}"):
        first.close()
        assert path.is_socket()
    assert not path.exists()


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("tcp-listen://", r"is no address; write tcp-listen://HOST:PORT or unix-listen:PATH"),
        ("tcp-listen://:5000", "is no address"),
        ("tcp-listen://127.0.0.1", "is no address"),
        ("tcp-listen://127.0.0.1:70000", "is no address"),
        ("tcp-listen://a..b:5000", "is no address"),
        ("tcp-listen://192.0.2.1:0", "Cannot assign requested address; name an address of this"),
        ("unix-listen:", "is no address"),
        ("unix-listen:/nowhere/camera.sock", "No such file or directory"),
        (f"unix-listen:/tmp/{'x' * 120}", "path too long"),
    ],
)
def test_what_cannot_be_listened_at_is_one_line(address: str, says: str) -> None:
    with pytest.raises(SwathError, match=says) as caught:
        Listener(address)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(os.getuid() == 0, reason="root may listen anywhere")
def test_a_folder_of_others_is_one_line(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(SwathError, match="Permission denied; ports below 1024 and other users'"):
        Listener(f"unix-listen:{tmp_path / 'camera.sock'}")


def test_lines_without_a_width_are_refused_before_anybody_comes(
    flight: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mission = flight / "wide.toml"
    mission.write_text('name = "probe"\n[instrument.camera]\nbundle = "probe.winnow"\n')
    address = ["tcp-listen://127.0.0.1:0", "--store", str(flight / "s")]
    assert main(["run", str(mission), *address]) == 3
    assert "give their width: --samples N" in capsys.readouterr().err


def run_to_its_end(flight: Path, address: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "winnow_edge.cli", "run", "mission.toml", address, *options]
    return subprocess.run(command, cwd=flight, capture_output=True, text=True, check=False)


def next_line(store: Path) -> int:
    """Lines of the last swath that are committed."""
    path = store / "store.db"
    if not path.exists():
        return 0
    with contextlib.closing(sqlite3.connect(path)) as db:
        try:
            row = db.execute("SELECT next_line FROM swath ORDER BY id DESC").fetchone()
        except sqlite3.OperationalError:
            return 0  # the tables are being made
    return int(row[0]) if row else 0


def refused(run: Run) -> bool:
    try:
        run.peer().close()
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:  # it stopped listening just then
        pass
    return False


def wait_for(there: Callable[[], bool]) -> None:
    while not there():
        time.sleep(0.02)
