"""Progress on stderr, with Rich: bars on a terminal, plain lines elsewhere; stdout stays clean."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars


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
        self._bars.console.print(
            f"epoch {line['epoch']:3d}/{self._epochs}  loss {line['loss']:.4f}  val: "
            f"loss {line['val_loss']:.4f}  accuracy {line['val_accuracy']:.4f}  "
            f"macro-F1 {line['val_macro_f1']:.4f}",
            highlight=False,
        )


class Progress:
    """Where long work reports to."""

    def __init__(self) -> None:
        self.console = Console(stderr=True)

    def _bars(self) -> Bars:
        return Bars(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
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
        with self._bars() as bars:
            task = bars.add_task(what, total=total)
            yield lambda n: bars.advance(task, n)

    @contextmanager
    def training(self, name: str, epochs: int, steps: int) -> Iterator[TrainingBar]:
        """The bar of a training of so many epochs of so many batches."""
        with self._bars() as bars:
            task = bars.add_task(name, total=epochs * steps)
            yield TrainingBar(bars, task, epochs, steps)
