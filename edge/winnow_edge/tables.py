"""Tables of TOML and JSON read into frozen dataclasses, as the fields say of themselves.

Whatever others wrote and the program believes comes in here: mission files, recipes, manifests,
what was received, truth. A key that is unknown or out of range is refused with its name, the legal
values and, of TOML, the line it stands on.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import inspect
import json
import math
import re
import tomllib
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path
from typing import Any, TypeVar

from winnow_edge.files import read_small

T = TypeVar("T")
At = tuple[str, ...]
"""A key and the tables around it, outermost first."""

_KINDS = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}
_SHOWN = 200
"""Characters of a wrong value that an error repeats."""
TEXT_MOST = 4096
"""Characters of a text or name."""
DEEPEST = 64
"""Tables and lists within each other."""


def plain_json(data: bytes | str) -> Any:
    """The plain values of a JSON text in UTF-8.

    Raises ValueError, which says why, where it is none, and for numbers that are not finite or take
    more than 64 bits, text that is not Unicode (half of a surrogate pair), and nesting that is
    deeper than `DEEPEST`: none of them can be written again.

    >>> plain_json('{"a": [1, 1e400]}')
    Traceback (most recent call last):
    ...
    ValueError: 1e400 is no finite number
    """
    text = data.decode("utf-8") if isinstance(data, bytes) else data
    try:
        raw = json.loads(text, parse_float=_finite, parse_int=_whole, parse_constant=_finite)
    except RecursionError:
        raise ValueError(f"is nested deeper than {DEEPEST}") from None
    level, depth = [raw], 0
    while level := [
        held
        for group in level
        if isinstance(group, dict | list)
        for held in (group.values() if isinstance(group, dict) else group)
        if isinstance(held, dict | list)
    ]:
        depth += 1
        if depth >= DEEPEST:
            raise ValueError(f"is nested deeper than {DEEPEST}")
    if _SURROGATE.search(text):
        try:
            json.dumps(raw, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise ValueError("holds text that is not Unicode") from None
    return raw


_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]|[\ud800-\udfff]")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{shortened(text)} is no finite number")
    return value


def _whole(text: str) -> int:
    if len(text) > 20 or not -(2**63) <= int(text) < 2**64:
        raise ValueError(f"{shortened(text)} takes more than 64 bits")
    return int(text)


@dataclass(frozen=True, slots=True)
class Setting:
    """What a key says of itself beside its type and default.

    `low` and `high` bound a number or each number of a list, `choices` are the only legal values;
    `fewest` and `most` bound the items of a list, `fewest` also the tables of a table and the
    characters of a text. `unit` is for people, as is `absent`: the value that holds where the
    default is none. `key` is the name in the file where the field has another.
    """

    low: float | None = None
    high: float | None = None
    unit: str = ""
    choices: tuple[str | int, ...] = ()
    fewest: int = 0
    most: int | None = None
    key: str = ""
    absent: str = ""


def setting(default: Any, low: float | None = None, high: float | None = None, **more: Any) -> Any:
    """A dataclass field that is a key of the file.

    A `default` of ... makes the key required; a class is called for the default. The other
    arguments are those of `Setting`. A field that is made otherwise is no key of the file.
    """
    metadata = {"setting": Setting(low, high, **more)}
    if default is ...:
        return field(metadata=metadata)
    if isinstance(default, type):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a table: the dataclass field `name`, its type without `| None`, its `Setting`,
    its default (... where the key is required) and its meaning in words."""

    name: str
    kind: Any
    setting: Setting
    default: Any
    meaning: str


def keys_of(cls: type[Any]) -> dict[str, Key]:
    """The keys of a table by their names in the file, in the order of the dataclass's fields.

    Their meanings are those under "Attributes:" in the class's docstring.

    >>> @dataclass(frozen=True)
    ... class Link:
    ...     '''The radio.
    ...
    ...     Attributes:
    ...         rate_bps: Rate of a contact.
    ...     '''
    ...
    ...     rate_bps: float = setting(9600.0, 1, 1e12, unit="bit/s")
    >>> rate = keys_of(Link)["rate_bps"]
    >>> rate.meaning, rate.default, rate.setting.unit, legal(rate.setting)
    ('Rate of a contact.', 9600.0, 'bit/s', '1 to 1_000_000_000_000')
    """
    hashable: Any = cls
    return _known_keys(hashable)


@functools.cache
def _known_keys(cls: Any) -> dict[str, Key]:
    hints = typing.get_type_hints(cls)
    _, meanings = described(cls)
    found = {}
    for f in dataclasses.fields(cls):
        if (held := f.metadata.get("setting")) is None:
            continue
        default: Any = ... if f.default is dataclasses.MISSING else f.default
        if f.default_factory is not dataclasses.MISSING:
            default = f.default_factory()
        kind = hints[f.name]
        if typing.get_origin(kind) is types.UnionType:
            kind = next(a for a in typing.get_args(kind) if a is not type(None))
        found[held.key or f.name] = Key(f.name, kind, held, default, meanings.get(f.name, ""))
    return found


def described(cls: type[Any]) -> tuple[str, dict[str, str]]:
    """A table's docstring: the text before "Attributes:", and the meaning of each field after."""
    text, _, listed = (inspect.getdoc(cls) or "").partition("\nAttributes:\n")
    pairs = re.findall(r"^    (\w+): (.*(?:\n     .*)*)", listed, re.MULTILINE)
    return text.strip(), {name: " ".join(meaning.split()) for name, meaning in pairs}


def legal(limits: Setting) -> str:
    """The legal values in words; "" where every value of the type is legal."""
    if limits.choices:
        return f"one of: {', '.join(str(c) for c in limits.choices)}"
    if limits.low is None or limits.high is None:
        return ""
    return f"{plain(limits.low)} to {plain(limits.high)}"


class Reader:
    """Makes tables into dataclasses and knows on which line a key stands.

    `where` is the file's name, `error` the exception it is refused with, called as
    `error(message, where=..., hint=...)`, `text` the TOML, without which no line is known. With
    `others` keys that no class knows are passed over; `hint` is said where no better one is known.
    """

    def __init__(
        self,
        where: object,
        error: Callable[..., Exception],
        text: str = "",
        *,
        others: bool = False,
        hint: str | None = None,
    ) -> None:
        self._where, self._error, self._text = where, error, text
        self._others, self._hint = others, hint

    @classmethod
    def open(cls, path: Path, error: Callable[..., Exception]) -> Reader:
        """The reader of a file. Raises `error` if it cannot be read."""
        try:
            return cls(path, error, read_small(path).decode("utf-8"))
        except OSError as reason:
            raise error(reason.strerror or "cannot be read", where=path) from reason
        except UnicodeDecodeError as reason:
            raise error("is not UTF-8 text", where=path) from reason

    def parse(self) -> dict[str, Any]:
        """The text as plain values."""
        try:
            return tomllib.loads(self._text)
        except tomllib.TOMLDecodeError as error:
            raise self._error(f"is not TOML: {error}", where=self._where) from error
        except (ValueError, RecursionError) as error:  # thousands of digits, endless nesting
            raise self._error(f"is not TOML that can be read: {error}", where=self._where) from None

    def json(self, data: bytes | str) -> Any:
        """The plain values of JSON (see `plain_json`)."""
        try:
            return plain_json(data)
        except UnicodeDecodeError:
            what = "is not UTF-8 text"
        except ValueError as error:
            what = f"is not JSON that can be read: {error}"
        raise self._error(what, where=self._where, hint=self._hint)

    def table(self, cls: type[T], raw: Any, at: At = ()) -> T:
        """A `cls` from the plain values of the table `at`; null is a key left out."""
        if not isinstance(raw, dict):
            name = _dotted(at)
            what = f"`{name}` must be a table" if at else "must be a table"
            what += f": [{name}]" if at and self._text else ""
            raise self.refusal(at, what)
        known = keys_of(cls)
        for key in raw:
            if key not in known and not self._others:
                near = difflib.get_close_matches(key, known, n=1)
                hint = f"did you mean `{near[0]}`? " if near else ""
                raise self.refusal(
                    (*at, key),
                    f"unknown key `{_dotted((*at, key))}`",
                    f"{hint}known here: {', '.join(known)}",
                )
        for name, key in known.items():
            if key.default is ... and name not in raw:
                raise self.refusal(at, f"`{_dotted((*at, name))}` is missing")
        return cls(
            **{
                known[name].name: self._value(
                    known[name].kind, value, known[name].setting, (*at, name)
                )
                for name, value in raw.items()
                if name in known and (value is not None or known[name].default is not None)
            }
        )

    def refusal(self, at: At, what: str, hint: str | None = None) -> Exception:
        """The error that refuses the key `at`, to be raised, with its line where one is known."""
        line = self.line_of(at)
        where = f"{self._where}:{line}" if line else self._where
        return self._error(what, where=where, hint=hint or self._hint)

    def line_of(self, at: At) -> int | None:
        """The line (from 1) of a key, else of its table; None where neither is written out."""
        table: At = ()
        best: int | None = None
        for number, line in enumerate(self._text.splitlines(), start=1):
            if header := re.match(r"\s*\[+\s*([^\[\]]+?)\s*\]+", line):
                table = _split_key(header[1])
                if table == at[: len(table)] and len(table) >= len(at) - 1:
                    best = best or number
            elif key := re.match(r"\s*((?:[\w.-]|\"[^\"]*\"|'[^']*')+)\s*=", line):
                full = table + _split_key(key[1])
                if full == at:
                    return number
                if full == at[: len(full)]:  # an inline table
                    best = number
        return best

    def _value(self, kind: Any, value: Any, limits: Setting, at: At) -> Any:
        if kind is Any:
            return value
        if dataclasses.is_dataclass(kind):
            return self.table(typing.cast("type[Any]", kind), value, at)
        origin = typing.get_origin(kind)
        if origin is dict:
            return self._tables(typing.get_args(kind)[1], value, limits, at)
        if origin is tuple:
            return self._list(typing.get_args(kind), value, limits, at)
        return self._scalar(kind, value, limits, at)

    def _tables(self, kind: Any, value: Any, limits: Setting, at: At) -> dict[str, Any]:
        """A table whose keys are names, e.g. [class.crater]."""
        name = _dotted(at)
        nested = dataclasses.is_dataclass(kind)
        if not isinstance(value, dict):
            wanted = f"tables: [{name}.NAME]" if nested else "a table"
            raise self.refusal(at, f"`{name}` must be {wanted}")
        if nested and not all(isinstance(entry, dict) for entry in value.values()):
            raise self.refusal(at, f"`{name}` must be tables: [{name}.NAME]")
        if len(value) < limits.fewest:
            raise self.refusal(at, f"no [{name}.NAME] table", "give at least one")
        for entry in value:
            if len(entry) > TEXT_MOST:
                raise self.refusal(at, f"`{name}` has a name of {len(entry):,} characters")
        return {
            entry: self._value(kind, held, limits, (*at, entry)) for entry, held in value.items()
        }

    def _list(self, kinds: At, value: Any, limits: Setting, at: At) -> tuple[Any, ...]:
        if not isinstance(value, list | tuple):
            raise self.refusal(at, f"`{_dotted(at)}` is {_shown(value)}, must be a list")
        fewest, most = counts(kinds, limits)
        if len(value) < fewest or (most is not None and len(value) > most):
            wanted = f"{fewest} or more" if most is None else f"{fewest} to {most}"
            wanted = str(fewest) if fewest == most else wanted
            raise self.refusal(
                at, f"`{_dotted(at)}` is {_shown(value)}, legal is a list of {wanted} values"
            )
        if self._text or not dataclasses.is_dataclass(kinds[0]):
            return tuple(self._value(kinds[0], item, limits, at) for item in value)
        # Without lines to point at, tables are told apart by their place in the list.
        places = ((*at[:-1], f"{at[-1]}[{n}]") for n in range(len(value)))
        return tuple(map(self._value, repeat(kinds[0]), value, repeat(limits), places))

    def _scalar(self, kind: Any, value: Any, limits: Setting, at: At) -> Any:
        name = _dotted(at)
        if kind is float and type(value) is int:
            value = float(value) if abs(value) < 1 << 1000 else math.inf
        if type(value) is not kind:
            raise self.refusal(at, f"`{name}` is {_shown(value)}, must be {_KINDS[kind]}")
        if limits.choices and value not in limits.choices:
            raise self.refusal(at, f"`{name}` is {_shown(value)}, legal is {legal(limits)}")
        if kind is str and len(value) < limits.fewest:
            raise self.refusal(at, f"`{name}` must be a text that is not empty")
        if kind is str and len(value) > TEXT_MOST:
            most = f"{len(value):,} characters, legal is up to {TEXT_MOST:,}"
            raise self.refusal(at, f"`{name}` is {_shown(value)}, {most}")
        # Written so that NaN, which compares false with everything, is refused too.
        low, high = limits.low, limits.high
        if low is not None and high is not None and not low <= value <= high:
            raise self.refusal(at, f"`{name}` is {_shown(value)}, legal is {legal(limits)}")
        return value


def counts(kinds: tuple[Any, ...], limits: Setting) -> tuple[int, int | None]:
    """The fewest and the most items of a list whose type's arguments are `kinds`."""
    if kinds[-1] is not Ellipsis:
        return len(kinds), len(kinds)
    return limits.fewest, limits.most


def _dotted(at: At) -> str:
    return ".".join(at)


def plain(number: float) -> str:
    """A number as TOML writes it, in groups of three digits from 10_000 up."""
    groups = "_" if abs(number) >= 10_000 else ""
    return format(number, groups if isinstance(number, int) else f"{groups}.15g")


def _shown(value: Any) -> str:
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # Python writes no number of thousands of digits
        return "beyond all limits"
    return shortened(text)


def shortened(text: str, most: int = _SHOWN) -> str:
    """The beginning of a text, by default as far as an error repeats it."""
    return text if len(text) <= most else f"{text[: most - 3]}..."


def _split_key(key: str) -> At:
    parts = re.findall(r"\"([^\"]*)\"|'([^']*)'|([\w-]+)", key)
    return tuple(next(p for p in part if p) for part in parts if any(part))
