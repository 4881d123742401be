"""What a trained model says of itself: the model.json that `winnow train` writes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from winnow_base.errors import ModelError
from winnow_edge.files import read_small
from winnow_edge.manifest import HEADS
from winnow_edge.tables import Reader, setting

LARGEST = 64_000_000
"""Octets of a model.json: it may name every tile that a net has learned from."""


@dataclass(frozen=True)
class _Size:
    """The net's input in pixels."""

    height: int = setting(..., 1, 4096)
    width: int = setting(..., 1, 4096)
    channels: int = setting(..., choices=(1, 3))


@dataclass(frozen=True)
class _Training:
    """What the net has learned from, as far as it is read again."""

    dataset: str | None = setting(None)
    sources: dict[str, tuple[str, ...]] = setting(dict)
    prior: float | None = setting(None, -1e9, 1e9)


@dataclass(frozen=True)
class _Lineage:
    """What the nets before it have learned from."""

    sources: tuple[str, ...] = setting(())


@dataclass(frozen=True)
class _Card:
    """The keys that are read again."""

    name: str = setting(..., fewest=1)
    classes: tuple[str, ...] = setting(..., fewest=1, most=255)
    head: str = setting(..., choices=HEADS)
    input: _Size = setting(...)
    temperature: float = setting(..., 0.001, 1000.0)
    training: _Training = setting(...)
    borderline: float = setting(0.0, 0.0, 1.0)
    lineage: _Lineage | None = setting(None)
    metrics: dict[str, Any] = setting(dict)
    recipe: dict[str, Any] | None = setting(None)


def read_model_card(path: Path) -> dict[str, Any]:
    """A model.json whose every value that is read again is of its type and range.

    Raises ModelError that names the file and the key.
    """
    try:
        data = read_small(path, LARGEST)
    except OSError as error:
        raise ModelError(error.strerror or "cannot be read", where=path) from error
    reader = Reader(path, ModelError, others=True, hint="give a run folder of winnow train")
    raw: dict[str, Any] = reader.json(data)
    card = reader.table(_Card, raw)
    if len(set(card.classes)) != len(card.classes):
        raise reader.refusal(("classes",), "`classes` must be different names")
    if card.borderline and card.head != "softmax":
        raise reader.refusal(("borderline",), "`borderline` needs a softmax head")
    return raw
