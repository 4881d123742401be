"""Truth files: what is really in a picture, as people and scenes write it.

A truth file is JSON, ``{"lines", "samples", "classes", "features": [{"class", "line", "sample",
"lines", "samples"}]}``, boxes in full-resolution pixels of the swath; they may begin before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from winnow_base.errors import DataError
from winnow_edge.files import read_small
from winnow_edge.products.kinds import Box
from winnow_edge.tables import Reader, setting

LARGEST = 256_000_000
"""Octets of a truth file."""
_FAR = 2**31 - 1


@dataclass(frozen=True)
class TrueFeature:
    """A feature: its class and the box around it, in pixels; a `field` fills its box."""

    class_name: str = setting(..., key="class")
    line: float = setting(..., -_FAR, _FAR)
    sample: float = setting(..., -_FAR, _FAR)
    lines: float = setting(..., 1, _FAR)
    samples: float = setting(..., 1, _FAR)
    field: bool = setting(False)

    @property
    def box(self) -> Box:
        """Its box, in whole pixels."""
        return Box(int(self.line), int(self.sample), int(self.lines), int(self.samples))


@dataclass(frozen=True)
class TruthFile:
    """What a truth file says.

    `lines`, `samples` are the picture's (None: not said). `classes` are those of which every
    feature is listed: "all", or names.
    """

    features: tuple[TrueFeature, ...]
    classes: frozenset[str] | Literal["all"]
    lines: int | None = None
    samples: int | None = None


@dataclass(frozen=True)
class _File:
    features: tuple[TrueFeature, ...] = setting(..., most=50_000)
    classes: Any = setting(())
    lines: int | None = setting(None, 0, _FAR)
    samples: int | None = setting(None, 0, _FAR)


@dataclass(frozen=True)
class _Classes:
    classes: tuple[str, ...] = setting(())


def read_truth_file(path: Path) -> TruthFile:
    """Read a truth file. Raises DataError that names the file and the key."""
    try:
        data = read_small(path, LARGEST)
    except OSError as error:
        raise DataError(error.strerror or "cannot be read", where=path) from error
    reader = Reader(path, DataError, others=True, hint="is it a truth file? see docs/ground.md")
    file = reader.table(_File, reader.json(data))
    classes: frozenset[str] | Literal["all"] = "all"
    if file.classes != "all":
        classes = frozenset(reader.table(_Classes, {"classes": file.classes}).classes)
    return TruthFile(file.features, classes, file.lines, file.samples)
