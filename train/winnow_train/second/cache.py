"""What a killed run need not make again: arrays by a digest of all that they follow from."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from winnow_base.errors import DataError
from winnow_base.files import make_folder
from winnow_edge.files import write_file

Arrays = dict[str, np.ndarray]


class Cache:
    """A folder of arrays. Nothing is ever taken for something else: a name holds the digest of what
    it was made from. It may be removed at any time."""

    def __init__(self, folder: Path) -> None:
        self._folder = make_folder(folder)

    def get(self, kind: str, of: object, make: Callable[[], Arrays]) -> Arrays:
        """The arrays of this `kind` that follow from `of` (its `repr` tells), made if need be."""
        name = hashlib.sha256(repr(of).encode()).hexdigest()[:32]
        path = self._folder / f"{kind}-{name}.npz"
        if (held := _read(path)) is not None:
            return held
        made, data = make(), io.BytesIO()
        np.savez(data, **_named(made))
        write_file(path, data.getvalue(), durable=False)
        return made


def _named(arrays: Arrays) -> dict[str, Any]:
    return dict(arrays)


def _read(path: Path) -> Arrays | None:
    """What is there; None where nothing is, or what is there is damaged."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as held:
            return {name: held[name] for name in held.files}
    except Exception:  # numpy lets OSError, ValueError, BadZipFile, zlib.error ... out
        return None


def digest_of(path: Path) -> str:
    """SHA-256 of a file. Raises DataError."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", where=path) from error
