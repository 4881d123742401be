"""A clone of this tree for every page that is walked."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.first_hour.guides import fresh_clone, is_checkout


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh clone, installed; skips where this tree is no checkout."""
    if not is_checkout():
        pytest.skip("this tree is no git checkout that could be cloned")
    return fresh_clone(tmp_path_factory.mktemp("first-hour"))
