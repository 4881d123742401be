"""A small mission flown by real processes under the shim: what the tests of power cuts replay."""

from __future__ import annotations

import copy
import gzip
import json
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from tests.power.disk import Disk
from tests.power.shim import CHANGES, KILLS, ROOT, Call, environment, read
from winnow_edge.downlink.acknowledgements import AckReport, ContactAck
from winnow_edge.downlink.reader import LinkCounts, read_containers
from winnow_edge.store.events import events
from winnow_edge.store.store import Store
from winnow_edge.testing import painted_swath, probe_bundle, write_probe

SAMPLES = 40
"""Samples of a line: few, so that a block holds few tiles and a session many blocks."""


OLD_STORES = Path(__file__).resolve().parents[1] / "edge" / "store" / "golden"
"""Stores that were written by the code of earlier formats, for a mission "probe"."""


@dataclass(frozen=True)
class Session:
    """A recorded session: the disk before it, and the calls that followed."""

    start: Disk
    calls: Sequence[Call]
    mission: Path
    share: float = 1.0
    """Of all crash points."""

    def before(self) -> Disk:
        """The disk as it was, to be played on."""
        return copy.deepcopy(self.start)


def painted(lines: int, seed: int) -> bytes:
    pixels = painted_swath(lines, SAMPLES, seed=seed, squares=lines // 60, side=14)
    return b"P5 %d %d 255\n" % (SAMPLES, lines) + pixels.tobytes()


@dataclass(frozen=True)
class Fault:
    """The `nth` call of these kinds fails with `error`, is short, or ends the process."""

    nth: int
    kinds: int = CHANGES
    how: int = KILLS
    error: int = 0
    lasting: bool = False


NO_FAULT = Fault(0)


@dataclass(frozen=True)
class Ended:
    """How a command ended: exit code, or minus the signal; what it said; how many calls of the
    fault's kinds it made."""

    code: int
    said: str
    calls: int

    def well(self) -> Ended:
        assert self.code == 0, self.said
        return self


class Recorder:
    """Flies a mission in `folder`/disk, and records it where `traced`; a context manager."""

    def __init__(self, folder: Path, library: Path, *, traced: bool = True) -> None:
        self.trace = folder / "trace" if traced else None
        self.root, self.ground = folder / "disk", folder / "ground"
        self.store = self.root / "store"
        for name in (self.root / "incoming", self.root / "out", self.ground):
            name.mkdir(parents=True)
        self.mission = write_probe(self.ground, camera=f"samples = {SAMPLES}", side=16)
        self._before: Disk | None = None
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.power.program"],
            cwd=ROOT,
            env=environment(library, self.root, self.trace),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def bring(self, name: str, lines: int, seed: int) -> Path:
        """Put a swath into the folder of swaths; to be called before anything is flown."""
        path = self.root / "incoming" / name
        path.write_bytes(painted(lines, seed))
        return path

    def swath(self, name: str, lines: int, seed: int) -> Path:
        """A swath elsewhere."""
        path = self.ground / name
        path.write_bytes(painted(lines, seed))
        return path

    def variant(self, name: str, more: str, **manifest: object) -> Path:
        """Another mission of the same name; with `manifest`, its bundle is another."""
        folder = self.ground / name
        folder.mkdir()
        mission = write_probe(folder, more, camera=f"samples = {SAMPLES}", side=16)
        if manifest:
            probe_bundle(folder, 16, **manifest)
        return mission

    def fly(
        self, *arguments: object, fault: Fault = NO_FAULT, kill_after: float | None = None
    ) -> Ended:
        """A command of the board to its end, however it ends; `kill_after` so many seconds."""
        if self._before is None:
            self._before = Disk(self.root)
        order = {
            "arguments": [str(argument) for argument in arguments],
            "fault": [fault.nth, fault.kinds, fault.how, fault.error, fault.lasting],
            "marks": self.trace is not None,
            "kill_after": kill_after,
        }
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps(order) + "\n")
        self._server.stdin.flush()
        return Ended(**json.loads(self._server.stdout.readline()))

    def close(self) -> None:
        self._server.communicate()

    def run(self, fault: Fault = NO_FAULT, kill_after: float | None = None) -> Ended:
        """The service's command, until the folder of swaths is worked off."""
        incoming = self.root / "incoming"
        arguments = ("run", self.mission, incoming, "--incoming", "--patience", 0)
        return self.fly(*arguments, "--store", self.store, fault=fault, kill_after=kill_after)

    def contact(self, number: int, size: int, *acks: Path) -> Path:
        """A contact that goes well; the file that it wrote."""
        out = self.root / "out" / f"{number}.bin"
        self.downlink(out, size, *acks).well()
        return out

    def downlink(
        self,
        out: Path,
        size: int,
        *acks: Path,
        fault: Fault = NO_FAULT,
        kill_after: float | None = None,
    ) -> Ended:
        """A contact of so many octets."""
        options = [word for ack in acks for word in ("--ack", ack)]
        budget = ("--bytes", size, "--out", out)
        arguments = ("downlink", self.mission, "--store", self.store, *budget, *options)
        return self.fly(*arguments, fault=fault, kill_after=kill_after)

    def heard(self, out: Path, *, lost: int = 0) -> Path:
        """The ground's report of a contact, of which the first `lost` containers are missing."""
        return heard(out, self.ground / f"{out.stem}.json", lost=lost)

    def recorded(self) -> Session:
        """What was recorded since the first flight."""
        assert self._before is not None
        assert self.trace is not None
        return Session(self._before, list(read(self.trace)), self.mission)


def heard(out: Path, report: Path, *, lost: int = 0) -> Path:
    """Write the ground's report of a contact, of which the first `lost` containers are missing."""
    with out.open("rb") as stream:
        containers = list(read_containers(stream, LinkCounts()))
    numbers = [container.id for container in containers]
    told = ContactAck(tuple(numbers[lost:]), tuple(numbers[:lost]))
    report.write_text(AckReport(containers[0].store_id, {containers[0].contact: told}).to_json())
    return report


def flown(folder: Path, library: Path) -> Session:
    """Runs, a kill, contacts, acknowledgements, evictions and another bundle."""
    with Recorder(folder, library) as recorder:
        recorder.bring("a.pgm", 1300, 1)
        recorder.bring("b.pgm", 600, 2)
        assert recorder.run(Fault(90)).code == -signal.SIGKILL
        recorder.run().well()
        first = recorder.contact(1, 6000)
        second = recorder.contact(2, 9000, recorder.heard(first, lost=1))
        recorder.contact(3, 4000, recorder.heard(second))
        small = recorder.variant("small", "[store]\nquota_mb = 0.5")
        swath = recorder.swath("c.pgm", 600, 3)
        recorder.fly("run", small, swath, "--store", recorder.store).well()
        other = recorder.variant("other", "", thresholds={"dark": 0.8, "bright": 0.95})
        swath = recorder.swath("d.pgm", 600, 4)
        recorder.fly("run", other, swath, "--store", recorder.store).well()
        recorder.contact(4, 9000)
        return recorder.recorded()


def crowded(folder: Path, library: Path) -> Session:
    """A quota that makes room by all its means: what the ground has is dropped, records become
    background products, pictures are evicted, and what is delivered is forgotten."""
    with Recorder(folder, library) as recorder:
        small = recorder.variant("small", "[store]\nquota_mb = 0.5")
        store = ("--store", recorder.store)
        recorder.fly("run", small, recorder.swath("a.pgm", 2500, 1), *store).well()
        first = recorder.contact(1, 10_000)
        recorder.contact(2, 5_000, recorder.heard(first))
        recorder.fly("run", small, recorder.swath("b.pgm", 2500, 2), *store).well()
        recorder.contact(3, 10_000)
        recorder.fly("run", small, recorder.swath("c.pgm", 2500, 3), *store).well()
        with Store.open(recorder.store, mission=None, read_only=True) as opened:
            happened = set(events(opened))
        assert happened >= {"delivered", "compacted", "evicted"}, happened
        return recorder.recorded()


def maintained(folder: Path, library: Path) -> Session:
    """A store that is written anew without its free pages, and salvaged though it is sound."""
    with Recorder(folder, library) as recorder:
        recorder.bring("a.pgm", 600, 1)
        recorder.run().well()
        recorder.contact(1, 6000)
        recorder.fly("store", "vacuum", recorder.store).well()
        recorder.contact(2, 3000)
        # A process that was killed leaves its log to be folded in.
        arguments = ("run", recorder.mission, recorder.swath("b.pgm", 600, 2))
        killed = recorder.fly(*arguments, "--store", recorder.store, fault=Fault(60))
        assert killed.code == -signal.SIGKILL
        recorder.fly("store", "salvage", recorder.store).well()
        recorder.fly(*arguments, "--store", recorder.store).well()
        return recorder.recorded()


def rotten(folder: Path, library: Path) -> Session:
    """A store of which a product rots: a run finds it in idle time, a contact leaves it out, and
    salvage makes the store anew without it."""
    with Recorder(folder, library) as recorder:
        swath = recorder.swath("a.pgm", 600, 1)
        run = [sys.executable, "-m", "winnow_edge", "run", recorder.mission, swath]
        subprocess.run([*run, "--store", recorder.store], check=True, capture_output=True)
        with closing(sqlite3.connect(recorder.store / "store.db")) as db:
            db.execute("UPDATE product SET data = zeroblob(length(data)) WHERE id IN (40, 41)")
            db.commit()
        recorder.bring("b.pgm", 400, 2)
        recorder.run().well()
        recorder.contact(1, 6000)
        recorder.fly("store", "salvage", recorder.store).well()
        recorder.contact(2, 6000)
        return recorder.recorded()


def migrated_from_1(folder: Path, library: Path) -> Session:
    return _migrated(folder, library, 1)


def migrated_from_2(folder: Path, library: Path) -> Session:
    return _migrated(folder, library, 2)


def _migrated(folder: Path, library: Path, version: int) -> Session:
    """A store of an earlier format that is brought to today's by a contact, then a run."""
    with Recorder(folder, library) as recorder:
        golden = (OLD_STORES / f"format-{version}.db.gz").read_bytes()
        recorder.store.mkdir()
        (recorder.store / "store.db").write_bytes(gzip.decompress(golden))
        recorder.bring("b.pgm", 400, 2)
        recorder.contact(1, 6000)
        recorder.run().well()
        return recorder.recorded()
