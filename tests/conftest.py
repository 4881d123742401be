"""Fixtures shared by all suites."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Property tests judge what comes out, never how long it took on a busy machine.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

ROOT = Path(__file__).resolve().parents[1]


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


def pytest_xdist_auto_num_workers() -> int:
    """One worker more than cores, for tests wait for disks and processes; 3 GB for each."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return max(min(len(os.sched_getaffinity(0)) + 1, memory // 3_000_000_000), 1)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Training first: a long file begun last would keep one worker busy and the others idle."""
    items.sort(key=lambda item: not item.path.is_relative_to(ROOT / "tests" / "train"))
