"""Names that are safe on a disk: folders of classes, sources, and how a source is read."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Callable
from pathlib import PurePosixPath

from winnow_base.errors import DataError
from winnow_train.datasets import HIRISE_SOURCE, source_of

LONGEST = 80
RULES = ("auto", "name", "picture", "folder")


def class_folder(name: str) -> str:
    """The folder of a class: blanks and emoji stay, slashes and control characters become `-`.

    Raises DataError for a name of which nothing is left, or that is too long.

    >>> class_folder("crater/old"), class_folder(" dark dune "), class_folder(".hidden")
    ('crater-old', 'dark dune', '_hidden')
    """
    plain = unicodedata.normalize("NFC", name).strip()
    plain = "".join("-" if _is_unsafe(c) else c for c in plain)
    plain = re.sub(r"^\.", "_", " ".join(plain.split()))
    if not plain.strip("-_ ") or len(plain.encode()) > LONGEST:
        raise DataError(
            f"{name[:LONGEST]!r} cannot be a class",
            hint=f"a class is a name of 1 to {LONGEST} bytes",
        )
    return plain


def _is_unsafe(character: str) -> bool:
    """Slashes, control and format characters but the joiner that holds emoji together."""
    if character == "\u200d":
        return False
    return character in "/\\" or unicodedata.category(character).startswith("C")


def class_folders(names: set[str]) -> dict[str, str]:
    """The folder of every class. Raises DataError where two classes would share one."""
    found: dict[str, str] = {}
    for name in sorted(names):
        folder = class_folder(name)
        for other, theirs in found.items():
            if theirs.casefold() == folder.casefold():
                raise DataError(
                    f"the classes {other!r} and {name!r} would share the folder {folder!r}",
                    hint="rename one of them",
                )
        found[name] = folder
    return found


def source_rule(rule: str, boxed: bool) -> tuple[str, Callable[[str], str]]:
    """How a source is read from a picture's name below its folder, in words and as a function.

    `rule` is one of RULES, or a regular expression with one group. Raises DataError.
    """
    if rule == "auto":
        rule = "picture" if boxed else "name"
    if rule == "name":
        words = "its file name up to the last - or _ and a number; HiRISE: the observation"
        return words, lambda name: source_of(PurePosixPath(name).name)
    if rule == "picture":
        return "every picture is a source of its own; HiRISE: the observation", _whole_picture
    if rule == "folder":
        return "the folder that the picture lies in", _folder
    try:
        pattern = re.compile(rule)
    except (re.error, RecursionError, OverflowError) as error:
        raise DataError(
            f"--source {rule!r} is no regular expression: {error}",
            hint=f"or one of {', '.join(RULES)}",
        ) from error
    if pattern.groups != 1:
        raise DataError(
            f"--source {rule!r} has {pattern.groups} groups, must have one",
            hint=f"e.g. '^([^_]+)_' reads site7 from site7_0012.png; or one of {', '.join(RULES)}",
        )

    def by_pattern(name: str) -> str:
        match = pattern.search(name)
        if match is None or not match[1]:
            raise DataError(f"--source {rule!r} finds no source", where=name)
        return match[1]

    return f"what {rule!r} finds in its name", by_pattern


def _whole_picture(name: str) -> str:
    match = HIRISE_SOURCE.match(PurePosixPath(name).name)
    return match[1] if match else PurePosixPath(name).with_suffix("").as_posix()


def _folder(name: str) -> str:
    parent = PurePosixPath(name).parent.as_posix()
    if parent == ".":
        raise DataError(
            "lies in no folder of a source",
            where=name,
            hint="with --source folder: CLASS/SOURCE/PICTURE",
        )
    return parent


def file_stems(sources: set[str]) -> dict[str, str]:
    """Beginnings of file names from which `datasets.source_of` reads every source again, each
    another."""
    found: dict[str, str] = {}
    taken: set[str] = set()
    for source in sorted(sources):
        plain = unicodedata.normalize("NFC", source)
        stem = re.sub(r"[^\w.+ -]|^[. -]", "-", plain, flags=re.ASCII)[:LONGEST].strip()
        if source_of(f"{stem}-000000.png") != stem:  # it reads as an observation or a sol
            stem = f"of {stem}"
        if stem.casefold() in taken or not stem.strip("-_. "):
            stem += f"-{hashlib.sha256(source.encode('utf-8', 'replace')).hexdigest()[:8]}x"
        taken.add(stem.casefold())
        found[source] = stem
    return found
