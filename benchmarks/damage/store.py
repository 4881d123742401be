"""Whether every flipped bit in product data of a store is found before it is sent.

One random bit of one product's data is flipped in the store's file; the product is then read as a
contact reads it, which must refuse it. Counted are the flips, those found, and those that were read
as good data.
"""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

from benchmarks import harness
from winnow_edge.errors import StoreError
from winnow_edge.store.store import Store
from winnow_edge.testing import fill, landmark_mission, products_of_tiles

WINDOW = 24
"""Octets of a product around the flipped one, by which its place in the file is found."""


def main() -> None:
    """Command line."""
    parser = harness.arguments(__doc__)
    parser.add_argument("--count", type=int, default=10_000, help="flipped bits")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    mission, rng = landmark_mission(), random.Random(args.seed)
    found = unseen = 0
    with tempfile.TemporaryDirectory(prefix="winnow-bits-") as name:
        folder = Path(name)
        fill(folder, mission, products_of_tiles(0, 400, mission))
        with Store.open(folder, mission=None, read_only=True) as store:
            products = {row.id: store.data(row.id) for row in store.products()}
        path = folder / "store.db"
        whole = path.read_bytes()
        for _ in range(200 if args.short else args.count):
            number, place = _place(whole, products, rng)
            flipped = bytes([whole[place] ^ 1 << rng.randrange(8)])
            with path.open("r+b") as stream:
                stream.seek(place)
                stream.write(flipped)
            with Store.open(folder, mission=None, read_only=True) as store:
                try:
                    unseen += store.data(number) != products[number]
                except StoreError:
                    found += 1
            with path.open("r+b") as stream:
                stream.seek(place)
                stream.write(whole[place : place + 1])
    rows = [{"flipped bits": found + unseen, "found": found, "read as good data": unseen}]
    harness.report(args, rows)


def _place(whole: bytes, products: dict[int, bytes], rng: random.Random) -> tuple[int, int]:
    """A product, and the place in the file of an octet of its data."""
    while True:
        number, data = rng.choice(list(products.items()))
        at = rng.randrange(len(data))
        first = max(0, min(at - WINDOW // 2, len(data) - WINDOW))
        window = data[first : first + WINDOW]
        start = whole.find(window)
        if start >= 0 and whole.find(window, start + 1) < 0:  # not over the end of a page
            return number, start + at - first


if __name__ == "__main__":
    main()
