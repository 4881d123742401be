"""What is cross-validated against a model that exists: a run folder, or the bundle that flies.

The model was trained once, so only tiles of sources that it never learned from may be compared. If
it was chosen in sight of these tiles, as on a val set, the comparison leans towards it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from winnow_base.errors import DataError, ModelError
from winnow_base.progress import Progress
from winnow_train.crossval.choose import nested
from winnow_train.crossval.figures import compare, paired
from winnow_train.crossval.outcome import FILE, OutOfFold, load
from winnow_train.datasets import read_dataset
from winnow_train.evaluate import answers, find_model, open_model


def against(
    found: OutOfFold, other: Path, criterion: str, data: Path, progress: Progress
) -> dict[str, Any]:
    """`found` against another cross-validation's folder, or a model: `figures.compare`'s keys.

    `unseen` says of a model how many of the tiles it never learned from: those are compared.
    Raises DataError where there are none, ModelError for a model of other classes.
    """
    if (other / FILE).is_file():
        return compare(found, load(other), criterion)
    path = find_model(other)
    infer, card = open_model(path)
    if card["head"] != found.head or not set(card["classes"]) <= set(found.classes):
        raise ModelError(
            f"knows {', '.join(card['classes'])}, cross-validated are {', '.join(found.classes)}",
            where=path,
        )
    learned = set(card["training"].get("sources", {}).get("train", ()))
    learned |= set(card.get("lineage", {}).get("sources", ()))
    rows = np.flatnonzero(~np.isin(found.sources, sorted(learned)))
    if not learned or not len(rows):
        raise DataError(
            "learned from every source" if learned else "does not say what it learned from",
            where=path,
            hint="cross-validate its recipe and give that folder",
        )
    unseen = found.rows(rows)
    files = {t.key: t.path for t in read_dataset(found.dataset, data).tiles}
    said = answers(infer, card, [files[str(n)] for n in unseen.names], str(path), progress)
    theirs = np.zeros((len(unseen), len(found.classes)))
    columns = [found.classes.index(c) for c in card["classes"]]
    theirs[:, columns] = said.posterior(card["temperature"], found.head)
    ours = nested(found, criterion)[0].posterior[rows]
    return {"same_folds": False, "unseen": len(unseen), **paired(unseen, ours, theirs)}
