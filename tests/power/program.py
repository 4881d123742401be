"""`winnow-edge` under the shim: each command a process, the fork of one that imported everything.

Started by `session.Recorder`; speaks JSON, a line for each command, on its pipes.

The trace says when each transaction was reported as committed: its marks are "commit DIGEST" when
SQLite has told the program so, and "exit CODE" at the end of a command.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sqlite3
import sys
import tempfile
import time
import traceback
from typing import Any

import winnow_edge.commands.downlink
import winnow_edge.commands.store
import winnow_edge.downlink.acknowledgements
import winnow_edge.downlink.contact
import winnow_edge.loop.flight
import winnow_edge.runtimes.fake
import winnow_edge.store.store  # noqa: F401
from tests.power.contents import digest
from tests.power.shim import loaded
from winnow_edge.cli import main as command


def watch(shim: ctypes.CDLL) -> None:
    """Mark every transaction of a store that is committed from now on."""

    class Watched(sqlite3.Connection):
        last = ""

        def execute(self, sql: str, *more: Any) -> sqlite3.Cursor:
            done = super().execute(sql, *more)
            if not self.in_transaction and not sql.startswith(("SELECT", "PRAGMA")):
                self._committed()
            return done

        def commit(self) -> None:
            super().commit()
            self._committed()

        def _committed(self) -> None:
            (_, _, path), *_ = super().execute("PRAGMA database_list").fetchall()  # temp may follow
            if path.endswith("/store.db") and (now := digest(self)) != self.last:
                self.last = now
                shim.power_mark(f"commit {now}".encode())

    connect = sqlite3.connect

    def watched(*arguments: Any, **more: Any) -> sqlite3.Connection:
        return connect(*arguments, **({"factory": Watched} | more))

    sqlite3.connect = watched


def child(shim: ctypes.CDLL, order: dict[str, Any], told: int) -> None:
    """Run one command in this process; never returns."""
    os.dup2(told, 1)
    os.dup2(told, 2)
    code = 70
    try:
        shim.power_fault(*order["fault"])
        code = command(order["arguments"])
        sys.stdout.flush()
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:
        traceback.print_exc()
    shim.power_mark(f"exit {code}".encode())
    os._exit(code)


def main() -> None:
    shim = loaded()
    for line in sys.stdin:
        order = json.loads(line)
        with tempfile.TemporaryFile() as told:
            process = os.fork()
            if not process:
                if order["marks"]:
                    watch(shim)
                child(shim, order, told.fileno())
            if order["kill_after"] is not None:
                time.sleep(order["kill_after"])
                os.kill(process, signal.SIGKILL)  # not yet waited for: the number is its own
            _, status = os.waitpid(process, 0)
            told.seek(0)
            answer = {
                "code": os.waitstatus_to_exitcode(status),
                "said": told.read().decode("utf-8", "replace"),
                "calls": shim.power_calls(),
            }
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
