"""The demo: one strip through the whole path, told in ten lines.

Everything lands in one folder that `winnow report` understands: `swath.png`, `truth.json`,
`mission.toml`, `store/`, `contact.packets`, `received/`, and under `fifo/` the same contact first
in, first out. The folder is made anew each time; one that holds anything else is left alone.
"""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

import winnow_ground
from winnow_base.errors import DataError, GroundError
from winnow_base.files import make_folder
from winnow_edge.downlink.contact import downlink
from winnow_edge.errors import OutputError
from winnow_edge.files import write_file
from winnow_edge.mission import Mission, load_mission
from winnow_edge.products.kinds import Kind
from winnow_edge.products.table import ProductTable
from winnow_edge.products.worth import utilities
from winnow_edge.store.store import Store
from winnow_ground.receive import receive
from winnow_ground.received import Received
from winnow_ground.truth import Feature, TruthOfTable, detection_boxes, load_truth, worth_of_all

MISSION = "mars-browse.toml"
MARKER = ".winnow-demo"
"""Says that a folder is the demo's own and may be made anew."""
POLICIES = ("mission", "fifo")
SMALLEST_PACKETS = 4
"""No contact is shorter: a strip with nothing in it must at least say so."""


def run_demo(
    *, out: Path, swath: Path | None = None, seed: int = 1, lines: int = 5120, share: float = 0.05
) -> dict[str, Any]:
    """Run the demo into `out` and return its figures (see `summary_lines` for what they mean).

    `swath` is any image that `winnow-edge run` reads; without one a strip of `lines` lines is
    rendered with `seed`. The contact has `share` of the bytes of all products (at least
    SMALLEST_PACKETS packets). Raises DataError if
    `out` holds something else, and what the parts raise.
    """
    started = time.perf_counter()
    if swath is not None and not swath.is_file():
        raise DataError("no such file", where=swath, hint="name an image with --swath")
    folder = fresh_folder(out)
    mission_file = folder / "mission.toml"
    write_file(mission_file, reference_mission().read_text(encoding="utf-8"))
    path = folder / "swath.png" if swath is None else swath
    if swath is None:
        with _step(f"rendering {path} (seed {seed})"):
            _render(path, folder / "truth.json", seed, lines)
    mission = load_mission(mission_file)
    with _step(f"winnow-edge run {mission_file} {path} --store {folder / 'store'}"):
        flown, peak = _fly(mission_file, path, folder / "store")
    features = load_truth(folder / "truth.json") if swath is None else None
    figures: dict[str, Any] = {
        "out": str(folder),
        "swath": {"path": str(path), "seed": seed if swath is None else None,
                  "raw_bytes": int(flown["lines"]) * int(flown["samples"])},
        "run": {**flown, "peak_rss_mb": peak},
        "truth": None if features is None else len(features),
    }  # fmt: skip
    with Store.open(folder / "store", mission=None, read_only=True) as store:
        whole = Judge.of(store, mission, features)
    budget = max(round(share * whole.bytes), SMALLEST_PACKETS * mission.link.packet_bytes)
    figures["detections"] = whole.detections()
    figures["contact"] = {"share": share, "budget_bytes": budget, "all_bytes": whole.bytes}
    shutil.copytree(folder / "store", folder / "fifo" / "store")
    for name in POLICIES:
        place = folder if name == "mission" else folder / name
        policy = mission.ranking.policy if name == "mission" else name
        with _step(f"one contact of {budget:,} bytes, {policy}; winnow receive"):
            sent, received = _contact(place, mission, policy, budget)
        link = received.link
        figures[name] = {
            "policy": policy,
            **{key: sent[key] for key in ("bytes", "packets", "containers", "products")},
            "crc_errors": link.crc_failures,
            "missing": received.never_arrived,
            **whole.brought(received),
        }
    with _step(f"winnow report {folder}"):
        figures["report"] = str(_report(folder, path))
    figures["seconds"] = round(time.perf_counter() - started, 1)
    write_file(folder / "demo.json", json.dumps(figures, indent=1) + "\n")
    return figures


def reference_mission() -> Path:
    """The mission file that the demo flies: beside the checkout, or in the installed package."""
    package = Path(winnow_ground.__file__).parent
    for place in (package.parent.parent / "missions", package / "missions"):
        if (place / MISSION).is_file():
            return place / MISSION
    raise DataError(f"{MISSION} is not installed", where=package, hint="install winnow-ground anew")


def fresh_folder(out: Path) -> Path:
    """An empty folder that carries the demo's marker.

    What an earlier demo left there is removed. Raises DataError where `out` is anything else.
    """
    if out.is_dir() and any(out.iterdir()) and not (out / MARKER).is_file():
        raise DataError(
            "holds files that are not of a demo", where=out, hint="name another folder with --out"
        )
    if out.exists() and not out.is_dir():
        raise DataError("is not a folder", where=out, hint="name another with --out")
    folder = make_folder(out)
    # The marker comes first and stays, so that a demo cut off half-way can be run again.
    write_file(folder / MARKER, "made by `winnow demo`, which empties this folder\n")
    try:
        for entry in folder.iterdir():
            if entry.name == MARKER:
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
    except OSError as error:
        raise OutputError(f"cannot be emptied: {error.strerror}", where=folder) from error
    return folder


def _render(swath: Path, truth: Path, seed: int, lines: int) -> None:
    from winnow_ground.scene import render_scene
    from winnow_ground.scene.files import write_scene

    write_scene(render_scene(lines=lines, seed=seed), swath, truth)


def _fly(mission: Path, swath: Path, store: Path) -> tuple[dict[str, Any], float | None]:
    """Run `winnow-edge run` as it flies, in a process of its own; its summary and peak memory (MB).

    The peak is Linux's VmHWM, None where /proc is not to be had.
    """
    command = [sys.executable, "-m", "winnow_edge.cli", "run", mission, swath]
    process = subprocess.Popen(
        [*map(str, command), "--store", str(store), "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    status, peak = Path(f"/proc/{process.pid}/status"), None
    try:
        while process.poll() is None:
            peak = _peak_mb(status) or peak
            time.sleep(0.02)
        output, errors = process.communicate()
    except BaseException:
        process.terminate()
        process.wait()
        raise
    if process.returncode:
        said = [line for line in errors.splitlines() if line.startswith("winnow-edge")]
        raise FlightError(said[-1] if said else errors[-500:], process.returncode)
    return json.loads(output.splitlines()[-1]), peak


class FlightError(GroundError):
    """`winnow-edge run` failed; it has said why."""

    def __init__(self, said: str, code: int) -> None:
        super().__init__(said.removeprefix("winnow-edge: "))
        self.exit_code = code


def _peak_mb(status: Path) -> float | None:
    try:
        text = status.read_text()
    except OSError:
        return None
    for line in text.splitlines():
        if line.startswith("VmHWM:"):
            return round(int(line.split()[1]) * 1024 / 1e6, 1)
    return None


def _contact(
    place: Path, mission: Mission, policy: str, budget: int
) -> tuple[dict[str, Any], Received]:
    """One contact out of `place/store`, received into `place/received`."""
    packets = place / "contact.packets"
    with Store.open(place / "store", mission=mission, create=False) as store:
        sent = downlink(store, mission, budget_bytes=budget, out=packets, policy=policy).as_json()
    return sent, receive([packets], place / "received")


def _report(folder: Path, swath: Path) -> Path:
    from winnow_ground.report import write_report

    return write_report(folder, swaths=[swath]).page


@dataclass(frozen=True)
class Judge:
    """What the products of a store are worth, against truth where it is known.

    `shown[i]` are the indices of the true features that product i shows; without truth
    (`features` None) value is the model's word: utility times posterior.
    """

    table: ProductTable
    features: Sequence[Feature] | None
    shown: tuple[tuple[int, ...], ...]
    truth: TruthOfTable | None
    mission: Mission

    @classmethod
    def of(cls, store: Store, mission: Mission, features: Sequence[Feature] | None) -> Judge:
        """Lay truth over everything that a store holds."""
        table = store.table()
        if features is None:
            return cls(table, None, ((),) * len(table), None, mission)
        swaths = {row.id: features for row in store.swaths()}
        truth = TruthOfTable.of(table, detection_boxes(store), swaths, mission)
        return cls(table, features, truth.shown, truth, mission)

    @property
    def bytes(self) -> int:
        """Bytes of all products."""
        return int(self.table.columns["bytes"].sum(dtype=np.int64))

    def detections(self) -> dict[str, Any]:
        """Detections on board: how many, and against truth their recall and precision."""
        # One thumbnail per detection; records mark every tile that was merged into it.
        chosen = np.flatnonzero(self.table.columns["kind"] == Kind.THUMBNAIL)
        names = [self._class(int(i)) for i in chosen]
        figures: dict[str, Any] = {"count": len(chosen), "by_class": dict(Counter(names))}
        if self.features is None:
            return figures
        found = {n for i in chosen for n in self.shown[i]}
        right = [bool(self.shown[i]) for i in chosen]
        per_class = {}
        for name in sorted({f.class_name for f in self.features}):
            true = [n for n, f in enumerate(self.features) if f.class_name == name]
            mine = [ok for ok, what in zip(right, names, strict=True) if what == name]
            per_class[name] = {
                "true": len(true),
                "found": len(found.intersection(true)),
                "detections": len(mine),
                "right": sum(mine),
            }
        figures["found"], figures["right"] = len(found), sum(right)
        figures["recall"] = len(found) / max(1, len(self.features))
        figures["precision"] = sum(right) / max(1, len(right))
        figures["per_class"] = per_class
        return figures

    def brought(self, received: Received) -> dict[str, Any]:
        """What came down: pictures of true features, and the share of the value of all that is
        there; without truth, of the value on board by the model's word."""
        place = {int(number): i for i, number in enumerate(self.table.columns["id"])}
        down = [place[p.id] for p in received.products if p.id in place]
        kinds = self.table.columns["kind"]
        images = [i for i in down if kinds[i] == Kind.IMAGE]
        thumbnails = [i for i in down if kinds[i] == Kind.THUMBNAIL]
        if self.truth is None:
            worth = utilities(self.table, self.mission)
            share = float(worth[down].sum() / max(worth.sum(), 1e-12))
            return {"value_share": share, "images": len(images), "thumbnails": len(thumbnails)}
        gains = float(self.truth.gains(np.array(down, np.intp)).sum())
        seen = {n for i in images for n in self.shown[i]}
        glimpsed = {n for i in (*images, *thumbnails) for n in self.shown[i]}
        assert self.features is not None
        there = worth_of_all(self.features, self.mission)
        return {
            "value_share": gains / max(there, 1e-12),
            "images": len(images),
            "thumbnails": len(thumbnails),
            "true_as_image": len(seen),
            "true_as_picture": len(glimpsed),
            "classes_as_image": dict(Counter(self.features[n].class_name for n in seen)),
        }

    def _class(self, i: int) -> str:
        row = self.table.columns[i]
        return self.table.classes[int(row["swath"])][int(row["class_index"])]


def summary_lines(figures: dict[str, Any]) -> list[str]:
    """The demo in ten lines for a newcomer, and in one more the next command to type."""
    swath, run, contact = figures["swath"], figures["run"], figures["contact"]
    found, mine, fifo = figures["detections"], figures["mission"], figures["fifo"]
    known = figures["truth"] is not None
    peak = f", {run['peak_rss_mb']:.0f} MB at most" if run["peak_rss_mb"] else ""
    what = f"{figures['truth']} true features" if known else "an image, so no truth is known"
    out = [
        f"strip       {swath['path']}: {run['lines']:,} lines x {run['samples']:,} samples, {what}",
        f"classified  {run['tiles'] - run['screened']:,} tiles in {run['seconds']:.1f} s{peak} "
        f"({run['runtime']}; {run['screened']:,} tiles of empty border skipped)",
    ]
    classes = found["per_class"] if known else found["by_class"]
    if known:
        out.append(
            f"detections  {found['count']}: {found['precision']:.0%} are right, and they show "
            f"{found['found']} of the {figures['truth']} true features ({found['recall']:.0%})"
        )
        listed = [f"{name} {c['found']}/{c['true']}" for name, c in classes.items()]
    else:
        out.append(f"detections  {found['count']} by the model's word; nothing here can check them")
        listed = [f"{name} {n}" for name, n in classes.items()]
    out.append(f"by class    {', '.join(listed) or 'none'}")
    budget, whole = contact["budget_bytes"], contact["all_bytes"]
    out.append(
        f"contact     {budget:,} bytes: {budget / whole:.0%} of all products ({whole:,} bytes), "
        f"{budget / swath['raw_bytes']:.2%} of the raw strip"
    )
    out += [_sent_line("sent", mine), _sent_line("fifo sent", fifo)]
    if known:
        out.append(
            f"pictures    {mine['true_as_picture']} true features came down as thumbnail or image "
            f"(fifo {fifo['true_as_picture']}), {mine['true_as_image']} as image "
            f"(fifo {fifo['true_as_image']})"
        )
    else:
        out.append(
            f"pictures    {mine['thumbnails']} thumbnails and {mine['images']} images came down "
            f"(fifo {fifo['thumbnails']} and {fifo['images']})"
        )
    whole = "of all that is there (truth)" if known else "on board, by the model's word,"
    out.append(
        f"value       {mine['value_share']:.0%} of the value {whole} came down under "
        f"{mine['policy']}; {fifo['value_share']:.0%} under fifo"
    )
    out.append(f"report      {figures['report']} ({figures['seconds']:.0f} s in all)")
    return [*out, f"next        {_next_contact(Path(figures['out']), budget)}"]


def _next_contact(folder: Path, budget: int) -> str:
    """The second contact as it can be typed here: the ground's word goes up, new products come
    down."""
    command = [_edge_command(), "downlink", folder / "mission.toml", "--store", folder / "store"]
    command += ["--bytes", budget, "--ack", folder / "received" / "ack.json"]
    return shlex.join(map(str, [*command, "--out", folder / "contact-2.packets"]))


def _edge_command() -> str:
    """How `winnow-edge` of this very installation is called from here."""
    own, named = Path(sys.executable).with_name("winnow-edge"), shutil.which("winnow-edge")
    if named is not None and (not own.exists() or Path(named).samefile(own)):
        return "winnow-edge"
    return str(own.relative_to(Path.cwd()) if own.is_relative_to(Path.cwd()) else own)


def _sent_line(title: str, part: dict[str, Any]) -> str:
    products = part["products"]
    damage = (
        "none damaged"
        if not part["crc_errors"] + part["missing"]
        else (f"{part['crc_errors']} damaged, {part['missing']} missing")
    )
    counts = ", ".join(f"{products[kind]} {kind}s" for kind in ("record", "thumbnail", "image"))
    return f"{title:<11} {counts} in {part['bytes']:,} bytes, {part['packets']} packets, {damage}"


@contextmanager
def _step(text: str) -> Iterator[None]:
    """A line on stderr with the time it took; a spinner where somebody watches."""
    console, started = Console(stderr=True, highlight=False), time.perf_counter()
    with console.status(text):
        yield
    console.print(f"[dim]{time.perf_counter() - started:5.1f} s[/dim]  {text}", soft_wrap=True)
