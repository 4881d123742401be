"""PDS3 images: labels, layouts, and labels that are wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from winnow_edge.errors import SwathError
from winnow_edge.mission import Instrument
from winnow_edge.sources import open_source
from winnow_edge.sources.pds3 import ImageLayout, parse_label, read_layout

CAMERA = Instrument(bundle="x")
WIDE = (np.arange(30 * 20, dtype=np.uint16) * 101).reshape(30, 20)
DETACHED = """\
PDS_VERSION_ID = PDS3 /* a comment
over two lines */
RATIONALE_DESC = "Two
                  lines = with an equals sign"
FILTERS = ((RED, 1 <NM>), {BLUE, "N/A"})
OBJECT = UNCOMPRESSED_FILE
  RECORD_BYTES = 40 <BYTES>
  ^IMAGE = "STRIP.IMG"
  OBJECT = IMAGE
    LINES = 30
    LINE_SAMPLES = 20
    SAMPLE_TYPE = MSB_UNSIGNED_INTEGER
    SAMPLE_BITS = 16
    SAMPLE_BIT_MASK = 2#0000001111111111#
  END_OBJECT = IMAGE
END_OBJECT
END
"""


def read(path: Path) -> tuple[np.ndarray, str | None]:
    source = open_source(path, instrument=CAMERA)
    out = np.empty((7, source.samples), np.uint16 if source.bits == 16 else np.uint8)
    blocks = []
    while count := source.read(out):
        blocks.append(out[:count].copy())
    source.close()
    return np.concatenate(blocks), source.truncated


def attached(more: str = "", pointer: str = "3", lines: int = 30, **other: object) -> bytes:
    values = {"SAMPLE_TYPE": "LSB_UNSIGNED_INTEGER", "SAMPLE_BITS": 16, "LINE_SAMPLES": 20} | other
    body = "".join(f"{key} = {value}\r\n" for key, value in values.items())
    text = (
        f"PDS_VERSION_ID = PDS3\r\nRECORD_BYTES = 400\r\n^IMAGE = {pointer}\r\n"
        f"OBJECT = IMAGE\r\nLINES = {lines}\r\n{body}{more}END_OBJECT = IMAGE\r\nEND\r\n"
    )
    return text.encode().ljust(800)


@pytest.mark.parametrize("name", ["strip.lbl", "strip.img"])
def test_a_detached_label_is_found_from_either_file(name: str, tmp_path: Path) -> None:
    (tmp_path / "strip.lbl").write_text(DETACHED)
    (tmp_path / "strip.img").write_bytes(WIDE.astype(">u2").tobytes())
    lines, truncated = read(tmp_path / name)
    assert (lines == WIDE).all()
    assert truncated is None


@pytest.mark.parametrize("pointer", ["3", "801 <BYTES>", '("strip.img", 3)'])
def test_an_attached_label_with_either_byte_order(pointer: str, tmp_path: Path) -> None:
    path = tmp_path / "strip.img"
    path.write_bytes(attached(pointer=pointer) + WIDE.astype("<u2").tobytes())
    assert (read(path)[0] == WIDE).all()
    path.write_bytes(
        attached(pointer=pointer, SAMPLE_TYPE="UNSIGNED_INTEGER") + WIDE.astype(">u2").tobytes()
    )
    assert (read(path)[0] == WIDE).all()


def test_bytes_around_lines_are_left_out(tmp_path: Path) -> None:
    pixels = (WIDE % 251).astype(np.uint8)
    padded = np.pad(pixels, ((0, 0), (3, 5)), constant_values=255)
    more = "LINE_PREFIX_BYTES = 3\r\nLINE_SUFFIX_BYTES = 5\r\n"
    path = tmp_path / "strip.img"
    path.write_bytes(attached(more, SAMPLE_BITS=8) + padded.tobytes())
    assert (read(path)[0] == pixels).all()


def test_a_file_shorter_than_its_label_says_keeps_its_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "strip.img"
    path.write_bytes(attached(lines=40) + WIDE.astype("<u2").tobytes() + b"x")
    lines, truncated = read(path)
    assert (lines == WIDE).all()
    assert truncated == "10 of 40 lines that the label says are missing"


@pytest.mark.parametrize(
    ("label", "says"),
    [
        (attached(lines=0), "LINES is 0"),
        (attached(LINE_SAMPLES=400), "its label says 30 lines of 800 bytes"),
        (attached(LINE_SAMPLES="many"), "LINE_SAMPLES is 'many'"),
        (attached(SAMPLE_BITS=32), "32-bit samples"),
        (attached(SAMPLE_TYPE="IEEE_REAL"), "type IEEE_REAL"),
        (attached("BANDS = 3\r\nBAND_STORAGE_TYPE = SAMPLE_INTERLEAVED\r\n"), "3 bands"),
        (attached('ENCODING_TYPE = "HUFFMAN"\r\n'), "samples are encoded (HUFFMAN)"),
        (attached(pointer='"OTHER.IMG"'), "points to OTHER.IMG, which is not there"),
        (attached(pointer="-4"), "^IMAGE is -4"),
        (attached(pointer="99"), "strip.img has 840 bytes"),
        (b"PDS_VERSION_ID = PDS3\r\nEND\r\n", "no IMAGE object"),
        (b"PDS_VERSION_ID = \r\n", "where a value should be"),
        (b"PDS_VERSION_ID = (1, 2\r\n", "a sequence does not end"),
        (b"PDS_VERSION_ID PDS3\r\n", "PDS_VERSION_ID has no value"),
        (b"PDS_VERSION_ID = PDS3 END_OBJECT = X\r\n", "END_OBJECT without a beginning"),
        (b"PDS_VERSION_ID = " + b"(" * 5000, "sequences within sequences"),
    ],
)
def test_labels_that_are_wrong_say_how(label: bytes, says: str, tmp_path: Path) -> None:
    path = tmp_path / "strip.img"
    path.write_bytes(label + bytes(40))
    with pytest.raises(SwathError) as caught:
        open_source(path, instrument=CAMERA)
    assert says in str(caught.value)


def test_a_label_cannot_point_outside_its_folder(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(bytes(1200))
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "strip.lbl").write_text(DETACHED.replace("STRIP.IMG", "../secret"))
    with pytest.raises(SwathError, match="points to secret, which is not there"):
        open_source(folder / "strip.lbl", instrument=CAMERA)


@given(st.text(alphabet="ABC=(){},<>\"' \n/*123#^_END", max_size=80) | st.text(max_size=60))
def test_any_text_parses_or_is_refused(text: str) -> None:
    for whole in (text, f"A = B\n{text}", DETACHED[: len(text) * 7] + text):
        try:
            parse_label(whole)
        except SwathError as error:
            assert "\n" not in str(error)


def test_a_real_label(mars_data: Path) -> None:
    label = mars_data / "swaths" / "ESP_072719_1970_RED.LBL"
    assert read_layout(label) == ImageLayout(
        label.with_suffix(".IMG"), 0, 34_927, 23_846, 16, "big", 0, 0
    )
    root = parse_label(label.read_text())
    found = root.find("VIEWING_PARAMETERS")
    assert found is not None
    assert found[0].values["INCIDENCE_ANGLE"] == 56.225262
    with pytest.raises(SwathError, match="a compressed one is for `winnow feed`"):
        open_source(label, instrument=CAMERA)
