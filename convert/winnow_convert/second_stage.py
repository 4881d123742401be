"""The second stage of a bundle: a verifier goes through quantization and gate like any net, then
joins its first stage. What it is: docs/second-stage.md."""

from __future__ import annotations

import dataclasses

from winnow_base.conversion import Conversion
from winnow_base.errors import ModelError
from winnow_convert.convert import Converted, refuse_failures
from winnow_convert.source import MODEL_FILE, Source
from winnow_edge.bundle import VERIFIER_BYTES, Verifier


def check_fits(second: Source, first: Source) -> None:
    """Raise ModelError where `second` cannot be the verifier of `first`."""
    where = second.folder / MODEL_FILE
    if second.classes != first.classes:
        raise ModelError(
            "is a verifier of other classes than its first stage: "
            f"{', '.join(second.classes)}, not {', '.join(first.classes)}",
            where=where,
            hint="train it for the first stage's classes, in their order",
        )
    if first.head != "softmax" or second.head != "softmax" or second.borderline:
        raise ModelError(
            "is no verifier of this net: both need a softmax head, and a verifier has one view",
            where=where,
            hint="leave out --verifier, or train a verifier with a softmax head",
        )
    got = (second.height, second.width, second.channels)
    wanted = (2 * first.width, first.width, first.channels)
    if first.height != first.width or got != wanted:
        raise ModelError(
            f"has input {got}, must be a tile above its surroundings, {wanted}",
            where=where,
            hint="build it with winnow_train.verifier",
        )


def within_the_limit(options: Conversion) -> Conversion:
    """The options of a verifier, which may have no more bytes than a bundle takes."""
    return dataclasses.replace(options, max_bytes=min(options.max_bytes, VERIFIER_BYTES))


def verifier_of(converted: Converted) -> Verifier:
    """The quantized verifier as it goes into a bundle. Raises GateError if its gate failed."""
    refuse_failures(converted)
    int8 = converted.int8
    return Verifier(converted.manifest, int8.flatbuffer, int8.golden)
