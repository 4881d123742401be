"""Swaths over real sockets: whole, silent, broken off, cut within a line, or not there at all."""

from __future__ import annotations

import contextlib
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from winnow_edge.errors import MissionError, SwathError
from winnow_edge.mission import Instrument, parse_mission
from winnow_edge.sources import raw
from winnow_edge.sources.contract import Lines, fill
from winnow_edge.sources.open import open_source
from winnow_edge.sources.sockets import connect
from winnow_edge.testing import write_probe

PIXELS = np.random.default_rng(3).integers(0, 256, (300, 64), np.uint8)
Send = Callable[[socket.socket], None]


@contextlib.contextmanager
def sender(listening: socket.socket, send: Send) -> Iterator[None]:
    """Serves one connection with `send`, then closes it."""

    def serve() -> None:
        link, _ = listening.accept()
        with link, contextlib.suppress(OSError):
            send(link)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        thread.join()
        listening.close()


def read(address: str, send: Send, listening: socket.socket, **camera: object) -> tuple[Lines, str]:
    """The lines that came, and what `truncated` says."""
    instrument = Instrument(bundle="x", **camera)  # type: ignore[arg-type]
    out = np.empty((512, 64), np.uint16 if instrument.bits == 16 else np.uint8)
    with sender(listening, send):
        source = open_source(address, instrument=instrument, samples=64)
        with contextlib.closing(source):
            count = fill(source, out)
    return out[:count], source.truncated or ""


def tcp() -> tuple[str, socket.socket]:
    listening = socket.create_server(("127.0.0.1", 0))
    return f"tcp://127.0.0.1:{listening.getsockname()[1]}", listening


def test_tcp_brings_the_very_lines() -> None:
    lines, cut = read_tcp(whole)
    assert (lines == PIXELS).all()
    assert cut == ""


def read_tcp(send: Send, **camera: object) -> tuple[Lines, str]:
    address, listening = tcp()
    return read(address, send, listening, **camera)


def whole(link: socket.socket) -> None:
    for at in range(0, PIXELS.size, 1000):  # pieces that know nothing of lines
        link.sendall(PIXELS.tobytes()[at : at + 1000])


@pytest.mark.parametrize("prefix", ["unix:", ""])
def test_a_unix_socket_by_address_or_by_path(prefix: str, tmp_path: Path) -> None:
    path = tmp_path / "camera.sock"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        lines, cut = read(f"{prefix}{path}", whole, listening)
    assert (lines == PIXELS).all()
    assert cut == ""


def test_sixteen_bits_come_in_the_declared_order() -> None:
    wide = PIXELS.astype(np.uint16) * 200
    data = wide.astype(">u2").tobytes()
    lines, _ = read_tcp(lambda link: link.sendall(data), bits=16, byte_order="big")
    assert (lines == wide).all()


def test_a_close_within_a_line_keeps_the_whole_lines() -> None:
    lines, cut = read_tcp(lambda link: link.sendall(PIXELS.tobytes()[: 64 * 7 + 11]))
    assert (lines == PIXELS[:7]).all()
    assert cut == "the last line has 11 of 64 bytes; it was left out"


def test_a_connection_that_breaks_keeps_the_whole_lines() -> None:
    def reset(link: socket.socket) -> None:
        link.sendall(PIXELS.tobytes()[: 64 * 5])
        arrived.wait(10)
        # Closing without lingering sends RST: what a peer does that crashed.
        link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    arrived = threading.Event()
    address, listening = tcp()
    out = np.empty((512, 64), np.uint8)
    with sender(listening, reset):
        source = open_source(address, instrument=Instrument(bundle="x"), samples=64)
        with contextlib.closing(source):
            assert fill(source, out[:5]) == 5
            arrived.set()
            assert fill(source, out[5:]) == 0
    assert (out[:5] == PIXELS[:5]).all()
    assert source.truncated is not None
    assert "the connection broke" in source.truncated


def test_bytes_that_trickle_are_no_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """They would keep the camera out for ever: nobody is silent for `stall_s`."""
    monkeypatch.setattr(raw, "STALLS_A_LINE", 0.01)
    over = threading.Event()

    def trickle(link: socket.socket) -> None:
        link.sendall(PIXELS.tobytes()[: 64 * 3])
        while not over.wait(0.05):
            link.sendall(b"x")

    address, listening = tcp()
    out = np.empty((512, 64), np.uint8)
    with sender(listening, trickle):
        camera = Instrument(bundle="x", stall_s=50)
        with contextlib.closing(open_source(address, instrument=camera, samples=64)) as source:
            count = fill(source, out)
            over.set()
    assert count >= 3
    assert "no whole line came for 0.5 s" in (source.truncated or "")


def test_a_silent_line_ends_after_the_stated_time() -> None:
    over = threading.Event()

    def stall(link: socket.socket) -> None:
        link.sendall(PIXELS.tobytes()[: 64 * 3 + 1])
        over.wait()

    address, listening = tcp()
    out = np.empty((512, 64), np.uint8)
    with sender(listening, stall):
        camera = Instrument(bundle="x", stall_s=2.5)
        with contextlib.closing(open_source(address, instrument=camera, samples=64)) as source:
            count = fill(source, out)
            over.set()
            assert source.read(out[count:]) == 0
    assert (out[:count] == PIXELS[:3]).all()
    assert count == 3
    assert source.truncated == (
        "no data came for 2.5 s; the last line has 1 of 64 bytes; it was left out"
    )


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "unix:/nowhere/camera.sock"])
def test_nobody_there(address: str) -> None:
    with pytest.raises(SwathError, match=r"cannot be reached: .*; start the other end"):
        open_source(address, instrument=Instrument(bundle="x"), samples=64)


def full_queue(stack: contextlib.ExitStack, folder: Path, kind: str) -> str:
    """An address that lets nobody in any more and refuses nobody."""
    if kind == "unix":
        where: Any = str(folder / "camera.sock")
        listening = stack.enter_context(socket.socket(socket.AF_UNIX))
        listening.bind(where)
        listening.listen(0)
        address = f"unix:{where}"
    else:
        listening = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        where = listening.getsockname()
        address = f"tcp://127.0.0.1:{where[1]}"
    for _ in range(8):
        link = stack.enter_context(socket.socket(listening.family))
        link.setblocking(False)
        link.connect_ex(where)
    return address


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_the_wait_for_a_connection_can_be_ended(kind: str, tmp_path: Path) -> None:
    asked: list[bool] = []

    def stop() -> bool:
        asked.append(len(asked) > 2)
        return asked[-1]

    with contextlib.ExitStack() as stack:
        assert connect(full_queue(stack, tmp_path, kind), stop) is None
    assert asked == [False] * 3 + [True]


@pytest.mark.parametrize("kind", ["tcp", "unix"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_run_that_waits_for_a_connection_can_be_ended(
    kind: str, number: signal.Signals, code: int, tmp_path: Path
) -> None:
    write_probe(tmp_path)
    run = [sys.executable, "-m", "winnow_edge.cli", "run", "mission.toml"]
    with contextlib.ExitStack() as stack:
        address = full_queue(stack, tmp_path, kind)
        process = subprocess.Popen(
            # A shell starts jobs in the background deaf to SIGINT, and their children are too.
            ["env", "--default-signal=INT", *run, address, "--samples", "64"],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        # The store is opened right before.
        while process.poll() is None and not (tmp_path / "winnow-store" / "store.db").exists():
            time.sleep(0.02)
        time.sleep(0.3)
        process.send_signal(number)
        out, said = process.communicate()
    assert (process.returncode, out) == (code, b""), said
    assert said.count(b"\n") == (number == signal.SIGINT)


@pytest.mark.parametrize(
    "address", ["tcp://", "tcp://host", "tcp://:5000", "tcp://h:port", "tcp://a..b:5"]
)
def test_no_address(address: str) -> None:
    with pytest.raises(SwathError, match="is no address; write tcp://HOST:PORT"):
        open_source(address, instrument=Instrument(bundle="x"), samples=64)


def test_lines_without_a_width() -> None:
    with pytest.raises(SwathError, match="give their width"):
        open_source("tcp://127.0.0.1:1", instrument=Instrument(bundle="x"))


def test_the_mission_states_the_stall_and_records_do_not_depend_on_it() -> None:
    text = 'name = "m"\n[instrument.c]\nbundle = "x"\n'
    plain, timed = parse_mission(text), parse_mission(f"{text}stall_s = 30")
    assert timed.instruments["c"].stall_s == 30
    assert plain.processing_digest("c", "b") == timed.processing_digest("c", "b")
    with pytest.raises(MissionError, match="stall_s"):
        parse_mission(f"{text}stall_s = 0.0")
