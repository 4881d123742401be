"""Small missions, products and stores for the tests of the edge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import settings

from winnow_edge.mission import Mission, parse_mission
from winnow_edge.products.encode import Head as ProductHead
from winnow_edge.products.encode import detection_products, encode_head, record_product
from winnow_edge.products.kinds import Box, Detection, Flag, Kind, Product, TileRecord
from winnow_edge.store.store import Store
from winnow_edge.store.writer import SwathWriter, begin_swath

# Property tests judge what comes out, never how long it took on a busy machine.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

CLASSES = ("other", "crater", "dark dune")

MISSION = """\
name = "probe"
[instrument.camera]
bundle = "x"
[class.crater]
utility = 10.0
[class."dark dune"]
utility = 2.0
"""


@pytest.fixture(scope="session")
def mission_with() -> Callable[[str], Mission]:
    """A mission with more TOML added to it."""
    return lambda more="": parse_mission(f"{MISSION}\n{more}")


def begin(store: Store, name: str = "swath", **known: object) -> SwathWriter:
    """Begin a swath with plain particulars, overridden by `known`."""
    plain = {
        "samples": 512,
        "classes": CLASSES,
        "bundle": "x",
        "digest": "d",
        "fingerprint": "f",
        "info": {"instrument": "camera"},
    }
    return begin_swath(store, name, **(plain | known))  # type: ignore[arg-type]


def blob(
    kind: Kind, tile: int, size: int, posterior: float, *, swath: int = 1, class_index: int = 1
) -> Product:
    """A detection's product of a given size: a true head, then octets that tell it apart."""
    record = TileRecord(tile, Box(tile, 0, 64, 64), 1, class_index, posterior, Flag.DETECTION)
    head = encode_head(ProductHead(swath, record))
    rest = np.random.default_rng([kind, tile, swath]).bytes(max(size - len(head), 0))
    return Product(kind, tile, class_index, posterior, True, (head + rest)[: max(size, len(head))])


def band(first: int, tiles: int, mission: Mission, swath: int = 1, found: int = 4) -> list[Product]:
    """The products of `tiles` tiles from index `first`; every `found`-th is a detection."""
    products: list[Product] = []
    for index in range(first, first + tiles):
        box = Box(64 * (index // 8), 64 * (index % 8), 64, 64)
        flags = Flag.DETECTION if index % found == 0 else Flag.NONE
        posterior = 0.5 + 0.5 * (index * 37 % 101) / 101
        products.append(record_product(TileRecord(index, box, 1, 1, posterior, flags), swath))
        if flags:
            pixels = np.random.default_rng(index).integers(0, 255, (64, 64), np.uint8)
            detection = Detection(index, box, 1, 1, posterior, pixels)
            products += detection_products(detection, mission.products, swath)
    return products


def pictures_of(
    tile: int, pixels: npt.NDArray[np.uint8], posterior: float, mission: Mission
) -> list[Product]:
    """Thumbnail and image of a crater that shows these pixels."""
    found = Detection(tile, Box(tile, 0, *pixels.shape[:2]), 1, 1, posterior, pixels)
    return detection_products(found, mission.products, 1)


def fill(folder: Path, mission: Mission, products: Sequence[Product], name: str = "swath") -> None:
    """A store with one complete swath that holds these products."""
    with Store.open(folder, mission=mission) as store:
        writer = begin(store, name)
        tiles = max((p.tile_index for p in products), default=-1) + 1
        writer.commit(products=products, next_tile=tiles, next_line=tiles, pending=b"")
        writer.finish({"tiles": tiles})


class Kit:
    """The helpers above, for tests that cannot import from here."""

    classes = CLASSES
    mission_text = MISSION
    begin = staticmethod(begin)
    blob = staticmethod(blob)
    band = staticmethod(band)
    fill = staticmethod(fill)
    pictures_of = staticmethod(pictures_of)


@pytest.fixture(scope="session")
def kit() -> type[Kit]:
    """Helpers that make swaths and products."""
    return Kit
