"""What servers answer: a real one, at a socket, that says anything and hangs up."""

from __future__ import annotations

import contextlib
import io
import json
import random
import socketserver
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz import mutate
from tests.fuzz.door import Door
from winnow_base.progress import Progress
from winnow_train.data.catalogue import Archive
from winnow_train.data.download import Patience, download, fetch_json
from winnow_train.data.fetch import fetch_archive, fetch_browse

_BODY = b"0123456789" * 20
_RECORD = {
    "files": [{"key": "x.zip", "size": 200, "checksum": "md5:" + "0" * 32}],
    "metadata": {"license": {"id": "cc-by-4.0"}},
}
_ANSWERS = (
    b'HTTP/1.1 200 OK\r\nContent-Length: 200\r\nETag: "one"\r\n\r\n' + _BODY,
    b"HTTP/1.1 206 Partial\r\nContent-Range: bytes 50-199/200\r\nContent-Length: 150\r\n\r\n"
    + _BODY[50:],
    b"HTTP/1.0 200 OK\r\nLast-Modified: Wed, 21 Oct 2015 07:28:00 GMT\r\n\r\n" + _BODY,
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nc8\r\n" + _BODY + b"\r\n0\r\n\r\n",
    b"HTTP/1.1 503 Busy\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 302 Found\r\nLocation: /other\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 416 Range\r\nContent-Range: bytes */200\r\nContent-Length: 0\r\n\r\n",
)
_WORDS = (
    *(
        b"\r\n",
        b"\r\n\r\n",
        b"HTTP/1.1 ",
        b"200",
        b"206",
        b"301",
        b"404",
        b"416",
        b"503",
        b"999",
        b"1",
    ),
    *(
        b"Content-Length: ",
        b"Content-Length: \xb2\r\n",
        b"Content-Length: " + b"9" * 5000 + b"\r\n",
    ),
    *(
        b"Retry-After: \xb2\r\n",
        b"Retry-After: " + b"9" * 5000 + b"\r\n",
        b"Content-Length: -1\r\n",
    ),
    *(b"Content-Range: bytes 50-199/\xb2\r\n", b"Content-Range: bytes \xb2-1/9\r\n", b"bytes 50-"),
    *(b"Location: http://[::1\r\n", b"Location: file:///etc/passwd\r\n", b"Location: //\r\n"),
    *(
        b"Location: http://127.0.0.1:99999/\r\n",
        b"Location: http://a\xff.b/\r\n",
        b"Location: /\xe9\r\n",
    ),
    *(b"Transfer-Encoding: chunked\r\n", b"Content-Encoding: gzip\r\n", b"fffffffffffffffff\r\n"),
    *(
        b"X: " + b"y" * 70_000 + b"\r\n",
        b"X: y\r\n" * 300,
        b'ETag: W/"x"\r\n',
        b"ETag: \xff\r\n",
        b"-1",
    ),
    *(b"Location: http://127.0.0.1:1/\r\n", b"Location: ftp://x/\r\n", b"WWW-Authenticate: x\r\n"),
)


class _Server(socketserver.ThreadingTCPServer):
    """Gives the same answers, one after another, to whoever asks."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: list[bytes] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()


class _Handler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        while self.rfile.readline(65_536).strip():
            pass
        server = self.server
        assert isinstance(server, _Server)
        answer = server.answers.pop(0) if server.answers else b""
        with contextlib.suppress(OSError):
            self.wfile.write(answer)


@dataclass(frozen=True)
class _Asked:
    """What is asked for, how much of it is there already, and the answers in their order."""

    what: str
    have: int
    answers: Sequence[bytes]


_ARCHIVE = Archive("x", 1, "x.zip", "x", "X", "nobody")
_PATIENCE = Patience(stall=20.0, tries=1, pause=0.0)


def _told(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body


def _damaged(rng: random.Random) -> _Asked:
    what = rng.choice(("file", "file", "json", "archive", "browse"))
    answers = [mutate.octets(rng, _ANSWERS, _WORDS) for _ in range(rng.choice((1, 2, 3)))]
    if what in ("json", "archive") and rng.randrange(3):
        answers[0] = _told(mutate.json_bytes(rng, [_RECORD], (b"size", b"NaN")))
    return _Asked(what, rng.choice((0, 0, 50, 250)), answers)


def _fetch(asked: _Asked, url: str, folder: Path) -> None:
    if asked.have:
        notes = {"url": f"{url}/x", "validator": '"one"'}
        (folder / "x.part").write_bytes((_BODY * 2)[: asked.have])
        (folder / "x.part.json").write_text(json.dumps(notes))
    with Progress(quiet=True).bytes("x") as meter:
        if asked.what == "file":
            download(f"{url}/x", folder / "x", size=200, patience=_PATIENCE, meter=meter)
        elif asked.what == "json":
            fetch_json(f"{url}/x", patience=_PATIENCE, meter=meter)
    if asked.what == "archive":
        fetch_archive(_ARCHIVE, folder, base_url=url, patience=_PATIENCE)
    elif asked.what == "browse":
        fetch_browse("ESP_011289_1950", folder, base_url=url, patience=_PATIENCE)


def server_door(folder: Path) -> Door:
    server = _Server()

    def enter(asked: _Asked) -> None:
        for old in folder.rglob("*"):
            if old.is_file():
                old.unlink()
        server.answers = list(asked.answers)
        with contextlib.redirect_stderr(io.StringIO()):  # of progress
            _fetch(asked, server.url, folder)

    plain = [
        _Asked("file", 0, _ANSWERS[:1]),
        _Asked("file", 50, _ANSWERS[1:2]),
        _Asked("file", 0, [_ANSWERS[5], _ANSWERS[0]]),
        _Asked("json", 0, [_told(json.dumps(_RECORD).encode())]),
    ]
    return Door(enter, plain, _damaged)
