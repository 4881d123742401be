"""Files that are either whole or not there."""

from __future__ import annotations

import os
from pathlib import Path

from winnow_ground.errors import OutputError


def write_aside(path: Path, data: bytes) -> None:
    """Write beside `path`, sync, rename. Raises OutputError where `path` cannot be written."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        try:
            with aside.open("wb") as out:
                out.write(data)
                out.flush()
                os.fsync(out.fileno())
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"cannot be written: {error.strerror}", where=path) from None
