"""Bundles side by side: what they say of themselves, what boards measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.ground.serve.serving import serving
from tests.running import winnow
from winnow_base.errors import DataError
from winnow_edge.bundle import shipped_bundles
from winnow_ground.serve.benches import load_bench

RUN = {"bundle": "hirise-windows", "cpu": "Board <1>", "cores": 4, "runtime": "litert",
       "invoke_ms": 12.5, "tile_ms": 14.0, "tiles_per_s": 71.0, "peak_rss_mb": 90,
       "verdict": "VALID"}  # fmt: skip


def test_bundles_and_runs_stand_side_by_side(catalogue: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs.json"
    runs.write_text(json.dumps(RUN) + "\n" + json.dumps({**RUN, "runtime": "edgetpu"}) + "\n")
    damaged = tmp_path / "damaged.winnow"
    damaged.write_bytes(shipped_bundles()[0].read_bytes()[:-1])
    with serving(catalogue, "--bench", runs, "--bundle", damaged) as server:
        page = server.get("/bench").body.decode()
    for path in shipped_bundles():
        assert path.stem in page
    assert "Board &lt;1&gt;, 4 cores" in page and "edgetpu" in page and "12.50" in page
    assert "damaged.winnow" in page
    assert "has swaths of b:" in page  # the catalogue's own bundle is not among them


NO_RUNS = ("", "x", "[]", "{}", json.dumps({**RUN, "tile_ms": "x"}), json.dumps([RUN]),
           json.dumps({**RUN, "tile_ms": float("nan")}), "[" * 9999)  # fmt: skip


@pytest.mark.parametrize("text", NO_RUNS, ids=range(len(NO_RUNS)))
def test_what_is_no_run_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "run.json"
    file.write_text(text)
    with pytest.raises(DataError, match="no output of"):
        load_bench(file)


def test_a_file_that_is_no_run_ends_the_server_in_one_line(catalogue: Path, tmp_path: Path) -> None:
    done = winnow("serve", catalogue, "--bench", tmp_path / "none.json", "--port", 0)
    assert done.returncode == 3
    assert "none.json" in done.stderr and len(done.stderr.strip().splitlines()) == 1
