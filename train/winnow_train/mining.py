"""Hard negatives: tiles that the net takes for what is not there are drawn more often.

How often each of a group is drawn goes with the net's posterior of being wrong about it, on top of
a floor; how often the group is drawn stays (bootstrapping, Sung and Poggio 1998).
"""

from __future__ import annotations

import numpy as np

from winnow_base import metrics

IMPOSSIBLE = -1.0
"""In a target: the class is not in the tile, whatever else is."""
FLOOR = 0.1
"""Share of what a tile that is wrong for sure is drawn, that one surely right still gets."""


def drawn_anew(draw: np.ndarray, groups: np.ndarray, wrong: np.ndarray) -> np.ndarray:
    """Relative frequencies float64 [n] anew, from `draw` [n] and posteriors of being wrong [n].

    `groups` int [n] keep their sums; those of group -1 stay as they are.
    """
    draw = draw.copy()
    for group in np.unique(groups[groups >= 0]):
        here = groups == group
        weight = draw[here] * (FLOOR + wrong[here])
        draw[here] = weight * (draw[here].sum() / weight.sum())
    return draw


def wrongness(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Posterior that a net gives to what is not there, float64 [n].

    The sum over impossible classes where a target [n, K] names any, else what is left for all but
    its best class.
    """
    posterior = metrics.softmax(logits)
    impossible = targets < 0
    right = np.take_along_axis(posterior, targets.argmax(axis=1)[:, None], axis=1)[:, 0]
    bad: np.ndarray = np.where(
        impossible.any(axis=1), (posterior * impossible).sum(axis=1), 1 - right
    )
    return bad
