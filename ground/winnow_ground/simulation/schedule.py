"""What is seen when: swaths of files, rendered strips and replays, at the times of a schedule.

A schedule file is CSV with the columns `start` (UTC, or seconds from the beginning of the contact
plan) and, as needed, `swath` (a file's name, `scene-SEED` or `replay`), `seconds` and `instrument`.
"""

from __future__ import annotations

import csv
import datetime as dt
import io
import math
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from winnow_base.errors import DataError
from winnow_base.files import make_folder, read_text
from winnow_base.progress import Step
from winnow_edge.mission import Mission, place_of
from winnow_edge.simulation_tables import Replay
from winnow_edge.tables import shortened
from winnow_ground.scene.files import write_scene
from winnow_ground.scene.layout import render_scene
from winnow_ground.simulation.fly import Flyer
from winnow_ground.simulation.observation import Observation
from winnow_ground.simulation.replay import Labelled, labelled_of, lay_out
from winnow_ground.simulation.scores import Scores
from winnow_ground.truth import load_truth, truth_beside

_COLUMNS = ("start", "swath", "seconds", "instrument")
_LATEST = 1e12
REPLAY = "replay"
"""What a replay is called in a schedule."""


@dataclass(frozen=True)
class Sight:
    """What a schedule says of one swath; "" and None leave it open."""

    start: float | None
    swath: str = ""
    seconds: float | None = None
    instrument: str = ""
    where: str = ""


@dataclass(frozen=True, eq=False)
class Sources:
    """Everything that can be seen: scores of files and rendered strips by name, and the labelled
    tiles that replays are drawn from (None: there is no replay)."""

    kept: dict[str, Scores]
    labelled: Labelled | None = None

    @property
    def digests(self) -> dict[str, str]:
        """What stands for each source, by name."""
        digests = {name: scores.digest for name, scores in self.kept.items()}
        replay = {} if self.labelled is None else {REPLAY: self.labelled.digest}
        return digests | replay

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the sources, in turn."""
        return (*self.kept, *([REPLAY] if self.labelled is not None else ()))

    def get(self, name: str, number: int, sight: _Draw) -> tuple[str, Scores]:
        """Name and scores of the observation `number` of a source. Raises DataError."""
        if name == REPLAY and self.labelled is not None:
            seed = sight.seed * 1_000_003 + number
            own = f"{REPLAY}-{number}"
            return own, lay_out(self.labelled, sight.settings, seed, own, sight.where)
        if name not in self.kept:
            raise DataError(
                f"there is no swath {shortened(name, 80)!r}",
                where=sight.where,
                hint=f"there are: {', '.join(self.names[:8])}",
            )
        return (name if number == 0 else f"{name}#{number}"), self.kept[name]


@dataclass(frozen=True)
class _Draw:
    """How a replay is drawn, and where to look for what is wrong."""

    settings: Replay
    seed: int
    where: str


def has_generators(mission: Mission) -> bool:
    """Whether swaths come from elsewhere than files."""
    return bool(mission.simulation.scenes.count or mission.simulation.replay.tiles)


@dataclass(frozen=True, eq=False)
class Outlook:
    """What a mission can see, and when: `sights` are the rows of its schedule file, `until` is when
    its last contact ends."""

    mission: Mission
    sources: Sources
    sights: tuple[Sight, ...]
    until: float

    def seen(self, seed: int) -> list[Observation]:
        """What is seen with a seed, by start. Raises DataError."""
        return arranged(self.mission, self.sources, self.sights, self.until, seed)


def outlook(
    mission: Mission,
    files: Sequence[tuple[Path, str]],
    *,
    until: float,
    epoch: dt.datetime | None = None,
    cache: Path | None = None,
    progress: Step = lambda what, done, total: None,
) -> Outlook:
    """What [simulation] can see.

    `files` are swaths and their names; `until` is when the last contact ends, seconds from the
    plan's `epoch`. `cache` keeps rendered strips, mosaics and scores. Raises DataError for a
    schedule or tiles that cannot be used, and what the net raises.
    """
    sights = tuple(sights_of(mission, epoch))
    sources = sources_of(mission, files, cache=cache, progress=progress)
    return Outlook(mission, sources, sights, until)


def sources_of(
    mission: Mission,
    files: Sequence[tuple[Path, str]],
    *,
    cache: Path | None,
    progress: Step,
) -> Sources:
    """Scores of files, rendered strips and labelled tiles. Raises DataError where there are none,
    and what the net raises."""
    if not files and not has_generators(mission):
        raise DataError(
            "names no swath",
            where=mission.path,
            hint='add swaths = ["*.png"] under [simulation], [simulation.scenes], '
            "[simulation.replay], or give --swath FILE",
        )
    kept: dict[str, Scores] = {}
    with ExitStack() as stack:
        folder = cache
        if folder is None and mission.simulation.scenes.count:
            scratch = tempfile.TemporaryDirectory(prefix="winnow-scenes-")
            folder = Path(stack.enter_context(scratch))
        scenes = [] if folder is None else _rendered(mission, folder, progress)
        beside: dict[Path, Path | None] = {
            path: truth_beside(path) for path, _ in [*files, *scenes]
        }
        if not mission.simulation.scenes.truth:
            beside |= {path: None for path, _ in scenes}
        truths = {path: load_truth(t) for path, t in beside.items() if t and t.is_file()}
        # Value is counted against truth only where all of it is known.
        whole = len(truths) == len(beside)
        flyer = stack.enter_context(Flyer(mission, cache))
        for n, (path, name) in enumerate([*files, *scenes]):
            progress("scoring", n, len(beside))
            kept[name] = flyer.scores(path, name, truths[path] if whole else None)
    if mission.simulation.replay.tiles is None:
        return Sources(kept)
    return Sources(kept, labelled_of(mission, cache, progress))


def _rendered(mission: Mission, folder: Path, progress: Step) -> list[tuple[Path, str]]:
    """The strips of [simulation.scenes] as files; those that are there already are kept."""
    settings, found = mission.simulation.scenes, []
    if settings.count:
        make_folder(folder)
    for n in range(settings.count):
        number = settings.seed + n
        name = f"scene-{number}-{settings.lines}x{settings.samples}"
        path, truth = folder / f"{name}.png", folder / f"{name}.truth.json"
        if not (path.is_file() and truth.is_file()):
            progress("rendering", n, settings.count)
            strip = render_scene(lines=settings.lines, samples=settings.samples, seed=number)
            write_scene(strip, path, truth)
        found.append((path, f"{settings.names[n % len(settings.names)]}-{number}"))
    return found


def arranged(
    mission: Mission, sources: Sources, plan: Sequence[Sight], until: float, seed: int
) -> list[Observation]:
    """The observations of a plan (empty: as [simulation.schedule] says), until the last contact
    ends; what the plan leaves open is taken in turn, or drawn."""
    schedule = mission.simulation.schedule
    plan = plan or _regular(mission, sources, until)
    share = place_of(mission.path, "simulation", "replay", "share")
    rng = np.random.default_rng([mission.simulation.seed, seed, 7])
    names, taken = sources.names, dict.fromkeys(sources.names, 0)
    found: list[Observation] = []
    free = schedule.first_s
    for number, sight in enumerate(plan):
        turn = number if schedule.order == "turn" else int(rng.integers(len(names)))
        source = sight.swath or names[turn % len(names)]
        draw = _Draw(mission.simulation.replay, seed, sight.where or share)
        name, scores = sources.get(source, taken.get(source, 0), draw)
        taken[source] = taken.get(source, 0) + 1
        asked = sight.instrument or None
        if asked is None and source == REPLAY:
            asked = mission.simulation.replay.instrument or next(iter(mission.instruments))
        instrument, camera = mission.instrument_for(name, asked)
        seconds = sight.seconds if sight.seconds is not None else schedule.seconds
        if seconds is None:
            seconds = scores.lines * (camera.line_time_us or 0.0) / 1e6
        start = free if sight.start is None else sight.start
        found.append(Observation(name, start, seconds, scores, instrument))
        free = start + seconds
    return sorted(found, key=lambda one: one.start)


def _regular(mission: Mission, sources: Sources, until: float) -> list[Sight]:
    """The plan of `every_s` and `count`, or every source once, one after the other."""
    schedule, replay = mission.simulation.schedule, mission.simulation.replay
    if not schedule.every_s:
        once = len(sources.kept) + (replay.swaths if sources.labelled is not None else 0)
        if schedule.count:
            return [Sight(None)] * schedule.count
        kept = [Sight(None, name) for name in sources.kept]
        return kept + [Sight(None, REPLAY)] * (once - len(kept))
    count = schedule.count
    if not count:
        count = max(1, math.ceil((until - schedule.first_s) / schedule.every_s))
    if count > 1_000_000:
        raise DataError(
            f"the schedule has {count:,} swaths, legal is up to 1,000,000",
            where=place_of(mission.path, "simulation", "schedule", "every_s"),
        )
    return [Sight(schedule.first_s + n * schedule.every_s) for n in range(count)]


def sights_of(mission: Mission, epoch: dt.datetime | None) -> list[Sight]:
    """The rows of the schedule file; none where there is no file."""
    if mission.simulation.schedule.file is None:
        return []
    path = mission.path.parent / mission.simulation.schedule.file
    text = read_text(path, DataError)
    lines = [(n, line) for n, line in enumerate(text.splitlines(), start=1)]
    lines = [(n, line) for n, line in lines if line.strip() and not line.startswith("#")]
    reader = csv.reader(io.StringIO("\n".join(line for _, line in lines)))
    rows = [[cell.strip() for cell in row] for row in reader]
    if not rows or "start" not in rows[0] or len(set(rows[0])) != len(rows[0]):
        hint = f"its first line names its columns: {', '.join(_COLUMNS)}"
        raise DataError("is no schedule: it has no column `start`", where=path, hint=hint)
    for name in rows[0]:
        if name not in _COLUMNS:
            said = f"{shortened(name, 60)!r} is no column of a schedule"
            raise DataError(said, where=path, hint=f"columns: {', '.join(_COLUMNS)}")
    if len(rows) == 1:
        raise DataError("names no swath", where=path, hint="add a line for each")
    return [
        _sight(
            dict(zip(rows[0], row, strict=False)), len(row) == len(rows[0]), epoch, f"{path}:{n}"
        )
        for row, (n, _) in zip(rows[1:], lines[1:], strict=False)
    ]


def _sight(row: dict[str, str], whole: bool, epoch: dt.datetime | None, where: str) -> Sight:
    if not whole:
        raise DataError("has not as many cells as there are columns", where=where)
    seconds = _number(row["seconds"], "seconds", where) if row.get("seconds") else None
    return Sight(
        _start(row["start"], epoch, where),
        row.get("swath", ""),
        seconds,
        row.get("instrument", ""),
        where,
    )


def _start(text: str, epoch: dt.datetime | None, where: str) -> float:
    if "T" not in text:
        return _number(text, "start", where)
    try:
        when = dt.datetime.fromisoformat(text)
    except ValueError as error:
        said = f"`start` is {shortened(text, 60)!r}, no date and time"
        raise DataError(said, where=where) from error
    if epoch is None:
        raise DataError(
            "`start` is a date, and the contact plan has none",
            where=where,
            hint="write seconds from the beginning of the plan, or dates in the plan too",
        )
    when = when if when.tzinfo else when.replace(tzinfo=dt.UTC)
    return (when - epoch).total_seconds()


def _number(text: str, name: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= _LATEST:
        said = f"`{name}` is {shortened(text, 60)!r}, legal is 0 to {_LATEST:g} s"
        raise DataError(said, where=where)
    return value
