"""`card.md`: what a bundle is, for people, written from its manifest alone."""

from __future__ import annotations

from typing import Any

from winnow_edge.bundle import Manifest

_USE = {
    "softmax": "A tile is a detection if the posterior of its best class reaches that class's "
    "threshold; classes without a threshold are background.",
    "sigmoid": "Every class has a posterior of its own: a tile is a detection of each class whose "
    "posterior reaches its threshold, of several at once or of none.",
}


def write_card(manifest: Manifest, model_bytes: int) -> str:
    """The card as Markdown, ending in a newline; the same manifest gives the same text."""
    metrics, training = manifest.metrics, manifest.training
    spec = manifest.input
    colour = "grey" if spec.channels == 1 else "RGB"
    recipe = training.get("recipe")
    recipe_name = recipe.get("name") if isinstance(recipe, dict) else recipe
    parts = [
        f"# {manifest.name}",
        "",
        f"An int8 tile classifier: {len(manifest.classes)} classes "
        f"({', '.join(manifest.classes)}) from {colour} tiles of {spec.height} x {spec.width} "
        f"pixels. Model {model_bytes / 1000:.0f} kB; {manifest.head} head, temperature "
        f"{manifest.temperature:.3f}.",
        "",
        *([f"{recipe['about']}.", ""] if isinstance(recipe, dict) and recipe.get("about") else []),
        "## Training data",
        "",
        f"Recipe `{recipe_name}`, seed {training.get('seed')}. Data set "
        f"`{training.get('dataset')}`, split by source: {_learned(metrics)}",
        "",
        *_counts(training),
        "## How good it is",
        "",
        *_expected(manifest),
        *_figures(metrics),
        *_classes(manifest),
        *_whole_pictures(training),
        "## What quantization changed",
        "",
        *_quantization(metrics),
        *(_second_stage(manifest.verifier) if manifest.verifier is not None else []),
        "## Use",
        "",
        f"{_USE[manifest.head]} {_views(manifest)}Posteriors are calibrated on {_judged(metrics)} "
        f"of `{training.get('dataset')}`: on other ground, light, season or camera they may be too "
        "sure of themselves.",
        "",
        "## Licence and attribution",
        "",
        f"Weights: {manifest.licence}" if manifest.licence else "Weights: licence not stated.",
        "",
        manifest.attribution or "No attribution given.",
        "",
        "The golden tiles in this bundle are rendered; it holds no imagery.",
    ]
    return "\n".join(parts) + "\n"


def _is_crossed(metrics: dict[str, Any]) -> bool:
    return str(metrics.get("split")).startswith("cross-validated")


def _judged(metrics: dict[str, Any]) -> str:
    return "out-of-fold tiles" if _is_crossed(metrics) else "the val tiles"


def _learned(metrics: dict[str, Any]) -> str:
    if _is_crossed(metrics):
        return (
            "tiles of one source are in one fold only. Weights were learned on every labelled tile "
            "of train and val, so the published val says nothing of this net; temperature, prior "
            "and thresholds were chosen on what the nets of the folds said of tiles that they "
            "never saw; quantization was calibrated on tiles that the net learned from."
        )
    return (
        "tiles of one source image are in one set only. Weights were learned on train; temperature "
        "and thresholds were chosen on val; quantization was calibrated on train."
    )


def _expected(manifest: Manifest) -> list[str]:
    """What the figures are of and, where there is one, the nested figure to expect."""
    metrics = manifest.metrics
    if not _is_crossed(metrics):
        return [
            f"On {metrics.get('n')} tiles of {metrics.get('split')} "
            "(where its temperature and thresholds were chosen, so expect less elsewhere):",
            "",
        ]
    spans = [
        f"{name} {row['value']:.3f}"
        + (f" [{row['low']:.3f}, {row['high']:.3f}]" if row["low"] is not None else "")
        for name, key in (("accuracy", "accuracy"), ("macro-F1", "macro_f1"), ("ECE", "ece"))
        if (row := metrics.get("cross_validated", {}).get("intervals", {}).get(key))
        and row["value"] is not None
    ]
    return [
        f"**Expect {', '.join(spans)}** (float, settings chosen on the other folds, 95 % intervals "
        f"over what was held out together). Below: {metrics.get('n')} tiles, {metrics['split']}, "
        "each judged by the net of the fold that held it out, float and int8, with the settings "
        "that fly: they were chosen in sight of these tiles.",
        "",
    ]


def _views(manifest: Manifest) -> str:
    """How borderline tiles are shown, in words; nothing where every tile is shown once."""
    if not manifest.borderline:
        return ""
    calls = manifest.metrics["int8"]["net_calls"]
    return (
        f"A tile whose best posterior is under {manifest.borderline:g} is shown to the net a "
        "second time, mirrored, and its posteriors are the means of both views; all figures here "
        f"are of that, thresholds too. There it takes {calls:.2f} net calls a tile. "
    )


def _second_stage(verifier: Manifest) -> list[str]:
    rows = [f"{name} {limit:.2f}" for name, limit in verifier.thresholds.items()]
    return [
        "## The second stage",
        "",
        f"`{verifier.name}` looks at every detection of these classes, and at its surroundings, "
        "before pictures of it are made. It lets a detection pass from its own posterior on: "
        f"{', '.join(rows) or 'none'}. Temperature {verifier.temperature:.3f}. Figures on its "
        f"{verifier.metrics['n']} tiles of {_judged(verifier.metrics)}:",
        "",
        *_figures(verifier.metrics),
        *_quantization(verifier.metrics),
    ]


def _figures(metrics: dict[str, Any]) -> list[str]:
    sets = "label_sets" in metrics["int8"]
    rows = [
        "| | float | int8 |",
        "|---|---|---|",
    ]
    old, new = metrics["float"], metrics["int8"]
    for key, name in (
        ("accuracy", "accuracy (every class of a tile right)" if sets else "accuracy"),
        ("macro_f1", "macro-F1"),
        ("macro_recall", "macro recall"),
        ("ece", "calibration error (ECE, 15 bins)"),
    ):
        rows.append(f"| {name} | {old[key]:.4f} | {new[key]:.4f} |")
    for name in old["per_class"] if sets else ():
        pair = [m["per_class"][name]["accuracy"] for m in (old, new)]
        rows.append(f"| accuracy of {name} alone | {pair[0]:.4f} | {pair[1]:.4f} |")
    for key, name in (("accuracy", "accuracy at posterior >= 0.9"), ("abstention", "abstaining")):
        pair = [m["at_090"][key] for m in (old, new)]
        rows.append(f"| {name} | {' | '.join('-' if v is None else f'{v:.4f}' for v in pair)} |")
    return [*rows, ""]


def _classes(manifest: Manifest) -> list[str]:
    per_class = manifest.metrics["int8"]["per_class"]
    chosen = manifest.metrics["thresholds"]["by_class"]
    rows = [
        "| class | tiles | precision | recall | F1 "
        "| threshold | precision there | recall there | chosen by |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name in manifest.classes:
        row, rule = per_class[name], chosen.get(name)
        there = "none | | | background"
        if rule is not None:
            there = (
                f"{rule['threshold']:.2f} | {rule['precision']:.3f} | {rule['recall']:.3f} "
                f"| {rule['rule']}"
            )
        rows.append(
            f"| {name} | {row['support']} | {row['precision']:.3f} | {row['recall']:.3f} "
            f"| {row['f1']:.3f} | {there} |"
        )
    return [
        *rows,
        "",
        "Thresholds: the lowest of 0.50, 0.55 ... 0.95 with precision of at least "
        f"{manifest.metrics['thresholds']['min_precision']:g} on {_judged(manifest.metrics)} "
        "(precision), else the one of best F0.5 (f0.5), else 0.90 where fewer than five of these "
        "tiles were found (default); those chosen on whole pictures that were left out are of the "
        "recipe (swaths).",
        "",
    ]


def _whole_pictures(training: dict[str, Any]) -> list[str]:
    """What the nets of folds find on whole pictures that they never saw; nothing without such."""
    found = training.get("whole_pictures")
    if not found:
        return []
    rows = [f"| {row['what']} | {row['value']} |" for row in found["rows"]]
    return [f"On whole pictures, {found['how']}:", "", "| | |", "|---|---|", *rows, ""]


def _quantization(metrics: dict[str, Any]) -> list[str]:
    change = metrics["quantization"]
    moved = change["posterior_change"]
    method = "+".join([change["method"], *change["steps"]])
    same = "answer" if "label_sets" in metrics["int8"] else "best class"
    return [
        f"Method `{method}`, {change['calibration_tiles']} calibration tiles of train, "
        f"balanced over the classes. Against the float model on {_judged(metrics)}: "
        f"accuracy {0.0 - change['accuracy_loss']:+.4f}, macro recall "
        f"{0.0 - change['macro_recall_loss']:+.4f}; the {same} agrees on "
        f"{change['agreement']:.2%} of tiles, detections on {change['detection_agreement']:.2%}; "
        f"posteriors move by {moved['mean']:.4f} on average and {moved['p99']:.4f} at the 99th "
        f"percentile; downlink order correlates with {change['rank_correlation']:.4f} "
        f"({change['rank_correlation_detections']:.4f} among detections alone); value lost at 5 % "
        f"of the bytes {change['value_lost_at_5_percent']:.2%}.",
        "",
    ]


def _counts(training: dict[str, Any]) -> list[str]:
    counts = training.get("counts")
    if not isinstance(counts, dict) or not all(isinstance(v, dict) for v in counts.values()):
        return []
    splits = list(counts)
    names = list(dict.fromkeys(name for split in splits for name in counts[split]))
    rows = [
        f"| class | {' | '.join(splits)} |",
        "|---|" + "---|" * len(splits),
        *(f"| {n} | {' | '.join(str(counts[s].get(n, 0)) for s in splits)} |" for n in names),
    ]
    return [*rows, ""]
