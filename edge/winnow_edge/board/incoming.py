"""A folder of swaths that is worked off: no file in it keeps the others from being run.

A finished file is moved to `done`, one that failed twice to `set-aside`, where `events.jsonl` says
why. A try is on the disk before the file is opened, so that a file which kills or hangs its run is
known when the service manager has started the run again.
"""

from __future__ import annotations

import bisect
import contextlib
import itertools
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from winnow_edge.clock.host import read_host
from winnow_edge.errors import OutputError, OutputTroubleError
from winnow_edge.files import make_folder, printable, unwritable, write_file
from winnow_edge.output import tell
from winnow_edge.place.door import SUFFIXES, beside, is_beside

DONE: Final = "done"
SET_ASIDE: Final = "set-aside"
EVENTS_FILE: Final = "events.jsonl"
TRIES_FILE: Final = "tries.json"
MOST_TRIES: Final = 2
MOST_BOOTS: Final = 10
"""A power cut ends a try through no fault of the file, but some files take a board down."""
FIRST_S: Final = 1.0
LONGEST_S: Final = 60.0
_ASK_S: Final = 0.5
_TRIES_BYTES: Final = 65_536
_KILLED: Final = "the run was killed, hung or failed"


@dataclass(frozen=True, slots=True)
class Tries:
    """How often the `file` was begun since it had `lines` lines in the store: `tries` times since
    the machine's start `boot`, and under `boots` starts before."""

    file: str
    lines: int
    tries: int
    boot: str = ""
    boots: int = 0

    @classmethod
    def load(cls, path: Path) -> Tries | None:
        """From a file; None where there is none, or none that makes sense."""
        try:
            with path.open("rb") as stream:
                raw: Any = json.loads(stream.read(_TRIES_BYTES))
        except (OSError, ValueError, RecursionError):
            return None
        wanted = {"file": str, "lines": int, "tries": int, "boot": str, "boots": int}
        if not isinstance(raw, dict) or {k: type(v) for k, v in raw.items()} != wanted:
            return None
        return cls(**raw)


class Incoming:
    """The files of `folder`, by name, those too that come while it is worked off.

    Tries are counted in `TRIES_FILE` in the folder `state`; `boot` names this start of the machine
    (None: as the kernel does). Raises OutputError where files cannot be moved, as on a disk that
    `fails` by the caller's word: there they stay.
    """

    def __init__(
        self,
        folder: str | Path,
        state: str | Path,
        *,
        boot: str | None = None,
        fails: bool = False,
    ) -> None:
        self._boot = read_host().boot_id if boot is None else boot
        self._folder, self._state = Path(folder), Path(state) / TRIES_FILE
        self._listed: list[str] = []
        self._left: set[str] = set()
        self._fails = fails
        try:
            for name in (DONE, SET_ASIDE):
                make_folder(self._folder / name)
        except OSError as error:
            if not fails:
                raise _unwritable(self._folder, error) from error

    def files(self) -> Iterator[Path]:
        """What is there, and then what has come meanwhile. The caller moves each file away."""
        while names := self._names():
            self._listed = names
            for name in names:
                path = self._folder / name
                if path.is_file():
                    yield path
                elif os.path.lexists(path):
                    with self._borne(path):
                        self.set_aside(path, 0, "is no file")
        with self._borne(None):
            self._late()

    @contextlib.contextmanager
    def _borne(self, path: Path | None) -> Iterator[None]:
        """Where the disk fails, what cannot be moved stays where it is."""
        try:
            yield
        except OutputTroubleError:
            if not self._fails:
                raise
            if path is not None:
                self.leave(path)

    @property
    def left(self) -> bool:
        """Whether there are files that were left where they are."""
        return bool(self._left)

    def leave(self, path: Path) -> None:
        """Pass a file over from now on: it cannot be moved."""
        self._left.add(path.name)

    def waits(self) -> bool:
        """Whether there are files that were not left."""
        return bool(self._names())

    def keep_in(self, state: Path, *, fails: bool) -> None:
        """Count tries in another folder, as the disk `fails`."""
        self._state, self._fails = state / TRIES_FILE, fails

    def begin(self, path: Path, lines: int) -> bool:
        """Count a try of a file of which `lines` lines are committed; False: it was set aside.

        Tries between which lines were committed are not held against the file, and of those that
        ended with the machine itself no more than `MOST_BOOTS` are borne.
        """
        now = Tries(printable(path.name), lines, 0, self._boot)
        known = Tries.load(self._state)
        if known is not None and (known.file, known.lines) == (now.file, now.lines):
            now = known if known.boot == now.boot else replace(now, boots=known.boots + 1)
        if now.tries >= MOST_TRIES or now.boots >= MOST_BOOTS:
            self.set_aside(path, now.tries + now.boots, _KILLED)
            return False
        write_file(self._state, json.dumps(asdict(replace(now, tries=now.tries + 1))))
        return True

    def failed(self, path: Path, why: str) -> bool:
        """A try ended with an error; whether there is another one."""
        known = Tries.load(self._state)
        tries = known.tries if known is not None else MOST_TRIES
        if tries < MOST_TRIES:
            return True
        self.set_aside(path, tries, why)
        return False

    def forget(self) -> None:
        """The run ended for another reason than its file, such as a full disk."""
        with contextlib.suppress(OSError):  # the same disk may be the reason
            self._state.unlink(missing_ok=True)

    def done(self, path: Path) -> None:
        """The file is finished."""
        self._move(path, self._folder / DONE / path.name)
        self._take_along(path, self._folder / DONE)

    def set_aside(self, path: Path, tries: int, why: str) -> None:
        """Move a file out of the way, tell so, and keep the event."""
        target = self._folder / SET_ASIDE / path.name
        number = 1
        while os.path.lexists(target):
            number += 1
            target = target.with_name(f"{path.name}.{number}")
        self._move(path, target)
        self._take_along(path, target.parent)
        self.forget()
        told = printable(target.name)
        tell(f"winnow-edge: set aside as {SET_ASIDE}/{told} after {tries} tries: {why}")
        event = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "file": told,
            "tries": tries,
            "why": why,
        }
        try:
            with (self._folder / SET_ASIDE / EVENTS_FILE).open("a", encoding="utf-8") as events:
                events.write(json.dumps(event) + "\n")
        except OSError as error:  # the file is out of the way, and standard error has the event
            tell(f"winnow-edge: {EVENTS_FILE} cannot be written: {error.strerror}")

    def _names(self) -> list[str]:
        """By name; hidden files are those that are still being written. What tells about a swath is
        none."""
        try:
            with os.scandir(self._folder) as entries:
                names = (e.name for e in entries if not e.is_dir(follow_symlinks=False))
                known = (n for n in names if not n.startswith(".") and not is_beside(n))
                return sorted(n for n in known if n not in self._left)
        except OSError as error:
            raise _unwritable(self._folder, error) from error

    def _late(self) -> None:
        """What tells about swaths that are done follows them, and is told of: no run reads it."""
        done = self._folder / DONE
        try:
            told = sorted(p.name for p in self._folder.iterdir() if is_beside(p.name))
            swaths = [p.name for p in done.iterdir() if not is_beside(p.name)] if told else []
        except OSError as error:
            raise _unwritable(self._folder, error) from error
        for name in told:
            stem = name.removesuffix(next(s for s in SUFFIXES if name.endswith(s)))
            if any(_is_of(swath, stem) for swath in swaths):
                self._move(self._folder / name, done / name)
                tell(
                    f"winnow-edge: {printable(name)}: came late: its swath is done; "
                    "`winnow place` on the ground uses it"
                )

    def _take_along(self, path: Path, folder: Path) -> None:
        """What tells about a swath follows it, if it tells about no other that is left."""
        for file in list(beside(path)):
            ending = next(suffix for suffix in SUFFIXES if file.name.endswith(suffix))
            stem = file.name.removesuffix(ending)
            if not self._is_left(stem):
                self._move(file, folder / file.name)

    def _is_left(self, stem: str) -> bool:
        """Whether one of the files listed last is a swath of that stem and is still there. A folder
        of 100,000 is not listed anew for every file."""
        first = bisect.bisect_left(self._listed, stem)
        names = itertools.takewhile(
            lambda n: n.startswith(stem), itertools.islice(self._listed, first, None)
        )
        return any(_is_of(n, stem) and os.path.lexists(self._folder / n) for n in names)

    def _move(self, path: Path, target: Path) -> None:
        try:
            path.replace(target)
        except FileNotFoundError:
            pass  # its owner took it back
        except OSError as error:
            raise _unwritable(path, error) from error


def _is_of(swath: str, stem: str) -> bool:
    return swath == stem or swath.startswith(f"{stem}.")


def _unwritable(path: Path, error: OSError) -> OutputError:
    return unwritable(
        error,
        printable(str(path)),
        "this user must be able to write in the folder of swaths",
        what="cannot be moved or listed",
    )


class Patience:
    """Waits between tries, each twice as long as the one before and at most `LONGEST_S`, for
    `seconds` in all; `stop` ends a wait."""

    def __init__(self, seconds: float, stop: Callable[[], bool]) -> None:
        self._seconds, self._stop = seconds, stop
        self.renew()

    def renew(self) -> None:
        """Something went well: the next trouble is a new one."""
        self._left, self._next = self._seconds, FIRST_S

    @property
    def used_up(self) -> bool:
        """Whether all of it was waited for, and in vain."""
        return self._left <= 0 < self._seconds

    def again(self, why: str) -> bool:
        """Say why, and wait; False where there is no patience left, or the run is to stop."""
        wait = min(self._next, self._left)
        if wait <= 0:
            return False
        tell(f"winnow-edge: {why}; trying again in {wait:g} s")
        ends = time.monotonic() + wait
        while (left := ends - time.monotonic()) > 0:
            if self._stop():
                return False
            time.sleep(min(left, _ASK_S))
        self._left -= wait
        self._next = min(2 * self._next, LONGEST_S)
        return not self._stop()


def committed_lines(known: Callable[[str], Any], path: Path) -> int:
    """Lines of a file's swath that a store has; -1 where `known`, by name, has no such swath."""
    swath = known(printable(path.name))
    return -1 if swath is None else int(swath.next_line)
