"""What a wrong byte in a JPEG does, and how much of it is noticed.

One random byte of the compressed data is changed, the file is read as a swath, and its lines are
compared with those of the sound file: flagged or not, by how many pixels differ by over 8 of 255.
Without a STRIP.jpg the data's `swaths` are read.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import numpy as np

from benchmarks import harness
from winnow_edge.errors import SwathError
from winnow_edge.mission import Instrument
from winnow_edge.sources.contract import Lines
from winnow_edge.sources.open import open_source

SHARES = (0.0, 0.001, 0.01, 0.05, 0.2)
VISIBLE = 8


def main() -> None:
    """Command line."""
    parser = harness.arguments(__doc__)
    parser.add_argument("strips", nargs="*", type=Path, metavar="STRIP.jpg")
    parser.add_argument("--data", type=Path, help="folder of `swaths`")
    parser.add_argument("--count", type=int, default=150, help="damages per strip")
    parser.add_argument("--colour", action="store_true", help="read as nets for colour do")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    swaths = args.strips or sorted((harness.data_root(args, "swaths") / "swaths").glob("*.jpg"))
    strips, count = (swaths[:1], 5) if args.short else (swaths, args.count)
    rng = np.random.default_rng(args.seed)
    found: list[tuple[float, bool, bool]] = []
    unread = false = 0
    with tempfile.TemporaryDirectory(prefix="winnow-jpeg-") as folder:
        path = Path(folder) / "damaged.jpg"
        for strip in strips:
            sound = strip.read_bytes()
            known, said = lines_of(strip, grey=not args.colour)
            false += bool(said)
            for _ in range(count):
                data = bytearray(sound)
                # The tables before are hundreds of bytes; damage there is another matter.
                place = int(rng.integers(1000, len(data) - 2))
                data[place] ^= int(rng.integers(1, 256))
                path.write_bytes(data)
                try:
                    found.append(_compared(known, *lines_of(path, grey=not args.colour)))
                except SwathError:
                    unread += 1
    rows = []
    for share in SHARES:
        worse = [(flagged, near) for changed, flagged, near in found if changed > share]
        rows.append(
            {
                "pixels changed": f"over {share:.1%}",
                "damages": len(worse),
                "flagged": sum(flagged for flagged, _ in worse),
                "place named within 32 lines": sum(near for _, near in worse),
            }
        )
    harness.report(
        args,
        rows,
        [
            f"{len(strips)} files, {false} flagged when sound; {count} damages each",
            f"not read at all: {unread}",
            f"flagged though none changed: {sum(f for c, f, _ in found if c == 0)}",
        ],
    )


def _compared(known: Lines, got: Lines, said: str) -> tuple[float, bool, bool]:
    """Share of pixels that changed visibly, whether it was flagged, and whether with its place."""
    whole = np.zeros_like(known)
    whole[: len(got)] = got
    differs = np.abs(whole.astype(np.int16) - known).reshape(len(known), -1) > VISIBLE
    first = int(np.argmax(differs.any(axis=1)))
    named = re.search(r"probably from ([\d,]+) on", said)
    near = named is not None and abs(int(named[1].replace(",", "")) - first) <= 32
    return float(differs.mean()), bool(said), near


def lines_of(path: Path, *, grey: bool) -> tuple[Lines, str]:
    """All lines of a strip, and what `truncated` says."""
    source = open_source(path, instrument=Instrument(bundle="x"), grey=grey)
    shape = (source.lines or 0, source.samples)
    lines = np.empty(shape if source.channels == 1 else (*shape, 3), np.uint8)
    at = 0
    while count := source.read(lines[at : at + 256]):
        at += count
    source.close()
    return lines[:at], source.truncated or ""


if __name__ == "__main__":
    main()
