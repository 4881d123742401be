"""All training tiles of all heads, with their targets and weights, and the val tiles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from winnow_train import model
from winnow_train.datasets import camera_of
from winnow_train.recipe import Recipe
from winnow_train.tasks import Task
from winnow_train.tiles import to_input


@dataclass(frozen=True)
class Sample:
    """All training tiles of all heads: pixels, and per head the targets and their weights."""

    pixels: list[np.ndarray]  # n of uint8 [H, W, C]
    targets: dict[str, np.ndarray]  # head -> float32 [n, K]
    weights: dict[str, np.ndarray]  # head -> float32 [n]; 0 where a tile has no target
    draw: np.ndarray  # float64 [n], how often a tile is drawn; sums to 1
    #: `pixels` are already what the net takes (features of a frozen backbone): none is augmented.
    ready: bool = False
    #: How many are drawn in an epoch; 0: as many as there are.
    epoch: int = 0
    #: From here on, `pixels` are windows of whole pictures; None: none is.
    first_window: int | None = None
    #: The group of every tile within which hard negatives are drawn more often, int [n]; -1 for
    #: those that are drawn as often as ever.
    mined: np.ndarray | None = None

    @property
    def drawn(self) -> int:
        """How many tiles are drawn in an epoch."""
        return self.epoch or len(self.pixels)


@dataclass(frozen=True)
class Validation:
    """The val tiles of the recipe's own head, at the net's input size."""

    pixels: np.ndarray  # uint8 [n, H, W, C], or what the net takes
    truth: np.ndarray
    scale: float = model.PIXEL_SCALE  # what the net takes is pixels / scale


def make_sample(
    recipe: Recipe,
    tasks: dict[str, Task],
    pixels: dict[str, list[np.ndarray]],
    posteriors: dict[str, np.ndarray],
) -> Sample:
    """Join the heads' training tiles. `posteriors` are the teachers': head -> [n of all, K]."""
    total = sum(len(p) for p in pixels.values())
    targets, weights = {}, {}
    draw = np.empty(total)
    start = 0
    for head, task in tasks.items():
        stop = start + len(pixels[head])
        hard = task.targets()
        target = np.zeros((total, hard.shape[1]), np.float32)
        weight = np.zeros(total, np.float32)
        if head in posteriors:
            target, weight = posteriors[head].astype(np.float32), weight + recipe.distill.weight
            target[start:stop] *= recipe.distill.weight
            target[start:stop] += (1 - recipe.distill.weight) * _smooth(
                hard, recipe.train.label_smoothing, task.head
            )
        else:
            target[start:stop] = _smooth(hard, recipe.train.label_smoothing, task.head)
        weight[start:stop] = _effective_weights(task, recipe.train.effective_number)
        if head == recipe.data.dataset:
            _borrow(recipe, tasks, pixels, target, weight)
        targets[head], weights[head] = target, weight
        draw[start:stop] = _draw(task, recipe.train.balance) * camera_draw(task, recipe)
        start = stop
    return Sample([t for p in pixels.values() for t in p], targets, weights, draw / draw.sum())


def weigh_down(sample: Sample, own: str, task: Task, weights: Mapping[str, float]) -> Sample:
    """The sample with the loss of some of the own head's tiles, by `Tile.key`, multiplied."""
    each = sample.weights[own].copy()
    for i, tile in enumerate(task.tiles.tiles):  # the own head's tiles come first
        each[i] *= weights.get(tile.key, 1.0)
    return replace(sample, weights={**sample.weights, own: each})


def _borrow(
    recipe: Recipe,
    tasks: dict[str, Task],
    pixels: dict[str, list[np.ndarray]],
    target: np.ndarray,
    weight: np.ndarray,
) -> None:
    """Give the own head the labels that the sets trained along have for classes of the same name.

    The sets label the same kinds of landmark differently only in what they call the rest.
    """
    own = tasks[recipe.data.dataset].classes
    start = 0
    for task, tiles in zip(tasks.values(), pixels.values(), strict=True):
        if task.tiles.dataset != recipe.data.dataset and task.head == "softmax":
            for i, (label, tile) in enumerate(zip(task.truth, tiles, strict=True), start):
                name = task.classes[label]
                if name in recipe.data.borrow and name in own and (tile == 0).mean() < 0.01:
                    target[i] = np.eye(len(own), dtype=np.float32)[own.index(name)]
                    weight[i] = 1.0
        start += len(tiles)


def _smooth(hard: np.ndarray, amount: float, head: str) -> np.ndarray:
    floor = 0.5 if head == "sigmoid" else 1.0 / hard.shape[1]
    return np.asarray(hard * (1 - amount) + amount * floor)


def _effective_weights(task: Task, beta: float) -> np.ndarray:
    """Weights (1 - beta) / (1 - beta^n) of Cui et al. 2019, of mean 1."""
    if beta == 0 or task.head == "sigmoid":
        return np.ones(len(task.truth), np.float32)
    count = np.bincount(task.truth, minlength=len(task.classes))
    each = ((1 - beta) / (1 - beta ** np.maximum(count, 1)))[task.truth]
    return np.asarray(each / each.mean(), np.float32)


def _draw(task: Task, balance: float) -> np.ndarray:
    """Tiles' relative frequency; a data set's share stays what its size makes it."""
    if balance == 0 or task.head == "sigmoid":
        return np.ones(len(task.truth))
    count = np.bincount(task.truth, minlength=len(task.classes)).astype(float)
    each = (count[task.truth]) ** -balance
    return np.asarray(each / each.mean())


def camera_draw(task: Task, recipe: Recipe) -> np.ndarray:
    """1 for tiles of the recipe's camera, `data.others` for those of the other ones."""
    data = recipe.data
    if not data.instrument or task.tiles.dataset != data.dataset:
        return np.ones(len(task.truth))
    own = [camera_of(t.path.name) == data.instrument for t in task.tiles.tiles]
    return np.where(own, 1.0, data.others)


def log_prior(task: Task, recipe: Recipe) -> np.ndarray:
    """Natural logarithm of the class frequencies in training, float64 [K]; 0 for sigmoid heads.

    Tiles of other cameras count as often as they are drawn; `train.balance` changes nothing.
    """
    if task.head == "sigmoid":
        return np.zeros(len(task.classes))
    count = np.bincount(task.truth, camera_draw(task, recipe), minlength=len(task.classes))
    count = np.maximum(count, 0.5)  # the net of a fold may have no tile of a class
    return np.asarray(np.log(count / count.sum()))


def validation_of(recipe: Recipe, task: Task, pixels: list[np.ndarray]) -> Validation:
    """The val tiles at the net's input size."""
    return Validation(to_input(pixels, recipe.input.height, recipe.input.width), task.truth)
