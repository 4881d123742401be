"""Packet files in, records and pictures out; nothing that was received before is lost or doubled.

The edge's own packet reader and reassembler are used, so that both ends of the link share one
implementation of the formats.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

from winnow_base.errors import PacketError
from winnow_base.files import locked, make_folder
from winnow_edge.clock.cuc import Instant
from winnow_edge.clock.utc import as_text
from winnow_edge.downlink.acknowledgements import AckReport, ContactAck
from winnow_edge.downlink.container import Container, Item
from winnow_edge.downlink.packets import SEQUENCE_MODULO, Packet
from winnow_edge.downlink.reader import LinkCounts, Reassembler, read_packets
from winnow_edge.errors import PacketError as EdgePacketError
from winnow_edge.files import printable, sync_files, write_file
from winnow_edge.products.background import decode_background
from winnow_edge.products.encode import Head, decode_picture, decode_record, decode_swath
from winnow_edge.products.event import decode_events
from winnow_edge.products.kinds import NO_CLASS, Flag, Kind
from winnow_edge.products.quick_look import decode_quick_look
from winnow_edge.products.region import decode_region, png
from winnow_edge.tables import TEXT_MOST, shortened
from winnow_ground.packet_files import PacketFile
from winnow_ground.received import (
    MOST_EVENTS,
    MOST_PRODUCTS,
    MOST_STORES,
    MOST_SWATHS,
    MOST_TOLD,
    RECEIVED_FILE,
    Received,
    ReceivedContainer,
    ReceivedProduct,
    Reception,
    load_received,
)
from winnow_ground.regions import join_regions

ACK_FILE = "ack.json"
MOST_MISSING = 65_536
"""Containers that a report calls missing, over all contacts that they may belong to."""


Watch = Callable[[Callable[[], Received]], None]
"""Called after every container with a function that puts what came so far on the disk."""


def receive(
    packets: Sequence[str | Path],
    out: str | Path,
    *,
    apid: int | None = None,
    quiet: bool = True,
    watch: Watch | None = None,
) -> Received:
    """Read packet files in the order given and add what is new to the folder `out`.

    `apid` None takes that of the first packet of each file; `quiet` False shows progress on
    standard error; `watch` is told of every container. A pipe is read as it comes. A file that is
    given twice adds nothing; another process that receives into the folder is waited for. Raises
    PacketError for a file that is missing or empty (`out` is then as it was) or holds no packet
    (what the other files held is kept), OutputError if `out` cannot be written.
    """
    with contextlib.ExitStack() as opened:
        files = [opened.enter_context(PacketFile(Path(p), quiet)) for p in packets]
        folder = make_folder(out)
        with locked(folder):
            return _add_files(folder, files, apid, watch)


def _add_files(
    folder: Path, files: Sequence[PacketFile], apid: int | None, watch: Watch | None
) -> Received:
    there = (folder / RECEIVED_FILE).exists()
    receiver = _Receiver(load_received(folder) if there else Received(folder), watch)
    barren = [file for file in files if not receiver.read(file, apid)]
    received = receiver.received
    if received.receptions:
        receiver.save()
        _write_acks(received)
    if barren:
        raise PacketError(
            "holds no packet of ours",
            where=", ".join(str(file.path) for file in barren),
            hint="give a file of `winnow-edge downlink --out`; see --apid",
        )
    return received


def acknowledgements(received: Received) -> list[AckReport]:
    """What to tell the spacecraft, one report per store.

    Containers are numbered over all contacts, so the numbers absent between two that arrived are
    missing. Which contact an absent one at the end of a contact was sent in is not known: it is
    named under all that it may belong to, as the spacecraft looks up both numbers. What came
    before the first container is not called missing, for another folder may hold it, nor what may
    have come after the last. Nor is what lies before a gap of more than `MOST_MISSING` numbers:
    another folder heard it, or a number is wild. The spacecraft does not wait for word of it.
    """
    reports = []
    for store in sorted({c.store for c in received.containers}):
        here = sorted({(c.id, c.contact) for c in received.containers if c.store == store})
        got: dict[int, list[int]] = {}
        lost: dict[int, list[int]] = {}
        for number, contact in here:
            got.setdefault(contact, []).append(number)
        told = 0
        for (number, contact), (following, later) in reversed(list(itertools.pairwise(here))):
            absent, between = range(number + 1, following), range(contact, later + 1)
            told += len(absent) * len(between)
            if told > MOST_MISSING:
                break
            for which in between if absent else ():
                lost.setdefault(which, [])[:0] = absent
        names = [i.get("mission") for (s, _), i in received.swaths.items() if s == store]
        contacts = {
            n: ContactAck(tuple(got.get(n, ())), tuple(lost.get(n, ()))) for n in {*got, *lost}
        }
        reports.append(AckReport(store, contacts, next((n for n in names if n), None)))
    return reports


def _write_acks(received: Received) -> None:
    reports = acknowledgements(received)
    for report in reports:
        name = ACK_FILE if len(reports) == 1 else f"ack-{report.store_id:08x}.json"
        write_file(received.folder / name, report.to_json())


class _Receiver:
    """Adds packet files to what has come down so far."""

    def __init__(self, received: Received, watch: Watch | None = None) -> None:
        self.received, self._watch = received, watch
        self.containers = {(c.store, c.contact, c.id) for c in received.containers}
        self.stores = {c.store for c in received.containers}
        self.products = {(p.store, p.id) for p in received.products}
        self.newest: dict[tuple[int, int], int] = {}
        """The highest number of a product about each swath."""
        self.told = 0
        """Octets of all that was told about swaths."""
        for p in received.products:
            if p.kind == "swath":
                self.newest[_swath(p)] = max(p.id, self.newest.get(_swath(p), -1))
                self.told += p.bytes
        self.unreadable = self.left_out = self.repeated = 0
        self.written: list[Path] = []
        """Pictures that were written and are not on the disk yet."""

    def read(self, file: PacketFile, apid: int | None) -> bool:
        """Add a packet file; False if there is no packet in it."""
        counts = LinkCounts()
        sent: list[Instant] = []
        self.unreadable = self.left_out = self.repeated = 0
        with file.reading() as stream:
            reassembler = Reassembler(counts)
            for packet in read_packets(stream, counts, apid=apid):
                self._follow(packet, counts)
                if packet.time is not None:
                    sent[1:] = [packet.time]  # the first and the last
                container = reassembler.feed(packet)
                if container is not None:
                    self._add(container)
                    if self._watch is not None:
                        self._watch(self.save)
            reassembler.close()
        if not counts.packets:
            return False
        self.received.receptions.append(
            Reception(
                file=shortened(printable(str(file.path)), TEXT_MOST),
                bytes=file.bytes,
                link=counts,
                repeated=self.repeated,
                unreadable=self.unreadable,
                first_sent=_said(sent[:1]),
                last_sent=_said(sent[-1:]),
                left_out=self.left_out,
            )
        )
        return True

    def save(self) -> Received:
        """Put everything on the disk: what received.json names before it."""
        sync_files([*self.written, *join_regions(self.received)])
        self.written = []
        self.received.save()
        return self.received

    def _write(self, file: str, jpeg: bytes) -> None:
        """Write a picture by its name in the folder."""
        path = self.received.folder / file
        write_file(path, jpeg, durable=False)
        self.written.append(path)

    def _follow(self, packet: Packet, counts: LinkCounts) -> None:
        """Between files the sequence count goes on too: packets may be missing in between."""
        last = self.received.last_count
        if counts.packets == 1 and last is not None:
            ahead = (packet.count - last - 1) % SEQUENCE_MODULO
            # More than half the circle ahead is behind: an older file, or one that came twice.
            if 0 < ahead < SEQUENCE_MODULO // 2:
                counts.gaps += 1
                counts.missing += ahead
        self.received.last_count = packet.count

    def _add(self, container: Container) -> None:
        key = container.store_id, container.contact, container.id
        if key in self.containers:
            self.repeated += 1
            return
        if not self._has_room(container):
            self.left_out += len(container.items)
            return
        self.stores.add(container.store_id)
        self.containers.add(key)
        size = sum(len(item.data) for item in container.items)
        self.received.containers.append(ReceivedContainer(*key, len(container.items), size))
        for item in container.items:
            # Sent again because its acknowledgement was late.
            if (container.store_id, item.id) in self.products:
                continue
            try:
                self._add_product(container, item)
            except EdgePacketError:
                self.unreadable += 1
                continue
            self.products.add((container.store_id, item.id))

    def _has_room(self, container: Container) -> bool:
        """Whether the folder takes a container: what is left out is not acknowledged either."""
        about = [item for item in container.items if item.kind is Kind.SWATH]
        return (
            (container.store_id in self.stores or len(self.stores) < MOST_STORES)
            and len(self.received.products) + len(container.items) <= MOST_PRODUCTS
            and len(self.newest) + len(about) <= MOST_SWATHS
            and self.told + sum(len(item.data) for item in about) <= MOST_TOLD
        )

    def _add_product(self, container: Container, item: Item) -> None:
        received = self.received
        product = ReceivedProduct(
            order=len(received.products) + 1,
            store=container.store_id,
            contact=container.contact,
            container=container.id,
            id=item.id,
            kind=item.kind.name.lower(),
            swath=0,
            bytes=len(item.data),
            cumulative_bytes=received.bytes + len(item.data),
        )
        if item.kind is Kind.SWATH:
            info = decode_swath(item.data)
            number = info["id"]
            key = container.store_id, number
            # A swath is described when it begins and when it ends; the higher product is newer.
            if item.id > self.newest.get(key, -1):
                received.swaths[key], self.newest[key] = info, item.id
            self.told += len(item.data)
            received.products.append(dataclasses.replace(product, swath=number))
            return
        if item.kind is Kind.QUICK_LOOK:
            look = decode_quick_look(item.data)
            file = f"{product.kind}s/{product.order:05d}-s{look.swath_id}.jpg"
            self._write(file, look.jpeg)
            product = dataclasses.replace(product, swath=look.swath_id, box=look.box, file=file)
            received.products.append(product)
            return
        if item.kind is Kind.BACKGROUND:
            self._add_background(product, item.data)
            return
        if item.kind is Kind.EVENT:
            events = decode_events(item.data)
            told = [{"store": product.store, **event} for event in events.events]
            received.events += told[: MOST_EVENTS - len(received.events)]
            received.products.append(dataclasses.replace(product, swath=events.swath_id))
            return
        if item.kind is Kind.REGION:
            part = decode_region(item.data)
            file = f"{product.kind}s/parts/{product.order:05d}-s{part.swath_id}-r{part.request}.png"
            self._write(file, png(part.pixels))
            product = dataclasses.replace(
                product, swath=part.swath_id, box=part.box, file=file,
                outline=part.whole, request=part.request,
            )  # fmt: skip
            received.products.append(product)
            return
        if item.kind is Kind.RECORD:
            head, file, outline = decode_record(item.data), None, None
        else:
            picture = decode_picture(item.data)
            head, outline = picture.head, picture.outline
            name = f"{product.order:05d}-s{head.swath_id}-t{head.record.index:06d}.jpg"
            file = f"{product.kind}s/{name}"
            self._write(file, picture.jpeg)
        of_tile = _of_tile(product, head)
        received.products.append(dataclasses.replace(of_tile, outline=outline, file=file))

    def _add_background(self, product: ReceivedProduct, data: bytes) -> None:
        """The records in a background product, each by itself; its bytes count with the first."""
        heads = [decode_record(record) for record in decode_background(data)]
        for n, head in enumerate(heads):
            one = dataclasses.replace(
                product, order=product.order + n, kind="record", bytes=0 if n else product.bytes
            )
            self.received.products.append(_of_tile(one, head))


def _of_tile(product: ReceivedProduct, head: Head) -> ReceivedProduct:
    """A product with what its head says."""
    record = head.record
    screened = record.class_index == NO_CLASS
    return dataclasses.replace(
        product,
        swath=head.swath_id,
        tile=record.index,
        class_index=None if screened else record.class_index,
        posterior=None if screened else record.posterior,
        detection=record.flags.is_feature,
        screened=bool(record.flags & Flag.SCREENED),
        refused=bool(record.flags & Flag.REFUSED),
        box=record.box,
        scale=record.scale,
        merged=head.merged,
        time=_said([record.time] if record.time else []),
        latitude=record.place.latitude if record.place else None,
        longitude=record.place.longitude if record.place else None,
        out_of_place=bool(record.flags & Flag.OUT_OF_PLACE),
    )


def _said(sent: Sequence[Instant]) -> str | None:
    """An instant in words; a sender may have written any."""
    try:
        return as_text(sent[0]) if sent else None
    except (ValueError, OverflowError):
        return None


def _swath(product: ReceivedProduct) -> tuple[int, int]:
    return product.store, product.swath
