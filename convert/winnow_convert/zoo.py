"""The model zoo: what the shipped bundles say of themselves, as one page.

Everything but the published figures and the remarks on licences is read from the bundles' own
manifests, so the page is made anew by one command (`winnow zoo --out docs/zoo.md`), and a test
holds the committed page to the bundles.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from winnow_convert.flatbuffer import read_graph
from winnow_edge.bundle import Bundle, open_bundle, shipped_bundles

PUBLISHED = {
    "hirise-v1": "val 88.1 %; at >= 0.9 90.3 %, 11 % [1]",
    "hirise-landmarks": "test (v3.2) 92.8 % [1]",
    "hirise-landmarks-96": "test (v3.2) 92.8 % [1]",
    "msl-surface": "val 72.8 %; at >= 0.9 94.3 %, 41 % [1]",
    "msl-frozen": "val 72.8 %, test 66.7 % [1]",
    "msl-mahli": "three nets together: val 83.7 % [1]",
    "msl-mastcam-left": "three nets together: val 83.7 % [1]",
    "msl-mastcam-right": "three nets together: val 83.7 % [1]",
    "rover-or-surface": "val 97.5 %, precision 98.2 %, recall 96.8 % [2]",
    "crater-dune": "92 % [2]",
}
"""Figures to beat, on their authors' own sets."""
REMARKS = {
    "hirise-v1": "Zenodo 10.5281/zenodo.1048301, CC BY 4.0",
    "hirise-v3": "Zenodo 10.5281/zenodo.2538136 (3.2: 10.5281/zenodo.4002935), CC BY 4.0",
    "msl": "Zenodo 10.5281/zenodo.1049137; public sources differ on the licence, CC BY 4.0 or "
    "CC BY-SA 4.0: read the record before you pass on a net",
    "folder": "your own pictures",
}
"""Where the data of a data set are and what may be done with them."""

_HEAD = """# Model zoo

*For whoever chooses a bundle.* Made by `winnow zoo --out docs/zoo.md` from the manifests of the
bundles that are installed with `winnow-edge`; not to be edited by hand.

**Figures are on val**, which also served to choose the nets, their temperatures and their
thresholds, so they flatter. The README has figures on data that nobody chose by. *Out of fold*:
judged by the nets of a cross-validation. **Expect** the nested accuracy / macro-F1 of a
cross-validation, with 95 % intervals over what was held out together.

- "At >= 0.9" is the accuracy on tiles whose best posterior reaches 0.9. Abstention is the share of
  the other tiles.
- Some bundles show a borderline tile to the net a second time, mirrored
  ([bundle.md](bundle.md)). "Net calls" counts both.
- MMAC: million multiply-accumulates for one tile.
"""
_FOOT = """
## Published figures

On the rover images val is the authors' own, less the tiles that were not to be had. On the orbital
images the split is another: the published figures measure the task, not the same tiles.

- [1] Wagstaff et al. 2018, "Deep Mars"; Wagstaff et al. 2021, "Mars Image Content Classification:
  Three Years of NASA Deployment and Recent Advances".
- [2] The aim that this project set itself after published reports of the task.

[convert.md](convert.md) says how a net becomes a bundle, [training.md](training.md) how it was
trained.
"""
_LOSS_NOTE = """
Agreement: share of tiles with the same best class. Order: rank correlation of the downlink order.
Value lost: share of value that the first 5 % of the bytes lose (below zero: gain).
"""


MANY, HIGH = 4, 0.8
"""Of more classes than so many the page shows those of lower recall alone."""


def page(bundles: Iterable[Bundle] | None = None) -> str:
    """The page in Markdown, of the shipped bundles if no others are given.

    Raises BundleError where a bundle does not open.
    """
    found = list(bundles) if bundles is not None else [open_bundle(p) for p in shipped_bundles()]
    nets = _table(
        ("bundle", "task", "classes", "input", "bundle, bytes", "MMAC"),
        [_net_row(bundle) for bundle in found],
    )
    scores = _table(
        (
            "bundle",
            "tiles",
            "accuracy float / int8",
            "macro-F1 float / int8",
            "expect (float)",
            "int8 at >= 0.9, abstention",
            "net calls a tile",
            "published",
        ),
        [_score_row(bundle) for bundle in found],
    )
    losses = _table(
        ("bundle", "accuracy", "macro recall", "agreement", "order", "value lost", "method"),
        [_loss_row(bundle) for bundle in found],
    )
    origins = _table(
        ("bundle", "recipe", "data", "licence of the weights"),
        [_origin_row(bundle) for bundle in found],
    )
    sets = sorted({_dataset(bundle) for bundle in found})
    remarks = "".join(f"- `{name}`: {REMARKS.get(name, 'unknown')}\n" for name in sets)
    recalls = "".join(_recalls(bundle) for bundle in found)
    return (
        f"{_HEAD}\n{nets}\n## How good they are\n\n{scores}\n"
        f"## Changed by quantization (int8 minus float)\n\n{losses}{_LOSS_NOTE}\n"
        f"## Recall of every class, int8 (tiles)\n\n{recalls}\n"
        f"## Origin\n\n{origins}\n{remarks}{_FOOT}"
    )


def _net_row(bundle: Bundle) -> tuple[str, ...]:
    manifest, recipe = bundle.manifest, _recipe(bundle)
    spec = manifest.input
    form = "grey" if spec.channels == 1 else "RGB"
    many = f"{len(manifest.classes)} ({manifest.head})"
    size = bundle.path.stat().st_size
    macs = read_graph(bundle.model).macs / 1e6
    return (
        _name(bundle),
        _task(recipe),
        many,
        f"{spec.height} x {spec.width} {form}",
        f"{size:,}",
        f"{macs:.1f}",
    )


def _score_row(bundle: Bundle) -> tuple[str, ...]:
    metrics = bundle.manifest.metrics
    old, new = metrics["float"], metrics["int8"]
    sure = new["at_090"]
    at = "none" if sure["accuracy"] is None else f"{sure['accuracy']:.4f}"
    return (
        _name(bundle),
        f"{metrics['n']:,} {_judged(metrics)}",
        f"{old['accuracy']:.4f} / {new['accuracy']:.4f}",
        f"{old['macro_f1']:.4f} / {new['macro_f1']:.4f}",
        _expected(metrics),
        f"{at}, {100 * sure['abstention']:.1f} %",
        f"{new.get('net_calls', 1.0):.2f}",
        PUBLISHED.get(bundle.manifest.name, "none known"),
    )


def _judged(metrics: dict[str, Any]) -> str:
    return "out of fold" if str(metrics["split"]).startswith("cross-validated") else "val"


def _expected(metrics: dict[str, Any]) -> str:
    """The nested figures with their intervals, where there are any."""
    rows = metrics.get("cross_validated", {}).get("intervals", {})
    both = [rows[key] for key in ("accuracy", "macro_f1") if key in rows]
    spans = [
        f"{row['value']:.3f}"
        + (f" [{row['low']:.3f}, {row['high']:.3f}]" if row["low"] is not None else "")
        for row in both
    ]
    return " / ".join(spans) or "-"


def _loss_row(bundle: Bundle) -> tuple[str, ...]:
    change = bundle.manifest.metrics["quantization"]
    return (
        _name(bundle),
        f"{0.0 - 100 * change['accuracy_loss']:+.2f} points",
        f"{0.0 - 100 * change['macro_recall_loss']:+.2f} points",
        f"{change['agreement']:.4f}",
        f"{change['rank_correlation']:.4f}",
        f"{100 * change['value_lost_at_5_percent']:.1f} %",
        " + ".join((change["method"], *change["steps"])),
    )


def _origin_row(bundle: Bundle) -> tuple[str, ...]:
    recipe = _recipe(bundle)
    name = recipe.get("name")
    along = recipe.get("data", {}).get("along", ())
    together = f", with {', '.join(along)}" if along else ""
    return (
        _name(bundle),
        f"`train/recipes/{name}.toml`" if name else "none given",
        f"{_dataset(bundle)}{together}",
        bundle.manifest.licence.split(";")[0] or "none given",
    )


def _task(recipe: dict[str, Any]) -> str:
    """The recipe's `about` up to its first colon or semicolon: cards have it whole."""
    return re.split("[:;]", str(recipe.get("about", "")))[0]


def _recalls(bundle: Bundle) -> str:
    rows = bundle.manifest.metrics["int8"]["per_class"]
    known = {k: r for k, r in rows.items() if r["support"]}
    shown = known
    if len(known) > MANY:
        shown = {k: r for k, r in known.items() if r["recall"] < HIGH}
    seen = [f"{k} {r['recall']:.2f} ({r['support']})" for k, r in shown.items()]
    if len(shown) < len(known):
        seen.append(f"the other {len(known) - len(shown)} at least {HIGH:.2f}")
    unseen = sum(not row["support"] for row in rows.values())
    rest = f"; without a tile: {unseen} of {len(rows)} classes" if unseen else ""
    return f"- {_name(bundle)}: {', '.join(seen)}{rest}\n"


def _dataset(bundle: Bundle) -> str:
    return str(bundle.manifest.training.get("dataset", "unknown"))


def _recipe(bundle: Bundle) -> dict[str, Any]:
    recipe = bundle.manifest.training.get("recipe")
    return recipe if isinstance(recipe, dict) else {}


def _name(bundle: Bundle) -> str:
    return f"`{bundle.manifest.name}`"


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
