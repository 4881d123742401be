"""What tells when and where a swath was seen: sidecars, receivers' logs, PDS3 labels, EXIF."""

from __future__ import annotations

import io
import json
import random
from functools import reduce
from operator import xor
from pathlib import Path

import numpy as np
from PIL import Image

from tests.fuzz import mutate
from tests.fuzz.door import Door
from winnow_edge.place.door import SUFFIXES, Asked, Shape, look
from winnow_edge.products.tail import Seen

ENTRY = {
    "line": 0,
    "utc": "2031-05-06T07:08:09.5Z",
    "latitude": -4.5,
    "longitude": 137.4,
    "corners": [[-4.5, 137.4], [-4.5, 137.5]],
    "altitude_m": 300_000,
    "quality": 1,
}
LABEL = b"""\
PDS_VERSION_ID = PDS3
START_TIME = 2031-05-06T07:08:09.000
OBJECT = IMAGE
  LINES = 600
  LINE_SAMPLES = 512
END_OBJECT = IMAGE
OBJECT = IMAGE_MAP_PROJECTION
  MAP_PROJECTION_TYPE = "EQUIRECTANGULAR"
  A_AXIS_RADIUS = 3396.19 <KM>
  C_AXIS_RADIUS = 3396.19 <KM>
  POSITIVE_LONGITUDE_DIRECTION = EAST
  CENTER_LATITUDE = 0.0 <DEG>
  CENTER_LONGITUDE = 137.0 <DEG>
  MAP_RESOLUTION = 1000.0 <PIX/DEG>
  MAP_SCALE = 59.27 <M/PIXEL>
  MAXIMUM_LATITUDE = 0.5 <DEG>
  MINIMUM_LATITUDE = -0.1 <DEG>
  LINE_PROJECTION_OFFSET = 500.0
  SAMPLE_PROJECTION_OFFSET = 0.0
  MAP_PROJECTION_ROTATION = 0.0
END_OBJECT = IMAGE_MAP_PROJECTION
END
"""
WORDS = (
    *(
        b"\n",
        b",",
        b"*",
        b"$",
        b"N",
        b"S",
        b"W",
        b"nan",
        b"inf",
        b"-1",
        b"1e400",
        b"9" * 400,
        b"\xff",
    ),
    *(
        b"POLAR STEREOGRAPHIC",
        b"EQUIRECTANGULAR",
        b"= ",
        b"N/A",
        b"/* ",
        b"*/",
        b"0.0",
        b"90.0",
        b"-90",
    ),
    *(b"/* " * 30_000, b"$GPRMC", b"$GPGGA", b"A", b"V", b"060531", b"999999", b"<DEG>", b"1e-300"),
)


def sentence(body: str) -> bytes:
    """A sentence of NMEA 0183 with the check that it must have."""
    return f"${body}*{reduce(xor, body.encode('utf-8', 'replace'), 0):02X}\r\n".encode()


def _log(rng: random.Random) -> bytes:
    """A log whose checks are right, with fields that are not."""
    odd = (
        "",
        "0",
        "-1",
        "nan",
        "9" * 20,
        "235960.5",
        "9999.999",
        "18000.0",
        "1e5",
        "²",
        "A",
        "N",
        "W",
    )
    sentences = []
    for n in range(rng.randrange(1, 5)):
        fields = ["GPRMC", f"07080{n}.00", "A", "4530.1", "N", "13724.0", "E", "1", "2", "060531"]
        if rng.randrange(2):
            fields = ["GPGGA", f"07080{n}.00", "4530.1", "N", "13724.0", "E", "1", "8", "1", "300"]
        for _ in range(rng.randrange(3)):
            fields[rng.randrange(len(fields))] = rng.choice(odd)
        sentences.append(sentence(",".join(fields)))
    return b"".join(sentences)


def _exif(rng: random.Random) -> bytes:
    """A JPEG whose tags say where it was taken, damaged or not."""
    image, tags = Image.new("L", (16, 16)), Image.Exif()
    gps = tags.get_ifd(0x8825)
    gps.update({1: "S", 2: (4.0, 30.0, 1.5), 3: "E", 4: (137.0, 24.0, 0.0)})
    gps.update({7: (7.0, 8.0, 9.5), 29: "2031:05:06"})
    key = rng.choice(sorted(gps))
    text = isinstance(gps[key], str)
    gps[key] = rng.choice(("", "x", "N") if text else ((1.0,), (400.0, 0.0, 0.0), (1e9, 1.0, 1.0)))
    out = io.BytesIO()
    image.save(out, "JPEG", exif=tags)
    if rng.randrange(2):
        return out.getvalue()
    return mutate.octets(rng, [out.getvalue()], (b"Exif\0\0", b"II*\0", b"MM\0*", b"\xff\xe1"))


def _sidecar(rng: random.Random) -> bytes:
    lines = []
    for n in range(rng.choice((1, 2, 5, 50))):
        entry = {
            **ENTRY,
            "line": 40 * n,
            "latitude": -4.5 + n / 9,
            "utc": f"2031-05-06T07:{n:02}:00Z",
        }
        if rng.randrange(3):
            del entry["corners"]
        text = mutate.dump(mutate.tree(rng, [entry]) if rng.randrange(4) == 0 else entry)
        lines.append(text.encode())
    data = b"\n".join(lines)
    return data if rng.randrange(3) else mutate.octets(rng, [data], WORDS)


def geometry_door(folder: Path) -> Door:
    """Files beside a swath; what they tell is asked for every tile and told to the ground."""
    swath = folder / "a.jpg"
    logs = [sentence("GPRMC,070809.00,A,4530.1,N,13724.0,E,1,2,060531") * 2]

    def damaged(rng: random.Random) -> tuple[dict[str, bytes], bool]:
        files: dict[str, bytes] = {}
        for _ in range(rng.choice((1, 1, 2))):
            match rng.choice(SUFFIXES):
                case ".geometry.jsonl" as suffix:
                    files[suffix] = _sidecar(rng)
                case ".LBL" | ".lbl" as suffix:
                    files[suffix] = mutate.octets(rng, [LABEL], WORDS)
                case suffix:
                    flips = (1, lambda rng: mutate.octets(rng, logs, WORDS))
                    files[suffix] = mutate.some(rng, (2, _log), flips)
        if rng.randrange(3) == 0:
            files[".jpg"] = _exif(rng)
        return files, rng.random() < 0.3

    def enter(content: tuple[dict[str, bytes], bool]) -> None:
        files, frame = content
        for old in folder.glob("a.*"):
            old.unlink()
        swath.write_bytes(b"P5")
        for suffix, data in files.items():
            (folder / f"a{suffix}").write_bytes(data)
        for time in (None, 870.0):
            found = look(swath, Shape(512, 600, time, frame), Asked())
            json.dumps(found.about(), allow_nan=False, ensure_ascii=False).encode()
            line, sample = np.array([0.0, 10.5, 599.0, 1e6]), np.array([0.0, 5.0, 511.0, 1e4])
            ns = found.instants(line)
            north, east = np.full((2, 4), np.nan)
            if found.places is not None:
                north, east = found.places.at(line, sample)
            Seen(ns, found.tai, north, east).tails()

    beside = {".geometry.jsonl": json.dumps(ENTRY).encode(), ".LBL": LABEL, ".nmea": logs[0]}
    plain = [({s: d}, False) for s, d in beside.items()]
    return Door(enter, plain, damaged)
