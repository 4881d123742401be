"""Does a crater-and-dune net find both in one tile? Asked of made-up val tiles.

No val tile is labelled both, so tiles are made of the middle halves of two val tiles (version 3),
upright, side by side. The seam is that of training (`winnow_train.halves.join`): a net that learned
from such tiles knows it, so these figures say nothing about the seamless tiles that a camera sees.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks import harness
from winnow_base import metrics
from winnow_base.errors import DataError
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
    parser = harness.arguments(__doc__)
    parser.add_argument("models", nargs="*", type=Path, default=[Path("crater-dune")])
    parser.add_argument("--data", type=Path, help="folder of the data sets")
    parser.add_argument("--each", type=int, default=200, help="tiles of every kind")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    data = harness.data_root(args)
    rows = []
    for name in args.models:
        infer, card = open_model(find_model(name))
        if tuple(card["classes"]) != CLASSES or card["head"] != "sigmoid":
            raise SystemExit(f"{name}: has no sigmoid heads of {' and '.join(CLASSES)}")
        each = 10 if args.short else args.each
        try:
            tiles = made_up(data, card["input"]["height"], each, args.seed)
        except DataError as error:
            harness.skip(str(error))
        for kind, truth in KINDS.items():
            posterior = metrics.posterior(infer(tiles[kind]) / card["temperature"], "sigmoid")
            said = posterior >= 0.5
            crater, dune = said.mean(axis=0).tolist()
            right = float((said == truth).all(axis=1).mean())
            shares = {"crater found": crater, "dune found": dune, "all right": right}
            rows.append({"net": str(name), "made of": kind, **shares})
    harness.report(args, rows)


if __name__ == "__main__":
    main()
