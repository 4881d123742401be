"""Grid tiles or salient ones: how many craters does each let a net see, per tile spent?

Truth: the crater boxes of eight CTX scenes (Francis et al. 2020). A crater counts as seen if its
box lies in a proposed square and is at least a quarter of the square's side, the small end of the
landmark crops that nets are trained on. The grid is every square of one side at half-side hop.
Compared at equal numbers of tiles:

random    a random part of the grid: what a tile budget alone leaves
by row    the most salient part of each row of the grid: `proposals = "salient"`, which streams
anywhere  the most salient squares at eighths of a side

Salience is the contrast of a window with its surround by integral images, after Wagstaff et al.
2013 (dynamic landmarking), plus the contrast within the window. FOLDER holds PNG and XML files; by
default it is `ctx-craters` of the data.
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks import harness

SIDES = (24, 48, 96, 192)
SHARES = (0.1, 0.25, 0.5)
SMALLEST = 0.25
"""Side of a crater that a square shows, of the square's."""


def truth(path: Path) -> Any:
    """Crater boxes, int (n, 4): left, top, right, bottom."""
    found = ET.parse(path).getroot().iter("bndbox")
    keys = ("xmin", "ymin", "xmax", "ymax")
    return np.array([[int(float(box.findtext(key) or 0)) for key in keys] for box in found])


def axes(image: Any, side: int) -> tuple[Any, Any]:
    """Tops and lefts of the grid's squares, the last flush with the end."""
    starts = (np.arange(0, n - side + 1, side // 2) for n in image.shape)
    ends = (n - side for n in image.shape)
    top, left = (np.union1d(first, end) for first, end in zip(starts, ends, strict=True))
    return top, left


def salience(image: Any, side: int, top: Any, left: Any) -> Any:
    """Salience of the squares at rows `top` and columns `left`, float (len(top), len(left)).

    Wagstaff's measure is the mean of a window against that of its surround. Craters are as often
    lit and shadowed halves as they are dark or bright, so the standard deviation within the window
    counts beside it.
    """
    real = image.astype(np.float64)
    ones, squares = (np.pad(v, ((1, 0), (1, 0))).cumsum(0).cumsum(1) for v in (real, real**2))

    def sums(table: Any, y: Any, x: Any, size: int) -> Any:
        low, high = table[y], table[y + size]
        return high[:, x + size] - low[:, x + size] - high[:, x] + low[:, x]

    quarter, inner = side // 4, side // 2
    middle = sums(ones, top + quarter, left + quarter, inner)
    around = (sums(ones, top, left, side) - middle) / (side**2 - inner**2)
    mean = middle / inner**2
    spread = sums(squares, top + quarter, left + quarter, inner) / inner**2 - mean**2
    return np.abs(mean - around) + np.sqrt(np.maximum(spread, 0.0))


def anywhere(image: Any, side: int, count: int) -> Any:
    """The `count` most salient squares (left, top), int (n, 2), best first; a chosen one excludes
    those within three eighths of a side."""
    eighth, reach = max(side // 8, 1), 3
    top, left = (np.arange(0, n - side + 1, eighth) for n in image.shape)
    score, chosen = salience(image, side, top, left), []
    taken = np.zeros(score.shape, bool)
    for flat in np.argsort(score, axis=None)[::-1]:
        row, column = divmod(int(flat), score.shape[1])
        if not taken[row, column]:
            chosen.append((left[column], top[row]))
            rows = slice(max(row - reach, 0), row + reach + 1)
            taken[rows, max(column - reach, 0) : column + reach + 1] = True
        if len(chosen) == count:
            break
    return np.array(chosen)


def by_row(image: Any, side: int, share: float) -> Any:
    """The most salient share of each row of the grid, as the flight loop takes it; int (n, 2)."""
    top, left = axes(image, side)
    score = salience(image, side, top, left)
    best = np.argsort(-score, axis=1, kind="stable")[:, : math.ceil(share * len(left))]
    return np.stack([left[best], np.broadcast_to(top[:, None], best.shape)], -1).reshape(-1, 2)


def seen(craters: Any, squares: Any, side: int) -> int:
    """How many craters some square shows."""
    low, high = craters[:, None, :2], craters[:, None, 2:]
    inside = ((low >= squares) & (high <= squares + side)).all(axis=2)
    return int((inside.any(axis=1) & ((high - low).max(axis=(1, 2)) >= SMALLEST * side)).sum())


def main() -> None:
    """Command line."""
    parser = harness.arguments(__doc__)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--data", type=Path, help="folder of `ctx-craters`")
    args = parser.parse_args()
    folder = args.folder or harness.data_root(args, "ctx-craters") / "ctx-craters"
    scenes = sorted(folder.glob("*.xml"))[: 1 if args.short else None]
    totals: dict[tuple[int, float], Counter[str]] = {
        (n, s): Counter() for n in SIDES for s in SHARES
    }
    for path in scenes:
        craters = truth(path)
        image = np.asarray(Image.open(path.with_suffix(".png")).convert("L"))
        for side in SIDES:
            top, left = axes(image, side)
            grid = np.stack(np.meshgrid(left, top), -1).reshape(-1, 2)
            drawn = grid[np.random.default_rng(0).permutation(len(grid))]
            best = anywhere(image, side, int(len(grid) * max(SHARES)))
            whole = seen(craters, grid, side)
            for share in SHARES:
                count = int(len(grid) * share)
                shown = {"random": drawn[:count], "anywhere": best[:count]}
                shown["by row"] = by_row(image, side, share)
                found = {name: seen(craters, squares, side) for name, squares in shown.items()}
                totals[side, share].update({"tiles": count, **found, "whole grid": whole})
    rows = [
        {"side": side, "of grid": f"{share:.0%}", **found}
        for (side, share), found in totals.items()
    ]
    harness.report(args, rows, [f"craters seen in {len(scenes)} scenes"])


if __name__ == "__main__":
    main()
