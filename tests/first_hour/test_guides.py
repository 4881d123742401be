"""The first hour: what guides tell newcomers to type works as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.first_hour.guides import ROOT, Walk, blocks, fresh_clone, is_checkout, walk

README = ROOT / "README.md"
GUIDES = sorted((ROOT / "docs").glob("*.md"))
OWN_PICTURES = [p for p in GUIDES if any(b.marks.get("needs") == "scenes" for b in blocks(p))]
NEEDS = {
    "board": "a board at the other end of ssh (tests/ground/test_deploy.py has one)",
    "internet": "the public data sets, and hours",
    "minutes": "minutes of processor time: `make test-slow` pastes it",
    "scenes": "fourteen pictures with boxes, and minutes: `make test-slow` pastes it",
    "pictures": "somebody's own pictures; docs/own-data.md walks the same way with others",
    "peer": "a camera that connects (tests/edge/sources/test_listening.py has one)",
}
"""What a block of a guide may need that these tests do not have, and why it is skipped."""
CAMERA = """\
#!/bin/sh
# Stands in for a camera: 700 raw lines of the demo's strip.
exec .venv/bin/python -c '
import sys
from PIL import Image
strip = Image.open("demo-out/swath.png")
sys.stdout.buffer.write(strip.crop((0, 0, 2048, 700)).tobytes())'
"""


@pytest.fixture(scope="module")
def readme(clone: Path) -> Walk:
    """README walked from its first command to its last."""
    own = clone.parent / "own"
    own.mkdir()
    (own / "camera").write_text(CAMERA)
    (own / "camera").chmod(0o755)
    return walk(README, clone, has={"camera"}, commands=own)


def test_no_command_of_the_readme_fails(readme: Walk) -> None:
    assert [(one.command, one.code, one.said) for one in readme.failed] == []
    assert len(readme.pasted) >= 10
    for one in readme.pasted:
        assert "Traceback" not in one.said, one.command


def test_the_readmes_commands_are_called_by_name(readme: Walk) -> None:
    """After the demo and one command more, as its last line says and the page does."""
    first, second, *_ = (one.command for one in readme.pasted)
    assert first.startswith("make demo")
    assert second.startswith(". .venv/bin/activate")
    following = readme.said("make demo").splitlines()[-1]
    assert following.startswith("next        .venv/bin/winnow-edge downlink ")
    assert "usage: winnow-edge" in readme.said("winnow-edge --help")


def test_the_readmes_contacts_are_smaller_than_what_the_strip_makes(readme: Walk) -> None:
    """So that the order matters, and the second contact is not empty."""
    one, two = (
        next(p.said for p in readme.pasted if p.command.endswith(f"--out pass-{n}.packets"))
        for n in (1, 2)
    )
    for said in (one, two):
        left = re.search(r"^left +([\d,]+) products", said, re.M)
        assert left is not None and int(left[1].replace(",", "")) > 100
        assert re.search(r"^products .*\d+ (records|thumbnails|images)", said, re.M)
    assert "products acknowledged" in two


@pytest.mark.parametrize("need", NEEDS)
def test_commands_that_cannot_be_pasted_here_are_skipped_with_a_reason(
    readme: Walk, need: str
) -> None:
    left = [one for block in readme.skipped.get(need, []) for one in block.commands]
    assert set(readme.skipped) <= set(NEEDS)
    if left:
        pytest.skip(f"{len(left)} commands of README.md need {NEEDS[need]}")


@pytest.mark.slow
@pytest.mark.skipif(not is_checkout(), reason="this tree is no git checkout")
def test_the_readmes_long_commands_work_too(tmp_path: Path) -> None:
    walked = walk(README, fresh_clone(tmp_path), has={"minutes"})
    assert [(one.command, one.said) for one in walked.failed] == []


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.timeout(7200)  # some three minutes of two cores, which others may want too
@pytest.mark.parametrize("page", OWN_PICTURES, ids=lambda page: page.name)
def test_the_way_from_own_pictures_has_no_failure(
    page: Path, mars_data: Path, tmp_path: Path
) -> None:
    """Its scenes are pictures of the Context Camera with their craters as boxes."""
    clone = fresh_clone(tmp_path)
    scenes = clone / "scenes"
    scenes.mkdir()
    for path in (*mars_data.glob("ctx-craters/*"), *mars_data.glob("ctx-robbins/*")):
        if path.suffix in (".png", ".json"):
            (scenes / path.name).symlink_to(path)
    walked = walk(page, clone, has={"scenes"}, activated=True)
    assert [(one.command, one.said) for one in walked.failed] == []
    assert len(walked.pasted) >= 6


@pytest.mark.slow
@pytest.mark.timeout(7200)  # some four minutes of processor time
@pytest.mark.skipif(not is_checkout(), reason="this tree is no git checkout")
def test_a_turn_of_the_loop_leaves_a_better_net(tmp_path: Path) -> None:
    page = ROOT / "docs" / "loop.md"
    walked = walk(page, fresh_clone(tmp_path), has={"minutes"}, activated=True)
    assert [(one.command, one.said) for one in walked.failed] == []
    assert "wrote rocks-r2.winnow" in walked.said("winnow retrain")


def test_marks_of_guides_are_known() -> None:
    """A misspelt mark would leave a block out of the walk without a word."""
    for page in [README, *GUIDES]:
        for block in blocks(page):
            where = f"{page.name}:{block.line}"
            assert set(block.marks) <= {"needs", "file"}, where
            if block.language == "sh":
                assert block.marks.get("needs", "camera") in {*NEEDS, "camera"}, where


def test_a_walk_counts_what_fails_and_goes_on(tmp_path: Path) -> None:
    page, clone = tmp_path / "page.md", tmp_path / "clone"
    clone.mkdir()
    page.write_text(
        "Save it:\n```toml file=a.toml\nx = 1\n```\n"
        "```sh\n# a comment\ncat a.toml   # and one more\nfalse\nhere=\\\n  there\n```\n"
        "```\nrm -r output\n```\n"
        "```sh needs=board\nssh board\n```\n"
        "```sh needs=data\necho $here\ncat\n(exit 7)\n```\n"
    )
    walked = walk(page, clone, has={"data"})
    assert [one.command for one in walked.pasted] == [
        "cat a.toml   # and one more", "false", "here=there", "echo $here", "cat", "(exit 7)",
    ]  # fmt: skip
    assert [one.code for one in walked.failed] == [1, 7]
    assert walked.said("cat a.toml") == "x = 1\n"
    assert walked.said("echo") == "there\n"
    assert list(walked.skipped) == ["board"]
    page.write_text("```sh\ntrue\nexit 3\ntrue\n```\n")
    assert [one.code for one in walk(page, clone).pasted] == [0, 3]
