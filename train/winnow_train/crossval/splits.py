"""Which sources are held out together: folds of HiRISE observations, or of blocks of rover sols.

Sols next to each other show the same rocks and the same workspace, so a block of consecutive sols
goes into one fold as a whole. A campaign lasts longer than a block, so its other blocks teach the
net that judges the block. Eras, equal spans of all sols, have such neighbours at their ends alone.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from winnow_base.errors import DataError
from winnow_train.class_files import class_id, text_of
from winnow_train.folds import assign
from winnow_train.tasks import Task
from winnow_train.windows.pictures import Picture

#: A block of sols begins with a sol that has pictures and is so wide, unless told otherwise.
SOLS_PER_BLOCK = 10
NEVER = 0
"""The fold of sources that train every net and are never judged."""
_SOL = re.compile(r"^sol (\d+)$")


@dataclass(frozen=True)
class Folds:
    """`fold_of` source: 1 to `count`, or NEVER; `group_of` source: what is held out as a whole."""

    count: int
    fold_of: dict[str, int]
    group_of: dict[str, str]

    @property
    def numbers(self) -> range:
        """The folds that are judged."""
        return range(1, self.count + 1)

    def held(self, fold: int) -> frozenset[str]:
        """The sources that the nets of a fold never see."""
        return frozenset(s for s, f in self.fold_of.items() if f == fold)

    def as_csv(self) -> str:
        """Rows `source,group,fold`, as `read_folds` takes them."""
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(("source", "group", "fold"))
        for source in sorted(self.fold_of, key=lambda s: (self.fold_of[s], s)):
            rows.writerow((source, self.group_of[source], self.fold_of[source]))
        return text.getvalue()


def make_folds(
    tasks: Sequence[Task],
    count: int,
    seed: int,
    sols: int = SOLS_PER_BLOCK,
    pictures: Sequence[Picture] = (),
    never: Collection[str] = (),
) -> Folds:
    """Folds over the sources of all tasks and of the `pictures` that windows are cut from, each
    class in every fold where that can be; a folder of pictures counts as a class of its own.

    Sources of `never`, and those held out with them, are in no fold. Raises DataError for fewer
    sources, or blocks of sols, than folds.
    """
    sources = sorted(
        {t.source for task in tasks for t in task.tiles.tiles} | {p.source for p in pictures}
    )
    group_of = groups(sources, sols)
    held = counts(tasks, group_of)
    kept = {group_of[source] for source in sources if source in never}
    for picture in pictures:
        shown = {f"{f.class_name} in pictures" for f in picture.features}
        home = held.setdefault(group_of[picture.source], Counter())
        home.update({f"pictures of {picture.path.parent.name}", *shown})
    held = {group: of for group, of in held.items() if group not in kept}
    if len(held) < count:
        blocks = "blocks of sols" if sources and _SOL.match(sources[0]) else "sources"
        raise DataError(
            f"{len(held)} {blocks}"
            + (" that no teacher learned from" if kept else "")
            + f" are too few for {count} folds",
            hint="make fewer folds" + (", or narrower blocks" if blocks != "sources" else ""),
        )
    homes = assign(held, count, seed, strict=False)
    fold_of = {s: NEVER if group_of[s] in kept else homes[group_of[s]] + 1 for s in sources}
    return Folds(count, fold_of, group_of)


def make_eras(
    tasks: Sequence[Task], count: int, sols: int = SOLS_PER_BLOCK, never: Collection[str] = ()
) -> Folds:
    """Folds that are eras: the rover's sols, from first to last, cut into `count` equal spans.

    Blocks of sols are the groups within an era. Blocks with sources of `never` are in no fold.
    Raises DataError for sources that are no sols, and for an era without a block that is judged.
    """
    sources = sorted({t.source for task in tasks for t in task.tiles.tiles}, key=_by_sol)
    if strange := [s for s in sources if _SOL.match(s) is None]:
        raise DataError(f"{strange[0]} is no sol, so it is of no era", hint="leave --eras out")
    first, last = _by_sol(sources[0])[0], _by_sol(sources[-1])[0]
    era_of = {s: (_by_sol(s)[0] - first) * count // (last - first + 1) + 1 for s in sources}
    group_of: dict[str, str] = {}
    for era in range(1, count + 1):
        group_of |= groups([s for s in sources if era_of[s] == era], sols)
    kept = {group_of[s] for s in sources if s in never}
    fold_of = {s: NEVER if group_of[s] in kept else era for s, era in era_of.items()}
    if empty := [era for era in range(1, count + 1) if era not in fold_of.values()]:
        raise DataError(f"no tile to judge is in era {_listed(empty)}", hint="make fewer folds")
    return Folds(count, fold_of, group_of)


def groups(sources: Iterable[str], sols: int) -> dict[str, str]:
    """What every source is held out with: itself, or the block of `sols` consecutive sols.

    >>> groups(["sol 0003", "sol 0012", "sol 0013"], 10)
    {'sol 0003': 'sols 3-12', 'sol 0012': 'sols 3-12', 'sol 0013': 'sols 13-22'}
    """
    found, first = {}, None
    for source in sorted(sources, key=_by_sol):
        match = _SOL.match(source)
        if match is None:
            found[source] = source
            continue
        sol = int(match[1])
        if first is None or sol >= first + sols:
            first = sol
        found[source] = f"sols {first}-{first + sols - 1}"
    return found


def _by_sol(source: str) -> tuple[int, str]:
    match = _SOL.match(source)
    return (int(match[1]) if match else -1, source)


def counts(tasks: Sequence[Task], group_of: Mapping[str, str]) -> dict[str, Counter[str]]:
    """Tiles of every class in every group; the classes of the tasks are told apart."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for task in tasks:
        for tile, row in zip(task.tiles.tiles, task.targets() > 0, strict=True):
            names = (task.classes[k] for k in np.flatnonzero(row))
            found[group_of[tile.source]].update(f"{task.tiles.dataset} {name}" for name in names)
    return dict(found)


def notices(task: Task, folds: Folds) -> list[str]:
    """What weakens the figures: classes that a fold cannot judge, or its net never learned."""
    found = []
    truth = task.targets() > 0
    fold = np.array([folds.fold_of[t.source] for t in task.tiles.tiles])
    for k, name in enumerate(task.classes):
        seen = set(fold[truth[:, k]].tolist())
        if lacking := [j for j in folds.numbers if j not in seen]:
            found.append(f"no tile of {name} in fold {_listed(lacking)}")
        if len(seen) == 1 and (only := seen.pop()) != NEVER:
            found.append(f"{name} is in fold {only} alone: its nets never saw one")
    return found


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(str(n) for n in numbers)


def read_folds(path: Path, tasks: Sequence[Task]) -> Folds:
    """Folds as `Folds.as_csv` writes them; fold 0 holds sources that are never judged.

    Raises DataError for a source or block in two folds, a source of the data that is not named, a
    number that is none, and folds that are not 1, 2, ... up to the last.
    """
    try:
        rows = list(csv.DictReader(io.StringIO(text_of(path))))
    except csv.Error as error:
        raise DataError(f"cannot be read: {error}", where=path) from error
    fold_of: dict[str, int] = {}
    group_of: dict[str, str] = {}
    home: dict[str, int] = {}
    for number, row in enumerate(rows, start=2):
        where = f"{path}:{number}"
        source, text = (row.get("source") or "").strip(), (row.get("fold") or "").strip()
        fold = class_id(text)
        if not source or fold is None:
            raise DataError("names no source and fold", where=where, hint="source,group,fold")
        group = (row.get("group") or source).strip()
        if fold_of.setdefault(source, fold) != fold:
            raise DataError(f"{source} is in folds {fold_of[source]} and {fold}", where=where)
        if home.setdefault(group, fold) != fold:
            raise DataError(f"{group} is in folds {home[group]} and {fold}", where=where)
        group_of[source] = group
    _refuse_gaps(fold_of, tasks, path)
    return Folds(max(fold_of.values()), fold_of, group_of)


def _refuse_gaps(fold_of: Mapping[str, int], tasks: Sequence[Task], path: Path) -> None:
    for task in tasks:
        for source in task.tiles.sources:
            if source not in fold_of:
                raise DataError(f"{source} of {task.tiles.dataset} has no fold", where=path)
    held = {t.source for task in tasks for t in task.tiles.tiles}
    judged = {fold for source, fold in fold_of.items() if source in held} - {NEVER}
    if not judged or judged != set(range(1, max(fold_of.values()) + 1)):
        named = _listed(sorted(judged)) or "none"
        raise DataError(
            f"the folds that hold tiles are {named}", where=path, hint="number them 1, 2, ..."
        )
    if len(judged) == 1 and NEVER not in fold_of.values():
        raise DataError("one fold holds every source, so no net learns", where=path)
