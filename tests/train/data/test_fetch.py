"""Fetching over a real HTTP server that stalls, breaks off, corrupts and refuses."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import socket
import socketserver
import subprocess
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.forked import Process, run_text
from tests.train.serving import Site
from winnow_base.errors import DataError, NetworkError
from winnow_base.files import locked
from winnow_edge.errors import OutputError
from winnow_train.data.catalogue import ARCHIVES, browse_path
from winnow_train.data.download import Patience, download, fetch_json
from winnow_train.data.fetch import fetch_archive, fetch_browse
from winnow_train.data.unpack import unpack
from winnow_train.datasets import PROVENANCE, read_dataset

QUICK = Patience(stall=0.3, tries=3, pause=0.01)


class Ear:
    """A meter that remembers."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.seen: list[tuple[int, int | None]] = []

    def at(self, done: int, total: int | None) -> None:
        self.seen.append((done, total))

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def ear() -> Ear:
    return Ear()


BODY = np.random.default_rng(7).integers(0, 256, 300_000, np.uint8).tobytes()
MD5 = hashlib.md5(BODY).hexdigest()


def bring(site: Site, target: Path, ear: Ear, **more: object) -> None:
    download(f"{site.url}/file", target, patience=QUICK, meter=ear, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "faults",
    [
        [],
        ["break"],
        ["stall"],
        ["drop"],
        ["503"],
        ["429", "500"],
        ["break", "break", "break", "break", "break"],  # more than `tries`, but each brings bytes
        ["break", "shifted"],
        ["corrupt"],
        ["break", "corrupt"],
    ],
)
def test_a_bad_link_still_brings_the_whole_file(
    site: Site, tmp_path: Path, ear: Ear, faults: list[str]
) -> None:
    site.files["/file"], site.faults = BODY, list(faults)
    bring(site, tmp_path / "f.bin", ear, size=len(BODY), md5=MD5)
    assert (tmp_path / "f.bin").read_bytes() == BODY
    assert [p.name for p in tmp_path.iterdir()] == ["f.bin"]
    assert site.faults == []
    assert ear.seen[-1] == (len(BODY), len(BODY))
    assert len(ear.notes) >= len([f for f in faults if f != "corrupt"])


def test_a_break_is_resumed_by_range_not_from_the_start(
    site: Site, tmp_path: Path, ear: Ear
) -> None:
    site.files["/file"], site.faults = BODY, ["break"]
    bring(site, tmp_path / "f.bin", ear)
    assert [r for _, r in site.requests] == [None, f"bytes={len(BODY) // 2}-"]
    assert (tmp_path / "f.bin").read_bytes() == BODY


def test_a_second_call_goes_on_where_the_first_gave_up(
    site: Site, tmp_path: Path, ear: Ear
) -> None:
    site.files["/file"], site.faults = BODY, ["break", "drop", "drop", "drop"]
    with pytest.raises(NetworkError, match="gave up after 3 breaks"):
        bring(site, tmp_path / "f.bin", ear)
    assert not (tmp_path / "f.bin").exists()
    kept = (tmp_path / "f.bin.part").stat().st_size
    site.faults, site.requests = [], []
    bring(site, tmp_path / "f.bin", ear)
    assert site.requests == [("/file", f"bytes={kept}-")]
    assert kept == len(BODY) // 2
    assert (tmp_path / "f.bin").read_bytes() == BODY


def test_a_file_that_changed_meanwhile_is_fetched_anew(
    site: Site, tmp_path: Path, ear: Ear
) -> None:
    site.files["/file"], site.faults = BODY, ["break", "drop", "drop", "drop"]
    with pytest.raises(NetworkError):
        bring(site, tmp_path / "f.bin", ear)
    site.files["/file"], site.etag = BODY[::-1], '"two"'
    bring(site, tmp_path / "f.bin", ear)
    assert (tmp_path / "f.bin").read_bytes() == BODY[::-1]


def test_without_validator_or_size_a_part_is_not_trusted(
    site: Site, tmp_path: Path, ear: Ear
) -> None:
    site.files["/file"], site.etag = BODY, None
    (tmp_path / "f.bin.part").write_bytes(b"left by something else")
    bring(site, tmp_path / "f.bin", ear)
    assert (tmp_path / "f.bin").read_bytes() == BODY


def test_a_server_that_ignores_range_restarts_and_ends(
    site: Site, tmp_path: Path, ear: Ear
) -> None:
    site.files["/file"], site.ranges, site.faults = BODY, False, ["break", "break"]
    bring(site, tmp_path / "f.bin", ear, size=len(BODY), md5=MD5)
    assert (tmp_path / "f.bin").read_bytes() == BODY


def test_a_server_that_ignores_range_and_always_breaks_is_given_up(
    site: Site, tmp_path: Path, ear: Ear
) -> None:
    site.files["/file"], site.ranges, site.faults = BODY, False, ["break"] * 50
    with pytest.raises(NetworkError, match="broke off at 150,000 of 300,000 bytes"):
        bring(site, tmp_path / "f.bin", ear)
    assert len(site.requests) == 1 + QUICK.tries  # the first one had brought something


def test_a_body_of_unknown_length(site: Site, tmp_path: Path, ear: Ear) -> None:
    site.files["/file"], site.chunked, site.faults = BODY, True, ["break"]
    bring(site, tmp_path / "f.bin", ear)
    assert (tmp_path / "f.bin").read_bytes() == BODY


def test_corrupt_twice_is_refused_and_nothing_is_left(site: Site, tmp_path: Path, ear: Ear) -> None:
    site.files["/file"], site.faults = BODY, ["corrupt", "corrupt"]
    with pytest.raises(DataError, match="came corrupt twice: md5 is"):
        bring(site, tmp_path / "f.bin", ear, size=len(BODY), md5=MD5)
    assert list(tmp_path.iterdir()) == []


def test_a_part_longer_than_the_file_is_thrown_away(site: Site, tmp_path: Path, ear: Ear) -> None:
    site.files["/file"] = BODY
    (tmp_path / "f.bin.part").write_bytes(BODY + b"more")
    bring(site, tmp_path / "f.bin", ear, size=len(BODY), md5=MD5)
    assert (tmp_path / "f.bin").read_bytes() == BODY


def test_another_size_is_refused_before_the_body(site: Site, tmp_path: Path, ear: Ear) -> None:
    site.files["/file"] = BODY
    with pytest.raises(DataError, match="300,000 bytes, 300,001 are expected"):
        bring(site, tmp_path / "f.bin", ear, size=len(BODY) + 1)
    assert not (tmp_path / "f.bin").exists()


@pytest.mark.parametrize(("status", "words"), [("404", "is not there"), ("403", "is not allowed")])
def test_a_refusal_is_final(site: Site, tmp_path: Path, ear: Ear, status: str, words: str) -> None:
    site.faults = [status]
    with pytest.raises(DataError, match=words):
        bring(site, tmp_path / "f.bin", ear)
    assert len(site.requests) == 1


def test_a_disk_that_does_not_take_it(site: Site, tmp_path: Path, ear: Ear) -> None:
    site.files["/file"] = BODY
    (tmp_path / "f.bin.part").mkdir()
    with pytest.raises(OutputError, match="cannot be written"):
        bring(site, tmp_path / "f.bin", ear)


def test_only_http_is_opened(tmp_path: Path, ear: Ear) -> None:
    secret = tmp_path / "secret"
    secret.write_text("x")
    with pytest.raises(DataError, match="no http"):
        download(secret.as_uri(), tmp_path / "f", meter=ear)


@contextlib.contextmanager
def answering(answer: bytes) -> Iterator[str]:
    """The address of a server that gives this answer, octet for octet, and hangs up."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while self.rfile.readline().strip():
                pass
            self.wfile.write(answer)

    with socketserver.TCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: \xb2\r\n\r\n[1]",
        b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n[1]",
        b"HTTP/1.1 206 OK\r\nContent-Range: bytes \xb2-1/\xb2\r\n\r\n[1]",
        b"HTTP/1.1 503 Busy\r\nRetry-After: \xb2\r\n\r\n",
        b"HTTP/1.1 503 Busy\r\nRetry-After: " + b"9" * 5000 + b"\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://[::1\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://" + b"a" * 70 + b".b/\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: " + b"9" * 30 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n" + b"[" * 200_000,
        b"HTTP/1.1 200 OK\r\n\r\n[" + b"9" * 5000 + b"]",
        b"\xff" * 100,
    ],
)
def test_whatever_a_server_says_is_taken_or_refused_in_one_line(
    answer: bytes, tmp_path: Path, ear: Ear
) -> None:
    once = Patience(stall=20, tries=1, pause=0)
    with answering(answer) as url:
        for ask in (
            lambda: fetch_json(f"{url}/x", patience=once, meter=ear),  # type: ignore[arg-type]
            lambda: download(f"{url}/x", tmp_path / "x", size=3, patience=once, meter=ear),  # type: ignore[arg-type]
        ):
            try:
                ask()
            except (DataError, NetworkError) as error:
                assert "\n" not in str(error)


@pytest.mark.parametrize("size", [10**400, -1, "5", None, 1.5, True])
def test_a_record_with_a_size_that_is_none_is_no_record(tmp_path: Path, size: object) -> None:
    archive = ARCHIVES["hirise-v1"]
    files = [{"key": archive.file, "size": size, "checksum": "md5:0"}]
    body = json.dumps({"files": files}).encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
    said = "does not answer with JSON" if size == 10**400 else "is no Zenodo record"
    with answering(head + body) as url, pytest.raises(DataError, match=said):
        fetch_archive(archive, tmp_path, base_url=url, patience=QUICK)


def test_an_address_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="leads to no address"):
        fetch_archive(ARCHIVES["hirise-v1"], tmp_path, base_url="http://[::1", patience=QUICK)


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# --- unpacking -----------------------------------------------------------------------------------


def zipped(
    members: dict[str, bytes], change: Callable[[zipfile.ZipInfo], None] | None = None
) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as pack:
        for name, data in members.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = 0o100644 << 16
            if change is not None:
                change(info)
            pack.writestr(info, data)
    return out.getvalue()


def test_unpack_leaves_out_one_top_folder_and_junk(tmp_path: Path) -> None:
    archive = tmp_path / "a.zip"
    archive.write_bytes(
        zipped({"top/a.txt": b"a", "top/sub/b.txt": b"b", "__MACOSX/top/._a.txt": b"x"})
    )
    assert unpack(archive, tmp_path / "out", notes={"N": "note"}) == 2
    found = {p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*.*")}
    assert found == {"a.txt", "sub/b.txt"}
    assert (tmp_path / "out" / "N").read_text() == "note"


@pytest.mark.parametrize(
    "name", ["../out.txt", "a/../../out.txt", "/etc/out.txt", "C:/out.txt", "a\\..\\out.txt"]
)
def test_unpack_refuses_paths_that_lead_out(tmp_path: Path, name: str) -> None:
    archive = tmp_path / "in" / "a.zip"
    archive.parent.mkdir()
    archive.write_bytes(zipped({"good.txt": b"good", name: b"bad"}))
    with pytest.raises(DataError, match=r"leads out|absolute"):
        unpack(archive, archive.parent / "out")
    assert [p.name for p in tmp_path.rglob("*")] == ["in", "a.zip"]


def test_unpack_refuses_links(tmp_path: Path) -> None:
    def link(info: zipfile.ZipInfo) -> None:
        info.external_attr = 0o120777 << 16

    archive = tmp_path / "a.zip"
    archive.write_bytes(zipped({"passwd": b"/etc/passwd"}, link))
    with pytest.raises(DataError, match="link"):
        unpack(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_unpack_of_a_damaged_archive_leaves_nothing(tmp_path: Path) -> None:
    raw = bytearray(zipped({"a.bin": BODY, "b.bin": BODY}))
    raw[len(raw) // 4] ^= 0xFF
    archive = tmp_path / "a.zip"
    archive.write_bytes(raw)
    with pytest.raises(DataError, match="no sound zip"):
        unpack(archive, tmp_path / "out")
    archive.write_bytes(b"not a zip")
    with pytest.raises(DataError, match="no sound zip"):
        unpack(archive, tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["a.zip"]


# --- whole sets ----------------------------------------------------------------------------------


def tile(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (16, 16), np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG")
    return out.getvalue()


NAMES = [f"ESP_{orbit:06d}_1950_RED-{i:04d}.jpg" for orbit in range(11000, 11010) for i in range(2)]


def publish(site: Site, name: str = "hirise-v1") -> None:
    """Put a small set of version 1 on the site, with the record that describes it."""
    archive = ARCHIVES[name]
    pack = zipped(
        {
            "labels-map-proj.txt": "".join(f"{n} {i % 2}\n" for i, n in enumerate(NAMES)).encode(),
            "landmarks_map-proj_classmap.csv": b"0,other\n1,crater\n",
            **{f"map-proj/{n}": tile(i) for i, n in enumerate(NAMES)},
        }
    )
    record = {
        "files": [
            {
                "key": archive.file,
                "size": len(pack),
                "checksum": f"md5:{hashlib.md5(pack).hexdigest()}",
            }
        ],
        "metadata": {"license": {"id": "cc-by-4.0"}},
    }
    root = f"/api/records/{archive.record}"
    site.files[root] = json.dumps(record).encode()
    site.files[f"{root}/files/{archive.file}/content"] = pack


def winnow(*arguments: object) -> subprocess.CompletedProcess[str]:
    return run_text("winnow", *arguments)


def test_a_set_comes_whole_and_is_readable(site: Site, tmp_path: Path) -> None:
    publish(site)
    site.faults = ["", "break", "stall"]
    where = ("--data", tmp_path, "--base-url", site.url, "--stall", 2, "--pause", 0.01)
    done = winnow("data", "fetch", "hirise-v1", *where)
    assert done.returncode == 0, done.stderr
    assert "10.5281/zenodo.1048301" in done.stdout
    assert "cc-by-4.0" in done.stdout
    assert "trying again" in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["hirise-map-proj-v1"]
    assert len(read_dataset("hirise-v1", tmp_path).tiles) == len(NAMES)
    kept = json.loads((tmp_path / "hirise-map-proj-v1" / PROVENANCE).read_text())
    assert kept["doi"] == "10.5281/zenodo.1048301"
    asked = len(site.requests)
    again = winnow("data", "fetch", "hirise-v1", *where)
    assert again.returncode == 0
    assert "already there" in again.stdout
    assert "cc-by-4.0" in again.stdout
    assert len(site.requests) == asked


def test_a_fetch_waits_for_another_one_into_the_same_folder(site: Site, tmp_path: Path) -> None:
    """Both would write one part file."""
    publish(site)
    command = ("data", "fetch", "hirise-v1", "--data", tmp_path, "--base-url", site.url)
    with tempfile.TemporaryFile() as said:
        with locked(tmp_path):
            late = Process("winnow", *command, stderr=said.fileno())
            while b"another process fetches into" not in os.pread(said.fileno(), 4096, 0):
                time.sleep(0.02)
            assert site.requests == []
        assert late.wait() == 0
    assert len(read_dataset("hirise-v1", tmp_path).tiles) == len(NAMES)


def test_version_3_2_is_checked_against_its_published_size(site: Site, tmp_path: Path) -> None:
    publish(site, "hirise-v3.2")
    done = winnow("data", "fetch", "hirise-v3.2", "--data", tmp_path, "--base-url", site.url)
    assert done.returncode == 3
    assert "911,235,740 are expected" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_offline_is_one_line_and_exit_4(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{closed_port()}"
    done = winnow("data", "fetch", "msl", "--data", tmp_path / "d", "--base-url", url)
    assert done.returncode == 4
    assert re.fullmatch(r"winnow: 127\.0\.0\.1:\d+: cannot be reached: .*\n", done.stderr)
    done = winnow("data", "fetch", "nothing", "--data", tmp_path / "d")
    assert done.returncode == 3
    assert "hirise-v3.2" in done.stderr


@pytest.mark.parametrize("answer", [b"<html>", b"[]", b"{}", b'{"files": [{"key": "x.zip"}]}'])
def test_what_is_no_record_is_said(site: Site, tmp_path: Path, answer: bytes) -> None:
    site.files["/api/records/1049137"] = answer
    with pytest.raises(DataError, match=r"JSON|no Zenodo record|no file msl-images\.zip"):
        fetch_archive(ARCHIVES["msl"], tmp_path, base_url=site.url, patience=QUICK)


def test_a_set_larger_than_the_disk_is_refused_first(site: Site, tmp_path: Path) -> None:
    huge = replace(ARCHIVES["hirise-v3.2"], size=10**18)
    with pytest.raises(OutputError, match="are free"):
        fetch_archive(huge, tmp_path, base_url=site.url, patience=QUICK)
    assert site.requests == []


def picture(progressive: bool = False) -> bytes:
    rows = np.random.default_rng(1).integers(0, 256, (64, 64), np.uint8)
    out = io.BytesIO()
    Image.fromarray(rows).save(out, "JPEG", progressive=progressive)
    return out.getvalue()


def test_browse_strips_by_observation_id(site: Site, tmp_path: Path) -> None:
    path = f"/{browse_path('ESP_072719_1970')}"
    label = "/PDS/RDR/ESP/ORB_072700_072799/ESP_072719_1970/ESP_072719_1970_RED.LBL"
    site.files[path], site.files[label] = picture(), b"PDS_VERSION_ID = PDS3\r\n"
    command = ("data", "fetch", "hirise-browse", "esp_072719_1970", "--label", "--data", tmp_path)
    done = winnow(*command, "--base-url", site.url)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "swaths" / "ESP_072719_1970_RED.browse.jpg").read_bytes() == site.files[path]
    assert (tmp_path / "swaths" / "ESP_072719_1970_RED.LBL").is_file()
    assert "University of Arizona" in done.stdout
    assert "already in" in winnow(*command, "--base-url", site.url).stdout


def test_a_strip_that_is_not_there_or_damaged(site: Site, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not there"):
        fetch_browse("PSP_005038_1935", tmp_path, base_url=site.url, patience=QUICK)
    site.files[f"/{browse_path('PSP_005038_1935')}"] = picture()[:900]
    with pytest.raises(DataError, match="cannot be decoded"):
        fetch_browse("PSP_005038_1935", tmp_path, base_url=site.url, patience=QUICK)
    assert list((tmp_path / "swaths").iterdir()) == []
    with pytest.raises(DataError, match="no HiRISE observation id"):
        fetch_browse("PSP_5038", tmp_path, base_url=site.url, patience=QUICK)


def test_orbits_are_filed_by_the_hundred() -> None:
    assert browse_path("PSP_010000_1345").split("/")[4] == "ORB_010000_010099"
    last = "ORB_099900_099999/ESP_099999_1345/ESP_099999_1345_RED.NOMAP.browse.jpg"
    assert browse_path("ESP_099999_1345", "nomap").endswith(last)
