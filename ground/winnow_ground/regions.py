"""Raw regions: asked for on a list, put together of the parts that came down."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image

from winnow_base.errors import DataError
from winnow_base.files import locked
from winnow_edge.downlink.requests import MOST_REQUESTS, Request, Requests, load_requests
from winnow_edge.files import printable, write_file
from winnow_edge.products.kinds import Box
from winnow_edge.products.region import MOST_SAMPLES, png
from winnow_edge.sources.contract import PICTURE_ERRORS
from winnow_ground.received import Received, ReceivedProduct, load_received

REQUESTS_FILE: Final = "requests.json"
SHOWN: Final = 1024
_SHOWN: Final = 20


@dataclass(frozen=True)
class Region:
    """What has come down of a region: its `parts`, one of each place, by their lines."""

    store: int
    swath: int
    request: int
    whole: Box
    parts: tuple[ReceivedProduct, ...]

    @property
    def lines(self) -> int:
        """Lines that have come down."""
        return sum(p.box.lines for p in self.parts if p.box)

    @property
    def complete(self) -> bool:
        """Whether all its lines have come down."""
        return self.lines == self.whole.lines

    @property
    def file(self) -> str:
        """Its picture in the folder."""
        return f"regions/{self.store:08x}-s{self.swath}-r{self.request}.png"


def regions(received: Received) -> list[Region]:
    """The regions of which anything has come down, by store, swath and request."""
    found: dict[tuple[int, int, int, Box], dict[int, ReceivedProduct]] = {}
    for p in received.products:
        if p.kind == "region" and p.box and p.outline and p.request is not None and p.file:
            parts = found.setdefault((p.store, p.swath, p.request, p.outline), {})
            parts.setdefault(p.box.line, p)
    return [
        Region(*key, tuple(parts[line] for line in sorted(parts)))
        for key, parts in sorted(found.items(), key=lambda item: item[0][:3])
    ]


def join_regions(received: Received) -> list[Path]:
    """Write the picture of each region that is complete and has none yet; which. Raises
    OutputError."""
    written = []
    for region in regions(received):
        path = received.folder / region.file
        whole = region.whole
        if not region.complete or path.exists() or whole.lines * whole.samples > MOST_SAMPLES:
            continue
        parts = [_pixels(received.folder / (p.file or ""), p.box) for p in region.parts]
        there = [p for p in parts if p is not None]
        if len(there) < len(parts) or len({(p.shape[1:], p.dtype) for p in there}) != 1:
            continue  # a part was taken away, or an earlier request had the same number
        write_file(path, png(np.concatenate(there)), durable=False)
        written.append(path)
    return written


def shown(received: Received, region: Region) -> bytes | None:
    """A JPEG for people: what has come down in its place, reduced to SHOWN pixels a side, and
    stretched between the 1st and 99th percentile; lines that are not here are black. None where
    no part can be read."""
    whole = region.whole
    step = -(-max(whole.lines, whole.samples) // SHOWN)
    canvas: np.ndarray[Any, Any] | None = None
    there = np.zeros(-(-whole.lines // step), bool)
    for part in region.parts:
        pixels = _pixels(received.folder / (part.file or ""), part.box)
        if pixels is None or part.box is None:
            continue
        first = -(part.box.line - whole.line) % step  # the part's first line of the reduced ones
        pixels = pixels[first::step, ::step]
        if canvas is None:
            canvas = np.zeros((len(there), *pixels.shape[1:]), np.float32)
        if not len(pixels) or canvas.shape[1:] != pixels.shape[1:]:
            continue
        at = (part.box.line - whole.line + first) // step
        canvas[at : at + len(pixels)] = pixels
        there[at : at + len(pixels)] = True
    if canvas is None or not there.any():
        return None
    low, high = np.percentile(canvas[there], [1, 99])
    canvas[there] = np.clip((canvas[there] - low) / max(high - low, 1), 0, 1) * 255
    out = io.BytesIO()
    Image.fromarray(canvas.astype(np.uint8)).save(out, "JPEG", quality=85)
    return out.getvalue()


def _pixels(path: Path, box: Box | None) -> np.ndarray[Any, Any] | None:
    """The samples of a part; None where its file is not what was written."""
    try:
        with Image.open(path, formats=("PNG",)) as image:
            pixels = np.asarray(image)
    except PICTURE_ERRORS:
        return None
    if box is None or pixels.shape[:2] != (box.lines, box.samples):
        return None
    return pixels.astype(np.uint16) if pixels.dtype.itemsize > 2 else pixels


def said(received: Received) -> list[str]:
    """A line on each region, the latest ones."""
    lines = []
    for region in regions(received)[-_SHOWN:]:
        whole = region.whole
        where = f"lines {whole.line} to {whole.line + whole.lines - 1}"
        here = region.file if region.complete else f"{region.lines} of {whole.lines} lines are here"
        name = received.swath_name(region.store, region.swath)
        lines.append(f"request {region.request}, {name}, {where}: {here}")
    return lines


def events(received: Received) -> list[str]:
    """A line on each event that came down, the latest ones."""
    lines = []
    for event in received.events[-_SHOWN:]:
        about = event.get("about")
        if about == "request":
            name, why = event.get("swath"), event.get("why")
            lines.append(f"request {event.get('request')}, {name}: refused: {why}")
            continue
        told = ", ".join(f"{k} {v}" for k, v in event.items() if k not in ("store", "about"))
        lines.append(f"{about}: {told}")
    return [printable(line) for line in lines]


def ask(folder: Path, swath: str, box: Box, out: Path | None = None) -> Request:
    """Put a region on the list of requests, `requests.json` in `folder` unless `out` names
    another file. Raises DataError, PacketError, OutputError."""
    received = load_received(folder)
    with locked(folder):
        keys = [key for key, info in received.swaths.items() if str(info.get("swath")) == swath]
        if len(keys) != 1:
            known = ", ".join(sorted({received.swath_name(*key) for key in received.swaths}))
            what = f"{len(keys)} swaths are named {swath!r}"
            raise DataError(what, where=folder, hint=f"it has: {known or 'none'}")
        _check(received.swaths[keys[0]], box, folder)
        path = out or folder / REQUESTS_FILE
        before = load_requests(path) if path.exists() else Requests(keys[0][0], ())
        if before.store_id != keys[0][0]:
            what = f"asks another store, {before.store_id:08x}"
            raise DataError(what, where=path, hint="name another file with --out")
        used = [r.id for r in before.requests]
        used += [p.request for p in received.products if p.request is not None]
        used += [n for e in received.events if type(n := e.get("request")) is int]
        place = box.line, box.sample, box.lines, box.samples
        request = Request(max(used, default=0) + 1, swath, *place)
        kept = (*before.requests, request)[-MOST_REQUESTS:]
        write_file(path, Requests(before.store_id, kept).to_json())
    return request


def _check(info: dict[str, Any], box: Box, folder: Path) -> None:
    """Refuse a box that the swath does not hold, as far as its description has come down."""
    lines, samples = info.get("lines") if info.get("complete") else None, info.get("samples")
    inside = (lines is None or box.line + box.lines <= lines) and (
        samples is None or box.sample + box.samples <= samples
    )
    if not inside or not box.lines or not box.samples:
        shape = f"{lines if lines is not None else 'unknown'} lines of {samples} samples"
        what = (
            f"the region of {box.lines} lines from {box.line} and {box.samples} samples from "
            f"{box.sample} is not within the swath"
        )
        raise DataError(what, where=folder, hint=f"the swath has {shape}")
