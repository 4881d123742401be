"""Commands in processes forked from one that has loaded them: pipes, signals and an end of their
own, without the second of imports that each would take.

Tests of what comes before a command, of its interpreter or of several cores start it themselves.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import io
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parents[1]
_STATUS = struct.Struct("i")
_STARTING = threading.Lock()


class Process:
    """A command that was started: `program` is "winnow" or "winnow-edge".

    Files are given as descriptors; what is not given is empty or goes nowhere.
    """

    def __init__(
        self,
        program: str,
        *arguments: object,
        cwd: Path | None = None,
        stdin: int | None = None,
        stdout: int | None = None,
        stderr: int | None = None,
    ) -> None:
        self.returncode: int | None = None
        self._status, theirs = os.pipe()
        order = {
            "argv": [program, *map(str, arguments)],
            "cwd": str(cwd or Path.cwd()),
            "environment": dict(os.environ),
        }
        with Path(os.devnull).open("r+b") as none:
            files = [none.fileno() if f is None else f for f in (stdin, stdout, stderr)]
            with _STARTING:
                _nursery()
            socket.send_fds(_nursery(), [json.dumps(order).encode()], [*files, theirs])
        os.close(theirs)
        self.pid = self._told()

    def _told(self) -> int:
        told = os.read(self._status, _STATUS.size)
        assert told, "the process that forks is gone"
        return int(_STATUS.unpack(told)[0])

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):  # it has just ended, as Popen bears too
                os.kill(self.pid, number)

    def wait(self) -> int:
        """The exit code; a signal's number below zero."""
        if self.returncode is None:
            self.returncode = self._told()
            os.close(self._status)
        return self.returncode


def run(
    program: str, *arguments: object, cwd: Path | None = None, stdin: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    """Run a command to its end, with `stdin` in a pipe, as `subprocess.run` does."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        source, pipe = os.pipe()
        files = {"stdin": source, "stdout": out.fileno(), "stderr": err.fileno()}
        process = Process(program, *arguments, cwd=cwd, **files)
        os.close(source)
        with contextlib.suppress(BrokenPipeError), os.fdopen(pipe, "wb", buffering=0) as rest:
            while stdin:
                stdin = stdin[rest.write(stdin) :]
        code = process.wait()
        return subprocess.CompletedProcess(arguments, code, _all_of(out), _all_of(err))


def run_text(
    program: str, *arguments: object, cwd: Path | None = None, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    """The same, in text."""
    done = run(program, *arguments, cwd=cwd, stdin=stdin.encode())
    out, err = done.stdout.decode(), done.stderr.decode()
    return subprocess.CompletedProcess(done.args, done.returncode, out, err)


def _all_of(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read()


@functools.cache
def _nursery() -> socket.socket:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.forked", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            cwd=ROOT,
            # A process with threads is none to fork.
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        )

    def end() -> None:
        ours.close()
        process.wait()

    atexit.register(end)
    return ours


def _serve(control: socket.socket) -> int | str | None:
    """Fork for every order until there are no more; returns in the forked process, too."""
    import uvicorn  # noqa: F401
    from ai_edge_litert import interpreter  # noqa: F401

    import winnow_ground.catalogue.add
    import winnow_ground.receive
    import winnow_ground.serve.app  # noqa: F401

    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        order, files, _, _ = socket.recv_fds(control, 1 << 20, 4)
        if not order:
            return 0
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            control.close()
            return _watch(json.loads(order), *files)
        for file in files:
            os.close(file)


def _watch(order: dict[str, object], stdin: int, stdout: int, stderr: int, status: int) -> object:
    """Fork the command, tell its number and then its end; returns in the command alone."""
    pid = os.fork()
    if pid == 0:
        os.close(status)
        return _become(order, stdin, stdout, stderr)
    for file in (stdin, stdout, stderr):
        os.close(file)
    os.write(status, _STATUS.pack(pid))
    os.write(status, _STATUS.pack(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])))
    os._exit(0)


def _become(order: dict[str, object], *files: int) -> int | str | None:
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.chdir(order["cwd"])
    os.environ.clear()
    os.environ.update(order["environment"])
    time.tzset()
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = io.TextIOWrapper(
        open(2, "wb", closefd=False),  # noqa: SIM115
        errors="backslashreplace",
        line_buffering=True,
    )
    sys.argv = order["argv"]
    # Usage names the program as it does for a script.
    sys.modules["__main__"].__package__ = ""
    from winnow_cli.app import main as winnow
    from winnow_edge.cli import main as edge

    return edge() if sys.argv[0] == "winnow-edge" else winnow()


if __name__ == "__main__":
    sys.exit(_serve(socket.socket(fileno=int(sys.argv[1]))))
