"""The page of a swath: tiles of the strip, boxes that a later uplink asks for."""

from __future__ import annotations

import io
import json
import os
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest
from anyio import to_thread
from PIL import Image

from tests.ground.serve.serving import Served, serving
from tests.running import winnow
from winnow_edge.downlink.requests import load_requests
from winnow_ground.catalogue.schema import create
from winnow_ground.catalogue.wishes import Carried, carry
from winnow_ground.serve.zoom import NoPyramidError, Pyramids

BOX = {"line": 64, "sample": 128, "lines": 64, "samples": 256, "comment": "look <closer>"}


def strip(catalogue: Path, file: str, data: bytes | Image.Image) -> None:
    """Give the swath a whole picture."""
    folder = catalogue.parent / "in"
    if isinstance(data, bytes):
        (folder / file).write_bytes(data)
    else:
        data.save(folder / file)
    db = create(catalogue)
    db.execute("UPDATE swath SET picture = ?", (file,))
    db.close()


def test_tiles_that_are_cut_wait_for_no_strip_that_is_being_cut(tmp_path: Path) -> None:
    Image.new("L", (300, 300)).save(tmp_path / "done.png")
    os.mkfifo(tmp_path / "slow.png")
    over = []

    async def refused(pyramids: Pyramids) -> None:
        with pytest.raises(NoPyramidError):
            await pyramids.of(tmp_path / "slow.png")
        over.append("slow")

    async def look() -> None:
        made = await pyramids.of(tmp_path / "done.png")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(refused, pyramids)
            # Opens as soon as the strip is being read, and keeps its reader waiting.
            with await to_thread.run_sync((tmp_path / "slow.png").open, "wb"):
                assert await pyramids.of(tmp_path / "done.png") == made
                assert over == []
        assert over == ["slow"]

    with closing(Pyramids()) as pyramids:
        anyio.run(look)


def test_a_strip_that_was_refused_is_tried_again(tmp_path: Path) -> None:
    path = tmp_path / "strip.png"
    Image.new("L", (300, 300)).save(path)
    good, status = path.read_bytes(), path.stat()

    async def again(pyramids: Pyramids) -> None:
        path.write_bytes(bytes(len(good)))
        os.utime(path, ns=(0, status.st_mtime_ns))
        with pytest.raises(NoPyramidError):
            await pyramids.of(path)
        path.write_bytes(good)
        os.utime(path, ns=(0, status.st_mtime_ns))
        assert (await pyramids.of(path)).lines == 300

    with closing(Pyramids(0.0)) as forgets:
        anyio.run(again, forgets)
    with closing(Pyramids(1e9)) as remembers, pytest.raises(NoPyramidError):
        anyio.run(again, remembers)


def picture(answer: bytes) -> np.ndarray[Any, Any]:
    with Image.open(io.BytesIO(answer)) as image:
        return np.asarray(image)


def test_a_strip_is_seen_tile_by_tile(served: Served) -> None:
    lines = np.mgrid[0:768, 0:512][0]
    strip(served.catalogue, "strip.png", Image.fromarray((lines // 3 % 256).astype(np.uint8)))
    assert served.get("/swath/1/zoom").told == {"lines": 768, "samples": 512, "levels": 3}
    tile = served.get("/swath/1/zoom/0/2/1")
    assert (tile.status, tile.headers["content-type"]) == (200, "image/jpeg")
    shown = picture(tile.body)
    assert shown.shape == (256, 256)
    assert np.abs(shown.astype(int) - (lines // 3 % 256)[512:768, 256:512]).max() < 12
    assert picture(served.get("/swath/1/zoom/2/0/0").body).shape == (192, 128)
    for path in ("0/3/0", "3/0/0", "0/0/x", "0/..%2f/0", "-1/0/0"):
        assert served.get(f"/swath/1/zoom/{path}").status == 404


def test_the_search_shows_tiles_of_the_strip_where_they_have_no_picture(served: Served) -> None:
    pixels = (np.mgrid[0:768, 0:512].sum(axis=0) % 200).astype(np.uint8)
    strip(served.catalogue, "strip.png", Image.fromarray(pixels))
    db = create(served.catalogue)
    db.execute("UPDATE tile SET file = NULL, changed = 2")
    db.close()
    listed = served.get("/found").told["listed"]
    assert listed
    assert all(one["pictured"] for one in listed)
    one = listed[0]
    rows = slice(one["line"], one["line"] + one["lines"])
    columns = slice(one["sample"], one["sample"] + one["samples"])
    shown = picture(served.get(f"/tile/{one['id']}/picture").body).astype(int)
    assert np.abs(shown - pixels[rows, columns]).mean() < 8
    (served.catalogue.parent / "in" / "strip.png").unlink()
    assert not any(one["pictured"] for one in served.get("/found").told["listed"])
    assert served.get(f"/tile/{one['id']}/picture").status == 404


def test_pictures_of_other_kinds_are_shown(served: Served) -> None:
    values = np.arange(90_000, dtype=np.float32).reshape(300, 300)
    deep = Image.fromarray((values / 2).astype(np.uint16))
    plain = Image.fromarray((values / 400).astype(np.uint8))
    for number, image in enumerate((deep, *map(plain.convert, ("RGBA", "P", "1", "LA")))):
        strip(served.catalogue, f"strip-{number}.png", image)
        assert served.get("/swath/1/zoom").told["levels"] == 2
        assert picture(served.get("/swath/1/zoom/0/0/0").body).shape[:2] == (256, 256)


NO_PICTURES = (
    b"",
    b"no picture",
    b"\xff\xd8\xff\xe0",
    b"\x89PNG\r\n\x1a\n" + b"\0" * 100,
    b"P5 90000 90000 255\n",
    b"P5 300 300 255\n" + b"x" * 50,
    b"II*\0",
)


def test_what_is_no_picture_is_said(served: Served) -> None:
    for number, data in enumerate(NO_PICTURES):
        strip(served.catalogue, f"strip-{number}.pgm", data)
        answer = served.get("/swath/1/zoom")
        assert answer.status == 404
        assert "picture" in answer.told["error"] and "/in/" not in answer.told["error"]
    assert served.get("/swath/1").status == 200


def test_a_strip_outside_of_its_folder_is_not_shown(served: Served, tmp_path: Path) -> None:
    Image.new("L", (300, 300)).save(tmp_path / "secret.png")
    (tmp_path / "in" / "link.png").symlink_to(tmp_path / "secret.png")
    for file in ("../secret.png", str(tmp_path / "secret.png"), "link.png", "x\0.png", ".", ""):
        db = create(served.catalogue)
        db.execute("UPDATE swath SET picture = ?", (file,))
        db.close()
        assert served.get("/swath/1/zoom").status == 404


def test_a_box_goes_on_the_list_and_up_with_the_next_uplink(served: Served) -> None:
    made = served.change("/swath/1/ask", BOX).told["request"]
    assert served.change("/swath/1/ask", BOX).told["request"] == made
    page = served.get("/swath/1", Accept="text/html").body
    assert b"look &lt;closer&gt;" in page
    assert b"look &lt;closer&gt;" in served.get("/mission").body
    done = winnow("catalogue", "requests", served.catalogue, "--json")
    (told,) = json.loads(done.stdout)
    (asked,) = load_requests(told["file"]).requests
    place = (asked.line, asked.sample, asked.lines, asked.samples)
    assert place == (64, 128, 64, 256) and asked.id == told["request"]
    assert json.loads(winnow("catalogue", "requests", served.catalogue, "--json").stdout) == []
    assert served.change(f"/request/{made}/withdraw", {}).status == 400
    # Asked for again it is another request, with a number of its own.
    again = served.change("/swath/1/ask", BOX).told["request"]
    assert again != made
    winnow("catalogue", "requests", served.catalogue)
    assert [r.id for r in load_requests(told["file"]).requests] == [asked.id, asked.id + 1]


def test_a_list_that_was_written_but_not_marked_is_not_written_twice(served: Served) -> None:
    served.change("/swath/1/ask", BOX)
    (told,) = json.loads(winnow("catalogue", "requests", served.catalogue, "--json").stdout)
    db = create(served.catalogue)
    db.execute("UPDATE request SET sent = NULL")
    db.execute("UPDATE swath SET about = '{'")  # then the name is that of the catalogue
    db.close()
    assert winnow("catalogue", "requests", served.catalogue).returncode == 0
    assert len(load_requests(told["file"]).requests) == 1


def test_a_box_that_was_withdrawn_or_sent_meanwhile_is_not_written(served: Served) -> None:
    made = [
        served.change("/swath/1/ask", {**BOX, "line": line}).told["request"]
        for line in (0, 64, 128, 192)
    ]
    run, other = carry(served.catalogue), carry(served.catalogue)
    first = next(run)
    assert isinstance(first, Carried)
    assert isinstance(next(other), Carried)  # the second box, of which the first run knows too
    assert served.change(f"/request/{made[2]}/withdraw", {}).status == 200
    boxes = [one.box.line for one in (*run, *other)]
    assert boxes == [192]
    listed = load_requests(first.file).requests
    assert [(r.id, r.line) for r in listed] == [(1, 0), (2, 64), (3, 192)]


def test_a_box_that_is_refused_holds_up_no_other(served: Served) -> None:
    made = [
        served.change("/swath/1/ask", {**BOX, "line": line}).told["request"] for line in (0, 64)
    ]
    db = create(served.catalogue)
    db.execute("UPDATE request SET line = 1000000 WHERE id = ?", (made[0],))
    db.close()
    done = winnow("catalogue", "requests", served.catalogue, "--json")
    assert done.returncode == 3
    (line,) = done.stderr.strip().splitlines()
    assert "not written" in line and "is not within the swath" in line
    (told,) = json.loads(done.stdout)
    assert told["box"] == [64, 128, 64, 256]
    # It waits on, until somebody withdraws it.
    assert winnow("catalogue", "requests", served.catalogue).returncode == 3
    assert served.change(f"/request/{made[0]}/withdraw", {}).status == 200
    assert winnow("catalogue", "requests", served.catalogue).returncode == 0


WRONG = (
    {"line": -1}, {"lines": 0}, {"samples": 0}, {"line": 10**6}, {"sample": "1"}, {"lines": 1.5},
    {"samples": 2**40}, {"line": True}, {"comment": "x" * 501}, {"comment": 7}, {"line": None},
)  # fmt: skip


def test_a_box_that_cannot_be_is_refused(served: Served) -> None:
    for wrong in WRONG:
        answer = served.change("/swath/1/ask", {**BOX, **wrong})
        assert answer.status == 400 and answer.told["error"]
    assert served.change("/swath/77/ask", BOX).status == 400
    done = winnow("catalogue", "requests", served.catalogue)
    assert done.stdout.endswith("0 requests for the next uplink\n")


def test_bodies_that_are_no_json_object_are_refused(served: Served) -> None:
    headers = {"Origin": served.origin, "X-Winnow": "1"}
    for body in (b"", b"[]", b"{", b"\xff", b"[" * 9999, b'{"line": ' + b"9" * 5000 + b"}"):
        assert served.ask("POST", "/swath/1/ask", body, headers).status == 400
    assert served.ask("POST", "/swath/1/ask", b"x" * 20_000, headers).status == 413


def test_a_catalogue_that_cannot_be_written_is_shown_and_says_so(catalogue: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root writes everywhere")
    catalogue.chmod(0o400)
    with serving(catalogue) as server:
        answer = server.change("/swath/1/ask", BOX)
        assert (answer.status, answer.told["error"]) == (409, "the catalogue cannot be written")
        assert b"cannot be written" in server.get("/swath/1").body
        assert server.get("/found").status == 200
    catalogue.chmod(0o600)


def test_while_another_program_writes_pages_are_read(served: Served) -> None:
    db = create(served.catalogue)
    db.execute("BEGIN IMMEDIATE")
    db.execute("UPDATE swath SET name = 'other'")
    for path in ("/found", "/swath/1", "/mission", "/bench"):
        assert served.get(path).status == 200
    db.execute("ROLLBACK")
    db.close()
    assert served.change("/swath/1/ask", BOX).status == 200


def test_the_mission_follows_what_changes(served: Served) -> None:
    first = served.get("/mission/now").told
    assert served.get(f"/mission/now?seen={first['version']}").told["part"] is None
    served.change("/swath/1/ask", BOX)
    later = served.get(f"/mission/now?seen={first['version']}").told
    assert "look &lt;closer&gt;" in later["part"]
    assert "<script>alert" not in later["part"]
