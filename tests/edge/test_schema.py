"""The schema and the reference page of the mission file: complete, and of the reader's own mind."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
import tomllib
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from winnow_edge.errors import MissionError
from winnow_edge.mission import Mission, parse_mission
from winnow_edge.schema import mission_page, mission_schema
from winnow_edge.tables import Key, keys_of

ROOT = Path(__file__).parents[2]
MISSIONS = sorted((ROOT / "missions").glob("*.toml"))
VALIDATOR = jsonschema.Draft202012Validator(mission_schema())
SMALL: dict[str, Any] = {"name": "m", "instrument": {"browse": {"bundle": "b"}}}


def leaves(cls: Any = Mission, at: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Key]]:
    """Every key that is no table, with the tables around it; tables of tables have one NAME."""
    for name, key in keys_of(cls).items():
        if typing.get_origin(key.kind) is dict:
            named = "browse" if name == "instrument" else "NAME"
            inner = typing.get_args(key.kind)[1]
            if dataclasses.is_dataclass(inner):
                yield from leaves(inner, (*at, name, named))
        elif hasattr(key.kind, "__dataclass_fields__"):
            yield from leaves(key.kind, (*at, name))
        else:
            yield (*at, name), key


LEAVES = dict(leaves())


def wrong_values(key: Key) -> list[Any]:
    """Values that the key does not take."""
    listed = typing.get_origin(key.kind) is tuple
    kind = typing.get_args(key.kind)[0] if listed else key.kind
    wrong: list[Any] = [3 if kind in (str, bool) else "x"]
    if key.setting.low is not None and key.setting.high is not None:
        wrong += [key.setting.low - 1, key.setting.high * 2 + 1]
    if key.setting.choices:
        wrong.append("nonesuch" if kind is str else 7)
    return [[value, value] for value in wrong] + [3] if listed else wrong


def with_key(at: tuple[str, ...], value: Any) -> dict[str, Any]:
    """The smallest mission with one key more."""
    mission: dict[str, Any] = json.loads(json.dumps(SMALL))
    table = mission
    for name in at[:-1]:
        table = table.setdefault(name, {})
    table[at[-1]] = value
    return mission


def as_toml(table: dict[str, Any]) -> str:
    """Tables written inline; JSON's texts, numbers and lists are TOML too."""
    return "\n".join(f"{key} = {_inline(value)}" for key, value in table.items())


def _inline(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)} = {_inline(v)}" for k, v in value.items()) + "}"
    return json.dumps(value)


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(mission_schema())


@pytest.mark.parametrize("path", MISSIONS, ids=lambda p: p.stem)
def test_every_shipped_mission_is_valid(path: Path) -> None:
    VALIDATOR.validate(tomllib.loads(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("at", LEAVES, ids=".".join)
def test_schema_and_reader_refuse_the_same_values(at: tuple[str, ...]) -> None:
    key = LEAVES[at]
    for value in wrong_values(key):
        wrong = with_key(at, value)
        assert not VALIDATOR.is_valid(wrong)
        with pytest.raises(MissionError):
            parse_mission(as_toml(wrong))
    misspelt = with_key((*at[:-1], at[-1] + "x"), 1)
    assert not VALIDATOR.is_valid(misspelt)
    with pytest.raises(MissionError, match=f"did you mean `{at[-1]}`"):
        parse_mission(as_toml(misspelt))


@pytest.mark.parametrize("at", LEAVES, ids=".".join)
def test_schema_and_reader_take_the_default(at: tuple[str, ...]) -> None:
    default = LEAVES[at].default
    if default in (..., None):
        default = {str: "b", int: 8, float: 0.5, bool: True}[LEAVES[at].kind]
    right = with_key(at, list(default) if isinstance(default, tuple) else default)
    VALIDATOR.validate(right)
    parse_mission(as_toml(right))


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"name": "m"},
        {"name": "m", "instrument": {}},
        {"name": "", "instrument": {"browse": {"bundle": "b"}}},
        {"name": "m", "instrument": {"browse": {}}},
        {**SMALL, "tiling": 3},
        {**SMALL, "tiling": {"scales": []}},
        {**SMALL, "verdict": {"hard_means": [0.5]}},
    ],
    ids=str,
)
def test_schema_and_reader_refuse_what_is_missing(wrong: dict[str, Any]) -> None:
    assert not VALIDATOR.is_valid(wrong)
    with pytest.raises(MissionError):
        parse_mission(as_toml(wrong))


def test_every_key_has_a_meaning_and_stands_on_the_page() -> None:
    sections = re.split(r"^## ", mission_page(), flags=re.MULTILINE)
    held = {part.splitlines()[0].strip("`[]") if i else "": part for i, part in enumerate(sections)}
    for at, key in LEAVES.items():
        table = ".".join("NAME" if part == "browse" else part for part in at[:-1])
        row = re.search(rf"^\| `{at[-1]}` \| .* \|$", held[table], re.MULTILINE)
        assert row, at
        assert key.meaning and key.meaning in row[0], at
        assert row[0].count("|") == 6


def test_the_page_in_docs_is_the_one_that_the_command_prints() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "winnow_edge.cli", "schema", "--markdown"],
        capture_output=True,
        check=True,
    )
    assert (ROOT / "docs" / "mission.md").read_bytes() == done.stdout


def test_the_command_prints_the_schema() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "winnow_edge.cli", "schema"], capture_output=True, check=True
    )
    assert json.loads(done.stdout) == mission_schema()


def test_a_table_of_numbers_by_name_is_checked_alike() -> None:
    at = ("simulation", "replay", "share")
    right = with_key(at, {"dark dune": 0.5, "crater": 0})
    VALIDATOR.validate(right)
    assert load_toml(right).simulation.replay.share == {"dark dune": 0.5, "crater": 0.0}
    for wrong in ({"crater": 1.5}, {"crater": "x"}, 0.5, ["crater"]):
        assert not VALIDATOR.is_valid(with_key(at, wrong))
        with pytest.raises(MissionError, match=r"simulation\.replay\.share"):
            load_toml(with_key(at, wrong))
    assert "| `share` | share | table of numbers by name, 0 to 1 |" in mission_page()


def load_toml(table: dict[str, Any]) -> Mission:
    return parse_mission(as_toml(table))
