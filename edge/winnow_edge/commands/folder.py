"""`winnow-edge run --incoming`: a folder is worked off, and trouble that passes is waited for."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from winnow_edge.board.incoming import Incoming, Patience, committed_lines
from winnow_edge.errors import (
    EXIT_OK,
    OutputTroubleError,
    StoreDamagedError,
    StoreTroubleError,
    SwathError,
    SwathKnownError,
    Trouble,
    WinnowEdgeError,
)
from winnow_edge.loop.flight import Flight
from winnow_edge.mission import Mission
from winnow_edge.output import tell

_SCRUB_S: Final = 5.0
"""How long the store is read once the folder is worked off."""


def opened(mission: Mission, store: str, seconds: float, stop: Callable[[], bool]) -> Flight:
    """The flight, its store waited for. Raises StoreTroubleError after so many seconds."""
    patience = Patience(seconds, stop)
    while True:
        try:
            return Flight(mission, store, stop=stop)
        except StoreTroubleError as error:
            if not patience.again(str(error)):
                raise


def take_in(
    folder: str,
    store: str,
    seconds: float,
    flight: Flight,
    stop: Callable[[], bool],
    run_one: Callable[[str], bool],
) -> int:
    """Run the files of a folder; `run_one` says whether one is complete. A bad file is moved aside
    and told of: it is not how the run ended."""
    incoming = Incoming(folder, store)
    patience = Patience(seconds, stop)
    for path in incoming.files():
        while not stop():
            try:
                if not incoming.begin(path, committed_lines(flight.store.swath, path)):
                    break
                if run_one(str(path)):
                    incoming.done(path)
            except (SwathError, SwathKnownError) as error:
                if incoming.failed(path, str(error)):
                    continue
            except (StoreTroubleError, StoreDamagedError, OutputTroubleError) as error:
                incoming.forget()
                _wait(flight, patience, error, stop)
                continue
            except WinnowEdgeError:
                incoming.forget()
                raise
            else:
                incoming.forget()
                patience.renew()
            break
        if stop():
            break
    _scrub(flight, stop)
    return EXIT_OK


def _scrub(flight: Flight, stop: Callable[[], bool]) -> None:
    """The folder is worked off: read the store for a while, so that rot is found early."""
    ends = time.monotonic() + _SCRUB_S
    while not stop() and time.monotonic() < ends:
        if flight.idle(thorough=True):
            return


def _wait(
    flight: Flight, patience: Patience, why: WinnowEdgeError, stop: Callable[[], bool]
) -> None:
    """Wait until the store can be opened again, which salvages a damaged one. A disk that stays
    full gets records alone. Raises `why` once there is no patience left, but where the run is to
    stop: the lines at hand are run again by the next."""
    while True:
        if not patience.again(str(why)):
            if stop():
                return
            full = isinstance(why, StoreTroubleError) and why.trouble is Trouble.FULL
            if full and patience.used_up and not flight.store.disk.light:
                tell("winnow-edge: the disk stays full; going on with records alone")
                flight.reopen(light=True)
                return
            raise why
        try:
            flight.reopen()
        except StoreTroubleError as error:
            why = error
        else:
            return
