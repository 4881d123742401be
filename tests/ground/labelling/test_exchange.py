"""Labels leave and come back whole, in every form; a file with one bad label brings nothing."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.ground.labelling.conftest import Labelled
from tests.running import Done, winnow
from winnow_ground.labelling.answers import history, withdraw

FORMS = ("labels.csv", "labels.coco.json", "labels.json")
Said = set[tuple[int, str, str]]


def in_one_line(done: Done, *words: str) -> None:
    assert done.returncode == 3, done.stdout
    assert len(done.stderr.strip().splitlines()) == 1
    for word in words:
        assert word in done.stderr


def said(labelled: Labelled) -> Said:
    rows = labelled.db.execute(
        "SELECT tile, person, coalesce(name, answer), comment, at, sha256 FROM label"
        " LEFT JOIN class ON class.id = label.class WHERE withdrawn IS NULL"
    )
    return set(rows)


def export(labelled: Labelled, out: Path, *more: object) -> dict[str, Any]:
    done = winnow("label", "export", labelled.path, "--out", out, "--json", *more)
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def bring(labelled: Labelled, source: Path, *more: object) -> dict[str, Any]:
    done = winnow("label", "import", labelled.path, source, "--json", *more)
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


@pytest.fixture
def spoken(labelled: Labelled) -> Labelled:
    """Two people have said something of some tiles."""
    for tile, what in zip(labelled.tiles(), ("crater", "nothing", "unsure", "later"), strict=False):
        labelled.says("ann", tile, what, comment="=1+1, <b>", sha256="ab" * 32)
        labelled.says("böb\n", tile, "dark dune")
    return labelled


@pytest.mark.parametrize("name", FORMS)
def test_labels_come_back_as_they_left(name: str, spoken: Labelled, tmp_path: Path) -> None:
    before = said(spoken)
    assert export(spoken, tmp_path / name)["labels"] == len(before) == 8
    assert bring(spoken, tmp_path / name) == {
        "added": 0,
        "known": 8,
        "skipped": 0,
        "replaced": 0,
        "classes": [],
    }
    assert said(spoken) == before
    spoken.db.execute("DELETE FROM label")
    assert bring(spoken, tmp_path / name)["added"] == 8
    assert bring(spoken, tmp_path / name)["known"] == 8
    assert said(spoken) == before


def test_withdrawn_answers_come_back_unless_a_later_one_counts(
    labelled: Labelled, tmp_path: Path
) -> None:
    one, other = labelled.tiles(2)
    for tile in (one, other):
        labelled.says("ann", tile, "crater", client=f"a-{tile}", told=False)
    export(labelled, tmp_path / "labels.csv")
    labelled.change(lambda db: withdraw(db, "ann", one, f"a-{one}"))
    labelled.says("ann", other, "nothing")
    told = bring(labelled, tmp_path / "labels.csv")
    assert (told["added"], told["known"]) == (1, 1)
    assert {row[:3] for row in said(labelled)} == {
        (one, "ann", "crater"),
        (other, "ann", "nothing"),
    }
    assert [kept.withdrawn is None for kept in history(labelled.db, one)] == [False, True]
    assert not history(labelled.db, one)[-1].told
    # Once more: taken back after it came back.
    (client,) = (kept.client for kept in history(labelled.db, one) if kept.withdrawn is None)
    labelled.change(lambda db: withdraw(db, "ann", one, client))
    assert bring(labelled, tmp_path / "labels.csv")["added"] == 1
    assert bring(labelled, tmp_path / "labels.csv")["added"] == 0


def test_two_answers_of_a_person_for_a_tile_in_one_file_are_told(
    labelled: Labelled, tmp_path: Path
) -> None:
    source = tmp_path / "labels.csv"
    source.write_text("swath,tile,class,person\nESP_1,5,crater,ann\nESP_1,5,dark dune,ann\n")
    shown = winnow("label", "import", labelled.path, source).stdout
    assert "2 labels added" in shown and "1 no longer counted" in shown
    again = bring(labelled, source)
    assert (again["added"], again["known"], again["replaced"]) == (0, 2, 0)
    assert [row[2] for row in said(labelled)] == ["dark dune"]


def test_a_set_leaves_alone(spoken: Labelled, tmp_path: Path) -> None:
    spoken.set("few", spoken.tiles(2))
    assert export(spoken, tmp_path / "few.csv", "--set", "few")["labels"] == 4
    rows = list(csv.DictReader((tmp_path / "few.csv").read_text().splitlines()))
    assert {row["comment"] for row in rows} == {"'=1+1, <b>", ""}
    in_one_line(winnow("label", "export", spoken.path, "--out", tmp_path / "x.csv", "--set", "no"),
                "no set is called 'no'", "known: few")  # fmt: skip


def test_pictures_leave_in_folders_and_may_be_moved_between_them(
    labelled: Labelled, tmp_path: Path
) -> None:
    first, second, third, disputed = labelled.tiles(4)
    for tile, what in ((first, "crater"), (second, "crater"), (third, "nothing")):
        labelled.says("ann", tile, what, comment="seen twice")
    for person, what in (("ann", "crater"), ("bob", "nothing")):
        labelled.says(person, disputed, what)
    out = tmp_path / "pictures"
    assert export(labelled, out) == {"out": str(out), "labels": 3, "absent": 0}
    assert sorted((p.parent.name) for p in out.rglob("*.jpg")) == ["crater", "crater", "nothing"]
    (one,) = (p for p in out.rglob("*.jpg") if p.name.endswith(f"_{number(labelled, first)}.jpg"))
    (out / "dark dune").mkdir()
    one.rename(out / "dark dune" / one.name)
    assert bring(labelled, out, "--person", "eve")["added"] == 3
    found = {(tile, says) for tile, person, says, *_ in said(labelled) if person == "eve"}
    assert found == {(first, "dark dune"), (second, "crater"), (third, "nothing")}
    digests = {row[5] for row in said(labelled) if row[1] == "eve"}
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in digests) and len(digests) == 3
    # What the same person says already stays as it is.
    before = {row for row in said(labelled) if row[1] == "ann" and row[0] in (second, third)}
    told = bring(labelled, out, "--person", "ann")
    assert (told["added"], told["known"]) == (1, 2)
    assert before <= said(labelled)
    in_one_line(winnow("label", "import", labelled.path, out), "nobody", "--person")
    in_one_line(winnow("label", "export", labelled.path, "--out", out), "is there already")


def number(labelled: Labelled, tile: int) -> int:
    (found,) = labelled.db.execute("SELECT number FROM tile WHERE id = ?", (tile,)).fetchone()
    return int(found)


def test_a_class_of_any_name_is_one_folder_below(labelled: Labelled, tmp_path: Path) -> None:
    (tile,) = labelled.tiles(1)
    labelled.db.execute("UPDATE class SET name = '../<b>x' WHERE name = 'crater'")
    labelled.says("ann", tile, "../<b>x")
    out = tmp_path / "deep" / "pictures"
    export(labelled, out)
    (picture,) = tmp_path.joinpath("deep").rglob("*.jpg")
    assert picture.parent.parent == out
    assert bring(labelled, out, "--person", "bob")["added"] == 1
    assert {row[2] for row in said(labelled)} == {"../<b>x"}


def test_boxes_from_elsewhere_find_the_tile_they_cover(labelled: Labelled, tmp_path: Path) -> None:
    (tile,) = labelled.tiles(1)
    line, sample = labelled.db.execute(
        "SELECT line, sample FROM tile WHERE id = ?", (tile,)
    ).fetchone()
    image = {"id": 7, "file_name": "ESP_1", "width": 512, "height": 768}
    box = {"id": 1, "image_id": 7, "category_id": 2, "bbox": [sample + 2.5, line, 60, 64]}
    told = {"images": [image], "categories": [{"id": 2, "name": "crater"}], "annotations": [box]}
    (tmp_path / "a.coco.json").write_text(json.dumps(told))
    bring(labelled, tmp_path / "a.coco.json", "--person", "ann")
    task = {
        "data": {"swath": "ESP_1"},
        "annotations": [
            {"was_cancelled": True, "result": [{"value": {}}]},
            {"completed_by": 4, "result": [{
                "type": "rectanglelabels", "original_width": 512, "original_height": 768,
                "value": {"x": sample / 5.12, "y": line / 7.68, "width": 12.5, "height": 100 / 12,
                          "rectanglelabels": ["dark dune"]}}]},
        ],
    }  # fmt: skip
    (tmp_path / "b.json").write_text(json.dumps([task]))
    bring(labelled, tmp_path / "b.json")
    assert {row[:3] for row in said(labelled)} == {
        (tile, "ann", "crater"),
        (tile, "label-studio-4", "dark dune"),
    }


def test_a_tile_and_a_box_that_do_not_agree_are_refused(spoken: Labelled, tmp_path: Path) -> None:
    source = tmp_path / "labels.csv"
    export(spoken, source)
    rows = list(csv.DictReader(source.read_text().splitlines()))
    near, far = int(rows[0]["sample"]) + 8, 448 - int(rows[0]["sample"])
    spoken.db.execute("DELETE FROM label")
    for sample, fits in ((near, True), (far, False)):
        with source.open("w", newline="") as file:
            table = csv.DictWriter(file, rows[0])
            table.writeheader()
            table.writerow({**rows[0], "sample": sample})
        if fits:
            assert bring(spoken, source)["added"] == 1
        else:
            done = winnow("label", "import", spoken.path, source)
            in_one_line(done, ":2:", f"no tile {rows[0]['tile']} at", "is in swath 'ESP_1'")


def test_half_a_character_is_one_line_of_a_new_class_too(
    labelled: Labelled, tmp_path: Path
) -> None:
    source = tmp_path / "labels.coco.json"
    source.write_text(coco(lambda t: t["categories"][0].update(name="\ud800x")))
    done = winnow("label", "import", labelled.path, source, "--person", "ann", "--new-classes")
    in_one_line(done, "no name of a class")


def test_new_classes_come_in_when_that_is_said(labelled: Labelled, tmp_path: Path) -> None:
    source = tmp_path / "labels.csv"
    source.write_text("swath,tile,class,person\nESP_1,5,yardang,ann\nESP_1,6,crater,ann\n")
    in_one_line(
        winnow("label", "import", labelled.path, source), ":2:", "'yardang'", "--new-classes"
    )
    assert said(labelled) == set()
    assert bring(labelled, source, "--skip") == {
        "added": 1,
        "known": 0,
        "skipped": 1,
        "replaced": 0,
        "classes": [],
    }
    assert bring(labelled, source, "--new-classes")["classes"] == ["yardang"]
    for name in ("../x", ".x", "a\\b", "x" * 101, " x"):
        source.write_text(f'swath,tile,class,person\nESP_1,5,"{name}",ann\n')
        in_one_line(winnow("label", "import", labelled.path, source, "--new-classes"), "no name of")


BAD_TABLES = {
    "empty": ("", ("no columns",)),
    "no columns": ("a,b\n1,2\n", ("no columns", ":1:")),
    "no swath": ("swath,tile,class,person\n,1,crater,ann\n", ("names no swath", ":2:")),
    "unknown swath": ("swath,tile,class,person\n<b>\\n,1,crater,ann\n", ("no swath '<b>",)),
    "unknown tile": ("swath,tile,class,person\nESP_1,5000,crater,ann\n", ("no tile 5000",)),
    "no tile": ("swath,class,person\nESP_1,crater,ann\n", ("names no tile",)),
    "huge": (f"swath,tile,class,person\nESP_1,{10**30},crater,ann\n", ("no whole number",)),
    "word": ("swath,tile,class,person\nESP_1,five,crater,ann\n", ("'five'", ":2:")),
    "answer": ("swath,tile,answer,person\nESP_1,5,perhaps,ann\n", ("'perhaps' is no answer",)),
    "time": ("swath,tile,class,person,at\nESP_1,5,crater,ann,soon\n", ("'soon'",)),
    "first day": (
        "swath,tile,class,person,at\nESP_1,5,crater,ann,0001-01-01T00:00:00+14:00\n",
        ("no time in UTC",),
    ),
    "told": ("swath,tile,class,person,told\nESP_1,5,crater,ann,no\n", ("`told` is 0 or 1",)),
    "digest": ("swath,tile,class,person,sha256\nESP_1,5,crater,ann,xyz\n", ("digest",)),
    "outside": ("swath,line,sample,lines,samples,class,person\nESP_1,0,500,64,64,crater,ann\n",
                ("outside of the picture",)),
    "cut": ('swath,tile,class,person\nESP_1,5,"crat', ("cut short",)),
    "short": ("swath,tile,class,person\nESP_1,5\n", ("fewer fields",)),
    "second": ("swath,tile,class,person\nESP_1,5,crater,ann\nESP_1,5000,crater,ann\n", (":3:",)),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_TABLES)
def test_a_table_that_makes_no_sense_brings_nothing(
    name: str, labelled: Labelled, tmp_path: Path
) -> None:
    text, words = BAD_TABLES[name]
    source = tmp_path / "labels.csv"
    source.write_text(text)
    in_one_line(winnow("label", "import", labelled.path, source), str(source), *words)
    assert said(labelled) == set()


def coco(change: Callable[[dict[str, Any]], object]) -> str:
    told: dict[str, Any] = {
        "images": [{"id": 1, "file_name": "ESP_1", "width": 512, "height": 768}],
        "categories": [{"id": 1, "name": "crater"}],
        "annotations": [{"image_id": 1, "category_id": 1, "bbox": [0, 0, 64, 64]}],
    }
    change(told)
    return json.dumps(told)


BAD_COCO = {
    "cut": (coco(lambda told: told)[:-9], ("is no JSON", "cut short")),
    "list": ("[]", ("no COCO",)),
    "deep": ("[" * 100_000, ("",)),
    "outside": (coco(lambda t: t["annotations"][0].update(bbox=[500, 0, 64, 64])), ("outside",)),
    "negative": (coco(lambda t: t["annotations"][0].update(bbox=[-1, 0, 64, 64])), ("outside",)),
    "empty": (coco(lambda t: t["annotations"][0].update(bbox=[0, 0, 0, 64])), ("outside",)),
    "infinite": (coco(lambda t: t["annotations"][0].update(bbox=[0, 0, 1e999, 64])), ("finite",)),
    "three": (coco(lambda t: t["annotations"][0].update(bbox=[0, 0, 64])), ("annotation 1",)),
    "image": (coco(lambda t: t["annotations"][0].update(image_id=9)), ("unknown 9",)),
    "category": (coco(lambda t: t["annotations"][0].update(category_id=9)), ("unknown 9",)),
    "name": (coco(lambda t: t["categories"][0].update(name=5)), ("wrongly",)),
    "unknown": (coco(lambda t: t["categories"][0].update(name="<b>\n../x")), ("no class",)),
    "store": (coco(lambda t: t["images"][0].update(store=[1], number=[])), ("no whole number",)),
    "swath": (coco(lambda t: t["images"][0].update(file_name="../x\n")), ("no swath '../x",)),
    "half class": (coco(lambda t: t["categories"][0].update(name="\ud800")), ("no class",)),
    "half bundle": (coco(lambda t: t["images"][0].update(bundle="\ud800")), ("half a character",)),
    "free": (coco(lambda t: t["annotations"][0].update(bbox=[30, 30, 9, 9])), ("no tile at",)),
}


@pytest.mark.parametrize("name", BAD_COCO)
def test_coco_that_makes_no_sense_brings_nothing(
    name: str, labelled: Labelled, tmp_path: Path
) -> None:
    text, words = BAD_COCO[name]
    source = tmp_path / "labels.coco.json"
    source.write_text(text)
    done = winnow("label", "import", labelled.path, source, "--person", "ann")
    in_one_line(done, str(source), *words)
    assert said(labelled) == set()


BAD_TASKS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "object": ({}, ("no list",)),
    "no data": ([{"annotations": []}], ("lacks data", "task 1")),
    "no swath": ([{"data": {}, "annotations": [{"result": [{"value": {"choices": ["crater"]}}]}]}],
                 ("lacks swath",)),
    "number": ([{"data": {"swath": "ESP_1", "tile": "x"},
                 "annotations": [{"result": [{"value": {"choices": ["crater"]}}]}]}],
               ("no whole number",)),
    "text": ([3], ("task 1",)),
    "percent": ([{"data": {"swath": "ESP_1"}, "annotations": [{"result": [{
        "type": "rectanglelabels", "original_width": 512, "original_height": 768, "value": {
            "x": 90, "y": 0, "width": 20, "height": 5, "rectanglelabels": ["crater"]}}]}]}],
        ("outside of its picture",)),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_TASKS)
def test_tasks_that_make_no_sense_bring_nothing(
    name: str, labelled: Labelled, tmp_path: Path
) -> None:
    told, words = BAD_TASKS[name]
    source = tmp_path / "labels.json"
    source.write_text(json.dumps(told))
    done = winnow("label", "import", labelled.path, source, "--person", "ann")
    in_one_line(done, str(source), *words)
    assert said(labelled) == set()


def test_folders_that_make_no_sense_bring_nothing(labelled: Labelled, tmp_path: Path) -> None:
    source = tmp_path / "pictures"
    in_one_line(winnow("label", "import", labelled.path, source), "is no folder")
    source.mkdir()
    in_one_line(winnow("label", "import", labelled.path, source), "no folder of a class")
    (source / "crater").mkdir()
    labelled.says("ann", labelled.tiles(1)[0], "crater")
    export(labelled, tmp_path / "good")
    (picture,) = (tmp_path / "good").rglob("*.jpg")
    (source / "crater" / picture.name).write_bytes(b"")
    in_one_line(winnow("label", "import", labelled.path, source), "no JPEG or PNG", "cut short")
    (source / "crater" / picture.name).write_bytes(picture.read_bytes())
    (source / "crater" / "mine.jpg").write_bytes(picture.read_bytes())
    done = winnow("label", "import", labelled.path, source, "--person", "bob")
    in_one_line(done, "mine.jpg", "was exported from")
    assert {row[1] for row in said(labelled)} == {"ann"}


def test_files_that_cannot_be_read_or_written_are_one_line(
    spoken: Labelled, tmp_path: Path
) -> None:
    in_one_line(winnow("label", "import", spoken.path, tmp_path / "none.csv"), "No such file")
    (tmp_path / "latin.csv").write_bytes(b"swath,class\n\xff,x\n")
    in_one_line(winnow("label", "import", spoken.path, tmp_path / "latin.csv"), "no text in UTF-8")
    out = tmp_path / "no" / "file"
    (tmp_path / "no").write_text("")
    done = winnow("label", "export", spoken.path, "--out", out, "--form", "csv")
    assert done.returncode != 0 and len(done.stderr.strip().splitlines()) == 1
    assert winnow("label", "export", spoken.path, "--out", "x", "--form", "xml").returncode == 2
