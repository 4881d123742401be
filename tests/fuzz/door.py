"""What a fuzzer of one door is: valid inputs, a way to damage them, and the function they enter."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Door:
    """A door of the product.

    `enter` hands an input to the product's own functions; it returns, or raises a WinnowEdgeError.
    `plain` are valid inputs, which it must take; `damaged` makes an input that may be anything.
    """

    enter: Callable[[Any], object]
    plain: Sequence[Any]
    damaged: Callable[[random.Random], Any]
