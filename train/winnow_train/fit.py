"""Training: one loop of epochs, each seeded by itself, so that a killed run ends as if it had not.

The heads share a backbone; a batch mixes the tiles of every data set, and a tile weighs only in
the heads that it has a target for. Targets are labels, mixed with teachers' posteriors if asked.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from winnow_base import metrics
from winnow_base.calibrate import negative_log_likelihood
from winnow_base.errors import DataError
from winnow_train import model
from winnow_train.checkpoints import State, is_stale, write_history
from winnow_train.halves import Halves
from winnow_train.mining import drawn_anew, wrongness
from winnow_train.recipe import Recipe
from winnow_train.runs import CHECKPOINT
from winnow_train.samples import Sample, Validation, log_prior
from winnow_train.tasks import Task
from winnow_train.tiles import Augmenter

HISTORY = "training.jsonl"


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
        # The backends' fused cross-entropy takes every target to sum to 1: its gradient for a
        # target of nothing but zeros would lower all logits.
        whole = ops.logsumexp(logits, axis=-1, keepdims=True)
        hard = -ops.sum(ops.maximum(y_true, 0.0) * (logits - whole), axis=-1)
        possible = ops.where(y_true < 0, ops.full_like(logits, -1e9), logits)
        return hard + whole[..., 0] - ops.logsumexp(possible, axis=-1)


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
    state = State(whole or net, optimizer, recipe, fingerprint)
    state.restore(out / CHECKPOINT)
    own = next(iter(tasks))
    for number in range(len(state.history), recipe.train.epochs):
        if is_stale(state.history, recipe.train.patience):
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
