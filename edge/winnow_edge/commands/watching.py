"""What a run shows to who watches it, and hears of who ends it."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from winnow_edge.files import printable


@contextmanager
def asked_to_end() -> Iterator[Callable[[], bool]]:
    """Inside, SIGTERM and SIGHUP only set what the yielded function returns; a SIGHUP that is
    ignored (nohup(1)) stays so."""
    stopped = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal stopped
        stopped = True

    numbers = [signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield lambda: stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def progress_line(path: str) -> Callable[..., None] | None:
    """A line on stderr that is written over, if anybody watches."""
    if sys.stderr is None or not sys.stderr.isatty():
        return None
    started = time.monotonic()
    shown = 0.0

    def show(tally: object, lines: int, total: int | None) -> None:
        nonlocal shown
        now = time.monotonic()
        if now - shown < 0.2:
            return
        shown = now
        tiles, detections = getattr(tally, "tiles", 0), getattr(tally, "detections", 0)
        share = f" of {total:,} ({lines / total:.0%})" if total else ""
        rate = tiles / max(now - started, 1e-9)
        print(
            f"\r\x1b[K{printable(path)}: {lines:,} lines{share}, {tiles:,} tiles, "
            f"{detections} detections, {rate:,.0f} tiles/s",
            end="",
            file=sys.stderr,
            flush=True,
        )
        if total and lines >= total:
            print("\r\x1b[K", end="", file=sys.stderr)

    return show
