"""The documentation is short enough to be read, and its links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GUIDES = sorted((ROOT / "docs").glob("*.md"))
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
GUIDE_WORDS = 1200
README_WORDS = 900
#: Generated references are looked up, not read: they may be as long as their subject.
REFERENCE = "mission"


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def words(page: Path) -> int:
    """Words of a page; the rules of tables and other bare marks are none."""
    parts = page.read_text(encoding="utf-8").split()
    return sum(any(c.isalnum() for c in part) for part in parts)


def prose(page: Path) -> str:
    """The page without its examples and code."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    return re.sub(r"`[^`\n]*`", "", text)


def links(page: Path) -> list[str]:
    """Targets of links and pictures."""
    return re.findall(r"\[[^\]]*\]\(([^)\s]+)\)", prose(page))


def anchors(page: Path) -> set[str]:
    """Anchors of the headings, as forges make them: lower case, spaces to hyphens."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    headings = re.findall(r"^#+ +(.+?) *$", text, flags=re.M)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


@pytest.mark.parametrize("page", [p for p in GUIDES if not p.name.startswith(REFERENCE)], ids=name)
def test_a_guide_is_short(page: Path) -> None:
    assert words(page) <= GUIDE_WORDS, "move trials and measurements to docs/notebook/"


def test_the_readme_is_short() -> None:
    assert words(ROOT / "README.md") < README_WORDS


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in links(page):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{link}: no such file"
        assert target.is_relative_to(ROOT), f"{link}: outside of the repository"
        if anchor:
            assert anchor in anchors(target), f"{link}: no such heading"


def test_the_index_names_every_guide() -> None:
    index = set(links(ROOT / "docs" / "README.md"))
    assert {page.name for page in GUIDES} - {"README.md"} <= index


def test_the_notebook_names_every_page() -> None:
    notebook = ROOT / "docs" / "notebook"
    pages = {page.name for page in notebook.glob("*.md")} - {"README.md"}
    assert pages <= set(links(notebook / "README.md"))


def test_files_that_pages_name_are_here() -> None:
    named = r"`(?:python )?((?:benchmarks|missions|train/recipes|tools)/[\w./-]+\.(?:py|toml|sh))"
    for page in PAGES:
        for path in re.findall(named, page.read_text(encoding="utf-8")):
            assert (ROOT / path).is_file(), f"{name(page)} names {path}"


def test_pictures_are_small() -> None:
    pictures = [p for p in (ROOT / "docs" / "img").iterdir() if p.is_file()]
    assert pictures
    for picture in pictures:
        assert picture.stat().st_size < 300_000, f"{name(picture)} is larger than 300 kB"
    shown = {Path(link).name for page in PAGES for link in links(page)}
    assert {picture.name for picture in pictures} <= shown
