"""The pages for labelling as a browser's requests meet them: a real server, real requests."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.ground.labelling.conftest import Labelled
from tests.ground.serve.serving import HOSTILE, Answer, Served, serving
from tests.ground.serve.test_people import add_person
from winnow_ground.labelling.answers import history
from winnow_ground.labelling.pictures import Pictures, seen
from winnow_ground.labelling.sets import LabelSet

SECRET = "a secret that is long enough"
PEOPLE = {"ann": "label", "bob": "label", "eve": "manage", "lou": "look"}


@pytest.fixture
def served(catalogue: Path) -> Iterator[Served]:
    with serving(catalogue, "--person", "ann") as server:
        yield server


def page(served: Served, address: str, **headers: str) -> dict[str, Any]:
    """What a page of tiles tells its script."""
    answer = served.get(address, Accept="text/html", **headers)
    assert answer.status == 200, answer.body
    found = re.search(rb'id="told">(.*?)</script>', answer.body, re.S)
    assert found
    told: dict[str, Any] = json.loads(found[1])
    return told


def op(one: LabelSet, tile: int, what: str, client: str = "", **more: object) -> dict[str, object]:
    plain = what in ("nothing", "unsure", "later")
    said = {"answer": what if plain else "shows", "class": None if plain else what}
    client = client or f"c-{tile}-{what.replace(' ', '-')}"
    return {"set": one.id, "made": one.at, "tile": tile, "client": client, **said, **more}


def send(served: Served, *ops: object, **headers: str) -> Answer:
    return served.change("/label/answers", {"answers": ops}, **headers)


def test_what_a_browser_sends_is_kept_once(served: Served, labelled: Labelled) -> None:
    one = labelled.set(class_name="crater")
    tile, other = labelled.tiles(2)
    first = op(one, tile, "crater", "1", comment="a rim")
    told = send(served, first, op(one, other, "nothing", "2")).told
    assert (told["kept"], told["refused"]) == (["1", "2"], [])
    assert send(served, first).told["kept"] == ["1"]
    (kept,) = history(labelled.db, tile)
    assert (kept.person, kept.says, kept.comment, kept.told) == ("ann", "crater", "a rim", False)
    send(served, {**first, "client": "3", "withdraws": "1"})
    send(served, {**first, "client": "3", "withdraws": "1"}, first)
    assert [label.withdrawn is None for label in history(labelled.db, tile)] == [False]
    shown = page(served, f"/label/{one.id}")
    assert (shown["answered"], shown["later"], shown["total"]) == (1, 0, one.tiles)


def test_the_nets_answer_is_hidden_until_there_is_one(served: Served, labelled: Labelled) -> None:
    hidden, shown = labelled.set("hidden", hidden=True), labelled.set("shown", hidden=False)
    tile, later = labelled.tiles(2)
    assert all(row["net"] for row in page(served, f"/label/{shown.id}")["tiles"])
    assert {str(row["net"]) for row in page(served, f"/label/{hidden.id}")["tiles"]} == {"None"}
    told = send(served, op(hidden, later, "later")).told
    assert told["net"] == {}
    told = send(served, op(hidden, tile, "nothing")).told
    assert set(told["net"]) == {str(tile)}
    known = [row["id"] for row in page(served, f"/label/{hidden.id}")["tiles"] if row["net"]]
    assert known == [tile]
    # Who answers again has seen what the net says, and that is kept.
    send(served, op(hidden, tile, "crater"))
    assert [label.told for label in history(labelled.db, tile)] == [False, True]


def test_pages_follow_the_persons_order_and_begin_where_one_is_left(
    served: Served, labelled: Labelled
) -> None:
    labelled.db.execute("UPDATE tile SET file = (SELECT file FROM tile WHERE file IS NOT NULL)")
    one = labelled.set(tiles=labelled.tiles(where="1"), page=20)
    told = page(served, f"/label/{one.id}")
    assert (len(told["tiles"]), told["page"], told["pages"]) == (20, 0, 5)
    send(served, *(op(one, row["id"], "nothing") for row in told["tiles"][1:]))
    send(served, op(one, told["tiles"][0]["id"], "later"))
    after = page(served, f"/label/{one.id}")
    assert after["page"] == 1
    assert [r["id"] for r in page(served, f"/label/{one.id}?page=0")["tiles"]] == [
        row["id"] for row in told["tiles"]
    ]
    put_off = page(served, f"/label/{one.id}?only=later")
    assert [row["id"] for row in put_off["tiles"]] == [told["tiles"][0]["id"]]
    assert page(served, f"/label/{one.id}?page=999")["page"] == 4
    assert served.get(f"/label/{one.id}?page=-1").status == 400


def test_a_picture_is_the_one_whose_digest_is_kept(served: Served, labelled: Labelled) -> None:
    one = labelled.set()
    row = page(served, f"/label/{one.id}")["tiles"][0]
    picture = served.get(f"/tile/{row['id']}/picture?sha256={row['sha256']}")
    assert picture.headers["content-type"] == "image/jpeg"
    assert hashlib.sha256(picture.body).hexdigest() == row["sha256"]
    send(served, op(one, row["id"], "nothing", sha256=row["sha256"]))
    assert history(labelled.db, row["id"])[0].sha256 == row["sha256"]


def test_context_is_cut_from_the_swaths_picture(
    served: Served, labelled: Labelled, tmp_path: Path
) -> None:
    (tile,) = labelled.tiles(1)
    line, sample = labelled.db.execute(
        "SELECT line, sample FROM tile WHERE id = ?", (tile,)
    ).fetchone()
    (tmp_path / "archive").mkdir()
    swath = Image.new("L", (512, 768), 40)
    swath.paste(200, (sample, line, sample + 64, line + 64))
    swath.save(tmp_path / "archive" / "strip.png")
    assert served.get(f"/label/tile/{tile}/around/3").status == 404
    labelled.db.execute(
        "UPDATE swath SET folder = ?, picture = 'strip.png'", (str(tmp_path / "archive"),)
    )
    labelled.db.execute("UPDATE tile SET file = NULL")
    bright = {}
    around = f"/label/tile/{tile}/around"
    for wide, address in ((1, f"/tile/{tile}/picture"), (3, f"{around}/3"), (9, f"{around}/9")):
        answer = served.get(address)
        (tmp_path / "seen.jpg").write_bytes(answer.body)
        with Image.open(tmp_path / "seen.jpg") as image:
            bright[wide] = float((np.asarray(image.convert("L")) > 150).mean())
    assert bright == pytest.approx({1: 1.0, 3: 1 / 9, 9: 1 / 81}, abs=0.01)
    assert served.get(f"/label/tile/{tile}/around/5").status == 404
    # Nothing outside of the folder is opened, whatever the catalogue says.
    labelled.db.execute("UPDATE swath SET picture = '../in/../mars.db'")
    for address in (f"/tile/{tile}/picture", f"{around}/3"):
        assert served.get(address).status == 404


def test_nothing_but_pictures_leaves_through_the_pages_for_labelling(
    served: Served, labelled: Labelled, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("root:x:0:0")
    one = labelled.set()
    (tile,) = labelled.tiles(1)
    # As a catalogue of a stranger may say it: the folder is all of the disk.
    labelled.db.execute("UPDATE swath SET folder = '/'")
    name = str(tmp_path / "secret").lstrip("/")
    for file, picture in ((name, None), (None, name), (name, name)):
        labelled.db.execute("UPDATE tile SET file = ?", (file,))
        labelled.db.execute("UPDATE swath SET picture = ?, quick_look = ?", (picture, name))
        for address in (f"/tile/{tile}/picture", f"/label/tile/{tile}/around/3"):
            answer = served.get(address)
            assert (address, answer.status) == (address, 404)
            assert b"root:x" not in answer.body
        assert {row["sha256"] for row in page(served, f"/label/{one.id}")["tiles"]} == {""}
    assert served.get(f"/label/tile/{tile}/picture").status == 404


PLACES = [
    {"lines": 0}, {"samples": 0}, {"lines": -5}, {"line": 2**62}, {"sample": -(2**62)},
    {"lines": 2**62}, {"lines": 1, "samples": 70_000}, {"line": 2**63 - 1},
]  # fmt: skip


def test_a_tile_that_can_lie_in_no_swath_has_no_picture(
    served: Served, labelled: Labelled, tmp_path: Path
) -> None:
    Image.new("L", (512, 768), 40).save(tmp_path / "strip.png")
    (tile,) = labelled.tiles(1)
    labelled.db.execute("UPDATE swath SET folder = ?", (str(tmp_path),))
    whole = {"line": 0, "sample": 0, "lines": 64, "samples": 64}
    for column in ("picture", "quick_look"):
        labelled.db.execute("UPDATE swath SET picture = NULL, quick_look = NULL")
        labelled.db.execute(f"UPDATE swath SET {column} = 'strip.png'")
        for place in PLACES:
            told = (*{**whole, **place}.values(), tile)
            labelled.db.execute(
                "UPDATE tile SET file = NULL, line = ?, sample = ?, lines = ?, samples = ?"
                " WHERE id = ?",
                told,
            )
            assert (place, served.get(f"/tile/{tile}/picture").status) == (place, 404)
            assert served.get(f"/label/tile/{tile}/around/9").status == 404


@pytest.mark.parametrize("mode", ["L", "RGB", "I;16"])
def test_a_swath_that_takes_too_much_memory_is_not_decoded(
    labelled: Labelled, tmp_path: Path, mode: str
) -> None:
    Image.new(mode, (512, 768), 40).save(tmp_path / "strip.png")
    labelled.db.execute("UPDATE swath SET folder = ?, picture = 'strip.png'", (str(tmp_path),))
    labelled.db.execute("UPDATE tile SET file = NULL")
    (tile,) = labelled.tiles(1)
    one = seen(labelled.db, [tile])[tile]
    assert Pictures().tile(one) and Pictures().around(one, 3)
    small = Pictures(most_decoded=512 * 768)
    assert (small.tile(one), small.around(one, 3)) == (None, None)


BAD_ANSWERS = [
    ({"tile": 10**9}, "no tile"),
    ({"tile": "1"}, "tile: a whole number"),
    ({"tile": 2**70}, "tile: a whole number"),
    ({"answer": "perhaps", "class": None}, "no answer"),
    ({"class": "dragon"}, "no class"),
    ({"class": ["crater"]}, "class: no text"),
    ({"client": ""}, "no name of its own"),
    ({"client": "a b"}, "own name"),
    ({"comment": "\ud800"}, "comment: no text"),
    ({"comment": "x" * 5000}, "too long"),
    ({"sha256": "../../etc/passwd"}, "digest"),
    ({"set": 99}, "not in this catalogue"),
    ({"made": "2020-01-01T00:00:00.000Z"}, "not in this catalogue"),
]


def test_one_answer_that_makes_no_sense_is_refused_and_the_others_are_kept(
    served: Served, labelled: Labelled
) -> None:
    one = labelled.set()
    tile, other = labelled.tiles(2)
    bad = [{**op(one, tile, "crater", "1"), **change} for change, _ in BAD_ANSWERS]
    told = send(served, *bad, op(one, other, "nothing", "2")).told
    assert told["kept"] == ["2"]
    for refused, (change, words) in zip(told["refused"], BAD_ANSWERS, strict=True):
        assert words in refused["error"], change
    assert history(labelled.db, tile) == []


def test_what_makes_no_sense_is_refused_whole(served: Served) -> None:
    for body in ({}, {"answers": 1}, {"answers": [{}] * 501}):
        assert served.change("/label/answers", body).status == 400
    assert served.change("/label/answers", {"answers": [None, 3, []]}).told["kept"] == []
    for path in ("/label/99", "/label/x", "/label/99/decide", "/label/tile/9/x"):
        answer = served.get(path, Accept="text/html")
        assert answer.status == 404 and b"Traceback" not in answer.body


def test_names_are_text_on_every_page(served: Served, labelled: Labelled) -> None:
    labelled.db.execute("UPDATE class SET name = ? WHERE name = 'crater'", (HOSTILE,))
    one = labelled.set("<script>alert(1)<", class_name=HOSTILE)
    for tile in labelled.tiles(2):
        labelled.says("<script>alert(1)", tile, HOSTILE, comment="</script><script>alert(1)")
        labelled.says("ann", tile, "nothing", comment="</script><script>alert(1)")
    for path in ("/label", f"/label/{one.id}", f"/label/{one.id}/decide", "/label/new"):
        answer = served.get(path, Accept="text/html")
        assert answer.status == 200
        assert b"<script>alert" not in answer.body


def test_a_search_becomes_a_set(served: Served, labelled: Labelled) -> None:
    assert b'value="crater"' in served.get("/label/new?class=crater", Accept="text/html").body
    asked = {"name": "mine", "most": 3, "page": 20, "class": "crater", "hidden": True}
    made = served.change("/label/new?class=crater&low=0.5", asked)
    told = page(served, f"/label/{made.told['set']}")
    best = served.get("/found?class=crater&low=0.5").told["listed"]
    assert {row["id"] for row in told["tiles"]} == {row["id"] for row in best[:3]}
    assert (told["suspected"], told["hidden"]) == ("crater", True)
    again = served.change("/label/new?class=crater", asked)
    assert (again.status, "already" in again.told["error"]) == (400, True)
    for change in ({"page": 5}, {"most": 0}, {"name": "a/b"}, {"class": "dragon"}, {"page": "x"}):
        assert (
            served.change("/label/new?class=crater", {**asked, "name": "b", **change}).status == 400
        )


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A password file."""
    file = tmp_path_factory.mktemp("people") / "people.json"
    for name, role in PEOPLE.items():
        add_person(file, name, role, SECRET)
    return file


def test_people_who_log_in_label_at_once_and_decide_by_their_roles(
    labelled: Labelled, people: Path
) -> None:
    with serving(labelled.path, "--passwords", people) as served:
        cookies = {name: served.session(name, SECRET) for name in PEOPLE}
        two_people_on_one_tile_both_keep_their_answers(served, labelled, cookies)
        roles_say_who_labels_and_who_decides(served, labelled, cookies)


def two_people_on_one_tile_both_keep_their_answers(
    served: Served, labelled: Labelled, cookies: dict[str, dict[str, str]]
) -> None:
    one, tiles = labelled.set("both"), labelled.tiles()
    said = {"ann": "crater", "bob": "nothing"}
    done: list[int] = []

    def label(name: str) -> None:
        ops = (op(one, tile, said[name], f"1-{tile}") for tile in tiles)
        done.extend(send(served, each, **cookies[name]).status for each in ops)

    threads = [threading.Thread(target=label, args=[name]) for name in said]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done == [200] * 2 * len(tiles)
    for tile in tiles:
        assert {(one.person, one.says) for one in history(labelled.db, tile)} == set(said.items())


def roles_say_who_labels_and_who_decides(
    served: Served, labelled: Labelled, cookies: dict[str, dict[str, str]]
) -> None:
    (tile,) = labelled.tiles(1)
    one = labelled.set("few", [tile])
    lou, ann, eve = (cookies[name] for name in ("lou", "ann", "eve"))
    decision = {"tile": tile, "answer": "crater", "comment": "a rim"}
    assert served.get("/label", **lou).status == 200
    assert served.get(f"/label/{one.id}", **lou).status == 403
    assert send(served, op(one, tile, "crater"), **lou).status == 403
    assert served.get(f"/label/{one.id}", **ann).status == 200
    assert served.get(f"/label/{one.id}/decide", **ann).status == 403
    assert served.change("/label/decisions", decision, **ann).status == 403
    shown = served.get(f"/label/{one.id}/decide", **eve).body
    assert b"1 tile open" in shown and b"<strong>bob</strong>: nothing" in shown
    assert served.change("/label/decisions", decision, **eve).status == 200
    shown = served.get(f"/label/{one.id}/decide", **eve).body
    assert b"Decided by eve: <strong>crater</strong>" in shown
    assert served.change("/label/decisions", {"tile": tile, "answer": ""}, **eve).status == 200
    assert b"1 tile open" in served.get(f"/label/{one.id}/decide", **eve).body
    for bad in ({"answer": "later"}, {"answer": "dragon"}, {"tile": 10**9}, {"tile": None}):
        assert served.change("/label/decisions", {**decision, **bad}, **eve).status == 400
