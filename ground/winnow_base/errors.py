"""Errors of the ground distribution, one tree::

    GroundError                 exit 3
    ├── DataError               a data set, image or label file is unusable
    ├── RecipeError             a recipe has an unknown key or an illegal value
    ├── WeightsError            weights do not fit the architecture
    ├── ModelError              a model file cannot be read or converted
    ├── OutputError             a result cannot be written
    ├── PacketError             a packet file holds nothing that can be received
    ├── PlanError               a contact plan is malformed
    ├── NetworkError            a server is out of reach or breaks off       exit 4
    ├── DeployError             a board cannot be reached or set up           exit 4
    ├── MissingExtraError       an optional dependency is not installed       exit 4
    └── GateError               a quality gate failed                         exit 5

Each carries `where` (a file, key or place) and `hint` (what to do) beside its message, and prints
as one line.
"""

from __future__ import annotations

EXIT_OK, EXIT_USAGE, EXIT_INPUT, EXIT_RUNTIME, EXIT_GATE = 0, 2, 3, 4, 5


class GroundError(Exception):
    """Base of every error that the ground tools raise on purpose."""

    exit_code = EXIT_INPUT

    def __init__(self, what: str, *, where: object = None, hint: str | None = None) -> None:
        self.what, self.where, self.hint = what, where, hint
        super().__init__(what, where, hint)

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where is not None else ""
        todo = f"; {self.hint}" if self.hint else ""
        return " ".join(f"{place}{self.what}{todo}".split())


class DataError(GroundError):
    """A data set, image or label file is unusable."""


class RecipeError(GroundError):
    """A recipe has an unknown key or an illegal value."""


class WeightsError(GroundError):
    """Weights do not fit the architecture they were given to."""


class ModelError(GroundError):
    """A model file cannot be read or converted."""


class OutputError(GroundError):
    """A result cannot be written."""


class PacketError(GroundError):
    """A packet file holds nothing that can be received."""


class PlanError(GroundError):
    """A contact plan is malformed."""


class NetworkError(GroundError):
    """A server is out of reach, or breaks off too often."""

    exit_code = EXIT_RUNTIME


class DeployError(GroundError):
    """A board cannot be reached, or a step of installing there failed."""

    exit_code = EXIT_RUNTIME


class MissingExtraError(GroundError):
    """An optional dependency is not installed."""

    exit_code = EXIT_RUNTIME


class GateError(GroundError):
    """A quality gate failed."""

    exit_code = EXIT_GATE
