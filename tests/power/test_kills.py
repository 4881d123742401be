"""kill -9 at random moments of runs and contacts, over and over, until everything is on the ground.

POWER_SEED draws other moments.
"""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

import pytest

from tests.power.session import Recorder
from tests.power.test_crash_points import SEED
from winnow_edge.downlink.reader import LinkCounts, read_containers
from winnow_edge.products.kinds import Kind
from winnow_edge.store.schema import ProductState
from winnow_edge.store.store import Store

EVERYTHING = 10**6
"""A contact of so many octets takes all that is on board."""

Rows = list[tuple[int, Kind, int, int, bytes]]


def on_board(store: Path) -> Rows:
    """What a store holds of tiles; what was killed half-way tells of the swath another way."""
    with Store.open(store, mission=None) as opened:
        assert opened.damage() is None
        kinds = (Kind.RECORD, Kind.THUMBNAIL, Kind.IMAGE)
        return [
            (p.id, p.kind, p.tile_index, p.class_index, opened.data(p.id))
            for p in opened.products(kinds=kinds)
        ]


def carried(out: Path) -> dict[int, bytes]:
    """The products of a packet file, which is whole or not there."""
    if not out.exists():
        return {}
    counts = LinkCounts()
    with out.open("rb") as stream:
        found = {i.id: i.data for c in read_containers(stream, counts) for i in c.items}
    assert found, f"{out} carries nothing"
    return found


class Board:
    """A board that is killed while it flies, and how often it was."""

    def __init__(self, folder: Path, shim: Path, seed: str) -> None:
        self.recorder = Recorder(folder, shim, traced=False)
        self.kills = 0
        self._rng = random.Random(seed)
        self._seconds = {"run": 1.0, "downlink": 1.0}

    def run(self) -> None:
        """Run the folder of swaths; kill it at random moments until it is done."""
        known: Rows = []
        while not self._ended("run"):
            if (self.recorder.store / "store.db").exists():
                now = on_board(self.recorder.store)
                assert now[: len(known)] == known, "what was committed is gone, or is another"
                known = now

    def downlink(self, number: int) -> dict[int, bytes]:
        """Hold contacts that take everything until one goes well; what the files carry."""
        found: dict[int, bytes] = {}
        for attempt in range(1000):
            out = self.recorder.root / "out" / f"{number}-{attempt}.bin"
            done = self._ended("downlink", out)
            found |= carried(out)
            with Store.open(self.recorder.store, mission=None, read_only=True) as store:
                sent = {p.id for p in store.products(states=(ProductState.SENT,))}
            assert sent <= found.keys(), "counts as sent, and is in no file"
            if done:
                return found
        raise AssertionError("no contact in 1,000 went well")

    def _ended(self, command: str, out: Path | None = None) -> bool:
        """Whether a command came to its end; three of four are killed, if they last that long."""
        doomed = self._rng.random() < 0.75
        moment = self._rng.random() * self._seconds[command] * 1.1 if doomed else None
        began = time.monotonic()
        if out is None:
            # By name: in a folder, a file under which a run is killed twice is set aside.
            swaths = sorted((self.recorder.root / "incoming").glob("*.pgm"))
            arguments = ("run", self.recorder.mission, *swaths, "--store", self.recorder.store)
            ended = self.recorder.fly(*arguments, kill_after=moment)
        else:
            ended = self.recorder.downlink(out, EVERYTHING, kill_after=moment)
        if ended.code == -signal.SIGKILL:
            self.kills += 1
            return False
        assert ended.code == 0, ended.said
        if moment is None:
            self._seconds[command] = time.monotonic() - began
        return True


def flown(folder: Path, shim: Path, seed: str, kills: int) -> int:
    """Missions, one after another, until so many kills; all end like one that was left alone."""
    alone = Recorder(folder / "alone", shim, traced=False)
    with alone:
        _bring(alone)
        alone.run().well()
    expected = on_board(alone.store)
    done = mission = 0
    while done < kills:
        mission += 1
        board = Board(folder / str(mission), shim, f"{seed} {mission}")
        with board.recorder:
            _bring(board.recorder)
            board.run()
            assert on_board(board.recorder.store) == expected
            down = board.downlink(1)
        assert {number: down[number] for number, *_ in expected} == {
            number: data for number, *_, data in expected
        }
        done += board.kills
    return done


def _bring(recorder: Recorder) -> None:
    recorder.bring("a.pgm", 1300, 1)
    recorder.bring("b.pgm", 600, 2)


def test_a_few_kills(tmp_path: Path, shim: Path) -> None:
    assert flown(tmp_path, shim, SEED, 6) >= 6


@pytest.mark.slow
@pytest.mark.timeout(3 * 3600)
def test_500_kills(tmp_path: Path, shim: Path) -> None:
    print(f"{flown(tmp_path, shim, SEED, 500)} kills")
