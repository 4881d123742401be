"""What a runtime is: a file that registers itself, and the classifiers that it loads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from winnow_edge.bundle import Bundle, Logits, Tile


class Classifier(Protocol):
    """A loaded model on one thread. Several are loaded for several threads; none may be shared."""

    requested: str
    """The runtime that was asked for."""
    actual: str
    """The runtime that runs."""

    def infer(self, tile: Tile, logits: Logits) -> None:
        """Logits of a quantized tile, which is copied once, straight into the interpreter.

        The flight loop gives tiles as opaque lines (`Band.tiles`) and a memoryview for the logits:
        both cost less than int8 arrays.
        """

    def infer_mirrored(self, tile: Tile, logits: Logits) -> None:
        """`infer` on the mirror image of a tile, left and right exchanged."""

    def invoke_only(self) -> None:
        """Run the net on whatever its input holds: the bare cost, for bench."""


class Load(Protocol):
    """Loads a bundle's model on one thread; `requested` is the runtime that was asked for."""

    def __call__(self, bundle: Bundle, *, requested: str) -> Classifier:
        """Raises RuntimeUnavailableError, BundleError."""


@dataclass(frozen=True)
class Runtime:
    """`why_not` returns None where the runtime is usable here, else the reason; `version` says
    what is used then, in words. Without a net (`has_net`) there is no self-test."""

    name: str
    why_not: Callable[[], str | None]
    load: Load
    version: Callable[[], str]
    has_net: bool = True


REGISTERED: dict[str, Runtime] = {}
"""Runtimes by name."""


def register(runtime: Runtime) -> None:
    """Make a runtime known; each file of the package does so for its own."""
    REGISTERED[runtime.name] = runtime
