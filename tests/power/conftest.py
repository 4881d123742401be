"""Fixtures of the tests of power cuts."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.power.session import (
    Session,
    crowded,
    flown,
    maintained,
    migrated_from_1,
    migrated_from_2,
    rotten,
)
from tests.power.shim import compiled

SESSIONS = {
    flown: 0.25,
    crowded: 0.35,
    migrated_from_1: 0.07,
    migrated_from_2: 0.07,
    maintained: 0.16,
    rotten: 0.1,
}
"""What is recorded, and its share of all crash points: about that of its calls."""


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library; skips where it cannot be made."""
    return compiled(tmp_path_factory.mktemp("shim"))


@pytest.fixture(scope="session", params=SESSIONS, ids=lambda made: made.__name__)
def session(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, shim: Path
) -> Session:
    """What the board's commands did to a disk, call by call."""
    made: Session = request.param(tmp_path_factory.mktemp("flight"), shim)
    return replace(made, share=SESSIONS[request.param])


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory, where there is one: what is written there need not survive."""
    memory = Path("/dev/shm")
    if not (memory.is_dir() and os.access(memory, os.W_OK)):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(prefix="winnow-power-", dir=memory) as folder:
        yield Path(folder)
