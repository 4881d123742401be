"""The mission file: what is flown, as frozen dataclasses read from TOML.

One file drives `winnow-edge run`, `winnow-edge downlink` and `winnow simulate`. Unknown keys and
values out of range are refused with the key, the legal range and the line they stand on. The schema
for editors and docs/mission.md are made from the dataclasses (`winnow_edge.schema`).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

from winnow_edge.errors import MissionError
from winnow_edge.mission_tables import (
    POLICIES,
    RUNTIMES,
    Ask,
    Audit,
    ClassRule,
    Compute,
    Context,
    Instrument,
    Link,
    Products,
    QuickLooks,
    Ranking,
    Requests,
    Screening,
    Store,
    Tiling,
    Verdict,
)
from winnow_edge.simulation_tables import Simulation
from winnow_edge.tables import Reader, setting

__all__ = [
    "POLICIES",
    "RUNTIMES",
    "Ask",
    "Audit",
    "ClassRule",
    "Compute",
    "Context",
    "Instrument",
    "Link",
    "Mission",
    "Products",
    "QuickLooks",
    "Ranking",
    "Requests",
    "Screening",
    "Simulation",
    "Store",
    "Tiling",
    "Verdict",
    "load_mission",
    "mission_of",
    "parse_mission",
    "place_of",
]


LEAST_BYTES: Final = (
    ("quick_look", "bytes", 1000),
    ("products", "thumbnail_bytes", 600),
    ("products", "image_bytes", 600),
)
"""Bytes that hold any picture, however small: a JPEG's own tables alone take hundreds."""


@dataclass(frozen=True, slots=True)
class Mission:
    """A whole mission file; the reader adds its `path`.

    Attributes:
        name: Name of the mission.
    """

    name: str = setting(..., fewest=1)
    instruments: dict[str, Instrument] = setting(..., fewest=1, key="instrument")
    tiling: Tiling = setting(Tiling)
    screening: Screening = setting(Screening)
    classes: dict[str, ClassRule] = setting(dict, key="class")
    verdict: Verdict = setting(Verdict)
    ranking: Ranking = setting(Ranking)
    products: Products = setting(Products)
    quick_look: QuickLooks = setting(QuickLooks)
    context: Context = setting(Context)
    audit: Audit = setting(Audit)
    ask: Ask = setting(Ask)
    requests: Requests = setting(Requests)
    store: Store = setting(Store)
    link: Link = setting(Link)
    compute: Compute = setting(Compute)
    simulation: Simulation = setting(Simulation)
    path: Path = Path("mission.toml")

    def instrument_for(self, swath_name: str, asked: str | None = None) -> tuple[str, Instrument]:
        """The instrument named `asked`, else the first whose `match` fits the swath's file name.

        Raises MissionError if there is none.
        """
        if asked is not None:
            if asked not in self.instruments:
                known = f"it has: {', '.join(self.instruments)}"
                raise MissionError(f"no instrument {asked!r}", where=self.path, hint=known)
            return asked, self.instruments[asked]
        for name, instrument in self.instruments.items():
            if fnmatchcase(swath_name, instrument.match):
                return name, instrument
        raise MissionError(
            f"no instrument matches swath {swath_name!r}",
            where=self.path,
            hint="name one with --instrument or widen a `match`",
        )

    def processing_digest(self, instrument: str, bundle_sha256: str) -> str:
        """SHA-256 (hex) of everything that changes a swath's records and products, unlike ranking,
        link, store and utilities: it may not change between two passes."""
        camera = dataclasses.asdict(self.instruments[instrument])
        del camera["stall_s"]
        quick_look, audit, ask = self.quick_look.bytes, self.audit, self.ask
        context = self.context
        if camera["start"] == "told":
            del camera["start"]  # as if there were no such key: swaths begun before it go on
        places = {
            name: [rule.latitude, rule.season]
            for name, rule in self.classes.items()
            if rule.latitude or rule.season
        }
        relevant = {
            "instrument": camera,
            "bundle": bundle_sha256,
            "borderline": self.compute.borderline,
            "tiling": dataclasses.asdict(self.tiling),
            "screening": dataclasses.asdict(self.screening),
            "verdict": dataclasses.asdict(self.verdict),
            "thresholds": {
                name: rule.threshold
                for name, rule in self.classes.items()
                if rule.threshold is not None
            },
            **({"places": places} if places else {}),
            "products": [
                getattr(self.products, key)
                for key in ("thumbnail_pixels", "thumbnail_quality", "image_quality")
            ],
            **({"verifier": False} if self.compute.verifier is False else {}),
            **{
                key: getattr(self.products, key)
                for key in ("thumbnail_bytes", "image_bytes")
                if getattr(self.products, key)
            },
            **({"audit": [audit.share, audit.bytes, audit.seed]} if audit.share else {}),
            **({"context": [context.times, context.bytes]} if context.times else {}),
            **({"ask": [ask.posterior, ask.bytes]} if ask.bytes else {}),
            **({"quick_look": quick_look} if quick_look != QuickLooks().bytes else {}),
        }
        return hashlib.sha256(json.dumps(relevant, sort_keys=True).encode()).hexdigest()


def load_mission(path: str | Path) -> Mission:
    """Read and check a mission file.

    Raises MissionError naming the file, the line, the key and the legal range.
    """
    return _mission(Reader.open(Path(path), MissionError), Path(path))


def parse_mission(text: str, path: Path = Path("mission.toml")) -> Mission:
    r"""As `load_mission`, from the text of the file.

    >>> camera = "[instrument.camera]\nbundle = 'hirise-landmarks'\n"
    >>> mission = parse_mission("name = 'm'\n" + camera)
    >>> mission.instruments["camera"].bundle, mission.tiling.scales, mission.link.rate_bps
    ('hirise-landmarks', (1,), 128000.0)
    >>> parse_mission("name = 'm'\n" + camera + "[tiling]\nhop = 0\n")
    Traceback (most recent call last):
    winnow_edge.errors.MissionError: mission.toml:5: `tiling.hop` is 0, legal is 1 to 1024
    """
    return _mission(Reader(path, MissionError, text), path)


def mission_of(values: dict[str, Any], path: Path = Path("mission.toml")) -> Mission:
    """As `parse_mission`, from the plain values of the file: a mission whose keys were changed."""
    return _checked(Reader(path, MissionError), values, path)


def place_of(path: Path, *key: str) -> str:
    """The place of a key of a mission file, "FILE:LINE", or the file where no line is known."""
    try:
        line = Reader.open(path, MissionError).line_of(key)
    except MissionError:
        line = None
    return f"{path}:{line}" if line else str(path)


def _mission(reader: Reader, path: Path) -> Mission:
    return _checked(reader, reader.parse(), path)


def _checked(reader: Reader, values: dict[str, Any], path: Path) -> Mission:
    mission = dataclasses.replace(reader.table(Mission, values), path=path)
    _check_tiling(mission, reader)
    for table, key, least in LEAST_BYTES:
        most = getattr(getattr(mission, table), key)
        if 0 < most < least:
            what = f"`{table}.{key}` is {most}, legal is 0 or {least} to 1000000"
            raise reader.refusal((table, key), what)
    for name, rule in mission.classes.items():
        _check_class(name, rule, reader)
    for name, instrument in mission.instruments.items():
        _check_instrument(name, instrument, reader)
        if instrument.frame:
            _check_frame(name, instrument, mission.tiling.scales, reader)
    return mission


def _check_tiling(mission: Mission, reader: Reader) -> None:
    """Rules between keys of the tiling and of the verdict."""
    tile, hop, scales = mission.tiling.tile, mission.tiling.hop, mission.tiling.scales
    if list(scales) != sorted(set(scales)):
        what = "`tiling.scales` must be whole numbers, ascending, no repeats"
        raise reader.refusal(("tiling", "scales"), what)
    if tile is not None and hop is not None and hop > tile:
        what = f"`tiling.hop` is {hop}, over tiling.tile = {tile}"
        raise reader.refusal(("tiling", "hop"), what, "pixels between tiles would be seen by none")
    if mission.verdict.hard_means[0] > mission.verdict.hard_means[1]:
        what = "`verdict.hard_means` must be two numbers, the lower first"
        raise reader.refusal(("verdict", "hard_means"), what)


def _check_class(name: str, rule: ClassRule, reader: Reader) -> None:
    """Rules between keys of one class."""
    if rule.latitude and (len(rule.latitude) != 2 or rule.latitude[0] >= rule.latitude[1]):
        what = f"`class.{name}.latitude` must be two numbers, the southern first"
        raise reader.refusal(("class", name, "latitude"), what)
    if rule.season and (len(rule.season) != 2 or rule.season[0] == rule.season[1]):
        what = f"`class.{name}.season` must be two numbers that differ"
        raise reader.refusal(("class", name, "season"), what)


def _check_instrument(name: str, instrument: Instrument, reader: Reader) -> None:
    """Rules between keys of one camera."""
    for key in ("stretch_limits", "stretch_percentiles"):
        pair = getattr(instrument, key)
        if pair and (len(pair) != 2 or pair[0] >= pair[1]):
            what = f"`instrument.{name}.{key}` must be two numbers, the lower first"
            raise reader.refusal(("instrument", name, key), what)
    top = 2**instrument.bits - 1
    if instrument.nodata is not None and instrument.nodata > top:
        what = f"`instrument.{name}.nodata` is {instrument.nodata}, legal is 0 to {top}"
        raise reader.refusal(("instrument", name, "nodata"), what)


def _check_frame(
    name: str, instrument: Instrument, scales: tuple[int, ...], reader: Reader
) -> None:
    """Refuse settings that make no sense for pictures that are seen whole."""
    at = ("instrument", name, "frame")
    if scales != (1,):
        what = f"`instrument.{name}.frame` is set and `tiling.scales` is {list(scales)}"
        raise reader.refusal(at, what, "a frame is one tile: leave `tiling.scales` out")
    for key in ("dead_samples", "find_dead_samples", "bright_pixels"):
        if getattr(instrument, key):
            what = f"`instrument.{name}` has both `frame` and `{key}`"
            raise reader.refusal(at, what, "lines of frames are not repaired: leave one out")
