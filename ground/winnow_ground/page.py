"""The report's page: headline, plots, gallery and tables, filled into a template."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2

from winnow_base.errors import DataError
from winnow_edge.files import write_file
from winnow_edge.mission import Mission
from winnow_edge.products.kinds import Box
from winnow_edge.store.store import Store
from winnow_ground import findings, plots, swath_plot
from winnow_ground.findings import SwathKey, ValueOnBoard
from winnow_ground.plots import Palette, Piece
from winnow_ground.received import RECEIVED_FILE, Received
from winnow_ground.swath_pixels import mosaic, reduced_swath
from winnow_ground.truth import Feature

PAGE = "report.html"
MOST_SHOTS = 150
MOST_ROWS = 400
_MERGE = 0.3  # Tiling's default, where no mission file is given


@dataclass(frozen=True)
class Report:
    """What was written: the page and the plots (`pngs`), and its headline (figure, words) pairs."""

    page: Path
    pngs: tuple[Path, ...]
    headline: tuple[tuple[str, str], ...]
    troubles: tuple[str, ...]


@dataclass
class Inputs:
    """Everything that a report may draw on."""

    received: Received
    store: Store | None = None
    mission: Mission | None = None
    swaths: dict[SwathKey, Path] = field(default_factory=dict)
    truth: dict[SwathKey, tuple[Feature, ...]] | None = None


class PageWriter:
    """Draws the plots and fills the page."""

    def __init__(self, inputs: Inputs, target: Path) -> None:
        self.inputs, self.target = inputs, target
        self.received = inputs.received
        classes: dict[str, None] = {}
        for key in sorted(self.received.swaths):
            classes.update(dict.fromkeys(self.received.classes(*key)))
        merge = inputs.mission.tiling.merge if inputs.mission else _MERGE
        self.found = findings.find(self.received, inputs.store, inputs.truth, merge)
        classes.update(dict.fromkeys(f.class_name for f in self.found))
        self.palette = Palette(tuple(classes))
        self.pngs: list[Path] = []
        self.value: ValueOnBoard | None = None
        if inputs.store is not None and inputs.mission is not None:
            self.value = findings.value_on_board(inputs.store, inputs.mission, self._truth_by_id())

    def _truth_by_id(self) -> dict[int, tuple[Feature, ...]] | None:
        truth = self.inputs.truth
        return None if truth is None else {swath: f for (_, swath), f in truth.items()}

    def write(self) -> Report:
        received = self.received
        names = [received.swath_name(*key) for key in self._swath_keys()]
        mission = self.inputs.mission
        said = [str(info["mission"]) for info in received.swaths.values() if info.get("mission")]
        name = mission.name if mission else next(iter(said), "")
        heads = self._heads()
        troubles = findings.troubles(received, self.inputs.store)
        shots, shots_left = self._shots()
        rows, rows_left = self._rows({shot["number"] for shot in shots})
        contacts = len(received.contacts())
        page = _TEMPLATES.get_template("report.html.j2").render(
            title=f"What came down: {name}" if name else "What came down",
            subtitle=f"{_listed(names)}; {_count(contacts, 'contact')}. "
            "The spacecraft looked at everything, and sent the best-ranked products first.",
            heads=[{"figure": figure, "words": words} for figure, words in heads],
            troubles=troubles,
            swaths=[self._swath(n, key) for n, key in enumerate(self._swath_keys(), start=1)],
            counts_png=self._counts(),
            counts_words=self._counts_words(),
            value_png=self._value_plot(),
            value_words=self._value_words(),
            shots=shots,
            shots_words=shots_left,
            arrival_png=self._arrival(),
            many_swaths=len(names) > 1,
            rows=rows,
            rows_left=rows_left,
            about=self._about(),
        )
        write_file(self.target / PAGE, page)
        return Report(self.target / PAGE, tuple(self.pngs), tuple(heads), tuple(troubles))

    def _swath_keys(self) -> list[SwathKey]:
        return sorted({(p.store, p.swath) for p in self.received.products})

    def _png(self, name: str, data: bytes) -> str:
        path = self.target / name
        write_file(path, data)
        self.pngs.append(path)
        return _data_url("image/png", data)

    def _heads(self) -> list[tuple[str, str]]:
        """The headline: (figure, words) pairs."""
        received = self.received
        kinds = received.kinds()
        on_board = self._bytes_on_board()
        share = f", {_percent(received.bytes, on_board)} of the {_size(on_board)} on board"
        contacts = _count(len(received.contacts()), "contact")
        pictured = sum(f.number is not None for f in self.found)
        heads = [
            (
                _size(received.bytes),
                f"of products came down in {contacts}{share if on_board else ''}",
            ),
            (str(pictured), f"detections have come down as pictures: {_kinds(kinds)}"),
        ]
        if self.value is not None and self.inputs.mission is not None:
            heads += self._value_heads(self.value, self.inputs.mission)
        else:
            classes = Counter(f.class_name for f in self.found if f.number is not None)
            if classes:
                top = ", ".join(f"{n} {name}" for name, n in classes.most_common(4))
                heads.append((str(len(classes)), f"classes are among the pictures: {top}"))
        link = received.link
        lost = received.never_arrived + link.crc_failures
        text = (
            f"{link.packets} received, {link.crc_failures} damaged, "
            f"{received.never_arrived} never arrived"
        )
        if lost:
            heads.append((_percent(lost, link.packets + lost), f"of the packets got lost: {text}"))
        else:
            heads.append(("no loss", f"on the way: packets {text}"))
        return heads

    def _value_heads(self, value: ValueOnBoard, mission: Mission) -> list[tuple[str, str]]:
        received = self.received
        got, seen = findings.value_received(received, mission, self.inputs.truth, self.inputs.store)
        fifo = value.after("fifo", received.bytes)
        heads = [
            (
                _percent(got, value.total),
                f"of the value on board came down; first in, first out would have brought "
                f"{_percent(fifo, value.total)} in as many bytes",
            )
        ]
        if self.inputs.truth is not None:
            there = sum(len(features) for features in self.inputs.truth.values())
            by_fifo = value.seen_after("fifo", received.bytes)
            heads.append(
                (
                    f"{seen} of {there}",
                    f"features that are really there came down in a picture (by first in, first "
                    f"out: {by_fifo})",
                )
            )
        return heads

    def _bytes_on_board(self) -> int:
        if self.inputs.store is not None:
            table = self.inputs.store.table(findings.ON_BOARD)
            return int(table.columns["bytes"].sum())
        # A swath's own count leaves out the product that carries it.
        told = sum(int(info.get("bytes") or 0) for info in self.received.swaths.values())
        more = sum(p.bytes for p in self.received.products if p.kind == "swath")
        return told + more if told else 0

    def _swath(self, number: int, key: SwathKey) -> dict[str, str]:
        """Name, words and plot of a swath with what was found in it."""
        name = self.received.swath_name(*key)
        info = self.received.swaths.get(key, {})
        found = [f for f in self.found if f.swath == key]
        lines, samples = _extent(info, [p.box for p in self.received.products
                                        if (p.store, p.swath) == key and p.box])  # fmt: skip
        path = self.inputs.swaths.get(key)
        if path is not None:
            pixels = reduced_swath(path, lines, samples, info, self.inputs.mission)
            what = ""
        else:
            pictures = [
                (p.box, self.received.folder / p.file)
                for p in self.received.products
                if (p.store, p.swath) == key and p.file and p.box
            ]
            pixels = mosaic(lines, samples, pictures)
            what = (
                " The swath itself stayed on board, so the map shows only the pictures that came "
                "down, each in its place."
            )
        marks = [
            swath_plot.Mark(f.box, f.class_name, f.have, str(f.number) if f.number else None)
            for f in found
        ]
        came = sum(f.number is not None for f in found)
        title = f"{_short(name)}: {_count(len(found), 'detection')}, {came} with pictures down"
        png = swath_plot.draw(pixels, lines, samples, marks, self.palette, title)
        suffix = "" if len(self._swath_keys()) == 1 else f"-{number}"
        return {
            "name": name,
            "words": f"{lines} lines of {samples} samples. {_count(len(found), 'detection')}; of "
            f"{came} a picture came down, numbered in the order in which they did.{what}"
            f"{_verdict(info)}",
            "alt": f"Map of {name} with a box around every detection",
            "png": self._png(f"report-swath{suffix}.png", png),
        }

    def _counts(self) -> str:
        truth = None
        if self.inputs.truth is not None:
            features = (f for features in self.inputs.truth.values() for f in features)
            truth = Counter(f.class_name for f in features)
        counts = findings.count_by_class(self.found)
        png = plots.class_counts(counts, self.palette, "Detections by class", truth)
        return self._png("report-classes.png", png)

    def _counts_words(self) -> str:
        if self.inputs.store is None:
            return "What stayed on board is not known here (--store)."
        if self.inputs.truth is None:
            return ""
        false = sum(f.true is False for f in self.found if f.number is not None)
        pictured = sum(f.number is not None for f in self.found)
        return (
            f"Of the {pictured} that came down as pictures, truth has no such feature in {false}. "
            "One detection may show several features, and one feature may be detected twice."
        )

    def _value_plot(self) -> str | None:
        if self.value is None:
            return None
        label = "value (utility)" if self.value.truth else "expected value (utility × posterior)"
        png = plots.value_against_bytes(
            self.value.curves(), self.received.bytes, "Value against bytes, by policy", label
        )
        return self._png("report-value.png", png)

    def _value_words(self) -> str:
        if self.value is None:
            return ""
        if self.value.truth is None:
            return (
                "Value as the mission file counts it: utility of the class times posterior, shared "
                "out to record, thumbnail and image. The steeper a line starts, the better the "
                "first bytes were spent; first in, first out sends in order of acquisition."
            )
        return (
            "Value against truth: every feature that is really there pays the utility of its class "
            "once, shared out to record, thumbnail and image; a false detection pays nothing. The "
            "oracle knows the truth and always sends the product that adds most per byte."
        )

    def _shots(self) -> tuple[list[dict[str, Any]], str]:
        """The gallery, and what is said about pictures that it leaves out."""
        pictured = [f for f in self.found if f.number is not None]
        many = len(self._swath_keys()) > 1
        shots = []
        for f in pictured[:MOST_SHOTS]:
            product = f.product
            if product is None or product.file is None:
                continue
            try:
                jpeg = (self.received.folder / product.file).read_bytes()
            except OSError as error:
                raise DataError(
                    f"{error.strerror or 'cannot be read'}, though {RECEIVED_FILE} names it",
                    where=self.received.folder / product.file,
                    hint="receive the packet files anew into an empty folder",
                ) from error
            shots.append(
                {
                    "number": f.number,
                    "src": _data_url("image/jpeg", jpeg),
                    "class_name": f.class_name,
                    "colour": self.palette[f.class_name],
                    "ink": swath_plot.text_on(self.palette[f.class_name]),
                    "posterior": f.posterior,
                    "verdict": {True: "really there", False: "not in truth", None: ""}[f.true],
                    "swath": self.received.swath_name(*f.swath) if many else "",
                    "box": f.box,
                    "kind": "image" if f.have == "image" else "thumbnail only",
                    "size": f"{product.bytes:,}",
                    "contact": product.contact,
                }
            )
        left = len(pictured) - len(shots)
        return shots, f"{left} more lie in images/ and thumbnails/." if left else ""

    def _rows(self, shown: set[int]) -> tuple[list[dict[str, Any]], str]:
        rows = findings.arrivals(self.received, self.found, MOST_ROWS)
        for row in rows:
            row["class_name"] = row.pop("class")
            colour = self.palette[row["class_name"] or ""]
            row["colour"], row["ink"] = colour, swath_plot.text_on(colour)
            row["shown"] = row["number"] in shown
        left = len(self.received.products) - (rows[-1]["last"] if rows else 0)
        return rows, f"{left} more products are in {RECEIVED_FILE}." if left else ""

    def _arrival(self) -> str:
        pieces = [
            Piece(
                p.cumulative_bytes - p.bytes,
                p.bytes,
                p.kind,
                self.received.class_name(p) or "",
                p.contact,
            )
            for p in self.received.products
        ]
        png = plots.arrival(pieces, self.palette, "What came down in which order")
        return self._png("report-arrival.png", png)

    def _about(self) -> list[tuple[str, str]]:
        received, inputs = self.received, self.inputs
        about = [("packet file", f"{r.file} ({_size(r.bytes)})") for r in received.receptions]
        about += [("swath", _swath_words(info)) for info in received.swaths.values()]
        if inputs.mission is not None:
            about.append(("mission file", str(inputs.mission.path)))
            about.append(("policy", inputs.mission.ranking.policy))
        if inputs.store is not None:
            about.append(("store", str(inputs.store.path)))
        return about


_TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("winnow_ground"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def _extent(info: Mapping[str, Any], boxes: Sequence[Box | None]) -> tuple[int, int]:
    """Lines and samples of a swath; as far as its boxes reach where it has not said."""
    lines = max((b.line + b.lines for b in boxes if b), default=1)
    samples = max((b.sample + b.samples for b in boxes if b), default=1)
    return max(int(info.get("lines") or 0), lines), max(int(info.get("samples") or 0), samples)


def _data_url(mime: str, data: bytes) -> str:
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"


def _size(count: float) -> str:
    for unit, step in (("bytes", 1), ("kB", 1e3), ("MB", 1e6), ("GB", 1e9)):
        if count < 1000 * step or unit == "GB":
            return f"{count / step:.0f} {unit}" if unit == "bytes" else f"{count / step:.1f} {unit}"
    raise AssertionError


def _percent(part: float, whole: float) -> str:
    share = 100 * part / whole if whole else 0.0
    return f"{share:.1f} %" if share < 9.95 else f"{share:.0f} %"


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def _kinds(kinds: Mapping[str, int]) -> str:
    images, thumbnails = _count(kinds["image"], "image"), _count(kinds["thumbnail"], "thumbnail")
    return f"{images} and {thumbnails}, beside {_count(kinds['record'], 'record')}"


def _swath_words(info: Mapping[str, Any]) -> str:
    keys = ("bundle", "runtime", "tiles", "screened", "verified", "refused", "relabelled")
    said = [f"{key} {info[key]}" for key in keys if key in info]
    return f"{info.get('swath')}: {', '.join(said)}"


def _verdict(info: Mapping[str, Any]) -> str:
    words = findings.verdict_words(info)
    return f" Verdict of the spacecraft: {words}." if words else ""


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:4])
    return f"{shown} and {len(names) - 4} more swaths" if len(names) > 4 else shown or "no swath"


def _short(name: str, most: int = 48) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"
