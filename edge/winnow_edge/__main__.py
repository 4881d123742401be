"""`python -m winnow_edge`: the `winnow-edge` command; without arguments, what is installed."""

from __future__ import annotations

import sys

from winnow_edge.cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or ["--version"]))
