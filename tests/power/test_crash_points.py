"""Power fails behind any call of the board's commands: nothing committed is lost, nothing invented.

The calls of real processes are recorded, and replayed up to each point (`disk`); the store opens
what a power cut may leave there (`points`). POWER_SEED draws other points.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from tests.power.points import Points
from tests.power.session import Session
from winnow_edge.errors import WinnowEdgeError

SEED = os.environ.get("POWER_SEED", "1")
FAULTS = (AssertionError, WinnowEdgeError)
POINTS = int(os.environ.get("POWER_POINTS", "100000"))


def test_a_sample_of_all_points(session: Session, scratch: Path) -> None:
    points = Points(session, scratch, SEED)
    tally = points.check(3, most=60)
    assert tally.distinct > 60
    assert len(tally.states) > 4


@pytest.mark.slow
@pytest.mark.timeout(6 * 3600)
def test_every_call_of_a_session(session: Session, scratch: Path) -> None:
    """Both sessions together check `POINTS` disks that differ, each in proportion to its calls."""
    calls = sum(call.op not in "Pm" for call in session.calls)
    points = Points(session, scratch, SEED)
    draws = 0
    while points.tally.distinct < min(POINTS, 80 * calls):
        points.check(5, first=draws)
        draws += 5
    print(
        f"{points.tally.calls:,} calls, {points.tally.points:,} points,"
        f" {points.tally.distinct:,} of them distinct, {len(points.tally.states)} states"
    )


def test_a_log_that_is_not_synced_is_found_out(session: Session, scratch: Path) -> None:
    """The tests can fail: a store without its syncs loses what it said was committed."""
    careless = replace(session, calls=[call for call in session.calls if call.op != "S"])
    with pytest.raises(FAULTS):
        Points(careless, scratch, SEED).check(1)


def test_a_folder_that_is_not_synced_is_found_out(session: Session, scratch: Path) -> None:
    careless = replace(session, calls=[call for call in session.calls if call.op != "D"])
    with pytest.raises(FAULTS):
        Points(careless, scratch, SEED).check(1)
