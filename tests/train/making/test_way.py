"""From pictures with boxes to a trained net, by the commands that every step names next."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.running import winnow
from tests.train.making.test_boxes import DISC, SIDE, field
from tests.train.making.test_new_data import save


def next_command(said: str) -> list[str]:
    """The arguments of the command in the line that begins with `next:`."""
    line = next(line for line in said.splitlines() if line.startswith("next: winnow "))
    return line.removeprefix("next: winnow ").split()


def test_each_step_names_the_next_and_it_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for n in range(5):
        pixels, boxes = field(n)
        save(Path(f"scenes/s{n}.png"), pixels)
        features = [
            {"class": "disc", "sample": x, "line": y, "samples": DISC, "lines": DISC}
            for x, y, *_ in boxes
        ]
        truth = {"lines": SIDE, "samples": SIDE, "features": features}
        Path(f"scenes/s{n}.truth.json").write_text(json.dumps(truth))
    made = ("scenes", "--tile", 64, "--drop-duplicates", "--licence", "CC0", "--out", "discs")
    done = winnow("new", "data", *made)
    assert done.returncode == 0, done.stderr
    done = winnow(*next_command(done.stdout))
    assert done.returncode == 0, done.stderr
    command = next_command(done.stdout)
    assert command[:4] == ["train", "discs.toml", "--data", "discs"]
    done = winnow(*command, "--set", "train.epochs=2")
    assert done.returncode == 0, done.stderr
    card = json.loads(Path("runs/discs/model.json").read_text())
    assert card["classes"] == ["disc", "none"]
    assert card["licence"] == "not stated (weights); training data: CC0"
    assert card["recipe"]["convert"]["background"] == ["none"]
    assert "by way of hirise-landmarks" in card["attribution"]
