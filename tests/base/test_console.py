"""What is printed for people: names in tables are whole, whatever the window and the name."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from rich.table import Table

from tests.running import winnow
from winnow_base.console import show_table

NAMES = ("impact ejecta", "recurring-slope-lineae", "crater [small]", "[/bold] dunes")


def cells(text: str) -> str:
    """What is printed without borders and blanks, line after line of every column."""
    rows = [line.replace("┃", "│").split("│")[1:-1] for line in text.splitlines()]
    columns = zip(*(row for row in rows if row), strict=True)
    return " ".join("".join(cell.strip() for cell in column) for column in columns)


@pytest.mark.parametrize("width", [30, 50, 100])
def test_names_are_whole_in_any_window(width: int) -> None:
    table = Table("class", "precision", "recall", title="on tiles of [mine]")
    table.columns[1].no_wrap = True
    for name in NAMES:
        table.add_row(name, "0.123", "0.456")
    console = Console(width=width, file=io.StringIO())
    show_table(console, table)
    assert isinstance(console.file, io.StringIO)
    printed = console.file.getvalue()
    assert "…" not in printed
    assert "[mine]" in printed
    for name in NAMES:
        assert name.replace(" ", "") in cells(printed).replace(" ", "")


def test_a_command_prints_the_names_of_classes_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [name.replace("/", "") for name in NAMES]
    rng = np.random.default_rng(1)
    for split in ("train", "val"):
        for name in names:
            folder = tmp_path / split / name
            folder.mkdir(parents=True)
            for n in range(2):
                pixels = rng.integers(0, 255, (32, 32), np.uint8)
                Image.fromarray(pixels).save(folder / f"{split}{n}_{n}.png")
    monkeypatch.setenv("COLUMNS", "32")
    done = winnow("data", "check", "folder", "--data", tmp_path)
    assert "…" not in done.stdout, done.stdout + done.stderr
    for name in names:
        assert name.replace(" ", "") in cells(done.stdout).replace(" ", ""), done.stdout
