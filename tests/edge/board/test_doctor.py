"""`winnow-edge doctor`: what it finds, how it ends, and what it says to do."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import winnow_edge
from winnow_edge.board import doctor, host
from winnow_edge.bundle import shipped_bundles
from winnow_edge.cli import main
from winnow_edge.mission import Mission
from winnow_edge.runtimes import edgetpu
from winnow_edge.testing import fill, landmark_mission, products_of_tiles


def examined(*args: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any]]:
    """Exit code and findings by name of `doctor --json`."""
    code = main(["doctor", "--json", *args])
    report = json.loads(capsys.readouterr().out)
    assert report["exit_code"] == code and report["fit"] == (code == 0)
    return code, {finding["what"]: finding for finding in report["findings"]}


def test_a_fit_board_passes_and_every_shipped_bundle_is_tested(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = examined("--store", str(tmp_path / "new" / "store"), capsys=capsys)
    assert code == 0
    assert {"python", "numpy", "ai-edge-litert", "pillow", "spacepackets"} <= found.keys()
    for path in shipped_bundles():
        finding = found[f"bundle {path.stem}"]
        assert finding["state"] == "ok" and "golden tiles agree on litert" in finding["found"]
    assert not list(tmp_path.iterdir())  # it leaves nothing behind


def test_text_marks_every_line_and_ends_with_the_verdict(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", "--store", str(tmp_path)]) == 0
    *lines, verdict = capsys.readouterr().out.splitlines()
    assert all(line.split()[0] in ("ok", "warn", "->") for line in lines)
    assert verdict.startswith("fit to fly")


def test_a_damaged_bundle_is_exit_3_and_names_the_damage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = bytearray(shipped_bundles()[0].read_bytes())
    data[len(data) // 2] ^= 1
    broken = tmp_path / "broken.winnow"
    broken.write_bytes(data)
    code, found = examined(str(broken), "--store", str(tmp_path), capsys=capsys)
    assert code == 3
    finding = found["bundle broken"]
    assert finding["state"] == "fail" and "damaged" in finding["found"] and finding["mend"]


def test_a_missing_bundle_does_not_hide_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shipped = shipped_bundles()[0].stem
    code, found = examined("absent", shipped, "--store", str(tmp_path), capsys=capsys)
    assert code == 3
    assert found["bundle absent"]["state"] == "fail"
    assert found[f"bundle {shipped}"]["state"] == "ok"


def test_a_store_that_cannot_be_written_is_exit_4(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = tmp_path / "file"
    plain.write_text("not a folder")
    code, found = examined("--store", str(plain), capsys=capsys)
    assert code == 4
    assert found["store write"]["state"] == "fail" and found["store write"]["mend"]


def test_a_store_is_opened_and_a_damaged_one_is_exit_3(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mission: Mission = landmark_mission("")
    fill(tmp_path, mission, products_of_tiles(0, 200, mission))
    before = (tmp_path / "store.db").read_bytes()
    code, found = examined("--store", str(tmp_path), capsys=capsys)
    assert code == 0 and found["store"]["found"] == "1 swaths, file intact"
    assert (tmp_path / "store.db").read_bytes() == before

    data = bytearray(before)
    data[4096 * 3 : 4096 * 6] = bytes(4096 * 3)  # pages in the middle of the file
    (tmp_path / "store.db").write_bytes(data)
    code, found = examined("--store", str(tmp_path), capsys=capsys)
    assert code == 3 and found["store"]["state"] == "fail"


def looked_at(folder: Path) -> dict[str, doctor.Finding]:
    """Findings by name, of a bundle that is not there so that none is tested."""
    return {finding.what: finding for finding in doctor.examine(["none.winnow"], folder)}


def test_a_clock_before_winnow_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datetime

    class Past(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> datetime.datetime:
            return datetime.datetime(1970, 1, 1, 0, 5, tzinfo=tz)

    monkeypatch.setattr(doctor.datetime, "datetime", Past)
    finding = looked_at(tmp_path)["clock"]
    assert finding.state == "warn" and "1970-01-01" in finding.found and finding.mend


def test_governor_clock_rate_and_thermal_events_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tree of the files that Linux shows for a board with two cores."""
    for core, governor in enumerate(("performance", "ondemand")):
        clock = tmp_path / f"cpu{core}" / "cpufreq"
        clock.mkdir(parents=True)
        (clock / "scaling_governor").write_text(f"{governor}\n")
        (clock / "cpuinfo_max_freq").write_text("1800000\n")
        (clock / "scaling_max_freq").write_text(f"{1800000 - 600000 * core}\n")
        heat = tmp_path / f"cpu{core}" / "thermal_throttle"
        heat.mkdir()
        (heat / "core_throttle_count").write_text("2\n")
    monkeypatch.setattr(host, "CPU", tmp_path)
    monkeypatch.setattr(host, "PI_THROTTLED", tmp_path / "absent")
    monkeypatch.setenv("PATH", "")
    found = looked_at(tmp_path)
    assert found["governor"].state == "warn" and "ondemand, performance" in found["governor"].found
    assert found["clock rate"].found == "held to 1200 of 1800 MHz"
    assert found["throttling"].state == "warn" and "4 thermal events" in found["throttling"].found


def test_a_raspberry_pis_flags_are_put_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """0x50005 is the documentation's example of under-voltage and throttling."""
    flags = tmp_path / "get_throttled"
    flags.write_text("50005\n")
    monkeypatch.setattr(host, "PI_THROTTLED", flags)
    words = ["under-voltage now", "throttled now", "under-voltage since boot"]
    assert host.throttling() == [*words, "throttled since boot"]

    flags.unlink()
    (tmp_path / "vcgencmd").write_text("#!/bin/sh\necho throttled=0x0\n")
    (tmp_path / "vcgencmd").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert host.throttling() == []


@pytest.mark.skipif(
    shutil.which("cc") is None, reason="no C compiler; on Debian: apt-get install gcc libc6-dev"
)
def test_the_delegates_version_comes_from_the_library(tmp_path: Path) -> None:
    source, library = tmp_path / "e.c", tmp_path / "libe.so"
    source.write_text('const char *edgetpu_version(void) { return "BuildLabel 16.0"; }\n')
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
    assert edgetpu.delegate_version(str(library)) == "BuildLabel 16.0"
    assert edgetpu.delegate_version(str(tmp_path / "absent.so")) == "version unknown"


def test_an_installation_without_bundles_is_a_warning(tmp_path: Path) -> None:
    package = Path(winnow_edge.__file__).parent
    shutil.copytree(package, tmp_path / "winnow_edge", ignore=shutil.ignore_patterns("bundles"))
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from winnow_edge.cli import main; sys.exit(main(['doctor', '--json']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    found = {finding["what"]: finding for finding in json.loads(done.stdout)["findings"]}
    assert found["bundle"]["state"] == "warn" and found["bundle"]["mend"]
