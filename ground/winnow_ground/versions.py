"""Versions of what is installed, and what is not: `winnow --version`, `python -m winnow_ground`."""

from __future__ import annotations

import platform
import re
from importlib import metadata

DISTRIBUTION = "winnow-ground"
_REQUIREMENT = re.compile(r"""(?P<name>[\w.-]+)(.*extra\s*==\s*["'](?P<extra>[\w-]+)["'])?""")


def describe() -> list[str]:
    """Lines for people: versions of both halves and of what they need; a line for every extra."""
    base: list[str] = []
    extras: dict[str, list[str]] = {}
    for requirement in metadata.requires(DISTRIBUTION) or ():
        found = _REQUIREMENT.match(requirement)
        if found is not None and found["name"] != DISTRIBUTION:
            (extras.setdefault(found["extra"], []) if found["extra"] else base).append(
                found["name"]
            )
    lines = [
        f"{DISTRIBUTION} {metadata.version(DISTRIBUTION)}, Python {platform.python_version()} "
        f"on {platform.machine()}",
        f"base: {', '.join(f'{name} {_version(name)}' for name in base)}",
    ]
    extras.pop("all", None)
    for extra, names in sorted(extras.items()):
        there = [f"{name} {version}" for name in names if (version := _version(name))]
        missing = [name for name in names if not _version(name)]
        said = ", ".join(there)
        if missing:
            said += f"{'; ' * bool(there)}missing: {', '.join(missing)}"
            said += f"; pip install '{DISTRIBUTION}[{extra}]'"
        lines.append(f"extra {extra}: {said}")
    return lines


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
