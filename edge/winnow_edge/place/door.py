"""The one door for geometry: found beside a swath, read, checked; a swath is never lost for it.

What makes no sense is a fault in words, and the time or place is not known. Who was told wins over
what was found: options, then `SWATH.geometry.jsonl`, a receiver's log, a PDS label, EXIF.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from winnow_edge.clock.cuc import NS, Instant
from winnow_edge.clock.utc import format_utc
from winnow_edge.errors import SwathError
from winnow_edge.files import printable, read_small
from winnow_edge.place import exif, label, nmea, sidecar
from winnow_edge.place.geometry import Geometry, Moments
from winnow_edge.place.nmea import Fix
from winnow_edge.place.place import Floats, Place, encode_place
from winnow_edge.place.sidecar import Entry
from winnow_edge.place.track import Fixed, Track

SUFFIXES: Final = (sidecar.SUFFIX, nmea.SUFFIX, *label.SUFFIXES)
"""How the name of a file that tells about a swath ends."""
_MOST_DOTS: Final = 4
_MOST_BAD: Final = 0.5
"""Of a file with a larger share of entries that make no sense, none is believed."""
_NEAR_NS: Final = NS
"""Receivers have a fix a second: a picture has the place of one that is as near in time."""
_GAP_NS: Final = 60 * NS
"""Between fixes further apart in time no place is known: a drone may have been anywhere."""
_MOST_LINES: Final = 2**32
_FAULT_LENGTH: Final = 300


@dataclass(frozen=True, slots=True)
class Asked:
    """What was told on the command line: `start` and `place` of the swath, `sidecar` instead of the
    files beside it."""

    start: Instant | None = None
    place: Place | None = None
    sidecar: Path | None = None


@dataclass(frozen=True, slots=True)
class Shape:
    """Of a swath: `lines` None where the number is not known, `frame` where it is one picture."""

    samples: int
    lines: int | None
    line_time_us: float | None
    frame: bool = False


def is_beside(name: str) -> bool:
    """Whether a file of that name tells about a swath and is none itself."""
    return name.endswith(SUFFIXES)


def beside(path: Path) -> Iterator[Path]:
    """The files that can tell about the swath in `path`, the first of each kind that is there.

    STRIP.browse.jpg is told of by STRIP.browse.jpg.geometry.jsonl, STRIP.browse.geometry.jsonl or
    STRIP.geometry.jsonl.
    """
    parts = path.name.split(".")
    stems = [".".join(parts[:n]) for n in range(len(parts), 0, -1)][:_MOST_DOTS]
    for kind in ((sidecar.SUFFIX,), (nmea.SUFFIX,), label.SUFFIXES):
        names = (path.with_name(stem + suffix) for stem in stems if stem for suffix in kind)
        found = next((name for name in names if name.is_file()), None)
        if found is not None:
            yield found


def look(path: str | os.PathLike[str], shape: Shape, asked: Asked | None = None) -> Geometry:
    """When and where the swath in `path` was seen.

    Raises SwathError for a sidecar that was asked for and is of no kind that is known; everything
    else that is wrong is a fault of the geometry.
    """
    asked = asked or Asked()
    file = Path(path)
    there = file.is_file()
    if asked.sidecar is not None and not is_beside(asked.sidecar.name):
        hint = f"its name ends with one of {', '.join(SUFFIXES)}"
        raise SwathError("is no geometry", where=printable(str(asked.sidecar)), hint=hint)
    files = [asked.sidecar] if asked.sidecar else list(beside(file)) if there else []
    found = Geometry(line_time_us=0.0 if shape.frame else shape.line_time_us)
    if asked.start is not None:
        found = found.started(asked.start, "told")
    if asked.place is not None:
        found = _at(found, asked.place, "told")
    for one in files:
        found = _with(found, one, shape)
    if there and (found.start is None or found.places is None):
        taken = exif.read_exif(file)
        if found.start is None and taken.start is not None:
            found = found.started(taken.start, "EXIF")
        if found.places is None and taken.place is not None:
            found = _at(found, taken.place, "EXIF")
            found = found.flown([] if taken.altitude_m is None else [taken.altitude_m])
    return found


def _at(found: Geometry, place: Place, source: str) -> Geometry:
    """The whole swath at one place."""
    digest = hashlib.sha256(encode_place(place)).hexdigest()
    return replace(found, places=Fixed(place), source=source, sha256=digest, entries=1)


def _with(found: Geometry, file: Path, shape: Shape) -> Geometry:
    """With what a file adds to what is known already."""
    try:
        data = read_small(file)
    except OSError as error:
        return _faulty(found, file, error.strerror or "cannot be read")
    digest = hashlib.sha256(data).hexdigest()
    if file.name.endswith(sidecar.SUFFIX):
        return _with_entries(found, file, data, digest, shape)
    if file.name.endswith(nmea.SUFFIX):
        return _with_fixes(found, file, data, digest, shape)
    said = label.read_label(data, shape.samples, None if shape.frame else shape.lines)
    if said is None:
        return _faulty(found, file, "is no PDS3 label")
    for fault in said.faults:
        found = _faulty(found, file, fault)
    if found.start is None and said.start is not None:
        found = found.started(said.start, "label")
    if found.places is None and said.places is not None:
        found = replace(found, places=said.places, source="label", sha256=digest, entries=1)
    return found


def _with_entries(found: Geometry, file: Path, data: bytes, digest: str, shape: Shape) -> Geometry:
    told = sidecar.read_entries(data)
    total = told.left_out + len(told.entries)
    if not told.entries or told.left_out > _MOST_BAD * total:
        what = f"{told.left_out} of {total} entries make no sense ({told.why})"
        return _faulty(found, file, what if total else "has no entry")
    if told.left_out:
        found = _faulty(found, file, f"{told.left_out} entries left out ({told.why})")
    if (outside := _is_behind(told.entries[0], shape)) is not None:
        return _faulty(found, file, outside)
    timed = [(entry.line, entry.ns) for entry in told.entries if entry.ns is not None]
    if found.start is None and timed:
        lines, times = zip(*timed, strict=True)
        found = replace(found, moments=Moments(np.array(lines), np.array(times, np.int64)))
        first = int(found.instants(np.zeros(1))[0])
        if first >= 0:
            found = found.started(Instant(first), "sidecar")
        else:
            what = f"its first time is of line {lines[0]:g}: the start of line 0 is not known"
            found = _faulty(found, file, what)
    placed = [entry for entry in told.entries if entry.latitude is not None]
    if found.places is None and placed:
        found = _with_track(found, file, placed, shape)
    if found.altitude_m is None:
        found = found.flown(e.altitude_m for e in told.entries if e.altitude_m is not None)
    source, used = found.source or "sidecar", len(told.entries)
    return replace(found, source=source, sha256=digest, entries=used, left_out=told.left_out)


def _is_behind(entry: Entry, shape: Shape) -> str | None:
    """That the first of some entries lies behind the swath's last line, in words; None: it does
    not, as far as the lines are known."""
    if shape.lines is None or entry.line < shape.lines:
        return None
    return f"its first entry is of line {entry.line:,.15g}, and the swath has {shape.lines:,} lines"


def _with_track(found: Geometry, file: Path, placed: Sequence[Entry], shape: Shape) -> Geometry:
    """With the places of entries: of a picture as a whole, else of the lines between them."""
    if (outside := _is_behind(placed[0], shape)) is not None:
        return _faulty(found, file, outside)
    if shape.frame:
        entry = placed[len(placed) // 2]
        assert entry.latitude is not None
        return replace(found, places=Fixed(Place(entry.latitude, entry.longitude)))
    if len(placed) == 1:
        return _faulty(found, file, _alone("entry"))
    places = _track(placed, shape)
    if places.breaks:
        what = f"{places.breaks} steps between entries are too far; no places there"
        found = _faulty(found, file, what)
    return replace(found, places=places)


def _alone(what: str) -> str:
    """Nobody knows which way a swath went on from one place."""
    return f"one {what} alone gives lines no places; `--place` gives a whole swath one"


def _track(placed: Sequence[Entry], shape: Shape) -> Track:
    corners = [entry.corners for entry in placed if entry.corners is not None]
    ends = np.array(corners) if len(corners) == len(placed) else None
    return Track(
        _column(entry.line for entry in placed),
        _column(entry.latitude for entry in placed),
        _column(entry.longitude for entry in placed),
        left=None if ends is None else ends[:, 0],
        right=None if ends is None else ends[:, 1],
        samples=shape.samples,
    )


def _column(values: Iterable[float | None]) -> Floats:
    return np.array([np.nan if value is None else value for value in values])


def _with_fixes(found: Geometry, file: Path, data: bytes, digest: str, shape: Shape) -> Geometry:
    """Fixes have times; which lines these are is known from the swath's start and line time."""
    log = nmea.read_fixes(data)
    if not log.fixes or log.left_out > _MOST_BAD * (log.left_out + len(log.fixes)):
        return _faulty(found, file, "has no fix, or more than half of it makes no sense")
    if found.places is not None:
        return found
    if found.start is None or not found.start.tai or found.line_time_us is None:
        return _faulty(found, file, "the swath's start or line time is not known, so no line is")
    places, fault = _of_fixes(log.fixes, found.start, found.line_time_us * 1000, shape)
    if fault is not None:
        found = _faulty(found, file, fault)
    if places is None:
        return found
    used = len(log.fixes)
    found = replace(found, places=places, source="receiver", sha256=digest)
    found = found.flown(log.altitudes)
    return replace(found, entries=used, left_out=log.left_out)


def _of_fixes(
    fixes: Sequence[Fix], start: Instant, step: float, shape: Shape
) -> tuple[Fixed | Track | None, str | None]:
    """The places of a swath, `step` nanoseconds a line (0: a picture), and a fault in words."""
    last = 0 if step == 0 else (shape.lines or _MOST_LINES) - 1
    line = _column((fix.ns - start.ns) / (step or NS) for fix in fixes)
    if step == 0:
        near = min(fixes, key=lambda fix: abs(fix.ns - start.ns))
        if abs(near.ns - start.ns) <= _NEAR_NS:
            return Fixed(Place(near.latitude, near.longitude)), None
    if line[-1] < 0 or line[0] > last:
        first, final = (format_utc(Instant(fixes[n].ns)) for n in (0, -1))
        what = f"its fixes are of {first} to {final}: none is of the swath, which began"
        return None, f"{what} {format_utc(start)}"
    # What was logged before and after the swath says nothing of it.
    begin = max(int(np.searchsorted(line, 0, side="right")) - 1, 0)
    around = slice(begin, int(np.searchsorted(line, last)) + 1)
    fixes, line = fixes[around], line[around]
    if len(fixes) == 1:
        return None, _alone("fix")
    gaps = np.diff(np.array([fix.ns for fix in fixes], np.int64)) > _GAP_NS
    north, east = (_column(fix[n] for fix in fixes) for n in (1, 2))
    track = Track(line, north, east, gaps=gaps)
    what = f"{track.breaks} steps between fixes are too far or too long; no places there"
    fault = what if track.breaks else None
    if step:
        return track, fault
    (latitude,), (longitude,) = track.at(np.zeros(1), np.zeros(1))
    here = Fixed(Place(float(latitude), float(longitude))) if np.isfinite(latitude) else None
    return here, fault


def _faulty(found: Geometry, file: Path, what: str) -> Geometry:
    return replace(found, faults=(*found.faults, f"{printable(file.name)}: {what}"[:_FAULT_LENGTH]))
