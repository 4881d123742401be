"""A guide walked as a newcomer walks it: its commands are copied out of the page and pasted.

Blocks of a page are marked behind the language of their fence, where readers do not see it::

    ```sh                 pasted, command by command, into one shell for the whole page
    ```sh needs=board     pasted where the test has a board, else skipped with that reason
    ```toml file=NAME     saved as NAME beside the commands
    ```                   output, or commands that are no part of the way: not touched
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
_FENCE = re.compile(r"^```(?P<mark>[^\n`]*)\n(?P<text>.*?)^```$", re.M | re.S)
_BETWEEN = "\x1e"
"""ASCII's record separator stands between what two commands said."""


@dataclass(frozen=True)
class Block:
    """A fenced block of a page: its language, its marks and its text; `line` is its first."""

    language: str
    marks: Mapping[str, str]
    text: str
    line: int

    @property
    def commands(self) -> list[str]:
        """The commands of a block of shell, continued lines joined, comments of a line left out."""
        joined = re.sub(r"\\\n\s*", "", self.text)
        lines = (line.strip() for line in joined.splitlines())
        return [line for line in lines if line and not line.startswith("#")]


@dataclass(frozen=True)
class Pasted:
    """A command that was pasted, its exit code and what it said."""

    command: str
    code: int
    said: str


@dataclass
class Walk:
    """What became of a page: commands in order, and the blocks skipped by what they need."""

    pasted: list[Pasted] = field(default_factory=list)
    skipped: dict[str, list[Block]] = field(default_factory=dict)

    @property
    def failed(self) -> list[Pasted]:
        """Commands that did not end with 0."""
        return [one for one in self.pasted if one.code]

    def said(self, beginning: str) -> str:
        """What the first command that begins so said."""
        return next(one.said for one in self.pasted if one.command.startswith(beginning))


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in _FENCE.finditer(text):
        language, *marks = match["mark"].split() or [""]
        line = text.count("\n", 0, match.start()) + 1
        pairs = dict(mark.partition("=")[::2] for mark in marks)
        found.append(Block(language, pairs, match["text"], line))
    return found


def walk(
    page: Path,
    clone: Path,
    *,
    has: Iterable[str] = (),
    commands: Path | None = None,
    activated: bool = False,
) -> Walk:
    """Paste the commands of a page into one shell in `clone`.

    `has` names what blocks may need (`needs=`) and is there; `commands` is a folder of commands
    that are a newcomer's own; with `activated` README's first commands were pasted in that shell
    before. A command that fails does not keep the next from being pasted.
    """
    made, here = Walk(), set(has)
    script = []
    for block in blocks(page):
        needed = block.marks.get("needs")
        if needed is not None and needed not in here:
            made.skipped.setdefault(needed, []).append(block)
        elif "file" in block.marks:
            (clone / block.marks["file"]).write_text(block.text, encoding="utf-8")
        elif block.language == "sh":
            script += block.commands
    paste = clone.parent / f"{page.stem}.sh"
    told = "".join(f"{one}\nprintf '\\036%d\\036' $?\n" for one in script)
    begin = ". .venv/bin/activate\n" if activated else ""
    paste.write_text(begin + told, encoding="utf-8")
    shell = subprocess.run(
        ["bash", paste],
        cwd=clone,
        env=_environment(commands),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    parts = shell.stdout.split(_BETWEEN)
    ends = zip(script, map(int, parts[1::2]), parts[0:-1:2], strict=False)
    made.pasted = [Pasted(*end) for end in ends]
    # A command that ends the shell keeps the rest from being pasted.
    if (done := len(made.pasted)) < len(script):
        made.pasted.append(Pasted(script[done], shell.returncode or 1, parts[-1]))
    return made


def _environment(commands: Path | None) -> dict[str, str]:
    """The shell's: nothing of the tests' own that a newcomer does not have."""
    own = str(Path(sys.executable).parent)
    path = [p for p in os.environ["PATH"].split(os.pathsep) if p != own]
    path = [str(commands), *path] if commands is not None else path
    # Within `make test` a make of the guides would take itself for a part of that one.
    mine = ("WINNOW_", "VIRTUAL_ENV", "MAKE", "MFLAGS")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(mine)}
    return {**kept, "PATH": os.pathsep.join(path)}


def fresh_clone(folder: Path) -> Path:
    """A copy of this tree's files as git knows them, with an environment that is installed already.

    The environment has scripts and packages of the one that the tests run in, as installing takes
    minutes and needs an index; `make` finds it newer than what it is made from.
    """
    clone = folder / "winnow"
    for name in _files():
        target = clone / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target, follow_symlinks=False)
    place = clone / ".venv"
    venv.create(place, with_pip=False, symlinks=True)
    (packages,) = place.glob("lib/python3*/site-packages")
    known = [p for p in sys.path if p.endswith(("site-packages", "dist-packages"))]
    lines = [f"import site; site.addsitedir({path!r})" for path in known]
    (packages / "first-hour.pth").write_text("\n".join([*lines, ""]), encoding="utf-8")
    for command, module in (("winnow", "winnow_cli.app"), ("winnow-edge", "winnow_edge.cli")):
        code = f"import sys; from {module} import main; sys.argv[0] = '{command}'; sys.exit(main())"
        script = place / "bin" / command
        script.write_text(f'#!/bin/sh\nexec "{place}/bin/python" -c "{code}" "$@"\n')
        script.chmod(0o755)
    for stamp in (".base", ".all"):
        (place / stamp).touch()
    return clone


def is_checkout() -> bool:
    """Whether git is here and knows the files of this tree."""
    return shutil.which("git") is not None and _listed().returncode == 0


def _files() -> list[str]:
    return [name for name in _listed().stdout.split("\0") if name and (ROOT / name).is_file()]


def _listed() -> subprocess.CompletedProcess[str]:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
