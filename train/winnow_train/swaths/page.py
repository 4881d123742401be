"""The page of swaths judged: one self-contained HTML file, its figures as JSON, its windows as PNG.

The page shows parts of the pictures, so it is for the disk of whoever holds them.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from winnow_base.files import make_folder
from winnow_base.pages import data_url, now, templates
from winnow_edge.files import write_file
from winnow_edge.products.kinds import Box
from winnow_train.swaths.match import FALSE, TRUE, Judged, side_of
from winnow_train.tiles import decode, resize

PAGE, FIGURES, WINDOWS = "swaths.html", "swaths.json", "windows.png"
SHOWN, EACH = 144, 8
EVERYWHERE = (
    "everywhere: the share right of windows placed everywhere, spread over the scales as the hits "
    "are; a precision proves what it has beyond it."
)
CHOSEN_HERE = "Thresholds were chosen on these very pictures: figures at them flatter."


def sizes_in_words(sizes: Sequence[float | None]) -> str:
    """Which features are judged, for people.

    >>> sizes_in_words([24, 160])
    'judged are features with sides of 24 to 160 pixels'
    """
    if sizes[1] is None:
        return (
            f"judged are features with sides from {sizes[0]:g} pixels"
            if sizes[0]
            else ("judged are features of every size")
        )
    return f"judged are features with sides of {sizes[0]:g} to {sizes[1]:g} pixels"


@dataclass(frozen=True)
class Shot:
    """A part of a picture to be shown, and the words under it."""

    path: Path
    box: Box
    words: str


def write_page(judged: Sequence[Judged], found: Mapping[str, Any], title: str, out: Path) -> None:
    """Write swaths.html, swaths.json and windows.png into `out`.

    Raises OutputError if the folder cannot be written.
    """
    make_folder(out)
    gallery = {
        name: _shots(judged, name, row["threshold"]) for name, row in found["classes"].items()
    }
    sheet = _sheet(gallery)
    write_file(out / FIGURES, json.dumps(found, indent=1) + "\n")
    write_file(out / WINDOWS, sheet)
    environment = templates("winnow_train")
    environment.filters["share"] = _share
    page = environment.get_template("swaths.html.j2").render(
        title=title,
        found=found,
        chosen_here=CHOSEN_HERE,
        everywhere=EVERYWHERE,
        judged_sizes=sizes_in_words(found["sizes"]),
        sheet=data_url("image/png", sheet),
        made=now(),
    )
    write_file(out / PAGE, page)


def _share(figure: Mapping[str, Any] | float | None) -> str:
    if figure is None or (isinstance(figure, Mapping) and figure["value"] is None):
        return "–"
    if isinstance(figure, Mapping) and figure["low"] is not None:
        return f"{figure['value']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}]"
    return f"{figure['value'] if isinstance(figure, Mapping) else figure:.3f}"


def _shots(judged: Sequence[Judged], name: str, threshold: float) -> dict[str, list[Shot]]:
    """The surest right ones, the surest false ones, and the largest features that were missed."""
    rows: dict[str, list[tuple[float, Shot]]] = {"right": [], "false": [], "missed": []}
    kinds = {TRUE: "right", FALSE: "false"}
    for one in judged:
        picture, seen = one.flown.picture, set[int]()
        for hit, verdict in one.told(name, threshold):
            seen |= set(verdict.shows)
            if verdict.what in kinds:
                shot = Shot(picture.path, hit.box, f"{hit.posterior:.2f} {picture.path.stem}")
                rows[kinds[verdict.what]].append((hit.posterior, shot))
        for number in one.features(name):
            feature = picture.features[number]
            if number not in seen and not feature.field:
                side = side_of(feature.box)
                shot = Shot(picture.path, _around(feature.box), f"{side} px {picture.path.stem}")
                rows["missed"].append((side, shot))
    return {
        kind: [shot for _, shot in sorted(some, key=lambda s: -s[0])[:EACH]]
        for kind, some in rows.items()
    }


def _around(box: Box) -> Box:
    """A square of twice the box's side about its middle."""
    side = 2 * max(box.lines, box.samples)
    line, sample = box.line + box.lines // 2, box.sample + box.samples // 2
    return Box(line - side // 2, sample - side // 2, side, side)


def _sheet(gallery: Mapping[str, Mapping[str, Sequence[Shot]]]) -> bytes:
    """All shots as one PNG: a row of the page for each class and kind that has any."""
    rows = [
        (f"{name}: {kind}", shots)
        for name, kinds in gallery.items()
        for kind, shots in kinds.items()
        if shots
    ]
    high = SHOWN + 34
    sheet = Image.new("L", (EACH * (SHOWN + 4), max(1, len(rows)) * high), 255)
    pen = ImageDraw.Draw(sheet)
    held: dict[Path, np.ndarray] = {}
    for number, (words, shots) in enumerate(rows):
        pen.text((4, number * high + 2), words, fill=0)
        for place, shot in enumerate(shots):
            if shot.path not in held:
                held = {shot.path: decode(shot.path, 1)}
            at = place * (SHOWN + 4), number * high + 16
            sheet.paste(_crop(held[shot.path], shot.box), at)
            pen.text((at[0] + 2, at[1] + SHOWN + 2), shot.words[:26], fill=0)
    data = io.BytesIO()
    sheet.save(data, "PNG")
    return data.getvalue()


def _crop(pixels: np.ndarray, box: Box) -> Image.Image:
    """The part of a picture uint8 [H, W, 1] under a box, black beyond its edges."""
    top, left = max(box.line, 0), max(box.sample, 0)
    part = pixels[top : box.line + box.lines, left : box.sample + box.samples]
    whole = np.zeros((box.lines, box.samples, 1), np.uint8)
    whole[top - box.line :, left - box.sample :][: part.shape[0], : part.shape[1]] = part
    return Image.fromarray(resize(whole, SHOWN, SHOWN)[..., 0])
