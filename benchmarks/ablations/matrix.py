"""Ablations: one change of a recipe at a time, the same seeds, judged on val alone.

    python -m benchmarks.ablations.matrix list
    python -m benchmarks.ablations.matrix run --data ROOT --weights-dir WEIGHTS [ROW:SEED ...]
    python -m benchmarks.ablations.matrix table [--docs docs/notebook/ablations.md]

`matrix.toml` beside this file holds the rows, `matrix.base.toml` the recipe they change.
`run` trains what is not yet trained and scored, seed by seed (a killed training goes on from its
last epoch); with names it does only those, so that several processes can share the work. `table`
writes Markdown between the markers of the document, or to stdout.

Each run gets the same treatment on val before it is scored: the scale of the logits (temperature)
and the share of the log prior added to them are those of least negative log-likelihood. So rows
are compared by what their nets know, not by how well training happened to guess the mix of val.
"""

from __future__ import annotations

import argparse
import json
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import ROOT, markdown

HERE = Path(__file__).parent
OUT = ROOT / "runs" / "ablations"
MARKS = ("<!-- ablations: begin -->", "<!-- ablations: end -->")
OWN = "hirise-v3"
#: Classes of fewer than 31 val tiles each: counts say more than rates.
RARE = ("dark dune", "slope streak", "bright dune", "swiss cheese", "impact ejecta", "spider")


@dataclass(frozen=True)
class Row:
    """A row of the matrix: what is changed, and with which seeds it is run."""

    name: str
    seeds: tuple[int, ...]
    changes: tuple[str, ...] = ()
    teacher: str = ""
    #: Folder under the data root with strips: their tiles and the training tiles pretrain the net.
    pretrain: str = ""
    #: The row whose runs are scored, and which of their weights: "kept" or "last".
    source: str = ""
    weights: str = "kept"

    def folder(self, out: Path, seed: int) -> Path:
        """Run folder of one seed."""
        return out / f"{self.source or self.name}-{seed}"


@dataclass(frozen=True)
class Matrix:
    """`matrix.toml`."""

    base: Path
    rows: dict[str, Row]
    tables: list[dict[str, Any]] = field(default_factory=list)


def read_matrix(path: Path) -> Matrix:
    """Read the rows and tables; a table may only name rows that exist."""
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    rows = {
        name: Row(
            name,
            tuple(spec.get("seeds", table["seeds"])),
            tuple(spec.get("set", ())),
            spec.get("teacher", ""),
            spec.get("pretrain", ""),
            spec.get("from", ""),
            spec.get("weights", "kept"),
        )
        for name, spec in table["rows"].items()
    }
    named = {name for t in table["tables"] for name, _ in t["rows"]}
    if unknown := named - set(rows):
        raise SystemExit(f"{path}: no such row: {', '.join(sorted(unknown))}")
    return Matrix(path.with_suffix(".base.toml"), rows, table["tables"])


def jobs_of(matrix: Matrix, wanted: list[str]) -> list[tuple[Row, int]]:
    """Row and seed of every training, first seeds first; or of those that are named."""
    trained = [r for r in matrix.rows.values() if not r.source]
    every = {f"{r.name}:{s}": (r, s) for r in trained for s in r.seeds}
    if unknown := [w for w in wanted if w not in every]:
        raise SystemExit(f"no such job: {', '.join(unknown)}; see `list`")
    chosen = [every[w] for w in wanted] or list(every.values())
    return sorted(chosen, key=lambda job: job[1])


def run(base: Path, job: tuple[Row, int], data: Path, weights_dir: Path | None, out: Path) -> None:
    """Train one job unless it is trained, and score it on val into `scores.json`."""
    from winnow_base.progress import Progress
    from winnow_train.recipe import read_recipe
    from winnow_train.run import train

    row, seed = job
    folder = row.folder(out, seed)
    changes = (*row.changes, f"seed={seed}", f'name="{row.name}"')
    recipe = read_recipe(base, changes)
    teachers = (out.parent / row.teacher,) if row.teacher else ()
    progress = Progress()
    if row.pretrain:
        from benchmarks.ablations.pretrain import pretrain

        strips = sorted((data / row.pretrain).glob("*.jpg"))
        more = {"weights_dir": weights_dir, "progress": progress}
        teachers = (pretrain(recipe, data, strips, folder / "pretrained", **more),)
    train(recipe, data, folder, weights_dir=weights_dir, teachers=teachers, progress=progress)
    scores = score_run(folder, data)
    (folder / "scores.json").write_text(json.dumps(scores, indent=1) + "\n", encoding="utf-8")
    found = scores["kept"].get(OWN) or next(iter(scores["kept"].values()))
    print(f"{row.name}:{seed}  accuracy {found['accuracy']:.4f}  macro-F1 {found['macro_f1']:.4f}")


def score_run(folder: Path, data: Path) -> dict[str, Any]:
    """Figures on val of every head, with the kept weights and with those of the last epoch."""
    import keras

    from winnow_train import checkpoints, model, samples
    from winnow_train.recipe import Data, parse_recipe
    from winnow_train.runs import CHECKPOINT
    from winnow_train.tasks import read_task
    from winnow_train.tiles import decode_all, to_input

    keras.utils.clear_session()
    meta, arrays = checkpoints.read_checkpoint(folder / CHECKPOINT)
    recipe = parse_recipe(meta["recipe"])
    names = (recipe.data.dataset, *recipe.data.along)
    tasks = {n: read_task(Data(dataset=n), data, "softmax") for n in names}
    heads = {n: len(t.classes) for n, t in tasks.items()}
    net = model.build(recipe.model, recipe.input, heads, None, recipe.seed)
    last = [arrays[f"weight-{i}"] for i in range(len(net.weights))]
    scores: dict[str, Any] = {"macs": macs_of(net), "kept": {}, "last": {}}
    for name, task in tasks.items():
        val = task.split("val")
        tiles = decode_all([t.path for t in val.tiles.tiles], recipe.input.channels)
        pixels = to_input(tiles, recipe.input.height, recipe.input.width)
        prior = samples.log_prior(task.split("train"), recipe)
        for which, weights in (("kept", checkpoints.kept_weights(arrays)), ("last", last)):
            net.set_weights(weights)
            logits = model.predict(net, pixels, scale=model.PIXEL_SCALE)[name]
            scores[which][name] = judge(logits, val.truth, prior, list(task.classes))
    return scores


def macs_of(net: Any) -> int:
    """Multiply-accumulates of the convolutions for one tile, heads left out."""
    total = 0
    for layer in net.layers:
        kernel = getattr(layer, "kernel", None)
        if kernel is not None and not layer.name.startswith("head-"):
            # Conv2D [h, w, in, out]; DepthwiseConv2D [h, w, in, 1]: once per output pixel.
            total += int(np.prod(layer.output.shape[1:3])) * int(np.prod(kernel.shape))
    return total


def judge(
    logits: np.ndarray, truth: np.ndarray, prior: np.ndarray, classes: list[str]
) -> dict[str, Any]:
    """Scores of logits [n, K] whose scale and share of the log prior [K] are fitted to `truth`."""
    from scipy.optimize import minimize

    from winnow_base import metrics

    def posterior(scale: float, share: float) -> np.ndarray:
        return metrics.softmax(scale * logits + share * prior)

    def loss(point: np.ndarray) -> float:
        right = posterior(*point)[np.arange(len(truth)), truth]
        return float(-np.log(np.maximum(right, 1e-12)).mean())

    # Two parameters of a multinomial logistic regression: convex, one minimum.
    best = minimize(loss, np.array([1.0, 0.0]))
    scale, share = best.x
    found = metrics.single_label(posterior(scale, share), truth, classes)
    # Without the prior every class is alike likely: what is right then is the mean recall.
    even = metrics.single_label(posterior(scale, share - 1), truth, classes)
    recalls = [r["recall"] for r in even["per_class"].values() if r["support"]]
    return {
        "accuracy": found["accuracy"],
        "macro_f1": found["macro_f1"],
        "loss": float(best.fun),
        "even_recall": float(np.mean(recalls)),
        "right": {c: int(found["confusion"][i][i]) for i, c in enumerate(classes)},
        "tiles": {c: r["support"] for c, r in found["per_class"].items()},
        "scale": float(scale),
        "share": float(share),
    }


def scores_of(row: Row, out: Path) -> list[dict[str, Any]]:
    """The scores of the row's finished runs."""
    found = []
    for seed in row.seeds:
        path = row.folder(out, seed) / "scores.json"
        if path.is_file():
            held = json.loads(path.read_text(encoding="utf-8"))
            found.append({**held[row.weights], "macs": held["macs"]})
    return found


def table_of(matrix: Matrix, out: Path) -> str:
    """All tables as Markdown, of the rows with a finished run; one row alone compares nothing."""
    parts = []
    for table in matrix.tables:
        rows = []
        for name, label in table["rows"]:
            if runs := scores_of(matrix.rows[name], out):
                cells = {table["title"]: label, "seeds": len(runs), **cells_of(runs)}
                macs = {"million MACs": f"{runs[0]['macs'] / 1e6:.1f}"} if table.get("macs") else {}
                rows.append(cells | macs)
        if len(rows) > 1:
            parts.append(markdown(rows))
    return "\n\n".join(parts)


def cells_of(runs: list[dict[str, Any]]) -> dict[str, str]:
    """The columns of a row, by their heads."""
    own = [r[OWN] for r in runs if OWN in r]
    along = [r["hirise-v1"]["accuracy"] for r in runs if "hirise-v1" in r]
    cells = {
        key: spread([r[key.replace("-", "_").replace(" ", "_").lower()] for r in own], 3)
        for key in ("accuracy", "macro-F1", "loss", "even recall")
    }
    found = [np.mean([r["right"][c] for r in own]) for c in RARE] if own else []
    rare = ", ".join(f"{f:.1f}".removesuffix(".0") for f in found) or "-"
    return {**cells, "rare classes found": rare, "version 1 accuracy": spread(along, 3)}


def spread(values: list[float], digits: int) -> str:
    """Mean and range.

    >>> spread([0.5, 0.7, 0.6], 2), spread([0.5], 2), spread([], 2)
    ('0.60 (0.50-0.70)', '0.50', '-')
    """
    if not values:
        return "-"
    mean = f"{np.mean(values):.{digits}f}"
    if len(values) == 1:
        return mean
    return f"{mean} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def write_between(path: Path, text: str) -> None:
    """Replace what is between the markers of a document."""
    held = path.read_text(encoding="utf-8")
    begin, end = (held.find(m) for m in MARKS)
    if not 0 <= begin < end:
        raise SystemExit(f"{path}: no markers {MARKS[0]} ... {MARKS[1]}")
    begin += len(MARKS[0])
    path.write_text(f"{held[:begin]}\n{text}\n{held[end:]}", encoding="utf-8")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=OUT, help="folder of the run folders")
    parser.add_argument("--matrix", type=Path, default=HERE / "matrix.toml")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="every job, and whether it is done")
    runner = commands.add_parser("run", help="train and score what is not done")
    runner.add_argument("--data", type=Path, required=True)
    runner.add_argument("--weights-dir", type=Path)
    runner.add_argument("--threads", type=int, default=0)
    runner.add_argument("jobs", nargs="*", metavar="ROW:SEED")
    writer = commands.add_parser("table", help="Markdown of what is done")
    writer.add_argument("--docs", type=Path, help="write between the markers of this document")
    options = parser.parse_args()
    matrix = read_matrix(options.matrix)
    if options.command == "table":
        text = table_of(matrix, options.out)
        write_between(options.docs, text) if options.docs else print(text)
        return
    jobs = jobs_of(matrix, getattr(options, "jobs", []))
    done = {j: (j[0].folder(options.out, j[1]) / "scores.json").is_file() for j in jobs}
    if options.command == "list":
        for row, seed in jobs:
            print(f"{row.name}:{seed}", "done" if done[row, seed] else "open")
        return
    from winnow_train.backend import quiet_backend

    quiet_backend(options.threads)
    for job in jobs:
        if not done[job]:
            run(matrix.base, job, options.data, options.weights_dir, options.out)


if __name__ == "__main__":
    main()
