"""The `winnow` command run inside the test process: TensorFlow is loaded once for all tests."""

from __future__ import annotations

import contextlib
import io
import sys
from dataclasses import dataclass

from winnow_cli.app import main


@dataclass(frozen=True)
class Done:
    """What a command left behind."""

    returncode: int
    stdout: str
    stderr: str


def winnow(*arguments: object) -> Done:
    """Run the command as its entry point does."""
    out, err = io.StringIO(), io.StringIO()
    argv = sys.argv
    sys.argv = ["winnow", *map(str, arguments)]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        sys.argv = argv
    return Done(code, out.getvalue(), err.getvalue())
