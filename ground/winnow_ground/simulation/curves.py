"""What bytes would bring if all products were on board and nothing were lost, policy by policy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from winnow_edge.mission import Mission
from winnow_ground.simulation import oracle
from winnow_ground.simulation.decide import Indices, Made
from winnow_ground.simulation.instead import never_wrong
from winnow_ground.simulation.judge import SHARED, Features, Floats, Judge, paid_by
from winnow_ground.simulation.observation import Observation
from winnow_ground.simulation.onboard import OnBoard
from winnow_ground.simulation.policies import WITH_TRUTH, WITHOUT_NET, ranker
from winnow_ground.simulation.run import Prepared

POINTS = 1000


@dataclass(frozen=True)
class Curve:
    """`value` (n,) of the first `bytes` (n,) octets of products, in the order of a policy; `total`
    octets were made by the net that flies."""

    policy: str
    bytes: Floats
    value: Floats
    total: float

    def at(self, share: float) -> float:
        """The value of so large a share of all products' bytes."""
        place = int(np.searchsorted(self.bytes, share * self.total, side="right")) - 1
        return float(self.value[place])


def curves(
    mission: Mission,
    observations: Sequence[Observation],
    policies: Sequence[str],
    *,
    seed: int = 0,
    cache: Prepared | None = None,
) -> tuple[Curve, ...]:
    """A curve for each policy that has a net; the oracles' are greedy, by value per byte."""
    cache = cache or Prepared()
    made = [cache.decide(seen, mission) for seen in observations]
    total = float(sum(one.bytes for one in made))
    result = []
    for policy in policies:
        if policy in WITHOUT_NET:
            continue
        mine = [never_wrong(one) for one in made] if policy == "perfect-net" else made
        board, judge = _all_on_board(mission, mine)
        if policy in WITH_TRUTH:
            if not judge.features.known:
                continue
            order = _greedy(mission, mine, board, judge)
        else:
            order = ranker(policy, mission, seed)(board, board.stored())
        octets = board.columns["bytes"][order].astype(np.float64)
        gain = judge.gains(order)
        x = np.concatenate([[0.0], np.cumsum(octets)])
        result.append(Curve(policy, x, np.concatenate([[0.0], np.cumsum(gain)]), total))
    return tuple(result)


def _all_on_board(mission: Mission, made: Sequence[Made]) -> tuple[OnBoard, Judge]:
    roomy = replace(mission, store=replace(mission.store, quota_mb=1e6))
    board, features = OnBoard(roomy), Features(mission, made)
    for n, one in enumerate(made):
        swath = board.begin(one, n, 0, 0.0)
        board.commit(swath, (0, len(one.due)), 0.0)
        board.complete(swath, 0.0)
    return board, Judge(mission, features, board)


def _greedy(mission: Mission, made: Sequence[Made], board: OnBoard, judge: Judge) -> Indices:
    """What pays, the most per byte first; then everything else as it was made."""
    places = np.arange(board.count)
    product, feature = judge.pairs(places)
    kind = board.columns["kind"][product].astype(np.intp)
    found = oracle.plan(
        oracle.Problem(
            size=board.columns["bytes"].astype(np.int64),
            release=np.zeros(board.count, np.int64),
            product=product,
            paid=feature * len(SHARED) + paid_by(kind),
            worth=np.outer(judge.features.utility, judge.features.shares).ravel(),
            budgets=np.array([2 * sum(one.bytes for one in made) + 10**6]),
            link=mission.link,
        )
    )
    chosen = found.chosen
    return np.concatenate([chosen, np.setdiff1d(places, chosen)])
