"""A real `winnow serve`, and requests to it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

from tests.forked import Process

HOSTILE = "<script>alert(1)</script>\"'&../x"
WINNOW = str(Path(sys.executable).parent / "winnow")


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def told(self) -> Any:
        return json.loads(self.body)


class Served(NamedTuple):
    port: int
    catalogue: Path
    process: int = 0

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> Answer:
        line = http.client.HTTPConnection("127.0.0.1", self.port)
        line.request(method, path, body, headers=dict(headers))
        answer = line.getresponse()
        found = Answer(answer.status, dict(answer.getheaders()), answer.read())
        line.close()
        return found

    def get(self, path: str, **headers: str) -> Answer:
        return self.ask("GET", path, None, headers)

    def change(self, path: str, value: object, **headers: str) -> Answer:
        """A change as the pages' own script sends it."""
        own = {"Origin": self.origin, "X-Winnow": "1", "Content-Type": "application/json"}
        return self.ask("POST", path, json.dumps(value).encode(), {**own, **headers})

    def log_in(self, name: str, password: str, **headers: str) -> Answer:
        """The login as its form sends it."""
        own = {"Origin": self.origin, "Content-Type": "application/x-www-form-urlencoded"}
        form = urlencode({"name": name, "password": password, "next": "/"}).encode()
        return self.ask("POST", "/login", form, {**own, **headers})

    def session(self, name: str, password: str) -> dict[str, str]:
        """The cookie of somebody who has logged in."""
        answer = self.log_in(name, password)
        assert answer.status == 303
        return {"Cookie": answer.headers["set-cookie"].partition(";")[0]}


class Server:
    """`winnow serve` over a catalogue, at the port that it tells."""

    def __init__(self, catalogue: Path, *options: object) -> None:
        said, out = os.pipe()
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  closed at its end
        err = self._errors.fileno()
        self.process = Process("winnow", "serve", catalogue, *options, stdout=out, stderr=err)
        os.close(out)
        with os.fdopen(said) as told:
            port = re.search(r":(\d+)/", told.readline())
        if port is None:
            self.process.wait()
            raise AssertionError(self.errors())
        self.port = int(port[1])

    def errors(self) -> str:
        with self._errors as errors:
            errors.seek(0)
            return errors.read()

    def kill(self) -> None:
        """As `kill -9` does."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self._errors.close()

    def end(self) -> None:
        """As Ctrl-C does; without a traceback."""
        self.process.send_signal(signal.SIGINT)
        self.process.wait()
        assert "Traceback" not in self.errors()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()


@contextlib.contextmanager
def serving(catalogue: Path, *options: object) -> Iterator[Served]:
    """`winnow serve` at a free port, until the block is left; it ends without a traceback."""
    with Server(catalogue, "--port", 0, *options) as server:
        yield Served(server.port, catalogue, server.process.pid)
