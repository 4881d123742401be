"""kill -9 at random moments of runs and contacts, over and over, until everything is on the ground.

Each command is a process of its own, as a board starts it. POWER_SEED draws other moments.
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.power.session import SAMPLES, heard, painted
from tests.power.test_crash_points import SEED
from winnow_edge.downlink.reader import LinkCounts, read_containers
from winnow_edge.products.kinds import Kind
from winnow_edge.store.schema import ProductState
from winnow_edge.store.store import Store
from winnow_edge.testing import write_probe

SOME, EVERYTHING = 9_000, 10**6
"""Octets of a contact: part of what is on board, and all."""
SWATHS = {"a.pgm": 700, "b.pgm": 400}

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
    """The products of a packet file, which is whole or not there; that of a contact for which
    nothing was left is empty."""
    if not out.exists():
        return {}
    counts = LinkCounts()
    with out.open("rb") as stream:
        found = {i.id: i.data for c in read_containers(stream, counts) for i in c.items}
    assert found or not out.stat().st_size, f"{out} carries nothing"
    return found


def ran(process: subprocess.Popen[bytes]) -> float:
    """Seconds for which a processor worked on a process, however busy the machine is."""
    try:
        nanoseconds = Path(f"/proc/{process.pid}/schedstat").read_text().split()[0]
    except (OSError, IndexError):
        return 0.0
    return int(nanoseconds) / 1e9


class Board:
    """A board that is killed while it flies, and how often it was."""

    def __init__(self, folder: Path, seed: str, lasts: dict[str, tuple[float, float]]) -> None:
        folder.mkdir()
        self.store, self._folder = folder / "store", folder
        self._mission = write_probe(folder, camera=f"samples = {SAMPLES}", side=16)
        for number, (name, lines) in enumerate(SWATHS.items(), 1):
            (folder / name).write_bytes(painted(lines, number))
        self.kills = 0
        self._rng = random.Random(seed)
        self._lasts = lasts

    def run(self) -> None:
        """Run the swaths; kill it at random moments until it is done."""
        known: Rows = []
        # By name: in a folder, a file under which a run is killed twice is set aside.
        swaths = [self._folder / name for name in SWATHS]
        while not self._ended("run", self._mission, *swaths, "--store", self.store):
            if (self.store / "store.db").exists():
                now = on_board(self.store)
                assert now[: len(known)] == known, "what was committed is gone, or is another"
                known = now

    def downlink(self, number: int, size: int, *acks: Path) -> dict[Path, dict[int, bytes]]:
        """Hold contacts until one goes well; what their files carry, its own the last."""
        found: dict[Path, dict[int, bytes]] = {}
        told = [word for ack in acks for word in ("--ack", ack)]
        for attempt in range(1000):
            out = self._folder / f"{number}-{attempt}.bin"
            budget = ("--bytes", size, "--out", out)
            done = self._ended("downlink", self._mission, "--store", self.store, *budget, *told)
            found[out] = carried(out)
            with Store.open(self.store, mission=None, read_only=True) as store:
                sent = {p.id for p in store.products(states=(ProductState.SENT,))}
            down = {item for name in self._folder.glob("*.bin") for item in carried(name)}
            assert sent <= down, "counts as sent, and is in no file"
            if done:
                return found
        raise AssertionError("no contact in 1,000 went well")

    def _ended(self, *arguments: object) -> bool:
        """Whether a command came to its end; nine of ten are killed, if they last that long: one
        of these anywhere, the others once they have begun their work."""
        command = [sys.executable, "-m", "winnow_edge", *map(str, arguments)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
            if (moment := self._moment(str(arguments[0]))) is not None:
                while process.poll() is None and ran(process) < moment:
                    time.sleep(0.002)
                process.kill()
            said, _ = process.communicate()
        if process.returncode == -signal.SIGKILL:
            self.kills += 1
            return False
        assert process.returncode == 0, said.decode("utf-8", "replace")
        return True

    def _moment(self, command: str) -> float | None:
        how = self._rng.random()
        if how < 0.1 or command not in self._lasts:
            return None
        begins, ends = self._lasts[command]
        return self._rng.uniform(0 if how < 0.2 else begins, ends * 1.05)


def used(*command: object) -> float:
    """Seconds of processor time that a command takes."""
    script = "import resource, subprocess, sys\nsubprocess.run(sys.argv[1:], check=True)\n"
    script += "used = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
    script += "print(used.ru_utime + used.ru_stime, file=sys.stderr)"
    arguments = [sys.executable, "-c", script, *map(str, command)]
    done = subprocess.run(arguments, check=True, capture_output=True, text=True)
    return float(done.stderr.splitlines()[-1])


def left_alone(folder: Path) -> tuple[Rows, Mapping[str, tuple[float, float]]]:
    """What a board that nobody kills holds; from when to when its commands do their work."""
    Board(folder, "", {})
    store, mission = folder / "store", folder / "mission.toml"
    winnow = (sys.executable, "-m", "winnow_edge")
    imports = used(sys.executable, "-c", "import winnow_edge.cli, winnow_edge.store.store")
    run = used(*winnow, "run", mission, *(folder / n for n in SWATHS), "--store", store)
    rows = on_board(store)
    budget = ("--bytes", EVERYTHING, "--out", folder / "out.bin")
    contact = used(*winnow, "downlink", mission, "--store", store, *budget)
    return rows, {"run": (imports, run), "downlink": (imports, contact)}


def flown(folder: Path, seed: str, kills: int) -> tuple[int, int]:
    """Missions, one after another, until so many kills; all end like one that was left alone. How
    many kills and missions there were."""
    expected, lasts = left_alone(folder / "alone")
    everything = {number: data for number, *_, data in expected}
    done = mission = 0
    while done < kills:
        mission += 1
        board = Board(folder / str(mission), f"{seed} {mission}", dict(lasts))
        board.run()
        assert on_board(board.store) == expected
        first = board.downlink(1, SOME)
        last, known = list(first.items())[-1]
        acks = [heard(last, folder / f"{mission}.json")] if known else []
        second = board.downlink(2, EVERYTHING, *acks)
        down: dict[int, bytes] = {}
        for items in (*first.values(), *second.values()):
            down |= items
        assert everything.items() <= down.items(), "not everything came down"
        again = {number for items in second.values() for number in items}
        assert not known.keys() & again, "acknowledged, and sent again"
        done += board.kills
    return done, mission


def test_a_few_kills(tmp_path: Path) -> None:
    kills, _ = flown(tmp_path, SEED, 6)
    assert kills >= 6


@pytest.mark.slow
@pytest.mark.timeout(6 * 3600)
def test_500_kills(scratch: Path) -> None:
    kills, missions = flown(scratch, SEED, 500)
    print(f"{kills} kills in {missions} missions")
