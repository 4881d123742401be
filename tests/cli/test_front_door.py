"""`winnow` from outside: its versions, and what a command does not load."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import winnow_ground

WINNOW = "import sys; from winnow_cli.app import main; sys.argv[0] = 'winnow'; main()"
HEAVY = {"matplotlib", "tensorflow", "keras", "sklearn", "onnx", "onnxruntime", "rasterio"}


@pytest.mark.parametrize(
    "command", [["-c", WINNOW, "--version"], ["-m", "winnow_ground"]], ids=["option", "module"]
)
def test_versions_of_everything_that_is_there(command: list[str]) -> None:
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=True)
    first, base, *extras = done.stdout.splitlines()
    assert first.startswith(f"winnow-ground {metadata.version('winnow-ground')}, Python 3.")
    for name in ("winnow-edge", "numpy", "matplotlib"):
        assert f"{name} {metadata.version(name)}" in base
    assert {"extra train", "extra convert", "extra feed"} <= {e.partition(":")[0] for e in extras}


def test_an_extra_that_is_missing_says_how_to_install_it(tmp_path: Path) -> None:
    """In an interpreter that sees what is installed, but not rasterio."""
    site = Path(str(metadata.distribution("winnow-ground").locate_file("")))
    for info in site.glob("*.dist-info"):
        if not info.name.startswith("rasterio-"):
            (tmp_path / info.name).symlink_to(info)
    sources = Path(winnow_ground.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-S", "-m", "winnow_ground"],
        env={"PYTHONPATH": f"{tmp_path}:{sources}"},
        capture_output=True,
        text=True,
        check=True,
    )
    wanted = "extra feed: missing: rasterio; pip install 'winnow-ground[feed]'"
    assert wanted in done.stdout.splitlines()


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom winnow_cli.app import main\nsys.argv[:] = ['winnow', '--help']\n"
        "try:\n    main()\nfinally:\n    print(*sys.modules, file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Usage: winnow [OPTIONS] COMMAND" in done.stdout
    assert not {name.partition(".")[0] for name in done.stderr.split()} & HEAVY


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["zoo"], ["report", "--help"]])
def test_results_that_cannot_be_written_are_one_line(arguments: list[str]) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-c", WINNOW, *arguments],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    (line,) = done.stderr.splitlines()
    assert done.returncode == 6
    assert line.startswith("winnow: standard output: cannot be written: ")
