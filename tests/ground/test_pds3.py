"""PDS3 images: labels, layouts, and labels that are wrong."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from winnow_base.errors import DataError
from winnow_ground.feed import blocks, describe
from winnow_ground.pds3 import parse_label

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


def read(path: Path, band: int = 1) -> np.ndarray:
    return np.concatenate(list(blocks(describe(path, band, None), band)))


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
    assert (read(tmp_path / name) == WIDE).all()


@pytest.mark.parametrize("pointer", ["3", "801 <BYTES>", '("strip.img", 3)'])
def test_an_attached_label_with_either_byte_order(pointer: str, tmp_path: Path) -> None:
    path = tmp_path / "strip.img"
    path.write_bytes(attached(pointer=pointer) + WIDE.astype("<u2").tobytes())
    assert (read(path) == WIDE).all()
    path.write_bytes(
        attached(pointer=pointer, SAMPLE_TYPE="UNSIGNED_INTEGER") + WIDE.astype(">u2").tobytes()
    )
    assert (read(path) == WIDE).all()


def test_bytes_around_lines_are_left_out(tmp_path: Path) -> None:
    pixels = (WIDE % 251).astype(np.uint8)
    padded = np.pad(pixels, ((0, 0), (3, 5)), constant_values=255)
    more = "LINE_PREFIX_BYTES = 3\r\nLINE_SUFFIX_BYTES = 5\r\n"
    path = tmp_path / "strip.img"
    path.write_bytes(attached(more, SAMPLE_BITS=8) + padded.tobytes())
    assert (read(path) == pixels).all()


def test_a_file_shorter_than_its_label_says_keeps_its_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "strip.img"
    path.write_bytes(attached(lines=40) + WIDE.astype("<u2").tobytes() + b"x")
    found = []
    with pytest.raises(DataError, match="10 of 40 lines that the label says are missing"):
        found.extend(blocks(describe(path, 1, None), 1))
    assert (np.concatenate(found) == WIDE).all()


def test_bands_that_follow_one_another(tmp_path: Path) -> None:
    path = tmp_path / "strip.img"
    both = np.stack([WIDE, WIDE[::-1]])
    path.write_bytes(attached("BANDS = 2\r\n") + both.astype("<u2").tobytes())
    assert (read(path, 1) == WIDE).all()
    assert (read(path, 2) == WIDE[::-1]).all()
    with pytest.raises(DataError, match="has 2 bands, not 3"):
        describe(path, 3, None)


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
        (attached(SAMPLE_BITS="(8, 16)"), "SAMPLE_BITS is"),
    ],
)
def test_labels_that_are_wrong_say_how(label: bytes, says: str, tmp_path: Path) -> None:
    path = tmp_path / "strip.img"
    path.write_bytes(label + bytes(40))
    with pytest.raises(DataError) as caught:
        describe(path, 1, None)
    assert says in str(caught.value)


def test_a_band_of_which_no_line_is_there_is_told(tmp_path: Path) -> None:
    path = tmp_path / "strip.img"
    path.write_bytes(attached("BANDS = 2\r\n") + WIDE.astype("<u2").tobytes())
    with pytest.raises(DataError, match="30 of 30 lines that the label says are missing"):
        read(path, 2)


def test_a_label_cannot_point_outside_its_folder(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(bytes(1200))
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "strip.lbl").write_text(DETACHED.replace("STRIP.IMG", "../secret"))
    with pytest.raises(DataError, match="points to secret, which is not there"):
        describe(folder / "strip.lbl", 1, None)


@given(st.text(alphabet="ABC=(){},<>\"' \n/*123#^_END", max_size=80) | st.text(max_size=60))
def test_any_text_parses_or_is_refused(text: str) -> None:
    for whole in (text, f"A = B\n{text}", DETACHED[: len(text) * 7] + text):
        try:
            parse_label(whole)
        except DataError as error:
            assert "\n" not in str(error)


# rasterio 1.4 sets the shape of its arrays, which NumPy 2.5 deprecates (Python 3.12 and 3.13).
@pytest.mark.filterwarnings("ignore:Setting the shape on a NumPy:DeprecationWarning")
@pytest.mark.parametrize(("kind", "order"), [("PC_REAL", "<f4"), ("IEEE_REAL", ">f4")])
def test_real_samples_are_stretched(kind: str, order: str, tmp_path: Path) -> None:
    pytest.importorskip("rasterio", reason="extra `feed` is not installed")
    path = tmp_path / "strip.img"
    label = attached(SAMPLE_TYPE=kind, SAMPLE_BITS=32)
    path.write_bytes(label + WIDE.astype(order).tobytes())
    with pytest.raises(DataError, match="has float32 samples"):
        describe(path, 1, None)
    feed = describe(path, 1, (0.0, 65_534.0))
    assert (np.concatenate(list(blocks(feed, 1))) == WIDE + 1).all()


def test_comments_without_end_take_no_time_to_refuse(tmp_path: Path) -> None:
    path = tmp_path / "strip.lbl"
    path.write_bytes(b"PDS_VERSION_ID = PDS3 " + b"/* " * 300_000)
    with pytest.raises(DataError, match=r"where a keyword should be|has no value"):
        describe(path, 1, None)


@pytest.mark.parametrize("name", ["pipe", "n" * 400])
def test_a_label_that_points_to_no_file_is_refused(name: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "strip.lbl").write_text(DETACHED.replace("STRIP.IMG", name))
    with pytest.raises(DataError, match=r"which is not there|cannot be read"):
        describe(tmp_path / "strip.lbl", 1, None)


def test_a_real_label_of_a_compressed_image(mars_data: Path) -> None:
    label = mars_data / "swaths" / "ESP_072719_1970_RED.LBL"
    found = parse_label(label.read_text()).find("VIEWING_PARAMETERS")
    assert found is not None
    assert found[0].values["INCIDENCE_ANGLE"] == 56.225262
    with pytest.raises(DataError, match=r"points to ESP_072719_1970_RED.IMG, which is not there"):
        describe(label, 1, None)


def test_the_samples_of_a_real_label(mars_data: Path, tmp_path: Path) -> None:
    """The label in the archive's words, its image cut to 50 lines of 60 samples."""
    text = (mars_data / "swaths" / "ESP_072719_1970_RED.LBL").read_text()
    text = re.sub(r"(?m)^( +LINES +=) \d+", r"\1 50", text)
    text = re.sub(r"(?m)^( +LINE_SAMPLES +=) \d+", r"\1 60", text)
    (tmp_path / "ESP_072719_1970_RED.LBL").write_text(text)
    pixels = (np.arange(3000, dtype=np.uint16) * 13).reshape(50, 60)
    (tmp_path / "ESP_072719_1970_RED.IMG").write_bytes(pixels.astype(">u2").tobytes())
    assert (read(tmp_path / "ESP_072719_1970_RED.LBL") == pixels).all()
