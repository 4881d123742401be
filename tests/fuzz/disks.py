"""`python -m tests.fuzz.disks [--runs N] [--seed S]`: disks that fill at a random moment of a run.

Each run flies a swath into a store on a small disk of which a random part is free, so that it fills
at some write, or at none. Every command must end by itself, in one line. With room again the swath
is run to its end, and its products must be those of a run that was never disturbed. Root mounts an
ext4 image with blocks of 1 or 4 kB; others limit the size of files instead.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from winnow_edge.cli import main as winnow_edge
from winnow_edge.products.encode import HEAD, decode_head
from winnow_edge.products.kinds import Kind, TileRecord
from winnow_edge.store.store import Store
from winnow_edge.testing import painted_swath, write_probe

DISK_BYTES = 24 << 20
SHAPE = (320, 256)
COMPUTING_S, WAITING_S = 60, 3600
ENDS = {0: "done", 3: "refused", 6: "full"}
"""Exit codes that a command may have."""


@dataclass(frozen=True)
class Ended:
    """A command's exit code (negative: the signal that killed it) and what it said of errors."""

    code: int
    said: str


@dataclass(frozen=True)
class Disk:
    """A place for stores, and how it is made to have so many octets free."""

    folder: Path
    leave: Callable[[int | None], None]


def run(*arguments: object, scratch: Path) -> Ended:
    """`winnow-edge` in a process of its own, forked from this one: five hundred starts are slow."""
    sys.stdout.flush()
    said = scratch / "said"
    pid = os.fork()
    if not pid:
        code = 1
        try:
            out = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(out, 1)
            os.dup2(out, 2)
            # Of the processor's time, which does not pass while others compute; of the clock only
            # what nothing that works can take.
            signal.setitimer(signal.ITIMER_PROF, COMPUTING_S)
            signal.alarm(WAITING_S)
            code = winnow_edge([str(argument) for argument in arguments])
        except SystemExit as end:
            code = int(end.code or 0)
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            sys.stdout.flush()
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    return Ended(os.waitstatus_to_exitcode(status), said.read_text(errors="replace"))


Held = Counter[tuple[Kind, TileRecord, bytes]]
"""Products by kind, head and picture, whatever the number of their swath."""


def products(store: Path) -> Held:
    """What a store holds of tiles; what is of whole swaths names their numbers and contacts."""
    with Store.open(store, mission=None, read_only=True) as opened:
        rows = [(row.kind, opened.data(row.id)) for row in opened.products() if row.bytes]
    return Counter(
        (kind, decode_head(data).record, data[HEAD.size :])
        for kind, data in rows
        if kind in (Kind.RECORD, Kind.THUMBNAIL, Kind.IMAGE)
    )


@contextlib.contextmanager
def small_disk(scratch: Path, block: int) -> Iterator[Disk]:
    """A disk of `DISK_BYTES`; as one that is not root: a limit on the size of every file."""
    make = shutil.which("mkfs.ext4") or "/sbin/mkfs.ext4"
    image, folder = scratch / f"image-{block}", scratch / f"disk-{block}"
    folder.mkdir()
    if os.geteuid() == 0 and Path(make).exists():
        image.write_bytes(bytes(DISK_BYTES))
        made = [make, "-q", "-F", "-O", "^has_journal", "-b", str(block), str(image)]
        subprocess.run(made, check=True, capture_output=True)
        mount = ["mount", "-o", "loop", str(image), str(folder)]
        if not subprocess.run(mount, capture_output=True, check=False).returncode:
            try:
                yield Disk(folder, lambda free: _fill(folder / "ballast", free))
            finally:
                subprocess.run(["umount", "-l", str(folder)], check=True)
            return
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(free: int | None) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard if free is None else free, hard))

    try:
        yield Disk(folder, limit)
    finally:
        limit(None)


def _fill(ballast: Path, free: int | None) -> None:
    """Leave `free` octets on the ballast's disk, or all."""
    ballast.unlink(missing_ok=True)
    if free is None:
        return
    with ballast.open("wb", buffering=0) as out:
        with contextlib.suppress(OSError):
            while True:
                out.write(bytes(1 << 16))
        with contextlib.suppress(OSError):
            while True:
                out.write(bytes(1024))
        os.fsync(out.fileno())
        out.truncate(max(out.tell() - free, 0))


@dataclass(frozen=True)
class Bench:
    """What all runs share: mission, swath, products of an undisturbed run, octets of its store."""

    scratch: Path
    mission: Path
    swath: Path
    wanted: Held
    size: int


def bench(scratch: Path) -> Bench:
    """Fly the swath once with nothing in its way."""
    mission = write_probe(scratch, camera=f"samples = {SHAPE[1]}")
    swath = scratch / "pass.raw"
    swath.write_bytes(painted_swath(*SHAPE).tobytes())
    store = scratch / "undisturbed"
    ended = run("run", mission, swath, "--store", store, scratch=scratch)
    assert ended.code == 0, ended.said
    return Bench(scratch, mission, swath, products(store), (store / "store.db").stat().st_size)


def trial(held: Bench, disk: Disk, rng: random.Random) -> tuple[str, list[str]]:
    """One run on a disk that fills; how it ended, and what must never be."""
    store, out = disk.folder / "store", held.scratch / "contact.bin"
    disk.leave(None)
    shutil.rmtree(store, ignore_errors=True)
    out.unlink(missing_ok=True)
    fly = ("run", held.mission, held.swath, "--store", store)
    wrong: list[str] = []

    def ran(*arguments: object) -> Ended:
        ended = run(*arguments, scratch=held.scratch)
        if ended.code not in ENDS or "Traceback" in ended.said:
            wrong.append(f"{arguments[0]} ended with {ended.code}: {ended.said[-300:]}")
        return ended

    if rng.random() < 0.3:  # a store that is there already, with its reserve
        ran(*fly, "--name", "earlier")
    earlier: Held = products(store) if store.exists() else Counter()
    disk.leave(rng.randrange(4 * held.size))
    first = ran(*fly)
    if rng.random() < 0.5:
        place = rng.choice((out, disk.folder / "contact.bin"))
        ran("downlink", held.mission, "--store", store, "--bytes", 20_000, "--out", place)
        (disk.folder / "contact.bin").unlink(missing_ok=True)
    disk.leave(None)
    last = ran(*fly)
    if last.code:
        wrong.append(f"with room again it ended with {last.code}: {last.said[-300:]}")
    elif products(store) != held.wanted + earlier:
        wrong.append("other products than of an undisturbed run")
    return ENDS.get(first.code, "wrong"), wrong


def trials(runs: int, seed: int, told: Callable[[str], None]) -> Counter[str]:
    """Outcomes of so many runs, by kind; whatever is wrong is told with its number."""
    ends: Counter[str] = Counter()
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="winnow-disks-")))
        held = bench(scratch)
        for block in (1024, 4096):
            disk = stack.enter_context(small_disk(scratch, block))
            for number in range(runs // 2):
                rng = random.Random(f"{block}/{seed}/{number}")
                end, wrong = trial(held, disk, rng)
                ends[end] += 1
                ends["WRONG"] += bool(wrong)
                for what in wrong:
                    told(f"blocks of {block}, run {number}: {what}")
    return ends


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.disks", description=__doc__)
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    ends = trials(args.runs, args.seed, lambda text: print(text, flush=True))
    for end, count in sorted(ends.items()):
        print(f"{count:5} {end}")
    return 1 if ends["WRONG"] else 0


if __name__ == "__main__":
    sys.exit(main())
