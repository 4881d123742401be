"""Every page in a real browser: no error, usable by keyboard and on a phone, readable by all."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.ground.conftest import MISSION, Flown
from tests.ground.serve.browsing import DESK, PHONE, chromium, faults, open_page, page_of
from tests.ground.serve.serving import HOSTILE, Served, serving
from tests.ground.serve.test_people import add_person
from winnow_edge.mission import parse_mission
from winnow_ground.catalogue.add import add_reception
from winnow_ground.catalogue.schema import changes, create
from winnow_ground.receive import receive

PAGES = (
    "/", "/?text=nothing+has+this+name", "/?order=novelty&page=1", "/swath/1", "/swath/2",
    "/mission", "/bench", "/label", "/label/1", "/swath/99",
)  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server over two swaths, one with a hostile name and its strip; a set of tiles to label."""
    folder = tmp_path_factory.mktemp("shown")
    flown = Flown(folder / "store", parse_mission(MISSION, folder / "mission.toml"))
    flown.add_swath(name=HOSTILE, start={"utc": "2026-03-01T00:00:00Z"})
    flown.add_swath(name="ESP_2", seed=5)
    flown.contact(folder / "pass.bin", 150_000)
    catalogue = folder / "mars.db"
    add_reception(catalogue, receive([folder / "pass.bin"], folder / "in"))
    lines = np.add.outer(np.arange(768), np.arange(512)) % 256
    Image.fromarray(lines.astype(np.uint8)).save(folder / "in" / "strip.png")
    db = create(catalogue)
    with changes(db, catalogue):
        db.execute("UPDATE swath SET picture = 'strip.png' WHERE id = 1")
        db.execute("INSERT INTO label_set (name, person, at) VALUES ('first', 'ann', 'now')")
        db.execute("INSERT INTO label_set_tile (label_set, tile) SELECT 1, id FROM tile LIMIT 30")
    db.close()
    with serving(catalogue, "--person", "ann") as server:
        yield server


@pytest.mark.parametrize("how", [DESK, PHONE], ids=["desk", "phone"])
def test_every_page_is_sound(browser: Any, shown: Served, how: dict[str, Any]) -> None:
    with page_of(browser, **how) as page:
        for path in PAGES:
            open_page(page, f"{shown.origin}{path}")
            assert (path, faults(page)) == (path, [])
            wide = page.evaluate("() => document.documentElement.scrollWidth - innerWidth")
            assert wide <= 0, f"{path} is {wide} pixels too wide"


def test_what_is_unsound_is_found(browser: Any) -> None:
    with page_of(browser) as page:
        page.set_content("<html lang=en><title>x</title><main><h1>x</h1><img src=data:,></main>")
        assert [fault.partition(":")[0] for fault in faults(page)] == ["image-alt"]


def counts_change(page: Any, before: str) -> None:
    changed = "before => document.querySelector('#count').textContent !== before"
    page.wait_for_function(changed, arg=before)


def test_the_search_goes_by_keyboard(browser: Any, shown: Served) -> None:
    with page_of(browser, **DESK) as page:
        open_page(page, f"{shown.origin}/")
        every = page.inner_text("#count")
        page.keyboard.press("/")
        page.keyboard.type("ESP_2")
        page.wait_for_url(re.compile("text=ESP_2$"))
        page.wait_for_function(
            "all => document.querySelector('#count').textContent !== all", arg=every
        )
        assert page.inner_text("#count").endswith("in 1 swath")
        page.keyboard.press("Escape")
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowRight")
        assert page.evaluate("() => document.activeElement.matches('#grid a:nth-of-type(2)')")
        page.keyboard.press("Enter")
        page.wait_for_url(re.compile(r"/swath/2#tile-\d+$"))
        assert "posterior" not in page.title()
        page.go_back()
        page.wait_for_function(
            "() => document.querySelector('#count')?.textContent.endsWith('in 1 swath')"
        )


def test_on_a_phone_the_pictures_come_first(browser: Any, shown: Served) -> None:
    with page_of(browser, **PHONE) as page:
        open_page(page, f"{shown.origin}/")
        assert page.is_visible("#grid a") and not page.is_visible("input[name=text]")
        page.click("summary")
        assert page.is_visible("input[name=text]")


def test_facets_and_sliders_change_the_counts_and_the_address(browser: Any, shown: Served) -> None:
    with page_of(browser, **DESK) as page:
        open_page(page, f"{shown.origin}/")
        before = page.inner_text("#count")
        page.check("fieldset[data-facet=class] input[value=crater]")
        page.wait_for_function(
            "all => document.querySelector('#count').textContent !== all", arg=before
        )
        before = page.inner_text("#count")
        page.focus("input[name=low]")
        for _ in range(96):
            page.keyboard.press("ArrowRight")
        page.wait_for_function(
            "all => document.querySelector('#count').textContent !== all", arg=before
        )
        page.wait_for_url(re.compile(r"low=0\.96"))
        whole = page.inner_text("#count")
        address = page.get_attribute(".export[data-form=csv]", "href")
        assert address is not None and "class=crater" in address and "low=0.96" in address
        open_page(page, page.url)
        assert page.inner_text("#count") == whole


def test_a_box_is_asked_for_and_taken_back_by_keyboard(browser: Any, shown: Served) -> None:
    with page_of(browser, **DESK) as page:
        open_page(page, f"{shown.origin}/swath/1")
        assert page.inner_text("#from") == "The strip itself, 768 lines of 512 samples."
        for key in ("n", "n", "p", "+", "-", "0"):
            page.keyboard.press(key)
        assert re.match(
            r"(crater|dark dune|impact ejecta) 0\.\d+, line", page.inner_text("#chosen")
        )
        page.keyboard.press("b")
        assert page.inner_text("#chosen").startswith("A box: line 192")
        page.keyboard.press("r")
        page.wait_for_selector(".withdraw")
        assert "384" in page.inner_text("tr[data-box]")
        page.focus(".withdraw")
        page.keyboard.press("Enter")
        page.wait_for_selector("tr[data-box]", state="detached")


def test_a_box_is_drawn_with_a_pointer(browser: Any, shown: Served) -> None:
    with page_of(browser, **DESK) as page:
        open_page(page, f"{shown.origin}/swath/1")
        page.click("#draw")
        place = page.locator("#map").bounding_box()
        assert place is not None
        x, y = place["x"] + place["width"] / 2, place["y"] + place["height"] / 2
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x + 30, y + 20, steps=4)
        page.mouse.move(x + 60, y + 40, steps=4)
        page.mouse.up()
        assert page.inner_text("#chosen").startswith("A box: line 38")
        assert int(page.input_value("input[name=samples]")) > int(
            page.input_value("input[name=lines]")
        )
        page.keyboard.press("Escape")
        page.mouse.move(x, y)
        page.mouse.wheel(0, -600)
        page.mouse.click(x + 5, y + 5)


def test_the_mission_changes_before_ones_eyes(browser: Any, shown: Served) -> None:
    with page_of(browser, **DESK) as page:
        open_page(page, f"{shown.origin}/mission")
        box = {"line": 1, "sample": 2, "lines": 3, "samples": 4, "comment": "<b>a ray</b>"}
        made = shown.change("/swath/2/ask", box).told["request"]
        page.wait_for_selector("text=<b>a ray</b>")
        shown.change(f"/request/{made}/withdraw", {})
        page.wait_for_selector("text=No box waits")


def test_people_log_in_and_out_by_keyboard(browser: Any, shown: Served, tmp_path: Path) -> None:
    file = tmp_path / "people.json"
    assert add_person(file, "ann", "look", "a long secret").returncode == 0
    with (
        serving(shown.catalogue, "--passwords", file) as guarded,
        page_of(browser, **PHONE) as page,
    ):
        page.goto(f"{guarded.origin}/swath/2")
        assert faults(page) == []
        page.focus("input[name=name]")
        page.keyboard.type("ann")
        page.keyboard.press("Tab")
        page.keyboard.type("a wrong secret")
        page.keyboard.press("Enter")
        page.wait_for_selector("[role=alert]")
        page.fill("input[name=name]", "ann")
        page.fill("input[name=password]", "a long secret")
        page.keyboard.press("Enter")
        page.wait_for_url(f"{guarded.origin}/swath/2")
        assert page.locator("#ask").count() == 0
        page.click("text=Log out")
        page.wait_for_url(f"{guarded.origin}/login")
        page.goto(f"{guarded.origin}/mission")
        assert page.url.startswith(f"{guarded.origin}/login")
