"""The terminal: what is printed for people, and what is kept off it."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator

from rich.console import Console
from rich.table import Table
from rich.text import Text


def report_console() -> Console:
    """Standard output, 100 columns wide where it is no terminal."""
    return Console(width=None if Console().is_terminal else 100)


def show_table(console: Console, table: Table) -> None:
    """Print a table whose names are whole: in a narrow window they go on in the next line, and
    brackets in them are theirs, not Rich's markup."""
    for column in table.columns:
        column.overflow, column.no_wrap = "fold", False
    if isinstance(table.title, str):
        table.title = Text(table.title, style="table.title")
    console.print(table, markup=False)


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Keep the pages that TensorFlow's C++ prints off the terminal.

    File descriptor 2 goes to a scratch file; `WINNOW_VERBOSE=1` leaves it alone.
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
