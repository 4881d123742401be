"""What a bundle's own figures are worth on other ground: calibration and base rate, as a caution.

A posterior is calibrated on tiles of which a certain share held each class. Where a class is rarer,
more of its detections are false than the posterior says: with recall r and false positive rate f
measured at base rate b, the precision at base rate c is rc / (rc + f(1 - c)) (Bayes' rule; Axelsson
2000, "The base-rate fallacy and the difficulty of intrusion detection").
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from winnow_edge.manifest import Manifest

RARER = 10.0


@dataclass(frozen=True)
class ClassCaution:
    """A class: its detections here and per 100 tiles shown (None: tiles are not known), tiles that
    held it per 100 judged, how many of the detections there were right, and the precision to be
    expected where it is `RARER` times rarer (each None: the bundle does not say)."""

    name: str
    here: int
    here_per_100: float | None
    base_per_100: float | None
    right: int | None
    detections: int | None
    rarer: float | None


@dataclass(frozen=True)
class Caution:
    """What to bear in mind, a sentence each, and a row per class that was detected."""

    sentences: tuple[str, ...]
    rows: tuple[ClassCaution, ...]


def of_bundle(manifest: Manifest, counts: Mapping[str, int], shown: int | None) -> Caution:
    """The caution for detections by class on `shown` tiles (None: not known)."""
    metrics = manifest.metrics
    judged = metrics.get("int8") if isinstance(metrics.get("int8"), dict) else metrics
    total = _number(metrics.get("n")) or _number((judged or {}).get("n"))
    split, dataset = metrics.get("split"), manifest.training.get("dataset")
    where = f"{total:,.0f} tiles" if total else "tiles"
    where += f" of {dataset}" if dataset else ""
    where += f" ({split})" if split else ""
    ece = _number((judged or {}).get("ece"))
    if ece is None:
        sentences = [f"Bundle {manifest.name} does not say how well its posteriors are calibrated."]
    else:
        sentences = [
            f"Posteriors of {manifest.name} were calibrated on {where}; expected calibration error "
            f"there {ece:.3f}. On other ground, light or cameras it is larger, by how much nobody "
            "has measured."
        ]
    rows = tuple(_of_class(manifest, name, n, shown, total) for name, n in counts.items())
    if any(row.rarer is not None for row in rows):
        sentences.append(
            f"Precision holds at the base rate it was measured at. Where a class is {RARER:.0f} "
            "times rarer, more of its detections are false, though no posterior says so."
        )
    return Caution(tuple(sentences), rows)


def unknown_bundle(name: str) -> Caution:
    """The caution where the bundle is not at hand."""
    text = (
        f"Bundle {name or 'of these swaths'} is not here, so neither its calibration nor the base "
        "rate it was measured at is known: give --mission, with the bundle beside it."
    )
    return Caution((text,), ())


def _of_class(
    manifest: Manifest, name: str, here: int, shown: int | None, total: float | None
) -> ClassCaution:
    metrics: dict[str, Any] = manifest.metrics
    judged = metrics.get("int8") if isinstance(metrics.get("int8"), dict) else metrics
    per_class = _table(_table(judged, "per_class"), name)
    chosen = _table(_table(_table(metrics, "thresholds"), "by_class"), name)
    support = _number(per_class.get("support"))
    base = support / total if support is not None and total else None
    precision, recall = _number(chosen.get("precision")), _number(chosen.get("recall"))
    made = _number(chosen.get("detections"))
    right = None if made is None or precision is None else round(made * precision)
    rarer = None
    if base and recall and made and right is not None:
        # By the rule of succession: few detections, all right, do not make a precision of 1.
        rarer = _at(base / RARER, base, (right + 1) / (made + 2), recall)
    return ClassCaution(
        name=name,
        here=here,
        here_per_100=100 * here / shown if shown else None,
        base_per_100=None if base is None else 100 * base,
        right=right,
        detections=None if made is None else round(made),
        rarer=rarer,
    )


def _at(rate: float, base: float, precision: float, recall: float) -> float:
    """Precision at another base rate."""
    false = recall * base * (1 - precision) / (precision * (1 - base)) if base < 1 else 0.0
    return recall * rate / (recall * rate + false * (1 - rate))


def _table(found: Any, key: str) -> dict[str, Any]:
    value = found.get(key) if isinstance(found, dict) else None
    return value if isinstance(value, dict) else {}


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
