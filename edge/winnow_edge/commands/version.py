"""What is installed here: `winnow-edge --version`, `python -m winnow_edge`."""

from __future__ import annotations

import argparse
import platform
from collections.abc import Iterator
from importlib import metadata
from typing import Any

import winnow_edge


class Version(argparse.Action):
    """An option that prints what is installed and ends; nothing is looked up before it is given."""

    def __init__(self, option_strings: list[str], dest: str, **more: Any) -> None:
        super().__init__(option_strings, dest, nargs=0, **more)

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        print("\n".join(lines()))
        parser.exit()


def lines() -> Iterator[str]:
    """Versions, then every runtime: what is used, or why it is not there."""
    from winnow_edge.runtimes import REGISTERED

    python = f"{platform.python_implementation()} {platform.python_version()}"
    yield f"winnow-edge {winnow_edge.__version__}"
    yield f"  {'python':<14} {python} on {platform.machine()}"
    for name in ("numpy", "ai-edge-litert", "pillow", "spacepackets"):
        try:
            yield f"  {name:<14} {metadata.version(name)}"
        except metadata.PackageNotFoundError:
            yield f"  {name:<14} is not installed"
    for name, runtime in REGISTERED.items():
        if runtime.has_net:
            reason = runtime.why_not()
            yield f"runtime {name:<8} {runtime.version() if reason is None else f'no: {reason}'}"
