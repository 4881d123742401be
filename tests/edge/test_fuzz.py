"""Every parser of the edge against damaged input: an error of ours or a result, nothing else.

Hypothesis draws seeds; each makes BATCH cases by mutating valid input: bits flipped, octets set,
pieces cut out, doubled, moved between two inputs, and words of the format put in where they do not
belong. `make test` tries hundreds a parser, `make test-slow` over a million in all. A case that
fails is shown whole.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image

from winnow_edge import archive
from winnow_edge import bundle as bundles
from winnow_edge.bundle import Golden, InputSpec, Manifest, OutputSpec, parse_bundle
from winnow_edge.downlink.acknowledgements import AckReport, ContactAck
from winnow_edge.downlink.container import Container, Item, decode_container, encode_container
from winnow_edge.downlink.packets import packetize
from winnow_edge.downlink.reader import LinkCounts, read_containers
from winnow_edge.errors import WinnowEdgeError
from winnow_edge.mission import Instrument, parse_mission
from winnow_edge.products import encode
from winnow_edge.products.kinds import Box, Flag, Kind, TileRecord
from winnow_edge.sources.open import open_source
from winnow_edge.store.store import Store
from winnow_edge.store.writer import begin_swath

BATCH = 100
CAMERA = Instrument(bundle="x")
INTERESTING = (b"\0", b"\xff", b"\x7f", b"\x80", b"\0\0\0\0", b"\xff" * 4, b"\x7f\xff\xff\xff")


@dataclass(frozen=True)
class Target:
    """A parser: `parse` must return or raise a WinnowEdgeError; `seeds` valid input; `words` of the
    format; `cases` in the slow suite."""

    parse: Callable[[bytes], object]
    seeds: Sequence[bytes]
    words: Sequence[bytes]
    cases: int


def mutations(rng: random.Random, target: Target) -> Iterator[bytes]:
    """BATCH mutated inputs."""
    for _ in range(BATCH):
        data = bytearray(rng.choice(target.seeds))
        for _ in range(rng.choice((1, 1, 2, 3, 6))):
            at = rng.randrange(len(data) + 1)
            to = min(at + rng.choice((1, 1, 2, 4, 16, 200)), len(data))
            match rng.randrange(8):
                case 0 if data:
                    data[at % len(data)] ^= 1 << rng.randrange(8)
                case 1 if data:
                    data[at % len(data)] = rng.randrange(256)
                case 2:
                    data[at:at] = rng.choice(target.words)
                case 3:
                    data[at:to] = rng.choice((*target.words, *INTERESTING))
                case 4:
                    del data[at:to]
                case 5:
                    data[at:at] = data[at:to] * rng.choice((1, 1, 3, 50))
                case 6:
                    other = rng.choice(target.seeds)
                    data[at:] = other[rng.randrange(len(other) + 1) :]
                case _:
                    del data[at:]
        yield bytes(data)


def try_batch(seed: int, target: Target) -> None:
    for data in mutations(random.Random(seed), target):
        try:
            target.parse(data)
        except WinnowEdgeError as error:
            text = str(error)
            assert text, data
            assert "\n" not in text, data
        except Exception as error:
            error.add_note(f"input: {data[:4000]!r}")
            raise


@contextlib.contextmanager
def scratch_file(name: str) -> Iterator[Path]:
    """A file in memory, where there is such a file system: a million cases wear a disk."""
    memory = Path("/dev/shm")
    root = memory if os.access(memory, os.W_OK) else None
    folder = Path(tempfile.mkdtemp(prefix="winnow-fuzz-", dir=root))
    try:
        yield folder / name
    finally:
        shutil.rmtree(folder)


def read_swath(path: Path, data: bytes, instrument: Instrument, samples: int | None) -> None:
    """Open and read the first lines of a swath that holds `data`."""
    path.write_bytes(data)
    # A damaged header may promise a vast picture, which is only slow to read.
    source = open_source(path, instrument=instrument, samples=samples, memory_mb=0.1)
    with contextlib.closing(source):
        shape: tuple[int, ...] = (64, source.samples)
        if source.channels == 3:
            shape = (*shape, 3)
        out = np.zeros(shape, np.uint16 if source.bits == 16 else np.uint8)
        while source.read(out) == len(out):
            pass


def picture(kind: str, **options: Any) -> bytes:
    line, sample = np.mgrid[:40, :24]
    image = Image.fromarray((100 + 3 * line + sample).astype(np.uint8))
    out = io.BytesIO()
    image.convert(options.pop("mode", "L")).save(out, kind, **options)
    return out.getvalue()


def swath_target(name: str, path: Path) -> Target:
    """A format of swaths, read through a file."""

    def parse(data: bytes) -> None:
        read_swath(path, data, CAMERA, None)

    if name == "pgm":
        raster = bytes(range(200)) * 2
        seeds = [b"P5 20 20 255\n" + raster, b"P5\n# made by hand\n10 20\n65535\n" + raster]
        words = [b"P5", b"#", b"\n", b" 0 ", b"-1", b"4294967296", b"65536", b"1e3", b"999999"]
        return Target(parse, seeds, words, 120_000)
    if name == "raw":

        def parse_raw(data: bytes) -> None:
            wide = len(data) % 2 == 1
            camera = Instrument(bundle="x", bits=16 if wide else 8, byte_order="big")
            read_swath(path, data[1:], camera, data[0] + 1 if data else None)

        return Target(parse_raw, [b"\x09" + bytes(range(100)), b"\x13" * 401], [b"P5"], 100_000)
    assert name == "picture"
    seeds = [
        picture("JPEG", quality=80),
        picture("JPEG", quality=60, progressive=True),
        picture("JPEG", mode="RGB", restart_marker_rows=1),
        picture("PNG"),
        picture("PNG", mode="RGB", optimize=True),
    ]
    words = [b"\xff\xd8", b"\xff\xd9", b"\xff\xda", b"\xff\xc0", b"\xff\xc2", b"\xff\xdd", b"\xff"]
    words += [b"IHDR", b"IDAT", b"IEND", b"PLTE", b"tRNS", b"\x89PNG\r\n\x1a\n"]
    return Target(parse, seeds, words, 100_000)


def mission_target() -> Target:
    text = """\
name = "probe"
[instrument.camera]
bundle = "x"
samples = 2048
stretch_limits = [3, 900]
dead_samples = [4, 5]
[tiling]
scales = [1, 2]
merge = 0.3
[screening]
nodata_max = 0.5
[class."dark dune"]
threshold = 0.9
utility = 2.0
[ranking]
policy = "diversity"
[link]
rate_bps = 128_000
[simulation]
swaths = ["a.png"]
"""
    words = [
        *(b"[", b"]", b"[[", b"=", b'"', b"'", b'"""', b"\n", b".", b"{", b"}", b"#", b"\\u0000"),
        *(b"nan", b"inf", b"-1", b"1e999", b"true", b"1979-05-27", b"9" * 5000, b"[" * 300, b"[]"),
        b"0x" + b"f" * 5000,
        *(b"[instrument.camera]\n", b"hop = 0\n", b"tile = 7\n", b"[class]\n", b'""'),
    ]

    def parse(data: bytes) -> None:
        parse_mission(data.decode("utf-8", "replace"))

    return Target(parse, [text.encode()], words, 160_000)


def small_bundle() -> dict[str, bytes]:
    """The members of a bundle of two classes."""
    manifest = Manifest(
        name="probe",
        classes=("dark", "bright"),
        head="softmax",
        input=InputSpec(4, 4, 1, 1.0, -128),
        output=OutputSpec(0.05, 0),
        temperature=1.0,
        thresholds={"bright": 0.9},
    )
    logits = {"litert": np.zeros((1, 2), np.int8)}
    golden = Golden(np.zeros((1, 4, 4, 1), np.int8), logits)
    data = bundles.encode_bundle(manifest, model=b"TFL3", golden=golden, card="# probe")
    members, _ = archive.unpack(data, Path("probe.winnow"))
    return members


def bundle_target() -> Target:
    """Any octets of the archive."""
    data = archive.pack(small_bundle())
    words = [b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06", b"manifest.json", b"\x93NUMPY", b"{"]
    return Target(lambda data: parse_bundle(data, Path("probe.winnow")), [data], words, 80_000)


def manifest_target() -> Target:
    """Manifests in archives whose digests are right."""
    members = small_bundle()

    def parse(data: bytes) -> None:
        parse_bundle(archive.pack({**members, archive.MANIFEST: data}), Path("probe.winnow"))

    words = [b"{", b"}", b"[", b"]", b'"', b":", b",", b"null", b"NaN", b"-1", b"1e999", b"true"]
    words += [b'"classes"', b'"head"', b'"input"', b'"sha256"', b"[" * 2000, b"9" * 5000, b"0"]
    return Target(parse, [members[archive.MANIFEST]], words, 80_000)


def golden_target() -> Target:
    """Golden tiles in archives whose digests are right."""
    members = small_bundle()
    manifest = json.loads(members[archive.MANIFEST])

    def parse(data: bytes) -> None:
        manifest["sha256"][archive.GOLDEN] = archive.sha256(data)
        text = json.dumps(manifest, indent=1, sort_keys=True).encode() + b"\n"
        changed = {**members, archive.MANIFEST: text, archive.GOLDEN: data}
        parse_bundle(archive.pack(changed), Path("probe.winnow"))

    words = [b"\x93NUMPY", b"PK\x05\x06", b"'shape': (9999999999,)", b"'descr': '|O'", b"<f8"]
    return Target(parse, [members[archive.GOLDEN]], words, 60_000)


def packet_target() -> Target:
    items = (Item(17, Kind.RECORD, b"abc" * 30), Item(18, Kind.SWATH, b"{}"))
    stream = b""
    for number in (1, 2):
        container = encode_container(Container(5, 1, number, items))
        stream += b"".join(packetize(container, apid=0x57, count=number * 4, packet_bytes=64))

    def parse(data: bytes) -> None:
        list(read_containers(io.BytesIO(data), LinkCounts()))
        with contextlib.suppress(WinnowEdgeError):
            decode_container(data)

    words = [b"WN\x01\0", b"\0\x57", b"\x40\x57", b"\xff\xff", b"\0\x2e"]
    return Target(parse, [stream, encode_container(Container(5, 1, 3, items))], words, 100_000)


def product_target() -> Target:
    record = TileRecord(7, Box(10, 20, 30, 40), 2, 1, 0.5, Flag.DETECTION)
    head = encode.encode_head(encode.Head(3, record))
    info = encode.encode_swath({"id": 1, "swath": "s", "classes": ["a"]})

    def parse(data: bytes) -> None:
        for decode in (encode.decode_record, encode.decode_swath, encode.decode_picture):
            with contextlib.suppress(WinnowEdgeError):
                decode(data)

    words = [b"{", b"}", b"[" * 3000, b'"', b"null", b"\xff\xd8\xff"]
    return Target(parse, [head, info, head + picture("JPEG")], words, 60_000)


def ack_target() -> Target:
    report = AckReport(0xDEADBEEF, {3: ContactAck((1, 2), (4,)), 4: ContactAck()}, "probe")
    words = [
        b"{",
        b"}",
        b"[",
        b"]",
        b'"',
        b":",
        b",",
        b"null",
        b"NaN",
        b"-1",
        b"1e999",
        b"9" * 5000,
    ]
    words += [b'"store"', b'"contacts"', b'"received"', b"[" * 3000, b"65536", b"true", b"0x"]

    def parse(data: bytes) -> None:
        AckReport.from_json(data.decode("utf-8", "replace")).to_json()

    return Target(parse, [report.to_json().encode()], words, 100_000)


def store_target(folder: Path) -> Target:
    """A store's file, the log copied back into it."""
    mission = parse_mission('name = "probe"\n[instrument.c]\nbundle = "x"\n')
    with Store.open(folder, mission=mission) as store:
        begin_swath(
            store,
            "s",
            samples=9,
            classes=("a", "b"),
            bundle="x",
            digest="d",
            fingerprint=None,
            info={"instrument": "c"},
        )
    file = folder / "store.db"

    def parse(data: bytes) -> None:
        for part in folder.iterdir():
            part.unlink()
        file.write_bytes(data)
        with Store.open(folder, mission=None, read_only=True) as store:
            store.swaths()
            store.counts()
            list(store.products())

    words = [b"SQLite format 3\0", b"CREATE TABLE", b"swath", b"product", b"INTEGER", b"\x0d"]
    return Target(parse, [file.read_bytes()], words, 40_000)


PLAIN: dict[str, Callable[[], Target]] = {
    "mission": mission_target,
    "bundle": bundle_target,
    "manifest": manifest_target,
    "golden": golden_target,
    "packets": packet_target,
    "products": product_target,
    "ack": ack_target,
}
SWATHS = ("pgm", "raw", "picture")
NAMES = (*PLAIN, *SWATHS, "store")


@contextlib.contextmanager
def target_named(name: str) -> Iterator[Target]:
    with scratch_file("swath") as path:
        if name == "store":
            yield store_target(path.parent)
        elif name in SWATHS:
            yield swath_target(name, path)
        else:
            yield PLAIN[name]()


def fuzz(name: str, cases: int | None = None) -> None:
    with target_named(name) as target:
        for seed in target.seeds:  # what is mutated is valid
            target.parse(seed)
        count = max((cases or target.cases) // BATCH, 1)

        @settings(
            max_examples=count,
            deadline=None,
            database=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(st.integers(0, 2**64))
        def batches(seed: int) -> None:
            try_batch(seed, target)

        batches()


@pytest.mark.parametrize("name", NAMES)
def test_damaged_input_is_an_error_of_ours(name: str) -> None:
    fuzz(name, 300)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", NAMES)
def test_a_million_damaged_inputs(name: str) -> None:
    fuzz(name)
