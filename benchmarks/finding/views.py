"""Averaging views of the tiles whose posterior is low: what it gains on val, in net calls.

A tile whose best class has a posterior under 0.9 is shown again, turned and mirrored, and its
posterior becomes the mean over the views; the others cost one call. The int8 bundle is run by the
code that flies. Rows: one view, then 2, 4 and 8 views of the borderline tiles, then of all tiles.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks import harness
from winnow_base import metrics
from winnow_base.errors import DataError
from winnow_base.progress import Progress
from winnow_edge.bundle import find_bundle, open_bundle
from winnow_edge.runtimes import load_classifier
from winnow_train.evaluate import collect
from winnow_train.tiles import decode_all, dihedral, to_input

#: Views of `winnow_train.tiles.dihedral`, in the order in which they are added: the tile, its
#: mirror images, half a turn, then the quarter turns.
ORDER = (0, 4, 6, 2, 1, 3, 5, 7)
BORDER = metrics.ABSTAIN_BELOW


def posteriors_of(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """Posterior [n, K] of uint8 tiles [n, H, W, C], by the bundle at `path`."""
    bundle = open_bundle(path)
    manifest, net = bundle.manifest, load_classifier(bundle, "litert")
    assert (manifest.input.scale, manifest.input.zero_point) == (1.0, -128)

    def infer(tiles: np.ndarray) -> np.ndarray:
        codes = (tiles ^ 0x80).view(np.int8)
        codes = codes[..., 0] if manifest.input.channels == 1 else codes
        out = np.empty((len(tiles), len(manifest.classes)), np.int8)
        for tile, row in zip(codes, out, strict=True):
            net.infer(np.ascontiguousarray(tile), row)
        logits = (out.astype(np.float32) - manifest.output.zero_point) * manifest.output.scale
        return metrics.posterior(logits / manifest.temperature, manifest.head)

    return infer


def main() -> None:
    """Command line."""
    parser = harness.arguments(__doc__)
    parser.add_argument("bundle", nargs="?", default="hirise-landmarks")
    parser.add_argument("--dataset", default="hirise-v3")
    parser.add_argument("--data", type=Path, help="folder of the data sets")
    parser.add_argument("--symmetry", choices=("dihedral", "flip"), default="dihedral")
    args = parser.parse_args()
    bundle = find_bundle(args.bundle)
    try:
        _, task, card = collect(bundle, args.dataset, harness.data_root(args), "val", Progress())
    except DataError as error:
        harness.skip(str(error))
    size, every_tile = card["input"], slice(0, None, 20 if args.short else 1)
    truth = task.truth[every_tile]
    tiles = decode_all([t.path for t in task.tiles.tiles][every_tile], size["channels"])
    pixels = to_input(tiles, size["height"], size["width"])
    infer = posteriors_of(bundle)
    views = ORDER if args.symmetry == "dihedral" else ORDER[:2]
    seen = np.stack([infer(np.ascontiguousarray(dihedral(pixels, v))) for v in views])
    border = seen[0].max(axis=1) < BORDER
    first, rows = seen[0].argmax(axis=1) == truth, []
    for count in (1, 2, 4, 8)[: 2 if len(views) == 2 else 4]:
        for every in (False, True) if count > 1 else (False,):
            again = np.ones_like(border) if every else border
            mean = np.where(again[:, None], seen[:count].mean(axis=0), seen[0])
            found = metrics.single_label(mean, truth, list(task.classes))
            calls = 1 + (count - 1) * float(again.mean())
            right = mean.argmax(axis=1) == truth
            recalls = [r["recall"] for r in found["per_class"].values() if r["support"]]
            at = found["at_090"]
            rows.append(
                {
                    "views": count,
                    "of": "all" if every else "borderline",
                    "net calls": calls,
                    "accuracy": f"{found['accuracy']:.4f}",
                    "put right, wrong": f"{(right & ~first).sum()}, {(first & ~right).sum()}",
                    "macro-F1": f"{found['macro_f1']:.4f}",
                    "@ >= 0.9": f"{at['accuracy']:.4f}",
                    "abstention": f"{at['abstention']:.3f}",
                    "mean recall": f"{np.mean(recalls):.4f}",
                }
            )
    harness.report(args, rows, [f"{len(truth)} tiles of {args.dataset}, val"])


if __name__ == "__main__":
    main()
