"""`winnow feed`: what GDAL reads, as lines into a run, over a real pipe."""

from __future__ import annotations

import io
import json
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from winnow_base.errors import DataError, GroundError
from winnow_edge.testing import painted_swath, write_probe
from winnow_ground.feed import blocks, describe, feed_lines, send_lines

rasterio = pytest.importorskip("rasterio", reason="extra `feed` is not installed")
# rasterio 1.4 sets the shape of its arrays, which NumPy 2.5 deprecates (Python 3.12 and 3.13).
pytestmark = pytest.mark.filterwarnings("ignore:Setting the shape on a NumPy:DeprecationWarning")

LINES, SAMPLES = 300, 200
APP = """
import typer
from winnow_ground.feed import register
app = typer.Typer()
register(app)
app.command("other")(lambda: None)
app()
"""


def picture() -> npt.NDArray[np.uint8]:
    return painted_swath(LINES, SAMPLES, seed=2, squares=30)


def written(path: Path, pixels: npt.NDArray[Any], driver: str, **more: Any) -> Path:
    shape = {"width": pixels.shape[1], "height": pixels.shape[0], "count": 1}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.open(path, "w", driver=driver, dtype=pixels.dtype, **shape, **more) as image:
            image.write(pixels, 1)
    return path


def all_lines(path: Path, limits: tuple[float, float] | None = None) -> npt.NDArray[Any]:
    return np.concatenate(list(blocks(describe(path, 1, limits), 1)))


@pytest.mark.parametrize(
    ("name", "driver", "more"),
    [
        ("s.tif", "GTiff", {"tiled": True, "blockxsize": 64, "blockysize": 64}),
        ("s.jp2", "JP2OpenJPEG", {"QUALITY": "100", "REVERSIBLE": "YES"}),
        ("s.xml", "PDS4", {}),
    ],
)
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_lines_are_the_very_samples(
    name: str, driver: str, more: dict[str, Any], kind: Any, tmp_path: Path
) -> None:
    pixels = picture().astype(kind) * (1 if kind is np.uint8 else 257)
    path = written(tmp_path / name, pixels, driver, **more)
    feed = describe(path, 1, None)
    assert (feed.lines, feed.samples, feed.bits) == (LINES, SAMPLES, 8 * pixels.itemsize)
    assert (all_lines(path) == pixels).all()


def test_windows_do_not_change_the_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "s.tif", picture(), "GTiff")
    monkeypatch.setattr("winnow_ground.fed.WINDOW_BYTES", 7 * SAMPLES)
    assert (all_lines(path) == picture()).all()


def test_floats_are_stretched_and_what_is_no_number_is_nodata(tmp_path: Path) -> None:
    real = np.linspace(-0.1, 0.5, LINES * SAMPLES, dtype=np.float32).reshape(LINES, SAMPLES)
    real[0, :3] = (np.nan, np.inf, -9999)
    path = written(tmp_path / "s.tif", real, "GTiff", nodata=-9999)
    with pytest.raises(DataError, match="has float32 samples"):
        describe(path, 1, None)
    lines = all_lines(path, (0.0, 0.4))
    assert lines[0, :3].tolist() == [0, 0, 0]
    assert lines[0, 3] == 1
    assert lines[-1, -1] == 65_535
    middle = np.abs(np.nan_to_num(real) - 0.2).argmin()
    assert abs(int(lines.flat[middle]) - 32_768) < 5


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda p: None, "no such image"),
        (lambda p: p.write_text("Dear diary"), "cannot be opened"),
    ],
)
def test_what_is_no_image_is_refused_in_one_line(make: Any, says: str, tmp_path: Path) -> None:
    path = tmp_path / "x.tif"
    make(path)
    with pytest.raises(GroundError, match=says) as caught:
        describe(path, 1, None)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["s.png", "s.jpg", "s.pgm"])
def test_pictures_are_fed_as_the_board_reads_them(name: str, tmp_path: Path) -> None:
    from PIL import Image

    path = tmp_path / name
    Image.fromarray(picture()).save(path)
    assert (all_lines(path) == np.asarray(Image.open(path))).all()


@pytest.mark.parametrize(
    ("name", "kept"), [("s.png", 60), ("s.png", 0.5), ("s.jpg", 0.6), ("s.pgm", 0.5)]
)
def test_what_a_cut_picture_lacks_is_not_made_up(name: str, kept: float, tmp_path: Path) -> None:
    from PIL import Image

    pixels = np.random.default_rng(5).integers(1, 255, (900, 300), np.uint8)
    path = tmp_path / name
    Image.fromarray(pixels).save(path)
    data = path.read_bytes()
    whole = np.asarray(Image.open(io.BytesIO(data)))
    path.write_bytes(data[: int(kept if kept > 1 else kept * len(data))])
    out = io.BytesIO()
    with pytest.raises(DataError, match=r"cut short|no line that can be decoded"):
        feed_lines(describe(path, 1, None), 1, out, line_time_us=None, quiet=True)
    fed = np.frombuffer(out.getvalue(), np.uint8).reshape(-1, 300)
    assert len(fed) < 900
    # libjpeg smooths the last row of blocks.
    assert (fed[:-16] == whole[: max(len(fed) - 16, 0)]).all()
    if kept != 60:
        assert len(fed) > 100


def test_a_cut_geotiff_gives_the_lines_before_the_cut(tmp_path: Path) -> None:
    pixels = np.random.default_rng(5).integers(1, 255, (900, 300), np.uint8)
    path = written(tmp_path / "s.tif", pixels, "GTiff", blockysize=8)
    path.write_bytes(path.read_bytes()[: 600 * 300])
    out = io.BytesIO()
    with pytest.raises(DataError, match=r"breaks off at line \d\d\d .*the lines before were fed"):
        feed_lines(describe(path, 1, None), 1, out, line_time_us=None, quiet=True)
    fed = np.frombuffer(out.getvalue(), np.uint8).reshape(-1, 300)
    assert 500 < len(fed) < 600
    assert (fed == pixels[: len(fed)]).all()


@pytest.mark.parametrize(
    "source", ["/etc/passwd", "http://127.0.0.1:1/x.tif", "/vsicurl/http://127.0.0.1:1/x.tif"]
)
def test_an_image_cannot_have_other_files_or_servers_read(source: str, tmp_path: Path) -> None:
    path = tmp_path / "s.vrt"
    path.write_text(
        '<VRTDataset rasterXSize="100" rasterYSize="10"><VRTRasterBand dataType="Byte" band="1" '
        f'subClass="VRTRawRasterBand"><SourceFilename relativeToVRT="0">{source}</SourceFilename>'
        "<ImageOffset>0</ImageOffset><PixelOffset>1</PixelOffset><LineOffset>100</LineOffset>"
        "</VRTRasterBand></VRTDataset>"
    )
    with pytest.raises(DataError, match="cannot be opened"):
        describe(path, 1, None)


def test_a_pds4_label_of_a_file_in_another_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    path = written(tmp_path / "in" / "s.xml", picture(), "PDS4")
    (path.with_suffix(".img")).rename(tmp_path / "s.img")
    path.write_text(path.read_text().replace(">s.img<", ">../s.img<"))
    with pytest.raises(DataError):
        describe(path, 1, None)


def test_lines_that_no_mission_can_name_are_refused(tmp_path: Path) -> None:
    pixels = np.zeros((1, 1_000_001), np.uint8)
    path = written(tmp_path / "wide.tif", pixels, "GTiff", compress="deflate")
    with pytest.raises(DataError, match="1,000,001 samples wide, legal is up to 1,000,000"):
        describe(path, 1, None)


def test_a_band_that_is_not_there(tmp_path: Path) -> None:
    path = written(tmp_path / "s.tif", picture(), "GTiff")
    with pytest.raises(DataError, match="has 1 bands, not 2"):
        describe(path, 2, None)


def test_realtime_is_never_faster_than_the_instrument(tmp_path: Path) -> None:
    path = written(tmp_path / "s.tif", picture(), "GTiff")
    with (tmp_path / "out").open("wb") as out:
        started = time.monotonic()
        feed_lines(describe(path, 1, None), 1, out, line_time_us=1000, quiet=True)
        assert time.monotonic() - started >= LINES * 0.001
    assert (tmp_path / "out").read_bytes() == picture().tobytes()


@pytest.fixture
def flight(tmp_path: Path) -> Path:
    """A folder with a mission on the fake runtime, and an image as GeoTIFF and as raw lines."""
    write_probe(tmp_path)
    written(tmp_path / "s.tif", picture(), "GTiff", compress="deflate")
    (tmp_path / "s.raw").write_bytes(picture().tobytes())
    return tmp_path


RUN = [sys.executable, "-m", "winnow_edge.cli", "run", "mission.toml"]


def feeding(flight: Path, *options: str) -> list[str]:
    return [sys.executable, "-c", APP, "feed", str(flight / "s.tif"), *options]


def info(flight: Path) -> list[str]:
    """The options of a run that `winnow feed` prints."""
    said = subprocess.run(feeding(flight, "--info"), capture_output=True, check=True, text=True)
    return said.stdout.split()


def same_as_the_file(flight: Path, store: str) -> bool:
    """Whether a store holds what the raw file leaves in one, and that is something."""
    file = ["s.raw", "--samples", str(SAMPLES), "--store", "raw"]
    subprocess.run([*RUN, *file], cwd=flight, check=True, capture_output=True)
    rows = []
    for name in (store, "raw"):
        db = sqlite3.connect(flight / name / "store.db")
        rows.append(db.execute("SELECT tile, class, data FROM product WHERE kind > 0").fetchall())
        db.close()
    return rows[0] == rows[1] != []


def test_a_fed_run_is_that_of_the_file(flight: Path) -> None:
    with subprocess.Popen(
        feeding(flight), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as feeder:
        fed = subprocess.run(
            [*RUN, "-", *info(flight), "--json", "--store", "fed"],
            cwd=flight,
            stdin=feeder.stdout,
            capture_output=True,
            check=True,
        )
        assert feeder.stderr is not None
        assert b"300 lines of 200 8-bit samples (GTiff)" in feeder.stderr.read()
    assert json.loads(fed.stdout)["swath"] == "s.tif"
    assert same_as_the_file(flight, "fed")


def test_fed_to_a_run_that_listens_it_is_that_of_the_file_too(flight: Path) -> None:
    listening = [*RUN, "tcp-listen://127.0.0.1:0", *info(flight), "--json", "--store", "fed"]
    with subprocess.Popen(
        listening, cwd=flight, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as run:
        assert run.stdout is not None and run.stderr is not None
        address = run.stderr.readline().split()[-1].replace("-listen", "")
        fed = subprocess.run(feeding(flight, "--to", address), capture_output=True, check=True)
        assert fed.stdout == b""
        assert same_as_the_file(flight, "fed")  # complete when the feed ends
        assert json.loads(run.stdout.read())["swath"] == "s.tif"
    assert run.returncode == 0


def test_nobody_to_feed_is_one_line(tmp_path: Path) -> None:
    feed = describe(written(tmp_path / "s.tif", picture(), "GTiff"), 1, None)
    for address, says in (
        (f"unix:{tmp_path / 'camera.sock'}", "cannot be reached"),
        ("tcp-listen://127.0.0.1:1", "no address to connect to; write tcp://HOST:PORT"),
        ("board.local", "no address to connect to"),
    ):
        with pytest.raises(DataError, match=says) as caught:
            send_lines(feed, 1, address, line_time_us=None, quiet=True)
        assert "\n" not in str(caught.value)


def test_a_run_that_breaks_off_is_one_line(tmp_path: Path) -> None:
    feed = describe(written(tmp_path / "s.tif", picture(), "GTiff"), 1, None)

    def serve() -> None:
        link, _ = listening.accept()
        link.recv(10, socket.MSG_PEEK)
        link.close()  # with bytes unread, which is a reset to the other side

    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"tcp://127.0.0.1:{listening.getsockname()[1]}"
        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(DataError, match="the connection broke"):
            send_lines(feed, 1, address, line_time_us=None, quiet=True)
        thread.join()


def test_without_rasterio_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rasterio", None)
    with pytest.raises(GroundError, match=r"winnow-ground\[feed\]"):
        describe(Path("x.tif"), 1, None)
