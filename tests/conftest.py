"""Fixtures shared by all suites."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Property tests judge what comes out, never how long it took on a busy machine.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

ROOT = Path(__file__).resolve().parents[1]
LONG = (
    "train/test_crossval_command.py",
    "train/test_train_command.py",
    "train/test_crossval_teachers.py",
    "train",
    "first_hour",
    "ground/test_deploy.py",
    "ground/serve",
    "ground/labelling",
    "ground/simulation/test_sweep.py",
    "edge/commands",
)
"""Folders and files of tests that take a minute or so, the longest first."""


@pytest.fixture(scope="session")
def mars_data() -> Path:
    """The folder with the Mars data sets: $WINNOW_DATA, else ../shared/data beside the checkout."""
    folder = Path(os.environ.get("WINNOW_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no Mars data at {folder}; set WINNOW_DATA to the folder that holds it")
    return folder


@pytest.fixture(scope="session")
def backbone_weights() -> Path:
    """The folder with ImageNet backbones: $WINNOW_WEIGHTS, else ../shared/weights."""
    folder = Path(os.environ.get("WINNOW_WEIGHTS", ROOT.parent / "shared" / "weights"))
    if not folder.is_dir():
        pytest.skip(f"no backbone weights at {folder}; set WINNOW_WEIGHTS to their folder")
    return folder


def pytest_configure(config: pytest.Config) -> None:
    """Keras keeps weights in its home, which is asked for when it is loaded: here it is empty."""
    home = tempfile.TemporaryDirectory(prefix="winnow-keras-")
    config.add_cleanup(home.cleanup)
    os.environ["KERAS_HOME"] = home.name


def pytest_xdist_auto_num_workers() -> int:
    """One worker more than cores, for tests wait for disks and processes; 3 GB for each."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return max(min(len(os.sched_getaffinity(0)) + 1, memory // 3_000_000_000), 1)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first: begun last, one would keep one worker busy and the others idle."""
    rank = {ROOT / "tests" / name: number for number, name in enumerate(LONG)}

    def place(item: pytest.Item) -> int:
        return min((rank[p] for p in (item.path, *item.path.parents) if p in rank), default=99)

    items.sort(key=place)
