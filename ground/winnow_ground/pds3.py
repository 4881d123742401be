"""PDS3 images: samples behind an attached label, or beside a detached one.

Reads what an uncompressed image needs of the Object Description Language (PDS Standards Reference
3.8, chapter 12; image object, appendix A.20): the ^IMAGE pointer, the IMAGE object, and nothing of
the rest but its syntax.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from winnow_base.errors import DataError

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
_FOREIGN = {
    *((kind, 16) for kind in ("LSB_INTEGER", "MSB_INTEGER")),
    *((kind, 32) for kind in ("PC_REAL", "IEEE_REAL")),
}
"""Samples that GDAL's driver reads as they are meant; others it takes for ones it knows."""


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
    `prefix` and `suffix` bytes around each; `order` is "big" or "little". Bands of colour follow
    one another."""

    path: Path
    offset: int
    lines: int
    samples: int
    bits: int
    order: str
    prefix: int
    suffix: int
    bands: int = 1

    @property
    def record(self) -> int:
        """Bytes from the start of a line to that of the next."""
        return self.prefix + self.samples * self.bits // 8 + self.suffix


class ForeignImageError(DataError):
    """A label of an image that this reader does not take, and GDAL may."""


def find_layout(path: Path) -> ImageLayout | None:
    """The layout of a PDS3 image, given by its label or, if that is detached, by its samples' file.

    None for a file that has no label; raises what `read_layout` raises.
    """
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", where=path) from None
    if head.lstrip().startswith((b"PDS_VERSION_ID", b"CCSD3ZF", b"ODL_VERSION_ID")):
        return read_layout(path)
    beside = (path.with_suffix(suffix) for suffix in (".LBL", ".lbl"))
    label = next((label for label in beside if label.is_file()), None)
    layout = read_layout(label) if label is not None else None
    return layout if layout is not None and layout.path.samefile(path) else None


def parse_label(text: str) -> Node:
    """The objects of a label, up to END. Raises DataError where its syntax is broken."""
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
            raise DataError(f"label: {word!r} where a keyword should be")
        key, last = word.upper(), None
        if key in ("END_OBJECT", "END_GROUP"):
            if len(stack) == 1:
                raise DataError(f"label: {key} without a beginning")
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
            raise DataError(f"label: {key} has no value")
        value = _value(tokens)
        if key in ("OBJECT", "GROUP", "BEGIN_OBJECT", "BEGIN_GROUP"):
            if len(stack) > _DEPTH_MAX:
                raise DataError("label: objects within objects without end")
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
    """What the label in `path` says about its image, whose first line is there.

    Raises ForeignImageError for one that GDAL may take: with signed or real samples, or in a file
    that is not there, as that of a label whose image was compressed afterwards. Raises DataError
    for a label that is wrong, or of an image of another kind.
    """
    try:
        with path.open("rb") as file:
            text = file.read(_LABEL_MAX).decode("latin-1")
        root = parse_label(text)
        found = root.find("IMAGE")
        if found is None:
            raise DataError("label: no IMAGE object", hint="not an image, or one of another kind")
        image, holder = found
        layout = _layout(path, root, image, holder)
        if not layout.path.is_file():
            raise ForeignImageError(
                f"its label points to {layout.path.name}, which is not there",
                hint="put it beside the label",
            )
        size = layout.path.stat().st_size
    except DataError as error:
        raise type(error)(error.what, where=path, hint=error.hint) from None
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", where=path) from None
    if size < layout.offset + layout.record:
        raise DataError(
            f"its label says {layout.lines} lines of {layout.record} bytes from byte "
            f"{layout.offset}, {layout.path.name} has {size} bytes",
            where=path,
            hint="label and file do not belong together, or the file is cut off",
        )
    return layout


def read_lines(layout: ImageLayout, band: int, count: int) -> Iterator[npt.NDArray[Any]]:
    """Blocks of at most `count` lines of one band, uint8 or little-endian uint16 (n, samples).

    All whole lines come out. Raises DataError, after the last of them, where the file ends before
    its label says.
    """
    width = layout.samples * layout.bits // 8
    kind = np.uint8 if layout.bits == 8 else np.dtype(">u2" if layout.order == "big" else "<u2")
    left = layout.lines
    with layout.path.open("rb") as file:
        file.seek(layout.offset + (band - 1) * layout.lines * layout.record)
        while left:
            raw = file.read(min(count, left) * layout.record)
            got = len(raw) // layout.record
            records = np.frombuffer(raw, np.uint8, got * layout.record)
            records = records.reshape(got, layout.record)
            inner = np.ascontiguousarray(records[:, layout.prefix : layout.prefix + width])
            if got:
                yield inner.view(kind).astype(np.uint8 if layout.bits == 8 else "<u2", copy=False)
            wanted, left = min(count, left), left - got
            if got < wanted:
                raise DataError(
                    f"{left} of {layout.lines} lines that the label says are missing",
                    where=layout.path,
                    hint="the lines before were fed; get the file again",
                )


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    text = _without_comments(text.partition("\0")[0])
    at = 0
    while match := _TOKEN.match(text, at):
        at = match.end()
        kind = str(match.lastgroup)
        word = match[kind]
        if kind == "word" and word == "END":
            yield kind, word
            return  # what follows an attached label is samples, not text
        yield kind, word


def _without_comments(text: str) -> str:
    parts = []
    while True:
        before, mark, rest = text.partition("/*")
        parts.append(before)
        if not mark:
            return " ".join(parts)
        # One that does not end is none, as is all that comes after it.
        comment, end, text = rest.partition("*/")
        if not end:
            return " ".join([*parts, mark + comment])


def _value(tokens: Iterator[tuple[str, str]]) -> Any:
    kind, word = next(tokens, ("", ""))
    if word in ("(", "{") and kind == "mark":
        return _sequence(tokens, ")" if word == "(" else "}", 0)
    if kind in ("text", "symbol"):
        return " ".join(word[1:-1].split())
    if kind == "word":
        return _number(word)
    raise DataError(f"label: {word or 'its end'} where a value should be")


def _sequence(tokens: Iterator[tuple[str, str]], end: str, depth: int) -> list[Any]:
    if depth > _DEPTH_MAX:
        raise DataError("label: sequences within sequences without end")
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
    raise DataError("label: a sequence does not end")


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
        ("BANDS", bands, 1, 10_000),
        ("LINE_PREFIX_BYTES", values.get("LINE_PREFIX_BYTES", 0), 0, 10**6),
        ("LINE_SUFFIX_BYTES", values.get("LINE_SUFFIX_BYTES", 0), 0, 10**6),
    ):
        if type(number) is not int or not low <= number <= high:
            raise DataError(f"label: {key} is {repr(number)[:60]}, must be {low} to {high}")
    if type(bits) is not int:
        raise DataError(f"label: SAMPLE_BITS is {repr(bits)[:60]}, must be 8 or 16")
    if (kind, bits) in _FOREIGN:
        raise ForeignImageError(
            f"label: {bits}-bit samples of type {kind}",
            hint="unsigned 8 and 16-bit samples can be read; convert it first",
        )
    if kind not in _UNSIGNED:
        raise DataError(
            f"label: {bits}-bit samples of type {kind or 'unknown'}",
            hint="unsigned 8 and 16-bit samples can be read; convert it first",
        )
    if bits not in (8, 16):
        raise DataError(f"label: {bits}-bit samples", hint="8 and 16-bit ones can be read")
    if values.get("ENCODING_TYPE", "N/A") not in ("N/A", "NONE"):
        # GDAL takes encoded samples for plain ones.
        raise DataError(
            f"label: samples are encoded ({values['ENCODING_TYPE']})", hint="decompress it first"
        )
    if bands != 1 and storage not in ("BAND_SEQUENTIAL", ""):
        raise DataError(
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
        bands=bands,
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
        raise DataError(f"label: ^IMAGE is {pointer!r}", hint="not a place in a file")
    if in_bytes or place == 1:
        return _as_stored(file), place - 1
    if type(record) is not int or record < 1:
        raise DataError(f"label: RECORD_BYTES is {record!r}, but ^IMAGE counts records")
    return _as_stored(file), (place - 1) * record


def _as_stored(file: Path) -> Path:
    """Labels write names in capitals that file systems may not have."""
    others = (file, file.with_name(file.name.lower()), file.with_name(file.name.upper()))
    return next((f for f in others if f.is_file()), file)
