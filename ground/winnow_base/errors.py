"""Errors of the ground distribution, one tree that grows from the edge's::

    WinnowEdgeError                 winnow_edge.errors: exit 3
    ├── OutputError                 a result cannot be written (disk full or failing: exit 6)
    ├── ...                         what the edge's own code raises
    └── GroundError
        ├── DataError               a data set, image or label file is unusable
        ├── RecipeError             a recipe has an unknown key or an illegal value
        ├── WeightsError            weights do not fit the architecture
        ├── ModelError              a model file cannot be read or converted
        ├── PacketError             a packet file holds nothing that can be received
        ├── PlanError               a contact plan is malformed
        ├── CatalogueError          a catalogue cannot be read or written
        ├── NetworkError            a server is out of reach or breaks off       exit 4
        ├── DeployError             a board cannot be reached or set up           exit 4
        ├── MissingExtraError       an optional dependency is not installed       exit 4
        └── GateError               a quality gate failed                         exit 5

Each carries `where` (a file, key or place) and `hint` (what to do) beside its message, and prints
as one line.
"""

from __future__ import annotations

from winnow_edge.errors import EXIT_RUNTIME, WinnowEdgeError

EXIT_GATE = 5


class GroundError(WinnowEdgeError):
    """Base of every error that the ground tools alone raise on purpose."""


class DataError(GroundError):
    """A data set, image or label file is unusable."""


class RecipeError(GroundError):
    """A recipe has an unknown key or an illegal value."""


class WeightsError(GroundError):
    """Weights do not fit the architecture they were given to."""


class ModelError(GroundError):
    """A model file cannot be read or converted."""


class PacketError(GroundError):
    """A packet file holds nothing that can be received."""


class PlanError(GroundError):
    """A contact plan is malformed."""


class CatalogueError(GroundError):
    """A catalogue cannot be read or written."""


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
