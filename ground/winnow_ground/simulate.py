"""Plays a mission before it flies: swaths, a contact plan, fifo against the mission's policy.

Nothing is modelled that can be run: swaths go through the flight loop into a store, every policy
gets a copy of it and holds each contact of the plan with the very code that flies; packets get lost
at the mission's rate; what is left is received, and the ground's acknowledgement reaches the
spacecraft a round of light time after the contact, if a later contact is there to hear it.
"""

from __future__ import annotations

import glob
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from winnow_base.errors import DataError, PlanError
from winnow_base.files import make_folder
from winnow_base.progress import Step
from winnow_edge.downlink.acknowledgements import AckReport, acknowledge
from winnow_edge.downlink.contact import downlink
from winnow_edge.errors import OutputError, StoreError
from winnow_edge.loop.flight import Flight
from winnow_edge.mission import Mission
from winnow_edge.store.store import Store
from winnow_ground.contacts import Contact, ContactPlan, Downlinks, load_plan
from winnow_ground.findings import SwathKey, value_received
from winnow_ground.receive import acknowledgements, receive
from winnow_ground.received import Received
from winnow_ground.truth import Feature, Truth, load_truth, truth_beside, worth_of_all


@dataclass(frozen=True, slots=True)
class ContactOutcome:
    """One contact under one policy.

    `budget_bytes`, `sent_bytes` count octets on the link, headers included; `products` what was new
    on the ground by kind, `bytes` their bytes; `acknowledged` and `returned` count products that
    the spacecraft learned about before this contact; `value` and `features` are totals so far.
    """

    number: int
    start: float
    seconds: float
    station: int
    budget_bytes: int
    sent_bytes: int
    packets: int
    lost_packets: int
    containers: int
    whole_containers: int
    products: dict[str, int]
    bytes: int
    acknowledged: int
    returned: int
    value: float
    features: int | None


@dataclass(frozen=True)
class PolicyRun:
    """A policy over the whole plan; `received` is what the ground has in the end."""

    policy: str
    contacts: tuple[ContactOutcome, ...]
    received: Received

    @property
    def value(self) -> float:
        """Value of all that came down."""
        return self.contacts[-1].value if self.contacts else 0.0


@dataclass(frozen=True)
class Simulation:
    """A whole simulation; `truth` is what is really there, by swath name (None: not known)."""

    mission: Mission
    plan: ContactPlan
    downlinks: Downlinks
    swaths: tuple[dict[str, Any], ...]
    runs: tuple[PolicyRun, ...]
    loss: float
    seed: int
    truth: dict[str, Truth] | None
    store: Path

    @property
    def features(self) -> int | None:
        """How many features there really are; None without truth."""
        return None if self.truth is None else sum(map(len, self.truth.values()))

    @property
    def worth(self) -> float | None:
        """The value of all that is there; None without truth."""
        if self.truth is None:
            return None
        return worth_of_all((f for some in self.truth.values() for f in some), self.mission)

    def truth_by_id(self, store: Store) -> dict[int, Truth] | None:
        """Truth by swath id of a store."""
        truth = self.truth
        if truth is None:
            return None
        return {row.id: truth[row.name] for row in store.swaths() if row.name in truth}

    def as_json(self) -> dict[str, Any]:
        """Everything that was found, as JSON values."""
        return {
            "mission": self.mission.name,
            "plan": str(self.plan.path),
            "node": self.downlinks.node,
            "epoch": self.plan.epoch.isoformat() if self.plan.epoch else None,
            "notes": list(self.downlinks.notes),
            "loss": self.loss,
            "seed": self.seed,
            "value": "true" if self.features is not None else "expected",
            "features": self.features,
            "value_there": self.worth,
            "swaths": list(self.swaths),
            "policies": {
                run.policy: {
                    "value": run.value,
                    "bytes": run.received.bytes,
                    "products": run.received.kinds(),
                    "contacts": [asdict(c) for c in run.contacts],
                }
                for run in self.runs
            },
        }


@dataclass
class Options:
    """What the command line says instead of the mission file; None and () leave it as it is."""

    swaths: Sequence[str] = ()
    plan: str | Path | None = None
    node: int | None = None
    contacts: int | None = None
    loss: float | None = None
    seed: int | None = None
    out: Path | None = None
    progress: Step = field(default=lambda what, done, total: None)


@contextmanager
def simulate(mission: Mission, options: Options | None = None) -> Iterator[Simulation]:
    """Play the mission's [simulation]; its files stay as long as the block, or for good in `out`.

    Raises PlanError for the contact plan, DataError for the swaths, and what the flight loop
    raises.
    """
    options = options or Options()
    # All input is looked at before anything long begins.
    plan = load_plan(_plan_path(mission, options))
    node = options.node if options.node is not None else mission.simulation.node
    links = plan.downlinks(node)
    paths = swath_paths(mission, options.swaths)
    truths = {path: load_truth(t) for path in paths if (t := truth_path(path)) is not None}
    if options.out is not None:
        folder = make_folder(options.out)
        yield _Player(mission, options, plan, links, folder).play(paths, truths)
        return
    with tempfile.TemporaryDirectory(prefix="winnow-simulate-") as temporary:
        yield _Player(mission, options, plan, links, Path(temporary)).play(paths, truths)


def _plan_path(mission: Mission, options: Options) -> Path:
    if options.plan is not None:
        return Path(options.plan)
    if mission.simulation.plan is None:
        raise PlanError(
            "names no contact plan",
            where=mission.path,
            hint='add plan = "FILE" under [simulation], or give --plan FILE',
        )
    return mission.path.parent / mission.simulation.plan


def swath_paths(mission: Mission, given: Sequence[str] = ()) -> list[Path]:
    """The swaths of `given` (from here) or of [simulation] (from the mission file), each once.

    Raises DataError for a name or pattern that matches no file.
    """
    base = Path() if given else mission.path.parent
    patterns = given or mission.simulation.swaths
    if not patterns:
        raise DataError(
            "names no swath",
            where=mission.path,
            hint='add swaths = ["*.png"] under [simulation], or give --swath FILE',
        )
    paths: dict[Path, None] = {}
    for pattern in patterns:
        found = sorted(glob.glob(str(base / pattern), recursive=True))  # noqa: PTH207 absolute too
        files = [Path(f) for f in found if Path(f).is_file()]
        if not files:
            raise DataError(
                f"no swath matches {pattern!r}",
                where=mission.path if not given else base.resolve(),
                hint="check the path; it is taken from the mission file's folder"
                if not given
                else "check the path",
            )
        paths.update(dict.fromkeys(files))
    return list(paths)


def truth_path(swath: Path) -> Path | None:
    """The truth file of a swath, NAME.truth.json beside NAME.png, if there is one."""
    path = truth_beside(swath)
    return path if path.is_file() else None


class _Player:
    """Flies the swaths, then holds all contacts under each policy."""

    def __init__(
        self,
        mission: Mission,
        options: Options,
        plan: ContactPlan,
        links: Downlinks,
        folder: Path,
    ) -> None:
        self.mission, self.plan, self.links, self.folder = mission, plan, links, folder
        self.progress = options.progress
        settings = mission.simulation
        most = settings.contacts if options.contacts is None else options.contacts
        self.contacts = links.contacts[: most or None]
        self.loss = mission.link.loss if options.loss is None else options.loss
        self.seed = settings.seed if options.seed is None else options.seed
        self.truth: dict[str, Truth] | None = None

    def play(self, paths: Sequence[Path], truths: dict[Path, Truth]) -> Simulation:
        names = _names(paths)
        # Value is counted against truth only where all of it is known.
        if len(truths) == len(paths):
            self.truth = {names[path]: features for path, features in truths.items()}
        flown = self._fly(paths, names)
        policies = dict.fromkeys(("fifo", self.mission.ranking.policy))
        runs = tuple(self._hold(policy) for policy in policies)
        return Simulation(
            mission=self.mission,
            plan=self.plan,
            downlinks=self.links,
            swaths=tuple(flown),
            runs=runs,
            loss=self.loss,
            seed=self.seed,
            truth=self.truth,
            store=self.folder / "store",
        )

    def _fly(self, paths: Sequence[Path], names: dict[Path, str]) -> list[dict[str, Any]]:
        """All swaths through the flight loop; those that an earlier simulation ran are kept."""
        summaries = []
        try:
            with Flight(self.mission, self.folder / "store") as flight:
                for n, path in enumerate(paths):
                    name = names[path]
                    self.progress("flying", n, len(paths))
                    summaries.append(flight.run(path, name=name).as_json())
        except StoreError as error:
            raise StoreError(
                f"{error.what}",
                where=self.folder / "store",
                hint="an earlier simulation with other settings lies there; name another --out",
            ) from error
        return summaries

    def _hold(self, policy: str) -> PolicyRun:
        """All contacts under one policy, from a copy of the store."""
        folder = self.folder / policy
        try:
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(self.folder / "store", folder / "store")
        except OSError as error:
            raise OutputError(error.strerror or "cannot be copied", where=folder) from error
        received = Received(folder / "received")
        mail: list[tuple[float, AckReport]] = []
        outcomes: list[ContactOutcome] = []
        with Store.open(folder / "store", mission=self.mission, create=False) as store:
            for n, contact in enumerate(self.contacts, start=1):
                self.progress(f"contacts by {policy}", n, len(self.contacts))
                heard = [report for when, report in mail if when <= contact.start]
                mail = [(when, report) for when, report in mail if when > contact.start]
                news = [acknowledge(store, report) for report in heard]
                before = received
                out = folder / f"contact-{n:03d}.packets"
                sent = downlink(
                    store,
                    self.mission,
                    budget_bytes=contact.budget_bytes,
                    out=out,
                    policy=policy,
                )
                left = self._through_the_link(out, n, contact)
                if left.exists():
                    received = receive([left], folder / "received")
                    mail += [(self._heard_at(contact), r) for r in acknowledgements(received)]
                value, features = self._value(received, store)
                kinds, known = received.kinds(), before.kinds()
                outcomes.append(
                    ContactOutcome(
                        number=n,
                        start=contact.start,
                        seconds=contact.seconds,
                        station=contact.receiver,
                        budget_bytes=contact.budget_bytes,
                        sent_bytes=sent.bytes,
                        packets=sent.packets,
                        lost_packets=sent.packets - (received.link.packets - before.link.packets),
                        containers=sent.containers,
                        whole_containers=len(received.containers) - len(before.containers),
                        products={kind: kinds[kind] - known[kind] for kind in kinds},
                        bytes=received.bytes - before.bytes,
                        acknowledged=sum(a.acknowledged for a in news),
                        returned=sent.returned + sum(a.returned for a in news),
                        value=value,
                        features=features,
                    )
                )
        return PolicyRun(policy, tuple(outcomes), received)

    def _heard_at(self, contact: Contact) -> float:
        """When the spacecraft has the acknowledgement of what a contact brought."""
        there = self.plan.light_time(contact.sender, contact.receiver, contact.end)
        back = self.plan.light_time(contact.receiver, contact.sender, contact.end)
        return contact.end + there + back

    def _through_the_link(self, packets: Path, number: int, contact: Contact) -> Path:
        """Lose packets at random; the same places in the stream under every policy.

        A contact of confidence under 1 may not come about at all: then everything is lost.
        """
        rng = np.random.default_rng([self.seed, number])
        whole = rng.random() < contact.confidence
        arrived = packets.with_suffix(".received.packets")
        data = memoryview(packets.read_bytes())
        kept = [packet for packet in split_packets(data) if rng.random() >= self.loss and whole]
        if kept:
            arrived.write_bytes(b"".join(kept))
        return arrived

    def _value(self, received: Received, store: Store) -> tuple[float, int | None]:
        if self.truth is None:
            return value_received(received, self.mission, None, store)[0], None
        by_key: dict[SwathKey, Sequence[Feature]] = {
            (store.store_id, row.id): self.truth[row.name]
            for row in store.swaths()
            if row.name in self.truth
        }
        return value_received(received, self.mission, by_key, store)


def split_packets(data: memoryview) -> Iterator[memoryview]:
    """The space packets in an undamaged stream, by the length field of CCSDS 133.0-B-2."""
    at = 0
    while at < len(data):
        end = at + 7 + int.from_bytes(data[at + 4 : at + 6], "big")
        yield data[at:end]
        at = end


def _names(paths: Sequence[Path]) -> dict[Path, str]:
    """A name for each swath: its file's, or with folders where two files share it."""
    names = {path: path.name for path in paths}
    for path in paths:
        if sum(p.name == path.name for p in paths) > 1:
            names[path] = "-".join(path.parts[-2:])
    return names
