"""The two ends of a command: results to standard output, messages to standard error.

A full disk or a closed pipe under standard output is told apart from the same fault of another
file, and none of them is a traceback.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import select
import sys
from collections.abc import Callable, Iterator
from typing import Any, TextIO, cast

from winnow_edge.errors import OutputError
from winnow_edge.files import printable, unwritable

_PATIENCE_S = 0.2
"""How long a pipe may be full before something else is asked."""


@contextlib.contextmanager
def checked_stdout() -> Iterator[None]:
    """Inside, what is printed gets out whole, or OutputError says why it does not.

    Raises BrokenPipeError where the reader of the results has gone.
    """
    if sys.stdout is None:  # closed by who started us: print() itself is silent then
        yield
        return
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A name that the terminal's encoding lacks comes out as escapes, as on standard error.
        sys.stdout.reconfigure(errors="backslashreplace")
    out = _Checked(sys.stdout)
    with contextlib.redirect_stdout(cast(TextIO, out)):
        try:
            yield
        except SystemExit:  # how --help and --version end
            out.flush()
            raise
        except BaseException:
            with contextlib.suppress(OutputError, BrokenPipeError):
                out.flush()
            raise
        out.flush()


def tell(message: str) -> None:
    """One line on standard error, without what a terminal obeys; silence where that cannot be
    written either, or is a pipe that nobody empties."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError):
            if sys.stderr.isatty() or _has_room(sys.stderr, _PATIENCE_S):
                print(printable(message), file=sys.stderr, flush=True)


def _has_room(stream: Any, seconds: float) -> bool:
    """Whether a line can be written without waiting, at once or within so many seconds."""
    try:
        file = stream.fileno()
    except (OSError, ValueError, AttributeError):
        return True
    asking = select.poll()
    asking.register(file, select.POLLOUT)
    return bool(asking.poll(1000 * seconds))


class Printable(logging.Formatter):
    """Log messages without what a terminal obeys, as names of others may hold."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


class Results:
    """Results that are printed as they come; where they cannot be, work goes on without them, and
    `fault` (None: all got out) says why. `stop` ends the wait for a
    reader that does not read, which is then taken for one that has gone."""

    def __init__(self, stop: Callable[[], bool]) -> None:
        self.fault: BrokenPipeError | OutputError | None = None
        self._stop = stop

    def say(self, text: str) -> None:
        """One result."""
        if self.fault is None:
            try:
                while sys.stdout is not None and not _has_room(sys.stdout, _PATIENCE_S):
                    if self._stop():
                        raise BrokenPipeError
                print(text, flush=True)
            except (BrokenPipeError, OutputError) as error:
                self.fault = error


class _Checked:
    """A stream whose first fault is named, and raised again by whatever is printed after it: a
    library that tries whether a stream can be written must not swallow it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._fault: BrokenPipeError | OutputError | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with self._named():
            return self._stream.write(text)

    def flush(self) -> None:
        with self._named():
            self._stream.flush()

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        if self._fault is not None:
            raise self._fault
        try:
            yield
        except OSError as error:
            self._drop_the_rest()
            self._fault = (
                error
                if isinstance(error, BrokenPipeError)
                else unwritable(error, "standard output", "send the results to where there is room")
            )
            raise self._fault from None

    def _drop_the_rest(self) -> None:
        """What is still in the stream's buffer would be a fault at the interpreter's end too."""
        with contextlib.suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
