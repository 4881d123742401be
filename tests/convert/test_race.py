"""`winnow bench`: a float net and bundles side by side."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.running import winnow
from winnow_convert.flatbuffer import read_graph
from winnow_convert.profile import profile
from winnow_convert.ptq import to_float
from winnow_convert.race import FLOWN, Net, Timed, verdict
from winnow_convert.source import load_source
from winnow_edge.bundle import find_bundle, open_bundle

LANDMARKS = "hirise-landmarks-96"


def test_a_run_folder_and_bundles_in_one_table(run_folder: Path, tmp_path: Path) -> None:
    model = open_bundle(find_bundle(LANDMARKS)).model
    (tmp_path / "copy.tflite").write_bytes(model)
    nets = (run_folder, LANDMARKS, tmp_path / "copy.tflite")
    done = winnow("bench", *nets, "--seconds", "0.1", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    floats, shipped, copied = said["nets"]
    assert [n["kind"] for n in said["nets"]] == ["float", "int8", "int8"]
    assert [n["name"] for n in said["nets"]] == ["tiny (float)", LANDMARKS, "copy"]
    assert shipped["bytes"] == copied["bytes"] == len(model)
    assert floats["bytes"] == len(to_float(load_source(run_folder)))
    assert all(n["ms"] > 0 and n["cpu_ms"] > 0 for n in said["nets"])
    assert floats["board_least_ms"] == {}
    assert shipped["board_least_ms"] == copied["board_least_ms"]
    assert set(shipped["board_least_ms"]) == set(said["boards"]) == set(FLOWN)
    assert said["rounds"] >= 5
    assert "\n" not in said["verdict"]


def test_the_table_names_every_net_and_ends_with_the_verdict() -> None:
    done = winnow("bench", LANDMARKS, "hirise-landmarks", "--seconds", "0.1")
    assert done.returncode == 0, done.stderr
    *table, last = done.stdout.splitlines()
    assert any(line.startswith(f"│ {LANDMARKS} ") for line in table)
    assert all(len(line) <= 100 for line in table)
    assert "Estimated" in done.stdout
    assert "times" in last


def test_least_times_of_a_pi_are_those_of_the_op_profile() -> None:
    graph = read_graph(open_bundle(find_bundle(LANDMARKS)).model)
    net = Net(LANDMARKS, "int8", b"")
    assert net.bytes == 0
    told = winnow("bench", LANDMARKS, "--seconds", "0.1", "--json").stdout
    (row,) = json.loads(told)["nets"]
    least = profile(graph).milliseconds
    assert row["board_least_ms"]["Pi 4"] == pytest.approx(least["Cortex-A72"], abs=1e-3)
    assert row["board_least_ms"]["Pi 5"] == pytest.approx(least["Cortex-A76"], abs=1e-3)
    slow = [row["board_least_ms"][name] for name in ("Zero 2 W", "Pi 3", "Pi 4", "Pi 5")]
    assert slow == sorted(slow, reverse=True)


def timed(name: str, kind: str, cpu_ms: float, mmac: float, size: int) -> Timed:
    return Timed(Net(name, kind, bytes(size)), cpu_ms, cpu_ms, mmac, {})


def test_the_verdict_compares_int8_with_float_of_the_same_net() -> None:
    nets = [
        timed("small", "int8", 0.2, 10.0, 300_000),
        timed("net", "int8", 0.5, 43.0, 689_000),
        timed("net (float)", "float", 1.1, 43.0, 2_600_000),
    ]
    assert verdict(nets) == (
        "net in int8 is 2.2 times as fast as net (float) here: 0.5 ms against 1.1, "
        "689 kB against 2,600"
    )
    assert "another net: 10.0 MMAC against 43.0" in verdict([nets[0], nets[2]])
    assert verdict(nets[:1]) == "small takes 0.2 ms a tile here, 300 kB"
    assert verdict(nets[:2]).startswith("small in int8 is 2.5 times as fast as net here")
    twin = timed("twin", "int8", 0.51, 43.0, 690_000)
    assert verdict([nets[1], twin]).startswith("net in int8 is about as fast as twin here")


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "is no TFLite flatbuffer"), (b"\x1c\0\0\0TFL3" + b"\xff" * 40, "")],
)
def test_a_damaged_flatbuffer_is_one_line(content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "x.tflite").write_bytes(content)
    done = winnow("bench", tmp_path / "x.tflite", "--seconds", "0.1")
    assert done.returncode == 3
    (line,) = done.stderr.splitlines()
    assert line.startswith("winnow: ")
    assert words in line
