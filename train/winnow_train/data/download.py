"""Downloads that survive stalls, breaks and restarts; the standard library's HTTP client.

A file grows as `NAME.part`, with `NAME.part.json` beside it for what is needed to go on with it
(RFC 9110: Range and If-Range). It gets its name only when its size and digest are right.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import http.client
import json
import os
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, BinaryIO, TypeVar

from winnow_base.errors import DataError, NetworkError
from winnow_base.files import locked
from winnow_base.progress import ByteBar
from winnow_edge.errors import OutputError
from winnow_edge.files import read_small
from winnow_edge.output import tell
from winnow_edge.tables import plain_json

T = TypeVar("T")

CHUNK = 1 << 16
LARGEST_JSON = 1 << 22
_MOST_DIGITS = 15
"""More bytes than any server holds, or seconds than anybody waits."""
#: Answers after which asking again may help: time-out, too early, too many, server errors.
TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
#: A server may ask for a longer pause than this; we do not wait longer.
LONGEST_PAUSE = 60.0


@dataclass(frozen=True)
class Patience:
    """How long to put up with a bad link.

    `stall` seconds without a byte are a break; after `tries` breaks in a row without a new byte
    the download gives up; the pauses between are `pause` seconds, doubled each time.
    """

    stall: float = 30.0
    tries: int = 6
    pause: float = 1.0


class _BrokenOffError(Exception):
    """A break after which asking again may help."""

    def __init__(self, why: str, wait: float = 0.0) -> None:
        super().__init__(why)
        self.wait = wait


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Inside, no other process fetches into the folder: two would write one part file."""

    def say() -> None:
        tell(f"winnow: another process fetches into {folder}; waiting for it")

    with locked(folder, say):
        yield


def download(
    url: str,
    target: Path,
    *,
    size: int | None = None,
    md5: str | None = None,
    check: Callable[[Path], str | None] | None = None,
    patience: Patience | None = None,
    meter: ByteBar,
) -> None:
    """Bring `url` to `target`, going on with what an earlier call left.

    `size` (bytes) and `md5` are what the file must have; `check` looks at the whole file and says
    what is wrong with it. A corrupt file is fetched a second time, then refused.
    Raises NetworkError if the server is out of reach or breaks off too often (what has come is
    kept), DataError if it has another file or none, OutputError if the disk does not take it.
    """
    transfer = _Transfer(url, target, size, patience or Patience(), meter)
    for last in (False, True):
        try:
            transfer.complete()
            wrong = _wrong(transfer.part, md5, check)
            if wrong is None:
                transfer.finish()
                return
        except OSError as error:
            raise OutputError(
                f"cannot be written: {error.strerror or error}",
                where=target.parent,
                hint="free some space or name another folder",
            ) from error
        transfer.discard()
        if last:
            raise DataError(f"came corrupt twice: {wrong}", where=url, hint="try another mirror")
        meter.note(f"{target.name} came corrupt ({wrong}); fetching it again")


def fetch_json(url: str, *, patience: Patience | None = None, meter: ByteBar) -> Any:
    """A small JSON document. Raises as `download` does."""
    patience = patience or Patience()

    def ask() -> bytes:
        with _open(url, {"Accept": "application/json"}, patience.stall) as answer:
            body: bytes = answer.read(LARGEST_JSON)
            _, total = _extent(answer, 0)
            if total is not None and len(body) < min(total, LARGEST_JSON):
                raise _BrokenOffError("the server broke off")
            return body

    try:
        return plain_json(_persist(ask, url, patience, meter))
    except ValueError as error:
        raise DataError(
            "does not answer with JSON", where=url, hint="is this the right server?"
        ) from error


@dataclass
class _Transfer:
    url: str
    target: Path
    size: int | None
    patience: Patience
    meter: ByteBar
    farthest: int = field(default=0, init=False)

    @property
    def part(self) -> Path:
        return self.target.with_name(f"{self.target.name}.part")

    @property
    def notes(self) -> Path:
        return self.target.with_name(f"{self.target.name}.part.json")

    def have(self) -> int:
        return self.part.stat().st_size if self.part.is_file() else 0

    def discard(self) -> None:
        self.part.unlink(missing_ok=True)
        self.notes.unlink(missing_ok=True)
        self.farthest = 0

    def finish(self) -> None:
        with self.part.open("rb+") as file:
            os.fsync(file.fileno())
        self.part.replace(self.target)
        self.notes.unlink(missing_ok=True)

    def complete(self) -> None:
        """Fetch until the part file is whole."""
        self.target.parent.mkdir(parents=True, exist_ok=True)
        if self.have() and self._validator() is None and self.size is None:
            self.discard()  # nothing tells whether the rest would belong to it
        self.farthest = self.have()
        if self.size is None or self.have() != self.size:
            _persist(self._fetch_rest, self.url, self.patience, self.meter, self._gained)

    def _gained(self) -> int:
        """Bytes beyond the farthest point so far: what a server that always restarts never has."""
        before, self.farthest = self.farthest, max(self.farthest, self.have())
        return self.farthest - before

    def _fetch_rest(self) -> None:
        """One request. Raises _BrokenOffError if the file is not whole after it."""
        have = self.have()
        if self.size is not None and have > self.size:
            self.discard()
            have = 0
        headers = {"Range": f"bytes={have}-"} if have else {}
        if have and (validator := self._validator()):
            headers["If-Range"] = validator
        try:
            answer = _open(self.url, headers, self.patience.stall)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and have:
                self.discard()
                raise _BrokenOffError("the server has no such range") from error
            raise
        with answer:
            start, total = _extent(answer, have)
            if self.size is not None and total is not None and total != self.size:
                raise DataError(
                    f"the server's file has {total:,} bytes, {self.size:,} are expected",
                    where=self.url,
                    hint="the mirror holds another version",
                )
            if start != have:
                self.part.unlink(missing_ok=True)
            self._keep_validator(answer)
            with self.part.open("ab") as file:
                done = self._copy(answer, file, start, total)
        goal = self.size if self.size is not None else total
        if goal is not None and done < goal:
            raise _BrokenOffError(f"the server broke off at {done:,} of {goal:,} bytes")
        if goal is not None and done > goal:
            self.discard()
            raise _BrokenOffError(f"the server sent {done:,} bytes instead of {goal:,}")

    def _copy(
        self, answer: http.client.HTTPResponse, file: BinaryIO, done: int, total: int | None
    ) -> int:
        total = self.size if self.size is not None else total
        self.meter.at(done, total)
        # read1 hands out what has come, so that a break loses nothing that was received.
        while piece := answer.read1(CHUNK):
            file.write(piece)
            done += len(piece)
            self.meter.at(done, total)
        return done

    def _validator(self) -> str | None:
        try:
            notes = plain_json(read_small(self.notes))
            return str(notes["validator"]) if notes["url"] == self.url else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _keep_validator(self, answer: http.client.HTTPResponse) -> None:
        etag = answer.headers.get("ETag", "")
        # A weak entity tag must not be used with If-Range (RFC 9110, 13.1.5).
        strong = etag if etag and not etag.startswith("W/") else None
        validator = strong or answer.headers.get("Last-Modified")
        if validator:
            notes = {"url": self.url, "validator": validator}
            self.notes.write_text(json.dumps(notes), encoding="utf-8")
        else:
            self.notes.unlink(missing_ok=True)


def _persist(
    action: Callable[[], T],
    url: str,
    patience: Patience,
    meter: ByteBar,
    gained: Callable[[], int] = lambda: 0,
) -> T:
    """The result of `action`, tried again after breaks; hopeless errors are raised at once."""
    failures, first = 0, True
    while True:
        try:
            return action()
        except Exception as error:
            broken = _judge(error, url, first)
        failures = 0 if gained() else failures + 1
        first = False
        if failures >= patience.tries:
            raise NetworkError(
                f"gave up after {failures} breaks in a row: {broken}",
                where=url,
                hint="the received part is kept; run the same command again to go on",
            ) from broken
        wait = min(max(patience.pause * 2 ** max(failures - 1, 0), broken.wait), LONGEST_PAUSE)
        meter.note(f"{broken}; trying again in {wait:.0f} s")
        time.sleep(wait)


def _judge(error: Exception, url: str, first: bool) -> _BrokenOffError:
    """The break that an error means; raises what is no use to try again after."""
    if isinstance(error, _BrokenOffError):
        return error
    if isinstance(error, urllib.error.HTTPError):
        error.close()
        if error.code in TRANSIENT:
            asked = error.headers.get("Retry-After", "")
            wait = float(whole_number(asked) or 0)
            return _BrokenOffError(f"the server answers {error.code} {error.reason}", wait)
        known = {404: "is not there", 410: "is gone", 401: "is not public", 403: "is not allowed"}
        what = known.get(error.code, "was refused")
        raise DataError(f"{what} ({error.code} {error.reason})", where=url) from error
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(reason, ssl.SSLCertVerificationError):
        raise NetworkError(
            f"the server's certificate is not trusted: {reason.verify_message}", where=url
        ) from error
    if isinstance(reason, TimeoutError):
        return _BrokenOffError("the server stalls")
    broke = isinstance(reason, http.client.HTTPException | ConnectionError | ssl.SSLError)
    reset = isinstance(reason, ConnectionResetError | ConnectionAbortedError | BrokenPipeError)
    if isinstance(error, urllib.error.URLError) and first and not reset:
        host = url.split("/")[2]
        raise NetworkError(
            f"cannot be reached: {_words(reason)}",
            where=host,
            hint="check the network, or name a mirror with --base-url",
        ) from error
    if broke or isinstance(error, urllib.error.URLError):
        return _BrokenOffError(f"the connection broke ({_words(reason)})")
    raise error


def _words(reason: object) -> str:
    if isinstance(reason, socket.gaierror):
        return "its name cannot be resolved"
    if isinstance(reason, OSError) and reason.errno:
        return os.strerror(reason.errno) if reason.errno in errno.errorcode else str(reason)
    return str(reason) or type(reason).__name__


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, and hangs up on a server that leads to no address."""

    def http_error_302(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
    ) -> http.client.HTTPResponse | None:
        try:
            return super().http_error_302(req, fp, code, msg, headers)
        except (ValueError, OverflowError):
            fp.close()
            raise

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302


_OPENER = urllib.request.build_opener(_Redirects)


def _open(url: str, headers: dict[str, str], stall: float) -> http.client.HTTPResponse:
    if not url.startswith(("http://", "https://")):  # urllib would open file:// as well
        raise DataError("is no http:// or https:// address", where=url)
    headers = {"User-Agent": "winnow", "Accept-Encoding": "identity", **headers}
    try:
        request = urllib.request.Request(url, headers=headers)
        answer: http.client.HTTPResponse = _OPENER.open(request, timeout=stall)
    except (
        ValueError,
        OverflowError,
    ) as error:  # `http://[::1`, a redirect there or of 2**99 bytes
        raise DataError(f"leads to no address ({error})", where=url) from error
    return answer


def _extent(answer: http.client.HTTPResponse, have: int) -> tuple[int, int | None]:
    """First byte of an answer's body and the size of the whole file (None: not told)."""
    length = answer.headers.get("Content-Length", "")
    if answer.status != http.HTTPStatus.PARTIAL_CONTENT:
        return 0, whole_number(length)
    unit, _, rest = answer.headers.get("Content-Range", "").partition(" ")
    span, _, total = rest.partition("/")
    start = span.partition("-")[0]
    if unit != "bytes" or whole_number(start) != have:
        raise _BrokenOffError("the server sent another range than was asked for")
    return have, whole_number(total)


def whole_number(text: str) -> int | None:
    """A number that a server writes in ASCII digits, below 1e15; None for any other text."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS else None


def _wrong(path: Path, md5: str | None, check: Callable[[Path], str | None] | None) -> str | None:
    if md5 is not None:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False))
        if found.hexdigest() != md5.lower():
            return f"md5 is {found.hexdigest()}, not {md5.lower()}"
    return check(path) if check is not None else None
