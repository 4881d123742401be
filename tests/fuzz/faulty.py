"""Doors at which one case in five fails, or every one: what a fuzzer does that finds something."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

from tests.fuzz.door import Door
from winnow_edge.errors import StoreError

_HELD: list[bytes] = []


def _door(fail: Callable[[], object], one_in: int = 5) -> Door:
    def enter(number: int) -> None:
        if number % one_in == 0 and number != 1:
            fail()

    return Door(enter, [1], lambda rng: rng.randrange(10**9))


def raises_door(_: Path) -> Door:
    def fail() -> None:
        raise KeyError("lost")

    return _door(fail)


def hangs_door(_: Path) -> Door:
    def fail() -> None:
        while True:
            pass

    return _door(fail, one_in=1)


def grows_door(_: Path) -> Door:
    def fail() -> None:
        _HELD[:] = [b"x" * 300_000_000]

    return _door(fail)


def dies_door(_: Path) -> Door:
    return _door(lambda: os.kill(os.getpid(), signal.SIGKILL))


def says_nothing_door(_: Path) -> Door:
    def fail() -> None:
        raise StoreError("")

    return _door(fail)
