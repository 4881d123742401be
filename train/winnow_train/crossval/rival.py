"""What is cross-validated against a model that exists: a run folder, or the bundle that flies.

The model was trained once, so tiles of sources that it learned from are left out: on these it would
be judged on what it has seen. On its own val it was chosen, and its temperature fitted: a
comparison there leans towards it, so those tiles are counted, and compared apart from the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from winnow_base.errors import DataError, ModelError
from winnow_base.progress import Progress
from winnow_edge.bundle import SUFFIX
from winnow_train.crossval.choose import nested
from winnow_train.crossval.figures import compare, paired, refuse_other_classes
from winnow_train.crossval.outcome import FILE, PLAN, OutOfFold, load
from winnow_train.datasets import read_dataset
from winnow_train.evaluate import answers, find_model, open_bundle_as_model, open_model
from winnow_train.recipe import Recipe
from winnow_train.runs import read_card
from winnow_train.tasks import read_task


def refuse_unfit(other: Path, recipe: Recipe, data: Path) -> None:
    """Refuse, before hours of training, a rival that could not be compared after them.

    Raises ModelError or DataError for what is neither a model nor a finished cross-validation, for
    other classes, and for a model that learned from every source of the recipe's data.
    """
    task = read_task(recipe.data, data, recipe.model.head, held=())
    if _is_cross_validation(other):
        theirs = load(other)
        refuse_other_classes(task.classes, task.head, theirs)
        return
    path = find_model(other)
    card = _card(path)
    _refuse_other_head(path, card, task.classes, task.head)
    _unseen(path, card, np.array([t.source for t in task.tiles.tiles]))


def against(
    found: OutOfFold, other: Path, criterion: str, data: Path, progress: Progress
) -> dict[str, Any]:
    """`found` against another cross-validation's folder, or a model: `figures.compare`'s keys.

    Of a model also `unseen`, how many of the tiles it never learned from (those are compared),
    `its_val`, how many of them are of its own val, and `beyond_val`: `figures.paired` on the others
    of them alone, None where there are none or all are. `tiles` says it in words. Raises DataError
    where no tile is unseen, ModelError for a model of other classes.
    """
    if _is_cross_validation(other):
        gain = compare(found, load(other), criterion)
        return {**gain, "tiles": f"{gain['n']} tiles, out of fold for both"}
    path = find_model(other)
    infer, card = open_model(path)
    _refuse_other_head(path, card, found.classes, found.head)
    rows = _unseen(path, card, found.sources)
    unseen = found.rows(rows)
    files = {t.key: t.path for t in read_dataset(found.dataset, data).tiles}
    said = answers(infer, card, [files[str(n)] for n in unseen.names], str(path), progress)
    theirs = np.zeros((len(unseen), len(found.classes)))
    columns = [found.classes.index(c) for c in card["classes"]]
    theirs[:, columns] = said.posterior(card["temperature"], found.head)
    ours = nested(found, criterion)[0].posterior[rows]
    its_val = np.isin(unseen.sources, _chosen_on(card))
    rest = np.flatnonzero(~its_val)
    apart = 0 < len(rest) < len(unseen)
    return {
        "same_folds": False,
        "unseen": len(unseen),
        "its_val": int(its_val.sum()),
        "tiles": _words(len(found), len(unseen), int(its_val.sum())),
        **paired(unseen, ours, theirs),
        "beyond_val": paired(unseen.rows(rest), ours[rest], theirs[rest]) if apart else None,
    }


def _words(every: int, unseen: int, its_val: int) -> str:
    """Which tiles are compared.

    >>> _words(900, 200, 50)
    '200 tiles of sources that it never learned from (700 left out); 50 are of its own val, where \
it was chosen: that leans towards it'
    """
    words = f"{unseen} tiles of sources that it never learned from ({every - unseen} left out)"
    if not its_val:
        return f"{words}; none is known to be of its own val"
    some = "all" if its_val == unseen else str(its_val)
    return f"{words}; {some} are of its own val, where it was chosen: that leans towards it"


def _is_cross_validation(other: Path) -> bool:
    return (other / FILE).is_file() or (other / PLAN).is_file()


def _card(path: Path) -> dict[str, Any]:
    """The card of a run folder or bundle; a run folder's net is not loaded for it."""
    if path.suffix == SUFFIX:
        return open_bundle_as_model(path)[1]
    return read_card(path.parent if path.suffix in (".keras", ".json") else path)


def _refuse_other_head(path: Path, card: dict[str, Any], classes: Sequence[str], head: str) -> None:
    if card["head"] != head or not set(card["classes"]) <= set(classes):
        raise ModelError(
            f"knows {', '.join(card['classes'])} ({card['head']}), cross-validated are "
            f"{', '.join(classes)} ({head})",
            where=path,
        )


def _sources(card: dict[str, Any], split: str) -> list[str]:
    return sorted(card["training"].get("sources", {}).get(split, ()))


def _chosen_on(card: dict[str, Any]) -> list[str]:
    """The sources of its val; what a fold held out was never judged, so it chose nothing."""
    return [] if card["training"].get("held") is not None else _sources(card, "val")


def _unseen(path: Path, card: dict[str, Any], sources: np.ndarray) -> np.ndarray:
    """Rows of the tiles whose source the model never learned from. Raises DataError for none."""
    learned = {*_sources(card, "train"), *card.get("lineage", {}).get("sources", ())}
    rows = np.flatnonzero(~np.isin(sources, sorted(learned)))
    if not learned or not len(rows):
        raise DataError(
            "learned from every source" if learned else "does not say what it learned from",
            where=path,
            hint="cross-validate its recipe and give that folder",
        )
    return rows
