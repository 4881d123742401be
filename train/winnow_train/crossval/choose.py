"""Temperature, prior and second views, chosen on tiles that no net of theirs had seen.

What is chosen on all folds is what flies. What it is worth is judged on nested figures: for the
tiles of a fold the same choice is made on the other folds alone. Nested figures are the ones that
are quoted; those in sight of the choice lean towards it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from winnow_base import metrics
from winnow_base.bootstrap import Draws, interval
from winnow_base.calibrate import fit_temperature, negative_log_likelihood
from winnow_base.errors import RecipeError
from winnow_train.chosen import Settings
from winnow_train.crossval.outcome import OutOfFold
from winnow_train.report_data import Judged

PRIORS = tuple(np.round(np.arange(0.0, 2.01, 0.25), 2).tolist())
BORDERLINE = 0.9
CRITERIA = ("likelihood", "accuracy", "macro-f1")
DRAWS, SEED = 2000, 0
"""Of the bootstrap over groups, wherever a cross-validation is judged."""


def choose(found: OutOfFold, criterion: str, views: bool | None = None) -> Settings:
    """The settings that serve these tiles best.

    The prior is that of `PRIORS` with the least negative log-likelihood at its own best
    temperature, or the best accuracy or macro-F1 of a single view (the nearer to its likelihood
    of two equals). Second views are flown where they are right on more tiles beyond noise, since
    they cost net calls; `views` decides instead where it is given. Raises RecipeError for an
    unknown criterion.
    """
    refuse_unknown(criterion)
    priors = PRIORS if found.shift.any() else (0.0,)
    best = min((_cost(found, prior, criterion), prior) for prior in priors)
    temperature, prior = best[0][-1], best[1]
    pays = _second_views_pay(found, prior, temperature) if views is None else views
    borderline = BORDERLINE if pays and found.head == "softmax" else 0.0
    return Settings(temperature, prior, borderline)


def refuse_unknown(criterion: str) -> None:
    """Raise RecipeError for a criterion that is none of CRITERIA."""
    if criterion not in CRITERIA:
        raise RecipeError(f"--choose is {criterion!r}", hint=f"of {', '.join(CRITERIA)}")


def _cost(found: OutOfFold, prior: float, criterion: str) -> tuple[float, float, float]:
    """What is least for the best prior, then its likelihood; last the temperature."""
    logits = found.answers(prior, 0.0).logits
    temperature = fit_temperature(logits, found.truth, found.head)
    surprise = negative_log_likelihood(logits, found.truth, temperature, found.head)
    if criterion == "likelihood":
        return surprise, surprise, temperature
    posterior = metrics.posterior(logits / temperature, found.head)
    scores = metrics.score(posterior, found.truth, list(found.classes), found.head)
    return -scores[criterion.replace("-", "_")], surprise, temperature


def _second_views_pay(found: OutOfFold, prior: float, temperature: float) -> bool:
    if found.head != "softmax":
        return False
    right = [
        found.answers(prior, limit).posterior(temperature, found.head).argmax(axis=1) == found.truth
        for limit in (0.0, BORDERLINE)
    ]
    draws = _draws(found)
    gain = interval(draws.sums(right[1].astype(float) - right[0]) / draws.sums(np.ones(len(found))))
    return bool(gain["low"] is not None and gain["low"] > 0)


def nested(found: OutOfFold, criterion: str) -> tuple[Judged, list[Settings]]:
    """All tiles judged with settings chosen on the other folds, and the settings of every fold.

    With one fold alone there are no other folds: its settings are chosen on itself, in sight.
    """
    folds = np.unique(found.fold).tolist()
    chosen = []
    heat = np.empty((len(found), 1))
    prior, borderline = np.empty(len(found)), np.empty(len(found))
    for fold in folds:
        mine = found.fold == fold
        settings = choose(found.rows(~mine) if len(folds) > 1 else found, criterion)
        heat[mine, 0], prior[mine] = settings.temperature, settings.prior
        borderline[mine] = settings.borderline
        chosen.append(settings)
    return judge(found, heat, prior, borderline), chosen


def judge(
    found: OutOfFold,
    temperature: float | npt.NDArray[Any],
    prior: float | npt.NDArray[Any],
    borderline: float | npt.NDArray[Any],
) -> Judged:
    """The answers with these settings, of all tiles or per tile ([n, 1], [n], [n])."""
    judged = Judged.of(found.answers(prior, borderline), found.task(), temperature)
    return replace(judged, draws=_draws(found))


def _draws(found: OutOfFold) -> Draws:
    return Draws.of(found.groups.tolist(), seed=SEED, draws=DRAWS)
