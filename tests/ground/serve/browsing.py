"""Chromium, and what goes wrong on a page."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

WAIT_MS = 600_000
"""Against a page that hangs, not a slow machine."""
_NAMES = ("chromium", "chromium-browser", "google-chrome")
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "color_scheme": "dark"}
DESK = {"viewport": {"width": 1280, "height": 900}, "color_scheme": "light"}


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """The Chromium that is here; skips where there is none."""
    playwright = pytest.importorskip("playwright.sync_api")
    found = next(filter(None, map(shutil.which, _NAMES)), None)
    with playwright.sync_playwright() as driver:
        if found is None and not Path(driver.chromium.executable_path).is_file():
            pytest.skip("no Chromium; `playwright install chromium` or a package has one")
        browser = driver.chromium.launch(
            executable_path=found, args=["--no-sandbox"], timeout=WAIT_MS
        )
        yield browser
        browser.close()


@contextlib.contextmanager
def page_of(browser: Any, **how: Any) -> Iterator[Any]:
    """A page of its own session. Errors of its scripts, and what its console calls an error, fail
    the test; a page that is refused on purpose is none."""
    context = browser.new_context(**how)
    context.set_default_timeout(WAIT_MS)
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
    yield page
    context.close()
    assert [error for error in errors if not re.search("status of 40[14]", error)] == []


def open_page(page: Any, address: str) -> None:
    """Open a page, and wait until its scripts and pictures are there."""
    page.goto(address)
    page.wait_for_load_state("networkidle")


def faults(page: Any) -> list[str]:
    """What axe-core finds on the page that is serious or critical."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    found = axe.Axe().run(page).response["violations"]
    return [
        f"{one['id']}: {node['html']}"
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]
