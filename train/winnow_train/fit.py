"""Training: one loop of epochs, each seeded by itself, so that a killed run ends as if it had not.

The heads share a backbone; a batch mixes the tiles of every data set, and a tile weighs only in
the heads that it has a target for. Targets are labels, mixed with teachers' posteriors if asked.
"""

from __future__ import annotations

import json
import math
import zipfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from winnow_base import metrics
from winnow_base.calibrate import negative_log_likelihood
from winnow_base.errors import DataError
from winnow_edge.files import write_aside
from winnow_train import model
from winnow_train.datasets import camera_of
from winnow_train.halves import Halves
from winnow_train.mining import drawn_anew, wrongness
from winnow_train.recipe import Recipe, parse_recipe
from winnow_train.runs import CHECKPOINT
from winnow_train.tasks import Task
from winnow_train.tiles import Augmenter, to_input

HISTORY = "training.jsonl"


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
        draw[start:stop] = _draw(task, recipe.train.balance) * _cameras(task, recipe)
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


def _cameras(task: Task, recipe: Recipe) -> np.ndarray:
    """1 for tiles of the recipe's camera, `data.others` for those of the other ones."""
    data = recipe.data
    if not data.instrument or task.tiles.dataset != data.dataset:
        return np.ones(len(task.truth))
    own = [camera_of(t.path.name) == data.instrument for t in task.tiles.tiles]
    return np.where(own, 1.0, data.others)


class Epoch:
    """The batches of one epoch; a function of the recipe's seed and the epoch's number alone."""

    def __init__(self, sample: Sample, recipe: Recipe, number: int) -> None:
        self._sample, self._recipe, self._number = sample, recipe, number
        self._augment = Augmenter(recipe.augment, recipe.input.height, recipe.input.width)
        rules = recipe.windows
        of_windows = replace(recipe.augment, zoom=rules.zoom, shift=rules.shift, stretch=1.0)
        self._augment_window = Augmenter(of_windows, recipe.input.height, recipe.input.width)
        self._halves = None
        if recipe.augment.halves > 0:
            own = recipe.data.dataset
            self._halves = Halves(sample.pixels, sample.targets[own], sample.weights[own], recipe)
        rng = np.random.default_rng([recipe.seed, number])
        n, of = sample.drawn, len(sample.pixels)
        # Systematic sampling: each tile comes floor or ceil of its expected number of times.
        ticks = (np.arange(n) + rng.random()) / n
        drawn = np.searchsorted(np.cumsum(sample.draw[order := rng.permutation(of)]), ticks)
        self._order = rng.permutation(order[np.minimum(drawn, of - 1)])

    def __len__(self) -> int:
        return steps_per_epoch(len(self._order), self._recipe.train.batch)

    def __iter__(self) -> Iterator[tuple[Any, Any, Any]]:
        """The batches in order, made ahead in two threads while the net learns."""
        with ThreadPoolExecutor(2) as pool:
            ahead = deque(pool.submit(self.__getitem__, i) for i in range(min(4, len(self))))
            for index in range(len(self)):
                batch = ahead.popleft().result()
                if index + 4 < len(self):
                    ahead.append(pool.submit(self.__getitem__, index + 4))
                yield batch

    def __getitem__(self, index: int) -> tuple[Any, Any, Any]:
        size = min(self._recipe.train.batch, len(self._order))
        chosen = self._order[index * size : (index + 1) * size]
        seed = [self._recipe.seed, self._number, index]
        inputs = self._inputs(chosen, np.random.default_rng(seed))
        targets = {h: t[chosen] for h, t in self._sample.targets.items()}
        weights = {h: w[chosen] for h, w in self._sample.weights.items()}
        if self._halves is not None:
            rng = np.random.default_rng([*seed, 1])
            self._halves(inputs, targets, weights, self._augment, rng)
        if not self._sample.ready:
            inputs = inputs / np.float32(model.PIXEL_SCALE)
        return inputs, targets, weights

    def _inputs(self, chosen: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        held = self._sample.pixels
        if self._sample.ready:
            return np.stack([held[i] for i in chosen])
        first = self._sample.first_window
        windows = len(held) if first is None else first
        return np.stack(
            [(self._augment if i < windows else self._augment_window)(held[i], rng) for i in chosen]
        )


def steps_per_epoch(tiles: int, batch: int) -> int:
    """Whole batches of an epoch, at least one; the rest is left to another draw."""
    return max(1, tiles // batch)


class AdjustedCrossEntropy(keras.losses.Loss):
    """Cross-entropy of logits, with log priors added in training (Menon et al. 2021).

    A target of IMPOSSIBLE for some classes, and 0 for the others, teaches that the tile is of none
    of these: -log(1 - sum of their posteriors), the likelihood of a partial label (Cour et al.
    2011).
    """

    def __init__(self, shift: np.ndarray, head: str) -> None:
        super().__init__(name="adjusted_cross_entropy")
        self._shift, self._head = shift.astype(np.float32), head

    def call(self, y_true: Any, y_pred: Any) -> Any:
        if self._head == "sigmoid":
            each = keras.ops.binary_crossentropy(y_true, y_pred, from_logits=True)
            return keras.ops.mean(each, axis=-1)
        logits, ops = y_pred + self._shift, keras.ops
        hard = ops.categorical_crossentropy(ops.maximum(y_true, 0.0), logits, from_logits=True)
        possible = ops.where(y_true < 0, ops.full_like(logits, -1e9), logits)
        return hard + ops.logsumexp(logits, axis=-1) - ops.logsumexp(possible, axis=-1)


def log_prior(task: Task, recipe: Recipe) -> np.ndarray:
    """Natural logarithm of the class frequencies in training, float64 [K]; 0 for sigmoid heads.

    Tiles of other cameras count as often as they are drawn; `train.balance` changes nothing.
    """
    if task.head == "sigmoid":
        return np.zeros(len(task.classes))
    count = np.bincount(task.truth, _cameras(task, recipe), minlength=len(task.classes))
    count = np.maximum(count, 0.5)  # the net of a fold may have no tile of a class
    return np.asarray(np.log(count / count.sum()))


def fit(
    net: keras.Model,
    recipe: Recipe,
    tasks: dict[str, Task],
    sample: Sample,
    validation: Validation | None,
    out: Path,
    fingerprint: str,
    report: Callable[[dict[str, Any]], None],
    step: Callable[[int], None] = lambda steps: None,
    whole: keras.Model | None = None,
) -> list[dict[str, Any]]:
    """Train `net` in place, writing a checkpoint and a log line after every epoch.

    Goes on from the checkpoint in `out` if it holds one of the same recipe and data; `step` is
    called with the number of batches done, `report` with each epoch's figures. Without `validation`
    there are none of val, and `train.patience` must be 0. Where `net` is only a part, checkpoints
    hold the weights of the `whole` that it shares layers with. Returns the log.
    """
    steps = steps_per_epoch(sample.drawn, recipe.train.batch)
    priors = {h: recipe.train.logit_adjustment * log_prior(t, recipe) for h, t in tasks.items()}
    optimizer = _optimizer(recipe, steps)
    net.compile(
        optimizer=optimizer,
        loss={h: AdjustedCrossEntropy(priors[h], t.head) for h, t in tasks.items()},
        jit_compile=False,
    )
    optimizer.build(net.trainable_variables)
    state = _State(whole or net, optimizer, recipe, fingerprint)
    state.restore(out / CHECKPOINT)
    own = next(iter(tasks))
    for number in range(len(state.history), recipe.train.epochs):
        if _is_stale(state.history, recipe.train.patience):
            break
        _reseed_dropout(net, recipe.seed, number)
        epoch = Epoch(mine(net, recipe, own, priors[own], sample, number), recipe, number)
        losses = []
        for x, y, weight in epoch:
            losses.append(float(net.train_on_batch(x, y, weight, return_dict=True)["loss"]))
            step(1)
        loss = sum(losses) / len(losses)
        if not math.isfinite(loss):
            raise DataError(
                f"the loss is {loss} in epoch {number + 1}",
                where=recipe.name,
                hint="lower train.learning_rate; the last checkpoint is good",
            )
        line = {"epoch": number + 1, "loss": loss}
        if validation is not None:
            line |= _val_line(net, own, recipe, tasks[own], validation)
        state.update(line)
        state.save(out / CHECKPOINT)
        write_history(out / HISTORY, state.history)
        report(line)
    if not recipe.train.epochs:
        state.save(out / CHECKPOINT)
    state.finish()
    return state.history


def mine(
    net: keras.Model, recipe: Recipe, own: str, shift: np.ndarray, sample: Sample, number: int
) -> Sample:
    """The sample of epoch `number` (the first is 0): hard negatives drawn by what the net, with
    `shift` [K] added to the logits of the head `own`, now makes of them."""
    if sample.mined is None or not 0 < recipe.windows.mine_from <= number + 1:
        return sample
    some = np.flatnonzero(sample.mined >= 0)
    if not len(some):
        return sample
    scale = 1.0 if sample.ready else model.PIXEL_SCALE
    logits = model.predict(net, np.stack([sample.pixels[i] for i in some]), scale=scale)[own]
    draw = sample.draw.copy()
    wrong = wrongness(logits + shift, sample.targets[own][some])
    draw[some] = drawn_anew(draw[some], sample.mined[some], wrong)
    return replace(sample, draw=draw)


def _optimizer(recipe: Recipe, steps: int) -> keras.optimizers.Optimizer:
    t = recipe.train
    warm = round(min(t.warmup_epochs, t.epochs / 2) * steps)
    schedule = keras.optimizers.schedules.CosineDecay(
        t.learning_rate / 100 if warm else t.learning_rate,
        decay_steps=max(1, t.epochs * steps - warm),
        warmup_target=t.learning_rate if warm else None,
        warmup_steps=warm,
        alpha=1.0 if t.schedule == "constant" else 0.0,  # share of the rate at the end
    )
    if t.optimizer == "adam":
        return keras.optimizers.Adam(schedule)
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=t.weight_decay)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def _reseed_dropout(net: keras.Model, seed: int, number: int) -> None:
    for layer in net.layers:
        if isinstance(layer, keras.layers.Dropout):
            layer.seed_generator.state.assign([seed, number])


def _val_line(
    net: keras.Model, own: str, recipe: Recipe, task: Task, validation: Validation
) -> dict[str, float]:
    """Figures on val: the loss at the training prior, the scores as the net would be exported."""
    shift = recipe.train.logit_adjustment * log_prior(task, recipe)
    logits = model.predict(net, validation.pixels, scale=validation.scale)[own]
    loss = negative_log_likelihood(logits + shift, validation.truth, 1.0, task.head)
    posterior = metrics.posterior(logits + recipe.export.prior * shift, task.head)
    scores = metrics.score(posterior, validation.truth, list(task.classes), task.head)
    return {
        "val_loss": loss,
        "val_accuracy": scores["accuracy"],
        "val_macro_f1": scores["macro_f1"],
    }


def read_checkpoint(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """A checkpoint's description (recipe, data, history) and its arrays. Raises DataError."""
    try:
        with np.load(path) as held:
            arrays = {k: held[k] for k in held.files}
        return json.loads(str(arrays.pop("meta"))), arrays
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise DataError("is no whole checkpoint", where=path, hint="train again") from error


def kept_weights(arrays: dict[str, np.ndarray]) -> list[np.ndarray]:
    """The weights that a finished checkpoint stands for: the averaged or best, else the last."""
    prefix = "kept" if "kept-0" in arrays else "weight"
    count = sum(k.startswith("weight-") for k in arrays)
    return [arrays[f"{prefix}-{i}"].astype(np.float32) for i in range(count)]


def finished_weights(path: Path, recipe: Recipe, fingerprint: str) -> list[np.ndarray] | None:
    """The weights of a checkpoint that has nothing left to train, or None.

    Raises DataError for a checkpoint of another recipe or other data.
    """
    if not path.is_file():
        return None
    meta, arrays = read_checkpoint(path)
    refuse_others(meta, recipe, fingerprint, path)
    done = len(meta["history"]) >= recipe.train.epochs
    done = done or _is_stale(meta["history"], recipe.train.patience)
    return kept_weights(arrays) if done else None


def refuse_others(meta: dict[str, Any], recipe: Recipe, fingerprint: str, path: Path) -> None:
    """Raise DataError if a checkpoint's description is not of this recipe and this data."""
    # Parsed anew, so that keys added since, at their defaults, make no difference.
    theirs = trained_part(parse_recipe(meta["recipe"], where=str(path)))
    wanted = trained_part(recipe)
    theirs["name"] = wanted["name"]  # a recipe may be renamed
    for what, held, mine in (
        ("recipe", theirs, wanted),
        ("data", meta["data"], fingerprint),
    ):
        if held != mine:
            raise DataError(
                f"the checkpoint is of another {what}",
                where=path,
                hint="choose another --out, or remove it to start anew",
            )


def _is_stale(history: list[dict[str, Any]], patience: int) -> bool:
    losses = [h["val_loss"] for h in history] if patience else []
    return bool(losses and len(losses) - 1 - int(np.argmin(losses)) >= patience)


def trained_part(recipe: Recipe) -> dict[str, Any]:
    """The recipe without what only matters after training, which may change between runs."""
    table = recipe.as_dict()
    for key in ("about", "export", "convert"):
        del table[key]
    return table


class _State:
    """What a checkpoint holds: weights, optimizer, running mean or best weights, log, recipe."""

    def __init__(
        self,
        net: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        recipe: Recipe,
        fingerprint: str,
    ) -> None:
        self.net, self.optimizer = net, optimizer
        self.recipe, self.fingerprint = recipe, fingerprint
        self.history: list[dict[str, Any]] = []
        self.kept: list[np.ndarray] | None = None  # the mean, or the best, of weights so far

    def update(self, line: dict[str, Any]) -> None:
        self.history.append(line)
        train, done = self.recipe.train, len(self.history)
        if train.patience:
            if line["val_loss"] <= min(h["val_loss"] for h in self.history):
                self.kept = self._weights()
            return
        since = done - (train.epochs - train.average_last)
        if train.average_last > 1 and since >= 1:
            now = self._weights()
            self.kept = (
                now
                if self.kept is None
                else [k + (w - k) / since for k, w in zip(self.kept, now, strict=True)]
            )

    def finish(self) -> None:
        if self.kept is not None:
            self.net.set_weights([k.astype(np.float32) for k in self.kept])

    def _weights(self) -> list[np.ndarray]:
        return [np.asarray(w) for w in self.net.get_weights()]

    def save(self, path: Path) -> None:
        """Write aside, then rename: a kill leaves the old checkpoint or the new one."""
        arrays: dict[str, Any] = {f"weight-{i}": w for i, w in enumerate(self._weights())}
        for i, v in enumerate(self.optimizer.variables):
            arrays[f"optimizer-{i}"] = keras.ops.convert_to_numpy(v)
        for i, k in enumerate(self.kept or ()):
            arrays[f"kept-{i}"] = k
        meta = {
            "recipe": trained_part(self.recipe),
            "data": self.fingerprint,
            "history": self.history,
        }
        with write_aside(path) as stream:
            np.savez(stream, meta=np.array(json.dumps(meta)), **arrays)

    def restore(self, path: Path) -> None:
        if not path.is_file():
            return
        meta, arrays = read_checkpoint(path)
        refuse_others(meta, self.recipe, self.fingerprint, path)
        self.net.set_weights([arrays[f"weight-{i}"] for i in range(len(self.net.weights))])
        for i, variable in enumerate(self.optimizer.variables):
            variable.assign(arrays[f"optimizer-{i}"])
        self.history = meta["history"]
        kept = [arrays[f"kept-{i}"] for i in range(len(self.net.weights)) if f"kept-{i}" in arrays]
        self.kept = kept or None


def write_history(path: Path, history: list[dict[str, Any]]) -> None:
    """Write the training log, one JSON object per epoch."""
    path.write_text("".join(json.dumps(h) + "\n" for h in history), encoding="utf-8")


def validation_of(recipe: Recipe, task: Task, pixels: list[np.ndarray]) -> Validation:
    """The val tiles at the net's input size."""
    return Validation(to_input(pixels, recipe.input.height, recipe.input.width), task.truth)
