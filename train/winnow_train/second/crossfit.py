"""Heads fitted without a fold, asked about its candidates; ridges chosen within the others."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from winnow_base.errors import DataError
from winnow_base.progress import Progress
from winnow_train.second.examples import Lessons
from winnow_train.second.head import Design, Floats, Head, loss_of
from winnow_train.second.settings import Head as Rules


@dataclass(frozen=True)
class CrossFitted:
    """`posterior` [m, K] of the candidates, each from the head that saw nothing of its fold, whose
    `ridges` were chosen on the other folds. `head` learned from all, with the `ridge` that is best
    on all folds."""

    posterior: Floats
    ridges: dict[int, float]
    ridge: float
    head: Head


def cross_fit(
    lessons: Lessons, rules: Rules, classes: Sequence[str], progress: Progress
) -> CrossFitted:
    """Fit heads without each fold, and without each two; then one on everything.

    The loss that ridges are compared by is that on the candidates left out which teach something,
    weighed by class as examples are. Raises DataError for a class that no example outside of a fold
    shows, and where the candidates teach nothing.
    """
    folds = sorted(set(lessons.asked_fold.tolist()))
    _refuse_missing(lessons, folds, classes)
    # The strongest first: the others start from where it ended.
    ridges = sorted(set(rules.ridge), reverse=True)
    pairs = [frozenset(pair) for pair in itertools.combinations(folds, 2)]
    left_out = [*pairs, *(frozenset([fold]) for fold in folds)]
    losses: dict[tuple[frozenset[int], int, float], float] = {}
    said: dict[tuple[int, float], Floats] = {}
    with progress.counting("fitting heads", len(left_out) * len(ridges) + 1) as advance:
        for held in left_out:
            design = Design(lessons.examples.rows(~np.isin(lessons.examples.fold, list(held))))
            for ridge in ridges:
                head = design.fit(ridge, rules.iterations)
                for fold in held:
                    mine = lessons.asked_fold == fold
                    answers = head.posterior(lessons.asked[mine])
                    losses[held, fold, ridge] = _loss(answers, lessons, mine, rules.balance)
                    if len(held) == 1:
                        said[fold, ridge] = answers
                advance(1)
        chosen = {fold: _best(losses, folds, fold, ridges) for fold in folds}
        alone = {
            ridge: sum(losses[frozenset([fold]), fold, ridge] for fold in folds) for ridge in ridges
        }
        ridge = min(ridges, key=lambda r: alone[r])
        whole = Design(lessons.examples).fit(ridge, rules.iterations)
        advance(1)
    posterior = np.zeros((len(lessons.asked), len(classes)))
    for fold in folds:
        posterior[lessons.asked_fold == fold] = said[fold, chosen[fold]]
    return CrossFitted(posterior, chosen, ridge, whole)


def _best(
    losses: dict[tuple[frozenset[int], int, float], float],
    folds: Sequence[int],
    fold: int,
    ridges: Sequence[float],
) -> float:
    """The ridge of the heads that leave a fold out: best on the other folds, each left out too."""
    others = [other for other in folds if other != fold]
    return min(
        ridges, key=lambda r: sum(losses[frozenset([fold, other]), other, r] for other in others)
    )


def _loss(
    posterior: Floats, lessons: Lessons, mine: npt.NDArray[np.bool_], balance: float
) -> float:
    """The loss on candidates, each class weighed as in a fit; a sum, so that folds add up."""
    targets = lessons.asked_targets[mine]
    teaches = targets.any(axis=1)
    shown = np.where(targets.max(axis=1) > 0, targets.argmax(axis=1), -1)[teaches]
    every = np.where(
        lessons.asked_targets.max(axis=1) > 0, lessons.asked_targets.argmax(axis=1), -1
    )[lessons.asked_targets.any(axis=1)]
    weights = np.array([float((every == k).sum()) ** -balance for k in shown.tolist()])
    return float(weights @ loss_of(posterior[teaches], targets[teaches])) if len(shown) else 0.0


def _refuse_missing(lessons: Lessons, folds: Sequence[int], classes: Sequence[str]) -> None:
    if len(folds) < 2:
        raise DataError(
            "the first stage detects something in one fold alone",
            hint="candidates of two folds are needed: name more pictures in [windows]",
        )
    if not lessons.asked_targets.any():
        raise DataError(
            "nothing is known of any detection of the first stage",
            hint="give truth files beside the pictures, or a looks file in [windows]",
        )
    examples = lessons.examples
    for fold in folds:
        shown = (examples.targets[examples.fold != fold] > 0).any(axis=0)
        for name, there in zip(classes, shown, strict=True):
            if not there:
                raise DataError(
                    f"fold {fold} holds every example of {name}: a head without it learns none",
                    hint="cross-validate the first stage with other folds (--seed or --fold-file)",
                )
