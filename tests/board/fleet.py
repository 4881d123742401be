"""A board in orbit: deployed, fed, cut from its power, and judged by its disk after each cut.

The judge sees the disk as the cut left it, its journal replayed as the next boot replays it: the
store opens, is sound, holds all that it was seen to hold and all that the service said it had
finished, and nothing that a board left alone would not have.
"""

from __future__ import annotations

import random
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from tests.board.machine import BOOT_S, Machine
from winnow_edge.products.encode import decode_head
from winnow_edge.products.kinds import Kind
from winnow_edge.store.store import Store

MISSION = 'name = "board"\n[instrument.camera]\nbundle = "hirise-landmarks"\n'
LINES, SAMPLES = 500, 256
AHEAD = 4
"""So many swaths at least wait in the folder when it is switched on."""
MORE = 24
"""So many are fed at once."""
OF_A_SWATH = 400_000
"""About so many octets go to the disk for a swath."""
LONGEST_S = 120.0
"""So long at most a moment is waited for: a board that has nothing to do writes nothing."""
STARTING = re.compile(r"Start(?:ing|ed) winnow\.service")
"""Moments of the boot are those before, of the start those until it has `STARTED`."""
STARTED = re.compile(r"Started winnow\.service")
FINISHED = re.compile(r"(\d{4}\.pgm): [\d,]+ lines of")
PHASES = ("boot", "start", "run")
TILES = (Kind.RECORD, Kind.THUMBNAIL, Kind.IMAGE)
"""What is the same however often a run begins anew; what tells of a swath says how long it took."""

Row = tuple[int, int, int, int, bytes]


@dataclass
class Known:
    """What a store was seen to hold: of each swath whether it is complete and its next tile, and
    its rows of tiles by number."""

    swaths: dict[str, tuple[bool, int]] = field(default_factory=dict)
    rows: dict[int, Row] = field(default_factory=dict)

    @classmethod
    def of(cls, folder: Path) -> Known:
        """That of a store, which must be sound; none is one that holds nothing."""
        if not (folder / "store.db").exists():
            return cls()
        with Store.open(folder, mission=None) as store:
            assert store.damage() is None
            swaths = {s.name: (s.complete, s.next_tile) for s in store.swaths()}
            rows = {
                p.id: (p.swath, int(p.kind), p.tile_index, p.class_index, store.data(p.id))
                for p in store.products(kinds=TILES)
            }
        return cls(swaths, rows)


def swath(number: int) -> bytes:
    """A PGM of dunes and craters of a kind: enough structure for detections."""
    rng = np.random.default_rng(number)
    line, sample = np.mgrid[0:LINES, 0:SAMPLES]
    pixels = 120 + 40 * np.sin(line / 9 + 3 * np.sin(sample / 31)) + rng.normal(0, 6, line.shape)
    for _ in range(40):
        at, side, radius = rng.uniform(0, LINES), rng.uniform(0, SAMPLES), rng.uniform(6, 40)
        away = np.hypot(line - at, sample - side) / radius
        pixels += np.where(away < 1, 60 * (sample - side) / radius, 0)
    return b"P5 %d %d 255\n" % (SAMPLES, LINES) + pixels.clip(1, 254).astype(np.uint8).tobytes()


def _grew(row: Row, to: Row | None) -> bool:
    """Whether a row is, or may become, another: a record is told of its detection once that is
    closed."""
    if to is None or row[:4] != to[:4]:
        return False
    if row[1] != Kind.RECORD:
        return row == to
    old, new = decode_head(row[4]).record, decode_head(to[4]).record
    return old.flags | new.flags == new.flags and replace(old, flags=new.flags) == new


class Board:
    """A board in orbit, and what is known of it on the ground."""

    def __init__(self, machine: Machine, folder: Path, seed: str) -> None:
        self.machine, self._folder = machine, folder
        self._rng = random.Random(seed)
        self._mission = folder / "mission.toml"
        self._mission.write_text(MISSION)
        (folder / "fed").mkdir()
        self._home = ""
        """The home folder of the board's user."""
        self._fed: list[Path] = []
        self._known, self._expected = Known(), Known()
        self._finished: set[str] = set()
        self._waiting = 0
        self._boot_s = self._start_s = 0.0
        """Processor time that a boot and the service's start took; 0 until it was measured."""
        self.partial = 0
        """Cuts of which the disk lost requests."""
        self.cuts = dict.fromkeys(PHASES, 0)
        """Cuts by what went on."""

    def deploy(self) -> None:
        """`winnow deploy`, then a machine that is shut down."""
        self.machine.boot()
        self.machine.answers()
        self._home = self.machine.ask("pwd").strip()
        command = [sys.executable, "-c", "from winnow_cli.app import main; main()", "deploy"]
        command += ["root@127.0.0.1", str(self._mission), "--port", str(self.machine.port)]
        command += ["--identity", str(self.machine.key)]
        for option in self.machine.options:
            command += ["--ssh-option", option]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        self._off()

    def cut(self) -> str:
        """Switch the board on, cut its power at a random moment, and judge; what to say of it."""
        if self._waiting < AHEAD:
            # In a boot of its own: the next one finds swaths, and the service starts in it.
            self.machine.boot()
            self.machine.answers()
            self._feed()
            self._off()
        began = time.monotonic()
        self.machine.boot()
        phase = self._moment()
        worked, elapsed = self.machine.worked(), time.monotonic() - began
        lost = self.machine.cut(self._rng)
        self.cuts[phase] += 1
        self.partial += lost > 0
        before = len(self._known.rows)
        self.judge()
        done = sum(complete for complete, _ in self._known.swaths.values())
        return (
            f"cut {sum(self.cuts.values())} of a {phase}: {lost} requests not on the disk, "
            f"{done} swaths complete, {len(self._known.rows)} products "
            f"({len(self._known.rows) - before:+}); {elapsed:.0f} s, {worked:.0f} s of a "
            f"processor, {time.monotonic() - began - elapsed:.1f} s for the judge"
        )

    def finish(self) -> None:
        """Nobody touches the board until it has done all that it was fed; then a contact."""
        self.machine.boot()
        names = {path.name for path in self._fed}
        done = {name for name, (complete, _) in self._known.swaths.items() if complete}
        # Asking it would cost a slow board more than its work does.
        said = self.machine.said
        self.machine.wait(lambda: done.union(FINISHED.findall(said())) >= names, "the rest")
        self.machine.answers()
        some = "find winnow/incoming -maxdepth 1 -name '*.pgm' | grep -q ."
        self.machine.ask(f"for n in $(seq {BOOT_S:.0f}); do {some} || exit 0; sleep 5; done; false")
        flight = "winnow/current/flight/mission.toml --store winnow/store"
        self.machine.ask(f"winnow/bin/winnow-edge downlink {flight} --bytes 100000 --out contact")
        self._off()
        self.judge()
        assert all(complete for complete, _ in self._known.swaths.values())
        assert len(self._known.swaths) == len(self._fed)
        assert self._known.rows == self._expected.rows

    def judge(self) -> None:
        """Judge the disk. Raises AssertionError that says what is wrong."""
        disk = self._folders()
        self._swaths_are_there(disk)
        now = Known.of(disk / "store")
        for name, (complete, tile) in self._known.swaths.items():
            assert now.swaths.get(name, (False, -1)) >= (complete, tile), f"swath {name} went back"
        for number, row in self._known.rows.items():
            assert _grew(row, now.rows.get(number)), f"product {number} is gone, or another"
        for number, row in now.rows.items():
            assert _grew(row, self._expected.rows.get(number)), f"product {number} is invented"
        for name in self._finished:
            assert now.swaths.get(name, (False, 0))[0], f"swath {name} was said to be finished"
        for place, (name, (complete, tile)) in enumerate(now.swaths.items(), 1):
            records = [r[2] for r in now.rows.values() if r[0] == place and r[1] == Kind.RECORD]
            assert records == list(range(tile)), f"swath {name} has gaps"
            if complete:
                assert (complete, tile) == self._expected.swaths[name]
                rows = {n: row for n, row in now.rows.items() if row[0] == place}
                assert rows.items() <= self._expected.rows.items(), f"swath {name} is another"
        self._known = now
        self._waiting = len(self._fed) - sum(complete for complete, _ in now.swaths.values())

    def _swaths_are_there(self, disk: Path) -> None:
        incoming = disk / "incoming"
        aside = incoming / "set-aside"
        assert not (aside.exists() and list(aside.iterdir())), "a swath was set aside"
        for path in self._fed:
            places = [
                p for p in (incoming / path.name, incoming / "done" / path.name) if p.exists()
            ]
            assert places, f"{path.name} is gone"
            assert all(p.read_bytes() == path.read_bytes() for p in places), path.name

    def _folders(self) -> Path:
        """The service's folders on the disk, once the journal is replayed, which is undone: the
        next boot finds the disk as the cut left it."""
        disk, undo, to = self.machine.disk, self._folder / "undo", self._folder / "winnow"
        shutil.rmtree(to, ignore_errors=True)
        to.mkdir()
        undo.unlink(missing_ok=True)
        check = ["e2fsck", "-y", "-E", "journal_only", "-z", undo, disk]
        replay = subprocess.run(check, capture_output=True)
        assert replay.returncode in (0, 1), replay.stdout.decode("utf-8", "replace")
        for name in ("store", "incoming"):
            dump = ["debugfs", "-R", f"rdump {self._home}/winnow/{name} {to}", disk]
            subprocess.run(dump, check=True, capture_output=True)
        subprocess.run(["e2undo", undo, disk], check=True, capture_output=True)
        return to

    def _moment(self) -> str:
        """Wait for a random moment: of the boot, of the service's start, or of its work, which is
        measured by what it writes. Which of these it was."""
        how = self._rng.random() if self._start_s else 1.0
        if how < 0.1:
            self._work(self._rng.uniform(0, self._boot_s))
        else:
            self.machine.wait(lambda: self._says(STARTING), "the service's start")
            at = self._boot_s = self.machine.worked()
            if how < 0.25:
                self._work(at + self._rng.uniform(0, self._start_s))
            else:
                self.machine.wait(lambda: self._says(STARTED), "a service that is ready")
                self._start_s = self.machine.worked() - at
                size = self._written() + self._rng.uniform(0, OF_A_SWATH * 2)
                self._until(lambda: self._written() >= size)
        self._finished |= set(FINISHED.findall(self.machine.said()))
        return PHASES[self._says(STARTING) + self._says(STARTED)]

    def _work(self, seconds: float) -> None:
        self._until(lambda: self.machine.worked() >= seconds)

    def _until(self, done: Callable[[], bool]) -> None:
        began = time.monotonic()
        while not done() and time.monotonic() - began < LONGEST_S:
            time.sleep(0.02)

    def _says(self, pattern: re.Pattern[str]) -> bool:
        return bool(pattern.search(self.machine.said()))

    def _written(self) -> int:
        return self.machine.writes.stat().st_size

    def _feed(self) -> None:
        """Move swaths into the folder; and run them on a board that is left alone, the ground."""
        first = len(self._fed)
        paths = [self._folder / "fed" / f"{first + n + 1:04d}.pgm" for n in range(MORE)]
        for number, path in enumerate(paths, first + 1):
            path.write_bytes(swath(number))
        run = [sys.executable, "-m", "winnow_edge", "run", self._mission, *paths, "--store"]
        alone = self._folder / "alone"
        subprocess.run([*run, alone], check=True, capture_output=True)
        self._expected = Known.of(alone)
        names = [path.name for path in paths]
        archive = ["tar", "-cf", "-", "-C", self._folder / "fed", *names]
        data = subprocess.run(archive, check=True, capture_output=True).stdout
        # Whole and on the disk before they can be seen, as docs/service.md asks.
        script = "cd winnow && mkdir -p next && tar -xf - -C next && sync && mv next/* incoming/"
        self.machine.ask(f"{script} && sync", data=data)
        self._fed += paths
        self._waiting += len(paths)

    def _off(self) -> None:
        """Shut down, as one does on the ground."""
        self.machine.ask("systemctl stop winnow.path winnow.service; sync; sync")
        self.machine.cut()
