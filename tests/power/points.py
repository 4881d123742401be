"""Crash points of a recorded session: each is put on a disk, opened by the store, and checked.

The store must open, be sound, and hold one of the states that the process committed: not an
earlier one than the last that was reported as committed, nor a later one than was under way.
"""

from __future__ import annotations

import functools
import hashlib
import random
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from tests.power.contents import digest
from tests.power.session import Session
from winnow_edge.errors import StoreError
from winnow_edge.mission import load_mission
from winnow_edge.store.schema import ProductState
from winnow_edge.store.store import Store

Tree = dict[str, bytes | None]


@dataclass(frozen=True)
class State:
    """A state that the process committed, or left when it ended: after how many calls, the store's
    digest once it is opened again, and the packet files that were there."""

    call: int
    opened: str
    out: frozenset[str]


@dataclass(frozen=True)
class Found:
    """What the store made of a crash point."""

    digest: str
    complete: frozenset[str]
    """Names of complete swaths."""
    damaged: frozenset[int]
    """Numbers of products that are not what was stored."""


@dataclass
class Tally:
    """Points checked so far; `distinct` of them differed in some octet or name of the disk, and
    `stores` in the store's own files: as many times it was opened."""

    points: int = 0
    distinct: int = 0
    stores: int = 0
    calls: int = 0
    states: set[str] = field(default_factory=set)


class Points:
    """The crash points of a session, checked in a folder of `scratch` (a tmpfs is quickest)."""

    def __init__(self, session: Session, scratch: Path, seed: str) -> None:
        self._session, self._seed = session, seed
        self._folder = scratch / "point"
        self._mission = load_mission(session.mission)
        self._seen: set[bytes] = set()
        self._stores: dict[bytes, Found] = {}
        self._pages: dict[bytes, Found] = {}
        self._behind: set[int] = set()
        self.tally = Tally()
        self._damaged = self._opened(session.before().whole()).damaged
        self._states = list(self._committed())
        self._final: dict[str, bytes] = {}
        self._swaths = {n: d for n, d in session.before().whole().items() if n.endswith(".pgm")}

    def check(self, draws: int, *, first: int = 0, most: int | None = None) -> Tally:
        """Check whole, nothing but synced, and `draws` random cuts behind every call; or behind
        `most` of them, chosen by the seed. Of the cuts, `first` is the number of the first.

        Raises AssertionError that names the point.
        """
        behind = [n for n, call in enumerate(self._session.calls) if call.op not in "Pm"]
        if most is not None and most < len(behind):
            behind = random.Random(self._seed).sample(behind, most)
        self._behind.update(behind)
        disk, under_way = self._session.before(), 0
        self._final = self._packets_at_the_end()
        for number, call in enumerate(self._session.calls):
            disk.play(call)
            if call.op == "P":
                under_way += 1
            if number not in self._behind:
                continue
            allowed = self._states[under_way : under_way + 2]
            self._check(disk.whole(), allowed, f"behind call {number}, whole")
            if not disk.open_calls():
                continue
            self._check(disk.synced(), allowed, f"behind call {number}, synced")
            for draw in range(first, first + draws):
                rng = random.Random(f"{self._seed} {number} {draw}")
                self._check(disk.cut(rng), allowed, f"behind call {number}, draw {draw}")
        self.tally.distinct, self.tally.calls = len(self._seen), len(self._behind)
        self.tally.stores = len(self._stores)
        return self.tally

    def _committed(self) -> Iterator[State]:
        """Every state that was committed, in order; the first is the one before the session."""
        disk = self._session.before()
        yield State(0, self._opened(disk.whole()).digest, frozenset())
        for number, call in enumerate(self._session.calls):
            disk.play(call)
            if call.op == "P":
                tree = disk.whole()
                what, value = call.data.decode().split()
                assert what == "exit" or self._raw(tree) == value, "the trace is not whole"
                yield State(number, self._opened(tree).digest, frozenset(_packets(tree)))

    def _packets_at_the_end(self) -> dict[str, bytes]:
        disk = self._session.before()
        for call in self._session.calls:
            disk.play(call)
        return _packets(disk.whole())

    def _check(self, tree: Tree, allowed: list[State], where: str) -> None:
        self.tally.points += 1
        self._seen.add(_key(tree))
        found = self._opened(tree)
        match = [state for state in allowed if state.opened == found.digest]
        names = [self._name(state) for state in self._states if state.opened == found.digest]
        expected = [self._name(state) for state in allowed]
        assert match, f"{where}: the store is {names or 'none of the states'}, not of {expected}"
        assert found.damaged <= self._damaged, f"{where}: {found.damaged} are damaged"
        self.tally.states.add(found.digest)
        packets = _packets(tree)
        lost = match[0].out - packets.keys()
        assert not lost, f"{where}: {lost} counts as sent and is gone"
        for name, data in packets.items():
            assert data == self._final[name], f"{where}: {name} is not whole"
        for name, data in self._swaths.items():
            done = name.replace("incoming/", "incoming/done/")
            assert data in (tree.get(name), tree.get(done)), f"{where}: {name} is gone"
            if done in tree:
                assert Path(name).name in found.complete, f"{where}: {name} was never flown"

    def _name(self, state: State) -> str:
        return f"the one of call {state.call}"

    def _opened(self, tree: Tree) -> Found:
        """The store of a tree, opened as a run opens it."""
        key = _key({n: data for n, data in tree.items() if n.startswith("store")})
        if key not in self._stores:
            self._put(tree)
            with Store.open(self._folder / "store", mission=self._mission) as store:
                # Reading the pages is quicker than reading the rows, and few differ.
                pages = hashlib.blake2b(store.db.serialize(), digest_size=16).digest()
                if pages not in self._pages:
                    self._pages[pages] = _examined(store)
                self._stores[key] = self._pages[pages]
        return self._stores[key]

    def _raw(self, tree: Tree) -> str:
        """The digest of a tree's store as the process saw it."""
        self._put(tree)
        with closing(sqlite3.connect(self._folder / "store" / "store.db")) as db:
            return digest(db)

    def _put(self, tree: Tree) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        for name, data in sorted(tree.items()):
            path = self._folder / name
            if data is None:
                path.mkdir()
            elif name.startswith("store/"):
                path.write_bytes(data)


def _examined(store: Store) -> Found:
    """The store is sound, and every product on board is what was stored, or was damaged before."""
    sound = store.db.execute("PRAGMA integrity_check").fetchall()
    assert sound == [("ok",)], sound
    damaged = set()
    for product in store.products(states=(ProductState.STORED, ProductState.SENT)):
        try:
            assert len(store.data(product.id)) == product.bytes
        except StoreError:
            damaged.add(product.id)
    complete = frozenset(s.name for s in store.swaths() if s.complete)
    return Found(digest(store.db), complete, frozenset(damaged))


def _packets(tree: Tree) -> dict[str, bytes]:
    """The packet files of a tree at their final names."""
    return {n: d for n, d in tree.items() if n.endswith(".bin") and d is not None}


def _key(tree: Tree) -> bytes:
    found = hashlib.blake2b(digest_size=16)
    for name, data in sorted(tree.items()):
        found.update(f"{name}\0".encode())
        found.update(b"" if data is None else _content(data))
    return found.digest()


@functools.lru_cache(maxsize=64)
def _content(data: bytes) -> bytes:
    """Most files of a disk are those of the one before."""
    return hashlib.blake2b(data, digest_size=16).digest()
