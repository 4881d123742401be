"""Swaths and products in a store, made without flying anything."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from winnow_edge.mission import Mission, parse_mission
from winnow_edge.products.encode import Head, detection_products, encode_head
from winnow_edge.products.kinds import Box, Detection, Flag, Kind, Product, TileRecord
from winnow_edge.store.store import Store
from winnow_edge.store.writer import SwathWriter, begin_swath

#: Classes of the swaths made here.
LANDMARKS = ("other", "crater", "dark dune")
#: Pixels along a tile's edge, and tiles across the swath.
TILE, ACROSS = 64, 8

#: A mission file with utilities for two of LANDMARKS.
LANDMARK_MISSION = """\
name = "probe"
[instrument.camera]
bundle = "x"
[class.crater]
utility = 10.0
[class."dark dune"]
utility = 2.0
"""


def landmark_mission(more: str = "") -> Mission:
    """A mission with utilities for LANDMARKS, with more TOML added to it."""
    return parse_mission(f"{LANDMARK_MISSION}\n{more}")


def begin(store: Store, name: str = "swath", **known: Any) -> SwathWriter:
    """Begin a swath of LANDMARKS; `known` are arguments of `begin_swath`."""
    plain: dict[str, Any] = {
        "samples": ACROSS * TILE,
        "classes": LANDMARKS,
        "bundle": "x",
        "digest": "d",
        "fingerprint": "f",
        "info": {"instrument": "camera"},
    }
    return begin_swath(store, name, **(plain | known))


def record_product(record: TileRecord, swath: int) -> Product:
    """The product of a tile's record."""
    return Product(
        Kind.RECORD,
        record.index,
        record.class_index,
        record.posterior,
        record.flags.is_feature,
        encode_head(Head(swath, record)),
    )


def finish(writer: SwathWriter, summary: dict[str, Any]) -> None:
    """Mark a swath complete of which all blocks are committed."""
    writer.commit(
        products=(),
        next_tile=writer.next_tile,
        next_line=writer.next_line,
        pending=None,
        summary=summary,
    )


def product_of_size(
    kind: Kind, tile: int, size: int, posterior: float, *, swath: int = 1, class_index: int = 1
) -> Product:
    """A detection's product of `size` bytes: a true head, then noise that tells it apart."""
    box = Box(tile, 0, TILE, TILE)
    head = encode_head(
        Head(swath, TileRecord(tile, box, 1, class_index, posterior, Flag.DETECTION))
    )
    rest = np.random.default_rng([kind, tile, swath]).bytes(max(size - len(head), 0))
    return Product(kind, tile, class_index, posterior, True, (head + rest)[: max(size, len(head))])


def products_of_tiles(
    first: int, tiles: int, mission: Mission, swath: int = 1, found: int = 4
) -> list[Product]:
    """The products of `tiles` tiles from index `first`; every `found`-th is a detection."""
    products: list[Product] = []
    for index in range(first, first + tiles):
        box = Box(TILE * (index // ACROSS), TILE * (index % ACROSS), TILE, TILE)
        flags = Flag.DETECTION if index % found == 0 else Flag.NONE
        posterior = 0.5 + 0.5 * (index * 37 % 101) / 101
        products.append(record_product(TileRecord(index, box, 1, 1, posterior, flags), swath))
        if flags:
            pixels = np.random.default_rng(index).integers(0, 255, (TILE, TILE), np.uint8)
            detection = Detection(index, box, 1, 1, posterior, pixels)
            products += detection_products(detection, mission.products, swath)
    return products


def pictures_of(
    tile: int, pixels: npt.NDArray[np.uint8], posterior: float, mission: Mission
) -> list[Product]:
    """Thumbnail and image of a crater that shows these pixels, uint8 (lines, samples[, 3])."""
    found = Detection(tile, Box(tile, 0, *pixels.shape[:2]), 1, 1, posterior, pixels)
    return detection_products(found, mission.products, 1)


def fill(folder: Path, mission: Mission, products: Sequence[Product], name: str = "swath") -> None:
    """Add to the store in `folder` a complete swath that holds these products."""
    with Store.open(folder, mission=mission) as store:
        writer = begin(store, name)
        tiles = max((p.tile_index for p in products), default=-1) + 1
        writer.commit(products=products, next_tile=tiles, next_line=tiles, pending=b"")
        finish(writer, {"tiles": tiles})
