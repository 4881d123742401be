"""The chain of lines, put together here and nowhere else.

=========================== ====================================================================
a source                    8 or 16-bit lines of a file, a stream or memory
`FrameSource`               of a `frame` camera: the whole picture, resized to the net's input
`FirstLines`, twice         shown to who learns from them: `Repair.learn`, `Stretch.learn`
`RepairedSource`            dead samples and bright pixels
`Stretch`                   16 bits to 8
=========================== ====================================================================
"""

from __future__ import annotations

import os
import socket

import numpy as np
import numpy.typing as npt

from winnow_edge.bundle import InputSpec
from winnow_edge.errors import SwathError
from winnow_edge.mission import Instrument
from winnow_edge.prepare.first_lines import FirstLines
from winnow_edge.prepare.frame import FrameSource
from winnow_edge.prepare.repair import Repair, RepairedSource
from winnow_edge.prepare.stretch import Stretch
from winnow_edge.sources.contract import Lines, LineSource
from winnow_edge.sources.open import MEMORY_MB, open_source

_WHITE = 255


class Chain:
    """The lines of `source`, uint8, as `camera` wants them prepared.

    `spec` is the net's input, to which the pictures of a `frame` camera are resized; other cameras
    need none. `source` is the chain's from then on. Raises SwathError, MissionError where the two
    do not fit, ValueError for a `frame` camera without `spec`.
    """

    def __init__(
        self, source: LineSource, camera: Instrument, spec: InputSpec | None = None
    ) -> None:
        self.repair: Repair | None = None
        self.stretch: Stretch | None = None
        if camera.frame:
            if spec is None:
                raise ValueError("a frame camera needs the input of the net: give `spec`")
            source = FrameSource(source, spec.height, spec.width)
        if camera.dead_samples or camera.find_dead_samples or camera.bright_pixels:
            self.repair = Repair(camera)
            if camera.find_dead_samples:
                source = FirstLines(source, self.repair.learn)
            source = RepairedSource(source, self.repair)
        if source.bits == 16:
            self.stretch = Stretch(camera)
            if self.stretch.limits is None:
                source = FirstLines(source, self.stretch.learn)
        elif camera.nodata is not None and camera.nodata > _WHITE:
            raise SwathError(
                f"has 8-bit samples, and `nodata` of its instrument is {camera.nodata}",
                where=source.name,
                hint="choose an instrument of 8 bits with --instrument",
            )
        self.nodata = camera.nodata if self.stretch is None else self.stretch.nodata
        """The sample value, of those given out, that carries no image."""
        self.name, self.fingerprint = source.name, source.fingerprint
        self.samples, self.channels = source.samples, source.channels
        self.line_bytes = source.samples * source.channels * (source.bits // 8)
        """Bytes of a line as it comes."""
        self._source = source
        self._wide: Lines | None = None

    @property
    def lines(self) -> int | None:
        """Lines in all; None where the number is not known."""
        return self._source.lines

    @property
    def truncated(self) -> str | None:
        """Once the end was reached: what is missing, in words, or None."""
        return self._source.truncated

    def read(self, out: npt.NDArray[np.uint8]) -> int | None:
        """Put the next lines into `out`, uint8 (n, samples[, 3]); see `LineSource.read`."""
        if self.stretch is None:
            return self._source.read(out)
        if self._wide is None or len(self._wide) < len(out):
            self._wide = np.empty(out.shape, np.uint16)
        wide = self._wide[: len(out)]
        count = self._source.read(wide)
        if count:
            self.stretch.apply(wide[:count], out[:count])
        return count

    def close(self) -> None:
        """Release the file."""
        self._source.close()


def open_lines(
    path: str | os.PathLike[str],
    camera: Instrument,
    spec: InputSpec,
    *,
    samples: int | None = None,
    bits: int | None = None,
    link: socket.socket | None = None,
    memory_mb: float = MEMORY_MB,
) -> Chain:
    """Open a swath for a net whose input is `spec`: see `open_source` and `Chain`."""
    source = open_source(
        path,
        instrument=camera,
        samples=samples,
        bits=bits,
        grey=spec.channels == 1,
        link=link,
        memory_mb=memory_mb,
    )
    try:
        return Chain(source, camera, spec)
    except BaseException:
        source.close()
        raise
