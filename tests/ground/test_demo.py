"""The demo, run as people run it: a process, a folder, ten lines."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.forked import run_text

WINNOW = [sys.executable, "-c", "from winnow_cli.app import main; main()", "demo"]


def demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    return run_text("winnow", "demo", *arguments)


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A demo of a short strip, and what it said."""
    out = tmp_path_factory.mktemp("demo") / "out"
    done = demo("--out", str(out), "--lines", "1300", "--seed", "2")
    assert done.returncode == 0, done.stderr
    return out, done.stdout


def test_it_tells_the_whole_path_in_ten_lines(shown: tuple[Path, str]) -> None:
    out, said = shown
    lines = said.splitlines()
    assert len(lines) == 11
    assert [line.split()[0] for line in lines[:5]] == [
        "strip", "classified", "detections", "by", "contact",
    ]  # fmt: skip
    assert str(out / "report.html") in lines[-2]
    made = {path.name for path in out.iterdir()}
    assert {"swath.png", "truth.json", "mission.toml", "store", "contact.packets", "received",
            "fifo", "report.html", "demo.json"} <= made  # fmt: skip


def test_its_last_line_is_the_next_command_and_can_be_typed(shown: tuple[Path, str]) -> None:
    out, said = shown
    title, command = said.splitlines()[-1].split(maxsplit=1)
    assert title == "next"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (out / "contact-2.packets").stat().st_size > 0
    assert "contact 2: " in done.stdout


def test_its_figures_agree_with_the_files(shown: tuple[Path, str]) -> None:
    out, _ = shown
    figures = json.loads((out / "demo.json").read_text())
    truth = json.loads((out / "truth.json").read_text())
    assert figures["truth"] == len(truth["features"]) > 0
    budget = figures["contact"]["budget_bytes"]
    assert budget == max(round(0.05 * figures["contact"]["all_bytes"]), 4 * 1024)
    for name, place in (("mission", out), ("fifo", out / "fifo")):
        part = figures[name]
        size = (place / "contact.packets").stat().st_size
        assert part["bytes"] == size <= budget
        received = json.loads((place / "received" / "received.json").read_text())
        assert received["kinds"]["image"] == part["products"]["image"] == part["images"]
        assert part["crc_errors"] == part["missing"] == 0
        assert 0 <= part["true_as_image"] <= part["true_as_picture"] <= figures["truth"]
        assert 0 <= part["value_share"] <= 1
    found = figures["detections"]
    assert found["count"] == figures["run"]["detections"] == sum(found["by_class"].values())
    assert found["found"] == sum(c["found"] for c in found["per_class"].values())
    # The policy picks by worth; what came first cannot be worth more by much in any strip.
    assert figures["mission"]["value_share"] >= figures["fifo"]["value_share"]


def test_it_runs_again_in_its_own_folder_and_in_no_other(
    shown: tuple[Path, str], tmp_path: Path
) -> None:
    out, _ = shown
    (out / "left-over").write_text("from an older demo")
    again = demo("--out", str(out), "--lines", "600", "--json")
    assert again.returncode == 0, again.stderr
    assert not (out / "left-over").exists()
    assert json.loads(again.stdout)["truth"] > 0
    precious = tmp_path / "thesis.tex"
    precious.write_text("years of work")
    refused = demo("--out", str(tmp_path))
    assert refused.returncode == 3
    assert refused.stderr.strip().splitlines()[-1].startswith("winnow: ")
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_any_image_can_be_shown_and_then_nothing_is_claimed_about_truth(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    image = tmp_path / "plain.pgm"
    Image.fromarray(rng.integers(90, 130, (300, 400), dtype=np.uint8)).save(image)
    done = demo("--swath", str(image), "--out", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 11
    assert "no truth" in done.stdout and "true features" not in done.stdout
    assert image.exists()


@pytest.mark.parametrize(
    ("content", "name"), [(None, "absent.png"), (b"", "empty.png"), (b"not an image", "x.png")]
)
def test_a_swath_that_is_none_gives_one_line(
    tmp_path: Path, content: bytes | None, name: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    done = demo("--swath", str(path), "--out", str(tmp_path / "out"))
    assert done.returncode == 3
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("winnow: ") and name in last
    assert "Traceback" not in done.stderr


def test_interrupted_it_leaves_a_folder_that_the_next_one_takes_over(tmp_path: Path) -> None:
    out = tmp_path / "out"
    # A shell starts jobs in the background deaf to SIGINT, and their children are too.
    hearing = ["env", "--default-signal=INT"]
    process = subprocess.Popen(
        [*hearing, *WINNOW, "--out", str(out), "--lines", "1300"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while process.poll() is None and not (out / "mission.toml").exists():
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode == 130, errors
    assert errors.splitlines()[-1].startswith("winnow: interrupted")
    assert "Traceback" not in errors
    assert demo("--out", str(out), "--lines", "300").returncode == 0
