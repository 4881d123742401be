"""The simulated store and link against the real ones: the same products in the same containers."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from winnow_edge.bundle import Golden, InputSpec, Verifier, write_bundle
from winnow_edge.downlink.acknowledgements import AckReport, acknowledge
from winnow_edge.downlink.contact import downlink
from winnow_edge.loop.flight import Flight
from winnow_edge.mission import Mission, load_mission
from winnow_edge.products.kinds import Kind
from winnow_edge.store.events import events
from winnow_edge.store.store import Store
from winnow_edge.testing.probe import SIDE, painted_swath, probe_manifest, write_probe
from winnow_ground.contacts import Contact
from winnow_ground.receive import acknowledgements, receive
from winnow_ground.received import Received
from winnow_ground.simulation.decide import Made, decide
from winnow_ground.simulation.fly import Flyer
from winnow_ground.simulation.observation import Observation
from winnow_ground.simulation.onboard import OnBoard
from winnow_ground.simulation.play import play
from winnow_ground.simulation.run import simulate

from .worlds import STRIPS, draw_strips

MISSION = f'name = "twin"\n{STRIPS}loss = 0.03\n'
CONTACTS = tuple(
    Contact(3600.0 * n, 3600.0 * n + 20, 1, 2, 1500.0, light_seconds=light)
    for n, light in enumerate((1.0, 1.0, 2500.0, 1.0, 1.0, 1.0), start=1)
)


@pytest.fixture
def mission(tmp_path: Path) -> Mission:
    """Two strips whose brightness the fake runtime takes for classes."""
    draw_strips(tmp_path)
    (tmp_path / "mission.toml").write_text(MISSION)
    return load_mission(tmp_path / "mission.toml")


def flown(mission: Mission, folder: Path) -> Store:
    """The store after a real flight over both strips."""
    with Flight(mission, folder / "store") as flight:
        for name in ("a.png", "b.png"):
            flight.run(mission.path.with_name(name))
    return Store.open(folder / "store", mission=mission, create=False)


def seen(mission: Mission, store: Store) -> list[Observation]:
    """Both strips as the simulator takes them. The words of a swath product have the store's
    length, which scores only estimate."""
    sizes = {p.swath: p.bytes for p in store.products(kinds=(Kind.SWATH,))}
    with Flyer(mission) as flyer:
        scores = [flyer.scores(mission.path.with_name(n), n, None) for n in ("a.png", "b.png")]
    return [
        Observation(s.name, float(n), 0.0, replace(s, about=(sizes[n + 1], sizes[n + 1])))
        for n, s in enumerate(scores)
    ]


def test_what_is_decided_is_what_the_flight_loop_stores(mission: Mission, tmp_path: Path) -> None:
    with flown(mission, tmp_path) as store:
        for number, observation in enumerate(seen(mission, store), start=1):
            same_products(decide(observation.scores, mission), store, number)


def same_products(made: Made, store: Store, number: int) -> Counter[Kind]:
    """What is decided of a swath is what the store has of it; how many of each kind."""
    real = [p for p in store.products(swath_id=number) if p.kind is not Kind.SWATH]
    mine = made.columns.copy()
    for _, place in made.marks:
        mine["detection"][place] = False
    for _, place, class_index, posterior in made.passed:
        mine["class_index"][place], mine["posterior"][place] = class_index, posterior
    names = ("kind", "tile", "class_index", "detection", "bytes")
    rows = list(zip(*(mine[name].tolist() for name in names), strict=True))
    assert rows == [(p.kind, p.tile_index, p.class_index, p.detection, p.bytes) for p in real]
    assert mine["posterior"] == pytest.approx([p.posterior for p in real], abs=1e-6)
    return Counter(p.kind for p in real)


@pytest.mark.parametrize(
    "more", ["", "[context]\ntimes = 3\nbytes = 900\n", "[compute]\nverifier = false\n"]
)
def test_a_second_stage_and_contexts_are_played_as_they_fly(tmp_path: Path, more: str) -> None:
    first, second = (
        probe_manifest(),
        probe_manifest(
            name="second",
            input=InputSpec(2 * SIDE, SIDE, 1, 1.0, -128),
            thresholds={"dark": 0.97, "middle": 0.6, "bright": 0.97},
        ),
    )
    none = Golden(np.zeros((0, SIDE, SIDE, 1), np.int8), {})
    both = Golden(np.zeros((0, 2 * SIDE, SIDE, 1), np.int8), {})
    verifier = Verifier(second, b"none", both)
    path = tmp_path / "probe.winnow"
    write_bundle(path, first, model=b"none", golden=none, card="", verifier=verifier)
    plan = '[simulation]\nswaths = ["a.png"]\nplan = "p.csv"\n'
    text = f'name = "m"\n[instrument.camera]\nbundle = "probe.winnow"\n{plan}{more}'
    runtime = 'runtime = "fake"\n'
    text = text + runtime if "[compute]" in more else f"{text}[compute]\n{runtime}"
    (tmp_path / "m.toml").write_text(text)
    (tmp_path / "p.csv").write_text("start,end,bits_per_s\n60,70,64000\n")
    pixels = painted_swath(500, 400, seed=4, squares=90, side=24, grain=30)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    mission = load_mission(tmp_path / "m.toml")
    with Flight(mission, tmp_path / "store") as flight, Flyer(mission, tmp_path) as flyer:
        told = flight.run(tmp_path / "a.png")
        scores = flyer.scores(tmp_path / "a.png", "a.png", None)
        made = decide(scores, mission)
        kinds = same_products(made, flight.store, 1)
        # What is kept says the same.
        again = decide(flyer.scores(tmp_path / "a.png", "a.png", None), mission)
        assert again.columns.tobytes() == made.columns.tobytes()
    assert kinds[Kind.CONTEXT] == (kinds[Kind.IMAGE] if "context" in more else 0)
    assert int(made.verified.sum()) == (told.verified.verified if told.verified else 0)
    assert (told.verified is None) == ("verifier" in more)
    if told.verified is not None:
        assert told.verified.refused > 5 and told.verified.relabelled > 0
        slow = replace(mission.simulation.board, ms_per_tile=0.0, verifier_ms=100.0)
        timed = replace(mission, simulation=replace(mission.simulation, board=slow))
        (run,) = play(timed).flown
        assert run.figures["busy_s"] == pytest.approx(0.1 * told.verified.verified, abs=1e-3)


def test_a_full_store_compacts_and_evicts_what_the_real_one_does(tmp_path: Path) -> None:
    tables = "[store]\nquota_mb = 1.0\n[tiling]\nmerge = 1.0\nhop = 48\n[class.bright]\nutility = 5"
    mission, names = (
        load_mission(write_probe(tmp_path, tables, side=64)),
        [f"{name}.png" for name in "abcde"],
    )
    for seed, name in enumerate(names):
        pixels = painted_swath(3000, 1000, seed=seed, squares=60, side=90, grain=60)
        Image.fromarray(pixels).save(tmp_path / name)
    with Flight(mission, tmp_path / "store") as flight:
        for name in names:
            flight.run(tmp_path / name)
        real = Counter(p.kind for p in flight.store.products())
        happened = events(flight.store)
    board = OnBoard(mission)
    with Flyer(mission) as flyer:
        for n, name in enumerate(names):
            made = decide(flyer.scores(tmp_path / name, name, None), mission)
            swath = board.begin(made, n, 0, 0.0)
            for row in range(len(made.due)):
                board.commit(swath, (row, row + 1), 0.0)
            board.complete(swath, 0.0)
    mine = Counter(map(Kind, board.columns["kind"][board.there].tolist()))
    compacted = happened["compacted"]["record"]
    assert compacted > 1000 and happened["evicted"]["image bright"] > 0
    assert np.count_nonzero(board.compacted) == pytest.approx(compacted, rel=0.03)
    # What is left out of a block for the log's sake depends on where rows happen to lie.
    for kind in (Kind.RECORD, Kind.THUMBNAIL, Kind.IMAGE, Kind.QUICK_LOOK, Kind.BACKGROUND):
        assert mine[kind] == pytest.approx(real[kind], rel=0.12, abs=5), kind


@pytest.mark.parametrize("policy", ["fifo", "confidence", "utility-per-byte", "diversity"])
def test_contacts_carry_the_very_products_that_the_real_downlink_sends(
    mission: Mission, tmp_path: Path, policy: str
) -> None:
    with flown(mission, tmp_path) as store:
        observations = seen(mission, store)
        real = _hold(mission, store, tmp_path, policy)
    run = simulate(mission, observations, CONTACTS, policy=policy, seed=5)
    mine = [
        (h.sent_bytes, h.packets, h.containers, h.lost_packets, h.whole_containers,
         h.acknowledged, h.returned, h.bytes, h.products)
        for h in run.contacts
    ]  # fmt: skip
    assert mine == real
    assert sum(h.lost_packets for h in run.contacts) > 0
    assert sum(h.returned for h in run.contacts) > 0


def _hold(mission: Mission, store: Store, folder: Path, policy: str) -> list[tuple[object, ...]]:
    """Every contact by the code that flies, with files of packets, some of which get lost."""
    received = Received(folder / "received")
    mail: list[tuple[float, AckReport]] = []
    result: list[tuple[object, ...]] = []
    for number, contact in enumerate(CONTACTS, start=1):
        heard = [report for when, report in mail if when <= contact.start]
        mail = [entry for entry in mail if entry[0] > contact.start]
        news = [acknowledge(store, report) for report in heard]
        out, before = folder / f"{number}.packets", received
        budget = contact.budget_bytes
        sent = downlink(store, mission, budget_bytes=budget, out=out, policy=policy)
        rng = np.random.default_rng([5, number])
        rng.random()  # whether the contact comes about
        kept, data, at = [], out.read_bytes(), 0
        while at < len(data):
            end = at + 7 + int.from_bytes(data[at + 4 : at + 6], "big")
            kept += [data[at:end]] if rng.random() >= mission.link.loss else []
            at = end
        arrived = out.with_suffix(".arrived")
        arrived.write_bytes(b"".join(kept))
        received = receive([arrived], folder / "received", quiet=True)
        there = contact.end + 2 * contact.light_seconds
        mail += [(there, report) for report in acknowledgements(received)]
        kinds, known = received.kinds(), before.kinds()
        result.append(
            (sent.bytes, sent.packets, sent.containers, sent.packets - len(kept),
             len(received.containers) - len(before.containers),
             sum(n.acknowledged for n in news),
             sent.returned + sum(n.returned for n in news),
             received.bytes - before.bytes, {kind: kinds[kind] - known[kind] for kind in kinds})
        )  # fmt: skip
    return result
