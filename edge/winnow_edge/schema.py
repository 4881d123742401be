"""The mission file described: a JSON Schema for editors and a page for people, both made from the
dataclasses of `winnow_edge.mission`."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator
from typing import Any

from winnow_edge.mission import Mission
from winnow_edge.tables import Key, Setting, counts, described, keys_of, legal, plain

_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string"}
_WORDS = {bool: "true or false", int: "whole number", float: "number", str: "text"}
_PAGE = """\
# The mission file

One TOML file says what is flown. `winnow-edge run`, `winnow-edge downlink` and `winnow simulate`
read it. `name` and one `[instrument.NAME]` with its `bundle` are required. Every other key has a
default. An unknown key or a value out of range is refused with its line and the legal range.
[missions/mars-browse.toml](../missions/mars-browse.toml) is a commented example.

`winnow-edge schema > mission.schema.json` writes a JSON Schema of these keys. An editor with a TOML
language server (taplo, Even Better TOML) completes and checks a mission file that begins with

```toml
#:schema ./mission.schema.json
```

`winnow-edge schema --markdown > docs/mission.md` makes this page.
"""


def mission_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a mission file.

    No keyword is newer than draft 4, which is as far as some editors read. The rules between two
    keys are not in it.
    """
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Winnow mission file",
        **_table(Mission),
    }


def mission_page() -> str:
    """The reference of the mission file as Markdown: every key with unit, range, default and
    meaning."""
    return "\n".join([_PAGE, *_sections(Mission, "")])


def _table(cls: type[Any]) -> dict[str, Any]:
    keys = keys_of(cls)
    table: dict[str, Any] = {
        "type": "object",
        "description": _joined(described(cls)[0]),
        "properties": {name: _property(key) for name, key in keys.items()},
        "additionalProperties": False,
    }
    if required := [name for name, key in keys.items() if key.default is ...]:
        table["required"] = required
    return table


def _property(key: Key) -> dict[str, Any]:
    found = _schema(key.kind, key.setting)
    words = [key.meaning, f"Unit: {key.setting.unit}." if key.setting.unit else ""]
    if key.setting.absent:
        words.append(f"Without it: {key.setting.absent}.")
    elif key.default is not ... and _nested(key) is None:
        found["default"] = list(key.default) if isinstance(key.default, tuple) else key.default
    if text := " ".join(word for word in words if word):
        found["description"] = text
    return found


def _schema(kind: Any, limits: Setting) -> dict[str, Any]:
    if dataclasses.is_dataclass(kind):
        return _table(typing.cast("type[Any]", kind))
    kinds = typing.get_args(kind)
    if typing.get_origin(kind) is dict:
        inner = _schema(kinds[1], limits)
        return {"type": "object", "minProperties": limits.fewest, "additionalProperties": inner}
    if typing.get_origin(kind) is tuple:
        fewest, most = counts(kinds, limits)
        found = {"type": "array", "items": _schema(kinds[0], limits), "minItems": fewest}
        return found if most is None else {**found, "maxItems": most}
    found = {"type": _TYPES[kind]}
    if limits.low is not None and limits.high is not None:
        found |= {"minimum": limits.low, "maximum": limits.high}
    if limits.choices:
        found["enum"] = list(limits.choices)
    if kind is str and limits.fewest:
        found["minLength"] = limits.fewest
    return found


def _sections(cls: type[Any], at: str) -> Iterator[str]:
    """The page's lines on one table, then those on the tables in it."""
    keys = keys_of(cls)
    plain = {name: key for name, key in keys.items() if _nested(key) is None}
    if at:
        yield f"\n## `[{at}]`\n\n{described(cls)[0]}\n"
    yield "| key | unit | legal | default | meaning |\n|---|---|---|---|---|"
    for name, key in plain.items():
        cells = [f"`{name}`", key.setting.unit, _legal(key), _default(key), key.meaning]
        yield f"| {' | '.join(cells)} |"
    for name, key in keys.items():
        if (inner := _nested(key)) is not None:
            named = ".NAME" if typing.get_origin(key.kind) is dict else ""
            yield from _sections(inner, f"{at}{'.' if at else ''}{name}{named}")


def _nested(key: Key) -> type[Any] | None:
    """The dataclass of a key that is a table or a table of tables."""
    kind = typing.get_args(key.kind)[1] if typing.get_origin(key.kind) is dict else key.kind
    return typing.cast("type[Any]", kind) if dataclasses.is_dataclass(kind) else None


def _legal(key: Key) -> str:
    if key.setting.choices:
        return ", ".join(_code(choice) for choice in key.setting.choices)
    if typing.get_origin(key.kind) is tuple:
        kinds = typing.get_args(key.kind)
        fewest, most = counts(kinds, key.setting)
        many = "list of" if most is None else f"{most}" if fewest == most else f"up to {most}"
        words = f"{many} {_WORDS[kinds[0]]}s"
    elif typing.get_origin(key.kind) is dict:
        words = f"table of {_WORDS[typing.get_args(key.kind)[1]]}s by name"
    else:
        words = _WORDS[key.kind]
    limits = legal(key.setting)
    return f"{words}, {limits}" if limits else words


def _default(key: Key) -> str:
    if key.default is ...:
        return "required"
    return key.setting.absent or _code(key.default)


def _code(value: Any) -> str:
    """A value as TOML writes it."""
    if isinstance(value, tuple):
        return f"`[{', '.join(_code(item).strip('`') for item in value)}]`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f'`"{value}"`' if isinstance(value, str) else f"`{plain(value)}`"


def _joined(text: str) -> str:
    return " ".join(text.split())
