"""What a run came to: figures, contact by contact, and what was missed and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from winnow_edge.products.kinds import NO_CLASS
from winnow_edge.products.worth import utilities
from winnow_edge.store.schema import ProductState
from winnow_ground.simulation.contact import Held
from winnow_ground.simulation.judge import PICTURES, Floats, Judge, missed
from winnow_ground.simulation.loop import Loop
from winnow_ground.simulation.world import Series, World

CURVE_POINTS = 400


@dataclass(frozen=True)
class ByClass:
    """One class: features that are there, with a picture down (`pictured`), of which anything came
    down (`heard`); detections with a picture down, and those of them that are true; value and bytes
    that came down; when the first was heard of, in seconds from the epoch, and when it could have
    been at the earliest (None: never)."""

    there: int
    pictured: int
    heard: int
    shown: int
    true: int
    value: float
    bytes: int
    first_s: float | None
    earliest_s: float | None


@dataclass(frozen=True)
class Bytes:
    """Where all product bytes are in the end. Their sum is what was generated, or the run is
    wrong. Records that were compacted count as the product that they became."""

    generated: int
    delivered: int
    stored: int
    evicted: int
    lost: int

    def check(self) -> None:
        """Raises AssertionError where bytes were lost or invented."""
        there = self.delivered + self.stored + self.evicted + self.lost
        if there != self.generated or min(asdict(self).values()) < 0:
            raise AssertionError(f"bytes are not conserved: {self}")


@dataclass(frozen=True)
class Result:
    """A run of one policy with one seed.

    `value` is what came down, `worth` what all that is there is worth (None: no truth is known, and
    value is by the model's word). `figures` are flat, for tables. `curve` is (octets, value) so far
    as they came down, `missed` counts features without a picture down by class and reason.
    """

    policy: str
    seed: int
    value: float
    worth: float | None
    figures: dict[str, float]
    contacts: tuple[Held, ...]
    classes: dict[str, ByClass]
    missed: dict[str, dict[str, int]]
    bytes: Bytes
    curve: tuple[tuple[float, ...], tuple[float, ...]]
    series: Series
    bound: float | None = None
    """What no choice of products could exceed (oracles alone)."""
    exact: bool | None = None
    """Whether the oracle's choice is the best there is."""

    def as_json(self) -> dict[str, Any]:
        """Everything, as JSON values."""
        return {
            "policy": self.policy,
            "seed": self.seed,
            "value": self.value,
            "worth": self.worth,
            "bound": self.bound,
            "exact": self.exact,
            "figures": self.figures,
            "bytes": asdict(self.bytes),
            "classes": {name: asdict(one) for name, one in self.classes.items()},
            "missed": self.missed,
            "contacts": [asdict(held) for held in self.contacts],
            "curve": {"bytes": self.curve[0], "value": self.curve[1]},
            "series": asdict(self.series),
        }


def result_of(policy: str, world: World, loop: Loop, judge: Judge) -> Result:
    """Count what a run came to. Raises AssertionError where bytes are not conserved."""
    board = loop.board
    place, time, gain, _ = judge.arrivals.joined()
    delivered = np.zeros(board.count, np.bool_)
    delivered[place] = True
    octets = _bytes(loop, delivered)
    octets.check()
    sizes = board.columns["bytes"][place].astype(np.float64)
    worth = judge.features.worth if judge.features.known else None
    classes = _classes(world, loop, judge, place, gain)
    why: dict[str, dict[str, int]] = {}
    if judge.features.known:
        why = missed(
            judge, board, world.observations, world.made, loop.uncomputed_for_power, delivered
        )
    figures = _figures(world, loop, judge, octets)
    budget = sum(held.budget_bytes for held in loop.held)
    whole = worth if worth is not None else _promised(world, loop)
    if worth is not None:
        figures["value_share"] = judge.value / worth if worth else 0.0
    figures["auc"] = area(sizes, gain, budget, whole)
    figures["age_s"] = _age(world, loop, place, time, gain)
    for name, one in classes.items():
        _class_figures(figures, name, one)
    shown = sum(one.shown for one in classes.values())
    if judge.features.known:
        true = sum(one.true for one in classes.values())
        if shown:
            figures["precision"] = true / shown
        pictured = sum(one.pictured for one in classes.values())
        figures["recall"] = pictured / len(judge.features) if len(judge.features) else 0.0
    return Result(
        policy=policy,
        seed=world.seed,
        value=judge.value,
        worth=worth,
        figures=figures,
        contacts=tuple(loop.held),
        classes=classes,
        missed=why,
        bytes=octets,
        curve=_curve(sizes, gain),
        series=loop.series,
    )


def _bytes(loop: Loop, delivered: npt.NDArray[np.bool_]) -> Bytes:
    """Where all product bytes are; what came down counts as such, wherever else it is."""
    board = loop.board
    sizes, state = board.columns["bytes"].astype(np.int64), board.state
    flying = np.zeros(board.count, np.bool_)
    flying[loop.radio.in_flight()] = True
    lost = flying & (state == ProductState.SENT) & ~delivered
    evicted = (state == ProductState.EVICTED) & ~delivered
    replaced = board.compacted & ~delivered  # by a background product, which is counted instead
    stored = ~delivered & ~lost & ~evicted & ~replaced
    return Bytes(
        generated=board.generated_bytes - int(sizes[replaced].sum()),
        delivered=loop.ground.bytes,
        stored=int(sizes[stored].sum()),
        evicted=int(sizes[evicted].sum()),
        lost=int(sizes[lost].sum()),
    )


def _figures(world: World, loop: Loop, judge: Judge, octets: Bytes) -> dict[str, float]:
    battery, held = loop.battery, loop.held
    sent = sum(h.sent_bytes for h in held)
    down = octets.delivered
    capacity = battery.capacity
    return {
        "value": judge.value,
        "bytes_down": float(down),
        "link_bytes": float(sent),
        "budget_bytes": float(sum(h.budget_bytes for h in held)),
        "lacking_bytes": float(sum(h.lacking_bytes for h in held)),
        "density": 1e6 * judge.value / down if down else 0.0,
        "generated_bytes": float(octets.generated),
        "stored_bytes": float(octets.stored),
        "evicted_bytes": float(octets.evicted),
        "lost_bytes": float(octets.lost),
        "repeated_bytes": float(loop.ground.repeated_bytes),
        "contacts": float(len(held)),
        "contacts_missed": float(sum(not h.held for h in held)),
        "packets": float(sum(h.packets for h in held)),
        "packets_lost": float(sum(h.lost_packets for h in held)),
        "tiles": float(sum(len(made.scores) for made in world.made)),
        "tiles_computed": float(loop.tiles_computed),
        "records_compacted": float(np.count_nonzero(loop.board.compacted)),
        "queue_most": float(max(loop.series.queue, default=0)),
        "held_most": float(max(loop.series.held, default=0)),
        "energy_wh": battery.used / 3600,
        "spilled_wh": battery.spilled / 3600,
        "charge_least": battery.least / capacity if capacity else 1.0,
        "off_s": loop.off_s,
        "busy_s": loop.busy_s,
        "celsius_most": loop.heat.most,
        "resets": float(loop.resets),
    }


def _class_figures(figures: dict[str, float], name: str, one: ByClass) -> None:
    figures[f"value.{name}"], figures[f"bytes.{name}"] = one.value, float(one.bytes)
    if one.there:
        figures[f"recall.{name}"] = one.pictured / one.there
    if one.shown:
        figures[f"precision.{name}"] = one.true / one.shown
    if one.first_s is not None:
        figures[f"first_s.{name}"] = one.first_s
    if one.first_s is not None and one.earliest_s is not None:
        figures[f"first_late_s.{name}"] = one.first_s - one.earliest_s


def _classes(
    world: World, loop: Loop, judge: Judge, place: npt.NDArray[np.intp], gain: Floats
) -> dict[str, ByClass]:
    """Everything by the name of its class."""
    board, features = loop.board, judge.features
    columns = board.columns[place]
    names = _names(loop, columns)
    pictures = columns["detection"] & np.isin(columns["kind"], PICTURES)
    keys = columns["swath"].astype(np.int64) << 40 | columns["tile"].astype(np.int64) << 8
    keys |= columns["class_index"]
    which, shown = judge.pairs(place)
    true = np.zeros(len(place), np.bool_)
    true[which] = True
    own = np.array(features.classes, dtype=object)
    wanted = dict.fromkeys((*features.by_class(), *sorted(set(names[pictures].tolist()))))
    result = {}
    for name in wanted:
        mine = own == name if len(own) else np.zeros(0, np.bool_)
        here = pictures & (names == name)
        paying = (names == name) if not features.known else _of(name, own, which, shown, place)
        heard = judge.heard_at[mine]
        first = float(heard.min()) if mine.any() and np.isfinite(heard.min()) else None
        result[name] = ByClass(
            there=int(mine.sum()),
            pictured=int(np.isfinite(judge.pictured_at[mine]).sum()),
            heard=int(np.isfinite(heard).sum()),
            shown=len(np.unique(keys[here])),
            true=len(np.unique(keys[here & true])),
            value=float(gain[paying].sum()),
            bytes=int(columns["bytes"][here].sum(dtype=np.int64)),
            first_s=first,
            earliest_s=_earliest(world, loop.held, name),
        )
    return result


def _of(
    name: str,
    own: npt.NDArray[np.object_],
    which: npt.NDArray[np.intp],
    shown: npt.NDArray[np.intp],
    place: npt.NDArray[np.intp],
) -> npt.NDArray[np.bool_]:
    """Which arrivals show a feature of a class."""
    result = np.zeros(len(place), np.bool_)
    if len(own):
        result[which[own[shown] == name]] = True
    return result


def _names(loop: Loop, columns: npt.NDArray[np.void]) -> npt.NDArray[np.object_]:
    """The class of each product by name, "" where it has none."""
    result = np.full(len(columns), "", dtype=object)
    for number in np.unique(columns["swath"]).tolist():
        classes = loop.board.swaths[number - 1].made.scores.manifest.classes
        table = np.full(NO_CLASS + 1, "", dtype=object)
        table[: len(classes)] = classes
        mine = columns["swath"] == number
        result[mine] = table[columns["class_index"][mine]]
    return result


def _earliest(world: World, contacts: Sequence[Held], name: str) -> float | None:
    """When the ground could have heard of a class at the earliest: at the end of the first contact
    that begins after a swath with a feature of it began, and comes about."""
    begins = [
        seen.start
        for seen, made in zip(world.observations, world.made, strict=True)
        if name in (made.scores.features or ())
    ]
    ends = [
        contact.start + contact.seconds + contact.light_s
        for contact in contacts
        if contact.held and begins and contact.start >= min(begins)
    ]
    return ends[0] if ends else None


def _promised(world: World, loop: Loop) -> float:
    """The value of all products by the model's word."""
    table = loop.board.table(np.arange(loop.board.count))
    worth = utilities(table, world.mission)
    return float(worth[table.columns["detection"]].sum())


def _age(
    world: World, loop: Loop, place: npt.NDArray[np.intp], time: Floats, gain: Floats
) -> float:
    """Mean age of what came down when it did, in seconds since its lines were taken, by value."""
    board, paying = loop.board, gain > 0
    place, time, gain = place[paying], time[paying], gain[paying]
    if not len(place):
        return 0.0
    taken = np.zeros(len(place))
    numbers = board.columns["swath"][place]
    for number in np.unique(numbers).tolist():
        swath, mine = board.swaths[number - 1], numbers == number
        seen, made = world.observations[swath.observation], swath.made
        rows = made.row[board.local[place[mine]]]
        taken[mine] = seen.start + seen.seconds * made.due[rows] / max(made.scores.lines, 1)
    return float(np.average(time - taken, weights=gain))


def area(sizes: Floats, gain: Floats, budget: float, whole: float) -> float:
    """Area under value against bytes, 0 to 1: 1 is all value with the first byte of the budget.

    What more than the budget's bytes brought does not count.
    """
    if budget <= 0 or whole <= 0:
        return 0.0
    ends = np.minimum(np.cumsum(sizes), budget)
    return float((gain * (budget - ends)).sum() / (budget * whole))


def _curve(sizes: Floats, gain: Floats) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Octets and value so far, thinned to what a plot can show."""
    octets = np.concatenate([[0.0], np.cumsum(sizes)])
    value = np.concatenate([[0.0], np.cumsum(gain)])
    at = np.unique(np.linspace(0, len(octets) - 1, CURVE_POINTS).astype(np.intp))
    return tuple(octets[at].tolist()), tuple(value[at].tolist())
