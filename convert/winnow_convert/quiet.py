"""Keep the pages that TensorFlow's C++ prints off the terminal, unless something goes wrong."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Send file descriptor 2 to a scratch file; `WINNOW_VERBOSE=1` leaves it alone.

    C++ code writes past `sys.stderr`, so the descriptor itself is redirected. Not for use while
    other threads have something to say.
    """
    if os.environ.get("WINNOW_VERBOSE"):
        yield
        return
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as scratch:
        os.dup2(scratch.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(saved, 2)
            os.close(saved)
