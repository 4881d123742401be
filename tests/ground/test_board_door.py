"""What a board says is checked like every other input: noise, silence and facts that are none.

An `ssh` of these tests runs the commands on this machine, in a shell that behaves as told.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from winnow_base.errors import DeployError
from winnow_ground.board import Board
from winnow_ground.deploy import KEPT, clear

FACTS = (
    "home=/home/pi\nuser=pi\ntar=yes\npython=/usr/bin/python3\nversion=3.11.2\nbits=64\n"
    "machine=aarch64\nlibc=glibc 2.36\nvenv=yes\n"
)


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Board:
    """A board whose commands run here; `BEFORE` is run by its shell as it starts."""
    (tmp_path / "bin").mkdir()
    ssh = tmp_path / "bin" / "ssh"
    ssh.write_text('#!/bin/sh\nfor last; do :; done\neval "$BEFORE"\nexec sh -c "$last"\n')
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("BEFORE", "echo Welcome to board")
    return Board("board")


def told(monkeypatch: pytest.MonkeyPatch, facts: str) -> None:
    """Have the board say these facts, whatever it is asked."""
    quoted = facts.replace("'", "")
    monkeypatch.setenv("BEFORE", f"echo 'winnow-deploy: begin'; printf '%s' '{quoted}'; exit 0")


def test_what_a_shell_prints_as_it_starts_is_no_answer(board: Board) -> None:
    assert board.run("look", 'echo "$1"', "releases/a") == "releases/a\n"
    assert board.attempt("exit 3") == (3, "", "")


def test_a_board_that_does_not_answer_is_not_waited_for(
    board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BEFORE", "exec sleep 600")
    with pytest.raises(DeployError, match=r"board: does not answer for 0\.2 s"):
        board.run("look", "true", patience_s=0.2)


def test_facts_that_are_all_there_are_taken(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    told(monkeypatch, FACTS)
    facts = board.facts()
    assert (facts.home, facts.machine, facts.glibc) == ("/home/pi", "aarch64", (2, 36))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("bits=64", ""), "does not say its bits"),
        (("machine=aarch64", ""), "does not say its machine"),
        (("home=/home/pi", ""), "does not say its home"),
        (("home=/home/pi", "home=pi"), "does not say its home"),
        (("version=3.11.2", "version="), "does not say its version"),
        (("libc=glibc 2.36", ""), "its C library is not glibc"),
        (("glibc 2.36", "glibc 2.x"), "its C library is not glibc"),
        (("glibc 2.36", "glibc 9.99999999"), "its C library is not glibc"),
        (("bits=64", "bits=32"), "runs a 32-bit system"),
    ],
)
def test_facts_that_are_none_are_refused_in_one_line(
    board: Board, monkeypatch: pytest.MonkeyPatch, change: tuple[str, str], says: str
) -> None:
    told(monkeypatch, FACTS.replace(*change))
    with pytest.raises(DeployError, match=says) as refused:
        board.facts()
    assert "\n" not in str(refused.value)


def test_broken_off_deploys_push_no_good_one_out(board: Board, tmp_path: Path) -> None:
    releases = tmp_path / "winnow" / "releases"
    now = time.time()

    def made(name: str, age_s: float, *, complete: bool) -> None:
        (releases / name).mkdir(parents=True)
        if complete:
            (releases / name / ".complete").touch()
        os.utime(releases / name, (now - age_s, now - age_s))

    good = [f"{n:012x}" for n in range(5)]
    for n, name in enumerate(good):
        made(name, 90_000 - 10 * n, complete=True)
    made("b" * 12, 7200, complete=False)  # broken off
    made("c" * 12, 60, complete=False)  # still being copied
    made("photos", 100_000, complete=False)  # somebody else's
    made("another-program", 100_000, complete=True)
    (tmp_path / "winnow" / "current").symlink_to(f"releases/{good[0]}")
    clear(board, str(tmp_path / "winnow"))
    left = {path.name for path in releases.iterdir()}
    assert left == {good[0], *good[-KEPT:], "c" * 12, "photos", "another-program"}
