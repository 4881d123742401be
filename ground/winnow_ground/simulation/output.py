"""A simulation for people: a table of policies on the console, a page, JSON and CSV."""

from __future__ import annotations

import csv
import io
import json
from bisect import bisect_left
from dataclasses import asdict
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from winnow_base.console import show_table
from winnow_edge.files import write_file
from winnow_ground.simulation.pages import page
from winnow_ground.simulation.play import Campaign
from winnow_ground.simulation.result import Result
from winnow_ground.simulation.stats import Mean, mean_of, paired
from winnow_ground.words import WORD, count, percent, size

PAGE, FIGURES = "simulation.html", "simulation.json"


def title(campaign: Campaign) -> str:
    """What was played, in one line."""
    runs = campaign.flown
    tiles = sum(len(seen.scores) for seen in campaign.observations)
    of = f", {count(len(runs), 'seed')}" if len(runs) > 1 else ""
    return (
        f"{campaign.mission.name}: {count(len(campaign.observations), 'swath')}, {tiles:,} tiles, "
        f"{count(len(campaign.contacts), 'contact')} of node {campaign.downlinks.node}, "
        f"packet loss {campaign.mission.link.loss:.1%}{of}"
    )


def figure(runs: tuple[Result, ...], key: str) -> Mean | None:
    """A figure's mean over seeds; None where a run does not have it."""
    if any(key not in run.figures for run in runs):
        return None
    return mean_of([run.figures[key] for run in runs])


def show(campaign: Campaign, console: Console) -> None:
    """Print a row per policy, and what it comes to."""
    table = Table(
        title=title(campaign), title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0),
        pad_edge=False,
    )  # fmt: skip
    truth = campaign.truth
    columns = ["policy", "value", "of all"] if truth else ["policy", "value"]
    columns += ["area", "density", "down"]
    columns += ["recall", "right", "age"] if truth else ["age"]
    columns += ["evicted", "lost"]
    for name in columns:
        table.add_column(name, justify="left" if name == "policy" else "right", no_wrap=True)
    for name, runs in campaign.results.items():
        cells = _cells(runs)
        table.add_row(name, *(cells[column] for column in columns[1:]))
    show_table(console, table)
    console.print(_legend(truth))
    for line in verdict(campaign):
        console.print(line)
    for note in campaign.notes:
        console.print(f"note: {note}")


def _cells(runs: tuple[Result, ...]) -> dict[str, str]:
    def mean(key: str) -> float:
        found = figure(runs, key)
        return found.mean if found is not None else float("nan")

    value = figure(runs, "value")
    assert value is not None
    spread = f" ±{value.half:,.1f}" if value.half is not None else ""
    return {
        "value": f"{value.mean:,.1f}{spread}",
        "of all": f"{100 * mean('value_share'):.1f} %",
        "area": f"{mean('auc'):.3f}",
        "density": f"{mean('density'):,.0f}",
        "down": size(mean("bytes_down")),
        "recall": f"{100 * mean('recall'):.0f} %",
        "right": f"{100 * mean('precision'):.0f} %" if figure(runs, "precision") else "–",
        "age": hours(mean("age_s")),
        "evicted": size(mean("evicted_bytes")),
        "lost": size(mean("lost_bytes")),
    }


def _legend(truth: bool) -> str:
    whose = "of the features that are there" if truth else f"{WORD}"
    text = (
        f"value: utility {whose}, of what came down. area: under value against bytes, 1 is all "
        "value at once. density: value per MB. "
    )
    if truth:
        text += "recall: features with a picture down. right: pictures that show what they say. "
    return text + "age: of value when it came down. evicted, lost: bytes of products."


def hours(seconds: float) -> str:
    """A span of time: minutes, hours or days."""
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:.1f} d"


def verdict(campaign: Campaign) -> list[str]:
    """What the simulation comes to, in sentences."""
    runs, name = campaign.flown, campaign.flown[0].policy
    lines = []
    for other, theirs in campaign.results.items():
        if other == name:
            continue
        mine, yours = mean_of([r.value for r in runs]), mean_of([r.value for r in theirs])
        apart = paired([r.value for r in runs], [r.value for r in theirs])
        if yours.mean <= 0:
            continue
        text = f"{name} brings {100 * mine.mean / yours.mean:.1f} % of {other}'s value"
        if apart.half is not None:
            text += (
                f" (difference {apart.mean:+,.1f}, 95 % {apart.low:+,.1f} to {apart.high:+,.1f})"
            )
        if theirs[0].bound is not None:
            exact = all(run.exact for run in theirs)
            most = max(run.bound / run.value for run in theirs if run.bound and run.value)
            text += "; no choice is better" if exact else f"; {most:.2f} times {other}'s is a bound"
        lines.append(text)
    lines += _by_share(campaign) + _firsts(campaign)
    if campaign.truth and (why := _missed(runs)):
        lines.append(f"without a picture down: {why}")
    lines.append(_conserved(runs))
    return lines


def _by_share(campaign: Campaign) -> list[str]:
    """What the ranking by itself does with few bytes, beside oracle and fifo."""
    name = campaign.flown[0].policy
    curves = {curve.policy: curve for curve in campaign.curves}
    lines = []
    for other, share in (("oracle", 0.05), ("fifo", 0.02)):
        if name not in curves or other not in curves or other == name:
            continue
        theirs = curves[other].at(share)
        if theirs > 0:
            ratio = curves[name].at(share) / theirs
            said = f"{100 * ratio:.1f} % of" if other == "oracle" else f"{ratio:.1f} times"
            lines.append(
                f"all on board and nothing lost, the first {share:.0%} of the bytes bring {said} "
                f"{other}'s value"
            )
    return lines


def _firsts(campaign: Campaign) -> list[str]:
    """How many contacts after the oracle's the first of each class was heard of, in the first
    run."""
    oracle = campaign.results.get("oracle")
    if oracle is None:
        return []
    ends = [held.start + held.seconds + held.light_s for held in oracle[0].contacts]
    late: dict[int, list[str]] = {}
    for name, theirs in oracle[0].classes.items():
        mine = campaign.flown[0].classes.get(name)
        if theirs.first_s is None:
            continue
        heard = None if mine is None else mine.first_s
        first = len(ends) if heard is None else bisect_left(ends, heard)
        late.setdefault(max(0, first - bisect_left(ends, theirs.first_s)), []).append(name)
    if not late:
        return []
    soon = len(late.get(0, []))
    parts = [f"{soon} with the oracle's contact"] if soon else []
    parts += [f"{', '.join(late[n])} {count(n, 'contact')} later" for n in sorted(late) if n]
    return [f"first heard of each class: {'; '.join(parts)}"]


def _missed(runs: tuple[Result, ...]) -> str:
    """The features without a picture down by reason, means over seeds."""
    total: dict[str, float] = {}
    for run in runs:
        for reasons in run.missed.values():
            for reason, n in reasons.items():
                total[reason] = total.get(reason, 0.0) + n / len(runs)
    ordered = sorted(total.items(), key=lambda item: -item[1])
    return ", ".join(f"{n:,.0f} {reason}" for reason, n in ordered)


def _conserved(runs: tuple[Result, ...]) -> str:
    """Where the bytes of all products are, in the first run."""
    octets = runs[0].bytes
    parts = (
        f"{percent(getattr(octets, key), octets.generated)} {key}"
        for key in ("delivered", "stored", "evicted", "lost")
    )
    return f"of {size(octets.generated)} of products made: {', '.join(parts)}"


def write_all(campaign: Campaign, folder: Path) -> list[Path]:
    """Write the page, the figures as JSON, and runs and contacts as CSV."""
    files: dict[str, bytes | str] = {
        PAGE: page(campaign, title(campaign), verdict(campaign)),
        FIGURES: json.dumps(campaign.as_json(), indent=1) + "\n",
        "runs.csv": _runs(campaign),
        "contacts.csv": _contacts(campaign),
    }
    for name, data in files.items():
        write_file(folder / name, data)
    return [folder / name for name in files]


def _runs(campaign: Campaign) -> str:
    """A line per policy and seed, a column per figure."""
    runs = [run for some in campaign.results.values() for run in some]
    keys = list(dict.fromkeys(key for run in runs for key in run.figures))
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["policy", "seed", *keys])
    for run in runs:
        writer.writerow([run.policy, run.seed, *(run.figures.get(key, "") for key in keys)])
    return out.getvalue()


def _contacts(campaign: Campaign) -> str:
    """A line per policy, seed and contact."""
    out = io.StringIO()
    writer: csv.DictWriter[str] | None = None
    for runs in campaign.results.values():
        for run in runs:
            for held in run.contacts:
                row = asdict(held)
                row |= {f"new_{kind}": n for kind, n in row.pop("products").items()}
                row = {"policy": run.policy, "seed": run.seed, **row}
                if writer is None:
                    writer = csv.DictWriter(out, list(row), extrasaction="ignore")
                    writer.writeheader()
                writer.writerow(row)
    return out.getvalue()
