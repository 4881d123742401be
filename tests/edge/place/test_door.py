"""The door for geometry: what is believed, what is left out, and that no swath is lost for it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image

from winnow_edge.clock.utc import format_utc, parse_utc
from winnow_edge.errors import SwathError
from winnow_edge.place.door import Asked, Shape, beside, is_beside, look
from winnow_edge.place.geometry import Geometry
from winnow_edge.place.place import Place
from winnow_edge.place.sidecar import read_entries

SHAPE = Shape(samples=200, lines=300, line_time_us=870.0)
GOOD = [
    {"line": 0, "utc": "2022-01-30T14:43:59.182Z", "latitude": -71.0, "longitude": 200.0},
    {"line": 100, "utc": "2022-01-30T14:43:59.269Z", "latitude": -71.1, "longitude": 200.1},
    {"line": 299, "utc": "2022-01-30T14:43:59.442Z", "latitude": -71.2, "longitude": 200.2},
]
LABEL = """\
PDS_VERSION_ID = PDS3
/* START_TIME = 1999-01-01T00:00:00 in a comment */
START_TIME = 2022-01-30T14:43:59.182
OBJECT = IMAGE_MAP_PROJECTION
  MAP_PROJECTION_TYPE = "EQUIRECTANGULAR"
  A_AXIS_RADIUS = 3396.0 <KM>
  POSITIVE_LONGITUDE_DIRECTION = EAST
  CENTER_LATITUDE = 0.0 <DEG>
  CENTER_LONGITUDE = 180.0 <DEG>
  MAP_RESOLUTION = 100.0 <PIX/DEG>
  MAP_SCALE = 592.7 <METERS/PIXEL>
  MAXIMUM_LATITUDE = 10.0 <DEG>
  MINIMUM_LATITUDE = 4.0 <DEG>
  LINE_PROJECTION_OFFSET = 1000.0 <PIXEL>
  SAMPLE_PROJECTION_OFFSET = -500.0 <PIXEL>
END_OBJECT = IMAGE_MAP_PROJECTION
OBJECT = IMAGE
  LINES = 600
  LINE_SAMPLES = 400
END_OBJECT = IMAGE
END
"""
POLAR = (
    LABEL.replace('"EQUIRECTANGULAR"', '"POLAR STEREOGRAPHIC"')
    .replace("CENTER_LATITUDE = 0.0", "CENTER_LATITUDE = -90.0")
    .replace("CENTER_LONGITUDE = 180.0", "CENTER_LONGITUDE = 0.0")
    .replace("MAXIMUM_LATITUDE = 10.0", "MAXIMUM_LATITUDE = -76.5")
    .replace("MINIMUM_LATITUDE = 4.0", "MINIMUM_LATITUDE = -83.6")
)


def jsonl(*entries: dict[str, Any]) -> bytes:
    return "".join(json.dumps(entry) + "\n" for entry in entries).encode()


def told_by(
    tmp_path: Path, data: bytes, name: str = "strip.geometry.jsonl", **more: Any
) -> Geometry:
    swath = tmp_path / "strip.png"
    if not swath.exists():
        Image.new("L", (200, 300)).save(swath)
    (tmp_path / name).write_bytes(data)
    return look(swath, SHAPE, Asked(**more))


def place(geometry: Geometry, line: float, sample: float = 100.0) -> list[float]:
    assert geometry.places is not None
    found = geometry.places.at(np.array([line]), np.array([sample]))
    return [round(float(values[0]), 3) for values in found]


def test_a_sidecar_gives_lines_their_times_and_places(tmp_path: Path) -> None:
    found = told_by(tmp_path, jsonl(*GOOD))
    assert (found.faults, found.entries, found.source) == ((), 3, "sidecar")
    assert found.start is not None
    assert format_utc(found.start) == "2022-01-30T14:43:59.182Z"
    assert place(found, 50) == [-71.05, -159.95]
    halfway = int(found.instants(np.array([50.0]))[0])
    assert abs(halfway - parse_utc("2022-01-30T14:43:59.2255Z").ns) < 1000


def test_nothing_beside_a_swath_is_no_fault(tmp_path: Path) -> None:
    Image.new("L", (200, 300)).save(tmp_path / "strip.png")
    found = look(tmp_path / "strip.png", SHAPE)
    assert (found.about(), found.places) == ({}, None)
    assert look("-", SHAPE).about() == {}
    assert look("tcp://nobody:1", SHAPE).about() == {}


def test_files_beside_a_swath_are_found_by_its_name(tmp_path: Path) -> None:
    swath = tmp_path / "STRIP_RED.NOMAP.browse.jpg"
    assert list(beside(swath)) == []
    for name in ("STRIP_RED.LBL", "STRIP_RED.NOMAP.nmea", "other.geometry.jsonl"):
        (tmp_path / name).touch()
    assert [f.name for f in beside(swath)] == ["STRIP_RED.NOMAP.nmea", "STRIP_RED.LBL"]
    (tmp_path / "STRIP_RED.geometry.jsonl").touch()
    (tmp_path / f"{swath.name}.geometry.jsonl").touch()
    assert next(beside(swath)).name == f"{swath.name}.geometry.jsonl"
    assert is_beside("x.LBL")
    assert not is_beside("x.jsonl")


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ({"line": 50, "latitude": 95.0}, "`latitude` is not -90 to 90"),
        ({"line": 50, "latitude": -71, "longitude": 400}, "`longitude` is not -180 to 360"),
        ({"line": 50, "latitude": float("nan")}, "`latitude` is not"),
        ({"line": 50, "latitude": float("inf")}, "`latitude` is not"),
        ({"line": 50, "latitude": 10**400}, "`latitude` is not"),
        ({"line": 50, "latitude": "south"}, "`latitude` is not"),
        ({"line": 50, "latitude": True}, "`latitude` is not"),
        ({"line": -1, "latitude": -71}, "`line` is not 0 to"),
        ({"line": 50, "longitude": 20}, "a longitude without a latitude"),
        ({"latitude": -71, "longitude": 200}, "names no line"),
        ({"line": None, "latitude": -71, "longitude": 200}, "names no line"),
        ({"line": 0, "latitude": -71, "longitude": 200}, "line 0 is not after 0"),
        ({"line": 50, "utc": "2022-01-30T14:43:58Z"}, "its time is before"),
        ({"line": 50, "utc": "1957-01-01"}, "a time out of 1957"),
        ({"line": 50, "utc": 5}, "`utc` is no text"),
        ({"line": 50, "altitude_m": -1e9}, "`altitude_m` is not"),
        ({"line": 50, "corners": [[0, 0]]}, "`corners` are not two places"),
        ({"line": 50, "corners": [[0, 0], [0, 999]]}, "`longitude` is not"),
        ({"line": 50, "speed": 3}, "unknown key 'speed'"),
        ([1], "is no JSON object"),
        ("\x1b[2J", "is no JSON object"),
    ],
)
def test_an_entry_that_makes_no_sense_is_left_out_and_said(
    tmp_path: Path, bad: Any, why: str
) -> None:
    found = told_by(tmp_path, jsonl(GOOD[0], bad, *GOOD[1:]))
    assert (found.entries, found.left_out) == (3, 1)
    assert f"strip.geometry.jsonl: 1 entries left out (entry 2: {why}" in found.faults[0]
    assert found.faults[0].isprintable()
    assert place(found, 50) == [-71.05, -159.95]


@pytest.mark.parametrize("raw", [b"{", b"\xff\xfe{}", b"[" * 100_000, b"\x00", b'{"line": 1e400}'])
def test_octets_that_are_no_json_are_left_out(tmp_path: Path, raw: bytes) -> None:
    found = told_by(tmp_path, jsonl(GOOD[0]) + raw + b"\n" + jsonl(*GOOD[1:]))
    assert (found.entries, found.left_out) == (3, 1)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "has no entry"),
        (b"\n\n", "has no entry"),
        (b"\xff\xd8\xff" * 10_000, "1 of 1 entries make no sense (entry 1: is not UTF-8)"),
        (jsonl(*reversed(GOOD)), "2 of 3 entries make no sense"),
        (jsonl(GOOD[0], {"line": 1}, {"line": 0}, {"line": 0}, {"line": 0}), "3 of 5 entries"),
        (b'{"line": 1, "quality": 0}\n' * 3, "has no entry"),
    ],
)
def test_a_file_of_lies_is_not_believed(tmp_path: Path, data: bytes, says: str) -> None:
    found = told_by(tmp_path, data)
    assert (found.places, found.start) == (None, None)
    assert says in found.faults[0]
    assert len(found.faults) == 1


def test_a_file_that_cannot_be_read_is_a_fault(tmp_path: Path) -> None:
    swath, file = tmp_path / "strip.png", tmp_path / "strip.geometry.jsonl"
    Image.new("L", (200, 300)).save(swath)
    with file.open("wb") as stream:
        stream.truncate(8 << 30)  # gigabytes, on any disk
    assert "has more than 16,000,000 bytes" in look(swath, SHAPE).faults[0]
    file.unlink()
    asked = Asked(sidecar=file)
    assert "No such file" in look(swath, SHAPE, asked).faults[0]
    os.mkfifo(file)
    assert "is a pipe or device" in look(swath, SHAPE, asked).faults[0]
    with pytest.raises(SwathError, match="is no geometry"):
        look(swath, SHAPE, Asked(sidecar=swath))


def test_geometry_that_ends_early_leaves_the_rest_unknown(tmp_path: Path) -> None:
    found = told_by(tmp_path, jsonl(*GOOD[:2]))
    assert place(found, 100) == [-71.1, -159.9]
    assert np.isnan(place(found, 101)).all()
    # Times go on by the line time.
    assert found.instants(np.array([299.0]))[0] > found.instants(np.array([100.0]))[0]


@pytest.mark.parametrize("cut", [b"", b'{"line": 100, "utc": "2022-'])
def test_one_entry_alone_places_no_line(tmp_path: Path, cut: bytes) -> None:
    found = told_by(tmp_path, jsonl(GOOD[0]) + cut)
    assert found.places is None
    assert "one entry alone gives lines no places" in found.faults[-1]
    assert len(found.faults) == 1 + bool(cut)
    assert found.start is not None


def test_one_entry_places_a_picture(tmp_path: Path) -> None:
    file = tmp_path / "a.geometry.jsonl"
    file.write_bytes(jsonl(GOOD[0]))
    found = look("-", Shape(64, 64, None, frame=True), Asked(sidecar=file))
    assert (found.faults, place(found, 50)) == ((), [-71.0, -160.0])


@pytest.mark.parametrize(("lines", "frame"), [(300, False), (64, True)])
def test_entries_behind_the_last_line_are_not_believed(
    tmp_path: Path, lines: int, frame: bool
) -> None:
    file = tmp_path / "a.geometry.jsonl"
    file.write_bytes(jsonl(*({**entry, "line": entry["line"] + lines} for entry in GOOD)))
    shape = Shape(200, lines, 870.0, frame)
    found = look("-", shape, Asked(sidecar=file))
    assert (found.places, found.start, found.entries) == (None, None, 0)
    (fault,) = found.faults
    assert f"its first entry is of line {lines}, and the swath has {lines} lines" in fault
    # Of a swath whose end is not known yet, they may be the places of lines to come.
    assert look("-", Shape(200, None, 870.0), Asked(sidecar=file)).faults == ()
    file.write_bytes(jsonl({"line": 0, "altitude_m": 5}, *({**e, "line": 400} for e in GOOD[:1])))
    found = look("-", shape, Asked(sidecar=file))
    assert (found.places, found.altitude_m) == (None, (5, 5))
    assert "its first entry is of line 400" in found.faults[-1]


@pytest.mark.parametrize(("step", "start"), [(None, None), (870.0, "2022-01-30T14:43:58.834Z")])
def test_the_first_time_is_the_start_of_its_own_line(
    tmp_path: Path, step: float | None, start: str | None
) -> None:
    file = tmp_path / "a.geometry.jsonl"
    file.write_bytes(jsonl(*({**entry, "line": entry["line"] + 400} for entry in GOOD)))
    found = look("-", Shape(200, 900, step), Asked(sidecar=file))
    assert (found.start and format_utc(found.start)) == start
    times = found.instants(np.array([399.0, 400.0, 500.0, 699.0, 700.0]))
    assert (times < 0).tolist() == [step is None, False, False, False, step is None]
    assert times[1] == parse_utc(GOOD[0]["utc"]).ns
    said = "its first time is of line 400: the start of line 0 is not known"
    assert [said in fault for fault in found.faults] == [True] * (step is None)
    assert place(found, 450) == [-71.05, -159.95]


def test_options_win_over_files(tmp_path: Path) -> None:
    start = parse_utc("2025-01-01")
    found = told_by(tmp_path, jsonl(*GOOD), start=start, place=Place(5.0, None))
    assert (found.start, found.start_source, found.source) == (start, "told", "told")
    assert place(found, 0)[0] == 5
    assert found.instants(np.array([1.0]))[0] == start.ns + 870_000


def test_a_label_gives_start_and_places(tmp_path: Path) -> None:
    found = told_by(tmp_path, LABEL.encode(), "strip.LBL")
    assert (found.faults, found.source) == ((), "label")
    assert found.start is not None
    assert format_utc(found.start) == "2022-01-30T14:43:59.182Z"
    # Two pixels of the map make one of the swath: its first is 0.5 pixels into the map.
    assert place(found, 0, 0) == [round((1000 - 0.5) / 100, 3), -174.995]
    assert place(found, 299, 199) == [round((1000 - 598.5) / 100, 3), round(-175 + 3.985, 3)]


def test_a_polar_label_gives_places_around_its_pole(tmp_path: Path) -> None:
    found = told_by(tmp_path, POLAR.encode(), "strip.LBL")
    assert found.faults == ()
    # 1000 pixels of 592.7 m up from the pole, at longitude 0; 500 to the right of it.
    distance = np.degrees(2 * np.arctan(np.hypot(500.5, 999.5) * 592.7 / (2 * 3_396_000)))
    assert place(found, 0, 0) == pytest.approx([distance - 90, 26.6], abs=0.01)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("LINES = 600", "LINES = 900", "another shape than the swath's"),
        ("LINES = 600", "LINES = 0", "LINES is 0, not 1"),
        ("MAP_RESOLUTION = 100.0", "MAP_RESOLUTION = NaN", "MAP_RESOLUTION is nan"),
        ("MAP_RESOLUTION = 100.0", "MAP_RESOLUTION = fine", "MAP_RESOLUTION is 'fine"),
        ("MAP_RESOLUTION", "MAP_REVOLUTION", "MAP_RESOLUTION is 'missing'"),
        ("MAXIMUM_LATITUDE = 10.0", "MAXIMUM_LATITUDE = 70.0", "its extremes are 4.00 and 70.00"),
        ("MINIMUM_LATITUDE = 4.0", "MINIMUM_LATITUDE = 9.0", "its projection spans latitudes"),
        ('"EQUIRECTANGULAR"', '"SINUSOIDAL"', "projection 'SINUSOIDAL' is not known here"),
        ("LINES = 600", "LINES = 600\n MAP_PROJECTION_ROTATION = 90.0", "its map is rotated"),
        ("LINE_PROJECTION_OFFSET = 1000.0", "LINE_PROJECTION_OFFSET = 1e9", "its projection spans"),
    ],
)
def test_a_label_that_lies_gives_no_places(tmp_path: Path, old: str, new: str, says: str) -> None:
    text = LABEL.replace(old, new)
    assert text != LABEL
    found = told_by(tmp_path, text.encode(), "strip.LBL")
    assert found.places is None
    assert says in found.faults[0]
    assert found.start is not None


@pytest.mark.parametrize(
    ("told", "faults"), [("N/A", 0), ('"UNK"', 0), ("1066-10-14T09:00:00", 1), ("soon", 1)]
)
def test_a_label_without_a_start_that_makes_sense(tmp_path: Path, told: str, faults: int) -> None:
    text = LABEL.replace("START_TIME = 2022-01-30T14:43:59.182", f"START_TIME = {told}")
    found = told_by(tmp_path, text.encode(), "strip.LBL")
    assert (found.start, len(found.faults)) == (None, faults)


def test_comments_of_a_label_that_do_not_end_take_no_time(tmp_path: Path) -> None:
    data = LABEL.encode() + b"/* " * 1_000_000
    assert place(told_by(tmp_path, data, "strip.LBL"), 0) == place(
        told_by(tmp_path, LABEL.encode(), "strip.LBL"), 0
    )


def test_another_file_by_the_name_of_a_label(tmp_path: Path) -> None:
    assert "is no PDS3 label" in told_by(tmp_path, b"\xff" * 100, "strip.LBL").faults[0]


@pytest.mark.data
def test_the_label_of_a_real_strip(mars_data: Path) -> None:
    swath = mars_data / "swaths" / "ESP_072719_1970_RED.browse.jpg"
    with Image.open(swath) as image:
        samples, lines = image.size
    found = look(swath, Shape(samples, lines, None))
    assert found.faults == ()
    assert found.start is not None
    assert format_utc(found.start) == "2022-01-30T14:43:59.182Z"
    # The corners that the label gives beside its projection.
    assert place(found, 0, 0) == pytest.approx([17.1005, 246.3529 - 360], abs=1e-3)
    assert place(found, lines, samples) == pytest.approx([16.9531, 246.4570 - 360], abs=1e-3)


def sentence(body: str) -> str:
    total = 0
    for character in body.encode():
        total ^= character
    return f"${body}*{total:02X}\r\n"


FIXES = [
    sentence("GPRMC,144359.182,A,4530.00,N,01215.00,W,0,0,300122,,"),
    sentence("GPGGA,144359.269,4530.60,N,01215.60,W,1,8,1,100,M,0,M,,"),
    sentence("GNRMC,144359.442,A,4531.20,N,01216.20,W,0,0,300122,,"),
]


def test_a_receivers_log_places_lines_by_their_times(tmp_path: Path) -> None:
    start = parse_utc("2022-01-30T14:43:59.182Z")
    found = told_by(tmp_path, "".join(FIXES).encode(), "strip.nmea", start=start)
    assert (found.faults, found.entries, found.source) == ((), 3, "receiver")
    assert found.altitude_m == (100, 100)
    assert place(found, 0) == [45.5, -12.25]
    assert place(found, 100) == [45.51, -12.26]
    assert np.isnan(place(found, 299)).all() == (299 * 870 > 260_000)
    late = told_by(tmp_path, "".join(FIXES).encode(), "strip.nmea")
    assert "start or line time is not known" in late.faults[0]


def of_log(tmp_path: Path, start: str, *fixes: str, shape: Shape = SHAPE) -> Geometry:
    file = tmp_path / "a.nmea"
    file.write_text("".join(fixes))
    return look("-", shape, Asked(start=parse_utc(start), sidecar=file))


FRAME = Shape(64, 64, None, frame=True)
LATER = sentence("GPRMC,144519.182,A,4530.00,N,01215.00,W,0,0,300122,,")  # 80 s after the first


@pytest.mark.parametrize("start", ["2021-03-30T14:43:59.182Z", "2022-11-30T14:43:59.182Z"])
@pytest.mark.parametrize("shape", [SHAPE, FRAME, Shape(200, None, 870.0)])
@pytest.mark.parametrize("fixes", [FIXES[:1], FIXES])
def test_a_log_of_another_time_gives_no_places(
    tmp_path: Path, start: str, shape: Shape, fixes: list[str]
) -> None:
    found = of_log(tmp_path, start, *fixes, shape=shape)
    assert (found.places, found.altitude_m) == (None, None)
    (fault,) = found.faults
    assert "its fixes are of 2022-01-30T14:43:59.182Z to 2022-01-30T14:4" in fault
    assert f"none is of the swath, which began {start}" in fault


def test_one_fix_alone_places_a_picture_of_its_second_and_no_strip(tmp_path: Path) -> None:
    found = of_log(tmp_path, "2022-01-30T14:43:59.1Z", FIXES[0])
    assert found.places is None
    assert "one fix alone gives lines no places" in found.faults[0]
    for near, known in (("59.982", True), ("58.282", True), ("57.982", False)):
        found = of_log(tmp_path, f"2022-01-30T14:43:{near}Z", FIXES[0], shape=FRAME)
        assert (found.places is not None, found.faults == ()) == (known, known)
        assert not known or place(found, 9) == [45.5, -12.25]


def test_over_a_minute_without_a_fix_nothing_is_known(tmp_path: Path) -> None:
    for shape in (SHAPE, FRAME):
        found = of_log(tmp_path, "2022-01-30T14:44:30Z", *FIXES, LATER, shape=shape)
        assert found.places is None or np.isnan(place(found, 9)).all()
        (fault,) = found.faults
        assert "1 steps between fixes are too far or too long" in fault
    # Before the swath the receiver may have been off.
    found = of_log(tmp_path, "2022-01-30T14:45:19.182Z", *FIXES, LATER, LATER.replace("*", "0*"))
    assert found.places is None
    earlier = sentence("GPRMC,144250.000,A,4530.00,N,01215.00,W,0,0,300122,,")
    found = of_log(tmp_path, "2022-01-30T14:43:59.182Z", earlier, *FIXES)
    assert (found.faults, place(found, 100)) == ((), [45.51, -12.26])


def test_a_picture_between_two_fixes_has_a_place_between_them(tmp_path: Path) -> None:
    near = sentence("GPRMC,144409.182,A,4530.60,N,01215.60,W,0,0,300122,,")
    found = of_log(tmp_path, "2022-01-30T14:44:04.182Z", FIXES[0], near, shape=FRAME)
    assert (found.faults, place(found, 0)) == ((), [45.505, -12.255])


@pytest.mark.parametrize(
    "bad",
    [
        FIXES[1].replace("4530", "4531"),  # its check is wrong now
        sentence("GPGGA,144359.269,9930.60,N,01215.60,W,1,8,1,100,M,0,M,,"),
        sentence("GPGGA,144359.269,4560.00,N,01215.60,W,1,8,1,100,M,0,M,,"),
        sentence("GPGGA,144359.269,4530.60,X,01215.60,W,1,8,1,100,M,0,M,,"),
        sentence("GPGGA,144359.269,4530.60,N,01215.60,W,1,8,1,high,M,0,M,,"),
        sentence("GPGGA,noon,4530.60,N,01215.60,W,1,8,1,100,M,0,M,,"),
        sentence("GPRMC,144359.2,A,4530.60,N,01215.60,W,0,0,320122,,"),
        "$GPGGA\n",
        "$GPRMC,,,*zz\n",
    ],
)
def test_sentences_that_make_no_sense_are_left_out(tmp_path: Path, bad: str) -> None:
    log = (FIXES[0] + bad + FIXES[2]).encode() + b"\xff\xfe$GPXXX garbage\n"
    start = parse_utc("2022-01-30T14:43:59.182Z")
    found = told_by(tmp_path, log, "strip.nmea", start=start)
    assert (found.entries, found.left_out) == (2, 1)
    only = told_by(tmp_path, bad.encode(), "strip.nmea", start=start)
    assert "has no fix" in only.faults[0]


def picture(tmp_path: Path, **tags: Any) -> Path:
    exif = Image.Exif()
    gps = {getattr(ExifTags.GPS, name): value for name, value in tags.items()}
    exif[ExifTags.IFD.GPSInfo] = gps
    path = tmp_path / "drone.jpg"
    Image.new("L", (64, 64)).save(path, exif=exif)
    return path


TAGS: dict[str, Any] = {
    "GPSLatitudeRef": "S", "GPSLatitude": (45.0, 30.0, 36.0),
    "GPSLongitudeRef": "E", "GPSLongitude": (12.0, 15.0, 0.0),
    "GPSTimeStamp": (14.0, 43.0, 59.5), "GPSDateStamp": "2022:01:30",
}  # fmt: skip


def test_a_picture_says_where_it_was_taken(tmp_path: Path) -> None:
    found = look(picture(tmp_path, **TAGS), Shape(64, 64, None, frame=True))
    assert (found.source, found.start_source) == ("EXIF", "EXIF")
    assert place(found, 32) == [-45.51, 12.25]
    assert found.start is not None
    assert format_utc(found.start) == "2022-01-30T14:43:59.500Z"
    assert (found.instants(np.array([10.0])) == found.start.ns).all()
    assert found.altitude_m is None


@pytest.mark.parametrize(("ref", "metres"), [(b"\0", 12.5), (b"\1", -12.5)])
def test_a_picture_says_how_high_it_was_taken(tmp_path: Path, ref: bytes, metres: float) -> None:
    tags = TAGS | {"GPSAltitude": 12.5, "GPSAltitudeRef": ref}
    found = look(picture(tmp_path, **tags), Shape(64, 64, None, frame=True))
    assert found.altitude_m == (metres, metres)


@pytest.mark.parametrize(
    "wrong",
    [
        {"GPSLatitude": (95.0, 0.0, 0.0)}, {"GPSLatitude": (5.0,)}, {"GPSLatitudeRef": "X"},
        {"GPSLongitude": (181.0, 0.0, 0.0)}, {"GPSLongitudeRef": "N"},
    ],
)  # fmt: skip
def test_tags_that_make_no_sense_say_nothing(tmp_path: Path, wrong: dict[str, Any]) -> None:
    found = look(picture(tmp_path, **(TAGS | wrong)), Shape(64, 64, None, frame=True))
    assert found.places is None
    assert found.start is not None


def test_damaged_pictures_say_nothing(tmp_path: Path) -> None:
    path = picture(tmp_path, **TAGS)
    whole = path.read_bytes()
    for at in range(0, 400, 3):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        assert look(path, Shape(64, 64, None, frame=True)).faults == ()
        path.write_bytes(whole[:at])
        assert look(path, Shape(64, 64, None, frame=True)).faults == ()


@given(st.binary(max_size=300) | st.text(max_size=100).map(str.encode))
def test_any_octets_are_read_or_left_out(data: bytes) -> None:
    told = read_entries(data)
    assert len(told.entries) + told.left_out <= data.count(b"\n") + 1
    assert (told.why is None) == (told.left_out == 0)


entry = st.fixed_dictionaries(
    {"line": st.integers(-5, 400) | st.floats()},
    optional={
        "latitude": st.floats(), "longitude": st.floats() | st.integers(), "quality": st.floats(),
        "utc": st.sampled_from(["2022-01-30T14:43:59Z", "2094-01-01", "1958-01-01", "x", ""]),
        "corners": st.lists(st.lists(st.floats(-200, 200), max_size=3), max_size=3),
        "altitude_m": st.floats(),
    },
)  # fmt: skip


@given(st.lists(entry, max_size=8), st.integers(1, 300), st.sampled_from([None, 0.1, 870.0, 1e9]))
@settings(max_examples=200)
def test_whatever_is_told_times_and_places_are_sound(
    tmp_path_factory: pytest.TempPathFactory,
    entries: list[dict[str, Any]],
    samples: int,
    step: float | None,
) -> None:
    folder = tmp_path_factory.mktemp("door")
    file = folder / "x.geometry.jsonl"
    file.write_bytes(jsonl(*entries))
    found = look("-", Shape(samples, None, step), Asked(sidecar=file))
    lines, across = np.arange(0.0, 400), np.linspace(0, samples - 1, 400)
    times = found.instants(lines)
    known = times[times >= 0]
    assert (np.diff(known) >= 0).all()
    if found.places is not None:
        north, east = found.places.at(lines, across)
        assert (np.isnan(north) | (np.abs(north) <= 90)).all()
        assert (np.isnan(east) | (np.abs(east) <= 180)).all()
        assert np.isnan(east[np.isnan(north)]).all()
    assert json.loads(json.dumps(found.about(), allow_nan=False)) == found.about()
    assert all("\n" not in fault for fault in found.faults)
