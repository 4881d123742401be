"""Averaging views of the tiles whose posterior is low: what it gains on val, in net calls.

    python benchmarks/ablations_views.py BUNDLE --dataset hirise-v3 --data ROOT [--symmetry flip]

A tile whose best class has a posterior under 0.9 is shown again, turned and mirrored, and its
posterior becomes the mean over the views; the others cost one call. The int8 bundle is run by the
code that flies. Rows: one view, then 2, 4 and 8 views of the borderline tiles, then of all tiles.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np

from winnow_base import metrics
from winnow_base.progress import Progress
from winnow_edge.bundle import open_bundle
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
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--symmetry", choices=("dihedral", "flip"), default="dihedral")
    options = parser.parse_args()
    _, task, card = collect(options.bundle, options.dataset, options.data, "val", Progress())
    size = card["input"]
    tiles = decode_all([t.path for t in task.tiles.tiles], size["channels"])
    pixels = to_input(tiles, size["height"], size["width"])
    infer = posteriors_of(options.bundle)
    views = ORDER if options.symmetry == "dihedral" else ORDER[:2]
    seen = np.stack([infer(np.ascontiguousarray(dihedral(pixels, v))) for v in views])
    border = seen[0].max(axis=1) < BORDER
    head = "views | of | net calls | accuracy | put right, wrong | macro-F1 | @ >= 0.9 | abstention"
    print(f"| {head} | mean recall |\n{'|---' * 9}|")
    first = seen[0].argmax(axis=1) == task.truth
    for count in (1, 2, 4, 8):
        if count > len(views):
            continue
        for every in (False, True) if count > 1 else (False,):
            again = np.ones_like(border) if every else border
            mean = np.where(again[:, None], seen[:count].mean(axis=0), seen[0])
            found = metrics.single_label(mean, task.truth, list(task.classes))
            calls = 1 + (count - 1) * float(again.mean())
            right = mean.argmax(axis=1) == task.truth
            recalls = [r["recall"] for r in found["per_class"].values() if r["support"]]
            at = found["at_090"]
            cells = [
                str(count),
                "all" if every else "borderline",
                f"{calls:.2f}",
                f"{found['accuracy']:.4f}",
                f"{int((right & ~first).sum())}, {int((first & ~right).sum())}",
                f"{found['macro_f1']:.4f}",
                f"{at['accuracy']:.4f}",
                f"{at['abstention']:.3f}",
                f"{np.mean(recalls):.4f}",
            ]
            print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
