"""Progress on stderr, with Rich: bars on a terminal, plain lines elsewhere; stdout stays clean."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.progress import Progress as Bars

Step = Callable[[str, int, int | None], None]
"""Called with a step's name, what is done and what there is to do (None: not known)."""


class TrainingBar:
    """The bar of one training: a step per batch, a line per epoch."""

    def __init__(self, bars: Bars, task: TaskID, epochs: int, steps: int) -> None:
        self._bars, self._task, self._epochs, self._steps = bars, task, epochs, steps

    def step(self, batches: int) -> None:
        """Count finished batches."""
        self._bars.advance(self._task, batches)

    def epoch(self, line: dict[str, Any]) -> None:
        """Print an epoch's figures above the bar."""
        self._bars.update(self._task, completed=line["epoch"] * self._steps)
        said = f"epoch {line['epoch']:3d}/{self._epochs}  loss {line['loss']:.4f}"
        if "val_loss" in line:
            said += (
                f"  val: loss {line['val_loss']:.4f}  accuracy {line['val_accuracy']:.4f}  "
                f"macro-F1 {line['val_macro_f1']:.4f}"
            )
        self._bars.console.print(said, highlight=False)


class ByteBar:
    """A bar of bytes on a terminal; elsewhere a line for every tenth."""

    def __init__(self, what: str, bars: Bars) -> None:
        self._what, self._bars, self._task = what, bars, bars.add_task(what, total=None)
        self._tenth = -1

    def at(self, done: int, total: int | None) -> None:
        """So many bytes of so many (None: not known) are there."""
        self._bars.update(self._task, completed=done, total=total)
        if self._bars.console.is_terminal or not total:
            return
        tenth = 10 * done // total
        if tenth != self._tenth:
            self._tenth = tenth
            text = f"{self._what}: {done / 1e6:,.1f} of {total / 1e6:,.1f} MB"
            self._bars.console.print(text, highlight=False, soft_wrap=True)

    def note(self, text: str) -> None:
        """Print a line."""
        self._bars.console.print(f"winnow: {text}", highlight=False, soft_wrap=True)


class Progress:
    """Where long work reports to; `quiet` draws no bars."""

    def __init__(self, quiet: bool = False) -> None:
        self.console = Console(stderr=True)
        self._quiet = quiet or not self.console.is_terminal

    def _bars(self, *columns: ProgressColumn, transient: bool = True) -> Bars:
        return Bars(
            TextColumn("{task.description}"),
            BarColumn(),
            *columns,
            console=self.console,
            transient=transient,
            disable=self._quiet,
        )

    def warn(self, text: str) -> None:
        """Print a warning line."""
        self.console.print(f"winnow: warning: {text}", style="yellow", highlight=False)

    def note(self, text: str) -> None:
        """Print a line."""
        self.console.print(text, highlight=False)

    @contextmanager
    def counting(self, what: str, total: int) -> Iterator[Callable[[int], None]]:
        """A bar over `total` things; yields the function that counts them."""
        with self._bars(MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn()) as bars:
            task = bars.add_task(what, total=total)
            yield lambda n: bars.advance(task, n)

    @contextmanager
    def steps(self, *, transient: bool = True) -> Iterator[Step]:
        """A bar for every step that is named; yields the function that names them."""
        columns = MofNCompleteColumn(), TimeElapsedColumn()
        with self._bars(*columns, transient=transient) as bars:
            tasks: dict[str, TaskID] = {}

            def step(name: str, done: int, total: int | None) -> None:
                if name not in tasks:
                    tasks[name] = bars.add_task(name, total=total)
                bars.update(tasks[name], completed=done, total=total)

            yield step

    @contextmanager
    def bytes(self, what: str) -> Iterator[ByteBar]:
        """A bar over bytes, with their rate."""
        columns = DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()
        with self._bars(*columns) as bars:
            yield ByteBar(what, bars)

    @contextmanager
    def training(self, name: str, epochs: int, steps: int) -> Iterator[TrainingBar]:
        """The bar of a training of so many epochs of so many batches."""
        with self._bars(MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn()) as bars:
            task = bars.add_task(name, total=epochs * steps)
            yield TrainingBar(bars, task, epochs, steps)
