"""The page of the bundles: how good, how quick, how large each is, side by side."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from winnow_base.errors import DataError
from winnow_edge.bundle import Bundle, open_bundle, shipped_bundles
from winnow_edge.errors import BundleError
from winnow_edge.files import printable, read_small
from winnow_ground.serve.site import Section, Site

_NUMBERS: Final = ("invoke_ms", "tile_ms", "tiles_per_s", "peak_rss_mb")
_HINT: Final = "`winnow-edge bench BUNDLE --json > FILE` writes one"


@dataclass(frozen=True)
class Timed:
    """A run of `winnow-edge bench`: of which bundle, on which board, times in ms, memory in MB."""

    bundle: str
    board: str
    runtime: str
    invoke_ms: float
    tile_ms: float
    tiles_per_s: float
    peak_rss_mb: float
    verdict: str


@dataclass(frozen=True)
class Card:
    """What a bundle says of itself; shares are 0 to 1, None where it says nothing."""

    name: str
    file: str
    bytes: int
    classes: tuple[str, ...]
    input: str
    split: str
    n: int | None
    accuracy: tuple[float | None, float | None]
    macro_f1: tuple[float | None, float | None]
    sure: float | None
    """Accuracy of int8 on tiles of a posterior of at least 0.9."""
    abstention: float | None
    expect: Mapping[str, float | None]
    """Accuracy with its 95 % interval, out of fold: value, low, high."""


def section(site: Site) -> Section:
    """The bundles' page. Raises DataError where a file is no output of `winnow-edge bench`."""
    pages = _Pages(site)
    return Section("Bundles", "/bench", [Route("/bench", pages.bench)])


class _Pages:
    """What is answered; bundles are opened when they are first asked for."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._timed = [timed for path in site.benches for timed in load_bench(path)]
        self._cards: list[Card | str] | None = None

    async def bench(self, request: Request) -> Response:
        """The page."""
        if self._cards is None:
            self._cards = await run_in_threadpool(_cards, [*shipped_bundles(), *self._site.bundles])
        found = await self._site.live.read(_of_catalogue)
        cards = [card for card in self._cards if isinstance(card, Card)]
        named = {card.name for card in cards}
        return self._site.page(
            request,
            "serve/bench.html.j2",
            title="Bundles side by side",
            cards=sorted(cards, key=lambda card: (card.name not in found, card.name)),
            faults=[card for card in self._cards if isinstance(card, str)],
            unknown=sorted(set(found) - named),
            found=found,
            timed=self._timed,
        )


def load_bench(path: Path) -> list[Timed]:
    """The runs of a file: one JSON object, or a line each. Raises DataError."""
    try:
        text = read_small(path).decode()
        try:
            told = [json.loads(text)]
        except ValueError:
            told = [json.loads(line) for line in text.splitlines() if line.strip()]
        if not told:
            raise ValueError("it is empty")
        return [_timed(one) for one in told]
    except OSError as error:
        raise DataError(error.strerror or "cannot be read", where=path, hint=_HINT) from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        what = "is no output of `winnow-edge bench --json`"
        raise DataError(what, where=path, hint=_HINT) from error


def _timed(told: Mapping[str, Any]) -> Timed:
    numbers = [float(told[name]) for name in _NUMBERS]
    if not all(map(math.isfinite, numbers)):
        raise ValueError("a figure is no number")
    board = f"{told['cpu']}, {int(told['cores'])} cores"
    words = (printable(str(word)) for word in (told["bundle"], board, told["runtime"]))
    return Timed(*words, *numbers, printable(str(told["verdict"])))


def _cards(paths: Sequence[Path]) -> list[Card | str]:
    """What each bundle says of itself, or why it cannot be read."""
    cards: list[Card | str] = []
    for path in paths:
        try:
            cards.append(_card(open_bundle(path)))
        except BundleError as error:
            cards.append(str(error))
    return cards


def _card(bundle: Bundle) -> Card:
    manifest, metrics = bundle.manifest, bundle.manifest.metrics
    judged = [_table(metrics, "float"), _table(metrics, "int8")]
    sure = _table(judged[1], "at_090")
    side = manifest.input
    colour = "grey" if side.channels == 1 else "RGB"
    n = metrics.get("n")
    return Card(
        manifest.name,
        bundle.path.name,
        bundle.path.stat().st_size,
        manifest.classes,
        f"{side.width}x{side.height} {colour}",
        str(metrics.get("split") or "-"),
        n if type(n) is int else None,
        (_share(judged[0], "accuracy"), _share(judged[1], "accuracy")),
        (_share(judged[0], "macro_f1"), _share(judged[1], "macro_f1")),
        _share(sure, "accuracy"),
        _share(sure, "abstention"),
        {name: _share(_out_of_fold(metrics), name) for name in ("value", "low", "high")},
    )


def _out_of_fold(metrics: Mapping[str, Any]) -> Mapping[str, Any]:
    intervals = _table(_table(metrics, "cross_validated"), "intervals")
    return _table(intervals, "accuracy")


def _table(told: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = told.get(name)
    return found if isinstance(found, Mapping) else {}


def _share(told: Mapping[str, Any], name: str) -> float | None:
    found = told.get(name)
    return float(found) if isinstance(found, int | float) and 0 <= found <= 1 else None


def _of_catalogue(db: sqlite3.Connection) -> dict[str, int]:
    """Swaths of the catalogue by the bundle that flew."""
    return dict(
        db.execute(
            "SELECT bundle.name, count(*) FROM swath JOIN bundle ON bundle.id = swath.bundle"
            " GROUP BY bundle.name"
        )
    )
