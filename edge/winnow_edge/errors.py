"""Errors of the edge distribution, one tree::

    WinnowEdgeError             exit 3
    ├── MissionError            the mission file is unreadable, or a key is unknown or out of range
    ├── BundleError             a bundle is damaged, of an unknown format, or fails its self-test
    ├── SwathError              a swath is missing, empty, malformed, or not what was declared
    ├── StoreError              the store cannot be opened, read or written, or belongs elsewhere
    │   └── SwathKnownError     the store knows a swath of that name, with other content
    ├── PacketError             a packet or container breaks its format
    ├── OutputError             a result cannot be written
    └── RuntimeUnavailableError the runtime or device asked for is not there        exit 4

Each carries `where` (a file, key, line or place) and `hint` (what to do) beside its message, and
prints as one line. Exit codes: 0 done, 2 usage, 3 bad input, 4 hardware or runtime.
"""

from __future__ import annotations

EXIT_OK, EXIT_USAGE, EXIT_INPUT, EXIT_RUNTIME = 0, 2, 3, 4


class WinnowEdgeError(Exception):
    """Base of every error that the edge raises on purpose.

    Attributes: `what` (str) the message, `where` (object or None) the file, key or line it is
    about, `hint` (str or None) what to do about it.
    """

    exit_code = EXIT_INPUT

    def __init__(self, what: str, *, where: object = None, hint: str | None = None) -> None:
        self.what, self.where, self.hint = what, where, hint
        super().__init__(what, where, hint)

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where is not None else ""
        todo = f"; {self.hint}" if self.hint else ""
        return " ".join(f"{place}{self.what}{todo}".split())


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


class PacketError(WinnowEdgeError):
    """A packet or container breaks its format."""


class OutputError(WinnowEdgeError):
    """A result cannot be written."""


class RuntimeUnavailableError(WinnowEdgeError):
    """The runtime or device that was asked for is not there."""

    exit_code = EXIT_RUNTIME
