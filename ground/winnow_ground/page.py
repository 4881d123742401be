"""The report's page: headline, plots, gallery and tables, filled into a template."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from winnow_base import appearance
from winnow_base.figure import Plot
from winnow_base.pages import data_url, templates
from winnow_edge.files import write_file
from winnow_edge.manifest import Manifest
from winnow_edge.mission import Mission
from winnow_edge.products.kinds import Box
from winnow_edge.store.store import Store
from winnow_ground import caution, findings, headline, plots, swath_plot, when_where
from winnow_ground.against_truth import Laid, lay
from winnow_ground.findings import Found, SwathKey, ValueOnBoard
from winnow_ground.gallery import Gallery
from winnow_ground.palette import Palette
from winnow_ground.plots import Piece
from winnow_ground.received import Received
from winnow_ground.swath_pixels import measure, mosaic, reduced_swath
from winnow_ground.truth import Feature, Truth, worth_of_all
from winnow_ground.words import WORD, count, listed, size

PAGE = "report.html"
MOST_MAPS = 60
"""Swaths that are drawn, and packet files that are named."""
MOST_MARKS = 3000
MOST_CLASSES = 60
FURTHER = "further classes"
_MERGE = 0.3  # Tiling's default, where no mission file is given


@dataclass(frozen=True)
class Report:
    """What was written: the page and the plots (`pngs`), its headline (figure, words) pairs, what
    went wrong, and what to bear in mind."""

    page: Path
    pngs: tuple[Path, ...]
    headline: tuple[tuple[str, str], ...]
    troubles: tuple[str, ...]
    cautions: tuple[str, ...] = ()


@dataclass
class Inputs:
    """Everything that a report may draw on; `manifests` are the bundles' that are at hand."""

    received: Received
    store: Store | None = None
    mission: Mission | None = None
    swaths: dict[SwathKey, Path] = field(default_factory=dict)
    truth: dict[SwathKey, Truth] | None = None
    manifests: dict[SwathKey, Manifest] = field(default_factory=dict)


class PageWriter:
    """Draws the plots and fills the page."""

    def __init__(self, inputs: Inputs, target: Path) -> None:
        self.inputs, self.target = inputs, target
        self.received = inputs.received
        classes: dict[str, None] = {}
        for key in sorted(self.received.swaths)[:MOST_MAPS]:
            classes.update(dict.fromkeys(self.received.classes(*key)))
        merge = inputs.mission.tiling.merge if inputs.mission else _MERGE
        self.found = _of_few_classes(
            findings.find(self.received, inputs.store, inputs.truth, merge)
        )
        self.laid: Laid | None = lay(self.found, inputs.truth) if inputs.truth else None
        classes.update(dict.fromkeys(f.class_name for f in self.found))
        classes.update(dict.fromkeys(self.laid.classes if self.laid else ()))
        self.palette = Palette(tuple(classes)[: MOST_CLASSES + 1])
        self.pngs: list[Path] = []
        self.damaged: list[Path] = []
        """Pictures that came down and cannot be decoded."""
        self._keys = sorted({(p.store, p.swath) for p in self.received.products})
        self.value: ValueOnBoard | None = None
        if inputs.store is not None and inputs.mission is not None:
            self.value = findings.value_on_board(inputs.store, inputs.mission, self._truth_by_id())

    def _truth_by_id(self) -> dict[int, Truth] | None:
        truth = self.inputs.truth
        return None if truth is None else {swath: f for (_, swath), f in truth.items()}

    def write(self) -> Report:
        received = self.received
        names = [received.swath_name(*key) for key in self._keys]
        mission = self.inputs.mission
        said = [str(info["mission"]) for info in received.swaths.values() if info.get("mission")]
        name = mission.name if mission else next(iter(said), "")
        heads = self._heads()
        cautions, notices = self._cautions(), self._notices()
        # First the maps: they refuse a file that is not the swath's.
        drawn = self._keys[:MOST_MAPS]
        gallery = Gallery(received, self.found, self.palette, self.inputs.swaths)
        swaths = [self._swath(n, key, gallery) for n, key in enumerate(drawn, start=1)]
        troubles = findings.troubles(received, self.inputs.store) + self._blind_spots()
        troubles += self._damaged()
        shots, shots_left = gallery.shots()
        rows, rows_left = gallery.rows({shot["number"] for shot in shots})
        contacts = len(received.contacts())
        page = TEMPLATES.get_template("report.html.j2").render(
            title=f"What came down: {name}" if name else "What came down",
            subtitle=f"{listed(names)}; {count(contacts, 'contact')}. "
            "The spacecraft looked at everything, and sent the best-ranked products first.",
            heads=[{"figure": figure, "words": words} for figure, words in heads],
            troubles=troubles,
            cautions=cautions,
            notices=notices,
            swaths=swaths,
            counts=self._counts(),
            counts_words=self._counts_words(),
            value=self._value_plot(),
            value_words=self._value_words(),
            shots=shots,
            shots_words=f"{self._no_images()} {shots_left}".strip(),
            samples=gallery.samples(),
            arrival=self._arrival(),
            many_swaths=len(names) > 1,
            rows=rows,
            rows_left=rows_left,
            about=self._about(),
        )
        write_file(self.target / PAGE, page)
        sentences = dict.fromkeys([*(s for c in cautions for s in c.sentences), *notices])
        return Report(
            self.target / PAGE, tuple(self.pngs), tuple(heads), tuple(troubles), tuple(sentences)
        )

    def _damaged(self) -> list[str]:
        """Pictures that came down and show nothing, and swaths that are not drawn."""
        said = []
        if files := self.damaged:
            named = listed([path.name for path in files], "picture")
            said.append(
                f"{count(len(files), 'picture')} came down damaged and cannot be shown: {named}. "
                "It was damaged on board, or by its sender."
            )
        if (more := len(self._keys) - MOST_MAPS) > 0:
            said.append(f"{count(more, 'more swath')} came down, of which no map is drawn.")
        return said

    def _plot(self, name: str, drawn: Plot, alt: str) -> dict[str, str]:
        path = self.target / name
        write_file(path, drawn.light)
        self.pngs.append(path)
        return picture(drawn, alt)

    def _heads(self) -> list[tuple[str, str]]:
        """The headline: (figure, words) pairs."""
        received, inputs = self.received, self.inputs
        heads = [headline.came_down(received, inputs.store)]
        if self.laid is not None:
            fifo = self.value.seen_after("fifo", received.bytes) if self.value else None
            heads += headline.features(self.laid, fifo)
        else:
            heads += headline.detections(self.found, received)
        if self.value is not None and inputs.mission is not None:
            heads.append(
                headline.value(self.value, inputs.mission, received, inputs.truth, inputs.store)
            )
        return [*heads, headline.link(received)]

    def _blind_spots(self) -> list[str]:
        """Swaths of which there is no truth, where there is some of others."""
        without = len(set(self._keys) - set(self.inputs.truth or ()))
        if self.inputs.truth is None or not without:
            return []
        swaths = count(without, "swath")
        return [f"There is no truth for {swaths}: its features and detections are not counted."]

    def _cautions(self) -> list[caution.Caution]:
        """What to bear in mind of detections that no truth has checked, once for each bundle."""
        if self.inputs.truth is not None:
            return []
        bundles: dict[str, list[SwathKey]] = {}
        found_in = {f.swath for f in self.found}
        for key in self._keys:
            if key in found_in:
                name = str(self.received.swaths.get(key, {}).get("bundle", ""))
                bundles.setdefault(name, []).append(key)
        found = []
        for name, keys in bundles.items():
            manifest = self.inputs.manifests.get(keys[0])
            if manifest is None:
                found.append(caution.unknown_bundle(name))
                continue
            counts = Counter(f.class_name for f in self.found if f.swath in keys)
            infos = [self.received.swaths.get(key, {}) for key in keys]
            shown = [int(i["tiles"]) - int(i["screened"]) for i in infos if "tiles" in i]
            whole = sum(shown) if len(shown) == len(infos) else None
            found.append(caution.of_bundle(manifest, counts, whole))
        return found

    def _notices(self) -> list[str]:
        """How swaths whose files are at hand differ from what their bundles were trained on."""
        said: list[str] = []
        for key, manifest in self.inputs.manifests.items():
            path, info = self.inputs.swaths.get(key), self.received.swaths[key]
            mission, measured = self.inputs.mission, None
            camera = mission.instruments.get(str(info.get("instrument"))) if mission else None
            if path is not None and "appearance" in manifest.training:
                scales = [int(scale) for scale in info.get("scales") or (1,)]
                samples = int(info.get("samples") or 0)
                measured = measure(path, samples, manifest.input.width, scales, camera)
            said += appearance.notices(manifest.training, measured, manifest.name)
        return list(dict.fromkeys(said))

    def _swath(self, number: int, key: SwathKey, gallery: Gallery) -> dict[str, Any]:
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
                if (p.store, p.swath) == key and p.file and p.box and p.kind != "region"
            ]
            pixels, damaged = mosaic(lines, samples, pictures)
            self.damaged += damaged
            what = (
                " The swath itself stayed on board, so the map shows only the pictures that came "
                "down, each in its place."
            )
        missed = self.laid.missed.get(key, ()) if self.laid else ()
        marks = marks_of(found, missed)[:MOST_MARKS]
        came = sum(f.number is not None for f in found)
        told = f"{count(len(found), 'detection')}, {came} with pictures down"
        checked = f", {len(missed)} features missed" if self.laid else f", {WORD}"
        drawn = swath_plot.draw(
            pixels, lines, samples, marks, self.palette, f"{name}: {told}{checked}"
        )
        suffix = "" if len(self._keys) == 1 else f"-{number}"
        file = f"report-swath{suffix}.png"
        alt = f"Map of {name} with a box around every detection"
        looks, looks_left = gallery.quick_looks(key)
        return {
            "name": name,
            "words": f"{lines} lines of {samples} samples. {count(len(found), 'detection')}; of "
            f"{came} a picture came down, numbered in the order in which they did.{what}"
            f"{_verdict(info)}{when_where.of_swath(info)}",
            "plot": self._plot(file, drawn, alt),
            "looks": looks,
            "looks_left": looks_left,
        }

    def _counts(self) -> dict[str, str]:
        if self.laid is not None:
            title = "What is there, and what of it came down"
            drawn = plots.feature_counts(self.laid.classes, self.palette, title)
        else:
            counts = findings.count_by_class(self.found)
            drawn = plots.class_counts(counts, self.palette, "Detections by class")
        return self._plot("report-classes.png", drawn, "Bar chart by class")

    def _counts_words(self) -> str:
        unknown = "" if self.inputs.store else " What stayed on board is not known here (--store)."
        if self.laid is None:
            return f"Detections by class, {WORD}, and what of each came down.{unknown}"
        return (
            "Features by class, as truth has them, and what of each came down. A feature counts "
            "once, however many detections show it; a detection may show several." + unknown
        )

    def _value_plot(self) -> dict[str, str] | None:
        if self.value is None or self.inputs.mission is None:
            return None
        truth = self.inputs.truth
        label = "value (utility)" if truth is not None else f"value, {WORD}"
        there = None
        if truth is not None:
            features = (f for some in truth.values() for f in some)
            there = worth_of_all(features, self.inputs.mission)
        drawn = plots.value_against_bytes(
            self.value.curves(), self.received.bytes, "Value against bytes, by policy", label, there
        )
        return self._plot("report-value.png", drawn, "Value against bytes, by policy")

    def _value_words(self) -> str:
        if self.value is None:
            return ""
        if self.value.truth is None:
            return (
                "Value as the mission file counts it: utility of the class times posterior, shared "
                "out to record, thumbnail and image, so it is the model that grades itself. The "
                "steeper a line starts, the better the first bytes were spent by its own lights; "
                "first in, first out sends in order of acquisition."
            )
        return (
            "Value against truth: every feature that is really there pays the utility of its class "
            "once, shared out to record, thumbnail and image; a false detection pays nothing, and "
            "what was missed is missing from every line. The oracle knows the truth and always "
            "sends the product that adds most per byte."
        )

    def _no_images(self) -> str:
        """Why only thumbnails came down, if so."""
        kinds = self.received.kinds()
        if kinds["image"] or not kinds["thumbnail"]:
            return ""
        mission = self.inputs.mission
        policy = f" ({mission.ranking.policy})" if mission else ""
        return (
            f"No whole image came down: the ranking{policy} puts what is worth most per byte "
            "first, and a thumbnail takes a tenth of an image's bytes. A longer contact, a "
            "higher utility or a larger `products.image_share` brings images."
        )

    def _arrival(self) -> dict[str, str]:
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
        drawn = plots.arrival(pieces, self.palette, "What came down in which order")
        alt = "Products by bytes and kind in order of arrival"
        return self._plot("report-arrival.png", drawn, alt)

    def _about(self) -> list[tuple[str, str]]:
        received, inputs = self.received, self.inputs
        files = received.receptions[-MOST_MAPS:]
        about = [("packet file", f"{r.file} ({size(r.bytes)})") for r in files]
        told = list(received.swaths.values())[:MOST_MAPS]
        about += [("swath", _swath_words(info)) for info in told]
        if inputs.mission is not None:
            about.append(("mission file", str(inputs.mission.path)))
            about.append(("policy", inputs.mission.ranking.policy))
        if inputs.store is not None:
            about.append(("store", str(inputs.store.path)))
        return about


TEMPLATES = templates("winnow_ground")


def _of_few_classes(found: Sequence[Found]) -> list[Found]:
    """The detections; those of the rarest of more than `MOST_CLASSES` classes as `FURTHER`."""
    common = {name for name, _ in Counter(f.class_name for f in found).most_common(MOST_CLASSES)}
    return [f if f.class_name in common else replace(f, class_name=FURTHER) for f in found]


def marks_of(found: Sequence[Found], missed: Sequence[Feature]) -> list[swath_plot.Mark]:
    """What a map shows: every detection, and dotted what truth knows and none of them shows."""
    marks = [
        swath_plot.Mark(
            f.drawn, f.class_name, f.have, str(f.number) if f.number else None, f.true is False
        )
        for f in found
    ]
    return [*marks, *(swath_plot.Mark(f.box, f.class_name, swath_plot.MISSED) for f in missed)]


def picture(drawn: Plot, alt: str) -> dict[str, str]:
    """A plot as the templates show it, for light and for dark pages."""
    return {
        "light": data_url("image/png", drawn.light),
        "dark": data_url("image/png", drawn.dark),
        "alt": alt,
    }


def _extent(info: Mapping[str, Any], boxes: Sequence[Box | None]) -> tuple[int, int]:
    """Lines and samples of a swath; as far as its boxes reach where it has not said."""
    lines = max((b.line + b.lines for b in boxes if b), default=1)
    samples = max((b.sample + b.samples for b in boxes if b), default=1)
    return max(int(info.get("lines") or 0), lines), max(int(info.get("samples") or 0), samples)


def _swath_words(info: Mapping[str, Any]) -> str:
    keys = ("bundle", "runtime", "tiles", "screened", "verified", "refused", "relabelled")
    said = [f"{key} {info[key]}" for key in keys if key in info]
    return f"{info.get('swath')}: {', '.join(said)}"


def _verdict(info: Mapping[str, Any]) -> str:
    words = findings.verdict_words(info)
    return f" Verdict of the spacecraft: {words}." if words else ""
