"""Runs cases of a door, one after another, and judges each: a value, an error of ours, or neither.

Case n of a door and seed is the same input wherever and whenever it runs, alone or among others.
"""

from __future__ import annotations

import random
import resource
import signal
import sys
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from tests.fuzz.door import Door
from winnow_edge.errors import WinnowEdgeError

HANG_S = 5.0
"""Seconds of processor time that no case may take. They do not pass while others compute."""
WAIT_S = 600.0
"""Seconds of the clock that no case may wait."""
GROWTH_MB = 256
"""What a case may add to the most memory (MB, 1e6 bytes) that valid inputs take."""
_SHOWN = 2000


class HangError(BaseException):
    """A case that takes too long; no door may catch it."""


class GrowthError(Exception):
    """A case that takes too much memory."""


@dataclass(frozen=True)
class Failure:
    """A case that ended in neither a value nor an error of ours."""

    door: str
    seed: int
    case: int
    place: str
    """The kind of error and the line that raised it: cases alike have one cause."""
    shown: str

    def __str__(self) -> str:
        again = f"python -m tests.fuzz {self.door} --seed {self.seed} --case {self.case}"
        return f"{self.door}, seed {self.seed}, case {self.case}: {self.place}\n{self.shown}{again}"


def damaged(name: str, door: Door, seed: int, case: int) -> Any:
    """The input of a case."""
    return door.damaged(random.Random(f"{name}/{seed}/{case}"))


def run(
    name: str, door: Door, seed: int, cases: Iterable[int], begun: Callable[[int], None]
) -> list[Failure]:
    """Run cases of a door; the first failure of each place. `begun` is told each case's number."""
    for plain in door.plain:  # a door that takes nothing would pass every test
        door.enter(plain)
    signal.signal(signal.SIGPROF, _hung)
    signal.signal(signal.SIGALRM, _hung)
    known, failures, most = set(), [], _peak_mb() + GROWTH_MB
    for case in cases:
        begun(case)
        content = damaged(name, door, seed, case)
        error = _tried(door, content, most)
        if error is None:
            continue
        if isinstance(error, GrowthError):
            most = _peak_mb() + GROWTH_MB
        place = f"{type(error).__name__} {_raised_at(error)}"
        if place not in known:
            known.add(place)
            failures.append(Failure(name, seed, case, place, _shown(error, content)))
    return failures


def _tried(door: Door, content: Any, most: float) -> BaseException | None:
    """What is wrong with what a door makes of an input; None: nothing is."""
    try:
        signal.setitimer(signal.ITIMER_PROF, HANG_S)
        signal.setitimer(signal.ITIMER_REAL, WAIT_S)
        try:
            door.enter(content)
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.setitimer(signal.ITIMER_REAL, 0)
    except WinnowEdgeError as error:
        said = str(error)
        if not said or "\n" in said:
            return AssertionError(f"no line: {said!r}")
    except (Exception, HangError) as error:
        return error
    if (peak := _peak_mb()) > most:
        return GrowthError(f"{peak - most + GROWTH_MB:.0f} MB beyond valid inputs")
    return None


def _hung(number: int, frame: FrameType | None) -> None:
    raise HangError(f"{HANG_S:g} s of computing" if number == signal.SIGPROF else f"{WAIT_S:g} s")


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def _raised_at(error: BaseException) -> str:
    """The innermost line of the product in a traceback, else of the door."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename != __file__]
    ours = [f for f in frames if "/winnow_" in f.filename] or frames
    return f"{Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else ""


def _shown(error: BaseException, content: Any) -> str:
    told = "".join(traceback.format_exception(error)).encode("utf-8", "backslashreplace").decode()
    said = ascii(content)
    return f"{told[-3 * _SHOWN :]}input: {said[:_SHOWN]}\n"


def limit_address_space(extra_mb: int = 2000) -> None:
    """Let this process map so much more than it has: a runaway case ends as MemoryError."""
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if sys.platform == "linux" else 0
    if pages:
        size = pages * resource.getpagesize() + extra_mb * 1_000_000
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (size, hard))
