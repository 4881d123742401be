"""A month of a million tiles: how long a policy takes to be played, from scores that are kept.

    python -m benchmarks.speed.simulation [--short] [--json]

240 swaths of labelled tiles side by side, one in fifty a crater or an impact, and 90 contacts of
eight minutes, with packets lost and a quota that evicts. Time is of the process, not of the clock.
"""

from __future__ import annotations

import time

import numpy as np

from benchmarks.harness import arguments, report
from winnow_edge.testing.probe import probe_manifest, probe_mission
from winnow_ground.contacts import Contact
from winnow_ground.simulation.observation import Observation
from winnow_ground.simulation.run import Prepared, simulate
from winnow_ground.simulation.scores import TILE, Scores

CLASSES = ("other", "crater", "impact")
POLICIES = ("utility-per-byte", "fifo", "diversity", "random", "oracle")
MISSION = """
[class.crater]
utility = 1
[class.impact]
utility = 20
[link]
loss = 0.01
[store]
quota_mb = 100
"""


def swath(
    seed: int, tiles: int, *, rare: float = 0.02, wide: int = 20, screened: float = 0.0
) -> Scores:
    """Tiles side by side, a share of them `rare` or `screened`; the logits are right nine times in
    ten."""
    rng = np.random.default_rng(seed)
    true = rng.choice(3, tiles, p=[1 - rare, rare * 0.8, rare * 0.2])
    logits = rng.normal(0, 14, (tiles, 3))
    logits[np.arange(tiles), true] += rng.normal(60, 25, tiles)
    table, at = np.zeros(tiles, TILE), np.arange(tiles)
    table["line"], table["sample"] = at // wide * 128, at % wide * 128
    table["lines"] = table["samples"] = 128
    table["scale"], table["row"], table["due"] = 1, at // wide, (at // wide + 1) * 128
    if screened:
        table["screened"] = rng.random(tiles) < screened
    table["thumbnail"] = rng.integers(600, 1000, tiles)
    table["image"] = rng.integers(5000, 9000, tiles)
    octets = rng.integers(1, 255, (tiles, 8), dtype=np.uint8)
    table["sketch"] = [bytes(row) for row in octets]
    features = np.flatnonzero(true)
    return Scores(
        name=f"swath-{seed}",
        manifest=probe_manifest(classes=CLASSES, thresholds={"crater": 0.6, "impact": 0.6}),
        lines=int(table["due"].max()),
        samples=128 * wide,
        tiles=table,
        logits=np.clip(logits, -128, 127).astype(np.int8),
        features=tuple(CLASSES[c] for c in true[features]),
        shows=np.stack([features, np.arange(len(features))], axis=1).astype(np.int32),
        quick_looks=((int(table["due"].max()), 3500),),
    )


def main() -> None:
    """Play each policy once."""
    args = arguments(__doc__).parse_args()
    days, tiles = (3, 20_000) if args.short else (30, 1_000_000)
    count = 8 * days
    swaths = [swath(seed, tiles // count) for seed in range(min(count, 20))]
    seen = [
        Observation(f"o{n}", n * 10_800.0, 600.0, swaths[n % len(swaths)]) for n in range(count)
    ]
    starts = [n * 28_800.0 + 7200 for n in range(3 * days)]
    contacts = [Contact(start, start + 480, 1, 2, 3000.0) for start in starts]
    mission, cache, rows = probe_mission(MISSION), Prepared(), []
    for policy in POLICIES:
        began = time.process_time()
        run = simulate(mission, seen, contacts, policy=policy, cache=cache)
        rows.append(
            {
                "policy": policy,
                "tiles": tiles,
                "contacts": len(contacts),
                "products_mb": round(run.bytes.generated / 1e6, 1),
                "value_share": round(run.figures["value_share"], 3),
                "cpu_s": round(time.process_time() - began, 1),
            }
        )
    report(args, rows)


if __name__ == "__main__":
    main()
