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
DRAWS = 5
"""Of cuts behind each call, at once."""


def test_a_sample_of_all_points(session: Session, scratch: Path) -> None:
    points = Points(session, scratch, SEED)
    tally = points.check(3, most=60)
    assert tally.distinct > 60
    assert len(tally.states) > 4


@pytest.mark.slow
@pytest.mark.timeout(6 * 3600)
def test_every_call_of_a_session(session: Session, scratch: Path) -> None:
    """The sessions together check `POINTS` disks that differ."""
    points, draws = Points(session, scratch, SEED), 0
    while points.tally.distinct < POINTS * session.share:
        before = points.tally.points - points.tally.distinct
        points.check(DRAWS, first=draws)
        draws += DRAWS
        known = points.tally.points - points.tally.distinct - before
        assert known < 0.95 * DRAWS * points.tally.calls, "hardly a disk differs any more"
    print(
        f"{points.tally.calls:,} calls, {points.tally.points:,} points,"
        f" {points.tally.distinct:,} disks that differ, {points.tally.stores:,} stores opened,"
        f" {len(points.tally.states)} states"
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
