"""Does a crater-and-dune net find both in one tile? Asked of made-up val tiles.

    python benchmarks/halves.py crater-dune [BUNDLE ...] --data ROOT

No val tile is labelled both, so tiles are made of the middle halves of two val tiles (version 3),
upright, side by side. The seam is that of training (`winnow_train.halves.join`): a net that learned
from such tiles knows it, so these figures say nothing about the seamless tiles that a camera sees.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from winnow_base import metrics
from winnow_train.datasets import read_dataset
from winnow_train.evaluate import find_model, open_model
from winnow_train.halves import join
from winnow_train.tiles import decode_all, to_input

CLASSES = ("crater", "dune")
#: What a made-up tile holds of CLASSES, by its two halves.
KINDS = {
    "crater and dune": (True, True),
    "crater and other": (True, False),
    "dune and other": (False, True),
    "other and other": (False, False),
}


def made_up(data: Path, side: int, each: int, seed: int) -> dict[str, np.ndarray]:
    """`each` tiles of every kind from val tiles of version 3, uint8 [each, side, side, 1]."""
    val = read_dataset("hirise-v3", data).split("val")

    def held(*names: str) -> np.ndarray:
        paths = [t.path for t in val.tiles if val.classes[t.label] in names]
        return to_input(decode_all(paths, 1), side, side)

    crater, dune, other = held("crater"), held("dark dune", "bright dune"), held("other")
    rng = np.random.default_rng(seed)
    tiles: dict[str, list[np.ndarray]] = {kind: [] for kind in KINDS}
    for _ in range(each):
        a, b, *_, o = (s[rng.integers(len(s))] for s in (crater, dune, other, other))
        pairs = [(a, b), (a, o), (o, b), (o, other[rng.integers(len(other))])]
        for kind, pair in zip(KINDS, pairs, strict=True):
            tiles[kind].append(join(list(pair)))
    return {kind: np.stack(made) for kind, made in tiles.items()}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="+", type=Path, metavar="BUNDLE")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--each", type=int, default=200, help="tiles of every kind")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for name in options.models:
        infer, card = open_model(find_model(name))
        if tuple(card["classes"]) != CLASSES or card["head"] != "sigmoid":
            raise SystemExit(f"{name}: has no sigmoid heads of {' and '.join(CLASSES)}")
        print(f"| {name}: made of | crater found | dune found | all right |\n|---|---|---|---|")
        tiles = made_up(options.data, card["input"]["height"], options.each, options.seed)
        for kind, truth in KINDS.items():
            posterior = metrics.posterior(infer(tiles[kind]) / card["temperature"], "sigmoid")
            said = posterior >= 0.5
            crater, dune = said.mean(axis=0)
            right = (said == truth).all(axis=1).mean()
            print(f"| {kind} | {crater:.3f} | {dune:.3f} | {right:.3f} |")


if __name__ == "__main__":
    main()
