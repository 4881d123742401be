"""PDS3 images: samples behind an attached label, or beside a detached one.

Reads what an uncompressed image needs of the Object Description Language (PDS Standards Reference
3.8, chapter 12; image object, appendix A.20): the ^IMAGE pointer, the IMAGE object, and nothing of
the rest but its syntax.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from winnow_edge.errors import SwathError
from winnow_edge.sources import Lines
from winnow_edge.sources.raw import RawSource

_LABEL_MAX = 1 << 20
"""Bytes of a label that are read: real ones have some ten thousand."""
_DEPTH_MAX = 16

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<text>"[^"]*") | (?P<symbol>'[^']*') | (?P<unit><[^>]*>) | (?P<mark>[=(){},])
        | (?P<word>[^\s=(){},<>"']+)
    )""",
    re.VERBOSE | re.DOTALL,
)
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)

_UNSIGNED = {
    "MSB_UNSIGNED_INTEGER": "big",
    "UNSIGNED_INTEGER": "big",
    "SUN_UNSIGNED_INTEGER": "big",
    "MAC_UNSIGNED_INTEGER": "big",
    "LSB_UNSIGNED_INTEGER": "little",
    "PC_UNSIGNED_INTEGER": "little",
    "VAX_UNSIGNED_INTEGER": "little",
}
"""Byte order by SAMPLE_TYPE (Standards Reference, appendix C)."""


@dataclass
class Node:
    """An object of a label: its keywords (upper case) and the objects and groups within it."""

    name: str
    values: dict[str, Any] = field(default_factory=dict)
    children: list[Node] = field(default_factory=list)

    def find(self, name: str) -> tuple[Node, Node] | None:
        """The first object of that name at any depth, with the one that holds it."""
        for child in self.children:
            if child.name == name:
                return child, self
            if (found := child.find(name)) is not None:
                return found
        return None


@dataclass(frozen=True)
class ImageLayout:
    """Where an image's samples lie: `offset` bytes into `path`, lines of `samples` of `bits` with
    `prefix` and `suffix` bytes around each; `order` is "big" or "little"."""

    path: Path
    offset: int
    lines: int
    samples: int
    bits: int
    order: str
    prefix: int
    suffix: int


def is_label(head: bytes) -> bool:
    """Whether a file that begins so has a PDS3 label."""
    return head.lstrip().startswith((b"PDS_VERSION_ID", b"CCSD3ZF", b"ODL_VERSION_ID"))


def detached_label(path: Path) -> Path | None:
    """The label file beside an image file, if there is one."""
    candidates = (path.with_suffix(suffix) for suffix in (".LBL", ".lbl"))
    return next((label for label in candidates if label.is_file() and label != path), None)


def parse_label(text: str) -> Node:
    """The objects of a label, up to END. Raises SwathError where its syntax is broken."""
    root = Node("")
    stack = [root]
    tokens = _tokens(text)
    last: str | None = None
    for kind, word in tokens:
        if kind == "unit" and last is not None:
            value = stack[-1].values[last]
            stack[-1].values[last] = [(value, "BYTES")] if _is_bytes(last, word) else value
            continue
        if kind != "word":
            raise SwathError(f"label: {word!r} where a keyword should be")
        key, last = word.upper(), None
        if key in ("END_OBJECT", "END_GROUP"):
            if len(stack) == 1:
                raise SwathError(f"label: {key} without a beginning")
            stack.pop()
            rest = next(tokens, ("", ""))
            if rest[1] == "=":
                next(tokens, None)  # its name; optional in the standard
                continue
            if rest[0] != "word":
                continue
            key = rest[1].upper()
        if key == "END":
            break
        if next(tokens, ("", ""))[1] != "=":
            raise SwathError(f"label: {key} has no value")
        value = _value(tokens)
        if key in ("OBJECT", "GROUP", "BEGIN_OBJECT", "BEGIN_GROUP"):
            if len(stack) > _DEPTH_MAX:
                raise SwathError("label: objects within objects without end")
            node = Node(str(value).upper())
            stack[-1].children.append(node)
            stack.append(node)
        else:
            stack[-1].values[key] = value
            last = key
    return root


def _is_bytes(key: str, unit: str) -> bool:
    """Whether a unit changes what a pointer means."""
    return key.startswith("^") and unit.strip("<> ").upper() == "BYTES"


def read_layout(path: Path) -> ImageLayout:
    """What the label in `path` says about its image. Raises SwathError."""
    with path.open("rb") as file:
        text = file.read(_LABEL_MAX).decode("latin-1")
    try:
        root = parse_label(text)
        found = root.find("IMAGE")
        if found is None:
            raise SwathError("label: no IMAGE object", hint="not an image, or one of another kind")
        image, holder = found
        return _layout(path, root, image, holder)
    except SwathError as error:
        raise SwathError(error.what, where=path, hint=error.hint) from None


class Pds3Source:
    """Lines of an uncompressed PDS3 image; of several bands the first."""

    channels = 1

    def __init__(self, path: Path) -> None:
        layout = read_layout(path)
        self._layout = layout
        self.name = path.name
        self.samples, self.bits = layout.samples, layout.bits
        self.lines: int | None = layout.lines
        self.truncated: str | None = None
        self.fingerprint: str | None = None
        self.idle: Callable[[], bool] | None = None
        self._left = layout.lines
        try:
            fd = os.open(layout.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise SwathError(
                f"its label points to {layout.path.name}, which is not there",
                where=path,
                hint="put it beside the label; a compressed one is for `winnow feed`",
            ) from None
        except OSError as error:
            raise SwathError(f"cannot be read: {error.strerror}", where=layout.path) from None
        record = layout.prefix + layout.samples * layout.bits // 8 + layout.suffix
        size = os.fstat(fd).st_size
        if size < layout.offset + record:
            os.close(fd)
            raise SwathError(
                f"its label says {layout.lines} lines of {record} bytes from byte "
                f"{layout.offset}, {layout.path.name} has {size} bytes",
                where=path,
                hint="label and file do not belong together, or the file is cut off",
            )
        os.lseek(fd, layout.offset, os.SEEK_SET)
        plain = record == layout.samples * layout.bits // 8
        self._raw = RawSource(
            fd,
            self.name,
            samples=layout.samples if plain else record,
            bits=layout.bits if plain else 8,
            lines=None,
            order=layout.order,
        )
        self._record: npt.NDArray[np.uint8] | None = None if plain else np.empty((0, record), "u1")

    def read(self, out: Lines) -> int:
        """See `LineSource.read`."""
        wanted = min(len(out), self._left)
        if not wanted:
            return 0
        if self._record is None:
            got = self._raw.read(out[:wanted])
        else:
            got = self._read_records(out[:wanted], self._record)
        self._left -= got
        if got < wanted:
            self.truncated = f"{self._left} of {self.lines} lines that the label says are missing"
        return got

    def close(self) -> None:
        """See `LineSource.close`."""
        self._raw.close()

    def _read_records(self, out: Lines, records: npt.NDArray[np.uint8]) -> int:
        """Lines with bytes before or after them."""
        if len(records) < len(out):
            records = self._record = np.empty((len(out), records.shape[1]), np.uint8)
        got = self._raw.read(records[: len(out)])
        layout = self._layout
        width = layout.samples * layout.bits // 8
        inner = np.ascontiguousarray(records[:got, layout.prefix : layout.prefix + width])
        if layout.bits == 16:
            out[:got] = inner.view(">u2" if layout.order == "big" else "<u2")
        else:
            out[:got] = inner
        return got


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    text = _COMMENT.sub(" ", text.partition("\0")[0])
    at = 0
    while match := _TOKEN.match(text, at):
        at = match.end()
        kind = str(match.lastgroup)
        word = match[kind]
        if kind == "word" and word == "END":
            yield kind, word
            return  # what follows an attached label is samples, not text
        yield kind, word


def _value(tokens: Iterator[tuple[str, str]]) -> Any:
    kind, word = next(tokens, ("", ""))
    if word in ("(", "{") and kind == "mark":
        return _sequence(tokens, ")" if word == "(" else "}", 0)
    if kind in ("text", "symbol"):
        return " ".join(word[1:-1].split())
    if kind == "word":
        return _number(word)
    raise SwathError(f"label: {word or 'its end'} where a value should be")


def _sequence(tokens: Iterator[tuple[str, str]], end: str, depth: int) -> list[Any]:
    if depth > _DEPTH_MAX:
        raise SwathError("label: sequences within sequences without end")
    values: list[Any] = []
    for kind, word in tokens:
        if kind == "mark" and word == end:
            return values
        if kind == "mark" and word in "({":
            values.append(_sequence(tokens, ")" if word == "(" else "}", depth + 1))
        elif kind == "unit" and values:
            values[-1] = (values[-1], word.strip("<>").strip().upper())
        elif kind in ("text", "symbol"):
            values.append(" ".join(word[1:-1].split()))
        elif kind == "word":
            values.append(_number(word))
    raise SwathError("label: a sequence does not end")


def _number(word: str) -> Any:
    for convert in (int, float):
        try:
            return convert(word)
        except ValueError:
            continue
    return word


def _layout(path: Path, root: Node, image: Node, holder: Node) -> ImageLayout:
    values = image.values
    kind, bits = str(values.get("SAMPLE_TYPE", "")).upper(), values.get("SAMPLE_BITS")
    lines, samples = values.get("LINES"), values.get("LINE_SAMPLES")
    bands, storage = values.get("BANDS", 1), str(values.get("BAND_STORAGE_TYPE", "")).upper()
    for key, number, low, high in (
        ("LINES", lines, 1, 10**9),
        ("LINE_SAMPLES", samples, 1, 10**6),
        ("LINE_PREFIX_BYTES", values.get("LINE_PREFIX_BYTES", 0), 0, 10**6),
        ("LINE_SUFFIX_BYTES", values.get("LINE_SUFFIX_BYTES", 0), 0, 10**6),
    ):
        if type(number) is not int or not low <= number <= high:
            raise SwathError(f"label: {key} is {number!r}, must be {low} to {high}")
    if bits not in (8, 16) or kind not in _UNSIGNED:
        raise SwathError(
            f"label: {bits}-bit samples of type {kind or 'unknown'}",
            hint="unsigned 8 and 16-bit samples can be read; convert it first",
        )
    if values.get("ENCODING_TYPE", "N/A") not in ("N/A", "NONE"):
        raise SwathError(
            f"label: samples are encoded ({values['ENCODING_TYPE']})", hint="decompress it first"
        )
    if bands != 1 and storage not in ("BAND_SEQUENTIAL", ""):
        raise SwathError(
            f"label: {bands} bands stored as {storage}", hint="only BAND_SEQUENTIAL can be read"
        )
    assert isinstance(lines, int)
    assert isinstance(samples, int)
    file, offset = _pointer(path, root, holder)
    return ImageLayout(
        path=file,
        offset=offset,
        lines=lines,
        samples=samples,
        bits=bits,
        order=_UNSIGNED[kind],
        prefix=values.get("LINE_PREFIX_BYTES", 0),
        suffix=values.get("LINE_SUFFIX_BYTES", 0),
    )


def _pointer(path: Path, root: Node, holder: Node) -> tuple[Path, int]:
    """File and byte where the image begins: ^IMAGE = "FILE" | n | n <BYTES> | ("FILE", n)."""
    pointer = holder.values.get("^IMAGE", root.values.get("^IMAGE"))
    record = holder.values.get("RECORD_BYTES", root.values.get("RECORD_BYTES"))
    parts = pointer if isinstance(pointer, list) else [pointer]
    file, in_bytes = path, False
    place: Any = 1
    for part in parts:
        if isinstance(part, tuple):
            place, in_bytes = part[0], part[1] == "BYTES"
        elif isinstance(part, str):
            # Only a name: a label has no business in other folders.
            file = path.parent / Path(part.replace("\\", "/")).name
        else:
            place = part
    if type(place) is not int or not 1 <= place < 2**62:
        raise SwathError(f"label: ^IMAGE is {pointer!r}", hint="not a place in a file")
    if in_bytes or place == 1:
        return _as_stored(file), place - 1
    if type(record) is not int or record < 1:
        raise SwathError(f"label: RECORD_BYTES is {record!r}, but ^IMAGE counts records")
    return _as_stored(file), (place - 1) * record


def _as_stored(file: Path) -> Path:
    """Labels write names in capitals that file systems may not have."""
    others = (file, file.with_name(file.name.lower()), file.with_name(file.name.upper()))
    return next((f for f in others if f.is_file()), file)
