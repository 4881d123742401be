"""Swath sources: every format gives the same lines, and what is damaged says so."""

from __future__ import annotations

import contextlib
import io
import os
import threading
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from winnow_edge.bundle import InputSpec
from winnow_edge.errors import SwathError, WinnowEdgeError
from winnow_edge.mission import Instrument
from winnow_edge.prepare.chain import open_lines
from winnow_edge.prepare.stretch import Stretch
from winnow_edge.sources.contract import Lines, LineSource, fill
from winnow_edge.sources.open import open_source

CAMERA = Instrument(bundle="x")


def smooth(lines: int, samples: int) -> npt.NDArray[np.uint8]:
    """A picture that JPEG keeps well and of which no row is all zero."""
    y, x = np.mgrid[:lines, :samples]
    return (120 + 60 * np.sin(y / 23) + 50 * np.cos(x / 31)).astype(np.uint8)


def read_all(source: LineSource, block: int = 37) -> Lines:
    dtype = np.uint16 if source.bits == 16 else np.uint8
    shape: tuple[int, ...] = (block, source.samples)
    if source.channels == 3:
        shape = (*shape, 3)
    out, blocks = np.empty(shape, dtype), []
    with contextlib.closing(source):
        while count := fill(source, out):
            blocks.append(out[:count].copy())
    return np.concatenate(blocks) if blocks else np.empty((0, *shape[1:]), dtype)


def saved(path: Path, pixels: npt.NDArray[np.uint8], **options: object) -> Path:
    Image.fromarray(pixels).save(path, **options)
    return path


@pytest.mark.parametrize("name", ["s.png", "s.pgm", "s.raw"])
def test_lossless_formats_give_the_very_pixels(name: str, tmp_path: Path) -> None:
    pixels = smooth(301, 97)
    path = tmp_path / name
    if name.endswith(".raw"):
        path.write_bytes(pixels.tobytes())
    else:
        saved(path, pixels)
    source = open_source(path, instrument=CAMERA, samples=97)
    assert source.fingerprint
    assert (source.samples, source.lines, source.channels, source.bits) == (97, 301, 1, 8)
    assert (read_all(source) == pixels).all()
    assert source.truncated is None


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}])
@pytest.mark.parametrize("block", [1, 37, 5000])
def test_jpeg_is_what_pillow_decodes(
    options: dict[str, object], block: int, tmp_path: Path
) -> None:
    path = saved(tmp_path / "s.jpg", smooth(2000, 120), quality=90, **options)
    source = open_source(path, instrument=CAMERA)
    assert (read_all(source, block) == np.asarray(Image.open(path))).all()
    assert source.truncated is None


def test_a_jpeg_with_black_rows_is_read_whole(tmp_path: Path) -> None:
    pixels = smooth(4000, 64)
    pixels[500:3000] = 0
    pixels[3900:] = 0
    path = saved(tmp_path / "s.jpg", pixels, quality=95)
    source = open_source(path, instrument=CAMERA)
    assert (read_all(source) == np.asarray(Image.open(path))).all()
    assert source.truncated is None


@pytest.mark.parametrize("suffix", ["png", "jpg"])
@pytest.mark.parametrize("progressive", [False, True])
def test_colour_becomes_grey_or_stays(suffix: str, progressive: bool, tmp_path: Path) -> None:
    rgb = np.stack([smooth(80, 60), smooth(80, 60).T[:60].T, 255 - smooth(80, 60)], axis=2)
    options = {"quality": 95, "progressive": progressive} if suffix == "jpg" else {}
    path = saved(tmp_path / f"s.{suffix}", rgb, **options)
    colour = read_all(open_source(path, instrument=CAMERA, grey=False))
    assert (colour == np.asarray(Image.open(path).convert("RGB"))).all()
    grey = read_all(open_source(path, instrument=CAMERA)).astype(int)
    # libjpeg's own luma is within a step or two of that of its RGB.
    assert abs(grey - np.asarray(Image.open(path).convert("L"))).max() <= 2


@pytest.mark.parametrize("mode", ["LA", "RGBA", "P", "1"])
def test_other_png_modes_become_grey(mode: str, tmp_path: Path) -> None:
    image = Image.fromarray(smooth(50, 40)).convert("RGB" if mode == "P" else "L").convert(mode)
    image.save(tmp_path / "s.png")
    grey = read_all(open_source(tmp_path / "s.png", instrument=CAMERA))
    assert (grey == np.asarray(Image.open(tmp_path / "s.png").convert("L"))).all()


def test_sixteen_bits_in_every_format(tmp_path: Path) -> None:
    wide = (np.arange(60 * 40, dtype=np.uint16) * 27).reshape(60, 40)
    (tmp_path / "little.raw").write_bytes(wide.astype("<u2").tobytes())
    (tmp_path / "big.raw").write_bytes(wide.astype(">u2").tobytes())
    (tmp_path / "s.pgm").write_bytes(b"P5 40 60 65535\n" + wide.astype(">u2").tobytes())
    Image.fromarray(wide).save(tmp_path / "s.png")
    big = Instrument(bundle="x", byte_order="big")
    for name, camera in (("little.raw", CAMERA), ("big.raw", big), ("s.pgm", big), ("s.png", big)):
        bits = 16 if name.endswith("raw") else None
        source = open_source(tmp_path / name, instrument=camera, samples=40, bits=bits)
        assert source.bits == 16
        assert (read_all(source) == wide).all(), name


def test_pgm_comments_and_maxval(tmp_path: Path) -> None:
    path = tmp_path / "s.pgm"
    path.write_bytes(b"P5\n# made by hand\n3 # wide\n2\n15\n" + bytes([0, 1, 15, 7, 8, 20]))
    lines = read_all(open_source(path, instrument=CAMERA))
    assert lines.tolist() == [[0, 17, 255], [119, 136, 255]]


def test_a_cut_pgm_keeps_its_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "s.pgm"
    path.write_bytes(b"P5 10 8 255\n" + bytes(range(10)) * 3 + b"half")
    source = open_source(path, instrument=CAMERA)
    assert len(read_all(source)) == 3
    assert source.truncated == "5 of 8 lines are missing"


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_cut_jpeg_keeps_what_was_decoded(share: float, tmp_path: Path) -> None:
    path = saved(tmp_path / "s.jpg", smooth(4000, 400), quality=97)
    whole = np.asarray(Image.open(path))
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    source = open_source(path, instrument=CAMERA)
    lines = read_all(source)
    assert abs(len(lines) / 4000 - share) < 0.05
    assert (lines[:-16] == whole[: len(lines)][:-16]).all()
    assert source.truncated == (
        f"the file is cut short or damaged: {4000 - len(lines)} of 4000 lines are missing"
    )


def test_a_jpeg_that_only_lost_its_end_marker_is_whole(tmp_path: Path) -> None:
    path = saved(tmp_path / "s.jpg", smooth(640, 400), quality=97)
    path.write_bytes(path.read_bytes()[:-2])
    source = open_source(path, instrument=CAMERA)
    assert len(read_all(source)) >= 632


def test_a_jpeg_with_garbage_in_the_middle_ends_there(tmp_path: Path) -> None:
    path = saved(tmp_path / "s.jpg", smooth(3000, 400), quality=97)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 400] = b"\xff\xab" * 200
    path.write_bytes(data)
    source = open_source(path, instrument=CAMERA)
    lines = read_all(source)
    assert abs(len(lines) - 1500) < 150
    assert source.truncated is not None


def test_a_cut_progressive_jpeg_is_drawn_from_the_scans_that_are_there(tmp_path: Path) -> None:
    path = saved(tmp_path / "s.jpg", smooth(640, 400), quality=97, progressive=True)
    whole = np.asarray(Image.open(path)).astype(int)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 9 // 10])
    source = open_source(path, instrument=CAMERA)
    lines = read_all(source)
    assert source.truncated is not None
    assert abs(lines[:300] - whole[:300]).mean() < 12


@pytest.mark.parametrize(
    ("name", "how"),
    [("s.jpg", {}), ("s.jpg", {"progressive": True}), ("s.png", {}), ("s.pgm", {})],
)
def test_what_follows_the_first_picture_of_a_file_is_told(
    name: str, how: dict[str, bool], tmp_path: Path
) -> None:
    path = saved(tmp_path / name, smooth(80, 60), **how)
    known = read_all(open_source(path, instrument=CAMERA))
    path.write_bytes(2 * path.read_bytes())
    source = open_source(path, instrument=CAMERA)
    assert (read_all(source) == known).all()
    assert "left out" in (source.truncated or "")


def test_a_picture_with_a_preview_behind_it_is_read_as_a_jpeg(tmp_path: Path) -> None:
    """As telephones write them: a file of several pictures, of which the first is the picture."""
    image = Image.fromarray(smooth(80, 60))
    image.save(tmp_path / "s.jpg", "MPO", save_all=True, append_images=[image.resize((20, 20))])
    source = open_source(tmp_path / "s.jpg", instrument=CAMERA)
    with Image.open(tmp_path / "s.jpg") as plain:
        assert plain.format == "MPO"
        assert (read_all(source) == np.asarray(plain)).all()
    assert source.truncated is None


def test_a_cut_png_keeps_what_was_decoded(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(1, 255, (900, 300), np.uint8)
    path = saved(tmp_path / "s.png", noise)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    source = open_source(path, instrument=CAMERA)
    lines = read_all(source)
    assert 350 < len(lines) < 550
    assert (lines[:-1] == noise[: len(lines) - 1]).all()
    assert source.truncated is not None
    assert "lines are missing" in source.truncated


def test_a_png_whose_palette_is_damaged_is_refused(tmp_path: Path) -> None:
    Image.fromarray(smooth(40, 24)).convert("P").save(tmp_path / "s.png")
    data = bytearray((tmp_path / "s.png").read_bytes())
    at = data.index(b"PLTE") - 4
    end = at + 12 + int.from_bytes(data[at : at + 4], "big")
    chunk = b"PLTE" + bytes(1107)  # more colours than 256
    data[at:end] = (1107).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big")
    (tmp_path / "s.png").write_bytes(data)
    with pytest.raises(SwathError, match="holds no line that can be decoded"):
        open_source(tmp_path / "s.png", instrument=CAMERA)


def test_a_png_with_a_damaged_profile_behind_its_lines_is_read(tmp_path: Path) -> None:
    Image.fromarray(smooth(40, 24)).save(tmp_path / "s.png")
    data = (tmp_path / "s.png").read_bytes()
    chunk = b"iCCP"  # of no octets, for which Pillow raises IndexError
    chunk = bytes(4) + chunk + zlib.crc32(chunk).to_bytes(4, "big")
    end = data.index(b"IEND") - 4
    (tmp_path / "s.png").write_bytes(data[:end] + chunk + data[end:])
    lines = read_all(open_source(tmp_path / "s.png", instrument=CAMERA))
    np.testing.assert_array_equal(lines, smooth(40, 24))


def test_a_pipe_that_closes_within_a_line_gives_the_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    pixels = smooth(100, 64)

    def write() -> None:
        with path.open("wb") as pipe:
            pipe.write(pixels.tobytes() + b"some")

    writer = threading.Thread(target=write)
    writer.start()
    source = open_source(path, instrument=CAMERA, samples=64)
    lines = read_all(source)
    writer.join()
    assert source.lines is None
    assert source.fingerprint is None
    assert (lines == pixels).all()
    assert source.truncated == "the last line has 4 of 64 bytes; it was left out"


def test_a_silent_pipe_says_that_nothing_is_there_yet() -> None:
    from winnow_edge.sources.raw import RawSource

    reader, writer = os.pipe()
    source = RawSource(reader, "pipe", samples=4, bits=8, lines=None, waits=True)
    os.write(writer, bytes(range(10)))
    out = np.full((5, 4), 99, np.uint8)
    assert source.read(out) == 2
    assert source.read(out[2:]) is None
    assert source.read(out[2:]) is None
    # The half line that came meanwhile is kept, wherever the next lines are put.
    os.write(writer, bytes(range(10, 14)))
    other = np.zeros((3, 4), np.uint8)
    assert source.read(other) == 1
    assert other[0].tolist() == [8, 9, 10, 11]
    os.close(writer)
    assert source.read(other) == source.read(other) == 0
    assert source.truncated == "the last line has 2 of 4 bytes; it was left out"
    source.close()


BAD: list[tuple[str, bytes | None, dict[str, int], str]] = [
    ("none.png", None, {}, "no such swath"),
    ("empty.raw", b"", {"samples": 8}, "is empty"),
    ("notes.txt", b"Dear diary", {}, "is not PNG, JPEG or PGM (P5); if it holds raw lines"),
    ("x.img", b"PDS_VERSION_ID = PDS3\r\n", {"samples": 4}, "is a PDS3 image; `winnow feed` on"),
    ("odd.raw", bytes(1001), {"samples": 100}, "fit: 91, 77, 143"),
    ("odd16.raw", bytes(6002), {"samples": 100, "bits": 16}, "no width near"),
    ("half.png", b"\x89PNG\r\n\x1a\n" + bytes(20), {}, "cannot be read as one"),
    ("head.jpg", b"\xff\xd8\xff\xe0" + bytes(40), {}, "cannot be read as one"),
    ("p5.pgm", b"P5 12", {}, "PGM header has no height"),
    ("zero.pgm", b"P5 0 4 255\n", {}, "PGM header says 0 x 4"),
    ("deep.pgm", b"P5 2 2 70000\n" + bytes(8), {}, "maxval 70000"),
]


@pytest.mark.parametrize(("name", "data", "options", "says"), BAD, ids=[b[0] for b in BAD])
def test_bad_swaths_say_what_where_and_what_to_do(
    name: str, data: bytes | None, options: dict[str, int], says: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(SwathError) as caught:
        read_all(open_source(path, instrument=CAMERA, **options))  # type: ignore[arg-type]
    assert says in str(caught.value)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_samples_beside_a_pds3_label_that_names_them_are_no_raw_lines(tmp_path: Path) -> None:
    path, label = tmp_path / "strip.img", tmp_path / "strip.LBL"
    path.write_bytes(bytes(range(64)))
    label.write_text('PDS_VERSION_ID = PDS3\r\n^IMAGE = "STRIP.IMG"\r\nEND\r\n')
    with pytest.raises(SwathError, match=r"strip\.img: is a PDS3 image; `winnow feed`"):
        open_source(path, instrument=CAMERA, samples=16)
    label.write_text('PDS_VERSION_ID = PDS3\r\n^IMAGE = "OTHER.IMG"\r\nEND\r\n')
    assert read_all(open_source(path, instrument=CAMERA, samples=16)).shape == (4, 16)
    label.unlink()
    os.mkfifo(label)
    assert read_all(open_source(path, instrument=CAMERA, samples=16)).shape == (4, 16)


def test_another_width_than_declared_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "s.png", smooth(10, 20))
    with pytest.raises(SwathError, match="is 20 samples wide, 30 were declared"):
        open_source(path, instrument=CAMERA, samples=30)


def test_a_folder_and_a_picture_too_large_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SwathError, match="is a folder"):
        open_source(tmp_path, instrument=CAMERA)
    with pytest.raises(SwathError, match="is 20 x 10: decoding it takes"):
        open_source(saved(tmp_path / "s.png", smooth(10, 20)), instrument=CAMERA, memory_mb=1e-4)


def test_the_memory_that_a_picture_may_take_is_the_missions(tmp_path: Path) -> None:
    sequential = saved(tmp_path / "s.jpg", smooth(100, 200))
    progressive = saved(tmp_path / "p.jpg", smooth(100, 200), progressive=True)
    # 20,000 pixels: a byte each, and three more of coefficients where the file is progressive.
    assert read_all(open_source(sequential, instrument=CAMERA, memory_mb=0.02)).shape == (100, 200)
    with pytest.raises(SwathError, match=r"takes 0.1 MB, and `compute.memory_mb` is 0.07"):
        open_source(progressive, instrument=CAMERA, memory_mb=0.07)
    assert read_all(open_source(progressive, instrument=CAMERA, memory_mb=0.08)).shape == (100, 200)


def test_pillows_own_limit_is_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)  # anything is a bomb to it
    for name in ("s.png", "s.jpg"):
        source = open_source(saved(tmp_path / name, smooth(100, 200)), instrument=CAMERA)
        assert read_all(source).shape == (100, 200)
        assert Image.MAX_IMAGE_PIXELS == 10


def picture_bytes(kind: str) -> bytes:
    out = io.BytesIO()
    if kind == "PGM":
        return b"P5 40 90 255\n" + smooth(90, 40).tobytes()
    progressive = kind == "progressive"
    image = Image.fromarray(smooth(90, 40))
    if kind == "PNG":
        image.save(out, "PNG")
    else:
        image.save(out, "JPEG", quality=90, progressive=progressive)
    return out.getvalue()


PICTURES = {kind: picture_bytes(kind) for kind in ("PGM", "PNG", "JPEG", "progressive")}


@given(
    kind=st.sampled_from(sorted(PICTURES)),
    cut=st.floats(0, 1),
    changes=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=8),
)
@settings(max_examples=200)
def test_damaged_files_never_crash(
    kind: str,
    cut: float,
    changes: list[tuple[float, int]],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    data = bytearray(PICTURES[kind])
    for place, value in changes:
        data[int(place * (len(data) - 1))] = value
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(data[: int(cut * len(data)) + 1])
    try:
        # A damaged header may promise a vast picture, which is only slow to read.
        source = open_source(path, instrument=CAMERA, memory_mb=1)
        lines = read_all(source)
    except WinnowEdgeError as error:
        assert "\n" not in str(error)
    else:
        assert lines.shape[1] == source.samples
        assert source.lines is None or len(lines) <= source.lines


def test_percentiles_are_learned_once_and_frozen() -> None:
    stretch = Stretch(Instrument(bundle="x", bits=16, nodata=0, stretch_percentiles=(1.0, 99.0)))
    first = np.repeat(np.arange(1000, 1100, dtype=np.uint16), 10).reshape(10, 100)
    first[0, :5] = 0
    out = np.empty((10, 100), np.uint8)
    stretch.apply(first, out)
    assert stretch.limits == (1001, 1099)
    assert stretch.nodata == 0
    assert (out[first == 0] == 0).all()
    assert out[first > 0].min() == 1
    later = np.array([[0, 1, 1001, 1050, 1099, 65_535]], np.uint16)
    got = np.empty((1, 6), np.uint8)
    stretch.apply(later, got)
    assert got.tolist() == [[0, 1, 1, 128, 255, 255]]


def test_fixed_limits_need_no_learning_and_nodata_may_be_absent() -> None:
    stretch = Stretch(Instrument(bundle="x", bits=16, stretch_limits=(100, 355)))
    out = np.empty((1, 4), np.uint8)
    stretch.apply(np.array([[0, 100, 200, 400]], np.uint16), out)
    assert out.tolist() == [[0, 0, 100, 255]]
    assert stretch.nodata is None


def test_a_first_block_of_nothing_but_nodata_gives_the_full_range() -> None:
    stretch = Stretch(Instrument(bundle="x", bits=16, nodata=7))
    stretch.apply(np.full((2, 2), 7, np.uint16), np.empty((2, 2), np.uint8))
    assert stretch.limits == (0, 65_535)


def test_nodata_that_no_sample_of_a_picture_can_be_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "s.png", smooth(40, 24))
    camera = Instrument(bundle="x", bits=16, nodata=41_047)
    with pytest.raises(SwathError, match="8-bit samples, and `nodata` of its instrument is 41047"):
        open_lines(path, camera, InputSpec(16, 16, 1, 1.0, -128))
