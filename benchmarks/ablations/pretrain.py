"""Pretraining without labels, for the ablation row that judges it: SimSiam, then the usual recipe.

SimSiam (Chen and He 2021, "Exploring Simple Siamese Representation Learning"): two augmented views
of a tile go through backbone and projector; a predictor on top of one view learns to say what the
other gives, and no gradient flows through the latter, lest all tiles end up alike. It starts from
the recipe's ImageNet weights and sees all training tiles of the recipe's data sets and `PER_STRIP`
tiles of every strip, cut at many sizes; no tile of val, and no strip of a val source. What comes
out is a run folder for `[distill] start = true`.
"""

from __future__ import annotations

import hashlib
import json
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from winnow_base.progress import Progress
from winnow_train import checkpoints, fit, model
from winnow_train.recipe import Augment, Data, Recipe
from winnow_train.runs import CARD, CHECKPOINT
from winnow_train.tasks import Task, read_task
from winnow_train.tiles import Augmenter, decode, decode_all, resize
from winnow_train.weights import find_weights

EPOCHS, BATCH, LEARNING_RATE, WARMUP_STEPS = 2, 64, 5e-4, 40
PER_STRIP, SIDES = 300, (96, 256)
#: Stronger than in training, as SimSiam needs it: the light of a tile must not give it away.
VIEWS = Augment(
    symmetry="dihedral",
    zoom=(0.55, 1.8),
    shift=0.12,
    stretch=1.25,
    gain=0.3,
    contrast=0.5,
    gamma=0.3,
    noise=4.0,
)


class SimSiam(keras.Model):
    """Backbone, projector and predictor; learns from batches [2, B, H, W, C] of two views."""

    def __init__(self, trunk: keras.Model, momentum: float) -> None:
        super().__init__()
        width = trunk.output.shape[-1]

        def dense(units: int) -> list[keras.layers.Layer]:
            norm = layers.BatchNormalization(momentum=momentum)
            return [layers.Dense(units, use_bias=False), norm]

        self.trunk = trunk
        self.projector = keras.Sequential([*dense(width), layers.ReLU(), *dense(width)])
        self.predictor = keras.Sequential([*dense(width // 4), layers.ReLU(), layers.Dense(width)])
        #: Standard deviation of the normalized projections: 1 spread evenly, 0 collapsed.
        self.spread = keras.metrics.Mean(name="spread")

    def call(self, views: Any, training: bool = False) -> list[Any]:
        """Projections and predictions of both views, [B, F] each.

        A view at a time, so that BatchNorm cannot compare the two.
        """
        pooled = [self.trunk(v, training=training) for v in (views[0], views[1])]
        projected = [self.projector(p, training=training) for p in pooled]
        return [*projected, *(self.predictor(p, training=training) for p in projected)]

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """Negative cosine between each view's prediction and the other's projection: -1 is best."""
        first, second, says_first, says_second = (ops.normalize(p, axis=-1) for p in y_pred)
        spread = ops.mean(ops.std(first, axis=0)) * first.shape[-1] ** 0.5
        self.spread.update_state(spread)
        pairs = ((says_first, second), (says_second, first))
        cosines = [ops.mean(ops.sum(p * ops.stop_gradient(z), axis=-1)) for p, z in pairs]
        return -(cosines[0] + cosines[1]) / 2


def pretrain(
    recipe: Recipe,
    data: Path,
    strips: list[Path],
    folder: Path,
    *,
    weights_dir: Path | None = None,
    progress: Progress,
) -> Path:
    """Pretrain the recipe's net into the run folder `folder`, unless it is there; returns it.

    Order, views and new weights follow from the recipe's seed. Raises SystemExit for a strip of a
    val source or of no known one, and DataError where the folder holds a net of another recipe,
    other strips or other settings.
    """
    recipe = replace(recipe, name="pretrained")
    names = (recipe.data.dataset, *recipe.data.along)
    tasks = {n: read_task(Data(dataset=n), data, "softmax") for n in names}
    refuse_val(tasks, strips)
    made_of = fingerprint(tasks, strips)
    if (folder / CHECKPOINT).is_file():
        meta, _ = checkpoints.read_checkpoint(folder / CHECKPOINT)
        checkpoints.refuse_others(meta, recipe, made_of, folder / CHECKPOINT)
        return folder
    tiles = unlabelled(recipe, tasks, strips)
    heads = {n: len(t.classes) for n, t in tasks.items()}
    weights = find_weights(recipe.model.weights, weights_dir)
    net = model.build(recipe.model, recipe.input, heads, weights, recipe.seed)
    trunk = keras.Model(net.input, layers.Flatten()(net.get_layer("pool").output))
    siamese = SimSiam(trunk, recipe.model.batchnorm_momentum)
    steps = fit.steps_per_epoch(len(tiles), BATCH)
    warm = min(WARMUP_STEPS, EPOCHS * steps // 2)
    schedule = keras.optimizers.schedules.CosineDecay(
        LEARNING_RATE / 100,
        decay_steps=EPOCHS * steps - warm,
        warmup_target=LEARNING_RATE,
        warmup_steps=warm,
    )
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=0.01)
    siamese.compile(optimizer=optimizer, jit_compile=False)
    history = []
    with progress.counting(f"SimSiam on {len(tiles)} tiles", EPOCHS * steps) as advance:
        for epoch in range(EPOCHS):
            siamese.reset_metrics()
            for views in batches(tiles, recipe, epoch):
                line = siamese.train_on_batch(views, return_dict=True)
                advance(1)
            history.append({k: float(line[k]) for k in ("loss", "spread")})
            progress.note(f"SimSiam {epoch + 1}/{EPOCHS}  {history[-1]}")
    write_run(net, recipe, tasks, strips, folder, history, made_of)
    return folder


def unlabelled(recipe: Recipe, tasks: dict[str, Task], strips: list[Path]) -> list[np.ndarray]:
    """All training tiles and `PER_STRIP` tiles of every strip, uint8 [h, w, C]."""
    longest = round(1.8 * max(recipe.input.height, recipe.input.width))
    paths = [t.path for task in tasks.values() for t in task.split("train").tiles.tiles]
    tiles = decode_all(paths, recipe.input.channels, longest=longest)
    rng = np.random.default_rng(recipe.seed)
    for path in sorted(strips):
        for tile in cut(decode(path, recipe.input.channels), PER_STRIP, rng):
            small = min(longest, len(tile))
            tiles.append(resize(tile, small, small))
    return tiles


def refuse_val(tasks: dict[str, Task], strips: list[Path]) -> None:
    """Raise SystemExit for a strip of a val source, and for one whose source cannot be told."""
    val = {s for t in tasks.values() for s in t.split("val").tiles.sources}
    if leaked := [p for p in strips if observation(p) in val]:
        raise SystemExit(f"{leaked[0]}: the strip is of a val source")


def fingerprint(tasks: dict[str, Task], strips: list[Path]) -> str:
    """SHA-256 of all that a pretrained net hangs on beside its recipe: tiles, strips, settings."""
    settings = (EPOCHS, BATCH, LEARNING_RATE, WARMUP_STEPS, PER_STRIP, SIDES, VIEWS)
    digest = hashlib.sha256(repr(settings).encode())
    for head, task in tasks.items():
        for tile in task.split("train").tiles.tiles:
            digest.update(f"{head} {tile.path.name}\n".encode())
    for strip in sorted(strips):
        digest.update(f"{strip.name} {hashlib.sha256(strip.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def observation(strip: Path) -> str:
    """The HiRISE observation of a browse strip, as tiles name their source.

    Raises SystemExit for a name of another form, since it could be of a val source.

    >>> observation(Path("ESP_037117_1755_RED.abrowse.jpg"))
    'ESP_037117_1755'
    """
    if not (found := re.match(r"(\w+?)_RED\.", strip.name)):
        raise SystemExit(f"{strip}: no OBSERVATION_RED.*: cannot tell what source it is of")
    return found[1]


def cut(strip: np.ndarray, count: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Square tiles of many sizes from anywhere in a strip [H, W, C], with under 10 % of nodata."""
    tiles: list[np.ndarray] = []
    largest = min(SIDES[1], *strip.shape[:2])
    for _ in range(100 * count):
        if len(tiles) == count:
            return tiles
        side = int(rng.integers(min(SIDES[0], largest), largest + 1))
        top, left = (int(rng.integers(0, n - side + 1)) for n in strip.shape[:2])
        tile = strip[top : top + side, left : left + side]
        if (tile == 0).mean() < 0.1:
            tiles.append(tile)
    raise SystemExit(f"a strip of {strip.shape[:2]} pixels has no {count} tiles of image")


def batches(tiles: list[np.ndarray], recipe: Recipe, epoch: int) -> Any:
    """Both views of every whole batch, float32 [2, B, H, W, C], made one ahead in a thread."""
    order = np.random.default_rng([recipe.seed, epoch]).permutation(len(tiles))
    augment = Augmenter(VIEWS, recipe.input.height, recipe.input.width)
    size = min(BATCH, len(tiles))

    def make(index: int) -> np.ndarray:
        rng = np.random.default_rng([recipe.seed, epoch, index])
        chosen = order[index * size : (index + 1) * size]
        views = [[augment(tiles[i], rng) for i in chosen] for _ in range(2)]
        return np.asarray(views, np.float32) / np.float32(model.PIXEL_SCALE)

    with ThreadPoolExecutor(1) as pool:
        ahead = pool.submit(make, 0)
        for index in range(1, fit.steps_per_epoch(len(tiles), size) + 1):
            views = ahead.result()
            ahead = pool.submit(make, index)
            yield views


def write_run(
    net: keras.Model,
    recipe: Recipe,
    tasks: dict[str, Task],
    strips: list[Path],
    folder: Path,
    history: list[dict[str, float]],
    made_of: str,
) -> None:
    """A run folder to start from: model.json of every head, then the checkpoint as the last."""
    own = recipe.data.dataset
    seen = [observation(p) for p in strips]
    for head, task in tasks.items():
        home = folder if head == own else folder / f"along-{head}"
        home.mkdir(parents=True, exist_ok=True)
        sources = [*task.split("train").tiles.sources, *(seen if head == own else ())]
        card = {
            "name": recipe.name,
            "classes": list(task.classes),
            "head": task.head,
            "input": asdict(recipe.input),
            "temperature": 1.0,
            "training": {"dataset": head, "sources": {"train": sources}},
            "history": history,
        }
        (home / CARD).write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
    meta = {"recipe": checkpoints.trained_part(recipe), "data": made_of, "history": []}
    arrays: dict[str, Any] = {f"weight-{i}": w for i, w in enumerate(net.get_weights())}
    aside = folder / "aside.npz"
    np.savez(aside, meta=np.array(json.dumps(meta)), **arrays)
    aside.replace(folder / CHECKPOINT)
