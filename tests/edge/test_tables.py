"""The one reader of TOML tables: types, limits, names nearby, and the line an error points at."""

from __future__ import annotations

import doctest
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from winnow_edge import mission, tables
from winnow_edge.errors import MissionError
from winnow_edge.tables import Reader, keys_of, setting


@dataclass(frozen=True)
class Inner:
    """A table.

    Attributes:
        depth: How deep, in two
            lines of words.
    """

    depth: int = setting(..., 1, 10_000, unit="m")
    label: str = setting("")


@dataclass(frozen=True)
class Outer:
    """The file."""

    pair: tuple[float, float] = setting((0.0, 1.0), 0.0, 1.0)
    names: tuple[str, ...] = setting((), fewest=1)
    tiles: dict[str, int] = setting(dict, 0, 9)
    groups: dict[str, tuple[str, ...]] = setting(dict)
    pits: dict[str, Inner] = setting(dict, key="pit")
    inner: Inner | None = setting(None)
    kept: str = "no key of the file"


def read(text: str) -> Outer:
    reader = Reader("f.toml", MissionError, text)
    return reader.table(Outer, reader.parse())


def test_every_kind_of_key_is_read() -> None:
    got = read(
        'pair = [0, 1]\nnames = ["a"]\ntiles = {b = 3}\ngroups.c = ["d"]\n'
        "[pit.e]\ndepth = 2\n[inner]\ndepth = 3\n"
    )
    assert got == Outer((0.0, 1.0), ("a",), {"b": 3}, {"c": ("d",)}, {"e": Inner(2)}, Inner(3))
    assert isinstance(got.pair[0], float)
    assert read("") == Outer()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("pair = [0.5]", "f.toml:1: `pair` is [0.5], legal is a list of 2 values"),
        ("pair = [0, 1.5]", "f.toml:1: `pair` is 1.5, legal is 0 to 1"),
        ("names = []", "f.toml:1: `names` is [], legal is a list of 1 or more values"),
        ('names = "a"', "f.toml:1: `names` is 'a', must be a list"),
        ("names = [1]", "f.toml:1: `names` is 1, must be a text"),
        ("tiles = 3", "f.toml:1: `tiles` must be a table"),
        ("\ntiles = {b = 10}", "f.toml:2: `tiles.b` is 10, legal is 0 to 9"),
        ("groups = {c = 1}", "f.toml:1: `groups.c` is 1, must be a list"),
        ("pit = 3", "f.toml:1: `pit` must be tables: [pit.NAME]"),
        ("[pit]\ne = 3", "f.toml:1: `pit` must be tables: [pit.NAME]"),
        ("[pit.e]\nlabel = 'x'", "f.toml:1: `pit.e.depth` is missing"),
        ("[pit.e]\n\ndepth = 20_000", "f.toml:3: `pit.e.depth` is 20000, legal is 1 to 10_000"),
        ("[pit]\ne = {depth = 0}", "f.toml:2: `pit.e.depth` is 0, legal is 1 to 10_000"),
        ("\npit.e.depth = 0", "f.toml:2: `pit.e.depth` is 0, legal is 1 to 10_000"),
        ("[inner]\ndeph = 3", "f.toml:2: unknown key `inner.deph`; did you mean `depth`?"),
        ("kept = 'x'", "f.toml:1: unknown key `kept`; known here: pair, names, tiles"),
        ("[inner]\ndepth = 0x" + "f" * 5000, "f.toml:2: `inner.depth` is beyond all limits"),
        ("[inner]\ndepth = '" + "f" * 5000 + "'", "f.toml:2: `inner.depth` is 'ffff"),
        ("depth =", "f.toml: is not TOML"),
    ],
    ids=lambda text: text[:40],
)
def test_a_refusal_names_key_limits_and_line(text: str, says: str) -> None:
    with pytest.raises(MissionError) as caught:
        read(text)
    message = str(caught.value)
    assert message.startswith(says)
    assert "\n" not in message
    assert len(message) < 400


def test_without_a_text_a_refusal_names_the_place_alone() -> None:
    with pytest.raises(MissionError, match=r"^a bundle: `inner\.depth` is missing$"):
        Reader("a bundle", MissionError).table(Outer, {"inner": {}})


def test_meanings_come_from_the_docstring() -> None:
    depth = keys_of(Inner)["depth"]
    assert depth.meaning == "How deep, in two lines of words."
    assert (depth.default, depth.setting.unit) == (..., "m")


def test_a_file_that_is_not_there_or_not_text_is_refused(tmp_path: Path) -> None:
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff")
    for path, says in ((tmp_path / "none.toml", "No such file"), (binary, "not UTF-8")):
        with pytest.raises(MissionError, match=says):
            Reader.open(path, MissionError)


@pytest.mark.parametrize("module", [tables, mission], ids=lambda m: m.__name__)
def test_the_examples_in_the_docstrings_hold(module: Any) -> None:
    done = doctest.testmod(module)
    assert done.attempted
    assert not done.failed
