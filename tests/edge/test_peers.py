"""The comparison with peers: what contenders say does not hold them up, and is not lost."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

_CHATTY = """\
import json, sys
print(json.dumps({"ready": True}), flush=True)
for turn, _ in enumerate(sys.stdin):
    sys.stderr.write("a warning\\n" * 100_000)
    if turn == 2:
        sys.exit("no memory left")
    print(json.dumps({"tiles": turn}), flush=True)
"""


@pytest.fixture
def peers(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "peers.py"
    spec = importlib.util.spec_from_file_location("peers", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "peers", module)
    spec.loader.exec_module(module)
    return module


def test_a_contender_that_says_much_answers_and_its_last_words_are_told(
    peers: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chatty = tmp_path / "chatty.py"
    chatty.write_text(_CHATTY)
    monkeypatch.setattr(peers, "__file__", str(chatty))
    args = argparse.Namespace(bundle="x", onnx="x", keras="x")
    contender, why = peers.start("crop-loop", args, tmp_path / "swath.pgm")
    assert why is None
    answers = [peers.ask(contender) for _ in range(3)]
    assert answers == [({"tiles": 0}, None), ({"tiles": 1}, None), ({}, answers[2][1])]
    assert answers[2][1] == "ended with 1: no memory left"


def test_a_contender_that_does_not_begin_says_why(
    peers: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("import sys; sys.exit('not installed')")
    monkeypatch.setattr(peers, "__file__", str(broken))
    args = argparse.Namespace(bundle="x", onnx="x", keras="x")
    assert peers.start("sahi", args, tmp_path / "swath.pgm") == (None, "not installed")
