"""The comparison with peers: what contenders say does not hold them up, and is not lost."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pytest

from benchmarks.peers import compare

_CHATTY = """\
import json, sys
print(json.dumps({"ready": True}), flush=True)
for turn, _ in enumerate(sys.stdin):
    sys.stderr.write("a warning\\n" * 100_000)
    if turn == 2:
        sys.exit("no memory left")
    print(json.dumps({"tiles": turn}), flush=True)
"""


def test_a_contender_that_says_much_answers_and_its_last_words_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chatty = tmp_path / "chatty.py"
    chatty.write_text(_CHATTY)
    monkeypatch.setattr(compare, "CHILD", (sys.executable, str(chatty)))
    args = argparse.Namespace(bundle="x", onnx="x", keras="x")
    contender, why = compare.start("crop-loop", args, tmp_path / "swath.pgm")
    assert why is None
    answers = [compare.ask(contender) for _ in range(3)]
    assert answers == [({"tiles": 0}, None), ({"tiles": 1}, None), ({}, answers[2][1])]
    assert answers[2][1] == "ended with 1: no memory left"


def test_a_contender_that_does_not_begin_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("import sys; sys.exit('not installed')")
    monkeypatch.setattr(compare, "CHILD", (sys.executable, str(broken)))
    args = argparse.Namespace(bundle="x", onnx="x", keras="x")
    assert compare.start("sahi", args, tmp_path / "swath.pgm") == (None, "not installed")
