"""The mission file: what is flown, as frozen dataclasses read from TOML.

One file drives `winnow-edge run`, `winnow-edge downlink` and `winnow simulate`. Unknown keys and
values out of range are refused with the key, the legal range and the line they stand on.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
import tomllib
import types
import typing
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from winnow_edge.errors import MissionError

POLICIES = ("fifo", "confidence", "utility-per-byte", "diversity")
RUNTIMES = ("litert", "tflite", "edgetpu", "auto", "fake")


def _number(default: Any, low: float, high: float, **more: Any) -> Any:
    """A dataclass field for a number in [low, high]; `default` ... means that it is required."""
    metadata = {"low": low, "high": high, **more}
    if default is ...:
        return field(metadata=metadata)
    return field(default=default, metadata=metadata)


def _choice(default: Any, *choices: Any) -> Any:
    return field(default=default, metadata={"choices": choices})


@dataclass(frozen=True, slots=True)
class Instrument:
    """One camera: the shape of its lines and the bundle that reads them.

    `samples` is the width of a line in pixels (None: whatever the swath has), `bits` per sample,
    `line_time_us` microseconds per line, `nodata` the sample value that carries no image (None:
    every sample does), `match` a glob on the swath's file name that picks this instrument.
    `byte_order` is that of raw 16-bit samples, which are stretched to 8 bits between the two
    `stretch_limits` or, without them, the two `stretch_percentiles` of the first 256 lines.
    `dead_samples` are detector elements that do not work, `find_dead_samples` looks for such in
    those too (64 are needed), and pixels more than `bright_pixels` above each of their eight
    neighbours are readout errors (0: none are); all are repaired (`sources.repair`). A pipe or
    socket that is silent for `stall_s` seconds has ended (None: it is waited for). The swaths of a
    `frame` camera are pictures of 8 bits that the net sees whole, resized to its input
    (`sources.frame`).
    """

    bundle: str
    samples: int | None = _number(None, 1, 1_000_000)
    bits: int = _choice(8, 8, 16)
    line_time_us: float | None = _number(None, 0.1, 1e9)
    nodata: int | None = _number(None, 0, 65_535)
    match: str = "*"
    byte_order: str = _choice("little", "little", "big")
    stretch_limits: tuple[int, ...] = _number((), 0, 65_535)
    stretch_percentiles: tuple[float, ...] = _number((0.5, 99.5), 0.0, 100.0)
    dead_samples: tuple[int, ...] = _number((), 0, 999_999)
    find_dead_samples: bool = False
    bright_pixels: int = _number(0, 0, 65_535)
    stall_s: float | None = _number(None, 0.1, 1e6)
    frame: bool = False


@dataclass(frozen=True, slots=True)
class Tiling:
    """How the swath is cut.

    A tile has `tile` x `tile` pixels (None: the bundle's input) of the swath box-binned by each of
    `scales`, so at scale s it covers tile * s lines and samples; `hop` (None: half a tile) is the
    step between tiles in binned pixels. Detections of one class whose boxes share more than
    `merge` of the smaller box are one feature (1: never merged). With `proposals` "grid" every
    tile is shown to the net, with "salient" the most salient `salient_share` of each row of tiles.
    """

    tile: int | None = _number(None, 8, 1024)
    hop: int | None = _number(None, 1, 1024)
    scales: tuple[int, ...] = _number((1,), 1, 64)
    merge: float = _number(0.3, 0.0, 1.0)
    proposals: str = _choice("grid", "grid", "salient")
    salient_share: float = _number(0.25, 0.01, 1.0)


@dataclass(frozen=True, slots=True)
class Screening:
    """Tiles that are not shown to the net.

    Those whose share of nodata pixels is above `nodata_max` or, with `nodata_centre`, whose middle
    square (a sixteenth of the tile wide) is all nodata; whose saturated pixels (white) are above
    `saturated_max`, or whose contrast (standard deviation, pixels 0..255) is below `contrast_min`.
    """

    nodata_max: float = _number(0.5, 0.0, 1.0)
    nodata_centre: bool = False
    saturated_max: float = _number(1.0, 0.0, 1.0)
    contrast_min: float = _number(0.0, 0.0, 128.0)


@dataclass(frozen=True, slots=True)
class ClassRule:
    """What one class is worth: `threshold` on the posterior (None: the bundle's), `utility`."""

    threshold: float | None = _number(None, 0.0, 1.0)
    utility: float = _number(1.0, 0.0, 1e6)


@dataclass(frozen=True, slots=True)
class Verdict:
    """When a whole swath is good, hard to identify or bad, by the class `class_name` ("": no
    verdict is given).

    A tile shows the class from the `posterior` up. With more than `good_share` of the tiles
    showing it, a swath is good if the mean posterior is above `good_mean`; with fewer, but at least
    `few_tiles`, if it is above `few_mean`. Else it is hard to identify if the mean is within
    `hard_means`, or above `hard_mean` with more than `hard_tiles` tiles showing it; else bad.
    """

    class_name: str = ""
    posterior: float = _number(0.6, 0.0, 1.0)
    good_mean: float = _number(0.6, 0.0, 1.0)
    good_share: float = _number(0.5, 0.0, 1.0)
    few_mean: float = _number(0.2, 0.0, 1.0)
    few_tiles: int = _number(1, 0, 1_000_000_000)
    hard_means: tuple[float, ...] = _number((0.4, 0.6), 0.0, 1.0)
    hard_mean: float = _number(0.01, 0.0, 1.0)
    hard_tiles: int = _number(1, 0, 1_000_000_000)


@dataclass(frozen=True, slots=True)
class Ranking:
    """In which order products go down; `diversity` is the weight of novelty in MMR ranking."""

    policy: str = _choice("utility-per-byte", *POLICIES)
    diversity: float = _number(0.3, 0.0, 1.0)


@dataclass(frozen=True, slots=True)
class Products:
    """How products are encoded and what share of a detection's utility each kind delivers.

    `background_utility` is what the record of a tile without a detection is worth.
    """

    thumbnail_pixels: int = _number(32, 8, 256)
    thumbnail_quality: int = _number(60, 1, 95)
    image_quality: int = _number(90, 1, 95)
    record_share: float = _number(0.05, 0.0, 1.0)
    thumbnail_share: float = _number(0.25, 0.0, 1.0)
    image_share: float = _number(0.70, 0.0, 1.0)
    background_utility: float = _number(0.0005, 0.0, 1e6)


@dataclass(frozen=True, slots=True)
class Store:
    """`quota_mb` megabytes (1e6 bytes) of product data; over it the least useful goes first."""

    quota_mb: float = _number(256.0, 0.01, 1e6)


@dataclass(frozen=True, slots=True)
class Link:
    """The radio: `rate_bps` bits per second, CCSDS packets of at most `packet_bytes` octets in all,
    containers of at most `container_bytes`; `ack_wait` contacts may pass before a container that
    was not acknowledged goes back into the ranking; `loss` is the packet loss of simulations.
    """

    rate_bps: float = _number(128_000.0, 1.0, 1e12)
    packet_bytes: int = _number(1024, 64, 65_542)
    container_bytes: int = _number(16_384, 256, 1_048_576)
    apid: int = _number(0x57, 0, 2046)
    ack_wait: int = _number(1, 0, 1000)
    loss: float = _number(0.0, 0.0, 1.0)


@dataclass(frozen=True, slots=True)
class Compute:
    """The compute budget: the runtime asked for and single-thread interpreters (0: one a core).

    A tile whose best posterior is under `borderline` is shown to the net a second time, mirrored
    (None: as the bundle says; 0: no tile is). It is for bundles with a softmax head: those with a
    sigmoid head, which have no best posterior, show every tile once.
    """

    runtime: str = _choice("auto", *RUNTIMES)
    threads: int = _number(0, 0, 256)
    borderline: float | None = _number(None, 0.0, 1.0)


@dataclass(frozen=True, slots=True)
class Simulation:
    """What `winnow simulate` plays: `swaths` (paths or globs, relative to the mission file),
    `plan` an ION or HDTN contact plan, `node` the spacecraft's number in it (None: the only node
    that sends), `contacts` the most contacts to play (0: all), `seed` of the packet loss.
    """

    swaths: tuple[str, ...] = ()
    plan: str | None = None
    node: int | None = _number(None, 0, 2**63)
    contacts: int = _number(0, 0, 100_000)
    seed: int = _number(0, 0, 2**32 - 1)


@dataclass(frozen=True, slots=True)
class Mission:
    """A whole mission file; `path` is where it was read from."""

    name: str
    instruments: dict[str, Instrument]
    tiling: Tiling = Tiling()
    screening: Screening = Screening()
    classes: dict[str, ClassRule] = field(default_factory=dict)
    verdict: Verdict = Verdict()
    ranking: Ranking = Ranking()
    products: Products = Products()
    store: Store = Store()
    link: Link = Link()
    compute: Compute = Compute()
    simulation: Simulation = Simulation()
    path: Path = Path("mission.toml")

    def instrument_for(self, swath_name: str, asked: str | None = None) -> tuple[str, Instrument]:
        """The instrument named `asked`, else the first whose `match` fits the swath's file name.

        Raises MissionError if there is none.
        """
        if asked is not None:
            if asked not in self.instruments:
                known = ", ".join(self.instruments)
                raise MissionError(
                    f"no instrument {asked!r}", where=self.path, hint=f"it has: {known}"
                )
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
        """SHA-256 (hex) of everything that changes a swath's records and products.

        Ranking, link, store and utilities may change between two passes; these may not.
        """
        camera = dataclasses.asdict(self.instruments[instrument])
        del camera["stall_s"]
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
            "products": [
                self.products.thumbnail_pixels,
                self.products.thumbnail_quality,
                self.products.image_quality,
            ],
        }
        return hashlib.sha256(json.dumps(relevant, sort_keys=True).encode()).hexdigest()


def load_mission(path: str | Path) -> Mission:
    """Read and check a mission file.

    Raises MissionError naming the file, the line, the key and the legal range.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise MissionError(error.strerror or "cannot be read", where=path) from error
    except UnicodeDecodeError as error:
        raise MissionError("is not UTF-8 text", where=path) from error
    return parse_mission(text, path)


def parse_mission(text: str, path: Path = Path("mission.toml")) -> Mission:
    """As `load_mission`, from the text of the file."""
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise MissionError(f"is not TOML: {error}", where=path) from error
    except (ValueError, RecursionError) as error:  # numbers of thousands of digits, endless nesting
        raise MissionError(f"is not TOML that can be read: {error}", where=path) from None
    return _Reader(text, path).mission(raw)


def place_of(path: Path, *key: str) -> str:
    """Where a key of a mission file stands, "FILE:LINE", or the file where no line is to be had."""
    try:
        line = _Reader(path.read_text(encoding="utf-8"), path).line_of(key)
    except (OSError, UnicodeDecodeError):
        line = None
    return f"{path}:{line}" if line else str(path)


class _Reader:
    """Turns parsed TOML into dataclasses, driven by their fields, and knows where keys stand."""

    def __init__(self, text: str, path: Path) -> None:
        self.lines = text.splitlines()
        self.path = path

    def mission(self, raw: dict[str, Any]) -> Mission:
        hints = typing.get_type_hints(Mission)
        known = ["name", "instrument", "class", *(k for k in hints if k in _SECTIONS)]
        for key in raw:
            if key not in known:
                raise self.error((key,), f"unknown key {key!r}", f"known here: {', '.join(known)}")
        name = raw.get("name")
        if not isinstance(name, str) or not name:
            raise self.error(("name",), "`name` must be a text that is not empty")
        instruments = self.tables(raw, "instrument", Instrument)
        if not instruments:
            raise self.error((), "no [instrument.NAME] table", "name at least one camera")
        sections = {
            key: self.table(raw[key], (key,), hints[key]) for key in raw if key in _SECTIONS
        }
        mission = Mission(
            name=name,
            instruments=instruments,
            classes=self.tables(raw, "class", ClassRule),
            path=self.path,
            **sections,
        )
        self.check(mission)
        return mission

    def check_frame(self, name: str, instrument: Instrument, scales: tuple[int, ...]) -> None:
        """What makes no sense for pictures that are seen whole."""
        where = ("instrument", name, "frame")
        if scales != (1,):
            raise self.error(
                where,
                f"`instrument.{name}.frame` is set and `tiling.scales` is {list(scales)}",
                "a frame is one tile: leave `tiling.scales` out",
            )
        for key in ("dead_samples", "find_dead_samples", "bright_pixels"):
            if getattr(instrument, key):
                raise self.error(
                    where,
                    f"`instrument.{name}` has both `frame` and `{key}`",
                    "lines of frames are not repaired: leave one out",
                )

    def check(self, mission: Mission) -> None:
        """Rules between keys."""
        tiling = mission.tiling
        scales = tiling.scales
        if not scales or list(scales) != sorted(set(scales)):
            raise self.error(
                ("tiling", "scales"), "`tiling.scales` must be whole numbers, ascending, no repeats"
            )
        if tiling.tile is not None and tiling.hop is not None and tiling.hop > tiling.tile:
            raise self.error(
                ("tiling", "hop"),
                f"`tiling.hop` is {tiling.hop}, over tiling.tile = {tiling.tile}",
                "pixels between tiles would be seen by none",
            )
        means = mission.verdict.hard_means
        if len(means) != 2 or means[0] > means[1]:
            raise self.error(
                ("verdict", "hard_means"),
                "`verdict.hard_means` must be two numbers, the lower first",
            )
        for name, instrument in mission.instruments.items():
            for key in ("stretch_limits", "stretch_percentiles"):
                pair = getattr(instrument, key)
                if pair and (len(pair) != 2 or pair[0] >= pair[1]):
                    raise self.error(
                        ("instrument", name, key),
                        f"`instrument.{name}.{key}` must be two numbers, the lower first",
                    )
            if not instrument.stretch_percentiles:
                raise self.error(
                    ("instrument", name, "stretch_percentiles"),
                    f"`instrument.{name}.stretch_percentiles` must be two numbers",
                )
            if instrument.frame:
                self.check_frame(name, instrument, scales)
            top = 2**instrument.bits - 1
            if instrument.nodata is not None and instrument.nodata > top:
                raise self.error(
                    ("instrument", name, "nodata"),
                    f"`instrument.{name}.nodata` is {instrument.nodata}, legal is 0 to {top}",
                )

    def tables(self, raw: dict[str, Any], key: str, cls: type[Any]) -> dict[str, Any]:
        """A table of tables, e.g. [class.crater]."""
        value = raw.get(key, {})
        if not isinstance(value, dict) or not all(isinstance(v, dict) for v in value.values()):
            raise self.error((key,), f"`{key}` must be tables: [{key}.NAME]")
        return {name: self.table(entry, (key, name), cls) for name, entry in value.items()}

    def table(self, raw: Any, at: tuple[str, ...], cls: type[Any]) -> Any:
        if not isinstance(raw, dict):
            raise self.error(at, f"`{'.'.join(at)}` must be a table: [{'.'.join(at)}]")
        fields = {f.name: f for f in dataclasses.fields(cls)}
        hints = typing.get_type_hints(cls)
        for key in raw:
            if key not in fields:
                raise self.error(
                    (*at, key),
                    f"unknown key `{'.'.join((*at, key))}`",
                    f"known here: {', '.join(fields)}",
                )
        for key, f in fields.items():
            if (
                f.default is dataclasses.MISSING
                and f.default_factory is dataclasses.MISSING
                and key not in raw
            ):
                raise self.error(at, f"`{'.'.join((*at, key))}` is missing")
        values = {
            key: self.value(value, (*at, key), hints[key], fields[key])
            for key, value in raw.items()
        }
        return cls(**values)

    def value(self, value: Any, at: tuple[str, ...], hint: Any, f: dataclasses.Field[Any]) -> Any:
        name = ".".join(at)
        if typing.get_origin(hint) is tuple:
            item = typing.get_args(hint)[0]
            if not isinstance(value, list):
                raise self.error(at, f"`{name}` must be a list")
            return tuple(self.value(v, at, item, f) for v in value)
        if typing.get_origin(hint) is types.UnionType:
            hint = next(a for a in typing.get_args(hint) if a is not type(None))
        if hint is float and type(value) is int:
            value = float(value) if abs(value) < 1 << 1000 else math.inf
        if type(value) is not hint:
            wanted = {
                int: "a whole number",
                float: "a number",
                str: "a text",
                bool: "true or false",
            }[hint]
            raise self.error(at, f"`{name}` is {value!r}, must be {wanted}")
        choices = f.metadata.get("choices")
        if choices is not None and value not in choices:
            legal = ", ".join(str(c) for c in choices)
            raise self.error(at, f"`{name}` is {value!r}, legal is one of: {legal}")
        low, high = f.metadata.get("low"), f.metadata.get("high")
        # Written so that NaN, which compares false with everything, is refused too.
        if low is not None and high is not None and not low <= value <= high:
            raise self.error(at, f"`{name}` is {value!r}, legal is {low:g} to {high:g}")
        return value

    def error(self, at: tuple[str, ...], what: str, hint: str | None = None) -> MissionError:
        line = self.line_of(at)
        where = f"{self.path}:{line}" if line else str(self.path)
        return MissionError(what, where=where, hint=hint)

    def line_of(self, at: tuple[str, ...]) -> int | None:
        """The line (from 1) of a key, else of its table; None where neither is written out."""
        table: tuple[str, ...] = ()
        best: int | None = None
        for number, line in enumerate(self.lines, start=1):
            if header := re.match(r"\s*\[+\s*([^\[\]]+?)\s*\]+", line):
                table = _split_key(header[1])
                if table == at[: len(table)] and len(table) >= len(at) - 1:
                    best = best or number
            elif key := re.match(r"\s*((?:[\w.-]|\"[^\"]*\"|'[^']*')+)\s*=", line):
                full = table + _split_key(key[1])
                if full == at:
                    return number
        return best


def _split_key(key: str) -> tuple[str, ...]:
    parts = re.findall(r"\"([^\"]*)\"|'([^']*)'|([\w-]+)", key)
    return tuple(next(p for p in part if p) for part in parts if any(part))


_SECTIONS = frozenset(
    {
        "tiling",
        "screening",
        "verdict",
        "ranking",
        "products",
        "store",
        "link",
        "compute",
        "simulation",
    }
)
