"""A real HTTP server that stalls, breaks off, corrupts and refuses."""

from __future__ import annotations

import http.server
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Site:
    """Files by path; `faults` are applied to GET requests of files one by one."""

    files: dict[str, bytes] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    ranges: bool = True
    etag: str | None = '"one"'
    chunked: bool = False
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    url: str = ""


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    site: Site
    stop: threading.Event

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.site.requests.append((self.path, asked))
        body = self.site.files.get(self.path)
        fault = self.site.faults.pop(0) if self.site.faults else ""
        self.close_connection = True
        if fault == "drop":
            return
        if fault.isdigit():
            self.send_response(int(fault))
            self.send_header("Retry-After", "0")
            self.end_headers()
            return
        if body is None:
            self.send_error(404)
            return
        if fault == "corrupt":
            body = bytes(b ^ 0x5A for b in body)
        start, total = 0, len(body)
        fresh = self.headers.get("If-Range") in (None, self.site.etag)
        if asked and self.site.ranges and fresh:
            start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1])
            if start >= total:
                self.send_error(416)
                return
            self.send_response(206)
            told = start + 1 if fault == "shifted" else start
            self.send_header("Content-Range", f"bytes {told}-{total - 1}/{total}")
        else:
            self.send_response(200)
        if self.site.chunked:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(total - start))
        if self.site.etag:
            self.send_header("ETag", self.site.etag)
        self.end_headers()
        rest = body[start:]
        if fault in ("break", "stall"):
            self.wfile.write(rest[: max(1, len(rest) // 2)])
            self.wfile.flush()
            if fault == "stall":
                self.stop.wait(20)
            return
        if self.site.chunked:
            self.wfile.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(rest), rest))
        else:
            self.wfile.write(rest)


@contextmanager
def serve() -> Iterator[Site]:
    """A real server on a real socket."""
    made, stop = Site(), threading.Event()
    handler = type("SiteHandler", (Handler,), {"site": made, "stop": stop})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    made.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield made
    finally:
        stop.set()
        server.shutdown()
        thread.join()
        server.server_close()
