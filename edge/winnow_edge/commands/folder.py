"""`winnow-edge run --incoming`: a folder is worked off, and trouble that passes is waited for."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
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

_ASK_S: Final = 0.5
_SCRUB_S: Final = 5.0
"""How long the store is read once the folder is worked off."""


def opened(mission: Mission, store: str, seconds: float, stop: Callable[[], bool]) -> Flight:
    """The flight, its store waited for; in memory where its disk still fails after so many seconds.
    Raises StoreTroubleError."""
    patience = Patience(seconds, stop)
    while True:
        try:
            return Flight(mission, store, stop=stop)
        except StoreTroubleError as error:
            if patience.again(str(error)):
                continue
            if not (patience.used_up and error.trouble is Trouble.FAILING):
                raise
            return Flight(mission, store, stop=stop, fails=True)


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
    incoming = Incoming(folder, store, fails=flight.in_memory)
    patience = Patience(seconds, stop)
    while True:
        for path in incoming.files():
            _take(path, incoming, flight, patience, stop, run_one)
            if stop():
                break
        if stop() or not (incoming.left and _more_come(incoming, seconds, stop)):
            break
    _scrub(flight, stop)
    return EXIT_OK


def _take(
    path: Path,
    incoming: Incoming,
    flight: Flight,
    patience: Patience,
    stop: Callable[[], bool],
    run_one: Callable[[str], bool],
) -> None:
    """Run a file of the folder to its end, however often its store has to be waited for."""
    while not stop():
        incoming.keep_in(flight.store.path.parent, fails=flight.in_memory)
        try:
            if not incoming.begin(path, committed_lines(flight.store.swath, path)):
                return
            if run_one(str(path)):
                incoming.done(path)
        except (SwathError, SwathKnownError) as error:
            try:
                if incoming.failed(path, str(error)):
                    continue
            except OutputTroubleError as failing:
                _leave(path, incoming, flight, failing)
        except (StoreTroubleError, StoreDamagedError, OutputTroubleError) as error:
            if isinstance(error, OutputTroubleError) and flight.in_memory:
                _leave(path, incoming, flight, error)
                return
            incoming.forget()
            wait_for_store(flight, patience, error, stop)
            continue
        except WinnowEdgeError:
            incoming.forget()
            raise
        else:
            incoming.forget()
            patience.renew()
        return


def _leave(path: Path, incoming: Incoming, flight: Flight, why: OutputTroubleError) -> None:
    """A file that cannot be moved, as its disk fails like the store's, is passed over from now on.
    Raises `why` where the store's disk works."""
    if not flight.in_memory:
        raise why
    incoming.leave(path)
    tell(f"winnow-edge: {why}; it stays where it is")


def _more_come(incoming: Incoming, seconds: float, stop: Callable[[], bool]) -> bool:
    """Wait for files beside those that stay where they are, which would start the service at once
    again and again; False once none has come for so many seconds."""
    ends = time.monotonic() + seconds
    while not stop() and time.monotonic() < ends:
        if incoming.waits():
            return True
        time.sleep(_ASK_S)
    return False


def _scrub(flight: Flight, stop: Callable[[], bool]) -> None:
    """The folder is worked off: read the store for a while, so that rot is found early."""
    ends = time.monotonic() + _SCRUB_S
    while not stop() and time.monotonic() < ends:
        if flight.idle(thorough=True):
            return


def wait_for_store(
    flight: Flight, patience: Patience, why: WinnowEdgeError, stop: Callable[[], bool]
) -> None:
    """Wait until the store can be opened again, which salvages a damaged one. A disk that stays
    full gets records alone; one that goes on failing nothing, as the store is in memory then.
    Raises `why` once there is no patience left, but where the run is to stop: the lines at hand
    are run again by the next."""
    while True:
        if not patience.again(str(why)):
            if stop():
                return
            trouble = why.trouble if isinstance(why, StoreTroubleError) else None
            if trouble is Trouble.FAILING and patience.used_up and not flight.in_memory:
                flight.reopen(fails=True)
                patience.renew()
                return
            if trouble is Trouble.FULL and patience.used_up and not flight.store.disk.light:
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
