"""Bundles: the archive, the manifest and the golden arrays, in archives that are sound."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import io
import json
import random
import struct
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from tests.fuzz import mutate
from tests.fuzz.door import Door
from winnow_edge import archive
from winnow_edge.bundle import (
    Golden,
    InputSpec,
    Manifest,
    OutputSpec,
    Verifier,
    encode_bundle,
    parse_bundle,
)
from winnow_edge.commands import info
from winnow_edge.errors import MissionError
from winnow_edge.loop.settings import Settings
from winnow_edge.mission import Mission, parse_mission

_FIGURES = {"accuracy": 0.9, "macro_f1": 0.8, "ece": 0.02}
_PER_CLASS = {"bright": {"support": 9, "recall": 0.8, "precision": 0.7}}
_METRICS = {
    "split": "val",
    "n": 20,
    "float": _FIGURES,
    "int8": {**_FIGURES, "per_class": _PER_CLASS},
}


def members(*, second: bool) -> dict[str, bytes]:
    """The members of a bundle of two classes, with or without a second stage."""
    manifest = Manifest(
        name="probe",
        classes=("dark", "bright"),
        head="softmax",
        input=InputSpec(4, 4, 1, 1.0, -128),
        output=OutputSpec(0.05, 0),
        temperature=1.5,
        thresholds={"bright": 0.9},
        training={"dataset": "hirise-v3", "recipe": {"name": "x"}},
        metrics=_METRICS,
        versions={"winnow": "0.1.0"},
        licence="CC BY 4.0",
        attribution="NASA",
        borderline=0.5,
    )
    golden = Golden(np.zeros((1, 4, 4, 1), np.int8), {"litert": np.zeros((1, 2), np.int8)})
    verifier = None
    if second:
        tall = dataclasses.replace(manifest, input=InputSpec(8, 4, 1, 1.0, -128), borderline=0.0)
        tiles = np.zeros((1, 8, 4, 1), np.int8)
        verifier = Verifier(tall, b"TFL3", Golden(tiles, golden.logits))
    data = encode_bundle(manifest, model=b"TFL3", golden=golden, card="# x", verifier=verifier)
    return archive.unpack(data, Path("probe.winnow"))[0]


class _Reading:
    """Opens a bundle, describes it, and fits it to a mission."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "probe.winnow"
        text = 'name = "probe"\n[instrument.camera]\nbundle = "probe.winnow"\n'
        self._mission: Mission = parse_mission(text)

    def __call__(self, data: bytes) -> None:
        bundle = parse_bundle(data, self._path)
        self._path.write_bytes(data)
        for shown in ({"json": True}, {"card": True}, {}):
            plain = {"bundle": str(self._path), "json": False, "card": False}
            out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="backslashreplace")
            with contextlib.redirect_stdout(out):
                info.run(argparse.Namespace(**(plain | shown)))
        with contextlib.suppress(MissionError):
            Settings.of(self._mission, "camera", bundle)


def bundle_door(folder: Path) -> Door:
    """Octets of the archive, and members added, dropped, doubled, deflated and renamed."""
    one, two = members(second=False), members(second=True)
    plain = [archive.pack(one), archive.pack(two)]
    words = [b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06", b"manifest.json", b"\x93NUMPY", b"{"]

    def rebuilt(rng: random.Random) -> bytes:
        held = list(rng.choice((one, two)).items())
        at = rng.randrange(len(held))
        name, data = held[at]
        match rng.randrange(6):
            case 0:
                del held[at]
            case 1:
                held.append(held[at])
            case 2:
                other = rng.choice([*archive.ORDER, "x", "../x", "", "manifest.json/", "é"])
                held[at] = (other, data)
            case 3:
                held[at] = (name, rng.choice((b"", data[:-1], data * 2, b"\xff" * 100)))
            case 4:
                rng.shuffle(held)
            case _:
                held.append((rng.choice(archive.ORDER), rng.randbytes(20)))
        out = io.BytesIO()
        method = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
        with warnings.catch_warnings(), zipfile.ZipFile(out, "w", method) as made:
            warnings.simplefilter("ignore")  # of members that are there twice
            for name, data in held:
                made.writestr(zipfile.ZipInfo(name), data, method)
            manifest = dict(held).get(archive.MANIFEST, b"")
            made.comment = rng.choice((b"", archive.comment_of(manifest)))
        return out.getvalue()

    def damaged(rng: random.Random) -> bytes:
        flips = (3, lambda rng: mutate.octets(rng, plain, words))
        return bytes(mutate.some(rng, flips, (1, rebuilt)))

    return Door(_Reading(folder), plain, damaged)


def manifest_door(folder: Path) -> Door:
    """Values of the manifest, in archives whose digests are right."""
    held = [members(second=False), members(second=True)]
    read = _Reading(folder)
    values = [json.loads(m[archive.MANIFEST]) for m in held]
    words = [b"NaN", b"1e999", b'"classes"', b'"head"', b'"input"', b'"sha256"', b"[" * 2000]

    def damaged(rng: random.Random) -> tuple[int, bytes]:
        number = rng.randrange(2)
        return number, mutate.json_bytes(rng, [values[number]], words)

    def enter(content: tuple[int, bytes]) -> None:
        number, text = content
        read(archive.pack({**held[number], archive.MANIFEST: text}))

    return Door(enter, [(n, m[archive.MANIFEST]) for n, m in enumerate(held)], damaged)


def _npy(header: bytes, body: bytes) -> bytes:
    """An array's file (numpy's format, version 1)."""
    padded = header + b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(padded)) + padded + body


def _array(rng: random.Random) -> bytes:
    """An array of any kind, or one that says what it is not."""
    if rng.randrange(2):
        kind = rng.choice(("i1", "u1", "<i2", "<f4", "<f8", "?", "S3", "<U2", "<c8", "<M8[s]"))
        shape = rng.choice(
            ((1, 4, 4, 1), (0, 4, 4, 1), (1, 2), (), (0,), (3, 4, 4, 1), (1, 8, 4, 1))
        )
        out = io.BytesIO()
        np.save(out, np.zeros(shape, kind), allow_pickle=False)
        return out.getvalue()
    kind = rng.choice(
        ("'|i1'", "'|O'", "'<f8'", "'|V0'", "[('a', '|O')]", "'|S999999999'", "3", "'x'")
    )
    shapes = (
        "(1, 4, 4, 1)",
        "(9999999999,)",
        "(-1,)",
        "(2**40,)",
        "(0, 99999999999)",
        "1",
        "(1.5,)",
    )
    shape = rng.choice(
        (*shapes, "(1, 4, 4, 100000000)", "(4000000000, 4, 4, 1)", "()", "(1,)" * 50)
    )
    order = rng.choice(("True", "False", "1", "None"))
    text = f"{{'descr': {kind}, 'fortran_order': {order}, 'shape': {shape}, }}"
    return _npy(text.encode(), rng.randbytes(rng.choice((0, 16, 32))))


def _zeros(size: int) -> bytes:
    """The raw deflate stream of a long array of zeros that calls itself golden tiles."""
    pack = zlib.compressobj(9, zlib.DEFLATED, -15)
    shape = f"({size // 16}, 4, 4, 1)"
    text = f"{{'descr': '|i1', 'fortran_order': False, 'shape': {shape}, }}".encode()
    parts = [pack.compress(_npy(text, b""))]
    parts += [pack.compress(bytes(1 << 20)) for _ in range(size >> 20)]
    return b"".join([*parts, pack.flush()])


def _bomb(size: int) -> bytes:
    """An archive whose one member inflates to `size` octets; its sizes say so."""
    packed, name = _zeros(size), b"tiles.npy"
    sizes = struct.pack("<LLL", 0, len(packed), size)
    local = b"PK\x03\x04" + struct.pack("<5H", 20, 0, 8, 0, 33) + sizes
    local += struct.pack("<2H", len(name), 0) + name + packed
    central = b"PK\x01\x02" + struct.pack("<6H", 20, 20, 0, 8, 0, 33) + sizes
    central += struct.pack("<5H2L", len(name), 0, 0, 0, 0, 0, 0) + name
    end = b"PK\x05\x06" + struct.pack("<4H2LH", 0, 0, 1, 1, len(central), len(local), 0)
    return local + central + end


def golden_door(folder: Path) -> Door:
    """Golden arrays in archives whose digests are right."""
    held = [members(second=False), members(second=True)]
    manifests = [json.loads(m[archive.MANIFEST]) for m in held]
    read = _Reading(folder)
    words = [b"\x93NUMPY", b"PK\x05\x06", b"(9999999999,)", b"'|O'", b"<f8", b"tiles.npy"]
    plain = [(n, m[archive.GOLDEN]) for n, m in enumerate(held)]
    bomb = _bomb(1 << 29)

    def rebuilt(rng: random.Random) -> bytes:
        names = ["tiles", "logits_litert", "logits_x", "verifier_tiles", "verifier_logits_litert"]
        arrays = {name: _array(rng) for name in rng.sample(names, rng.randrange(1, 5))}
        out = io.BytesIO()
        method = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
        with warnings.catch_warnings(), zipfile.ZipFile(out, "w", method) as made:
            warnings.simplefilter("ignore")
            for name, data in arrays.items():
                made.writestr(rng.choice((f"{name}.npy", f"{name}.npy", name, "../x.npy")), data)
        return out.getvalue()

    def damaged(rng: random.Random) -> tuple[int, bytes]:
        number = rng.randrange(2)
        seeds = [held[number][archive.GOLDEN]]
        flips = (20, lambda rng: mutate.octets(rng, seeds, words))
        return number, mutate.some(rng, flips, (20, rebuilt), (1, lambda _: bomb))

    def enter(content: tuple[int, bytes]) -> None:
        number, data = content
        manifest: dict[str, Any] = manifests[number]
        manifest["sha256"][archive.GOLDEN] = archive.sha256(data)
        text = json.dumps(manifest, indent=1, sort_keys=True).encode() + b"\n"
        read(archive.pack({**held[number], archive.MANIFEST: text, archive.GOLDEN: data}))

    return Door(enter, plain, damaged)
