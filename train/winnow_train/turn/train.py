"""Training of a turn: the net that flies learns on, from its own weights.

What flies afterwards is the mean of both nets' weights, if not told otherwise: it keeps more of
what the old one knew, and most of what the new one learned (WiSE-FT, Wortsman et al. 2022).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from winnow_base.progress import Progress
from winnow_train.from_bundle import unpack
from winnow_train.recipe import Recipe
from winnow_train.run import train
from winnow_train.runs import CARD
from winnow_train.tasks import read_task
from winnow_train.tiles import decode_all, to_input
from winnow_train.turn.plan import DATASET, Flying, run_name
from winnow_train.windows.join import fingerprint_of, read_all


def train_turn(
    flying: Flying, recipe: Recipe, tiles: Path, work: Path, progress: Progress, *, mean: bool
) -> Path:
    """Train `recipe` on the data set in `tiles`; the run folder, in `work`, of the net or of the
    `mean` of its weights and the flying net's.

    A killed call goes on where it was. Raises what reading the data and training raise.
    """
    spec = flying.bundle.manifest.input
    teacher = work / f"flies-{flying.bundle.sha256[:12]}"
    every = read_task(recipe.data, tiles, recipe.model.head)
    if not (teacher / CARD).is_file():
        some = decode_all([t.path for t in every.split("train").tiles.tiles[::6]], spec.channels)
        shown = to_input(some, spec.height, spec.width)
        unpack(flying.bundle.path, teacher, shown, dataset=DATASET)
    pictures = fingerprint_of(read_all(recipe, tiles))
    run = work / run_name(recipe, every.tiles, f"{flying.bundle.sha256} {pictures}")
    train(recipe, tiles, run, teachers=(teacher,), progress=progress)
    if not mean:
        return run
    both = run.with_name(f"mean-{run.name}")
    train(_of_mean(recipe), tiles, both, teachers=(teacher, run), progress=progress)
    return both


def _of_mean(recipe: Recipe) -> Recipe:
    """The recipe that trains nothing and takes the mean of the two nets."""
    named = (*recipe.distill.teachers, recipe.name)
    distill = replace(recipe.distill, weight=0.0, average=True, teachers=named)
    schedule = replace(recipe.train, epochs=0, average_last=1)
    return replace(recipe, train=schedule, distill=distill)
