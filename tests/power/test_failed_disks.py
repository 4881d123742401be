"""A disk that fails for good, by errors at every write or as read-only: the service and its
contacts go on with a store in memory, and go back once the disk works again."""

from __future__ import annotations

import contextlib
import errno
import json
import shutil
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.power.session import SAMPLES, Ended, Fault, Recorder, painted
from tests.power.shim import CHANGES, FAILS, ROOT, environment
from winnow_edge.downlink.reader import LinkCounts, read_containers
from winnow_edge.products.encode import HEAD, decode_head
from winnow_edge.products.kinds import Kind, TileRecord
from winnow_edge.store import memory
from winnow_edge.store.check import check
from winnow_edge.store.events import events
from winnow_edge.store.store import Store

TILES = (Kind.RECORD, Kind.THUMBNAIL, Kind.IMAGE)
Held = Counter[tuple[Kind, TileRecord, bytes]]


@pytest.fixture
def board(tmp_path: Path, shim: Path) -> Iterator[Recorder]:
    """A board with two swaths to run; what it leaves in memory is deleted."""
    with Recorder(tmp_path, shim, traced=False) as recorder:
        kept = memory.place(recorder.store)
        if kept is None:
            pytest.skip("no file system in memory that this user may write")
        recorder.bring("a.pgm", 500, 1)
        recorder.bring("b.pgm", 300, 2)
        yield recorder
        shutil.rmtree(kept, ignore_errors=True)


def fly(board: Recorder, fault: Fault | None = None) -> Ended:
    arguments = ("run", board.mission, board.root / "incoming", "--incoming", "--patience", 1.5)
    return board.fly(*arguments, "--store", board.store, **({"fault": fault} if fault else {}))


def held(store: Path) -> Held:
    """What a store holds of tiles."""
    with Store.open(store, mission=None, read_only=True) as opened:
        assert check(opened).sound
        rows = [(row.kind, opened.data(row.id)) for row in opened.products(kinds=TILES)]
    return Counter((kind, decode_head(data).record, data[HEAD.size :]) for kind, data in rows)


def carried(out: Path) -> dict[tuple[int, int], bytes]:
    with out.open("rb") as stream:
        containers = list(read_containers(stream, LinkCounts()))
    return {(c.store_id, item.id): item.data for c in containers for item in c.items}


FAILING = """
import errno, sys
from tests.power.shim import CHANGES, FAILS, loaded
from winnow_edge.cli import main
loaded().power_fault(30, CHANGES, FAILS, errno.EIO, True)
sys.exit(main())
"""


def test_a_camera_that_connects_finds_somebody_who_listens(
    board: Recorder, tmp_path: Path, shim: Path
) -> None:
    place = tmp_path / "camera"
    options = ("--samples", SAMPLES, "--passes", "all", "--patience", 0.5, "--name", "pass")
    command = ["run", board.mission, f"unix-listen:{place}", *options, "--store", board.store]
    service = subprocess.Popen(
        [sys.executable, "-c", FAILING, *map(str, command), "--json"],
        cwd=ROOT,
        env=environment(shim, board.root, None),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert service.stdout is not None and service.stderr is not None
    while "listening at" not in service.stderr.readline():
        assert service.poll() is None
    lines = painted(900, 3).split(b"\n", 1)[1]
    for _ in range(2):  # the disk fails in the first pass, which is cut short
        with socket.socket(socket.AF_UNIX) as camera, contextlib.suppress(ConnectionError):
            camera.connect(str(place))
            camera.sendall(lines)
    done = json.loads(service.stdout.readline())
    assert done["lines"] == 900
    kept = memory.there(board.store)
    assert kept is not None
    with Store.open(kept, mission=None, read_only=True) as store:
        assert [s.complete for s in store.swaths() if s.name == done["swath"]] == [True]
    service.send_signal(signal.SIGTERM)
    _, said = service.communicate()
    assert service.returncode == 0, said


@pytest.mark.parametrize("error", [errno.EIO, errno.EROFS], ids=errno.errorcode.get)
@pytest.mark.parametrize("nth", [1, 60, 200])
def test_the_service_goes_on_in_memory_and_comes_back(
    board: Recorder, tmp_path: Path, nth: int, error: int
) -> None:
    undisturbed = tmp_path / "undisturbed"
    shutil.copytree(board.root / "incoming", tmp_path / "same")
    run = ("run", board.mission, tmp_path / "same", "--incoming", "--store", undisturbed)
    board.fly(*run).well()

    ended = fly(board, Fault(nth, CHANGES, FAILS, error, lasting=True)).well()
    assert "going on in memory" in ended.said
    kept = memory.there(board.store)
    assert kept is not None
    assert sorted(f.name for f in (board.root / "incoming").glob("*.pgm"))  # they cannot be moved
    # Contacts are held as ever, and the next start of the service has nothing left to run.
    out = tmp_path / "1.bin"
    dead = Fault(1, CHANGES, FAILS, error, lasting=True)
    board.downlink(out, 20_000, fault=dead).well()
    first = carried(out)
    assert first
    again = fly(board, dead).well()
    assert "trying again" not in again.said
    with Store.open(kept, mission=None, read_only=True) as store:
        assert [(s.name, s.complete) for s in store.swaths()] == [("a.pgm", True), ("b.pgm", True)]

    ended = fly(board).well()
    assert "works again" in ended.said
    assert memory.there(board.store) is None
    assert held(board.store) == held(undisturbed)
    assert not list((board.root / "incoming").glob("*.pgm"))
    with Store.open(board.store, mission=None, read_only=True) as store:
        assert events(store)["in memory"] == {"store": 1}
    board.downlink(tmp_path / "2.bin", 10**7).well()
    second = carried(tmp_path / "2.bin")
    # Nothing is sent twice, and no number stands for two things.
    sent = [decode_head(d) for d in [*first.values(), *second.values()] if len(d) == HEAD.size]
    known = [head for kind, head, _ in held(board.store).elements() if kind is Kind.RECORD]
    assert len(known) > 100
    assert Counter(head.record for head in sent) == Counter(known)
    for (_, number), data in first.items():
        assert all(data == other for (_, n), other in second.items() if n == number)
