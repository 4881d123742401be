"""Contacts: budgets kept, nothing lost, nothing acknowledged sent again."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from winnow_edge.downlink.acknowledgements import (
    AckReport,
    AckSummary,
    ContactAck,
    acknowledge,
    load_ack,
)
from winnow_edge.downlink.contact import downlink
from winnow_edge.downlink.container import Container, container_length
from winnow_edge.downlink.packets import link_bytes
from winnow_edge.downlink.reader import LinkCounts, read_containers
from winnow_edge.errors import OutputError, PacketError, StoreError
from winnow_edge.mission import POLICIES, Link, Mission
from winnow_edge.products.kinds import Kind
from winnow_edge.products.ranking import order_by
from winnow_edge.products.table import ProductTable
from winnow_edge.store.events import counts
from winnow_edge.store.schema import ProductState
from winnow_edge.store.store import Store
from winnow_edge.testing import (
    begin,
    fill,
    finish,
    landmark_mission,
    product_of_size,
    products_of_tiles,
)


@dataclass
class Ground:
    """The other end: what arrived, by product number, and how often."""

    products: dict[int, bytes] = field(default_factory=dict)
    times: dict[int, int] = field(default_factory=dict)
    contacts: dict[int, ContactAck] = field(default_factory=dict)
    store_id: int = 0

    def receive(self, stream: bytes) -> list[Container]:
        containers = list(read_containers(io.BytesIO(stream), LinkCounts()))
        for container in containers:
            self.store_id = container.store_id
            known = self.contacts.get(container.contact, ContactAck())
            self.contacts[container.contact] = ContactAck((*known.received, container.id))
            for item in container.items:
                assert self.products.setdefault(item.id, item.data) == item.data
                self.times[item.id] = self.times.get(item.id, 0) + 1
        return containers

    def report(self) -> AckReport:
        return AckReport(self.store_id, dict(self.contacts))


def hold(store: Store, mission: Mission, budget: int, **more: Any) -> tuple[bytes, Any]:
    out = io.BytesIO()
    summary = downlink(store, mission, budget_bytes=budget, out=out, **more)
    return out.getvalue(), summary


@pytest.fixture(scope="module")
def stocked(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """Copies of a store with two swaths of products of many sizes."""
    folder, mission = tmp_path_factory.mktemp("stocked"), landmark_mission()
    rng = np.random.default_rng(3)
    with Store.open(folder / "0", mission=mission) as store:
        for name in ("a", "b"):
            writer = begin(store, name)
            products = products_of_tiles(0, 60, mission, writer.swath_id)
            products = [p for p in products if p.kind is Kind.RECORD]
            products += [
                product_of_size(
                    kind,
                    tile,
                    int(rng.integers(30, 3000)),
                    float(rng.random()),
                    swath=writer.swath_id,
                    class_index=1 + tile % 2,
                )
                for tile in range(16)
                for kind in (Kind.THUMBNAIL, Kind.IMAGE)
            ]
            writer.commit(products=products, next_tile=60, next_line=1, pending=b"")
            finish(writer, {"tiles": 60})
    count = 0

    def copy() -> Path:
        nonlocal count
        count += 1
        return Path(shutil.copytree(folder / "0", folder / str(count)))

    return copy


links = st.builds(
    Link,
    packet_bytes=st.integers(64, 2000),
    container_bytes=st.integers(256, 8000),
    ack_wait=st.integers(0, 3),
)


@settings(max_examples=40)
@given(links, st.integers(0, 60_000), st.sampled_from(POLICIES))
def test_the_budget_is_never_exceeded(
    stocked: Callable[[], Path], link: Link, budget: int, policy: str
) -> None:
    mission = replace(landmark_mission(), link=link)
    with Store.open(stocked(), mission=mission) as store:
        stream, summary = hold(store, mission, budget, policy=policy)
        assert len(stream) == summary.bytes <= budget
        counts = LinkCounts()
        containers = list(read_containers(io.BytesIO(stream), counts))
        assert (len(containers), counts.packets) == (summary.containers, summary.packets)
        assert counts == LinkCounts(packets=counts.packets, containers=len(containers))
        known: set[int] = set()
        for container in containers:
            length = container_length([len(item.data) for item in container.items])
            assert length <= link.container_bytes or len(container.items) == 1
            for item in container.items:
                row = next(
                    r for r in store.products(states=(ProductState.SENT,)) if r.id == item.id
                )
                assert item.data == store.data(item.id)
                # What tells about a swath goes before the first product of it.
                assert item.kind is Kind.SWATH or row.swath in known
                if item.kind is Kind.SWATH:
                    known.add(row.swath)
        ids = [item.id for container in containers for item in container.items]
        assert len(ids) == len(set(ids))
        assert sum(summary.products.values()) == len(ids)
        # Nothing that is left would still have fitted, in a container of its own.
        left = store.table()
        assert summary.left == {
            "products": len(left),
            "bytes": int(left.columns["bytes"].sum()),
        }
        for row in left.columns:
            if row["kind"] != Kind.SWATH and row["swath"] in known:
                alone = container_length([int(row["bytes"])])
                assert link_bytes(alone, link.packet_bytes) > budget - summary.bytes


@settings(max_examples=10)
@given(data=st.data())
def test_contacts_cut_anywhere_lose_nothing(
    stocked: Callable[[], Path], data: st.DataObject
) -> None:
    """Cut each stream at a random octet, acknowledge what came, go on until nothing is left."""
    link = Link(
        packet_bytes=data.draw(st.sampled_from([64, 300, 1024])),
        container_bytes=data.draw(st.sampled_from([256, 1500, 5000])),
        ack_wait=data.draw(st.integers(0, 2)),
    )
    mission = replace(landmark_mission(), link=link)
    ground = Ground()
    with Store.open(stocked(), mission=mission) as store:
        everything = {row.id: store.data(row.id) for row in store.products()}
        acknowledged: set[int] = set()
        for contact in range(1, 60):
            stream, summary = hold(store, mission, data.draw(st.integers(5_000, 60_000)))
            assert summary.contact == contact
            # The last contacts are whole, or chance might never let the end through.
            cut = data.draw(st.integers(0, len(stream))) if contact < 12 else len(stream)
            for container in ground.receive(stream[:cut]):
                assert not {item.id for item in container.items} & acknowledged
            if ground.contacts and (contact >= 12 or data.draw(st.booleans())):
                acknowledge(store, ground.report())
                acknowledged = {
                    row.id for row in store.products(states=(ProductState.ACKNOWLEDGED,))
                }
                assert acknowledged == set(ground.products)
            if set(ground.products) == set(everything):
                break
        assert ground.products == everything
        acknowledge(store, ground.report())
        stream, summary = hold(store, mission, 1_000_000)
        assert (stream, summary.containers, summary.left["products"]) == (b"", 0, 0)


@settings(max_examples=10)
@given(data=st.data())
def test_heard_at_once_every_product_comes_once(
    stocked: Callable[[], Path], data: st.DataObject
) -> None:
    """Where each contact is acknowledged, with what is missing, nothing is sent for nothing."""
    mission = replace(landmark_mission(), link=Link(packet_bytes=200, container_bytes=2000))
    ground = Ground()
    with Store.open(stocked(), mission=mission) as store:
        everything = {row.id for row in store.products()}
        for contact in range(1, 100):
            stream, _ = hold(store, mission, 40_000)
            cut = data.draw(st.integers(0, len(stream))) if contact < 8 else len(stream)
            sent = list(read_containers(io.BytesIO(stream), LinkCounts()))
            received = ground.receive(stream[:cut])
            lost = tuple(c.id for c in sent[len(received) :])
            ack = ContactAck(tuple(c.id for c in received), lost)
            if sent:
                acknowledge(store, AckReport(store.store_id, {contact: ack}))
            if set(ground.products) == everything:
                break
        assert set(ground.products) == everything
        assert set(ground.times.values()) == {1}


def test_what_is_not_heard_of_returns_after_ack_wait_contacts(stocked: Callable[[], Path]) -> None:
    for wait in (0, 1, 3):
        mission = replace(landmark_mission(), link=Link(ack_wait=wait))
        with Store.open(stocked(), mission=mission) as store:
            first, summary = hold(store, mission, 10_000)
            ids = {i.id for c in Ground().receive(first) for i in c.items if i.kind != Kind.SWATH}
            assert len(ids) > 10
            for _ in range(wait):
                stream, summary = hold(store, mission, 2_000)
                again = {i.id for c in Ground().receive(stream) for i in c.items}
                assert summary.returned == 0
                assert not again & ids
            stream, summary = hold(store, mission, 1_000_000)
            again = {i.id for c in Ground().receive(stream) for i in c.items}
            assert summary.returned == len(ids) + 2  # and what tells about the two swaths
            assert again >= ids


def test_a_link_that_never_acknowledges_carries_everything(stocked: Callable[[], Path]) -> None:
    mission = replace(landmark_mission(), link=Link(ack_wait=0))
    ground = Ground()
    with Store.open(stocked(), mission=mission) as store:
        everything = {row.id: store.data(row.id) for row in store.products()}
        for _ in range(40):
            ground.receive(hold(store, mission, 50_000)[0])
        assert ground.products == everything
        # The best came more often than the background.
        assert max(ground.times.values()) > 3


def test_what_is_missing_returns_at_once(stocked: Callable[[], Path]) -> None:
    mission = replace(landmark_mission(), link=Link(ack_wait=9, container_bytes=1000))
    with Store.open(stocked(), mission=mission) as store:
        stream, _ = hold(store, mission, 8_000)
        arrived, lost = Ground().receive(stream)[1:3]
        ack = AckReport(store.store_id, {1: ContactAck((arrived.id,), (lost.id,))})
        assert acknowledge(store, ack) == AckSummary(len(arrived.items), len(lost.items), 0)
        assert acknowledge(store, ack) == AckSummary()  # given twice, it changes nothing
        states = {row.id: row.state for row in store.products()}
        assert {states[i.id] for i in arrived.items} == {ProductState.ACKNOWLEDGED}
        assert {states[i.id] for i in lost.items} == {ProductState.STORED}
        again = {i.id for c in Ground().receive(hold(store, mission, 10**6)[0]) for i in c.items}
        assert {i.id for i in lost.items} <= again
        assert not again & {i.id for i in arrived.items}


def test_a_late_word_is_still_heard(stocked: Callable[[], Path]) -> None:
    """Given up, sent again, and only then acknowledged: it is not sent a third time."""
    mission = replace(landmark_mission(), link=Link(ack_wait=0))
    with Store.open(stocked(), mission=mission) as store:
        one, _ = hold(store, mission, 5_000)
        _, summary = hold(store, mission, 5_000)
        assert summary.returned > 0
        late = Ground()
        late.receive(one)
        acknowledge(store, late.report())
        three, _ = hold(store, mission, 10**6)
        assert not {i.id for c in Ground().receive(three) for i in c.items} & set(late.products)


def test_an_acknowledged_swath_is_not_announced_again(stocked: Callable[[], Path]) -> None:
    mission = landmark_mission()
    with Store.open(stocked(), mission=mission) as store:
        ground = Ground()
        stream, first = hold(store, mission, 6_000)
        ground.receive(stream)
        _, second = hold(store, mission, 6_000)
        assert first.products["swath"] == second.products["swath"] == 2
        acknowledge(store, ground.report())
        _, third = hold(store, mission, 6_000)
        assert third.products["swath"] == 0


def test_packets_count_on_across_contacts(stocked: Callable[[], Path]) -> None:
    mission = landmark_mission()
    with Store.open(stocked(), mission=mission) as store:
        streams = [hold(store, mission, 9_000)[0] for _ in range(3)]
    counts = LinkCounts()
    containers = list(read_containers(io.BytesIO(b"".join(streams)), counts))
    assert (counts.gaps, counts.missing, counts.broken) == (0, 0, 0)
    assert [c.id for c in containers] == list(range(1, len(containers) + 1))
    assert {c.contact for c in containers} == {1, 2, 3}


def test_an_order_may_be_passed_in(stocked: Callable[[], Path]) -> None:
    def largest_first(table: ProductTable) -> np.ndarray[Any, Any]:
        return order_by(table, table.columns["bytes"].astype(float))

    mission = landmark_mission()
    with Store.open(stocked(), mission=mission) as store:
        largest = max(row.bytes for row in store.products())
        stream, summary = hold(store, mission, 6_000, policy=largest_first)
        sizes = [len(i.data) for c in Ground().receive(stream) for i in c.items if i.kind]
        assert sizes[0] == largest
        assert summary.policy == "largest_first"


def test_a_value_is_counted_as_delivered(stocked: Callable[[], Path]) -> None:
    mission = landmark_mission()
    with Store.open(stocked(), mission=mission) as store:
        _, best = hold(store, mission, 20_000)
    with Store.open(stocked(), mission=mission) as store:
        _, plain = hold(store, mission, 20_000, policy="fifo")
    assert best.value > plain.value > 0
    assert set(best.classes) <= {"crater", "dark dune"}
    assert sum(best.classes.values()) <= sum(best.products.values())


def test_an_empty_store_and_an_empty_budget(tmp_path: Path) -> None:
    mission = landmark_mission()
    with Store.open(tmp_path, mission=mission) as store:
        for budget in (0, 1_000_000):
            stream, summary = hold(store, mission, budget)
            assert (stream, summary.bytes, summary.containers) == (b"", 0, 0)
        assert store.contacts() == 2


def test_a_product_larger_than_a_container_travels_alone(tmp_path: Path) -> None:
    mission = landmark_mission("[link]\ncontainer_bytes = 512\npacket_bytes = 128")
    fill(tmp_path, mission, [product_of_size(Kind.IMAGE, t, 5000, 0.9) for t in range(3)])
    with Store.open(tmp_path, mission=mission) as store:
        stream, summary = hold(store, mission, 12_000)
        containers = Ground().receive(stream)
        assert [[i.kind for i in c.items] for c in containers] == [
            [Kind.SWATH],
            [Kind.IMAGE],
            [Kind.IMAGE],
        ]
        assert summary.left["products"] == 1


def test_an_output_that_exists_is_never_overwritten(
    stocked: Callable[[], Path], tmp_path: Path
) -> None:
    out = tmp_path / "pass.bin"
    out.write_bytes(b"precious")
    mission = landmark_mission()
    with Store.open(stocked(), mission=mission) as store:
        with pytest.raises(OutputError, match="already"):
            downlink(store, mission, budget_bytes=10_000, out=out)
        assert store.contacts() == 0
        for place in (tmp_path, tmp_path / "no folder" / "pass.bin"):
            with pytest.raises(OutputError):
                downlink(store, mission, budget_bytes=10_000, out=place)
    assert out.read_bytes() == b"precious"
    assert [p.name for p in tmp_path.iterdir()] == ["pass.bin"]


def test_an_output_that_fails_leaves_everything_to_be_sent(stocked: Callable[[], Path]) -> None:
    full = Path("/dev/full")
    if not full.is_char_device():
        pytest.skip("no /dev/full here")
    mission = landmark_mission()
    with Store.open(stocked(), mission=mission) as store:
        before = counts(store)
        with pytest.raises(OutputError, match="space"):
            downlink(store, mission, budget_bytes=10_000, out=full)
        assert counts(store) == before
        stream, summary = hold(store, mission, 10_000)
        assert summary.containers > 0
        # The failed contact's numbers are not given again: were it to arrive, it would be known.
        assert {c.contact for c in Ground().receive(stream)} == {2}
        assert min(c.id for c in Ground().receive(stream)) > 1


def test_the_file_is_whole_when_it_appears(stocked: Callable[[], Path], tmp_path: Path) -> None:
    mission = landmark_mission()
    with Store.open(stocked(), mission=mission) as store:
        summary = downlink(store, mission, budget_bytes=10_000, out=tmp_path / "pass.bin")
    assert (tmp_path / "pass.bin").stat().st_size == summary.bytes
    assert [p.name for p in tmp_path.iterdir()] == ["pass.bin"]


def test_data_evicted_while_it_is_sent_is_sent(tmp_path: Path) -> None:
    """The flight loop goes on during a contact, and over its quota."""
    mission = landmark_mission("[store]\nquota_mb = 1")
    fill(tmp_path, mission, [product_of_size(Kind.IMAGE, t, 10_000, 0.5) for t in range(50)])

    class Meanwhile(io.BytesIO):
        ran = False

        def write(self, data: Any) -> int:
            if not self.ran:
                self.ran = True
                with Store.open(tmp_path, mission=mission) as other:
                    begin(other, "next").commit(
                        products=[
                            product_of_size(Kind.IMAGE, t, 9_000, 0.9, swath=2) for t in range(9)
                        ],
                        next_tile=9,
                        next_line=1,
                        pending=b"",
                    )
            return super().write(data)

    out = Meanwhile()
    with Store.open(tmp_path, mission=mission) as store:
        expected = {row.id: store.data(row.id) for row in store.products()}
        summary = downlink(store, mission, budget_bytes=2_000_000, out=out)
        assert summary.products["image"] == len(expected) - 1
        assert counts(store)["image"]["evicted"] > 0
    ground = Ground()
    ground.receive(out.getvalue())
    assert ground.products == expected


def test_an_ack_of_another_store_or_of_unknown_containers(stocked: Callable[[], Path]) -> None:
    mission = landmark_mission()
    with Store.open(stocked(), mission=mission) as store:
        hold(store, mission, 10_000)
        with pytest.raises(StoreError, match="about store"):
            acknowledge(store, AckReport(store.store_id ^ 1, {1: ContactAck((1,))}))
        # A number that exists, but in another contact, is another container.
        strange = AckReport(store.store_id, {2: ContactAck((1,)), 1: ContactAck((999,), (998,))})
        assert acknowledge(store, strange) == AckSummary(0, 0, 2)
        assert counts(store)["record"]["acknowledged"] == 0


def test_an_ack_file_comes_back(tmp_path: Path) -> None:
    report = AckReport(0xAB, {3: ContactAck((7, 8), (9,)), 12: ContactAck()}, "probe")
    path = tmp_path / "ack.json"
    path.write_text(report.to_json())
    assert load_ack(path) == report
    assert '"store": "000000ab"' in report.to_json()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "{}",
        '{"store": 7, "contacts": {}}',
        '{"store": "zz", "contacts": {}}',
        '{"store": "0", "contacts": []}',
        '{"store": "0", "contacts": {"x": {"received": [], "missing": []}}}',
        '{"store": "0", "contacts": {"1": {"received": [true], "missing": []}}}',
        '{"store": "0", "contacts": {"1": {"received": [-1], "missing": []}}}',
        '{"store": "0", "contacts": {"1": {"received": [1]}}}',
        '{"store": "0", "contacts": {"1": 5}}',
        '{"store": "0", "contacts": {"99999999999999999999": {"received": [], "missing": []}}}',
        '{"store": "0", "contacts": {}, "mission": 7}',
        '{"store": "0", "contacts": {}, "mission": "\\ud800"}',
        '{"store": "0x1", "contacts": {}}',
        '{"store": " 1", "contacts": {}}',
        '{"store": "123456789", "contacts": {}}',
        '{"store": "0", "contacts": {"\u00b2": {"received": [], "missing": []}}}',
        '{"store": "0", "contacts": {" 1": {"received": [], "missing": []}}}',
        '{"store": "0", "contacts": {"01": {"received": [], "missing": []}}}',
        '{"store": "0", "contacts": {"1": {"received": [4294967296], "missing": []}}}',
        '{"store": "0", "contacts": {"1": {"received": [1.0], "missing": []}}}',
        "[" * 100_000,
    ],
)
def test_what_is_no_report_is_refused(text: str) -> None:
    with pytest.raises(PacketError) as raised:
        AckReport.from_json(text, where="ack.json")
    assert "\n" not in str(raised.value)


def test_an_ack_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "absent", tmp_path, tmp_path / "binary"):
        with pytest.raises(PacketError):
            load_ack(path)
