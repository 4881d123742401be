"""The evaluation page: one self-contained HTML file, its figures as JSON, its plots as PNG.

The page shows tiles of the data set, so it is for the disk of whoever holds the data.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from winnow_base import metrics
from winnow_base.files import make_folder
from winnow_base.pages import data_url, jpeg_url, now, templates
from winnow_base.progress import Progress
from winnow_edge.bundle import SUFFIX
from winnow_edge.files import write_file
from winnow_train import report_maps
from winnow_train.evaluate import collect, open_bundle_as_model
from winnow_train.report_data import Judged, exemplars, figures, worst_confusions
from winnow_train.tasks import Task
from winnow_train.tiles import decode_all, to_input

PAIRS, TILES, EXEMPLARS = 6, 5, 4
SHOWN = 144
PAGE, FIGURES = "evaluation.html", "evaluation.json"


def write_report(
    path: Path, dataset: str, root: Path, split: str, out: Path, progress: Progress
) -> dict[str, Any]:
    """Judge the model at `path` and write the page into `out`; returns what evaluation.json holds.

    That is everything `winnow_train.evaluate.evaluate` gives, and `intervals`, `class_detail`,
    `calibration`, `selective`, `per_source`, `worst_confusions`, `maps` and `notices`. Raises what
    `evaluate` raises, and OutputError if the folder cannot be written.
    """
    from winnow_train import report_plots as plots

    make_folder(out)
    answers, task, card = collect(path, dataset, root, split, progress)
    judged = Judged.of(answers, task, card["temperature"])
    names = list(task.classes)
    if task.head == "softmax" and task.truth.max() >= len(names):
        names.append("(unknown to the model)")
    found: dict[str, Any] = {
        **metrics.score(judged.posterior, task.truth, names, task.head),
        "split": split,
        "dataset": dataset,
        "model": str(path),
        "classes": names,
        "temperature": card["temperature"],
        "net_calls": answers.net_calls(card["temperature"], task.head),
        **figures(judged),
    }
    found["notices"] = notices(judged, card, split)
    worst = worst_confusions(judged, PAIRS, TILES)
    best = exemplars(judged, EXEMPLARS)
    rows = sorted({i for w in worst for i in w["rows"]} | {i for b in best.values() for i in b})
    pictures, found["maps"] = _pictures(path, task, card, rows, progress)
    found["worst_confusions"] = [
        {
            **{k: w[k] for k in ("true", "predicted", "n", "of")},
            "tiles": [task.tiles.tiles[i].path.name for i in w["rows"]],
        }
        for w in worst
    ]
    detail = found["class_detail"]
    made = {
        "intervals": plots.intervals(detail),
        "precision-recall": plots.curves("pr", judged.posterior, judged.member, detail),
        "roc": plots.curves("roc", judged.posterior, judged.member, detail),
        "reliability": plots.reliability(
            found["calibration"]["before"], found["calibration"]["after"], card["temperature"]
        ),
        "risk-coverage": plots.risk_coverage(
            found["selective"]["risk_coverage"],
            found["selective"]["error"],
            found["selective"]["aurc"],
        ),
        "thresholds": plots.thresholds(found["selective"]["thresholds"]),
    }
    matrix = found.get("label_sets", {"names": names, "confusion": found["confusion"]})
    made["confusion"] = plots.confusion(matrix["confusion"], matrix["names"])
    for name, data in made.items():
        write_file(out / f"{name}.png", data)
    write_file(out / FIGURES, json.dumps(found, indent=1) + "\n")
    page = _page(found, judged, card, made, _gallery(judged, worst, best, pictures))
    write_file(out / PAGE, page)
    return found


def notices(judged: Judged, card: dict[str, Any], split: str) -> list[str]:
    """What a reader must know before believing the figures."""
    said = []
    trained = set(card["training"].get("sources", {}).get("train", ()))
    if seen := sorted(trained & set(judged.draws.names)):
        said.append(
            f"The model was trained on {len(seen)} of these {len(judged.draws.names)} sources "
            f"({', '.join(seen[:3])}{', ...' if len(seen) > 3 else ''}): the figures flatter it."
        )
    if not trained:
        said.append("The model does not say which sources it was trained on.")
    if split == "val":
        said.append(
            "Temperature was fitted on val and models were chosen by it, so figures on val lean "
            "towards the model; the ECE with the temperature refitted on other sources does not."
        )
    if judged.answers.borderline:
        calls = judged.answers.net_calls(judged.temperature, judged.task.head)
        said.append(
            f"Tiles with a best posterior under {judged.answers.borderline:g} were shown twice, "
            f"once mirrored, as on board: {calls:.2f} net calls a tile."
        )
    few = [
        f"{name} ({n} tiles, {s} source{'' if s == 1 else 's'})"
        for k, name in enumerate(judged.classes)
        if (n := int(judged.member[:, k].sum()))
        and (s := len(np.unique(judged.draws.index[judged.member[:, k]]))) < 5
    ]
    if few:
        said.append(f"Few sources, so hardly any evidence: {'; '.join(few)}.")
    gone = [c for k, c in enumerate(judged.classes) if not judged.member[:, k].any()]
    if gone:
        said.append(f"No tile here of: {', '.join(gone)}.")
    return said


def _pictures(
    path: Path, task: Task, card: dict[str, Any], rows: Sequence[int], progress: Progress
) -> tuple[dict[int, tuple[np.ndarray, np.ndarray]], dict[str, Any]]:
    """Tile uint8 [H, W, C] and maps [h, w, K] of some rows, and how the maps were made."""
    if not rows:
        return {}, {"method": "none", "deviation": None}
    size = card["input"]
    decoded = decode_all([task.tiles.tiles[i].path for i in rows], size["channels"])
    tiles = to_input(decoded, size["height"], size["width"])
    with progress.counting("activation maps", len(rows)) as advance:
        maps, about = _maps(path, tiles)
        advance(len(rows))
    maps = report_maps.centred(maps, task.head)
    return {i: (tiles[k], maps[k]) for k, i in enumerate(rows)}, about


def _maps(path: Path, tiles: np.ndarray) -> tuple[np.ndarray, dict[str, Any]]:
    if path.suffix == SUFFIX:
        infer, _ = open_bundle_as_model(path)
        return report_maps.occlusion_maps(infer, tiles), {"method": "occlusion", "deviation": None}
    from winnow_train.model import predict
    from winnow_train.runs import load_run

    net, _ = load_run(path)
    if (made := report_maps.activation_maps(net, tiles)) is not None:
        return made[0], {"method": "class activation", "deviation": made[1]}
    maps = report_maps.occlusion_maps(lambda t: np.asarray(predict(net, t)), tiles)
    return maps, {"method": "occlusion", "deviation": None}


def _gallery(
    judged: Judged,
    worst: list[dict[str, Any]],
    best: dict[str, list[int]],
    pictures: dict[int, tuple[np.ndarray, np.ndarray]],
) -> dict[str, Any]:
    def shot(i: int, evidence: np.ndarray) -> dict[str, Any]:
        tile, _ = pictures[i]
        return {
            "name": judged.task.tiles.tiles[i].path.name,
            "posterior": float(judged.confidence[i]),
            "pictures": [
                jpeg_url(t, SHOWN, 88) for t in (tile, report_maps.overlay(tile, evidence))
            ],
        }

    def mistake(i: int) -> np.ndarray:
        """For what was said over what is true; a softmax head's mean is the margin it won by."""
        said, true = judged.predicted[i], judged.member[i]
        maps = pictures[i][1]
        return np.asarray(maps[..., said & ~true].sum(-1) - maps[..., true & ~said].sum(-1))

    index = {name: k for k, name in enumerate(judged.classes)}
    return {
        "worst": [{**w, "shots": [shot(i, mistake(i)) for i in w["rows"]]} for w in worst],
        "best": {
            n: [shot(i, pictures[i][1][..., index[n]]) for i in rows]
            for n, rows in best.items()
            if rows
        },
    }


def _page(
    found: dict[str, Any],
    judged: Judged,
    card: dict[str, Any],
    plots: dict[str, bytes],
    gallery: dict[str, Any],
) -> str:
    environment = templates("winnow_train")
    environment.filters.update(span=_span, value=_value, ends=_ends)
    uris = {name: data_url("image/png", data) for name, data in plots.items()}
    return environment.get_template("evaluation.html.j2").render(
        found=found,
        card=card,
        head=judged.task.head,
        sources=len(judged.draws.names),
        plots=uris,
        gallery=gallery,
        attribution=judged.task.tiles.attribution,
        made=now(),
    )


def _span(found: dict[str, Any], digits: int = 3) -> str:
    """A figure with its interval, for people."""
    return f"{_value(found, digits)} {_ends(found, digits)}".strip()


def _value(found: dict[str, Any], digits: int = 3) -> str:
    return "–" if found["value"] is None else f"{found['value']:.{digits}f}"


def _ends(found: dict[str, Any], digits: int = 3) -> str:
    if found["low"] is None:
        return ""
    return f"[{found['low']:.{digits}f}, {found['high']:.{digits}f}]"
