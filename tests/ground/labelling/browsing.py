"""A browser, and a server that may be killed and started again at its port."""

from __future__ import annotations

import contextlib
import random
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.ground.labelling.conftest import Labelled
from tests.ground.serve import serving
from tests.ground.serve.browsing import WAIT_MS


def _port_to_keep() -> int:
    """A free port that no program is given unasked, for those lie above (ip(7)): a server that is
    started again finds it free."""
    while True:
        with contextlib.suppress(OSError), socket.socket() as probe:
            port = random.SystemRandom().randrange(20_000, 30_000)
            probe.bind(("127.0.0.1", port))
            return port


class Server:
    """`winnow serve` over a catalogue, for ann."""

    def __init__(self, catalogue: Path) -> None:
        self._catalogue, self._port = catalogue, _port_to_keep()
        self.start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        self._server = serving.Server(self._catalogue, "--port", self._port, "--person", "ann")

    def kill(self) -> None:
        self._server.kill()

    def end(self) -> None:
        self._server.end()


@contextlib.contextmanager
def browser_page(browser: Any) -> Iterator[Any]:
    """A page of its own session; errors of its scripts fail the test, a server that is away does
    not."""
    errors: list[str] = []
    context = browser.new_context()
    context.set_default_timeout(WAIT_MS)
    page = context.new_page()
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    context.close()
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
