"""The first stage as it was cross-validated: the nets of the folds, each with what it held out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from winnow_base.errors import DataError, ModelError
from winnow_edge.bundle import SUFFIX, Bundle, open_bundle
from winnow_edge.mission import Mission
from winnow_train.crossval.cross import FOLDS
from winnow_train.crossval.outcome import load
from winnow_train.crossval.splits import NEVER, Folds, read_folds
from winnow_train.recipe import Input
from winnow_train.swaths.evaluate import highest_thresholds, mission_for
from winnow_train.tasks import Task


@dataclass(frozen=True)
class FirstStage:
    """`bundles` by fold, from 1, and the `missions` that fly them without a second stage;
    `thresholds` are the highest of any of them."""

    bundles: dict[int, Bundle]
    missions: dict[int, Mission]
    folds: Folds
    classes: tuple[str, ...]
    side: int
    thresholds: dict[str, float]

    def fold_of(self, source: str) -> int:
        """The fold that holds out a source; NEVER where none does."""
        return self.folds.fold_of.get(source, NEVER)

    @property
    def nodata(self) -> int:
        """The value beyond a swath."""
        camera = next(iter(next(iter(self.missions.values())).instruments.values()))
        return camera.nodata or 0

    @property
    def scales(self) -> tuple[int, ...]:
        """The scales that all of them fly at."""
        return tuple(next(iter(self.missions.values())).tiling.scales)


def read_first(
    cv: Path,
    paths: Sequence[Path],
    task: Task,
    size: Input,
    scales: Sequence[int],
    mission: Path | None = None,
) -> FirstStage:
    """The bundles of the folds of a finished `winnow cv`: at `paths`, else `cv`/fold-N.winnow.

    Raises DataError where the cross-validation is not finished or is of other data, and for a
    bundle that is missing; ModelError for bundles of no fold of it, of other classes than `task`
    has, and with another input than `size`. They fly as the file `mission` says, else at `scales`.
    """
    load(cv)
    folds = read_folds(cv / FOLDS, [task])
    bundles: dict[int, Bundle] = {}
    for path in paths or [cv / f"fold-{n}{SUFFIX}" for n in folds.numbers]:
        if not path.is_file():
            run = path.with_suffix("")
            raise DataError(
                "no such bundle of a fold",
                where=path,
                hint=f"make it with winnow convert {run} --data DATA --out {path}, or name those "
                "of all folds",
            )
        bundle = open_bundle(path)
        _refuse_unfit(bundle, task, size)
        fold = _fold_of(bundle, folds, cv)
        if fold in bundles:
            raise ModelError(f"is of fold {fold}, as {bundles[fold].path.name} is", where=path)
        bundles[fold] = bundle
    for fold in folds.numbers:
        if fold not in bundles:
            hint = f"give those of all {folds.count} folds, or none"
            raise DataError(f"fold {fold} has no bundle", where=cv, hint=hint)
    bundles = dict(sorted(bundles.items()))
    missions = {fold: _alone(mission_for(b, mission, scales)) for fold, b in bundles.items()}
    thresholds = highest_thresholds(list(missions.values()), list(bundles.values()))
    return FirstStage(bundles, missions, folds, task.classes, size.height, thresholds)


def _alone(mission: Mission) -> Mission:
    """The mission without a second stage. Raises DataError where its camera changes pixels."""
    for name, camera in mission.instruments.items():
        changed = (camera.find_dead_samples, camera.dead_samples, camera.bright_pixels)
        if camera.frame or camera.bits > 8 or any(changed):
            raise DataError(
                f"instrument {name} repairs, stretches or resizes what it reads",
                where=mission.name,
                hint="pairs are cut from the pictures as they are: give a mission that flies them "
                "as 8-bit swaths",
            )
    return replace(mission, compute=replace(mission.compute, verifier=False))


def _fold_of(bundle: Bundle, folds: Folds, cv: Path) -> int:
    held = frozenset(bundle.manifest.training.get("held") or ())
    for fold in folds.numbers:
        if held and held == folds.held(fold):
            return fold
    raise ModelError(
        f"is the net of no fold of {cv}",
        where=bundle.path,
        hint="give the bundles of that cross-validation's run folders fold-1, fold-2, ...",
    )


def _refuse_unfit(bundle: Bundle, task: Task, size: Input) -> None:
    manifest = bundle.manifest
    if manifest.classes != task.classes:
        raise ModelError(
            f"has other classes than the verifier: {', '.join(manifest.classes)}, not "
            f"{', '.join(task.classes)}",
            where=bundle.path,
            hint="give the verifier's recipe the [data] table of its first stage's",
        )
    own = manifest.input
    if (own.height, own.width, own.channels) != (size.height, size.width, size.channels):
        raise ModelError(
            f"has tiles of {own.height} x {own.width} x {own.channels}, the verifier's recipe "
            f"{size.height} x {size.width} x {size.channels}",
            where=bundle.path,
            hint="set its [input] to that of its first stage",
        )
    if manifest.head != "softmax":
        raise ModelError("needs a softmax head for a second stage", where=bundle.path)
