"""The examples in the documentation of the edge's modules say the truth."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from pathlib import Path

import pytest

import winnow_edge


def with_examples() -> list[str]:
    modules = pkgutil.walk_packages(winnow_edge.__path__, "winnow_edge.")
    root = Path(winnow_edge.__file__).parent.parent
    files = {m.name: m.name.replace(".", "/") + "/__init__" * m.ispkg for m in modules}
    return [n for n, file in files.items() if ">>>" in (root / f"{file}.py").read_text("utf-8")]


@pytest.mark.parametrize("name", with_examples())
def test_examples(name: str) -> None:
    done = doctest.testmod(importlib.import_module(name))
    assert done.attempted > 0
    assert done.failed == 0
