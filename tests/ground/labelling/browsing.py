"""A browser, and a server that may be killed and started again at its port."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.ground.labelling.conftest import Labelled
from tests.ground.serve.browsing import chromium
from tests.ground.serve.serving import WINNOW

WAIT_MS = 300_000
"""Against a page that hangs, not a slow machine."""


class Server:
    """`winnow serve` over a catalogue, for ann."""

    def __init__(self, catalogue: Path) -> None:
        self._catalogue, self._port = catalogue, 0
        self.start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        command = [WINNOW, "serve", str(self._catalogue), "--port", str(self._port)]
        self._process = subprocess.Popen(
            [*command, "--person", "ann"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        port = re.search(r":(\d+)/", self._process.stdout.readline())
        assert port, self._process.communicate()
        self._port = int(port[1])

    def kill(self) -> None:
        """As `kill -9` does."""
        self._process.kill()
        self._process.communicate()

    def end(self) -> None:
        self._process.send_signal(signal.SIGINT)
        _, err = self._process.communicate()
        assert "Traceback" not in err


@contextlib.contextmanager
def browser_page() -> Iterator[Any]:
    """A page of Chromium; errors of its scripts fail the test, a server that is away does not."""
    errors: list[str] = []
    with chromium() as browser:
        page = browser.new_page()
        page.set_default_timeout(WAIT_MS)
        page.on("pageerror", lambda error: errors.append(str(error)))
        yield page
    assert errors == []


def drained(page: Any) -> None:
    """Wait until the server has all answers on its disk."""
    page.wait_for_selector("#state.saved")
    page.wait_for_function(
        "() => !Object.keys(localStorage).some((key) => key.startsWith('winnow-answer:'))"
    )


def says(labelled: Labelled, person: str) -> dict[int, str]:
    """What a person says of each tile, as the catalogue has it."""
    rows = labelled.db.execute(
        "SELECT tile, coalesce(name, answer) FROM label LEFT JOIN class ON class.id = label.class"
        " WHERE person = ? AND withdrawn IS NULL",
        (person,),
    )
    return dict(rows.fetchall())
