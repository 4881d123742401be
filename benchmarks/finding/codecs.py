"""Codecs for thumbnails, images and quick looks: bytes against distortion and time.

    python -m benchmarks.finding.codecs [--short] [--json] [--data ROOT]

Tiles of 128 samples of the strips in ROOT/swaths, drawn by a seed, less those with nodata; as
thumbnails reduced to 32 pixels. Quick looks are whole strips at 256 pixels across. Each codec gets
the best quality whose bytes fit the target. PSNR is of the mean squared error over all pictures;
pictures that do not fit at the lowest quality count as their mean grey. Time is that of one
encoding at the quality found, on one thread.
"""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, features

from benchmarks.harness import arguments, data_root, report
from winnow_edge.products.fit import best_quality

Encode = Callable[[Image.Image, int], bytes]
TARGETS = {"thumbnail": (350, 500, 700), "image": (1500, 3000, 6000), "quick look": (4000,)}
TILE = 128


def _saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def codecs() -> dict[str, Encode]:
    """The codecs that this Pillow has, by name."""
    found: dict[str, Encode] = {
        "JPEG": lambda image, q: _saved(image, "JPEG", quality=q, optimize=True),
        "JPEG, progressive": lambda image, q: _saved(
            image, "JPEG", quality=q, optimize=True, progressive=True
        ),
    }
    if features.check("webp"):
        found["WebP"] = lambda image, q: _saved(image, "WEBP", quality=q, method=4)
    if features.check("avif"):
        found["AVIF"] = lambda image, q: _saved(image, "AVIF", quality=q, speed=8, max_threads=1)
    if features.check("jpg_2000"):
        # Rates, not qualities: 95 is a twentieth part coarser than 96 would be, and so on.
        found["JPEG 2000"] = lambda image, q: _saved(
            image, "JPEG2000", quality_mode="rates", quality_layers=[100 / q],
            irreversible=True, no_jp2=True,
        )  # fmt: skip
    return found


def strips(root: Path) -> Iterator[Image.Image]:
    """The strips, grey."""
    for path in sorted((root / "swaths").glob("*.jpg")):
        with Image.open(path) as image:
            yield image.convert("L")


def pictures(root: Path, each: int) -> dict[str, list[Image.Image]]:
    """`each` tiles of every strip as images and as thumbnails, and the quick looks."""
    rng = np.random.default_rng(0)
    found: dict[str, list[Image.Image]] = {kind: [] for kind in TARGETS}
    for strip in strips(root):
        left = each
        while left:
            x, y = (int(rng.integers(0, side - TILE)) for side in strip.size)
            tile = strip.crop((x, y, x + TILE, y + TILE))
            if (np.asarray(tile) == 0).mean() > 0.01:
                continue
            left -= 1
            found["image"].append(tile)
            found["thumbnail"].append(tile.resize((32, 32), Image.Resampling.BOX))
        found["quick look"].append(strip.reduce(strip.width // 256))
    return found


def tried(kind: str, shown: list[Image.Image], name: str, encode: Encode, most: int) -> Any:
    """One row: a codec on pictures of a kind within so many bytes."""
    squares = pixels = fit = size = 0
    spent = 0.0
    for picture in shown:
        there = np.asarray(picture, np.float64)
        found = best_quality(lambda q, of=picture: encode(of, q), most)  # type: ignore[misc]
        if found is None:
            back = np.full_like(there, there.mean())
        else:
            quality, data = found
            started = time.thread_time()
            encode(picture, quality)
            spent += time.thread_time() - started
            with Image.open(io.BytesIO(data)) as image:
                back = np.asarray(image.convert("L"), np.float64)
            fit, size = fit + 1, size + len(data)
        squares += float(((back - there) ** 2).sum())
        pixels += there.size
    return {
        "picture": kind,
        "most bytes": most,
        "codec": name,
        "PSNR dB": f"{10 * np.log10(255**2 / (squares / pixels)):.1f}",
        "bytes": round(size / fit) if fit else "-",
        "fit": f"{100 * fit / len(shown):.0f} %",
        "ms": f"{1e3 * spent / fit:.2f}" if fit else "-",
    }


def fixed(kind: str, shown: list[Image.Image], quality: int) -> Any:
    """One row: JPEG of one quality for all, as it was flown."""
    squares = pixels = size = 0.0
    started = time.thread_time()
    made = [_saved(picture, "JPEG", quality=quality, optimize=True) for picture in shown]
    spent = time.thread_time() - started
    for picture, data in zip(shown, made, strict=True):
        with Image.open(io.BytesIO(data)) as image:
            squares += float(((np.asarray(image, np.float64) - np.asarray(picture)) ** 2).sum())
        pixels, size = pixels + picture.width * picture.height, size + len(data)
    return {
        "picture": kind,
        "most bytes": "-",
        "codec": f"JPEG, quality {quality}",
        "PSNR dB": f"{10 * np.log10(255**2 / (squares / pixels)):.1f}",
        "bytes": round(size / len(shown)),
        "fit": "-",
        "ms": f"{1e3 * spent / len(shown):.2f}",
    }


def main() -> int:
    parser: argparse.ArgumentParser = arguments(__doc__)
    parser.add_argument("--data", type=Path, metavar="ROOT", help="folder of the data sets")
    args = parser.parse_args()
    root = data_root(args, "swaths")
    every = pictures(root, 2 if args.short else 20)
    rows = [fixed("thumbnail", every["thumbnail"], 60), fixed("image", every["image"], 90)]
    for kind, targets in TARGETS.items():
        for most in targets[:1] if args.short else targets:
            rows += [tried(kind, every[kind], *codec, most) for codec in codecs().items()]
    report(args, rows, [f"{len(every['image'])} tiles of {len(every['quick look'])} strips."])
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
