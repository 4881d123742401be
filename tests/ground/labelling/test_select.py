"""What is chosen is what was asked for; an audit draws what the board draws."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.ground.conftest import MISSION
from tests.ground.labelling.conftest import Labelled
from tests.running import winnow
from winnow_edge.products.audit import drawn
from winnow_ground.audit import interval
from winnow_ground.labelling.sets import find_set


def select(labelled: Labelled, name: str, *more: object) -> dict[str, Any]:
    done = winnow("select", labelled.path, "--to", name, "--json", *more)
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def scores(labelled: Labelled, name: str) -> dict[int, float]:
    rows = labelled.db.execute(
        "SELECT tile, score FROM label_set_tile JOIN label_set ON label_set.id = label_set"
        " WHERE name = ?",
        (name,),
    )
    return dict(rows.fetchall())


def add_swath(
    labelled: Labelled, name: str, bundle: str = "other net", sha256: str | None = None
) -> int:
    """A second swath of no tiles, in the folder of the first."""
    db = labelled.db
    db.execute("INSERT INTO bundle (name) VALUES (?) ON CONFLICT DO NOTHING", (bundle,))
    cursor = db.execute(
        "INSERT INTO swath (name, bundle, sha256, folder) SELECT ?, (SELECT id FROM bundle WHERE"
        " name = ?), ?, folder FROM swath WHERE id = 1",
        (name, bundle, sha256 or f"digest of {name}"),
    )
    return int(cursor.lastrowid or 0)


def copy_tile(labelled: Labelled, tile: int, swath: int, **changed: object) -> int:
    """The tile in another swath, some of its columns changed."""
    cursor = labelled.db.execute("SELECT * FROM tile WHERE id = ?", (tile,))
    row = dict(zip((c[0] for c in cursor.description), cursor.fetchone(), strict=True))
    row |= {"id": None, "swath": swath, "number": 1000 + tile, **changed}
    marks = ", ".join(f":{key}" for key in row)
    return int(labelled.db.execute(f"INSERT INTO tile VALUES ({marks})", row).lastrowid or 0)


def test_the_unsure_are_those_of_the_smallest_margin(labelled: Labelled) -> None:
    told = select(labelled, "unsure", "--most", 5)
    found = scores(labelled, "unsure")
    rows = labelled.db.execute(
        "SELECT id, posterior FROM tile WHERE file IS NOT NULL AND class IS NOT NULL"
        " ORDER BY posterior LIMIT 5"
    ).fetchall()
    assert found == pytest.approx({tile: 2 * p - 1 for tile, p in rows})
    # All others without a picture that are less sure are counted.
    less = labelled.db.execute(
        "SELECT count(*) FROM tile WHERE file IS NULL AND class IS NOT NULL AND posterior < ?",
        (rows[-1][1],),
    ).fetchone()
    assert told["absent"] == less[0]
    one = find_set(labelled.db, "unsure")
    assert (one.hidden, one.page, one.class_name) == (True, 60, None)


def test_labelled_tiles_are_left_out_unless_asked_for(labelled: Labelled) -> None:
    tiles = labelled.tiles()
    for tile in tiles[1:]:
        labelled.says("ann", tile, "nothing")
    assert select(labelled, "left", "--page", 20, "--shown")["tiles"] == 1
    assert set(scores(labelled, "left")) == {tiles[0]}
    assert select(labelled, "all", "--labelled")["tiles"] == len(tiles)
    labelled.says("ann", tiles[0], "later")
    done = winnow("select", labelled.path, "--to", "none")
    assert done.returncode == 3 and "no tile is left" in done.stderr


def test_two_nets_that_differ_over_one_place_are_disputed(labelled: Labelled) -> None:
    crater = labelled.tiles(
        1, "detection = 1 AND class = (SELECT id FROM class WHERE name = 'crater')"
    )
    dune = labelled.tiles(
        1, "detection = 1 AND class = (SELECT id FROM class WHERE name = 'dark dune')"
    )
    (one,), (other,) = crater, dune
    swath = add_swath(labelled, "ESP_1")
    (kind,) = labelled.db.execute("SELECT class FROM tile WHERE id = ?", (other,)).fetchone()
    against = copy_tile(labelled, one, swath, **{"class": kind, "posterior": 0.7})
    # The same answer, and another of a net that lies elsewhere, are no dispute.
    copy_tile(labelled, other, swath)
    copy_tile(labelled, other, add_swath(labelled, "ESP_2", "third"), **{"class": 1})
    select(labelled, "disputed", "--way", "disputed")
    assert scores(labelled, "disputed") == pytest.approx({one: 0.7, against: 0.7})
    select(labelled, "of-craters", "--way", "disputed", "--class", "crater")
    assert set(scores(labelled, "of-craters")) == {one, against}


def test_pictures_of_one_name_are_compared_unless_their_digests_differ(labelled: Labelled) -> None:
    tile, kind = labelled.db.execute(
        "SELECT id, class FROM tile WHERE detection = 1 ORDER BY id"
    ).fetchone()
    (other,) = labelled.db.execute("SELECT id FROM class WHERE id <> ?", (kind,)).fetchone()
    labelled.db.execute("UPDATE swath SET name = 'mine', sha256 = 'a'")
    labelled.db.execute("DELETE FROM tile WHERE id <> ?", (tile,))
    copy_tile(labelled, tile, add_swath(labelled, "mine", sha256="b"), **{"class": other})
    done = winnow("select", labelled.path, "--to", "x", "--way", "disputed")
    assert done.returncode == 3 and "no tile is left" in done.stderr
    labelled.db.execute("UPDATE swath SET name = 'yours', sha256 = 'a' WHERE sha256 = 'b'")
    assert select(labelled, "same", "--way", "disputed")["tiles"] == 2


def test_views_of_one_swath_that_differ_are_disputed(labelled: Labelled) -> None:
    (tile,) = labelled.tiles(1)
    line, sample, kind = labelled.db.execute(
        "SELECT line, sample, class FROM tile WHERE id = ?", (tile,)
    ).fetchone()
    (other,) = labelled.db.execute("SELECT id FROM class WHERE id <> ?", (kind,)).fetchone()
    # A tile of a coarser scale that covers this one and shows something else.
    large = copy_tile(labelled, tile, 1, line=line - 32, sample=sample - 32, lines=128,
                      samples=128, scale=2, detection=0, posterior=0.6,
                      **{"class": other})  # fmt: skip
    # One that overlaps a quarter, one that says the same, and one that was merged.
    copy_tile(labelled, tile, 1, number=5001, line=line + 32, sample=sample + 32,
              **{"class": other})  # fmt: skip
    copy_tile(labelled, tile, 1, number=5003, **{"class": kind, "detection": 0})
    copy_tile(labelled, tile, 1, number=5002, **{"class": kind})
    select(labelled, "disputed", "--way", "disputed")
    found = scores(labelled, "disputed")
    assert found[large] == found[tile] == pytest.approx(0.6)


def test_the_novel_one_is_the_one_unlike_all_others(labelled: Labelled) -> None:
    from PIL import Image

    tiles = labelled.tiles()
    folder, file = labelled.db.execute(
        "SELECT folder, file FROM tile JOIN swath ON swath.id = swath WHERE tile.id = ?",
        (tiles[5],),
    ).fetchone()
    Image.new("L", (64, 64), 250).save(Path(folder) / file, "JPEG")
    # All came down as images of noise; this one is plain.
    labelled.says("ann", tiles[0], "nothing")
    told = select(labelled, "novel", "--way", "novel", "--most", 3)
    found = scores(labelled, "novel")
    assert max(found, key=lambda tile: found[tile]) == tiles[5]
    assert (told["by"], told["labelled"], told["compared"]) == ("sketch", 1, len(tiles) - 1)
    assert min(found.values()) > 0
    assert select(labelled, "novel-2", "--way", "novel", "--labelled")["tiles"] == len(tiles)


def test_an_audit_draws_what_the_board_draws(labelled: Labelled, tmp_path: Path) -> None:
    mission = tmp_path / "audit.toml"
    mission.write_text(f"{MISSION}[audit]\nshare = 0.25\nseed = 9\n")
    told = select(labelled, "audit", "--way", "audit", "--mission", mission)
    numbers = np.flatnonzero(drawn(9, "ESP_1", 0, 96, 0.25)).tolist()
    rows = dict(labelled.db.execute("SELECT number, id FROM tile WHERE file IS NOT NULL"))
    assert set(scores(labelled, "audit")) == {rows[n] for n in numbers if n in rows}
    assert told["drawn"] == len(numbers) == told["tiles"] + told["absent"]
    # Without a share, those count that the run itself has drawn.
    labelled.db.execute("UPDATE tile SET drawn = 1 WHERE number < 2 AND file IS NOT NULL")
    labelled.db.execute("UPDATE tile SET drawn = 1, file = NULL WHERE number = 2")
    labelled.db.execute(
        "UPDATE swath SET about = json_set(about, '$.audit', json('{\"tiles\": 9}'))"
    )
    of_run = select(labelled, "of-the-run", "--way", "audit")
    assert (of_run["drawn"], of_run["absent"]) == (9, 9 - of_run["tiles"])
    assert select(labelled, "by-hand", "--way", "audit", "--seed", 9, "--share", 0.25) == {
        **told,
        "set": "by-hand",
    }


def test_an_audit_estimates_recall_and_precision(labelled: Labelled) -> None:
    # Every tile has a picture, so that the draw is whole.
    labelled.db.execute("UPDATE tile SET file = (SELECT file FROM tile WHERE file IS NOT NULL)")
    told = select(labelled, "audit", "--way", "audit", "--share", 1.0)
    assert (told["tiles"], told["absent"]) == (96, 0)
    tiles = labelled.db.execute(
        "SELECT tile.id, detection, name FROM tile LEFT JOIN class ON class.id = class ORDER BY 1"
    ).fetchall()
    craters = [tile for tile, found, name in tiles if found and name == "crater"]
    missed = [tile for tile, found, _ in tiles if not found][:2]
    truth = dict.fromkeys([*craters[1:], *missed], "crater")
    for tile, *_ in tiles:
        labelled.says("ann", tile, truth.get(tile, "nothing"))
    labelled.says("bob", craters[1], "nothing")  # disputed: not settled
    done = winnow("label", "audit", labelled.path, "audit", "--json")
    outcome = json.loads(done.stdout)
    assert (outcome["tiles"], outcome["settled"], outcome["fair"]) == (96, 95, True)
    (crater,) = (row for row in outcome["classes"] if row["class"] == "crater")
    hits = len(craters) - 2
    assert crater["recall"] == pytest.approx([hits / (hits + 2), *interval(hits, hits + 2)])
    assert crater["precision"] == pytest.approx([hits / (hits + 1), *interval(hits, hits + 1)])
    # A tile that was merged into its neighbour's detection is found with it.
    labelled.db.execute("UPDATE tile SET merged = 2 WHERE id = ?", (craters[2],))
    labelled.db.execute(
        "UPDATE tile SET (class, swath, line, sample) = (SELECT class, swath, line + 64, sample"
        " FROM tile WHERE id = ?) WHERE id = ?",
        (craters[2], missed[0]),
    )
    merged = json.loads(winnow("label", "audit", labelled.path, "audit", "--json").stdout)
    (crater,) = (row for row in merged["classes"] if row["class"] == "crater")
    assert (crater["found"], crater["missed"]) == (hits + 1, 1)
    labelled.db.execute("UPDATE tile SET merged = 1")
    text = winnow("label", "audit", labelled.path, "audit").stdout
    assert f"found {hits} of {hits + 2}, recall" in text
    assert "95 of 96 tiles are settled" in text


def test_recall_is_not_told_where_detection_decides_what_is_here(labelled: Labelled) -> None:
    # Pictures came down of detections alone.
    labelled.db.execute("UPDATE tile SET file = NULL WHERE detection = 0")
    drawn_now = ("--way", "audit", "--share", 1.0)
    assert select(labelled, "audit", *drawn_now)["absent"] > 0
    told = winnow("select", labelled.path, "--to", "again", *drawn_now).stdout
    assert "recall cannot be told" in told and "--every-tile" in told
    for tile in labelled.tiles():
        labelled.says("ann", tile, "crater")
    outcome = json.loads(winnow("label", "audit", labelled.path, "audit", "--json").stdout)
    assert not outcome["fair"] and {row["recall"] for row in outcome["classes"]} == {None}
    text = winnow("label", "audit", labelled.path, "audit").stdout
    assert "recall is not known" in text and "--every-tile" in text and "found" not in text
    # The run's own draw is fair, however much of it came down.
    labelled.db.execute("UPDATE tile SET drawn = 1")
    told_of_run = select(labelled, "of-the-run", "--way", "audit")
    assert told_of_run["absent"] == 96 - len(labelled.tiles())
    outcome = json.loads(winnow("label", "audit", labelled.path, "of-the-run", "--json").stdout)
    assert outcome["fair"]


def test_a_set_that_was_not_drawn_tells_no_recall(labelled: Labelled) -> None:
    labelled.set("mine")
    done = winnow("label", "audit", labelled.path, "mine")
    assert done.returncode == 3 and "nothing of 'mine' is labelled yet" in done.stderr
    for tile in labelled.tiles(3):
        labelled.says("ann", tile, "crater")
    done = winnow("label", "audit", labelled.path, "mine")
    assert "not drawn at random" in done.stdout and "recall 1" not in done.stdout
    outcome = json.loads(winnow("label", "audit", labelled.path, "mine", "--json").stdout)
    assert {row["recall"] for row in outcome["classes"]} == {None}


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--way", "magic"), 2, "is one of"),
        (("--way", "audit", "--class", "crater"), 2, "an audit is of all classes"),
        (("--class", "dragon"), 3, "no class is called 'dragon'"),
        (("--to", "a/b"), 3, "no name of a set"),
        (("--page", "500"), 2, "--page"),
        (("--way", "audit", "--share", "1e-9"), 3, "no tile is left"),
    ],
)
def test_a_choice_that_makes_no_sense_is_refused(
    arguments: tuple[str, ...], code: int, words: str, labelled: Labelled
) -> None:
    done = winnow("select", labelled.path, "--to", "x", *arguments)
    assert done.returncode == code
    assert words in done.stderr
    assert winnow("label", "sets", labelled.path, "--json").stdout == "[]\n"


def test_commands_tell_people_what_is_there(labelled: Labelled) -> None:
    assert "no sets" in winnow("label", "sets", labelled.path).stdout
    labelled.set("one", class_name="crater")
    for tile in labelled.tiles(6):
        labelled.says("ann", tile, "crater")
        labelled.says("bob", tile, "crater" if tile % 2 else "nothing")
    shown = winnow("label", "sets", labelled.path).stdout
    assert "one" in shown and "ann 6, bob 6" in shown
    agreed = winnow("label", "agreement", labelled.path, "one").stdout
    assert "ann and bob: " in agreed and "kappa 0.00" in agreed
    labelled.says("cid", labelled.tiles(1)[0], "crater")
    told = json.loads(winnow("label", "agreement", labelled.path, "one", "--json").stdout)
    assert told["people"] == {"ann": 6, "bob": 6, "cid": 1}
    assert told["fleiss"]["tiles"] == 6
    done = winnow("label", "agreement", labelled.path, "two")
    assert done.returncode == 3 and "known: one" in done.stderr
