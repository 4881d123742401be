"""`winnow serve` as a browser and a stranger meet it: a real server, real requests."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.ground.serve.serving import HOSTILE, Served
from tests.running import winnow
from winnow_ground.catalogue.add import add_reception
from winnow_ground.catalogue.schema import create
from winnow_ground.receive import receive

Fly = Callable[..., Any]

NONSENSE = [
    ("/found?low=x", 400),
    ("/found?low=nan", 400),
    ("/found?page=-1", 400),
    ("/found?least=1e999", 400),
    ("/found?box=1,2,3", 400),
    ("/found?order=DROP", 400),
    ("/found?text=" + "x" * 5000, 400),
    ("/found?" + "&".join(f"class={n}" for n in range(99)), 400),
    ("/swath/77", 404),
    ("/swath/x", 404),
    ("/swath/" + "9" * 5000, 404),
    ("/swath/99999999999999999999999", 404),
    ("/tile/99999999999999999999999/picture", 404),
    ("/tile/999/picture", 404),
    ("/swath/1/quick-look", 404),
    ("/export/xml", 404),
    ("/static/../app.py", 404),
    ("/static/%2e%2e/app.py", 404),
    ("/../../etc/passwd", 404),
]


def test_counts_pages_and_pictures_are_there(served: Served) -> None:
    found = served.get("/found").told
    assert found["detections"] == sum(found["facets"]["class"].values()) > 0
    craters = served.get("/found?class=crater&low=0.95").told
    assert {one["class_name"] for one in craters["listed"]} == {"crater"}
    assert all(one["posterior"] >= 0.95 for one in craters["listed"])
    pictured = next(one for one in found["listed"] if one["pictured"])
    picture = served.get(f"/tile/{pictured['id']}/picture")
    assert picture.headers["content-type"] == "image/jpeg"
    assert picture.body.startswith(b"\xff\xd8")
    exported = served.get("/export/coco.json?class=crater").told
    assert len(exported["annotations"]) == served.get("/found?class=crater").told["detections"]


def test_names_are_text_on_every_page(served: Served) -> None:
    for path in ("/", f"/?text={quote(HOSTILE)}", "/swath/1", f"/?class={quote(HOSTILE)}"):
        answer = served.get(path, Accept="text/html")
        assert answer.status == 200
        assert b"<script>alert" not in answer.body
        assert b"alert(1)" in answer.body
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        assert b"http://" not in answer.body and b"https://" not in answer.body


def test_what_makes_no_sense_is_refused(served: Served) -> None:
    for path, status in NONSENSE:
        answer = served.get(path)
        assert (path, answer.status) == (path, status)
        assert b"Traceback" not in answer.body


def test_no_other_name_is_answered(served: Served) -> None:
    # A page of another site whose name points here sees nothing (DNS rebinding).
    assert served.get("/found", Host="evil.example").status == 400


def test_a_file_outside_of_its_reception_is_not_shown(served: Served) -> None:
    db = create(served.catalogue)
    db.execute("UPDATE tile SET file = '../mars.db', changed = 2")
    db.close()
    tile = served.get("/found").told["listed"][0]["id"]
    assert served.get(f"/tile/{tile}/picture").status == 404


def test_nothing_but_pictures_leaves_whatever_folder_a_catalogue_names(served: Served) -> None:
    (served.catalogue.parent / "secret").write_text("root:x:0:0")
    name = str(served.catalogue.parent / "secret").lstrip("/")
    tile = served.get("/found").told["listed"][0]["id"]
    db = create(served.catalogue)
    db.execute("UPDATE swath SET folder = '/', picture = ?, quick_look = ?", (name, name))
    db.execute("UPDATE tile SET file = ?", (name,))
    db.close()
    for path in (f"/tile/{tile}/picture", "/swath/1/quick-look", "/swath/1/zoom",
                 "/swath/1/zoom/0/0/0", f"/label/tile/{tile}/around/3"):  # fmt: skip
        answer = served.get(path)
        assert (path, answer.status) == (path, 404)
        assert b"root:x" not in answer.body


def test_a_file_that_is_no_picture_is_not_shown(served: Served) -> None:
    tile = next(one["id"] for one in served.get("/found").told["listed"] if one["pictured"])
    db = create(served.catalogue)
    (file,) = db.execute("SELECT file FROM tile WHERE id = ?", (tile,)).fetchone()
    db.execute("UPDATE swath SET about = '[1]'")
    db.close()
    for data in (b"", b"root:x:0:0", b"GIF89a"):
        (served.catalogue.parent / "in" / file).write_bytes(data)
        assert served.get(f"/tile/{tile}/picture").status == 404
    assert served.get("/mission").status == 200


def test_what_is_added_meanwhile_is_found(served: Served, fly: Fly, tmp_path: Path) -> None:
    before = served.get("/found").told["detections"]
    shutil.rmtree(tmp_path / "store")
    fly(name="second", seed=5).contact(tmp_path / "later.bin", 40_000)
    add_reception(served.catalogue, receive([tmp_path / "later.bin"], tmp_path / "in2"))
    after = served.get("/found").told
    assert after["detections"] > before
    assert after["swaths"] == 2


def test_a_port_that_is_taken_is_one_line(served: Served, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = winnow("serve", served.catalogue, "--port", port)
    assert done.returncode == 3
    assert f"port {port} cannot be taken" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert winnow("serve", tmp_path / "none.db").returncode == 3
