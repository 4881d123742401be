"""`winnow new mission`: a mission file that flies as it stands."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.running import winnow
from winnow_edge.bundle import find_bundle, open_bundle, shipped_bundles
from winnow_edge.cli import main
from winnow_edge.mission import load_mission
from winnow_edge.testing import painted_swath, probe_bundle


@pytest.mark.parametrize("name", [path.stem for path in shipped_bundles()])
def test_every_shipped_bundle_gets_a_mission(name: str, tmp_path: Path) -> None:
    out = tmp_path / "m.toml"
    done = winnow("new", "mission", name, "--out", out, "--scales", "1,2")
    assert done.returncode == 0, done.stderr
    mission = load_mission(out)
    assert mission.name == "m"
    assert mission.tiling.scales == (1, 2)
    assert mission.instruments["camera"].bundle == name
    assert set(mission.classes) == set(open_bundle(find_bundle(name)).manifest.thresholds)


def test_a_bundle_of_ones_own_is_named_from_where_the_mission_lies(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bundles").mkdir()
    shutil.copy(find_bundle("ice-patches"), tmp_path / "bundles" / "mine.winnow")
    out = tmp_path / "missions" / "ice.toml"
    monkeypatch.chdir(tmp_path)
    assert winnow("new", "mission", "bundles/mine.winnow", "--out", out).returncode == 0
    assert load_mission(out).instruments["camera"].bundle == "../bundles/mine.winnow"
    picture = tmp_path / "pass.pgm"
    pixels = painted_swath(160, 160)
    picture.write_bytes(b"P5 160 160 255\n" + pixels.tobytes())
    assert main(["run", str(out), str(picture), "--store", str(tmp_path / "store")]) == 0
    assert "pass.pgm" in capsys.readouterr().out


def test_class_names_of_all_kinds(tmp_path: Path) -> None:
    names = ('a "b" \\c', "🌋 volcano", "x #]y = 1", "none")
    thresholds = dict.fromkeys(names[:3], 0.5)
    bundle = probe_bundle(tmp_path, classes=names, thresholds=thresholds)
    out = tmp_path / "m.toml"
    assert winnow("new", "mission", bundle.path, "--out", out).returncode == 0
    assert set(load_mission(out).classes) == set(names[:3])
    assert "# Background, never a detection: none." in out.read_text(encoding="utf-8")


def test_bad_bundles_and_taken_places(tmp_path: Path) -> None:
    said = winnow("new", "mission", "none-such")
    assert (said.returncode, "no such bundle" in said.stderr) == (3, True)
    (tmp_path / "bad.winnow").write_bytes(b"PK")
    said = winnow("new", "mission", tmp_path / "bad.winnow")
    assert (said.returncode, len(said.stderr.splitlines())) == (3, 1)
    out = tmp_path / "m.toml"
    assert winnow("new", "mission", "crater-dune", "--out", out).returncode == 0
    said = winnow("new", "mission", "crater-dune", "--out", out)
    assert "is there already" in said.stderr
    assert winnow("new", "mission", "crater-dune", "--out", out, "--yes").returncode == 0
