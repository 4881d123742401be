"""Life signs to systemd, over a real datagram socket."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from winnow_edge.board.systemd import notify, watched
from winnow_edge.bundle import shipped_bundles


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """What a service manager listens on."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.setblocking(False)
        yield listening


def heard(manager: socket.socket) -> list[str]:
    """Everything sent so far."""
    signs = []
    while True:
        try:
            signs.append(manager.recv(4096).decode())
        except BlockingIOError:
            return signs


def test_a_state_arrives_as_it_was_sent(
    manager: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", manager.getsockname())
    assert notify("READY=1")
    assert heard(manager) == ["READY=1"]


def test_without_a_manager_nothing_is_sent_and_nothing_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not notify("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody-listens"))
    assert not notify("READY=1")


def test_a_watchdog_is_fed_when_stop_is_asked_but_not_more_often_than_it_needs(
    manager: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", manager.getsockname())
    # Longer than any machine has been up: one that has just been started gives a sign too.
    monkeypatch.setenv("WATCHDOG_USEC", str(10**18))
    stopped = False
    stop = watched(lambda: stopped)
    assert [stop() for _ in range(100)] == [False] * 100
    assert heard(manager) == ["WATCHDOG=1"]
    stopped = True
    assert stop()


def test_no_watchdog_for_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "1000000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid() + 1))

    def stop() -> bool:
        return False

    assert watched(stop) is stop


def test_a_run_says_that_it_is_ready_and_alive(manager: socket.socket, tmp_path: Path) -> None:
    mission = tmp_path / "mission.toml"
    bundle = shipped_bundles()[0]
    mission.write_text(f'name = "m"\n[instrument.cam]\nbundle = "{bundle}"\n')
    swath = tmp_path / "swath.pgm"
    pixels = np.random.default_rng(1).integers(0, 255, (300, 300), np.uint8)
    swath.write_bytes(b"P5 300 300 255\n" + pixels.tobytes())
    command = [sys.executable, "-m", "winnow_edge.cli", "run", mission, swath]
    watchdog = {"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "60000000"}
    subprocess.run(
        [*command, "--store", tmp_path / "store", "--runtime", "fake"],
        env={**os.environ, **watchdog},
        check=True,
        capture_output=True,
    )
    signs = heard(manager)
    assert signs[0] == "READY=1" and "WATCHDOG=1" in signs


def test_a_run_waiting_for_the_writer_of_a_pipe_is_alive_and_ends_when_told(
    manager: socket.socket, tmp_path: Path
) -> None:
    mission, pipe = tmp_path / "mission.toml", tmp_path / "camera"
    mission.write_text(f'name = "m"\n[instrument.cam]\nbundle = "{shipped_bundles()[0]}"\n')
    os.mkfifo(pipe)
    command = [sys.executable, "-m", "winnow_edge.cli", "run", mission, pipe, "--samples", "300"]
    command += ["--store", tmp_path / "store", "--runtime", "fake"]
    watchdog = {"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "400000"}
    manager.setblocking(True)
    with subprocess.Popen(command, env={**os.environ, **watchdog}) as running:
        signs = [manager.recv(64).decode() for _ in range(3)]
        running.send_signal(signal.SIGTERM)
        assert running.wait() == 0
    assert signs == ["READY=1", "WATCHDOG=1", "WATCHDOG=1"]
