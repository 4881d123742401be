"""Errors of the edge distribution, one tree::

    WinnowEdgeError             exit 3
    ├── MissionError            the mission file is unreadable, or a key is unknown or out of range
    ├── BundleError             a bundle is damaged, of an unknown format, or fails its self-test
    ├── SwathError              a swath is missing, empty, malformed, or not what was declared
    ├── StoreError              the store cannot be opened, read or written, or belongs elsewhere
    │   ├── SwathKnownError     the store knows a swath of that name, with other content
    │   ├── StoreDamagedError   the file of the store is damaged
    │   └── StoreTroubleError   the store is busy, its disk full or failing            exit 6
    ├── PacketError             a packet or container breaks its format
    ├── OutputError             a result cannot be written
    │   └── OutputTroubleError  the disk for it is full or failing                     exit 6
    └── RuntimeUnavailableError the runtime or device asked for is not there        exit 4

Each carries `where` (a file, key, line or place) and `hint` (what to do) beside its message, and
prints as one line. Exit codes: 0 done, 2 usage, 3 bad input, 4 hardware or runtime, 6 trouble that
passes: the input is good, and the same command may be tried again (5 is the ground's: a gate).
"""

from __future__ import annotations

import enum
from typing import Any

EXIT_OK, EXIT_USAGE, EXIT_INPUT, EXIT_RUNTIME, EXIT_AGAIN = 0, 2, 3, 4, 6


class Trouble(enum.StrEnum):
    """What keeps a store from being written that has nothing to do with the input."""

    BUSY = "busy"
    """Another process holds it."""
    FULL = "full"
    """Its disk is full."""
    FAILING = "failing"
    """Its disk gives errors, or has been made read-only because of them."""


class WinnowEdgeError(Exception):
    """Base of every error that the edge raises on purpose.

    Attributes: `what` (str) the message, `where` (object or None) the file, key or line it is
    about, `hint` (str or None) what to do about it.
    """

    exit_code = EXIT_INPUT

    def __init__(self, what: str, *, where: object = None, hint: str | None = None) -> None:
        self.what, self.where, self.hint = what, where, hint
        super().__init__(what, where, hint)

    def __reduce__(self) -> tuple[Any, ...]:
        # Another process is told of it too.
        return _again, (type(self), self.args, self.__dict__)

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where is not None else ""
        todo = f"; {self.hint}" if self.hint else ""
        return " ".join(f"{place}{self.what}{todo}".split())


def _again(kind: type[WinnowEdgeError], args: tuple[Any, ...], said: dict[str, Any]) -> Any:
    """The error as it was in the process that raised it."""
    error = kind.__new__(kind, *args)
    error.__dict__.update(said)
    return error


class MissionError(WinnowEdgeError):
    """The mission file is unreadable, or a key in it is unknown or out of range."""


class BundleError(WinnowEdgeError):
    """A bundle is damaged, of an unknown format version, or fails its golden self-test."""


class SwathError(WinnowEdgeError):
    """A swath is missing, empty, malformed, or not what was declared."""


class StoreError(WinnowEdgeError):
    """The store cannot be opened, read or written, or belongs to another mission."""


class SwathKnownError(StoreError):
    """The store knows a swath of that name, with other content or processing."""


class StoreDamagedError(StoreError):
    """The file of the store is damaged; `winnow-edge store salvage` makes it anew."""


class StoreTroubleError(StoreError):
    """The store is busy, or its disk is full or failing: nothing is wrong with the input.

    Attributes: `trouble` (Trouble), and those of every error.
    """

    exit_code = EXIT_AGAIN

    def __init__(
        self, what: str, trouble: Trouble, *, where: object = None, hint: str | None = None
    ) -> None:
        super().__init__(what, where=where, hint=hint)
        self.trouble = trouble


class PacketError(WinnowEdgeError):
    """A packet or container breaks its format."""


class OutputError(WinnowEdgeError):
    """A result cannot be written."""


class OutputTroubleError(OutputError):
    """A result cannot be written now, because the disk is full or failing."""

    exit_code = EXIT_AGAIN


class RuntimeUnavailableError(WinnowEdgeError):
    """The runtime or device that was asked for is not there."""

    exit_code = EXIT_RUNTIME
