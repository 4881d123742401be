"""What `winnow_edge.testing` makes is what flies, and what is painted is what is found."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from winnow_edge.bundle import open_bundle
from winnow_edge.cli import main
from winnow_edge.mission import load_mission
from winnow_edge.products.kinds import Kind
from winnow_edge.store.store import Store
from winnow_edge.testing import (
    SIDE,
    fill,
    landmark_mission,
    painted_swath,
    pictures_of,
    probe_bundle,
    probe_mission,
    products_of_tiles,
    write_probe,
)


def test_a_painted_tile_is_found_by_its_class(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mission = write_probe(tmp_path, f"[tiling]\nhop = {SIDE}", camera=f"samples = {3 * SIDE}")
    pixels = painted_swath(2 * SIDE, 3 * SIDE, squares=0)
    pixels[:SIDE, :SIDE] = 0
    pixels[SIDE:, SIDE:] = 255
    (tmp_path / "pass.raw").write_bytes(pixels.tobytes())
    run = ["run", str(mission), str(tmp_path / "pass.raw"), "--json"]
    assert main([*run, "--store", str(tmp_path / "store")]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["tiles"] == 6
    assert summary["by_class"] == {"bright": 2, "dark": 1}


def test_files_and_objects_are_the_same(tmp_path: Path) -> None:
    more = "[link]\nrate_bps = 9600"
    in_file = load_mission(write_probe(tmp_path, more, side=8))
    assert in_file.link == probe_mission(more).link
    written = open_bundle(tmp_path / "probe.winnow")
    (tmp_path / "other").mkdir()
    assert probe_bundle(tmp_path / "other", 8).sha256 == written.sha256


def test_the_same_arguments_paint_the_same_pixels() -> None:
    plain = painted_swath(90, 70, seed=4, squares=9, side=8)
    assert np.unique(plain).tolist() == [2, 128, 251]
    np.testing.assert_array_equal(plain, painted_swath(90, 70, seed=4, squares=9, side=8))
    assert (plain != painted_swath(90, 70, seed=5, squares=9, side=8)).any()
    grain = painted_swath(90, 70, squares=0, grain=3)
    assert np.unique(grain).tolist() == [128, 129, 130, 131]


def test_a_filled_store_holds_its_products(tmp_path: Path) -> None:
    mission = landmark_mission()
    pixels = np.full((64, 64), 90, np.uint8)
    products = [*products_of_tiles(0, 8, mission), *pictures_of(8, pixels, 0.9, mission)]
    fill(tmp_path, mission, products)
    with Store.open(tmp_path, mission=mission, read_only=True) as store:
        (swath,) = store.swaths()
        held = [p.kind for p in store.products()]
    assert swath.complete and swath.name == "swath"
    assert held.count(Kind.RECORD) == 8
    assert held.count(Kind.IMAGE) == held.count(Kind.THUMBNAIL) == 3


def test_it_needs_no_test_tools() -> None:
    code = (
        "import sys, winnow_edge, winnow_edge.cli\n"
        "assert 'winnow_edge.testing' not in sys.modules\n"
        "import winnow_edge.testing\n"
        "assert not {'pytest', 'hypothesis', 'tensorflow'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
