"""Contexts: what lies around a detection, so that the ground sees the place."""

from __future__ import annotations

from PIL import Image

from winnow_edge.mission import Context
from winnow_edge.products.encode import Head, encode_head
from winnow_edge.products.fit import fitted
from winnow_edge.products.kinds import Detection, Flag, Kind, Product, TileRecord, View
from winnow_edge.products.sketch import sketch
from winnow_edge.products.tail import Seen


def context_product(
    detection: Detection, view: View, context: Context, swath_id: int, seen: Seen | None = None
) -> Product:
    """The context of a detection, in at most `context.bytes` bytes.

    Its head is that of the detection's pictures, but for the box and the scale, which are those of
    the `view`; `seen` is when and where the detection's tile was (None: not known).
    """
    record = TileRecord(
        detection.tile_index,
        view.box,
        view.scale,
        detection.class_index,
        detection.posterior,
        Flag.DETECTION,
        None if seen is None else seen.time(0),
        None if seen is None else seen.place(0),
    )
    head = encode_head(Head(swath_id, record, detection.merged))
    data = head + fitted(Image.fromarray(view.pixels), context.bytes - len(head))
    look = sketch(detection.pixels)
    return Product(
        Kind.CONTEXT,
        detection.tile_index,
        detection.class_index,
        detection.posterior,
        True,
        data,
        look,
    )
