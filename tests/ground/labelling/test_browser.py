"""The pages for labelling in a real browser: clicks and keys, and nothing of it is ever lost."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.ground.labelling.browsing import Server, browser_page, drained, says
from tests.ground.labelling.conftest import Labelled
from tests.ground.serve.browsing import chromium


@pytest.fixture
def server(labelled: Labelled) -> Iterator[Server]:
    held = Server(labelled.path)
    yield held
    held.end()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as opened:
        yield opened


@pytest.fixture
def page(browser: Any, server: Server) -> Iterator[Any]:
    with browser_page(browser) as opened:
        yield opened


def test_clicks_keys_undo_comments_and_later(page: Any, server: Server, labelled: Labelled) -> None:
    one = labelled.set(class_name="crater", page=20)
    page.goto(f"{server.address}/label/{one.id}")
    order = page.eval_on_selector_all(
        "button.tile", "all => all.map(one => Number(one.id.slice(5)))"
    )
    assert set(order) <= set(labelled.tiles())
    wrong, twice, unsure, later, other, noted = order[:6]
    page.click(f"#tile-{wrong}")
    page.click(f"#tile-{twice}")
    page.click(f"#tile-{twice}")
    page.focus(f"#tile-{unsure}")
    for key in ("u", "l", "2"):  # each goes on to the next tile
        page.keyboard.press(key)
    page.focus(f"#tile-{noted}")
    page.keyboard.press("0")
    page.keyboard.press("z")
    page.keyboard.press("1")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("c")
    page.fill("#words", "a <b>rim</b>")
    page.keyboard.press("Enter")
    drained(page)
    second = page.eval_on_selector("#brush label:nth-of-type(2) input", "one => one.value")
    mine = says(labelled, "ann")
    assert mine == {
        wrong: "nothing",
        unsure: "unsure",
        later: "later",
        other: second,
        noted: "crater",
    }
    assert page.inner_text("#count") == f"4 of {one.tiles} answered, 1 for later"
    (comment,) = labelled.db.execute(
        "SELECT comment FROM label WHERE tile = ? AND withdrawn IS NULL", (noted,)
    ).fetchone()
    assert comment == "a <b>rim</b>"
    # The page submitted: all that were not touched are what is suspected.
    page.keyboard.press("s")
    page.wait_for_url(re.compile(r"page=1$|/label$"))
    assert {what for tile, what in says(labelled, "ann").items() if tile in order[6:]} == {"crater"}
    assert says(labelled, "ann")[twice] == "crater"


def test_one_by_one_goes_on_by_itself(page: Any, server: Server, labelled: Labelled) -> None:
    one = labelled.set(class_name="crater", page=20, hidden=False)
    page.goto(f"{server.address}/label/{one.id}?one=1")
    page.wait_for_selector("#detail:not([hidden])")
    for key in ("1", "0", "u"):
        page.keyboard.press(key)
    page.keyboard.press("z")
    drained(page)
    assert sorted(says(labelled, "ann").values()) == ["crater", "nothing"]
    assert "no answer yet" in page.inner_text("#detail-said")
    assert "net: " in page.inner_text("#detail-said")


def test_a_server_that_is_killed_between_clicks_costs_no_answer(
    page: Any, server: Server, labelled: Labelled
) -> None:
    one = labelled.set(class_name="crater", page=20)
    page.goto(f"{server.address}/label/{one.id}")
    order = page.eval_on_selector_all(
        "button.tile", "all => all.map(one => Number(one.id.slice(5)))"
    )
    page.click(f"#tile-{order[0]}")
    server.kill()
    for tile in order[1:4]:
        page.click(f"#tile-{tile}")
    page.wait_for_selector("#state.away")
    assert "wait in this browser" in page.inner_text("#state")
    server.start()
    page.click(f"#tile-{order[4]}")
    drained(page)
    assert says(labelled, "ann") == dict.fromkeys(order[:5], "nothing")
    # What waits when the page is closed is sent by the next one.
    server.kill()
    page.click(f"#tile-{order[5]}")
    page.wait_for_selector("#state.away")
    server.start()
    page.goto(f"{server.address}/label/{one.id}?page=0")
    drained(page)
    assert says(labelled, "ann") == dict.fromkeys(order[:6], "nothing")


def test_answers_wait_for_the_catalogue_they_are_of(
    page: Any, server: Server, labelled: Labelled
) -> None:
    one = labelled.set(class_name="crater", page=20)
    page.goto(f"{server.address}/label/{one.id}")
    server.kill()
    page.click("button.tile >> nth=0")
    page.wait_for_selector("#state.away")
    # Another catalogue is served at the same address: its set of this number is another.
    labelled.db.execute("UPDATE label_set SET at = '2020-01-01T00:00:00.000Z'")
    server.start()
    page.wait_for_selector("text=another catalogue is served here")
    page.goto(f"{server.address}/label/{one.id}")
    page.wait_for_selector("button.tile")
    assert page.inner_text("#state") == "saved"
    assert says(labelled, "ann") == {}
    labelled.db.execute("UPDATE label_set SET at = ?", (one.at,))
    page.goto(f"{server.address}/label")
    page.wait_for_selector("text=all answers are saved")
    assert list(says(labelled, "ann").values()) == ["nothing"]


def test_decisions_are_made_by_a_click(page: Any, server: Server, labelled: Labelled) -> None:
    one = labelled.set()
    (tile,) = labelled.tiles(1)
    for person, what in (("bob", "crater"), ("cid", "nothing")):
        labelled.says(person, tile, what)
    page.goto(f"{server.address}/label/{one.id}/decide")
    page.fill(f"#tile-{tile} .words", "a rim")
    page.click(f"#tile-{tile} [data-answer=crater]")
    page.wait_for_selector("text=decided: crater")
    rows = labelled.db.execute("SELECT tile, person, answer, comment FROM decision").fetchall()
    assert rows == [(tile, "ann", "shows", "a rim")]


def test_pages_have_no_serious_findings_of_axe(
    page: Any, server: Server, labelled: Labelled
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    one = labelled.set(class_name="crater")
    (tile,) = labelled.tiles(1)
    for person, what in (("bob", "crater"), ("cid", "nothing")):
        labelled.says(person, tile, what)
    addresses = ("", "/new?class=crater", f"/{one.id}", f"/{one.id}?one=1", f"/{one.id}/decide")
    found = []
    for address in addresses:
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            page.goto(f"{server.address}/label{address}")
            found += [
                (address, scheme, finding["id"], finding["nodes"][0]["html"])
                for finding in axe.run(page).response["violations"]
                if finding["impact"] in ("serious", "critical")
            ]
    assert found == []


def test_refused_answers_are_told_and_kept_for_another_try(
    page: Any, server: Server, labelled: Labelled
) -> None:
    one = labelled.set(class_name="crater", page=20)
    page.goto(f"{server.address}/label/{one.id}")
    page.wait_for_selector("button.tile")
    # Meanwhile somebody renames what is suspected.
    labelled.db.execute("UPDATE class SET name = 'hole' WHERE name = 'crater'")
    page.keyboard.press("1")
    page.keyboard.press("0")
    page.wait_for_selector("#trouble:not([hidden])")
    assert "no class is called 'crater'" in page.inner_text("#trouble")
    drained(page)
    assert list(says(labelled, "ann").values()) == ["nothing"]
    # They are there when the page is opened again, by a server that was started anew too.
    labelled.db.execute("UPDATE class SET name = 'crater' WHERE name = 'hole'")
    server.kill()
    server.start()
    page.reload()
    page.wait_for_selector("#trouble:not([hidden])")
    page.get_by_role("button", name="Try again").click()
    page.wait_for_selector("#trouble", state="hidden")
    drained(page)
    assert sorted(says(labelled, "ann").values()) == ["crater", "nothing"]
    assert page.evaluate("localStorage.length") == 0
