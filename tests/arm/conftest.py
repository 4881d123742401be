"""An aarch64 userland with the edge installed in it, and Python under emulation there."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
Emulated = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def userland(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of `tools/arm_userland.sh` with this tree's wheel installed.

    Where it cannot be made the tests fail and say why: skipped, they would prove nothing.
    """
    wheels = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", wheels]
    _do([*build, ROOT / "edge"], "the edge wheel cannot be built")
    (wheel,) = wheels.glob("winnow_edge-*.whl")
    folder = ROOT / "build" / "arm"
    _do([ROOT / "tools" / "arm_userland.sh", wheel, folder], "no aarch64 userland")
    return folder


@pytest.fixture(scope="session")
def emulated(userland: Path, tmp_path_factory: pytest.TempPathFactory) -> Emulated:
    """`emulated(core, *arguments)` runs Python on an emulated core, outside of this tree."""
    place = tmp_path_factory.mktemp("board")

    def run(core: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [userland / f"python-{core}", *arguments],
            capture_output=True,
            text=True,
            cwd=place,
            check=False,
        )
        assert done.returncode == 0, f"{core}: exit {done.returncode}: {done.stderr[-2000:]}"
        return done

    return run


def _do(command: list[str | Path], what: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        pytest.exit(f"test-arm: {what}: {last}", returncode=1)
