"""What is fed: the shape and samples of an image, and pictures that are read as they are on board.

GDAL makes up zeros for what a cut PNG, JPEG or PGM lacks; the edge says what is missing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from winnow_base.errors import DataError
from winnow_edge.errors import SwathError
from winnow_edge.mission import Instrument
from winnow_edge.sources.contract import LineSource, fill
from winnow_edge.sources.open import open_source
from winnow_edge.sources.pgm import PgmSource
from winnow_edge.sources.picture import PictureSource
from winnow_ground import pds3

WINDOW_BYTES = 32 << 20
"""Bytes of decoded samples held at a time."""
_WIDEST = 1_000_000
"""Samples of a line, as in mission files."""
WHITE = 65_535
GET_AGAIN = "the lines before were fed; get it again"
_OF_BOARD = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"P5")
"""How the files begin that are read as on board."""
_MEMORY_MB = 4096.0
"""What decoding such a picture may take here."""


@dataclass(frozen=True)
class Feed:
    """What is fed: an image's shape and the samples that come out (`bits`, little-endian)."""

    path: Path
    lines: int
    samples: int
    bits: int
    driver: str
    limits: tuple[float, float] | None
    layout: pds3.ImageLayout | None = None
    on_board: bool = False
    """Read as the edge reads it."""


def fit(feed: Feed) -> Feed:
    """A feed whose lines the edge takes. Raises DataError."""
    if feed.samples > _WIDEST:
        what = f"is {feed.samples:,} samples wide, legal is up to {_WIDEST:,}"
        raise DataError(what, where=feed.path, hint="cut it into strips")
    return feed


def is_of_board(path: Path) -> bool:
    """Whether a file is read as on board."""
    try:
        with path.open("rb") as file:
            return file.read(16).startswith(_OF_BOARD)
    except OSError:
        return False  # who opens it says why


def describe_of_board(path: Path, band: int, limits: tuple[float, float] | None) -> Feed:
    """A PNG, JPEG or PGM as the edge reads it. Raises DataError."""
    with _source(path) as source:
        check_band(path, band, source.channels)
        bits = source.bits if limits is None else 16
        lines = source.declared_lines if isinstance(source, PictureSource) else source.lines
        kind = "PGM" if isinstance(source, PgmSource) else "picture"
        return fit(Feed(path, lines or 0, source.samples, bits, kind, limits, on_board=True))


@contextlib.contextmanager
def _source(path: Path) -> Iterator[LineSource]:
    """The lines of a PNG, JPEG or PGM, closed behind them. Raises DataError."""
    try:
        source = open_source(
            path, instrument=Instrument(bundle=""), grey=False, memory_mb=_MEMORY_MB
        )
    except SwathError as error:
        raise DataError(error.what, where=path, hint=error.hint) from None
    try:
        yield source
    except SwathError as error:
        raise DataError(error.what, where=path, hint=error.hint) from None
    finally:
        source.close()


def blocks_of_board(feed: Feed, band: int) -> Iterator[npt.NDArray[Any]]:
    """As `blocks`. What is missing at the end is not made up: DataError says so."""
    with _source(feed.path) as source:
        kind = np.uint8 if source.bits == 8 else np.uint16
        channels = () if source.channels == 1 else (source.channels,)
        count = max(WINDOW_BYTES // (feed.samples * source.channels * kind().itemsize), 1)
        room = np.empty((count, feed.samples, *channels), kind)
        while got := fill(source, room):
            lines = room[:got] if room.ndim == 2 else room[:got, :, band - 1]
            if feed.limits is not None:
                lines = stretched(lines, feed.limits, None)
            yield lines.copy() if feed.bits == 8 else lines.astype("<u2")
        if source.truncated:
            raise DataError(f"is cut short: {source.truncated}", where=feed.path, hint=GET_AGAIN)


def check_band(path: Path, band: int, count: int) -> None:
    if not 1 <= band <= count:
        raise DataError(f"has {count} bands, not {band}", where=path, hint="choose one with --band")


def stretched(
    lines: npt.NDArray[Any], limits: tuple[float, float], nodata: float | None
) -> npt.NDArray[np.uint16]:
    low, high = limits
    real = lines.astype(np.float64)
    empty = ~np.isfinite(real)
    if nodata is not None:
        empty |= real == nodata
    share = np.clip((np.where(empty, low, real) - low) / (high - low), 0.0, 1.0)
    result = (1 + np.round(share * (WHITE - 1))).astype(np.uint16)
    result[empty] = 0
    return result
