"""A mission's simulation as a whole: swaths, contacts, seeds, and every policy on the same luck."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from winnow_base.errors import DataError, GateError, PlanError
from winnow_base.progress import Step
from winnow_edge.downlink.container import CONTAINER, ITEM
from winnow_edge.mission import Mission
from winnow_edge.products.encode import HEAD
from winnow_ground.contacts import Contact, ContactPlan, Downlinks, load_plan
from winnow_ground.simulation.boards import computer, measured
from winnow_ground.simulation.curves import Curve, curves
from winnow_ground.simulation.observation import Observation
from winnow_ground.simulation.policies import WITH_TRUTH, checked, flown
from winnow_ground.simulation.power import Sun
from winnow_ground.simulation.result import Result
from winnow_ground.simulation.run import Prepared, simulate
from winnow_ground.simulation.schedule import Outlook, has_generators, outlook
from winnow_ground.simulation.stats import mean_of

CACHE = "scores"
"""Folder of an output folder that keeps scores."""


@dataclass
class Options:
    """What the command line says instead of the mission file; None and () leave it as it is."""

    swaths: Sequence[str] = ()
    plan: str | Path | None = None
    node: int | None = None
    contacts: int | None = None
    loss: float | None = None
    seed: int | None = None
    seeds: int | None = None
    policies: Sequence[str] = ()
    out: Path | None = None
    progress: Step = field(default=lambda what, done, total: None)


@dataclass(frozen=True)
class Campaign:
    """Every policy with every seed: `results[policy]` by rising seed. `observations` are those of
    the first seed, `curves` of all that they leave on board; `notes` are said to whoever asked."""

    mission: Mission
    plan: ContactPlan
    downlinks: Downlinks
    contacts: tuple[Contact, ...]
    observations: tuple[Observation, ...]
    results: dict[str, tuple[Result, ...]]
    curves: tuple[Curve, ...]
    notes: tuple[str, ...]
    seed: int

    @property
    def flown(self) -> tuple[Result, ...]:
        """The runs of the policy that the mission flies."""
        return self.results[flown(self.mission)]

    @property
    def worth(self) -> float | None:
        """The value of all that is there, a mean over seeds (None: no truth is known)."""
        found = [run.worth for run in self.flown if run.worth is not None]
        return mean_of(found).mean if found else None

    @property
    def truth(self) -> bool:
        """Whether value is counted against truth."""
        return self.worth is not None

    def as_json(self) -> dict[str, Any]:
        """Everything that was found, as JSON values."""
        return {
            "mission": self.mission.name,
            "plan": str(self.plan.path),
            "node": self.downlinks.node,
            "epoch": self.plan.epoch.isoformat() if self.plan.epoch else None,
            "flown": flown(self.mission),
            "seed": self.seed,
            "seeds": len(self.flown),
            "loss": self.mission.link.loss,
            "value": "true" if self.truth else "expected",
            "worth": self.worth,
            "notes": list(self.notes),
            "observations": [
                {"name": o.name, "start": o.start, "seconds": o.seconds, "tiles": len(o.scores)}
                for o in self.observations
            ],
            "policies": {
                name: [run.as_json() for run in runs] for name, runs in self.results.items()
            },
        }


def play(mission: Mission, options: Options | None = None) -> Campaign:
    """Play the mission's [simulation].

    Raises PlanError for the contact plan, DataError for swaths and policies, GateError for a
    mission that can never send, and what the net raises.
    """
    options = options or Options()
    # All input is looked at before anything long begins.
    settings = mission.simulation
    loss = mission.link.loss if options.loss is None else options.loss
    mission = measured(replace(mission, link=replace(mission.link, loss=loss)))
    asked = checked(tuple(options.policies) or settings.policies, mission.path)
    plan = load_plan(plan_path(mission, options))
    links = plan.downlinks(options.node if options.node is not None else settings.node)
    most = settings.contacts if options.contacts is None else options.contacts
    contacts = links.contacts[: most or None]
    until = contacts[-1].end if contacts else 0.0
    view = outlook(
        mission,
        named_swaths(mission, options.swaths),
        until=until,
        epoch=plan.epoch,
        cache=None if options.out is None else options.out / CACHE,
        progress=options.progress,
    )
    first = settings.seed if options.seed is None else options.seed
    seeds = range(first, first + (settings.seeds if options.seeds is None else options.seeds))
    seen = view.seen(first)
    _refuse_silent(mission, contacts, seen)
    notes = [*links.notes, *_notes(mission, seen, contacts, plan)]
    known = all(one.scores.features is not None for one in seen)
    if not known and not options.policies:
        left = [name for name in asked if name in WITH_TRUTH]
        asked = tuple(name for name in asked if name not in WITH_TRUTH)
        if left:
            notes.append(f"no truth beside every swath: {', '.join(left)} cannot be played")
    policies = tuple(dict.fromkeys((flown(mission), *asked)))
    cache = Prepared()
    results = _results(
        view, seen, contacts, policies, seeds, plan.eclipses, cache, options.progress
    )
    _refuse_unsent(mission, results)
    return Campaign(
        mission=mission,
        plan=plan,
        downlinks=links,
        contacts=contacts,
        observations=tuple(seen),
        results=results,
        curves=curves(mission, seen, policies, seed=first, cache=cache),
        notes=tuple(notes),
        seed=first,
    )


def _results(
    view: Outlook,
    seen: Sequence[Observation],
    contacts: Sequence[Contact],
    policies: Sequence[str],
    seeds: range,
    eclipses: Sequence[tuple[float, float]] | None,
    cache: Prepared,
    progress: Step,
) -> dict[str, tuple[Result, ...]]:
    """Every policy with every seed; `seen` is what the first sees, decided in `cache`."""
    runs: dict[str, list[Result]] = {policy: [] for policy in policies}
    for k, seed in enumerate(seeds):
        # Replays of another seed are other swaths: what was decided of them is of no more use.
        prepared = cache if not k or view.sources.labelled is None else Prepared()
        these = view.seen(seed) if k else seen
        for n, policy in enumerate(policies):
            progress("contacts", k * len(policies) + n, len(policies) * len(seeds))
            run = simulate(
                view.mission, these, contacts, seed=seed, policy=policy, eclipses=eclipses,
                cache=prepared,
            )  # fmt: skip
            runs[policy].append(run)
    return {policy: tuple(some) for policy, some in runs.items()}


def named_swaths(mission: Mission, given: Sequence[str] = ()) -> list[tuple[Path, str]]:
    """The swaths of files and their names; none where the mission renders or replays its own.

    Raises DataError for a name or pattern that matches no file.
    """
    if not given and not mission.simulation.swaths and has_generators(mission):
        return []
    names = _names(swath_paths(mission, given))
    return list(names.items())


def plan_path(mission: Mission, options: Options) -> Path:
    """The contact plan that is asked for. Raises PlanError where there is none."""
    if options.plan is not None:
        return Path(options.plan)
    if mission.simulation.plan is None:
        raise PlanError(
            "names no contact plan",
            where=mission.path,
            hint='add plan = "FILE" under [simulation], or give --plan FILE',
        )
    return mission.path.parent / mission.simulation.plan


def swath_paths(mission: Mission, given: Sequence[str] = ()) -> list[Path]:
    """The swaths of `given` (from here) or of [simulation] (from the mission file), each once.

    Raises DataError for a name or pattern that matches no file.
    """
    base = Path() if given else mission.path.parent
    patterns = given or mission.simulation.swaths
    if not patterns:
        raise DataError(
            "names no swath",
            where=mission.path,
            hint='add swaths = ["*.png"] under [simulation], or give --swath FILE',
        )
    paths: dict[Path, None] = {}
    for pattern in patterns:
        if "**" in Path(pattern).parts:
            raise DataError(
                f"{pattern!r} reaches into folders of folders, which may never end",
                where=mission.path if not given else base.resolve(),
                hint="name each folder: a/*.png, b/*.png",
            )
        found = sorted(glob.glob(str(base / pattern)))  # noqa: PTH207 absolute too
        files = [Path(f) for f in found if Path(f).is_file()]
        if not files:
            raise DataError(
                f"no swath matches {pattern!r}",
                where=mission.path if not given else base.resolve(),
                hint="check the path; it is taken from the mission file's folder"
                if not given
                else "check the path",
            )
        paths.update(dict.fromkeys(files))
    return list(paths)


def _names(paths: Sequence[Path]) -> dict[Path, str]:
    """A name for each swath: its file's, or with folders where two files share it."""
    names = {path: path.name for path in paths}
    for path in paths:
        if sum(p.name == path.name for p in paths) > 1:
            names[path] = "-".join(path.parts[-2:])
    return names


def _refuse_silent(
    mission: Mission, contacts: Sequence[Contact], seen: Sequence[Observation]
) -> None:
    """Raises GateError for a mission that can never send, whatever it does."""
    least = CONTAINER.size + ITEM.size + HEAD.size
    first = min((one.start for one in seen), default=0.0)
    after = [contact for contact in contacts if contact.end > first]
    if not contacts:
        why = "it has no contact"
    elif not after:
        why = f"its last contact ends {first - contacts[-1].end:,.0f} s before its first swath"
    elif max(contact.budget_bytes for contact in after) < least:
        most = max(contact.budget_bytes for contact in after)
        why = f"its longest contact holds {most} bytes, and a record takes {least}"
    else:
        return
    raise GateError(
        f"this mission can never send: {why}",
        where=mission.path,
        hint="look at the contact plan and at when swaths are taken",
    )


def _refuse_unsent(mission: Mission, results: dict[str, tuple[Result, ...]]) -> None:
    """Raises GateError where nothing was sent in any run."""
    runs = [run for some in results.values() for run in some]
    if any(run.figures["link_bytes"] for run in runs):
        return
    off = max(run.figures["off_s"] for run in runs)
    why = "nothing was there to be sent in any contact"
    if off:
        why = f"the board was off in every contact ({off / 3600:,.1f} h without power)"
    raise GateError(
        f"this mission can never send: {why}",
        where=mission.path,
        hint="look at [simulation.power]" if off else "look at when contacts and swaths begin",
    )


def _stands_alone(seen: Observation, mission: Mission) -> bool:
    """Whether a second stage or a context would want surroundings that tiles have not."""
    second = seen.scores.manifest.verifier is not None and mission.compute.verifier is not False
    return seen.scores.around is None and bool(second or mission.context.times)


def _notes(
    mission: Mission, seen: Sequence[Observation], contacts: Sequence[Contact], plan: ContactPlan
) -> list[str]:
    """What is strange about a mission, though it can be played."""
    power, notes = mission.simulation.power, list[str]()
    if any(_stands_alone(one, mission) for one in seen):
        notes.append(
            "replayed tiles have no surroundings: there is neither a second stage nor a context"
        )
    until = max([one.end for one in seen] + [c.end for c in contacts])
    always = power.bus_w + computer(mission.simulation.board).idle_w
    if power.battery_wh:
        sun = power.solar_w * Sun.of(power, until, plan.eclipses).share(until)
        if sun <= always:
            notes.append(
                f"the battery never fills: the panel gives {sun:.2f} W on average, bus and idle "
                f"board take {always:.2f} W"
            )
        if not power.depth_of_discharge:
            notes.append("a depth of discharge of 0 leaves nothing of the battery to be used")
    return notes
