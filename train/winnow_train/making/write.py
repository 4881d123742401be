"""A planned data set on the disk: written aside, looked through for copies, then renamed."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import shutil
from collections import Counter
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
from PIL import Image

from winnow_base.errors import DataError
from winnow_base.files import locked, make_folder
from winnow_base.progress import Progress
from winnow_edge.errors import OutputError
from winnow_edge.files import sync_folder, write_file
from winnow_train.data.hashing import HAMMING, look_alikes, reduced
from winnow_train.datasets import PROVENANCE
from winnow_train.making.pixels import Decoded, Pixels, is_plain
from winnow_train.making.plan import Plan, Planned, refuse_bad
from winnow_train.windows.cut import NODATA_MOST

INDEX, DIGEST = "index.csv", ".plan"
COLUMNS = ("file", "picture", "source", "line", "sample", "lines", "samples", "scale")
MADE_BY = "winnow new data"


@dataclass(frozen=True)
class Made:
    """A tile on the disk, below the data set's folder; `digest` of its pixels."""

    file: str
    tile: Planned
    set: str
    digest: bytes
    small: np.ndarray  # uint8 [32, 32]


def is_ours(out: Path) -> bool:
    """Whether a folder was made by `winnow new data`."""
    try:
        table = json.loads((out / PROVENANCE).read_text(encoding="utf-8"))
        return isinstance(table, dict) and table.get("made_by") == MADE_BY
    except (OSError, ValueError, RecursionError):
        return False


def refuse_occupied(out: Path, *, replace: bool) -> None:
    """Raise OutputError for a place that is taken; with `replace`, for a set that is not ours."""
    if out.is_symlink() or (out.exists() and not (replace and is_ours(out))):
        hint = "give another --out"
        if is_ours(out):
            hint += ", or --yes to replace it"
        raise OutputError("is there already", where=out, hint=hint)


def make_set(
    plan: Plan,
    out: Path,
    said: dict[str, str],
    progress: Progress,
    *,
    drop_duplicates: bool = False,
) -> tuple[list[Made], list[str]]:
    """Make the data set at `out`; returns its tiles and notes. `said` are licence and attribution.

    A killed call leaves OUT.part, from which the same call goes on. Raises DataError for pictures
    that cannot be decoded, copies in two sets or of two classes; OutputError where the disk does
    not take it.
    """
    part = make_folder(out.with_name(f"{out.name}.part"))
    with locked(part):
        if not part.is_dir():
            raise OutputError("another process has made it meanwhile", where=out)
        _begin(part, plan)
        made, notes = _make_tiles(plan, part, progress)
        made, more = _refuse_copies(made, progress, drop=drop_duplicates)
        _refuse_emptied(made, plan)
        kept = {m.file for m in made}
        for path in [p for p in part.glob("*/*/*") if p.relative_to(part).as_posix() not in kept]:
            path.unlink()
        write_file(part / INDEX, _index(made, plan.options.tile))
        provenance = {**said, "made_by": MADE_BY, "source": plan.rule, "seed": plan.options.seed}
        write_file(part / PROVENANCE, json.dumps(provenance, indent=1, ensure_ascii=False) + "\n")
        (part / DIGEST).unlink()
        _put_in_place(part, out)
    return made, [*notes, *more]


def _begin(part: Path, plan: Plan) -> None:
    """Empty the folder aside unless the same plan was begun there."""
    rows = [
        (str(t.picture.path.resolve()), t.picture.path.stat().st_mtime_ns, t.window, t.class_name)
        for t in plan.tiles
    ]
    text = repr((rows, sorted(plan.sets.items()), plan.options))
    digest = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
    note = part / DIGEST
    if note.is_file() and note.read_text(encoding="utf-8", errors="replace") == digest:
        return
    for path in part.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)  # what another process asks the folder with
    write_file(note, digest)


def _make_tiles(plan: Plan, part: Path, progress: Progress) -> tuple[list[Made], list[str]]:
    made: list[Made] = []
    bad: list[DataError] = []
    numbers: Counter[str] = Counter()
    dark = 0
    for tile in plan.tiles:
        make_folder(part / plan.set_of(tile) / plan.folders[tile.class_name])
    with progress.counting("making tiles", len(plan.tiles)) as advance:
        for _, group in groupby(plan.tiles, key=lambda t: t.picture.path):
            tiles = list(group)
            stems = []
            for tile in tiles:
                numbers[tile.source] += 1
                folder = f"{plan.set_of(tile)}/{plan.folders[tile.class_name]}"
                stems.append(f"{folder}/{plan.stems[tile.source]}-{numbers[tile.source]:06d}")
            try:
                found = _of_picture(tiles, stems, part, plan)
                made += found
                dark += len(tiles) - len(found)
            except DataError as error:
                bad.append(error)
            advance(len(tiles))
    if bad and not plan.options.skip_bad:
        refuse_bad(bad, len({t.picture.path for t in plan.tiles}))
    notes = [f"{len(bad)} pictures cannot be decoded: left out"] if bad else []
    if dark:
        notes.append(f"{dark} tiles are mostly nodata (0): left out")
    return made, notes


def _of_picture(tiles: list[Planned], stems: list[str], part: Path, plan: Plan) -> list[Made]:
    """The tiles of one picture, made or, where an earlier call made them, read."""
    path = tiles[0].picture.path
    if tiles[0].window is None and is_plain(path):
        pixels = _pixels(path)
        copy = f"{stems[0]}{'.jpg' if path.suffix.lower() in ('.jpg', '.jpeg') else '.png'}"
        _write(part / copy, path.read_bytes())
        return [_made(copy, tiles[0], plan, pixels)]
    files = [part / f"{stem}.png" for stem in stems]
    decoded = None
    found = []
    try:
        for tile, file in zip(tiles, files, strict=True):
            if file.is_file():
                pixels = _pixels(file)
            else:
                decoded = decoded or Decoded(path, whole=tile.window is None)
                pixels = _part(decoded, tile, plan.options.tile)
                if tile.window is not None and (pixels == 0).mean() > NODATA_MOST:
                    continue
                data = io.BytesIO()
                Image.fromarray(pixels).save(data, "PNG", compress_level=3)
                _write(file, data.getvalue())
            found.append(_made(file.relative_to(part).as_posix(), tile, plan, pixels))
    finally:
        if decoded is not None:
            decoded.close()
    return found


def _part(decoded: Decoded, tile: Planned, side: int) -> Pixels:
    window = tile.window
    if window is None:
        return decoded.whole()
    reach = side * window.scale
    place = window.line * window.scale, window.sample * window.scale
    return decoded.part(*place, reach, reach, window.scale)


def _pixels(path: Path) -> Pixels:
    decoded = Decoded(path)
    try:
        return decoded.whole()
    finally:
        decoded.close()


def _write(path: Path, data: bytes) -> None:
    if not path.is_file():
        write_file(path, data, durable=False)


def _made(file: str, tile: Planned, plan: Plan, pixels: Pixels) -> Made:
    digest = hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).digest()
    small = np.asarray(reduced(Image.fromarray(pixels)), np.uint8)
    return Made(file, tile, plan.set_of(tile), digest, small)


def _refuse_copies(
    made: list[Made], progress: Progress, *, drop: bool
) -> tuple[list[Made], list[str]]:
    """The tiles, without those of val that look like one of train where `drop` says so.

    Raises DataError for a picture of two classes, and for copies in two sets.
    """
    first: dict[bytes, Made] = {}
    for one in made:
        other = first.setdefault(one.digest, one)
        if other.tile.class_name != one.tile.class_name:
            raise DataError(
                f"{one.tile.picture.name!r} ({one.tile.class_name}) and "
                f"{other.tile.picture.name!r} ({other.tile.class_name}) are one picture of two "
                "classes",
                where=one.tile.picture.path,
                hint="remove it from one of the classes",
            )
    train, val = ([m for m in made if m.set == s] for s in ("train", "val"))
    digests = {m.digest: m for m in train}
    copies: dict[str, tuple[Made, Made]] = {
        m.file: (digests[m.digest], m) for m in val if m.digest in digests
    }
    with progress.counting("looking for copies", len(val)) as advance:
        small = [np.array([m.small for m in some], np.float32) for some in (val, train)]
        if val and train:
            for i, j, _, _ in look_alikes(small[0], small[1], HAMMING, lambda: advance(1)):
                copies.setdefault(val[i].file, (train[j], val[i]))
    if not copies:
        return made, []
    here, there = next(iter(copies.values()))
    words = (
        f"{len(copies)} pictures of val look like one of train, e.g. {there.tile.picture.name!r} "
        f"(source {there.tile.source!r}) like {here.tile.picture.name!r} (source "
        f"{here.tile.source!r})"
    )
    if not drop:
        raise DataError(
            words,
            hint="figures on val would flatter: give both one source, or leave val's copies out "
            "with --drop-duplicates",
        )
    return [m for m in made if m.file not in copies], [f"{words}: left out of val"]


def _refuse_emptied(made: list[Made], plan: Plan) -> None:
    train = {m.tile.class_name for m in made if m.set == "train"}
    lacking = sorted(set(plan.folders) - train)
    if lacking or not any(m.set == "val" for m in made):
        raise DataError(
            f"nothing is left of {', '.join(lacking) if lacking else 'val'}",
            hint="add pictures, or mend those that were left out",
        )


def _index(made: list[Made], side: int) -> str:
    """Where every tile comes from; lines, samples and their origin at full resolution."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for one in made:
        place: tuple[object, ...] = ("",) * 5
        if (window := one.tile.window) is not None:
            s = window.scale
            place = (window.line * s, window.sample * s, side * s, side * s, s)
        writer.writerow((one.file, one.tile.picture.name, one.tile.source, *place))
    return text.getvalue()


def _put_in_place(part: Path, out: Path) -> None:
    try:
        old = None
        if out.exists():
            old = out.with_name(f"{out.name}.old")
            if old.exists():
                shutil.rmtree(old)
            out.rename(old)
        part.rename(out)
        sync_folder(out.parent)
        if old is not None:
            shutil.rmtree(old)
    except OSError as error:
        raise OutputError(
            f"cannot be put in place: {error.strerror or error}", where=out
        ) from error
