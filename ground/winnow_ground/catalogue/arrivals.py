"""A reception into the catalogue while it goes on; trouble with the catalogue never ends it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from winnow_base.errors import CatalogueError
from winnow_ground.catalogue.add import add_reception
from winnow_ground.received import Received

_EVERY_S: Final = 1.0
_SHARE: Final = 10
"""Between two looks of the catalogue passes so many times what a look takes: most of the time goes
to the link."""
_PATIENCE_S: Final = 0.2
"""How long another program that writes is waited for while packets come in."""


class Arrivals:
    """Fills the catalogue in `path`: call it with every container, and `end` with all that came."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path, self._clock = path, clock
        self._next = clock()
        self._given_up = False

    def __call__(self, save: Callable[[], Received]) -> None:
        """Bring what came so far into the catalogue, where it is time; `save` puts it on the disk
        first, as the catalogue names its pictures."""
        began = self._clock()
        if self._given_up or began < self._next:
            return
        try:
            add_reception(self._path, save(), patience_s=_PATIENCE_S)
        except CatalogueError as error:
            # In use: the next time. Everything else lasts, and is told of at the end.
            self._given_up = not _is_busy(error)
        now = self._clock()
        self._next = now + max(_EVERY_S, _SHARE * (now - began))

    def end(self, received: Received) -> None:
        """Bring all of it in. Raises CatalogueError that says how it gets there later."""
        try:
            add_reception(self._path, received)
        except CatalogueError as error:
            raise CatalogueError(
                f"{error.what}; what came down is in {received.folder} all the same",
                where=self._path,
                hint=f"then `winnow catalogue add {received.folder} --to {self._path}`",
            ) from error


def _is_busy(error: CatalogueError) -> bool:
    name = getattr(error.__cause__, "sqlite_errorname", "")
    return str(name).startswith(("SQLITE_BUSY", "SQLITE_LOCKED"))
