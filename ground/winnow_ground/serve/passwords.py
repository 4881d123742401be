"""The password file: people, their roles and the Argon2 hashes of their passwords.

The file is JSON, readable by its owner alone::

    {"format": 1, "people": {"ann": {"role": "label", "hash": "$argon2id$v=19$..."}}}

Hashes are Argon2id (RFC 9106) with the costs of `HASHER`.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from winnow_base.errors import DataError
from winnow_base.files import locked
from winnow_edge.errors import OutputError
from winnow_edge.files import read_small, unwritable
from winnow_ground.serve.people import MOST_NAME, Role, legal_name

FORMAT: Final = 1
MOST_PEOPLE: Final = 1000
MOST_BYTES: Final = 1_000_000
FEWEST, MOST_PASSWORD = 10, 1000
"""Characters of a password."""
HASHER: Final = PasswordHasher(time_cost=3, memory_cost=32 * 1024, parallelism=1)
_HINT: Final = "`winnow passwords add FILE NAME --role label` writes one"


@dataclass(frozen=True, slots=True)
class Entry:
    """A person in the file."""

    role: Role
    hash: str


def load_passwords(path: Path) -> dict[str, Entry]:
    """People by name. Raises DataError: not there, readable by others, damaged."""
    try:
        mode = path.stat().st_mode
        data = read_small(path, MOST_BYTES)
    except OSError as error:
        raise DataError(error.strerror or "cannot be read", where=path, hint=_HINT) from error
    if stat.S_IMODE(mode) & 0o077:
        raise DataError("can be read by others", where=path, hint=f"chmod 600 {path}")
    try:
        told = json.loads(data)
        if not isinstance(told, dict) or told.get("format") != FORMAT:
            raise ValueError(f"it has no format {FORMAT}")
        people = told["people"]
        if len(people) > MOST_PEOPLE:
            raise ValueError(f"it has more than {MOST_PEOPLE} people")
        return {_name(name): _entry(entry) for name, entry in people.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"is no password file: {error}", where=path, hint=_HINT) from error


def _name(name: str) -> str:
    if not legal_name(name):
        raise ValueError(f"{name[:MOST_NAME]!r} is no name")
    return name


def _entry(told: Mapping[str, Any]) -> Entry:
    entry = Entry(Role[str(told["role"]).upper()], str(told["hash"]))
    HASHER.check_needs_rehash(entry.hash)  # refuses what is no hash
    return entry


def change_passwords(path: Path, change: Callable[[dict[str, Entry]], None]) -> None:
    """Have `change` change the people by name of a file, or of a new one; of two that change it
    at once, one waits. The file is written whole or not at all, readable by its owner alone.

    Raises OutputError, and what `load_passwords` does for a file that is there.
    """
    try:
        with locked(path.parent):
            if path.exists() and not path.is_file():
                raise OutputError("is no file", where=path, hint="name another one")
            people = load_passwords(path) if path.exists() else {}
            change(people)
            _save(path, people)
    except OSError as error:
        raise unwritable(error, path) from error


def _save(path: Path, people: Mapping[str, Entry]) -> None:
    told = {
        "format": FORMAT,
        "people": {
            name: {"role": entry.role.name.lower(), "hash": entry.hash}
            for name, entry in sorted(people.items())
        },
    }
    aside = path.with_name(f".{path.name}.part")
    aside.unlink(missing_ok=True)  # of one that was killed
    try:
        # Nobody else may read it at any moment.
        entry = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(entry, "w", encoding="utf-8") as file:
            json.dump(told, file, indent=1)
            file.write("\n")
            file.flush()
            os.fsync(entry)
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def hash_of(password: str) -> str:
    """The hash of a password. Raises DataError where it is too short or too long."""
    if not FEWEST <= len(password) <= MOST_PASSWORD:
        raise DataError(f"a password has {FEWEST} to {MOST_PASSWORD} characters")
    return HASHER.hash(password)


_NOBODY: Final = (
    "$argon2id$v=19$m=32768,t=3,p=1$AAAAAAAAAAAAAAAAAAAAAA"
    "$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
)


def is_password(entry: Entry | None, password: str) -> bool:
    """Whether it is; where there is nobody of the name it takes as long to say no."""
    try:
        HASHER.verify(_NOBODY if entry is None else entry.hash, password)
    except (VerificationError, InvalidHashError):
        return False
    return entry is not None
