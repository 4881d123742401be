"""Damage in a JPEG that makes no marker is told by its number of blocks; sound files pass."""

from __future__ import annotations

import contextlib
import io
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.ImageFilter import GaussianBlur

from winnow_edge.errors import SwathError
from winnow_edge.mission import Instrument
from winnow_edge.sources.open import open_source

COLOUR, GREY = "RGB", "L"


def scene(lines: int, samples: int, seed: int, mode: str = GREY) -> Image.Image:
    """Ground at several scales, over a black corner as map-projected strips have."""
    rng = np.random.default_rng(seed)
    shape = (lines, samples, 3) if mode == COLOUR else (lines, samples)
    pixels = np.full(shape, 110.0)
    for side in (4, 16, 64):
        coarse = rng.normal(0, side**0.7, (lines // side + 1, samples // side + 1, *shape[2:]))
        block = np.ones((side, side, 1) if mode == COLOUR else (side, side))
        pixels += np.kron(coarse, block)[:lines, :samples]
    pixels[np.add.outer(np.arange(lines), np.arange(samples)) > (lines + samples) * 0.85] = 0
    # Blurred, so that the squares make no seams where blocks of the JPEG meet.
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).filter(GaussianBlur(1.5))


def encoded(image: Image.Image, **how: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", **how)
    return out.getvalue()


def read(path: Path, data: bytes, *, grey: bool) -> tuple[npt.NDArray[np.uint8], str]:
    path.write_bytes(data)
    source = open_source(path, instrument=Instrument(bundle="x"), grey=grey)
    with contextlib.closing(source):
        shape = (source.lines or 0, source.samples, source.channels)
        lines = np.empty(shape if source.channels == 3 else shape[:2], np.uint8)
        at = 0
        while count := source.read(lines[at : at + 100]):
            at += count
    return lines[:at], source.truncated or ""


@given(
    lines=st.integers(1, 150),
    samples=st.integers(1, 150),
    seed=st.integers(0, 99),
    mode=st.sampled_from([GREY, COLOUR]),
    grey=st.booleans(),
    how=st.fixed_dictionaries(
        {
            "quality": st.sampled_from([5, 40, 75, 95, 100]),
            "optimize": st.booleans(),
            "progressive": st.booleans(),
            "subsampling": st.sampled_from([0, 1, 2]),
            "restart_marker_blocks": st.sampled_from([0, 0, 1, 7]),
        }
    ),
)
@example(  # its last row of blocks is grey but for the end
    lines=28,
    samples=33,
    seed=30,
    mode=GREY,
    grey=False,
    how={"quality": 5, "progressive": True, "restart_marker_blocks": 1},
)
@settings(max_examples=150)
def test_a_sound_file_gives_its_very_pixels_and_is_not_flagged(
    tmp_path_factory: pytest.TempPathFactory,
    lines: int,
    samples: int,
    seed: int,
    mode: str,
    grey: bool,
    how: dict[str, Any],
) -> None:
    data = encoded(scene(lines, samples, seed, mode), **how)
    got, said = read(tmp_path_factory.getbasetemp() / "sound.jpg", data, grey=grey)
    with Image.open(io.BytesIO(data)) as plain:
        if grey:
            plain.draft("L", None)
        assert (got == np.asarray(plain)).all()
    assert said == ""


@pytest.mark.parametrize("value", [0, 1, 127, 128, 129, 255])
def test_pictures_of_one_brightness_are_sound(value: int, tmp_path: Path) -> None:
    """Among them the grey that stands for blocks without data."""
    for side in (8, 40, 137):
        flat = Image.fromarray(np.full((side, side), value, np.uint8))
        for progressive in (False, True):
            data = encoded(flat, progressive=progressive)
            assert read(tmp_path / "flat.jpg", data, grey=True)[1] == ""


@pytest.mark.parametrize(
    ("mode", "grey", "progressive", "share"),
    [
        (GREY, True, False, 0.8),
        (COLOUR, True, False, 0.5),  # counted by six blocks at a time
        (COLOUR, False, False, 0.5),
        (GREY, True, True, 0.4),
    ],
)
def test_most_wrong_bytes_that_displace_lines_are_told(
    mode: str, grey: bool, progressive: bool, share: float, tmp_path: Path
) -> None:
    sound = encoded(scene(400, 400, 5, mode), quality=75, progressive=progressive)
    known, said = read(tmp_path / "s.jpg", sound, grey=grey)
    assert said == ""
    rng = np.random.default_rng(1)
    worse = told = placed = 0
    for _ in range(40):
        data = bytearray(sound)
        data[rng.integers(1000, len(data) - 2)] ^= int(rng.integers(1, 256))
        with contextlib.suppress(SwathError):
            got, said = read(tmp_path / "s.jpg", bytes(data), grey=grey)
            whole = np.zeros_like(known)
            whole[: len(got)] = got
            differs = np.abs(whole.astype(int) - known).reshape(400, -1) > 8
            if differs.mean() > 0.01:
                worse += 1
                told += "compressed data are damaged" in said
                place = re.search(r"probably from ([\d,]+) on", said)
                first = int(np.argmax(differs.any(axis=1)))
                placed += place is not None and abs(int(place[1]) - first) <= 32
    assert told >= share * worse > 0
    assert placed == 0 if progressive else placed >= 0.8 * told


@pytest.mark.parametrize("grey", [True, False])
def test_data_that_are_left_over_are_told(grey: bool, tmp_path: Path) -> None:
    """Declared a row of blocks shorter than it was written, which is what surplus looks like."""
    sound = encoded(scene(400, 400, 5, COLOUR))
    height = sound.index(b"\xff\xc0") + 5
    shorter = sound[:height] + (384).to_bytes(2, "big") + sound[height + 2 :]
    lines, said = read(tmp_path / "s.jpg", shorter, grey=grey)
    assert len(lines) == 384
    assert said.startswith("the compressed data are damaged: data are left over at the end")


def test_data_that_are_lacking_are_told(tmp_path: Path) -> None:
    sound = encoded(scene(400, 400, 5))
    height = sound.index(b"\xff\xc0") + 5
    taller = sound[:height] + (424).to_bytes(2, "big") + sound[height + 2 :]
    lines, said = read(tmp_path / "s.jpg", taller, grey=True)
    assert len(lines) == 424
    assert said.startswith("the compressed data are damaged: data are lacking at the end")


def changed(data: bytes, place: int, value: int) -> bytes:
    """The file with two octets of its progressive frame header as `value`."""
    at = data.index(b"\xff\xc2") + place
    return data[:at] + value.to_bytes(2, "big") + data[at + 2 :]


@pytest.mark.parametrize("mode", [GREY, COLOUR])
@pytest.mark.parametrize("lines", [432, 656, 912, 2448, 16_784])
def test_a_progressive_header_that_says_more_lines_invents_none(
    mode: str, lines: int, tmp_path: Path
) -> None:
    sound = encoded(scene(400, 400, 5, mode), progressive=True)
    known, _ = read(tmp_path / "s.jpg", sound, grey=True)
    got, said = read(tmp_path / "s.jpg", changed(sound, 5, lines), grey=True)
    assert 400 <= len(got) <= 416
    assert (got[:400] == known).all()
    assert said.startswith("the data end early")


@pytest.mark.parametrize("grey", [True, False])
@pytest.mark.parametrize("samples", [144, 656, 912, 2448])
def test_a_progressive_header_of_another_width_is_told(
    grey: bool, samples: int, tmp_path: Path
) -> None:
    sound = encoded(scene(400, 400, 5, COLOUR), progressive=True)
    assert read(tmp_path / "s.jpg", changed(sound, 7, samples), grey=grey)[1]


def test_a_border_of_the_grey_that_stands_for_no_data_is_kept(tmp_path: Path) -> None:
    pixels = np.array(scene(400, 400, 5))
    pixels[300:] = 128
    sound = encoded(Image.fromarray(pixels), progressive=True)
    got, said = read(tmp_path / "s.jpg", sound, grey=True)
    assert (len(got), said) == (400, "")


def test_a_header_that_says_arithmetic_coding_is_refused(tmp_path: Path) -> None:
    for progressive, kind in ((True, b"\xff\xca"), (False, b"\xff\xc9")):
        sound = encoded(scene(80, 80, 5), progressive=progressive)
        flipped = re.sub(rb"\xff[\xc0\xc2]", kind, sound, count=1)
        with pytest.raises(SwathError, match=r"s\.jpg: .*arithmetic"):
            read(tmp_path / "s.jpg", flipped, grey=True)


def test_a_cut_progressive_file_says_that_all_its_lines_are_coarse(tmp_path: Path) -> None:
    """Its black border is there, and no line that is missing."""
    sound = encoded(scene(400, 400, 5), progressive=True)
    got, said = read(tmp_path / "s.jpg", sound[: len(sound) // 2], grey=True)
    assert len(got) == 400
    assert said.endswith("finer scans are missing")


def test_a_progressive_file_cut_in_its_first_scan_has_the_lines_before_the_cut(
    tmp_path: Path,
) -> None:
    sound = encoded(scene(400, 400, 5), progressive=True)
    scan = sound.index(b"\xff\xda")
    second = sound.index(b"\xff\xda", scan + 2)
    got, said = read(tmp_path / "s.jpg", sound[: (scan + second) // 2], grey=True)
    assert 100 < len(got) < 300
    assert said.endswith(f"finer scans are missing, and {400 - len(got)} of 400 lines")


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("fate", ["deleted", "moved", "replaced", "written over", "emptied"])
def test_a_file_that_goes_while_it_is_read_loses_no_line_and_stops_nothing(
    fate: str, progressive: bool, tmp_path: Path
) -> None:
    path, other = tmp_path / "s.jpg", tmp_path / "other.jpg"
    # Small enough to be read before the first line is given out, but for the second look.
    sound = encoded(scene(300, 300, 5, COLOUR), progressive=progressive)
    known, _ = read(path, sound, grey=False)
    other.write_bytes(encoded(scene(200, 500, 6, COLOUR)))
    source = open_source(path, instrument=Instrument(bundle="x"), grey=False)
    lines = np.empty((300, 300, 3), np.uint8)
    with contextlib.closing(source):
        assert source.read(lines[:100]) == 100
        if fate == "deleted":
            path.unlink()
        elif fate == "moved":
            path.rename(tmp_path / "m.jpg")
        elif fate == "replaced":
            other.replace(path)
        else:
            path.write_bytes(other.read_bytes() if fate == "written over" else b"")
        assert source.read(lines[100:]) == 200
    assert (lines == known).all()
    assert source.truncated is None


_PEAKS = """\
import sys
from pathlib import Path
import numpy as np
from winnow_edge.mission import Instrument
from winnow_edge.sources.open import open_source

def peak():
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))

source = open_source(sys.argv[1], instrument=Instrument(bundle="x"), grey=False)
out = np.empty((100, source.samples, 3), np.uint8)
left = source.lines
while left > 100:
    left -= source.read(out)
before = peak()
assert source.read(out) == left
assert "data are left over" in source.truncated
print(peak() - before)
"""


@pytest.mark.parametrize("progressive", [False, True])
def test_counting_blocks_in_colour_takes_no_more_memory_than_the_picture_did(
    progressive: bool, tmp_path: Path
) -> None:
    sound = encoded(scene(2000, 2000, 5, COLOUR), progressive=progressive)
    height = sound.index(b"\xff\xc2" if progressive else b"\xff\xc0") + 5
    # A row of blocks too many: what says so has been counted.
    (tmp_path / "s.jpg").write_bytes(
        sound[:height] + (1984).to_bytes(2, "big") + sound[height + 2 :]
    )
    run = [sys.executable, "-c", _PEAKS, str(tmp_path / "s.jpg")]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 1e6  # the picture in grey alone has 4 MB
