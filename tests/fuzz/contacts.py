"""What comes down and what the ground keeps of it: packets, received.json, truth, plans, labels."""

from __future__ import annotations

import io
import json
import random
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.fuzz import mutate
from tests.fuzz.door import Door
from tests.fuzz.pictures import picture
from winnow_base.errors import DataError
from winnow_edge.downlink.acknowledgements import AckReport
from winnow_edge.downlink.container import Container, Item, encode_container
from winnow_edge.downlink.packets import packetize
from winnow_edge.downlink.reader import LinkCounts, read_containers
from winnow_edge.products.encode import HEAD, Head, encode_head, encode_swath
from winnow_edge.products.event import event_product
from winnow_edge.products.kinds import Box, Flag, Kind, TileRecord
from winnow_edge.products.quick_look import HEAD as LOOK_HEAD
from winnow_edge.products.region import Region, encode_region
from winnow_edge.testing import landmark_mission
from winnow_ground import findings, pds3, regions
from winnow_ground.contacts import load_plan
from winnow_ground.orbits.elements import load_elements
from winnow_ground.orbits.orbit import Orbit
from winnow_ground.receive import ACK_FILE, receive
from winnow_ground.received import RECEIVED_FILE, Received, load_received
from winnow_ground.truth import lies_over, load_truth, shown_by, spoken_of, worth_of_all

MISSION = landmark_mission()
SWATH: dict[str, Any] = {
    "id": 1,
    "swath": "a.png",
    "mission": "probe",
    "bundle": "x",
    "classes": ["other", "crater"],
    "samples": 200,
    "complete": True,
    "instrument": "camera",
    "lines": 300,
    "tiles": 9,
    "screened": 1,
    "detections": 2,
    "products": 5,
    "bytes": 999,
    "seconds": 1.5,
    "by_class": {"crater": 2},
    "runtime": "fake",
    "truncated": "cut",
    "verdict": {"of": 0.3},
}


SAMPLES = np.arange(20, dtype=np.uint16).reshape(4, 5) * 999


def _products() -> list[tuple[Kind, bytes]]:
    """One of each kind, as they are sent."""
    record = TileRecord(7, Box(10, 20, 30, 40), 2, 1, 0.5, Flag.DETECTION)
    head = encode_head(Head(1, record, 3))
    comment = b"WN\0\1\0\2\0\5\0\6"
    jpeg = picture("JPEG", comment=comment)
    return [
        (Kind.SWATH, encode_swath(SWATH)),
        (Kind.RECORD, head),
        (Kind.THUMBNAIL, head + jpeg),
        (Kind.IMAGE, head + jpeg),
        (Kind.QUICK_LOOK, LOOK_HEAD.pack(1, 0, 60, 40) + jpeg),
        (Kind.CONTEXT, head + jpeg),
        (Kind.REGION, encode_region(Region(1, 2, Box(3, 0, 4, 5), Box(3, 0, 8, 5), SAMPLES))),
        (Kind.EVENT, event_product([{"about": "clock", "event": "boot"}] * 2, 0, 1).data),
    ]


def _stream(
    containers: Sequence[Container], packet_bytes: int = 128, count: int = 0
) -> list[bytes]:
    packets: list[bytes] = []
    for container in containers:
        packets += packetize(
            encode_container(container),
            apid=0x57,
            count=(count + len(packets)) % 16384,
            packet_bytes=packet_bytes,
        )
    return packets


def _product(rng: random.Random, plain: list[tuple[Kind, bytes]]) -> tuple[Kind, bytes]:
    kind, data = rng.choice(plain)
    if rng.randrange(3) == 0:
        return kind, data
    if kind is Kind.SWATH:
        return kind, mutate.json_bytes(rng, [SWATH], (b"NaN", b"1e400", b'"id"', b"\\ud800"))
    if rng.randrange(2):
        number = (0, 1, 255, 65_535)
        fields = HEAD.unpack_from(data)
        places = rng.sample(range(len(fields)), rng.randrange(1, 4))
        limits = (2**16, 2**32, 2**32, 2**32, 2**16, 2**16, 256, 256, 2**16, 256, 256)
        values = [
            rng.choice((*number, limits[n] - 1)) % limits[n] if n in places else value
            for n, value in enumerate(fields)
        ]
        return kind, HEAD.pack(*values) + data[HEAD.size :]
    return kind, mutate.octets(rng, [data], (b"\xff\xd8\xff", b"\xff\xfe\0\x0cWN", b"\xff\xda"))


def _container(rng: random.Random, plain: list[tuple[Kind, bytes]]) -> Container:
    numbers = (0, 1, 2, 3, 9, 40_000, 2**16 - 1, 2**31, 2**32 - 1)
    items = []
    for _ in range(rng.choice((0, 1, 1, 2, 5))):
        kind, data = _product(rng, plain)
        kind = rng.choice((kind, kind, kind, rng.choice(list(Kind))))
        items.append(Item(rng.choice((*numbers, *range(20))), kind, data))
    store = rng.choice((5, 5, 5, 0, 2**32 - 1, rng.randrange(100)))
    return Container(store, rng.choice(numbers) % 65_536, rng.choice(numbers), tuple(items))


def judge(received: Received) -> None:
    """What a report works out of a reception."""
    for product in received.products:
        received.class_name(product)
    for key in received.swaths:
        received.swath_name(*key)
        received.classes(*key)
        findings.verdict_words(received.swaths[key])
    found = findings.find(received, None, None, 0.3)
    findings.count_by_class(found)
    findings.troubles(received, None)
    findings.arrivals(received, found, 100)
    findings.value_received(received, MISSION, None)
    regions.said(received)
    regions.events(received)


def packets_door(folder: Path) -> Door:
    """Sound packets with odd contents, and streams that were damaged on the way."""
    plain = _products()
    items = tuple(Item(n, kind, data) for n, (kind, data) in enumerate(plain, 1))
    streams = [b"".join(_stream([Container(5, 1, 1, items)]))]
    words = [b"WN\x01\0", b"\0\x57", b"\x40\x57", b"\xff\xff", b"\0\x2e", b"\x07\xff"]
    file, out = folder / "contact.bin", folder / "in"

    def made(rng: random.Random) -> bytes:
        containers = [_container(rng, plain) for _ in range(rng.choice((1, 2, 5)))]
        packets = _stream(containers, rng.choice((48, 256, 1024, 65_542)), rng.randrange(16384))
        if rng.randrange(2):
            rng.shuffle(packets)
        if rng.randrange(2):
            del packets[rng.randrange(len(packets))]
        return b"".join(packets)

    def damaged(rng: random.Random) -> list[bytes]:
        flips = (1, lambda rng: mutate.octets(rng, streams, words))
        both = (1, lambda rng: mutate.octets(rng, [made(rng)], words, 2))
        return [mutate.some(rng, flips, (2, made), both) for _ in range(rng.choice((1, 1, 2)))]

    def enter(contents: list[bytes]) -> None:
        shutil.rmtree(out, ignore_errors=True)
        for data in contents:
            file.write_bytes(data)
            list(read_containers(io.BytesIO(data), LinkCounts()))
            received = receive([file], out)
            judge(received)
            assert load_received(out).as_json() == received.as_json()
            if (report := out / ACK_FILE).exists():
                AckReport.from_json(report.read_text(encoding="utf-8")).to_json()

    return Door(enter, [streams], damaged)


def received_door(folder: Path) -> Door:
    """The file that says what came down, edited by somebody."""
    items = tuple(Item(n, kind, data) for n, (kind, data) in enumerate(_products(), 1))
    (folder / "contact.bin").write_bytes(b"".join(_stream([Container(5, 1, 1, items)])))
    receive([folder / "contact.bin"], folder / "in")
    path = folder / "in" / RECEIVED_FILE
    text = path.read_text(encoding="utf-8")

    def enter(data: bytes) -> None:
        path.write_bytes(data)
        received = load_received(path.parent)
        received.as_json()
        received.save()
        judge(received)

    values = json.loads(text)
    values["receptions"][0]["file"] = "contact.bin"  # not the folder of this time
    return Door(enter, [text.encode()], lambda rng: mutate.json_bytes(rng, [values], (b"NaN",)))


def truth_door(folder: Path) -> Door:
    box = {"class": "crater", "line": 1, "sample": 2.5, "lines": 30, "samples": 40}
    values = {"lines": 99, "samples": 99, "classes": ["crater"], "features": [box, dict(box)]}
    seeds = [values, {**values, "classes": "all"}]
    path = folder / "a.truth.json"

    def enter(data: bytes) -> None:
        path.write_bytes(data)
        truth = load_truth(path)
        spoken_of([truth])
        worth_of_all(truth, MISSION)
        for box in (Box(0, 0, 30, 30), Box(2**31, 5, 1, 1)):
            shown_by("crater", box, truth)
            lies_over("crater", box, truth)

    plain = [json.dumps(seed).encode() for seed in seeds]
    return Door(enter, plain, lambda rng: mutate.json_bytes(rng, seeds, (b"1e400",)))


ION = """\
# a plan
@ 2031/05/06-07:08:09
a contact +0 +600 1 2 16000
a contact +700 +900 1 3 16000 0.5
a range +0 +900 1 2 480
s
"""
ABSOLUTE = """\
a contact 2031/05/06-07:08:09 2031/05/06-08:08:09 1 2 16000
a range 2031/05/06-07:08:09 2031/05/06-08:08:09 1 2 480
"""
TABLE = """\
start,end,sender,receiver,bits_per_s,confidence,light_s
2031-05-06T07:08:09Z,2031-05-06T08:08:09.5Z,1,2,128000,1,480
2031-05-06T09:08:09Z,2031-05-06T10:08:09Z,1,2,64e3,0.5,
"""


def plan_door(folder: Path) -> Door:
    entry: dict[str, Any] = {"contact": 1, "source": 1, "dest": 2, "startTime": 0, "endTime": 600}
    entry |= {"rateBitsPerSec": 128_000, "owlt": 480}
    values = {"contacts": [entry, {**entry, "startTime": 700, "endTime": 800.5}]}
    path = folder / "plan"
    texts = [ION.encode(), ABSOLUTE.encode(), TABLE.encode()]
    words = [
        b"a contact ",
        b"a range ",
        b"+0",
        b"1e308",
        b"-1",
        b"@ ",
        b"9999/12/31-23:59:59",
        b" ",
    ]
    words += [
        b"0001/01/01-00:00:00",
        b"nan",
        b"inf",
        b"9" * 400,
        b"\xc2\xb2",
        b"+1e9",
        b"+" + b"9" * 30,
    ]
    words += [b"9" * 5000, b"#", b"c contact", b"5e-324", b"+0.5"]

    def damaged(rng: random.Random) -> bytes:
        ion = (1, lambda rng: mutate.octets(rng, texts, words))
        return bytes(mutate.some(rng, ion, (1, lambda rng: mutate.json_bytes(rng, [values]))))

    def enter(data: bytes) -> None:
        path.write_bytes(data)
        plan = load_plan(path)
        for node in {c.sender for c in plan.contacts}:
            for contact in plan.downlinks(node).contacts:
                _ = contact.budget_bytes, contact.seconds
                plan.time_text(contact.start)
                plan.light_time(contact.sender, contact.receiver, contact.start)

    return Door(enter, [*texts, json.dumps(values).encode()], damaged)


LABEL = """\
PDS_VERSION_ID = PDS3
/* a comment */
RECORD_TYPE = FIXED_LENGTH
RECORD_BYTES = 1024
FILE_RECORDS = 3
^IMAGE = 2
OBJECT = IMAGE
  LINES = 4
  LINE_SAMPLES = 20
  SAMPLE_TYPE = MSB_UNSIGNED_INTEGER
  SAMPLE_BITS = 16
  LINE_PREFIX_BYTES = 3
  BANDS = 2
  BAND_STORAGE_TYPE = BAND_SEQUENTIAL
  CENTER = (1.5 <KM>, (2, 3))
  NAME = 'x y'
  NOTE = "many
lines"
END_OBJECT = IMAGE
END
"""


def pds3_door(folder: Path) -> Door:
    """Attached and detached labels; the lines behind them are read."""
    image = folder / "A.IMG"
    samples = bytes(range(256)) * 16
    attached = LABEL.encode().ljust(1024)
    detached = LABEL.replace("^IMAGE = 2", '^IMAGE = ("A.IMG", 1 <BYTES>)').encode()
    words = [
        b"END",
        b"OBJECT = ",
        b"END_OBJECT",
        b"GROUP = ",
        b'"',
        b"'",
        b"<",
        b">",
        b"(",
        b")",
        b"{",
    ]
    words += [
        b"/* ",
        b"*/",
        b"= ",
        b"\0",
        b"^IMAGE",
        b"<BYTES>",
        b"1e400",
        b"9" * 5000,
        b"-1",
        b"(",
    ]
    words += [
        b"(" * 3000,
        b"/* " * 3000,
        b"OBJECT = A\n" * 300,
        b"LINES",
        b"8",
        b"IMAGE",
        b"x" * 300,
    ]
    words += [b'"' + b"x" * 300 + b'"', b"LSB_INTEGER", b"\xb2", b"4611686018427387904", b"16#ff#"]

    def damaged(rng: random.Random) -> tuple[bool, bytes]:
        beside = rng.random() < 0.5
        return beside, mutate.octets(rng, [detached if beside else attached], words)

    def enter(content: tuple[bool, bytes]) -> None:
        beside, data = content
        label = folder / "A.LBL"
        label.unlink(missing_ok=True)
        image.write_bytes(samples if beside else data + samples)
        if beside:
            label.write_bytes(data)
        for path in (label, image) if beside else (image,):
            layout = pds3.find_layout(path)
            if layout is not None:
                for band in (1, layout.bands):
                    lines = pds3.read_lines(layout, band, 64)
                    try:
                        assert all(isinstance(block, np.ndarray) for block in lines)
                    except DataError:
                        continue

    return Door(enter, [(False, attached), (True, detached)], damaged)


TWO_LINES = """\
CUBESAT
1 T0001U 26999A   26324.25000000  .00000000  00000-0  30000-4 0    11
2 T0001  97.4000 213.1000 0012000  80.0000 280.0000 15.21937835    16
"""
OMM: dict[str, Any] = {
    "OBJECT_NAME": "CUBESAT",
    "NORAD_CAT_ID": 270001,
    "EPOCH": "2026-11-20T06:00:00.000000",
    "MEAN_MOTION": 15.21937835,
    "ECCENTRICITY": 0.0012,
    "INCLINATION": 97.4,
    "RA_OF_ASC_NODE": 213.1,
    "ARG_OF_PERICENTER": 80.0,
    "MEAN_ANOMALY": 280.0,
    "EPHEMERIS_TYPE": 0,
    "BSTAR": 3e-5,
}


def elements_door(folder: Path) -> Door:
    path = folder / "elements"
    table = ",".join(OMM) + "\n" + ",".join(map(str, OMM.values())) + "\n"
    tags = "".join(f"<{key}>{value}</{key}>" for key, value in OMM.items())
    texts = [TWO_LINES.encode(), table.encode(), f"<ndm><segment>{tags}</segment></ndm>".encode()]
    words = [
        b"\n",
        b" ",
        b"-",
        b"9" * 40,
        b"nan",
        b"1e308",
        b",",
        b"<x>",
        b"Z",
        b"0 ",
        b"1 ",
        b"2 ",
    ]

    def damaged(rng: random.Random) -> bytes:
        some = (2, lambda rng: mutate.octets(rng, texts, words))
        return bytes(mutate.some(rng, some, (1, lambda rng: mutate.json_bytes(rng, [OMM]))))

    def enter(data: bytes) -> None:
        path.write_bytes(data)
        for found in load_elements(path):
            orbit = Orbit(found, found.epoch)
            assert np.isfinite(orbit.over_earth(np.array([0.0, 600.0]))).all()

    return Door(enter, [*texts, json.dumps([OMM]).encode()], damaged)
