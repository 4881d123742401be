"""Answers are kept once, the last one of a person counts, and nothing that was said is lost."""

from __future__ import annotations

import json

import pytest

from tests.ground.labelling.conftest import Labelled
from winnow_base.errors import CatalogueError
from winnow_ground.labelling.answers import (
    Answer,
    AnswerError,
    answer,
    answers_of,
    history,
    withdraw,
)
from winnow_ground.labelling.sets import Wanted, find_set, make_set, order_for, people, progress
from winnow_ground.labelling.settle import decide, open_tiles, settled, take_back


def test_an_answer_that_is_sent_twice_counts_once(labelled: Labelled) -> None:
    (tile,) = labelled.tiles(1)
    assert labelled.says("ann", tile, "crater", client="a-1", sha256="0" * 64)
    assert labelled.says("ann", tile, "nothing", client="a-2")
    # The first one comes again, late: the second still counts.
    assert not labelled.says("ann", tile, "crater", client="a-1", sha256="0" * 64)
    assert [(one.says, one.withdrawn is None) for one in history(labelled.db, tile)] == [
        ("crater", False),
        ("nothing", True),
    ]
    # Somebody else's answer, or one for another tile, may have the same name.
    assert labelled.says("bob", tile, "crater", client="a-1")
    assert labelled.says("ann", labelled.tiles(2)[1], "crater", client="a-1")


def test_what_is_taken_back_stays_as_history(labelled: Labelled) -> None:
    (tile,) = labelled.tiles(1)
    labelled.says("ann", tile, "crater", client="1", comment="a rim,\n<b>")
    assert labelled.change(lambda db: withdraw(db, "ann", tile, "1"))
    assert not labelled.change(lambda db: withdraw(db, "ann", tile, "1"))
    assert answers_of(labelled.db, "ann", [tile]) == {}
    labelled.says("ann", tile, "nothing", client="2")
    # A withdrawal that is sent again takes back nothing that was said since.
    assert not labelled.change(lambda db: withdraw(db, "ann", tile, "1"))
    assert answers_of(labelled.db, "ann", [tile])[tile].says == "nothing"
    first, second = history(labelled.db, tile)
    assert (first.comment, first.withdrawn is None) == ("a rim,\\n<b>", False)
    assert second.withdrawn is None


def test_an_older_answer_that_comes_later_is_history(labelled: Labelled) -> None:
    (tile,) = labelled.tiles(1)
    labelled.says("ann", tile, "nothing", at="2026-05-02T00:00:00.000Z")
    labelled.says("ann", tile, "crater", at="2026-05-01T00:00:00.000Z")
    assert answers_of(labelled.db, "ann", [tile])[tile].says == "nothing"
    assert len(history(labelled.db, tile)) == 2


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (Answer(1, "dragon"), "no answer"),
        (Answer(1, "shows", "dragon"), "no class is called 'dragon'"),
        (Answer(1, "shows"), "a class goes with"),
        (Answer(1, "nothing", "crater"), "a class goes with"),
        (Answer(10**9, "nothing"), "no tile 1000000000"),
        (Answer(1, "nothing", client="a b"), "own name"),
        (Answer(1, "nothing", client="x" * 101), "own name"),
        (Answer(1, "nothing", sha256="F" * 64), "digest"),
        (Answer(1, "nothing", comment="x" * 2001), "comment is too long"),
    ],
)
def test_an_answer_that_makes_no_sense_is_refused(
    given: Answer, words: str, labelled: Labelled
) -> None:
    with pytest.raises(AnswerError, match=words):
        labelled.change(lambda db: answer(db, "ann", given))
    with pytest.raises(AnswerError, match="name of a person"):
        labelled.change(lambda db: answer(db, " ", Answer(1, "nothing")))
    assert labelled.db.execute("SELECT count(*) FROM label").fetchone() == (0,)


def test_each_person_has_an_order_of_their_own_that_stays(labelled: Labelled) -> None:
    one, two = labelled.set("one", seed=3), labelled.set("two", seed=4)
    ann, bob = (order_for(labelled.db, one, name) for name in ("ann", "bob"))
    assert sorted(ann) == sorted(bob) == labelled.tiles()
    assert ann != bob and ann != sorted(ann)
    assert order_for(labelled.db, one, "ann") == ann
    assert order_for(labelled.db, two, "ann") != ann


def test_progress_counts_what_is_answered_and_what_is_put_off(labelled: Labelled) -> None:
    one = labelled.set(class_name="crater", how={"way": "unsure"})
    first, second, third, *_ = labelled.tiles()
    for tile, what in ((first, "crater"), (second, "unsure"), (third, "later")):
        labelled.says("ann", tile, what, set_id=one.id)
    labelled.says("bob", first, "nothing")
    told = progress(labelled.db, one, "ann")
    assert (told.answered, told.later, told.left) == (2, 1, one.tiles - 2)
    assert people(labelled.db, one) == {"ann": 2, "bob": 1}
    assert (one.class_name, one.how) == ("crater", {"way": "unsure"})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": "one"}, "called 'one' already"),
        ({"name": "../x"}, "no name of a set"),
        ({"name": ""}, "no name of a set"),
        ({"page": 19}, "page of 19"),
        ({"page": 201}, "page of 201"),
        ({"tiles": []}, "0 tiles"),
        ({"class_name": "dragon"}, "no class"),
        ({"person": ""}, "name of a person"),
    ],
)
def test_a_set_that_makes_no_sense_is_refused(
    change: dict[str, object], words: str, labelled: Labelled
) -> None:
    labelled.set("one")
    asked: dict[str, object] = {"name": "two", "tiles": labelled.tiles(), "person": "ann", **change}
    with pytest.raises(CatalogueError, match=words):
        labelled.change(lambda db: make_set(db, Wanted(**asked)))  # type: ignore[arg-type]
    with pytest.raises(CatalogueError, match="known: one"):
        find_set(labelled.db, "two")


def test_a_tile_is_settled_by_all_who_are_sure_or_by_a_decision(labelled: Labelled) -> None:
    one = labelled.set()
    agreed, disputed, doubtful, *_ = labelled.tiles()
    for person, said in (("ann", "crater"), ("bob", "crater"), ("cid", "unsure")):
        labelled.says(person, agreed, said, sha256="a" * 64)
    for person, said in (("ann", "crater"), ("bob", "nothing"), ("cid", "later")):
        labelled.says(person, disputed, said)
    labelled.says("ann", doubtful, "unsure")
    found = settled(labelled.db)
    assert set(found) == {agreed}
    assert (found[agreed].class_name, found[agreed].people) == ("crater", 2)
    assert found[agreed].sha256 == {"a" * 64}
    left = open_tiles(labelled.db, one)
    assert (left.disputed, left.unsure) == ([disputed], [doubtful])

    labelled.change(lambda db: decide(db, "eve", disputed, "nothing", comment="a shadow"))
    labelled.change(lambda db: decide(db, "eve", disputed, "nothing", comment="a shadow"))
    labelled.change(lambda db: decide(db, "eve", doubtful, "unsure"))
    found = settled(labelled.db)
    assert (found[disputed].class_name, found[disputed].decided) == (None, True)
    assert doubtful not in found
    assert open_tiles(labelled.db, one).disputed == []
    labelled.change(lambda db: take_back(db, disputed))
    assert open_tiles(labelled.db, one).disputed == [disputed]
    rows = labelled.db.execute("SELECT person, withdrawn IS NULL FROM decision ORDER BY id")
    assert rows.fetchall() == [("eve", 0), ("eve", 1)]


def test_decisions_that_make_no_sense_are_refused(labelled: Labelled) -> None:
    (tile,) = labelled.tiles(1)
    for answer_, name in (("later", None), ("shows", None), ("nothing", "crater")):
        with pytest.raises(AnswerError):
            labelled.change(lambda db, a=answer_, n=name: decide(db, "eve", tile, a, n))
    with pytest.raises(AnswerError, match="no tile 77777"):
        labelled.change(lambda db: decide(db, "eve", 77777, "nothing"))
    assert json.dumps(settled(labelled.db)) == "{}"
