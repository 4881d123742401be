"""`python -m tests.fuzz.rot STORE MISSION [--changes N] [--seed S]`: an octet of a store changes.

For each change a contact sends all that it can; a store that SQLite cannot read is salvaged when it
is opened, the second time at the latest.
What is sent is compared with what the undamaged store holds, octet by octet, and what is missing
with what was said to be lost.
"""

from __future__ import annotations

import argparse
import io
import logging
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from tests.fuzz.stores import put
from winnow_edge.downlink.contact import downlink
from winnow_edge.downlink.reader import LinkCounts, read_containers
from winnow_edge.errors import StoreError, SwathKnownError
from winnow_edge.mission import Mission, load_mission
from winnow_edge.store.events import events
from winnow_edge.store.schema import StoredSwath
from winnow_edge.store.store import Store
from winnow_edge.store.writer import begin_swath

State = tuple[int, int, bytes | None]
"""Where a swath stands: next tile, next line, the state of the flight loop."""


@dataclass(frozen=True)
class Whole:
    """The undamaged store: its file, all products by number, those that a contact sends, its own
    numbers, its swaths and where the unfinished ones stand."""

    file: bytes
    products: dict[int, bytes]
    sent: frozenset[int]
    store_id: int
    contact: int
    swaths: tuple[StoredSwath, ...]
    states: dict[str, State]
    told: frozenset[bytes]
    """What tells the ground of each swath."""


@dataclass
class Outcome:
    """What became of one change. `wrong` is what must never be, in words."""

    kind: str
    missing: set[int] = field(default_factory=set)
    wrong: list[str] = field(default_factory=list)


class _Ear(logging.Handler):
    """Whether anything was said."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []

    def heard(self, words: str) -> bool:
        return any(words in said for said in self.said)

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


def whole(file: bytes, mission: Mission, folder: Path) -> Whole:
    """What the undamaged store in `file` holds and sends; worked out in `folder`."""
    put(folder, file)
    with Store.open(folder, mission=mission) as store:
        products = {p.id: store.data(p.id) for p in store.products() if p.bytes}
        told = frozenset(products[p.id] for p in store.announcements().values())
        sent, contact, store_id = _contact(store, mission)
        swaths = tuple(store.swaths())
        states = {s.name: _state(store, s) for s in swaths if not s.complete}
    return Whole(file, products, frozenset(sent), store_id, contact, swaths, states, told)


def _contact(store: Store, mission: Mission) -> tuple[dict[int, bytes], int, int]:
    out = io.BytesIO()
    summary = downlink(store, mission, budget_bytes=10**8, out=out)
    out.seek(0)
    containers = list(read_containers(out, LinkCounts()))
    numbers = {(c.store_id, c.contact) for c in containers} | {(store.store_id, summary.contact)}
    assert len(numbers) == 1, numbers
    return {i.id: i.data for c in containers for i in c.items}, summary.contact, store.store_id


def _state(store: Store, swath: StoredSwath) -> State:
    writer = begin_swath(
        store,
        swath.name,
        samples=swath.samples,
        classes=swath.classes,
        bundle=swath.bundle,
        digest=swath.digest,
        fingerprint=swath.fingerprint,
        info=swath.info,
    )
    return writer.next_tile, writer.next_line, writer.pending


def change(known: Whole, at: int, value: int, mission: Mission, folder: Path) -> Outcome:
    """What becomes of the store when the octet `at` is `value`."""
    data = bytearray(known.file)
    data[at] = value
    put(folder, bytes(data))
    for old in folder.glob("store.db.damaged*"):
        old.unlink()
    ear, log = _Ear(), logging.getLogger("winnow_edge")
    log.addHandler(ear)
    try:
        try:
            return _judged(known, mission, folder, ear)
        except StoreError as error:
            assert "\n" not in str(error)
        try:
            return _judged(known, mission, folder, ear)  # what met damage is mended now
        except StoreError as error:
            assert "\n" not in str(error)
            return Outcome("refused, and salvage does not help", set(known.sent))
    finally:
        log.removeHandler(ear)


def _judged(known: Whole, mission: Mission, folder: Path, ear: _Ear) -> Outcome:
    """Hold a contact and compare it with that of the undamaged store."""
    with Store.open(folder, mission=mission) as store:
        sent, contact, store_id = _contact(store, mission)
        outcome = Outcome("", known.sent - sent.keys())
        for number, data in sent.items():
            if known.products.get(number) != data:
                if number > max(known.products) and data in known.told:
                    continue  # a swath is announced again
                elsewhere = data in known.products.values()
                outcome.wrong.append("sent under another number" if elsewhere else "wrong data")
        anew = ear.heard("counts as another store")
        if store_id != known.store_id and not anew:
            outcome.wrong.append("sent as another store, unsaid")
        if contact < known.contact and not anew:
            outcome.wrong.append("a contact's number is used again")
        _compare_swaths(known, store, outcome, ear)
        lost = sum(events(store).get("lost", {}).values())
    if ear.heard("is made anew"):
        outcome.kind = "salvaged, all sent" if not outcome.missing else "salvaged, losses told"
        if len(outcome.missing) > lost:
            outcome.kind = "salvaged, some losses NOT told"
    elif outcome.missing:
        outcome.kind = "opened, losses told" if ear.said else "opened, losses NOT told"
    else:
        outcome.kind = "opened, all sent" + (" and more" if sent.keys() - known.sent else "")
    return outcome


def _compare_swaths(known: Whole, store: Store, outcome: Outcome, ear: _Ear) -> None:
    """Whether swaths are as they were, or said to be damaged; unfinished ones may be refused."""
    there = {swath.id: swath for swath in store.swaths()}
    rebuilt = ear.heard("rebuilt from their products")
    for swath in known.swaths:
        now = there.get(swath.id)
        if now is None:
            if not ear.said:
                outcome.wrong.append("a swath is gone, unsaid")
        elif _about(now) != _about(swath) and not rebuilt:
            outcome.wrong.append("a swath's description has changed, unsaid")
    for swath in known.swaths:
        if swath.name not in known.states or rebuilt:
            continue
        try:
            state = _state(store, swath)
        except SwathKnownError:
            continue
        if state not in (known.states[swath.name], (0, 0, None)):
            outcome.wrong.append("an unfinished swath goes on elsewhere")


def _about(swath: StoredSwath) -> tuple[object, ...]:
    return swath.name, swath.samples, swath.classes, swath.bundle, swath.info, swath.summary


def changes(
    known: Whole, mission: Mission, folder: Path, count: int, seed: int, told: Callable[[str], None]
) -> Counter[str]:
    """Outcomes of `count` random changes, by kind; every wrong one is told with its place."""
    kinds: Counter[str] = Counter()
    for number in range(count):
        rng = random.Random(f"{seed}/{number}")
        at = rng.randrange(len(known.file))
        value = known.file[at] ^ rng.randrange(1, 256)
        outcome = change(known, at, value, mission, folder)
        kinds[outcome.kind] += 1
        kinds["products missing"] += len(outcome.missing)
        for wrong in sorted(set(outcome.wrong)):
            kinds[f"WRONG: {wrong}"] += 1
            told(f"change {number}: octet {at} = {value}: {wrong} ({outcome.kind})")
        if "NOT" in outcome.kind:
            told(f"change {number}: octet {at} = {value}: {outcome.kind}")
    return kinds


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.rot", description=__doc__)
    parser.add_argument("store", type=Path)
    parser.add_argument("mission", type=Path)
    parser.add_argument("--changes", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    mission = load_mission(args.mission)
    with ExitStack() as stack:
        scratch = tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").exists() else None)
        folder = Path(stack.enter_context(scratch))
        known = whole((args.store / "store.db").read_bytes(), mission, folder)
        print(f"{len(known.file):,} octets, {len(known.products)} products with data", flush=True)
        kinds = changes(
            known, mission, folder, args.changes, args.seed, lambda t: print(t, flush=True)
        )
    for kind, count in sorted(kinds.items()):
        print(f"{count:7,} {kind}")
    return 1 if any(kind.startswith("WRONG") or "NOT" in kind for kind in kinds) else 0


if __name__ == "__main__":
    sys.exit(main())
