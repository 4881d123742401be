"""In which order products go down: pure functions of a table of products and the mission.

The policies of the mission file: *fifo* in order of acquisition; *confidence* what the ground asked
for, detections by posterior, then quick looks; *utility-per-byte* value by link bytes, the greedy
order for a knapsack (Dantzig, "Discrete-Variable Extremum Problems", Operations Research 5, 1957);
*diversity* the same, less what a picture shares with those sent already (`diversity`). The
simulator adds others by passing a key of its own to `order_by`.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from winnow_edge.mission import POLICIES, Mission
from winnow_edge.products import rules
from winnow_edge.products.diversity import discounted
from winnow_edge.products.kinds import Kind
from winnow_edge.products.table import ProductTable
from winnow_edge.products.worth import density

UNHEARD_DISCOUNT: Final = 0.5
"""What sending again is worth, for each time that it was sent and not heard of: as likely as not it
did arrive and the word of it was lost. Without this, a link that never acknowledges would carry the
same few products for ever."""

_ASKED_FOR: Final = 3.0
"""In *confidence*, before any posterior."""
Order = npt.NDArray[np.intp]


def rank(
    table: ProductTable, policy: str, mission: Mission, *, known: ProductTable | None = None
) -> Order:
    """Indices into `table`, the product to send first at the front: intp, shape (n,).

    `known` are products that were sent before, which *diversity* takes into account.

    Products that are worth the same go in order of acquisition; all policies but fifo count one
    that was sent and not heard of by `UNHEARD_DISCOUNT`. Raises ValueError for a policy that is not
    in `POLICIES`. The rules of `rules` hold in the two policies that go by worth.
    """
    if policy not in POLICIES:
        raise ValueError(f"unknown policy {policy!r}, known: {', '.join(POLICIES)}")
    columns = table.columns
    if policy == "fifo":
        return order_by(table, np.zeros(len(table)))
    hope = UNHEARD_DISCOUNT ** columns["unheard"].astype(np.float64)
    if policy == "confidence":
        plain = np.where(columns["kind"] == Kind.QUICK_LOOK, 0.75, 0.5)
        plain[columns["kind"] == Kind.REGION] = _ASKED_FOR
        return order_by(
            table, np.where(columns["detection"], 1.0 + columns["posterior"], plain) * hope
        )
    worth = hope * density(table, mission)
    for rule in (rules.precisions, rules.verdicts, rules.ageing, rules.deadlines):
        worth = rule(table, worth, mission)
    if policy == "diversity":
        worth = discounted(table, worth, known, mission.ranking.diversity)
    worth = rules.thumbnails_first(table, worth)
    promised = rules.promises(table, worth, mission)
    tier = np.where(promised, promised, rules.limits(table, worth, mission))
    return np.lexsort((columns["id"], -worth, tier))


def order_by(table: ProductTable, key: npt.NDArray[np.float64]) -> Order:
    """Indices into `table` by falling `key`, ties in order of acquisition."""
    return np.lexsort((table.columns["id"], -key))
