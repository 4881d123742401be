"""`winnow feed`: any image that GDAL reads, as raw lines into `winnow-edge run`, through a pipe or
to a socket that it listens at.

GeoTIFF, JPEG 2000, PDS4 and the other formats of `DRIVERS` are read in windows of full lines, so
that memory does not grow with the image, and written out line by line, paced like the instrument if
asked. Uncompressed PDS3 images are read by `winnow_ground.pds3`: GDAL's driver takes
UNSIGNED_INTEGER for little-endian and leaves prefix bytes in the lines, without a word. PNG, JPEG
and PGM are read as they are on board: GDAL makes up zeros for what a cut file lacks.
"""

from __future__ import annotations

import os
import socket
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, BinaryIO

import numpy as np
import numpy.typing as npt
import typer

from winnow_base.errors import DataError, MissingExtraError
from winnow_edge.errors import SwathError
from winnow_ground import fed, pds3
from winnow_ground.fed import (
    GET_AGAIN,
    Feed,
    blocks_of_board,
    check_band,
    describe_of_board,
    fit,
    is_of_board,
    stretched,
)

DRIVERS = (
    *("GTiff", "JP2OpenJPEG", "JP2ECW", "JP2KAK", "JP2MrSID", "PDS", "PDS4", "ISIS2", "ISIS3"),
    *("VICAR", "FITS", "ENVI", "NITF", "HFA", "BMP", "GIF", "PNM"),
)
"""GDAL's drivers that read the file itself; a VRT would have any file or server read."""
_BLOCK_BYTES = 1 << 30
"""A block of the file, which GDAL decodes at once."""
_LIMIT = 1e30


def describe(path: Path, band: int, limits: tuple[float, float] | None) -> Feed:
    """Open an image and say what it will be as lines.

    Raises DataError if GDAL cannot read it, has no such band, or its samples are neither 8 nor
    16-bit unsigned and no `limits` say how to bring them there; MissingExtraError without rasterio.
    """
    foreign = None
    try:
        layout = pds3.find_layout(path) if path.is_file() else None
    except pds3.ForeignImageError as error:
        layout, foreign = None, error
    if layout is not None:
        check_band(path, band, layout.bands)
        bits = layout.bits if limits is None else 16
        return fit(Feed(path, layout.lines, layout.samples, bits, "PDS3", limits, layout))
    if is_of_board(path):
        return describe_of_board(path, band, limits)
    rasterio = _rasterio()
    try:
        opened = _opened(rasterio, path)
    except DataError as error:
        raise foreign or error from None
    with opened as image:
        check_band(path, band, image.count)
        kind = image.dtypes[band - 1]
        if kind not in ("uint8", "uint16") and limits is None:
            raise DataError(
                f"has {kind} samples", where=path, hint="bring them to 16 bits: --limits LOW HIGH"
            )
        bits = 8 if kind == "uint8" and limits is None else 16
        block = image.block_shapes[band - 1][0] * image.width * np.dtype(kind).itemsize
        if block > _BLOCK_BYTES:
            raise DataError(
                f"holds blocks of {block / 1e9:,.1f} GB", where=path, hint="write it in strips"
            )
        return fit(Feed(path, image.height, image.width, bits, image.driver, limits))


def blocks(feed: Feed, band: int) -> Iterator[npt.NDArray[Any]]:
    """Blocks of lines, uint8 or little-endian uint16, shape (n, samples).

    With limits, samples are stretched from them to 1..65535; what is nodata or no number becomes 0.
    Raises DataError where the image breaks off.
    """
    if feed.layout is not None:
        count = max(fed.WINDOW_BYTES // feed.layout.record, 1)
        for lines in pds3.read_lines(feed.layout, band, count):
            yield lines if feed.limits is None else stretched(lines, feed.limits, None)
        return
    if feed.on_board:
        yield from blocks_of_board(feed, band)
        return
    rasterio = _rasterio()
    with _opened(rasterio, feed.path) as image:
        per_line = feed.samples * np.dtype(image.dtypes[band - 1]).itemsize
        # Whole blocks of the file, so that none is decoded twice.
        step = image.block_shapes[band - 1][0]
        count = max(fed.WINDOW_BYTES // per_line // step, 1) * step
        first = 0
        while first < feed.lines:
            window = rasterio.windows.Window(0, first, feed.samples, min(count, feed.lines - first))
            try:
                lines = image.read(band, window=window)
            except rasterio.errors.RasterioError as error:
                if count > 1:  # the lines before the one that cannot be read
                    count = max(count // 16, 1)
                    continue
                raise DataError(
                    f"breaks off at line {first} ({error})", where=feed.path, hint=GET_AGAIN
                ) from None
            first += len(lines)
            if feed.limits is not None:
                lines = stretched(lines, feed.limits, image.nodata)
            yield lines if feed.bits == 8 else lines.astype("<u2", copy=False)


def feed_lines(
    feed: Feed, band: int, out: BinaryIO, *, line_time_us: float | None, quiet: bool
) -> int:
    """Write all lines to `out`; returns how many. Lines are late rather than early."""
    started = shown = time.monotonic()
    done = 0
    for block in blocks(feed, band):
        # Paced lines leave in hundredths of a second, as a camera's buffer would hand them over.
        step = len(block) if line_time_us is None else max(int(10_000 / line_time_us), 1)
        for first in range(0, len(block), step):
            piece = np.ascontiguousarray(block[first : first + step])
            if line_time_us is not None:
                due = started + (done + len(piece)) * line_time_us / 1e6
                time.sleep(max(due - time.monotonic(), 0.0))
            out.write(memoryview(piece.reshape(-1).view(np.uint8)))
            done += len(piece)
            if not quiet and time.monotonic() - shown > 0.5:
                shown = time.monotonic()
                rate = done / (shown - started)
                said = f"{done:,} of {feed.lines:,} lines, {rate:,.0f} lines/s"
                print(f"\r\x1b[K{feed.path.name}: {said}", end="", file=sys.stderr, flush=True)
        out.flush()
    if not quiet:
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
    return done


def send_lines(
    feed: Feed, band: int, address: str, *, line_time_us: float | None, quiet: bool
) -> int:
    """Write all lines to a socket (`tcp://HOST:PORT`, `unix:PATH`) and wait until the other end
    closes; returns how many. Raises DataError if nobody listens there, or no longer.

    A run closes once it has committed the swath, but also when it is stopped or ends it early.
    """
    from winnow_edge.sources.sockets import connect

    try:
        link = connect(address)
    except SwathError as error:
        raise DataError(error.what, where=address, hint=error.hint) from None
    try:
        with link, link.makefile("wb") as out:
            done = feed_lines(feed, band, out, line_time_us=line_time_us, quiet=quiet)
            link.shutdown(socket.SHUT_WR)
            while link.recv(4096):
                pass  # nothing is said; a run closes when it is through with the swath
    except OSError as error:
        raise DataError(
            f"the connection broke ({error.strerror})",
            where=address,
            hint="the run at the other end says why, and keeps the lines it has read",
        ) from None
    return done


def feed_command(
    image: Annotated[
        Path, typer.Argument(metavar="IMAGE", help="GeoTIFF, JPEG 2000, PDS3, PDS4, ...")
    ],
    band: Annotated[int, typer.Option(min=1, help="Band to feed.")] = 1,
    limits: Annotated[
        tuple[float, float] | None,
        typer.Option(metavar="LOW HIGH", help="Stretch samples from these to 16 bits."),
    ] = None,
    realtime: Annotated[
        bool, typer.Option("--realtime", help="Pace the lines at the instrument's line time.")
    ] = False,
    line_time_us: Annotated[
        float | None,
        typer.Option(min=0.1, max=1e9, metavar="US", help="Microseconds per line for --realtime."),
    ] = None,
    mission: Annotated[
        Path | None, typer.Option(metavar="MISSION", help="Mission file to take line times from.")
    ] = None,
    instrument: Annotated[str | None, typer.Option(help="Instrument of the mission file.")] = None,
    to: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS", help="Send to tcp://HOST:PORT or unix:PATH, not standard output."
        ),
    ] = None,
    info: Annotated[
        bool,
        typer.Option(
            "--info",
            help="Only print width, bits and name of the lines, as options of winnow-edge run.",
        ),
    ] = False,
) -> None:
    """Write an image as raw lines to standard output, for `winnow-edge run -`.

    Needs the extra [b]feed[/b] (rasterio). 16-bit samples leave little-endian.

    With --to, lines go to a socket that the run listens at. The command ends
    when the other end closes: a run closes once it has committed the swath,
    or when it is stopped. The run's summary says how many lines it has.

        winnow feed scene.tif | winnow-edge run mission.toml - $(winnow feed scene.tif --info)
        winnow feed obs.JP2 --realtime --line-time-us 75 | winnow-edge run mission.toml - ...
        winnow-edge run mission.toml tcp-listen://0.0.0.0:5000 $(winnow feed scene.tif --info)
        winnow feed scene.tif --to tcp://board.local:5000
    """
    if limits is not None and not -_LIMIT <= limits[0] < limits[1] <= _LIMIT:
        raise DataError("--limits must be two numbers, the lower first")
    feed = describe(image, band, limits)
    if info:
        print(f"--samples {feed.samples} --bits {feed.bits} --name {feed.path.name}")
        return
    pace = _line_time(feed, mission, instrument, line_time_us) if realtime else None
    if to is None and sys.stdout.isatty():
        raise DataError(
            "standard output is a terminal",
            where=image,
            hint="pipe it into winnow-edge run -, or --to ADDRESS",
        )
    print(
        f"{feed.path.name}: {feed.lines:,} lines of {feed.samples:,} {feed.bits}-bit samples "
        f"({feed.driver})",
        file=sys.stderr,
    )
    if to is not None:
        send_lines(feed, band, to, line_time_us=pace, quiet=not sys.stderr.isatty())
        return
    try:
        feed_lines(feed, band, sys.stdout.buffer, line_time_us=pace, quiet=not sys.stderr.isatty())
    except BrokenPipeError:
        # The run has ended; whatever it had to say it said itself.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def register(app: typer.Typer) -> None:
    """Add `winnow feed` to `app`."""
    app.command("feed")(feed_command)


def _line_time(
    feed: Feed, mission: Path | None, instrument: str | None, line_time_us: float | None
) -> float:
    from winnow_edge.mission import load_mission

    if line_time_us is not None:
        return line_time_us
    if mission is not None:
        name, camera = load_mission(mission).instrument_for(feed.path.name, instrument)
        if camera.line_time_us is not None:
            return camera.line_time_us
        raise DataError(
            f"instrument {name!r} has no `line_time_us`", where=mission, hint="or --line-time-us"
        )
    raise DataError("--realtime needs a line time", hint="give --line-time-us or --mission")


def _rasterio() -> ModuleType:
    try:
        import rasterio
        import rasterio.errors
        import rasterio.io
        import rasterio.windows
    except ImportError:
        raise MissingExtraError(
            "rasterio is not installed", hint="pip install 'winnow-ground[feed]'"
        ) from None
    module: ModuleType = rasterio
    return module


def _opened(rasterio: ModuleType, path: Path) -> Any:
    if not path.exists():
        raise DataError("no such image", where=path, hint="check the path")
    try:
        with rasterio.Env(), warnings.catch_warnings():
            # An image without coordinates is as good to us as one with.
            warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
            image = rasterio.io.DatasetReader(str(path), driver=list(DRIVERS))
        inside = path.resolve().parent
        if any(Path(file).resolve().parent != inside for file in image.files):
            image.close()
            raise DataError(
                "reads files of other folders", where=path, hint="put its files beside it"
            )
        return image
    except rasterio.errors.RasterioError as error:
        raise DataError(
            f"cannot be opened ({str(error).splitlines()[0]})", where=path, hint="give an image"
        ) from None
