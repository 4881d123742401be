"""The pictures of a report, in the order in which they came down, and the table of all products."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from winnow_base.pages import data_url
from winnow_edge.products.kinds import Box
from winnow_ground import findings, regions, when_where
from winnow_ground.findings import Found, SwathKey
from winnow_ground.labels import text_on
from winnow_ground.palette import Palette
from winnow_ground.received import RECEIVED_FILE, Received
from winnow_ground.swath_pixels import cut, received_picture

MOST_SHOTS = 150
MOST_LOOKS = 24
MOST_SAMPLES = 60
MOST_REGIONS = 20
MOST_ROWS = 400
SAMPLES = (
    (
        "question",
        "What is this?",
        "Tiles on which the net abstained: its best class did not reach its threshold.",
    ),
    (
        "audit",
        "Drawn at random",
        "Whatever the net said of them: the command winnow audit estimates what is missed.",
    ),
    (
        "context",
        "Around detections",
        "The surroundings of a detection, coarser than its own pictures.",
    ),
)
_LARGE = 300_000
"""Bytes of a picture that stands in a page as it came."""


@dataclass(frozen=True)
class Gallery:
    """What is shown of the pictures that came down; `swaths` are the files of those at hand."""

    received: Received
    found: Sequence[Found]
    palette: Palette
    swaths: Mapping[SwathKey, Path]

    def shots(self) -> tuple[list[dict[str, Any]], str]:
        """The pictures, and what is said about those that are left out.

        Where only a thumbnail came down and the swath's file is at hand, its place in the file is
        shown beside it.
        """
        pictured = [f for f in self.found if f.number is not None]
        many = len({f.swath for f in self.found}) > 1
        chosen = [f for f in pictured[:MOST_SHOTS] if f.product and f.product.file]
        places = self._places(chosen)
        shots = []
        for f in chosen:
            product = f.product
            assert product is not None and product.file is not None
            jpeg = _shown(self.received.folder / product.file)
            if jpeg is None:
                continue
            place = places.get((f.swath, f.box))
            shots.append(
                {
                    "number": f.number,
                    "src": data_url("image/jpeg", jpeg),
                    "place": data_url("image/jpeg", place) if place else "",
                    "class_name": f.class_name,
                    "colour": self.palette[f.class_name],
                    "ink": text_on(self.palette[f.class_name]),
                    "posterior": f.posterior,
                    "true": f.true,
                    "verdict": {True: "really there", False: "false: not in truth", None: ""}[
                        f.true
                    ],
                    "swath": self.received.swath_name(*f.swath) if many else "",
                    "box": f.box,
                    "seen": when_where.of_product(product),
                    "kind": "image" if f.have == "image" else "thumbnail only",
                    "size": f"{product.bytes:,}",
                    "contact": product.contact,
                }
            )
        left = len(pictured) - len(shots)
        return shots, f"{left} more lie in images/ and thumbnails/." if left else ""

    def quick_looks(self, key: SwathKey) -> tuple[list[dict[str, Any]], str]:
        """The quick looks of a swath by their lines, and what is said about those left out."""
        looks = [
            (p.box, p.file, p)
            for p in self.received.products
            if p.kind == "quick_look" and (p.store, p.swath) == key and p.box and p.file
        ]
        looks.sort(key=lambda look: look[0].line)
        shown = [
            {
                "src": data_url("image/jpeg", jpeg),
                "first": box.line,
                "last": box.line + box.lines - 1,
                "size": f"{product.bytes:,}",
                "contact": product.contact,
            }
            for box, file, product in looks[:MOST_LOOKS]
            if (jpeg := _shown(self.received.folder / file)) is not None
        ]
        left = len(looks) - len(shown)
        return shown, f"{left} more lie in quick_looks/." if left else ""

    def samples(self) -> list[dict[str, Any]]:
        """What the ground is asked about, and what was drawn at random, where any came down."""
        parts = []
        for kind, title, words in SAMPLES:
            shots, left = self._samples(kind)
            if shots:
                parts.append({"title": title, "words": words, "shots": shots, "left": left})
        return [*self._regions(), *parts]

    def _regions(self) -> list[dict[str, Any]]:
        """Regions that the ground asked for, the latest ones."""
        found = regions.regions(self.received)
        shots = []
        for region in found[-MOST_REGIONS:]:
            jpeg = regions.shown(self.received, region)
            if jpeg is None:
                continue
            here = "" if region.complete else f", {region.lines} of {region.whole.lines} lines"
            shots.append(
                {
                    "src": data_url("image/jpeg", jpeg),
                    "said": f"request {region.request}{here}",
                    "posterior": None,
                    "box": region.whole,
                    "swath": self.received.swath_name(region.store, region.swath),
                }
            )
        if not shots:
            return []
        words = (
            "Regions that the ground asked for, with all the bits of the camera; here they are "
            "stretched and reduced. A line that has not come down is black."
        )
        left = len(found) - len(shots)
        told = f"{left} more lie in regions/." if left else ""
        return [{"title": "Asked for", "words": words, "shots": shots, "left": told}]

    def _samples(self, kind: str) -> tuple[list[dict[str, Any]], str]:
        """Tiles of the audit, or those that the ground is asked about, and what is said about those
        left out."""
        found = [p for p in self.received.products if p.kind == kind and p.file and p.box]
        shown = [
            {
                "src": data_url("image/jpeg", jpeg),
                "said": self.received.class_name(p) or "screened",
                "posterior": p.posterior,
                "box": p.box,
                "swath": self.received.swath_name(p.store, p.swath),
            }
            for p in found[:MOST_SAMPLES]
            if p.file and (jpeg := _shown(self.received.folder / p.file)) is not None
        ]
        left = len(found) - len(shown)
        return shown, f"{left} more lie in {kind}s/." if left else ""

    def _places(self, chosen: Sequence[Found]) -> dict[tuple[SwathKey, Box], bytes]:
        """JPEGs of the places of thumbnails, from the swaths' own files."""
        places: dict[tuple[SwathKey, Box], bytes] = {}
        for key, path in self.swaths.items():
            boxes = [f.box for f in chosen if f.swath == key and f.have != "image"]
            for box, jpeg in cut(path, boxes).items():
                places[key, box] = jpeg
        return places

    def rows(self, shown: set[int]) -> tuple[list[dict[str, Any]], str]:
        """The table of what came down, and what is said about products that it leaves out."""
        rows = findings.arrivals(self.received, self.found, MOST_ROWS)
        for row in rows:
            row["class_name"] = row.pop("class")
            colour = self.palette[row["class_name"] or ""]
            row["colour"], row["ink"] = colour, text_on(colour)
            row["shown"] = row["number"] in shown
            row["kind"] = row["kind"].replace("_", " ")
        left = len(self.received.products) - (rows[-1]["last"] if rows else 0)
        return rows, f"{left} more products are in {RECEIVED_FILE}." if left else ""


def _shown(path: Path) -> bytes | None:
    """A received picture as it came where it is small, else reduced; None where it is damaged."""
    picture = received_picture(path)
    if picture is None:
        return None
    if path.stat().st_size <= _LARGE:
        return path.read_bytes()
    out = io.BytesIO()
    picture.thumbnail((1024, 1024))
    picture.convert("L" if picture.mode == "L" else "RGB").save(out, "JPEG", quality=85)
    return out.getvalue()
