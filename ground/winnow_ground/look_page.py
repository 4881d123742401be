"""What `winnow look` writes: a map of each picture as PNG, and one page about all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from winnow_base import appearance
from winnow_base.appearance import Measured
from winnow_base.figure import Plot
from winnow_base.pages import data_url
from winnow_base.pictures import open_picture
from winnow_edge.files import write_file
from winnow_edge.manifest import Manifest
from winnow_edge.mission import Mission
from winnow_ground import caution, swath_plot
from winnow_ground.against_truth import ClassTally
from winnow_ground.labels import text_on
from winnow_ground.look import MADE, Failed, Looked
from winnow_ground.page import TEMPLATES, marks_of, picture
from winnow_ground.palette import Palette
from winnow_ground.swath_pixels import cut, measure, reduced_swath
from winnow_ground.words import WORD, by_class, count, listed, percent

PAGE = "look.html"
EMBEDDED = 6
"""Of more pictures than this the page shows the PNG files beside it, and holds none itself."""
_SHOTS, _FEWEST = 150, 6
_MISSES = 24


@dataclass
class LookWriter:
    """Draws the maps one by one into `target`, then the page."""

    target: Path
    mission: Mission
    manifest: Manifest
    pictures: int
    pngs: list[Path] = field(default_factory=list)
    looked: list[Looked] = field(default_factory=list)
    failed: list[Failed] = field(default_factory=list)
    _parts: list[dict[str, Any]] = field(default_factory=list)

    def add(self, one: Looked | Failed) -> None:
        """Draw a picture's map, and keep what the page says of it."""
        if isinstance(one, Failed):
            self.failed.append(one)
            return
        self.looked.append(one)
        palette = Palette(self.manifest.classes)
        drawn = self._map(one, palette)
        path = self.target / f"{Path(one.name).stem}{MADE}"
        if path in self.pngs:
            path = self.target / f"{one.name}{MADE}"
        write_file(path, drawn.light)
        self.pngs.append(path)
        alt = f"{one.name} with a box around every detection"
        plot = picture(drawn, alt) if self.pictures <= EMBEDDED else {
            "light": path.name, "dark": path.name, "alt": alt,
        }  # fmt: skip
        most = max(_SHOTS // self.pictures, _FEWEST)
        self._parts.append(
            {
                "name": one.name,
                "words": told(one),
                "plot": plot,
                "png": path.name,
                "truncated": one.summary.truncated,
                "shots": _shots(one, palette, most),
                "more": max(len(one.found) - most, 0),
                "missed": _missed(one, palette),
                "tallies": _tallies(one),
            }
        )

    def write(self) -> Path:
        """The page; returns where it lies."""
        names = [one.name for one in self.looked]
        thresholds = {
            name: rule.threshold
            for name, rule in self.mission.classes.items()
            if rule.threshold is not None
        }
        scales = ", ".join(map(str, self.mission.tiling.scales))
        page = TEMPLATES.get_template("look.html.j2").render(
            title=listed(names) if names else "Nothing to see",
            subtitle=f"Bundle {self.manifest.name}; scales {scales}",
            heads=[{"figure": f, "words": w} for f, w in heads(self.looked)],
            cautions=self.cautions(),
            notices=self.notices(),
            failed=[str(one.error) for one in self.failed],
            parts=self._parts,
            many=len(self._parts) > 1,
            thresholds={**self.manifest.thresholds, **thresholds},
        )
        write_file(self.target / PAGE, page)
        return self.target / PAGE

    def cautions(self) -> list[caution.Caution]:
        """What to bear in mind of detections that no truth has checked."""
        unchecked = [one for one in self.looked if one.laid is None]
        counts = sum((one.by_class for one in unchecked), Counter[str]())
        if not counts:
            return []
        shown = sum(one.tiles for one in unchecked)
        return [caution.of_bundle(self.manifest, counts, shown)]

    def notices(self) -> list[str]:
        """How the pictures differ from what the bundle was trained on."""
        if not self.looked:
            return []
        parts = []
        for one in self.looked:
            camera = self.mission.instruments[one.summary.instrument]
            if camera.frame or "appearance" not in self.manifest.training:
                continue
            tile, scales = self.manifest.input.width, self.mission.tiling.scales
            found = measure(one.path, one.summary.samples, tile, scales, camera)
            parts += [found] if found is not None else []
        measured = Measured.joined(parts) if parts else None
        return appearance.notices(self.manifest.training, measured, self.manifest.name)

    def _map(self, one: Looked, palette: Palette) -> Plot:
        missed = [f for some in one.laid.missed.values() for f in some] if one.laid else []
        marks = marks_of(one.found, missed)
        classes = (*palette.classes, *(f.class_name for f in missed))
        lines, samples = one.summary.lines, one.summary.samples
        return swath_plot.draw(
            self._pixels(one),
            lines,
            samples,
            marks,
            Palette(tuple(dict.fromkeys(classes))),
            f"{one.name}: {told(one)}",
            words={"image": "detection" if one.laid is None else "found or unknown to truth"},
        )

    def _pixels(self, one: Looked) -> npt.NDArray[np.uint8]:
        lines, samples = one.summary.lines, one.summary.samples
        if self.mission.instruments[one.summary.instrument].frame:
            with open_picture(one.path) as whole:
                return np.asarray(whole.convert("RGB").resize((samples, lines)))
        info = {"instrument": one.summary.instrument}
        return reduced_swath(one.path, lines, samples, info, self.mission)


def told(one: Looked) -> str:
    """A picture's figures in one line: of what, and by whose word."""
    made = count(len(one.found), "detection")
    if not one.tiles:
        return f"nothing was shown to the net: every tile ({one.smallest} pixels) is mostly no data"
    if one.laid is None:
        classes = f": {by_class(one.by_class, 8)}" if one.found else ""
        return f"{made}, {WORD}{classes}"
    whole = one.laid.whole
    share = f" ({percent(whole.found, whole.there)})" if whole.there else ""
    unknown = sum(f.true is None for f in one.found)
    beside = f", {unknown} unknown to truth" if unknown else ""
    specks = f" ({one.specks:,} too small for a tile)" if one.specks else ""
    return (
        f"{whole.found:,} of {whole.there:,} features found{share}, {whole.missed:,} missed"
        f"{specks}; of {made} {whole.false} false{beside}"
    )


def heads(looked: Sequence[Looked]) -> list[tuple[str, str]]:
    """The headline over all pictures: (figure, words) pairs."""
    checked = [one for one in looked if one.laid is not None]
    unchecked = [one for one in looked if one.laid is None]
    found = []
    if checked:
        tallies = [one.laid.whole for one in checked if one.laid is not None]
        there, seen = sum(t.there for t in tallies), sum(t.found for t in tallies)
        false, all_of = sum(t.false for t in tallies), sum(len(one.found) for one in checked)
        where = f" in {count(len(checked), 'picture')} with truth"
        found += [
            (f"{seen:,} of {there:,}", f"features found{where} ({percent(seen, there)})"),
            (f"{there - seen:,} missed", "features that no detection shows"),
            (f"{false:,} false", f"of {count(all_of, 'detection')}: truth has no such feature"),
        ]
    if unchecked or not checked:
        counts = sum((one.by_class for one in unchecked), Counter[str]())
        classes = f" ({by_class(counts, 6)})" if counts else ""
        words = f"detections{classes} in {count(len(unchecked), 'picture')}, {WORD}"
        found.append((f"{counts.total():,}", f"{words}: nobody has checked them"))
    tiles = sum(one.tiles for one in looked)
    found.append((f"{tiles:,}", "tiles shown to the net"))
    return found


def _shots(one: Looked, palette: Palette, most: int) -> list[dict[str, Any]]:
    # What is false is as worth seeing as what is certain.
    false = [f for f in one.found if f.true is False][: most // 2]
    chosen = sorted(
        {*false, *[f for f in one.found if f not in false][: most - len(false)]},
        key=lambda f: f.number or 0,
    )
    return [
        {
            "number": f.number,
            "src": data_url("image/jpeg", one.jpegs[f.number or 0]),
            "class_name": f.class_name,
            "colour": palette[f.class_name],
            "ink": text_on(palette[f.class_name]),
            "posterior": f.posterior,
            "true": f.true,
            "verdict": {True: "really there", False: "false: not in truth", None: ""}[f.true],
            "box": f.box,
        }
        for f in chosen
    ]


def _missed(one: Looked, palette: Palette) -> list[dict[str, Any]]:
    """Pictures of what was missed, the largest first, with as much ground around."""
    if one.laid is None:
        return []
    missed = [f for some in one.laid.missed.values() for f in some]
    missed.sort(key=lambda f: -f.box.lines * f.box.samples)
    around = {f: _around(f.box, one) for f in missed[:_MISSES]}
    jpegs = cut(one.path, list(around.values()))
    return [
        {
            "src": data_url("image/jpeg", jpegs[box]),
            "class_name": f.class_name,
            "colour": palette[f.class_name],
            "box": f.box,
        }
        for f, box in around.items()
        if box in jpegs
    ]


def _around(box: Any, one: Looked) -> Any:
    side = max(2 * max(box.lines, box.samples), 32)
    top = max(box.line + box.lines // 2 - side // 2, 0)
    left = max(box.sample + box.samples // 2 - side // 2, 0)
    high, wide = min(side, one.summary.lines - top), min(side, one.summary.samples - left)
    return type(box)(top, left, high, wide)


def _tallies(one: Looked) -> dict[str, ClassTally]:
    return one.laid.classes if one.laid is not None else {}
