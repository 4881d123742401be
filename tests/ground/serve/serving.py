"""A real `winnow serve`, and requests to it."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

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


@contextlib.contextmanager
def serving(catalogue: Path, *options: object) -> Iterator[Served]:
    """`winnow serve` at a free port, until the block is left; it ends without a traceback."""
    command = [WINNOW, "serve", str(catalogue), "--port", "0", *map(str, options)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        said = process.stdout.readline()
        port = re.search(r":(\d+)/", said)
        assert port, process.communicate()
        yield Served(int(port[1]), catalogue, process.pid)
    finally:
        process.send_signal(signal.SIGINT)
        _, err = process.communicate()
    assert "Traceback" not in err
