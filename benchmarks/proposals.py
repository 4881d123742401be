"""Grid tiles or salient ones: how many craters does each let a net see, per tile spent?

Truth: the crater boxes of eight CTX scenes (Francis et al. 2020). A crater counts as seen if its
box lies in a proposed square and is at least a quarter of the square's side, the small end of the
landmark crops that nets are trained on. The grid is every square of one side at half-side hop.
Compared at equal numbers of tiles:

grid      a random part of the grid: what a tile budget alone leaves
ranked    the part of the grid with the highest salience
by row    the most salient part of each row of the grid: `proposals = "salient"`, which streams
rows      squares of the grid's rows, best first, that may begin at every eighth of a side
rows/4    the same with rows at quarter-side hop
free      squares anywhere at eighths of a side

Salience is the contrast of a window with its surround by integral images, after Wagstaff et al.
2013 (dynamic landmarking), plus the contrast within the window.

    python benchmarks/proposals.py FOLDER_WITH_PNG_AND_XML
"""

from __future__ import annotations

import math
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SIDES = (24, 48, 96, 192)
SHARE = 0.25


def truth(path: Path) -> Any:
    """Crater boxes, int (n, 4): left, top, right, bottom."""
    found = ET.parse(path).getroot().iter("bndbox")
    keys = ("xmin", "ymin", "xmax", "ymax")
    return np.array([[int(float(box.findtext(key) or 0)) for key in keys] for box in found])


def grid(height: int, width: int, side: int) -> Any:
    """Squares of the grid, int (n, 3): left, top, side."""
    axes = []
    for extent in (height, width):
        first = list(range(0, extent - side + 1, max(side // 2, 1)))
        axes.append(first if first[-1] == extent - side else [*first, extent - side])
    return np.array([(x, y, side) for y in axes[0] for x in axes[1]])


def salience(image: Any, side: int, y: Any, x: Any) -> Any:
    """Salience of the squares at rows `y` and columns `x`, float (len(y), len(x)).

    Wagstaff's measure is the mean of a window against that of its surround. Craters are as often
    lit and shadowed halves as they are dark or bright, so the standard deviation within the window
    counts beside it.
    """
    real = image.astype(np.float64)
    tables = []
    for values in (real, real**2):
        table = np.zeros((image.shape[0] + 1, image.shape[1] + 1))
        table[1:, 1:] = values.cumsum(axis=0).cumsum(axis=1)
        tables.append(table)

    def sums(table: Any, top: Any, left: Any, size: int) -> Any:
        down, right = top + size, left + size
        return (
            table[np.ix_(down, right)]
            - table[np.ix_(top, right)]
            - table[np.ix_(down, left)]
            + table[np.ix_(top, left)]
        )

    quarter, inner = side // 4, side // 2
    middle = sums(tables[0], y + quarter, x + quarter, inner)
    around = (sums(tables[0], y, x, side) - middle) / (side**2 - inner**2)
    mean = middle / inner**2
    spread = sums(tables[1], y + quarter, x + quarter, inner) / inner**2 - mean**2
    return np.abs(mean - around) + np.sqrt(np.maximum(spread, 0.0))


def salient(image: Any, side: int, count: int, y: Any, x: Any, reach: tuple[int, int]) -> Any:
    """The `count` most salient squares, int (n, 3); a chosen one excludes those within `reach`
    steps of rows and columns."""
    score = salience(image, side, y, x)
    taken = np.zeros(score.shape, bool)
    chosen = []
    for flat in np.argsort(score, axis=None)[::-1]:
        row, column = divmod(int(flat), score.shape[1])
        if taken[row, column]:
            continue
        chosen.append((x[column], y[row], side))
        if len(chosen) == count:
            break
        top, left = max(row - reach[0], 0), max(column - reach[1], 0)
        taken[top : row + reach[0] + 1, left : column + reach[1] + 1] = True
    return np.array(chosen)


def contenders(image: Any, side: int) -> dict[str, Any]:
    """Ranked squares by name, each as many as the grid has or as there are."""
    squares = grid(*image.shape, side)
    half, quarter, eighth = (max(side // n, 1) for n in (2, 4, 8))
    height, width = image.shape
    fine_y, fine_x = (np.arange(0, n - side + 1, eighth) for n in (height, width))
    rows, rows4 = (np.arange(0, height - side + 1, step) for step in (half, quarter))
    columns = np.arange(0, width - side + 1, half)
    count = len(squares)
    return {
        "grid": squares[np.random.default_rng(0).permutation(count)],
        "ranked": salient(image, side, count, rows, columns, (0, 0)),
        "rows": salient(image, side, count, rows, fine_x, (0, 3)),
        "rows/4": salient(image, side, count, rows4, fine_x, (1, 3)),
        "free": salient(image, side, count, fine_y, fine_x, (3, 3)),
    }


def by_row(squares: Any, score: Any, share: float) -> Any:
    """The most salient share of each row of the grid, as the flight loop takes it.

    `score` is the salience of the grid's squares, shape (rows, columns).
    """
    table = squares.reshape(*score.shape, 3)
    best = np.argsort(-score, axis=1, kind="stable")[:, : math.ceil(share * score.shape[1])]
    return np.take_along_axis(table, best[..., None], axis=1).reshape(-1, 3)


def seen(craters: Any, squares: Any) -> Any:
    """Which craters some square shows, bool (n,)."""
    left, top, side = (squares[:, k][None] for k in range(3))
    inside = (craters[:, 0:1] >= left) & (craters[:, 1:2] >= top)
    inside &= (craters[:, 2:3] <= left + side) & (craters[:, 3:4] <= top + side)
    longest = np.maximum(craters[:, 2] - craters[:, 0], craters[:, 3] - craters[:, 1])[:, None]
    return (inside & (longest >= SHARE * side)).any(axis=1)


def main() -> None:
    """Print what each sees at equal numbers of tiles, over all scenes."""
    folder = Path(sys.argv[1])
    shares = (0.1, 0.25, 0.5, 1.0)
    rows: dict[tuple[int, float], list[list[int]]] = {}
    names: list[str] = []
    for path in sorted(folder.glob("*.xml")):
        craters = truth(path)
        image = np.asarray(Image.open(path.with_suffix(".png")).convert("L"))
        for side in SIDES:
            ranked = contenders(image, side)
            squares = grid(*image.shape, side)
            tops, lefts = np.unique(squares[:, 1]), np.unique(squares[:, 0])
            score, whole = salience(image, side, tops, lefts), len(squares)
            for share in shares:
                count = int(whole * share)
                chosen = {name: squares[:count] for name, squares in ranked.items()}
                chosen["by row"] = by_row(squares, score, share)
                names = list(chosen)
                values = [int(seen(craters, squares).sum()) for squares in chosen.values()]
                rows.setdefault((side, share), []).append([count, *values])
    print("side  of grid   tiles" + "".join(f"{name:>9}" for name in names) + "   craters seen")
    for (side, share), values_of in rows.items():
        tiles, *counts = np.sum(values_of, axis=0)
        print(f"{side:4}  {share:7.0%}  {tiles:6}" + "".join(f"{n:9}" for n in counts))


if __name__ == "__main__":
    main()
