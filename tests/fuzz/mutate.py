"""Damage: octets, plain values as of JSON, and texts, from a seeded random.Random alone."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

OCTETS = (b"\0", b"\xff", b"\x7f", b"\x80", b"\0\0\0\0", b"\xff" * 4, b"\x7f\xff\xff\xff", b"\n")


@dataclass(frozen=True)
class Raw:
    """Text that stands in JSON as it is, whether or not it is a value."""

    text: str


DEEP = Raw("[" * 100_000)
DIGITS = Raw("9" * 5000)
ODD: tuple[Any, ...] = (
    *(None, True, False, "", "x", "\0", "\ud800", "\udcff", "\x1b]0;x\x07", "a\nb", "²", "é🛰"),
    *("x" * 300, "x" * 70_000, "../../etc/passwd", "/dev/zero", "=1+1", "NaN", "1e5", "0x1f"),
    *(0, -1, 1, 2, 63, 255, 256, 65_535, 65_536, 2**31 - 1, 2**31, 2**32, 2**53, 2**63, 2**64),
    *(-(2**31), -(2**63), 10**30, 10**400, 0.5, -0.0, 1e-308, 5e-324, 1e308, -1e308, 1.5, 1e15),
    *(float("nan"), float("inf"), float("-inf"), [], {}, [[]], [0], [None], {"": None}, [{}] * 3),
    *(list(range(300)), {str(n): n for n in range(300)}, [1, 2, 3, 4], [0.1, "x"]),
    *(Raw("1e400"), Raw("-1e400"), DIGITS, Raw("-" + DIGITS.text), DEEP, Raw("[]]"), Raw("01")),
    *(Raw('{"a": 1, "a": 2}'), Raw(""), Raw("'x'"), Raw('"\\ud800"'), Raw('"\\u0000"')),
)


def octets(
    rng: random.Random, seeds: Sequence[bytes], words: Sequence[bytes], most: int = 6
) -> bytes:
    """A seed with bits flipped, octets set, pieces cut, doubled, moved between seeds, and words of
    the format put in where they do not belong; now and then the seed as it is."""
    data = bytearray(rng.choice(seeds))
    for _ in range(rng.choice((0, 1, 1, 1, 2, 3, most))):
        at = rng.randrange(len(data) + 1)
        to = min(at + rng.choice((1, 1, 2, 4, 16, 200)), len(data))
        match rng.randrange(9):
            case 0 if data:
                data[at % len(data)] ^= 1 << rng.randrange(8)
            case 1 if data:
                data[at % len(data)] = rng.randrange(256)
            case 2:
                data[at:at] = rng.choice((*words, *OCTETS))
            case 3:
                data[at:to] = rng.choice((*words, *OCTETS))
            case 4:
                del data[at:to]
            case 5:
                data[at:at] = data[at:to] * rng.choice((1, 1, 3, 50))
            case 6:
                other = rng.choice(seeds)
                data[at:] = other[rng.randrange(len(other) + 1) :]
            case 7:
                word = rng.choice(words) if words else b""
                if word and (found := data.find(word)) >= 0:
                    data[found : found + len(word)] = rng.choice(words)
            case _:
                del data[at:]
    return bytes(data)


def tree(rng: random.Random, seeds: Sequence[Any], odd: Sequence[Any] = ODD, most: int = 3) -> Any:
    """A copy of plain values with some of them changed, removed, renamed, moved or doubled."""
    value = [copy.deepcopy(rng.choice(seeds))]
    for _ in range(rng.choice((1, 1, 1, 2, most))):
        holder, key = rng.choice(list(_places(value)))
        _change(rng, holder, key, value, odd)
    return value[0]


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every holder and key below a value."""
    found = []
    left = [value]
    while left:
        holder = left.pop()
        keys = list(holder) if isinstance(holder, dict) else range(len(holder))
        for key in keys:
            found.append((holder, key))
            if isinstance(holder[key], dict | list) and len(holder[key]) < 200:
                left.append(holder[key])
    return found


def _change(rng: random.Random, holder: Any, key: Any, whole: Any, odd: Sequence[Any]) -> None:
    old = holder[key]
    match rng.randrange(8):
        case 0 if type(old) in (int, float):
            holder[key] = rng.choice(
                (-old, old + 1, old - 1, old * 1000, old / 2 if abs(old) < 1e300 else 0, [old])
            )
        case 1 if isinstance(old, str):
            holder[key] = _text(rng, old)
        case 2 if holder is not whole:
            del holder[key]
        case 3 if isinstance(holder, dict):
            holder[rng.choice((*map(str, holder), "x", "", "\ud800"))] = holder.pop(key)
        case 4:
            other, place = rng.choice(_places(whole))
            holder[key] = copy.deepcopy(other[place])
        case 5 if isinstance(old, list):
            holder[key] = old * rng.choice((0, 2, 3, 300))
        case 6 if isinstance(old, dict | list):
            put = rng.choice(odd)
            if isinstance(old, dict):
                old[rng.choice(("x", "id", "class", ""))] = put
            else:
                old.insert(rng.randrange(len(old) + 1), put)
        case _:
            holder[key] = copy.deepcopy(rng.choice(odd))


def _text(rng: random.Random, old: str) -> str:
    at = rng.randrange(len(old) + 1)
    put = rng.choice(("\0", "\ud800", "\x1b", "\n", "é", "🛰", "/", "..", " ", "²", '"', "x" * 300))
    return rng.choice((old[:at] + put + old[at:], old[:at], old[at:], old * 2, old.upper()))


def dump(value: Any) -> str:
    """Values as JSON; `Raw` as it is, lone surrogates as escapes, NaN and infinity as Python's."""
    if isinstance(value, Raw):
        return value.text
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(str(k))}: {dump(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(dump, value)) + "]"
    return json.dumps(value)


def json_bytes(rng: random.Random, seeds: Sequence[Any], words: Sequence[bytes] = ()) -> bytes:
    """JSON of damaged values; one time in four octets of it are damaged too."""
    text = dump(tree(rng, seeds)).encode()
    if rng.randrange(4):
        return text
    return octets(rng, [text], (*words, b"{", b"}", b"[", b"]", b'"', b",", b":", b"null", b"-"))


def toml(value: Any) -> str:
    """Tables as TOML, as far as TOML has such values."""
    if not isinstance(value, dict):
        return _toml(value)
    lines: list[str] = []

    def table(held: dict[str, Any], at: tuple[str, ...]) -> None:
        nested = []
        for key, entry in held.items():
            if isinstance(entry, dict):
                nested.append((key, entry))
            else:
                lines.append(f"{_key(key)} = {_toml(entry)}")
        for key, entry in nested:
            lines.append(f"[{'.'.join(map(_key, (*at, key)))}]")
            table(entry, (*at, key))

    table(value, ())
    return "\n".join(lines) + "\n"


def _key(key: str) -> str:
    return key if key.isascii() and key.replace("_", "x").isalnum() else _toml(str(key))


def _toml(value: Any) -> str:
    if isinstance(value, Raw):
        return value.text
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_key(k)} = {_toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, float):
        return str(value)  # nan and inf as TOML has them
    if value is None:
        return ""
    return json.dumps(value, ensure_ascii=isinstance(value, str) and value < "\ud800")


def some(rng: random.Random, *ways: tuple[int, Callable[[random.Random], Any]]) -> Any:
    """One of several ways to damage, drawn by its weight."""
    weights = [weight for weight, _ in ways]
    return rng.choices([way for _, way in ways], weights)[0](rng)
