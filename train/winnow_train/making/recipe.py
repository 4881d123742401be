"""`winnow new recipe`: a recipe for a data set, with a reason beside every key."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from winnow_base.background import proposed
from winnow_base.errors import DataError, RecipeError
from winnow_base.pictures import open_picture
from winnow_edge.bundle import open_bundle, shipped_bundles
from winnow_edge.sources.contract import PICTURE_ERRORS
from winnow_train.datasets import TileSet, read_dataset
from winnow_train.recipe import parse_recipe, read_recipe_text
from winnow_train.weights import public_weights

SIDES = (64, 96, 128, 160, 192, 224)
STEPS, BATCH = 600, 32
#: How many tiles tell the usual size, and whether there is colour.
PROBED = 100
START = {1: "hirise-landmarks", 3: "msl-surface"}
RANDOM = "random"


@dataclass(frozen=True)
class Proposal:
    """What a data set asks for: input, background, epochs; `slack` is the least loss of accuracy
    that its val can tell from chance."""

    found: TileSet
    side: int
    channels: int
    background: tuple[str, ...]
    epochs: int
    slack: float


def propose(dataset: str, root: Path) -> Proposal:
    """Look at a data set. Raises DataError for one that cannot be trained on."""
    found = read_dataset(dataset, root)
    train, val = found.split("train"), found.split("val")
    side, channels = _usual([t.path for t in train.tiles])
    held = Counter(found.classes[t.label] for t in train.tiles)
    classes = [c for c in found.classes if held[c]]
    if len(classes) < 2:
        raise DataError(f"has one class alone in train, {classes[0]}", where=root)
    steps = max(1, len(train.tiles) // BATCH)
    epochs = int(np.clip(round(STEPS / steps), 4, 40))
    # Two standard errors of the loss, if a fiftieth of the tiles changes its class.
    slack = round(float(np.clip(2 * np.sqrt(0.02 / len(val.tiles)), 0.005, 0.1)), 4)
    return Proposal(found, side, channels, proposed(found.classes), epochs, slack)


def _usual(paths: Sequence[Path]) -> tuple[int, int]:
    """Side of the input for tiles of the median size, and 3 channels if any has colour."""
    sides, colour = [], False
    for path in paths[:: max(1, len(paths) // PROBED)]:
        try:
            with open_picture(path) as image:
                sides.append(max(image.size))
                colour = colour or _has_colour(image)
        except PICTURE_ERRORS as error:
            hint = "winnow data check says which files are bad"
            raise DataError("the image cannot be decoded", where=path, hint=hint) from error
    usual = float(np.median(sides))
    fitting = [side for side in SIDES if side <= usual] or SIDES[:1]
    return min(fitting[-1], 128), 3 if colour else 1


def _has_colour(image: Image.Image) -> bool:
    if image.mode in ("1", "L", "LA") or image.mode.startswith("I"):
        return False
    pixels = np.asarray(image.convert("RGB"))
    return bool((pixels != pixels[..., :1]).any())


def write_recipe(
    name: str, proposal: Proposal, *, start: str = "", licence: str = "", about: str = ""
) -> str:
    """The recipe as TOML, checked. `start` is a shipped bundle, public weights or "random"; "" the
    shipped bundle that fits the channels.

    Raises RecipeError for a start that fits nothing.
    """
    start = start or START[proposal.channels]
    found = proposal.found
    counts = found.counts()
    shown = ", ".join(f"{n} {c}" for c, n in counts["train"].items())
    shown = "".join(c if c.isprintable() else "?" for c in shown)  # it stands in a comment
    text = f"""# Recipe made by `winnow new recipe`. docs/training.md says which keys matter;
# unknown ones are refused with their line. `winnow train THIS --set train.epochs=2` tries a change.
name = {_quoted(name)}
about = {_quoted(about or f"{len(found.classes)} classes of {name}")}
seed = 1

[data]
dataset = {_quoted(found.dataset)}  # train: {shown}; val: {sum(counts["val"].values())} tiles

# What the net is shown. Tiles of other sizes are resized.
[input]
height = {proposal.side}
width = {proposal.side}
channels = {proposal.channels}  # 1 grey, 3 RGB

{_start(start, proposal)}
[train]
epochs = {proposal.epochs}  # some {STEPS} steps in all
batch = {BATCH}
learning_rate = 1e-3
balance = 0.5  # rare classes are drawn more often: (their tiles)^0.5
average_last = 2

# What may happen to a tile without changing its class. Pictures with an up and a down: "flip".
[augment]
symmetry = "dihedral"
zoom = [0.85, 1.2]
shift = 0.05
gain = 0.1
contrast = 0.2

[export]
licence = {_quoted(licence)}  # of the weights; "" leaves it not stated

# Background is never a detection. The gate refuses an int8 net that loses more than this on val;
# under it a loss cannot be told from chance on so few tiles.
[convert]
background = [{", ".join(map(_quoted, proposal.background))}]
max_accuracy_loss = {proposal.slack}
max_recall_loss = {round(max(0.01, 2 * proposal.slack), 4)}
min_agreement = {round(min(0.98, 1 - 2 * proposal.slack), 4)}
min_rank_correlation = 0.97
"""
    read_recipe_text(text, name)
    return text


def _start(start: str, proposal: Proposal) -> str:
    """The tables `model` and `distill`: which net, and what its weights are before training."""
    shipped = {path.stem: path for path in shipped_bundles()}
    if start in shipped:
        return _from_bundle(start, shipped[start], proposal)
    if start == RANDOM:
        return """# A small net from random weights: needs thousands of tiles.
[model]
backbone = "SmallXception"
alpha = 0.5
weights = ""
dropout = 0.1
"""
    if (weights := public_weights(start)) is None:
        raise RecipeError(
            f"nothing is called {start!r} that a training could start from",
            hint=f"legal: {RANDOM}, a name of `winnow weights list`, or one of "
            f"{', '.join(sorted(shipped))}",
        )
    return f"""# ImageNet weights: `winnow weights fetch {weights.name}` brings them.
[model]
backbone = {_quoted(weights.backbone)}
alpha = {weights.alpha:g}
weights = {_quoted(weights.name)}
dropout = 0.1
"""


def _from_bundle(start: str, path: Path, proposal: Proposal) -> str:
    manifest = open_bundle(path).manifest
    theirs = parse_recipe(manifest.training["recipe"], where=str(path))
    if manifest.input.channels != proposal.channels or theirs.model.backbone != "MobileNet":
        raise RecipeError(
            f"{start} takes {manifest.input.channels} channels by {theirs.model.backbone}, the "
            f"tiles have {proposal.channels}",
            hint=f"--start {START[proposal.channels]}, or public weights",
        )
    net = theirs.model
    return f"""# The net of a shipped bundle, whose weights training starts from; a few hundred
# tiles are enough. Give it as `--teacher {start}`.
[model]
backbone = {_quoted(net.backbone)}
alpha = {net.alpha:g}
weights = ""
last = {_quoted(net.last)}
dropout = 0.1

[distill]
start = true
teachers = [{_quoted(start)}]
"""


def next_command(text: str, recipe: Path, data: Path) -> str:
    """The training of a recipe, as a command line."""
    wanted = read_recipe_text(text, recipe.stem)
    teachers = "".join(f" --teacher {name}" for name in wanted.distill.teachers)
    return f"winnow train {recipe} --data {data}{teachers} --out runs/{wanted.name}"


def _quoted(text: str) -> str:
    """A basic string of TOML; JSON escapes all but DEL alike."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
