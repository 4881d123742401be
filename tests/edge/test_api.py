"""The front door: the names that other programs may use, and what is installed."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import winnow_edge
from winnow_edge.bundle import shipped_bundles
from winnow_edge.mission import RUNTIMES
from winnow_edge.runtimes import REGISTERED, available_runtimes

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "api.md"


def test_the_page_names_every_public_name_and_no_other() -> None:
    table = PAGE.read_text().partition("## Names")[2]
    assert sorted(re.findall(r"`(\w+)`", table)) == sorted(winnow_edge.__all__)
    for name in winnow_edge.__all__:
        assert getattr(winnow_edge, name).__name__ == name
        assert name in dir(winnow_edge)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = winnow_edge.nothing


def test_the_examples_of_the_page_run(tmp_path: Path) -> None:
    if not shipped_bundles():
        pytest.skip("no bundle is installed")
    shutil.copy(ROOT / "missions" / "mars-browse.toml", tmp_path / "mission.toml")
    pixels = np.random.default_rng(3).integers(1, 255, (300, 400), np.uint8)
    (tmp_path / "strip.pgm").write_bytes(b"P5 400 300 255\n" + pixels.tobytes())
    program = "\n".join(re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL))
    program += "\nimport sys\nassert not {'keras', 'tensorflow'} & set(sys.modules)\n"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("strip.pgm: 300 lines of 400 samples")


def test_importing_the_package_loads_no_library() -> None:
    program = "import sys, winnow_edge; print(sorted({'numpy', 'PIL'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    "arguments", [["-m", "winnow_edge.cli", "--version"], ["-m", "winnow_edge"]]
)
def test_what_is_installed_is_said(arguments: list[str]) -> None:
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    said = done.stdout.splitlines()
    assert said[0] == f"winnow-edge {winnow_edge.__version__}"
    assert any(line.split() == ["numpy", np.__version__] for line in said)
    found = {line.split()[1]: line for line in said if line.startswith("runtime ")}
    assert set(found) == {"litert", "tflite", "edgetpu"}
    for name, reason in available_runtimes().items():
        if name in found:
            assert (f"no: {reason}" in found[name]) == (reason is not None)


def test_the_module_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "winnow_edge", "info", "no-such"], capture_output=True, text=True
    )
    assert done.returncode == 3
    assert done.stderr.startswith("winnow-edge: no-such: no such bundle")


def test_a_mission_may_ask_for_every_runtime_that_is_registered() -> None:
    assert set(RUNTIMES) == {"auto", *REGISTERED}
