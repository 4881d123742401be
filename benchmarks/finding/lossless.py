"""Which codec for raw regions? Bits a sample, without loss, of 12 and 14-bit samples.

    python -m benchmarks.finding.lossless [--short] [--json] [--data ROOT]

Sums of 4 x 4 and 8 x 8 pixels of HiRISE browse strips are samples of 12 and 14 bits with the noise
of a camera's; from the middle of each of four strips 256 lines of up to 512 samples are packed, at
once and 16 lines at a time, as parts of a region are. Times are processor time on this machine.
"""

from __future__ import annotations

import io
import lzma
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from benchmarks.harness import arguments, data_root, report
from winnow_edge.products.kinds import Box
from winnow_edge.products.region import HEAD, Region, decode_region, encode_region

Samples = npt.NDArray[np.uint16]
STRIPS, LINES, WIDTH = 4, 256, 512


def regions(root: Path, binned: int, most: int) -> list[Samples]:
    """A region of the middle of each strip, uint16."""
    found = []
    for path in sorted((root / "swaths").glob("*.jpg"))[:most]:
        with Image.open(path) as image:
            grey = np.asarray(image.convert("L"), np.uint32)
        rows, columns = (side // binned for side in grey.shape)
        grey = grey[: rows * binned, : columns * binned]
        sums = grey.reshape(rows, binned, columns, binned).sum((1, 3)).astype(np.uint16)
        line, sample = rows // 2, max(0, columns // 2 - WIDTH // 2)
        found.append(np.ascontiguousarray(sums[line : line + LINES, sample : sample + WIDTH]))
    return found


def _saved(pixels: Samples, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind, **options)
    return out.getvalue()


def _region(pixels: Samples) -> bytes:
    box = Box(0, 0, *pixels.shape)
    data = encode_region(Region(1, 1, box, box, pixels))
    if not np.array_equal(decode_region(data).pixels, pixels):
        raise AssertionError("a region did not come back as it was")
    return data[HEAD.size :]


CODECS: dict[str, Callable[[Samples], bytes]] = {
    "zlib": lambda pixels: zlib.compress(pixels.tobytes(), 9),
    "lzma": lambda pixels: lzma.compress(pixels.tobytes(), lzma.FORMAT_ALONE, preset=9),
    "PNG of 16 bits": lambda pixels: _saved(pixels, "PNG", compress_level=9),
    "TIFF, deflate": lambda pixels: _saved(pixels, "TIFF", compression="tiff_adobe_deflate"),
    "JPEG 2000": lambda pixels: _saved(pixels, "JPEG2000", irreversible=False),
    "region": _region,
}


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--data", type=Path, metavar="ROOT", help="folder of the data sets")
    args = parser.parse_args()
    root, rows = data_root(args, "swaths"), []
    for binned, bits in ((4, 12), (8, 14)):
        strips = regions(root, binned, 1 if args.short else STRIPS)
        samples = sum(strip.size for strip in strips)
        for name, codec in CODECS.items():
            row = {"samples of": f"{bits} bits", "codec": name}
            for step in (LINES, 16):
                parts = [s[at : at + step] for s in strips for at in range(0, len(s), step)]
                started = time.thread_time()
                octets = sum(len(codec(np.ascontiguousarray(part))) for part in parts)
                spent = time.thread_time() - started
                row[f"bits a sample, {step} lines"] = f"{8 * octets / samples:.2f}"
                row[f"ns a sample, {step} lines"] = f"{1e9 * spent / samples:.0f}"
            rows.append(row)
    report(args, rows, [f"{len(strips)} strips; the region's time is of packing and unpacking."])
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
