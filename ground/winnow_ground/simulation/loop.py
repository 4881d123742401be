"""The event loop: a mission on virtual time.

Rows of tiles come as their lines are taken, wait for the computer, and are stored when they are
computed; contacts begin and end; eclipses, resets, an empty battery and a hot board come between.
Of two events at the same time, what is computed is stored before a contact begins.
"""

from __future__ import annotations

import enum
import heapq
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from winnow_ground.contacts import Contact
from winnow_ground.simulation.boards import Computer
from winnow_ground.simulation.contact import Held, Radio, Sent, Transmitter, by_kind
from winnow_ground.simulation.ground_side import Ground
from winnow_ground.simulation.onboard import OnBoard, Swath
from winnow_ground.simulation.power import Battery, Temperature
from winnow_ground.simulation.world import Series, World

SAMPLES = 400
"""Times at which storage, charge and queue are looked at, beside the contacts."""
DAY = 86_400.0


class Event(enum.IntEnum):
    """Events, in the order in which those of the same time happen."""

    COMPUTED = 0
    SWATH = 1
    ROW = 2
    SWATH_END = 3
    SUN = 4
    BOOTED = 5
    TX_END = 6
    CONTACT_END = 7
    CONTACT = 8
    RESET = 9
    POWER = 10
    HEAT = 11
    SAMPLE = 12


@dataclass
class _Job:
    """A row of tiles on its way through the computer: `left` seconds at full speed."""

    observation: int
    row: int
    left: float


class Loop:
    """Plays one policy over a world; `computer` None: no net, rows cost nothing."""

    def __init__(
        self,
        world: World,
        board: OnBoard,
        radio: Radio,
        ground: Ground,
        computer: Computer,
        delivered: Callable[[list[int], Held], None],
    ) -> None:
        self.world, self.board, self.radio, self.ground = world, board, radio, ground
        self._computer, self._delivered = computer, delivered
        tables = world.mission.simulation
        self.battery, self.heat = Battery(tables.power), Temperature(tables.heat)
        self._power = tables.power
        self.now, self.resets, self.off_s, self.busy_s = 0.0, 0, 0.0, 0.0
        self.tiles_computed = 0
        self.held: list[Held] = []
        self.series = Series()
        self.first_place = np.cumsum([0, *(len(made.scores.features or ()) for made in world.made)])
        self._events: list[tuple[float, int, int, Any]] = []
        self._count = 0
        self._queue: deque[_Job] = deque()
        self._queued_tiles = 0
        self._job: _Job | None = None
        self._since = 0.0
        self._token = self._checks = 0
        self._cameras, self._sunny = 0, world.sun.shines(0.0)
        self._powered = not self.battery.there or self.battery.charge > self.battery.floor
        self._booting = 0
        self._tx = Transmitter(self._power.uj_per_bit)
        self._swaths: dict[int, Swath] = {}
        self.uncomputed_for_power: set[int] = set()

    # --- the loop

    def run(self) -> None:
        """Until the last contact has ended and the last swath is taken."""
        self._plan()
        while self._events:
            when, kind, _, what = heapq.heappop(self._events)
            if when > self.world.until:
                break
            self._advance(when)
            self._handle(Event(kind), what)
        self._advance(self.world.until)
        self._sample()
        if not self._powered:
            self.uncomputed_for_power = {job.observation for job in self._queue}

    def _plan(self) -> None:
        world = self.world
        for n, seen in enumerate(world.observations):
            self._push(seen.start, Event.SWATH, n)
        for n, contact in enumerate(world.contacts, start=1):
            self._push(contact.start, Event.CONTACT, (n, contact))
        for start, end in world.sun.eclipses:
            self._push(start, Event.SUN, False)
            self._push(end, Event.SUN, True)
        failures = world.mission.simulation.failures
        if failures.resets_per_day:
            rng, at = np.random.default_rng([world.seed, 2**20]), 0.0
            while (at := at + rng.exponential(DAY / failures.resets_per_day)) < world.until:
                self._push(at, Event.RESET)
        rng = np.random.default_rng([world.seed, 2**21])
        self._missed = rng.random(len(world.contacts)) < failures.missed
        for at in np.linspace(0.0, world.until, SAMPLES).tolist():
            self._push(at, Event.SAMPLE)
        self._check()

    def _push(self, when: float, kind: Event, what: Any = None) -> None:
        self._count += 1
        heapq.heappush(self._events, (when, kind, self._count, what))

    def _handle(self, kind: Event, what: Any) -> None:
        if kind is Event.COMPUTED:
            if what == self._token:
                self._computed()
        elif kind is Event.ROW:
            self._row(*what)
        elif kind is Event.SAMPLE:
            self._sample()
        elif kind is Event.CONTACT:
            self._contact(*what)
        elif kind is Event.CONTACT_END:
            self._contact_end(what)
        elif kind in (Event.POWER, Event.HEAT):
            if what == self._checks:
                self._turn(kind)
        else:
            self._change(kind, what)

    def _change(self, kind: Event, what: Any) -> None:
        """Events that change loads or supply."""
        if kind is Event.SUN:
            self._sunny = what
        elif kind is Event.SWATH:
            self._cameras += 1
            seen, made = self.world.observations[what], self.world.made[what]
            self._push(seen.end, Event.SWATH_END)
            if len(made.due):
                self._push(self._due(what, 0), Event.ROW, (what, 0))
        elif kind is Event.SWATH_END:
            self._cameras -= 1
        elif kind is Event.TX_END:
            self._tx.ended(what)
        elif kind is Event.RESET:
            self._reset()
        elif kind is Event.BOOTED:
            self._booting -= 1
            self._start()
        self._check()

    # --- time, power, heat

    @property
    def running(self) -> bool:
        """Whether the board computes and sends."""
        return self._powered and not self._booting

    def _loads(self) -> tuple[float, float]:
        """Watts of everything, and of the board."""
        board = self._computer.idle_w if self._powered else 0.0
        if self._job is not None and self._powered:
            board += self._computer.active_w * self._speed
        camera = self._power.camera_w if self._cameras and self._powered else 0.0
        return self._power.bus_w + camera + board + self._tx.watts, board

    @property
    def _speed(self) -> float:
        return self.world.mission.simulation.heat.slower if self.heat.throttled else 1.0

    def _advance(self, to: float) -> None:
        """Let time pass: nothing changes before `to`."""
        seconds = to - self.now
        if seconds > 0:
            load, board = self._loads()
            self.battery.advance(seconds, load, self._power.solar_w if self._sunny else 0.0)
            self.heat.advance(seconds, board)
            if not self.running:
                self.off_s += seconds
            if self._job is not None and self.running:
                self._job.left -= seconds * self._speed
                self.busy_s += seconds
            self.now = to

    def _check(self) -> None:
        """Look when the battery or the board's temperature crosses a limit next."""
        if not (self.battery.there or self.heat.there):
            return
        self._checks += 1
        load, board = self._loads()
        solar = self._power.solar_w if self._sunny else 0.0
        level = self.battery.floor if self._powered else self.battery.again
        for kind, seconds in (
            (Event.POWER, self.battery.reaches(level, load, solar)),
            (Event.HEAT, self.heat.turns(board)),
        ):
            # A charge that is there already changes nothing more.
            if math.isfinite(seconds) and (kind is Event.HEAT or self._crosses(load, solar)):
                self._push(self.now + seconds, kind, self._checks)

    def _crosses(self, load: float, solar: float) -> bool:
        """Whether the charge moves towards what switches the board next."""
        falls = self.battery.flow(load, solar) < 0
        return falls if self._powered else not falls

    def _turn(self, kind: Event) -> None:
        if kind is Event.POWER:
            self._stop()
            self._powered = not self._powered
            if not self._powered:
                self._tx.break_off(self.now)
        else:
            self._stop()
            self.heat.throttled = not self.heat.throttled
        self._start()
        self._check()

    def _reset(self) -> None:
        """Radiation: the board starts again, and what it was at is computed anew."""
        self.resets += 1
        self._tx.break_off(self.now)
        if self._job is not None:
            job = self._job
            self._stop()
            job.left = self._work(job.observation, job.row)
        self._booting += 1
        self._push(self.now + self.world.mission.simulation.board.boot_s, Event.BOOTED)

    # --- computing

    def _due(self, observation: int, row: int) -> float:
        seen, made = self.world.observations[observation], self.world.made[observation]
        return seen.start + seen.seconds * float(made.due[row]) / max(made.scores.lines, 1)

    def _work(self, observation: int, row: int) -> float:
        works, made = self._computer, self.world.made[observation]
        return works.seconds * int(made.shown[row]) + works.second_s * int(made.verified[row])

    def _row(self, observation: int, row: int) -> None:
        """A row of tiles is there; and the next of its swath will be."""
        made = self.world.made[observation]
        if row + 1 < len(made.due):
            self._push(self._due(observation, row + 1), Event.ROW, (observation, row + 1))
        self._queue.append(_Job(observation, row, self._work(observation, row)))
        self._queued_tiles += int(made.shown[row])
        if self._job is None:
            self._start()

    def _start(self) -> None:
        """Go on with what waits, where the board runs."""
        if not self.running:
            return
        if self._job is None and self._queue:
            self._job = self._queue.popleft()
        if self._job is not None:
            self._token += 1
            self._push(
                self.now + max(self._job.left, 0.0) / self._speed, Event.COMPUTED, self._token
            )
            if self._job.left > 0:
                self._check()

    def _stop(self) -> None:
        """What is computed waits; it goes on from there."""
        self._token += 1

    def _computed(self) -> None:
        job = self._job
        assert job is not None
        made = self.world.made[job.observation]
        self._job = None
        self._queued_tiles -= int(made.shown[job.row])
        self.tiles_computed += int(made.shown[job.row])
        swath = self._swaths.get(job.observation)
        if swath is None:
            first = int(self.first_place[job.observation])
            swath = self.board.begin(made, job.observation, first, self.now)
            self._swaths[job.observation] = swath
        self.board.commit(swath, (job.row, job.row + 1), self.now)
        if job.row + 1 == len(made.due):
            self.board.complete(swath, self.now)
        if self._queue:
            self._start()
        else:
            self._check()

    # --- contacts

    def _contact(self, number: int, contact: Contact) -> None:
        if self._booting and self._powered and self.now + 1 < contact.end:
            self._push(self.now + 1, Event.CONTACT, (number, contact))  # its rest may be used
            return
        comes = not self._missed[number - 1] and self.radio.comes_about(number, contact)
        held = Held(
            number=number,
            start=contact.start,
            seconds=contact.seconds,
            station=contact.receiver,
            budget_bytes=contact.budget_bytes,
            light_s=contact.light_seconds,
            held=bool(comes and self.running),
            queue_tiles=self._queued_tiles,
        )
        self.held.append(held)
        if held.held:
            held.acknowledged, held.returned = self.radio.hear(self.ground, self.now)
        budget = self._usable(contact) if self.running else 0
        held.lacking_bytes = contact.budget_bytes - budget
        if self.running:
            loads, returned = self.radio.send(budget)
            held.returned += returned
            sent = Sent(held, contact, loads)
            self._push(self._tx.begin(sent, self.now), Event.TX_END, sent)
            self._push(max(contact.end, self.now), Event.CONTACT_END, sent)
            self._check()

    def _usable(self, contact: Contact) -> int:
        """The bytes that time and energy leave of a contact."""
        late = max(0.0, self.now - contact.start)
        share = max(0.0, 1.0 - late / contact.seconds)
        if self.battery.there and self._power.uj_per_bit:
            load = self._loads()[0] + self._tx.power(contact)
            solar = self._power.solar_w if self._sunny else 0.0
            if self.battery.flow(load, solar) < 0:
                lasts = self.battery.reaches(self.battery.floor, load, solar)
                share = min(share, lasts / contact.seconds)
        return min(contact.budget_bytes, math.floor(contact.budget_bytes * share + 1e-6))

    def _contact_end(self, sent: Sent) -> None:
        held, contact = sent.held, sent.contact
        whole = self.radio.arrived(sent.loads, held, self._tx.over(sent))
        held.whole_containers = len(whole)
        there = contact.end + contact.light_seconds
        new = self.ground.receive(
            held.number,
            there,
            ((load.number, [(p.id, p.bytes) for p in load.products]) for load in whole),
        )
        if held.lost_packets < held.packets:
            self.radio.mail.append((there + contact.light_seconds, held.number))
        columns = self.board.columns[np.array(new, np.intp) - 1]
        held.products = by_kind(columns["kind"])
        held.bytes = int(columns["bytes"].sum(dtype=np.int64))
        self._delivered(new, held)
        self._sample()

    def _sample(self) -> None:
        series = self.series
        series.time.append(self.now)
        series.held.append(self.board.held)
        series.charge.append(self.battery.charge)
        series.queue.append(self._queued_tiles)
        series.celsius.append(self.heat.now)
