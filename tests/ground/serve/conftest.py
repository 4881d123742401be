"""Catalogues of a small reception, and a server over one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.ground.serve.serving import HOSTILE, Served, serving
from winnow_ground.catalogue.add import add_reception
from winnow_ground.receive import receive


@pytest.fixture
def catalogue(fly: Callable[..., Any], tmp_path: Path) -> Path:
    """A catalogue of one swath with a hostile name."""
    fly(name=HOSTILE, instrument="camera").contact(tmp_path / "pass.bin", 40_000)
    path = tmp_path / "mars.db"
    add_reception(path, receive([tmp_path / "pass.bin"], tmp_path / "in"))
    return path


@pytest.fixture
def served(catalogue: Path) -> Iterator[Served]:
    """A server over it."""
    with serving(catalogue) as server:
        yield server
