"""Every call that can fail fails once, or from then on: ENOSPC, EIO, half of a write.

A command says so in one line and by its exit code, or gets over it. What was committed is there
afterwards, and the next start brings everything to its end.
"""

from __future__ import annotations

import errno
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.power.contents import digest
from tests.power.session import Ended, Fault, Recorder
from tests.power.shim import CHANGES, FAILS, GROWS, READS, SHORT, read
from winnow_edge.downlink.reader import LinkCounts, read_containers
from winnow_edge.errors import EXIT_AGAIN, EXIT_INPUT, EXIT_OK
from winnow_edge.products.encode import decode_head
from winnow_edge.products.kinds import Kind
from winnow_edge.store.store import Store

FAULTS = {
    "full once": Fault(0, GROWS, FAILS, errno.ENOSPC),
    "full from then on": Fault(0, GROWS, FAILS, errno.ENOSPC, lasting=True),
    "error once": Fault(0, CHANGES, FAILS, errno.EIO),
    "error from then on": Fault(0, CHANGES, FAILS, errno.EIO, lasting=True),
    "unreadable once": Fault(0, READS, FAILS, errno.EIO),
    "unreadable from then on": Fault(0, READS, FAILS, errno.EIO, lasting=True),
    "short write": Fault(0, GROWS, SHORT),
}
EVERY = 40
"""Of so many calls one fails in the quick form of the tests."""


@dataclass(frozen=True)
class Board:
    """A board that has a swath to run, has run it, has held two contacts; `states` are those that
    its store goes through in the run; `acks` say that one contact was heard and one was not."""

    recorder: Recorder
    empty: Path
    flown: Path
    heard: Path
    acks: Sequence[Path]
    states: Sequence[str]

    def reset(self, to: Path) -> None:
        shutil.rmtree(self.recorder.root)
        shutil.copytree(to, self.recorder.root)

    def committed(self) -> list[str]:
        """The states that a command was told are committed, of the trace, which begins anew."""
        trace = self.recorder.trace
        marks = [call.data.split() for call in read(trace) if call.op == "P"]
        with trace.open("r+b") as stream:
            stream.truncate()
        return [mark[1].decode() for mark in marks if mark[0] == b"commit"]

    def state(self) -> str | None:
        path = self.recorder.store / "store.db"
        if not path.exists():
            return None
        with closing(sqlite3.connect(path)) as db:
            assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            return digest(db)


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory, shim: Path) -> Iterator[Board]:
    folder = tmp_path_factory.mktemp("board")
    with Recorder(folder, shim) as recorder:
        recorder.bring("a.pgm", 520, 1)
        shutil.copytree(recorder.root, folder / "empty")
        recorder.run().well()
        shutil.copytree(recorder.root, folder / "flown")
        made = Board(recorder, folder / "empty", folder / "flown", folder / "heard", (), ())
        made = replace(made, states=made.committed())
        first, second = recorder.contact(8, 4000), recorder.contact(9, 4000)
        acks = (recorder.heard(first), recorder.heard(second, lost=1))
        shutil.copytree(recorder.root, folder / "heard")
        yield replace(made, acks=acks)


def _numbers(calls: int, every: int) -> range:
    """Which calls fail: each `every`-th, and the last always."""
    return range(calls, 0, -every)


def _honest(ended: Ended, what: str) -> None:
    assert "Traceback" not in ended.said, f"{what}: {ended.said}"
    # SQLite takes a file that cannot be read for a damaged one.
    codes = {EXIT_OK, EXIT_AGAIN, *([EXIT_INPUT] if what.startswith("unreadable") else [])}
    assert ended.code in codes, f"{what}: {ended.code} {ended.said}"
    if ended.code:
        assert ended.said.strip().splitlines()[-1].startswith("winnow-edge: "), what


def _runs(board: Board, kind: str, every: int) -> int:
    """Run the swath with each call failing in its turn; how many did."""
    board.reset(board.empty)
    calls = board.recorder.run(FAULTS[kind]).well().calls
    board.committed()
    for number in _numbers(calls, every):
        board.reset(board.empty)
        ended = board.recorder.run(replace(FAULTS[kind], nth=number))
        what = f"{kind}, call {number} of {calls}"
        _honest(ended, what)
        told, state = board.committed(), board.state()
        if told:
            assert state is not None, what
            assert set(told) <= set(board.states), what
            assert board.states.index(state) >= board.states.index(told[-1]), what
        incoming = board.recorder.root / "incoming"
        aside = incoming / "set-aside" / "a.pgm"
        if aside.exists():
            # A swath that cannot be read is a bad one.
            assert kind.startswith("unreadable") and "cannot be read" in ended.said, what
            aside.rename(incoming / "a.pgm")
        elif not ended.code:
            assert state == board.states[-1], f"{what}: code 0 and not done: {ended.said}"
        board.recorder.run().well()
        board.committed()
        assert board.state() == board.states[-1], f"{what}: the next start did not finish"
        assert (board.recorder.root / "incoming" / "done" / "a.pgm").exists(), what
    return len(_numbers(calls, every))


def _carried(out: Path) -> set[int]:
    if not out.exists():
        return set()
    with out.open("rb") as stream:
        return {item.id for c in read_containers(stream, LinkCounts()) for item in c.items}


def _contacts(board: Board, kind: str, every: int, *, acks: bool = False) -> int:
    """Hold a contact with each call failing in its turn, and one after it; how many did. With
    `acks` it takes in what the ground said of two before."""
    out, after = board.recorder.root / "out" / "1.bin", board.recorder.root / "out" / "2.bin"
    start, reports = (board.heard, board.acks) if acks else (board.flown, ())
    board.reset(board.flown)
    board.recorder.downlink(out, 10**6).well()
    all_there = _carried(out)
    board.reset(start)
    calls = board.recorder.downlink(out, 10**6, *reports, fault=FAULTS[kind]).well().calls
    everything = _carried(out)
    board.committed()
    assert everything < all_there if acks else everything == all_there
    for number in _numbers(calls, every):
        board.reset(start)
        fault = replace(FAULTS[kind], nth=number)
        ended = board.recorder.downlink(out, 10**6, *reports, fault=fault)
        what = f"{kind}, call {number} of {calls}"
        _honest(ended, what)
        first = _carried(out)
        assert first in (set(), everything), f"{what}: a file that is not whole"
        assert ended.code or first, f"{what}: code 0 and nothing was sent"
        board.recorder.downlink(after, 10**6, *reports).well()
        # What is not in the first file is in the second: nothing counts as sent that was not; nor
        # is anything sent again that was acknowledged.
        assert first | _carried(after) == everything, what
        with Store.open(board.recorder.store, mission=None, read_only=True) as store:
            for product in store.products(kinds=(Kind.RECORD,)):
                assert decode_head(store.data(product.id)).record.index == product.tile_index
    board.committed()
    return len(_numbers(calls, every))


@pytest.mark.parametrize("kind", FAULTS)
def test_some_calls_of_a_run(board: Board, kind: str) -> None:
    assert _runs(board, kind, EVERY) > 1


@pytest.mark.parametrize("kind", FAULTS)
def test_some_calls_of_a_contact(board: Board, kind: str) -> None:
    assert _contacts(board, kind, EVERY) > 0


@pytest.mark.parametrize("kind", FAULTS)
def test_some_calls_of_an_acknowledgement(board: Board, kind: str) -> None:
    assert _contacts(board, kind, EVERY, acks=True) > 0


@pytest.mark.slow
@pytest.mark.timeout(3 * 3600)
@pytest.mark.parametrize("kind", FAULTS)
def test_every_call_of_a_run(board: Board, kind: str) -> None:
    print(f"{kind}: {_runs(board, kind, 1)} calls of a run failed")


@pytest.mark.slow
@pytest.mark.timeout(3 * 3600)
@pytest.mark.parametrize("kind", FAULTS)
def test_every_call_of_a_contact(board: Board, kind: str) -> None:
    print(f"{kind}: {_contacts(board, kind, 1)} calls of a contact failed")


@pytest.mark.slow
@pytest.mark.timeout(3 * 3600)
@pytest.mark.parametrize("kind", FAULTS)
def test_every_call_of_an_acknowledgement(board: Board, kind: str) -> None:
    print(f"{kind}: {_contacts(board, kind, 1, acks=True)} calls of an acknowledgement failed")
