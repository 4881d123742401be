"""What the net says of a swath, kept: everything that a simulated run needs of it, and no pixels.

A run decides, merges, stores and ranks anew from these scores, so thresholds, utilities, quotas and
links can be changed without the net.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from winnow_base.errors import DataError
from winnow_edge.errors import BundleError
from winnow_edge.files import write_file
from winnow_edge.manifest import Manifest, read_manifest, write_manifest
from winnow_edge.products.sketch import SKETCH_BYTES

VERSION: Final = 1
TILE: Final = np.dtype(
    [
        ("line", "i4"),
        ("sample", "i4"),
        ("lines", "i4"),
        ("samples", "i4"),
        ("scale", "u1"),
        ("screened", "?"),
        ("row", "i4"),
        ("due", "i4"),
        ("thumbnail", "u4"),
        ("image", "u4"),
        ("sketch", f"S{SKETCH_BYTES}"),
    ]
)
"""Where a tile lies; whether it was shown to no net; its row of tiles, from 0, and the line of the
swath with which the row is complete; octets of the products that it would leave as a detection,
heads included; what it looks like."""
AROUND: Final = np.dtype(
    [("asked", "?"), ("verified", "u1"), ("posterior", "f8"), ("context", "u4")]
)
"""Whether a tile could be a detection at all; the class that the second stage gives it (`NO_CLASS`:
it refuses it) and the posterior; octets of its context, 0 where there is none."""


@dataclass(frozen=True, eq=False)
class Scores:
    """What the net says of one swath.

    `tiles` is of dtype `TILE`, shape (n,), by index; `logits` int8 (n, classes), zeros for screened
    tiles. `second` int8 (n, classes) are the logits of the mirror image of the tiles that were
    shown `twice`, bool (n,) (None: no tile was). `features` are the classes of the true features
    (None: the truth is not known), and `shows` int32 (m, 2) are pairs of a tile and a feature that
    its box shows, whatever the net says. `about` are the octets of the swath product when the swath
    begins and when it is complete; `quick_looks` are (line after the section, octets), `tail` the
    octets of time and place behind each head. `allowed` bool (n, classes) are the classes that a
    tile can be a detection of at its place and in its season (None: all). `around` is of dtype
    `AROUND`, shape (n,) (None: there is neither a second stage nor a context), `minded` the classes
    that the second stage minds.
    """

    name: str
    manifest: Manifest
    lines: int
    samples: int
    tiles: npt.NDArray[np.void]
    logits: npt.NDArray[np.int8]
    second: npt.NDArray[np.int8] | None = None
    twice: npt.NDArray[np.bool_] | None = None
    features: tuple[str, ...] | None = None
    shows: npt.NDArray[np.int32] = field(default_factory=lambda: np.empty((0, 2), np.int32))
    about: tuple[int, int] = (300, 600)
    quick_looks: tuple[tuple[int, int], ...] = ()
    tail: int = 0
    allowed: npt.NDArray[np.bool_] | None = None
    around: npt.NDArray[np.void] | None = None
    minded: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.tiles)

    @property
    def digest(self) -> str:
        """Stands for everything that is kept here."""
        digest = hashlib.sha256()
        for name, values in self._arrays().items():
            digest.update(f"{name} {values.dtype.str} {values.shape}\n".encode())
            digest.update(values.tobytes())
        return digest.hexdigest()

    def save(self, path: Path) -> None:
        """Write one file, whole or not at all. Raises OutputError."""
        octets = io.BytesIO()
        np.savez_compressed(octets, **self._arrays())  # type: ignore[arg-type]
        write_file(path, octets.getvalue())

    def _arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Everything, by name; what is no array is JSON in `head`."""
        head = {
            "version": VERSION,
            "name": self.name,
            "manifest": write_manifest(self.manifest).decode(),
            "shape": [self.lines, self.samples],
            "features": self.features,
            "about": self.about,
            "quick_looks": self.quick_looks,
            "tail": self.tail,
            "minded": self.minded,
        }
        arrays: dict[str, npt.NDArray[Any]] = {
            "head": np.frombuffer(json.dumps(head).encode(), np.uint8),
            "tiles": self.tiles,
            "logits": self.logits,
            "shows": self.shows,
        }
        if self.second is not None and self.twice is not None:
            arrays |= {"second": self.second, "twice": self.twice}
        if self.allowed is not None:
            arrays["allowed"] = self.allowed
        if self.around is not None:
            arrays["around"] = self.around
        return arrays


def load_scores(path: Path) -> Scores:
    """Read what `Scores.save` wrote. Raises DataError."""
    try:
        # From memory: np.load leaves a damaged file open.
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            head = json.loads(file["head"].tobytes())
            if head["version"] != VERSION:
                raise DataError("is of another version", where=path, hint="delete it")
            second = (file["second"], file["twice"]) if "second" in file else (None, None)
            features = head["features"]
            return Scores(
                name=head["name"],
                manifest=read_manifest(head["manifest"].encode(), path),
                lines=head["shape"][0],
                samples=head["shape"][1],
                tiles=file["tiles"].astype(TILE, casting="no", copy=False),
                logits=file["logits"],
                second=second[0],
                twice=second[1],
                features=None if features is None else tuple(features),
                shows=file["shows"],
                about=tuple(head["about"]),
                quick_looks=tuple(tuple(look) for look in head["quick_looks"]),
                tail=head["tail"],
                allowed=file.get("allowed"),
                around=file.get("around"),
                minded=tuple(head.get("minded", ())),
            )
    except (OSError, EOFError, ValueError, TypeError, KeyError, IndexError) as error:
        raise DataError(f"holds no scores ({error})", where=path, hint="delete it") from error
    except (zipfile.BadZipFile, zlib.error, BundleError) as error:
        raise DataError(f"holds no scores ({error})", where=path, hint="delete it") from error
