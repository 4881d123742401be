"""All doors: where each is built, the process it is fuzzed in, and how many cases it gets."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.door import Door


@dataclass(frozen=True)
class Entry:
    """A door's module, whose function NAME_door builds it around a scratch folder; the `group` that
    is fuzzed in one process; its cases in `make test` (`quick`) and in `make test-slow`."""

    module: str
    group: str
    quick: int
    slow: int

    def maker(self, name: str) -> Callable[[Path], Door]:
        """The function that builds the door; its module is loaded only now."""
        made: Callable[[Path], Door] = getattr(importlib.import_module(self.module), f"{name}_door")
        return made


DOORS = {
    "bundle": Entry("tests.fuzz.bundles", "edge", 300, 90_000),
    "manifest": Entry("tests.fuzz.bundles", "edge", 250, 80_000),
    "golden": Entry("tests.fuzz.bundles", "edge", 100, 15_000),
    "mission": Entry("tests.fuzz.missions", "edge", 300, 80_000),
    "flight": Entry("tests.fuzz.missions", "edge", 40, 5_000),
    "picture": Entry("tests.fuzz.pictures", "edge", 400, 100_000),
    "pgm": Entry("tests.fuzz.pictures", "edge", 200, 80_000),
    "raw": Entry("tests.fuzz.pictures", "edge", 100, 80_000),
    "geometry": Entry("tests.fuzz.geometries", "edge", 200, 40_000),
    "rows": Entry("tests.fuzz.stores", "store", 100, 12_000),
    "pages": Entry("tests.fuzz.stores", "store", 100, 12_000),
    "salvage": Entry("tests.fuzz.stores", "store", 60, 8_000),
    "ack": Entry("tests.fuzz.stores", "store", 150, 70_000),
    "requests": Entry("tests.fuzz.asking", "store", 60, 8_000),
    "packets": Entry("tests.fuzz.contacts", "ground", 150, 30_000),
    "received": Entry("tests.fuzz.contacts", "ground", 150, 30_000),
    "truth": Entry("tests.fuzz.contacts", "ground", 200, 60_000),
    "plan": Entry("tests.fuzz.contacts", "ground", 250, 60_000),
    "elements": Entry("tests.fuzz.contacts", "ground", 200, 40_000),
    "pds3": Entry("tests.fuzz.contacts", "ground", 250, 60_000),
    "labels": Entry("tests.fuzz.learning", "train", 250, 60_000),
    "own": Entry("tests.fuzz.learning", "train", 250, 80_000),
    "looks": Entry("tests.fuzz.learning", "train", 150, 60_000),
    "recipe": Entry("tests.fuzz.learning", "train", 120, 40_000),
    "server": Entry("tests.fuzz.servers", "train", 120, 30_000),
}
FAULTY = {
    name: Entry("tests.fuzz.faulty", "faulty", 5, 5)
    for name in ("raises", "hangs", "grows", "dies", "says_nothing")
}
"""Doors that fail, for the tests of the fuzzer."""
GROUPS: dict[str, list[str]] = {"all": list(DOORS)}
for _name, _entry in DOORS.items():
    GROUPS.setdefault(_entry.group, []).append(_name)
