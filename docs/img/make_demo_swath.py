"""The picture in README: the strip of `make demo`, in two panels, under 1,000 pixels tall.

    make demo && .venv/bin/python docs/img/make_demo_swath.py demo-out

Every detection is on it, whatever came down of it, and what was missed or is false.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

from PIL import Image

from winnow_edge.store.store import Store
from winnow_ground import swath_plot
from winnow_ground.against_truth import lay
from winnow_ground.findings import find
from winnow_ground.page import marks_of
from winnow_ground.palette import Palette
from winnow_ground.received import load_received
from winnow_ground.swath_pixels import reduced_swath
from winnow_ground.truth import load_truth

HEIGHT = 800
"""Pixels of the panels; title, axis and legend come on top."""
OUT = Path(__file__).with_name("demo-swath.jpg")


def main(folder: Path) -> None:
    """Draw the demo in `folder`."""
    received = load_received(folder / "received")
    ((key, info),) = received.swaths.items()
    truth = {key: load_truth(folder / "truth.json")}
    with Store.open(folder / "store", mission=None, read_only=True) as store:
        found = find(received, store, truth, merge=0.3)
    laid = lay(found, truth)
    whole, down = laid.whole, sum(f.number is not None for f in found)
    lines, samples = int(info["lines"]), int(info["samples"])
    drawn = swath_plot.draw(
        reduced_swath(folder / "swath.png", lines, samples, info, None),
        lines,
        samples,
        marks_of(found, laid.missed[key]),
        Palette(received.classes(*key)),
        f"{len(found)} detections, {down} with pictures down in one contact; "
        f"{whole.found} of {whole.there} features found",
        height=HEIGHT,
    )
    with Image.open(io.BytesIO(drawn.light)) as image:
        image.convert("RGB").save(OUT, quality=74, optimize=True, progressive=True)


main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo-out"))
