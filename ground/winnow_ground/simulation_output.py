"""A simulation for people: a table contact by contact, plots, and a JSON file."""

from __future__ import annotations

import json
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from winnow_base.console import show_table
from winnow_edge.files import write_file
from winnow_edge.store.store import Store
from winnow_ground import plots
from winnow_ground.findings import value_on_board
from winnow_ground.simulate import PolicyRun, Simulation
from winnow_ground.simulation_page import simulation_page
from winnow_ground.words import WORD, percent


def show(simulation: Simulation, console: Console) -> None:
    """Print a row per contact and policy, and what it came to."""
    truth = simulation.features is not None
    swaths, contacts = len(simulation.swaths), len(simulation.runs[0].contacts)
    table = Table(
        title=f"{simulation.mission.name}: {swaths} swath{'s' * (swaths != 1)}, {contacts} "
        f"contact{'s' * (contacts != 1)} of node {simulation.downlinks.node}, "
        f"packet loss {simulation.loss:.1%}",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    for name in ("#", "start", "policy"):
        table.add_column(name, justify="left" if name == "policy" else "right", no_wrap=True)
    # In a narrow window the link's own troubles stay out; --json has everything.
    wide = console.width >= 104
    columns = {
        "budget": True,
        "lost": wide,
        "images": True,
        "thumbs": True,
        "records": True,
        "again": wide,
        "down": True,
        "value": True,
        "seen": truth,
    }
    for name, shown in columns.items():
        if shown:
            table.add_column(name, justify="right", no_wrap=True)
    for n in range(contacts):
        for run in simulation.runs:
            c = run.contacts[n]
            first = run is simulation.runs[0]
            cells = {
                "budget": f"{c.budget_bytes:,}" if first else "",
                "lost": str(c.lost_packets),
                "images": str(c.products["image"]),
                "thumbs": str(c.products["thumbnail"]),
                "records": str(c.products["record"]),
                "again": str(c.returned),
                "down": f"{c.bytes:,}",
                "value": f"{c.value:,.1f}",
                "seen": str(c.features),
            }
            table.add_row(
                str(c.number) if first else "",
                simulation.plan.time_text(c.start) if first else "",
                run.policy,
                *(text for name, text in cells.items() if columns[name]),
                end_section=run is simulation.runs[-1],
            )
    for note in simulation.downlinks.notes:
        console.print(f"note: {note}", soft_wrap=True)
    show_table(console, table)
    console.print(_legend(truth), style="dim")
    for line in verdict(simulation):
        console.print(line, soft_wrap=True)


def _legend(truth: bool) -> str:
    value = (
        "utility of the true features that came down so far; seen: features with a picture down"
        if truth
        else f"utility × posterior of the products that came down so far, {WORD}"
    )
    return (
        "budget: bytes on the link. lost: packets. images, thumbs, records, down (bytes): new on "
        f"the ground. again: products put back into the ranking before. value: {value}."
    )


def verdict(simulation: Simulation) -> list[str]:
    """What it came to, a line per policy."""
    fifo = simulation.runs[0]
    return [_verdict(run, fifo, simulation) for run in simulation.runs]


def _verdict(run: PolicyRun, fifo: PolicyRun, simulation: Simulation) -> str:
    kinds, worth = run.received.kinds(), simulation.worth
    of = f", {WORD}," if worth is None else f" ({percent(run.value, worth)} of all that is there)"
    text = (
        f"{run.policy}: value {run.value:,.1f}{of} in {run.received.bytes:,} bytes, "
        f"{kinds['image']} images, {kinds['thumbnail']} thumbnails, {kinds['record']} records"
    )
    if simulation.features is not None and run.contacts:
        text += f", {run.contacts[-1].features} of {simulation.features} features seen"
    if run is not fifo and fifo.value > 0:
        text += f"; {run.value / fifo.value:.2f} times fifo's value"
    return text


def write_plots(simulation: Simulation, folder: Path) -> list[Path]:
    """Write `simulation.html`, its two plots as PNG, and `simulation.json`."""
    truth = simulation.features is not None
    label = "value (utility of true features)" if truth else f"value, {WORD}"
    starts = [c.start for c in simulation.runs[0].contacts]
    epoch = simulation.plan.epoch
    runs = sorted(simulation.runs, key=lambda run: run.policy == "fifo")
    by_contact = plots.contacts(
        {run.policy: [c.value for c in run.contacts] for run in runs},
        starts,
        f"{simulation.mission.name}: value on the ground after each contact",
        label,
        f"{epoch:%Y-%m-%d %H:%M:%S} UTC" if epoch else None,
    )
    with Store.open(simulation.store, mission=simulation.mission, read_only=True) as store:
        board = value_on_board(store, simulation.mission, simulation.truth_by_id(store))
    received = max(run.received.bytes for run in runs)
    title = f"{simulation.mission.name}: value against bytes, no packet lost"
    by_bytes = plots.value_against_bytes(
        board.curves(), received or None, title, label, simulation.worth
    )
    files: dict[str, bytes | str] = {
        "simulation.html": simulation_page(simulation, by_contact, by_bytes),
        "simulation-contacts.png": by_contact.light,
        "simulation-value.png": by_bytes.light,
        "simulation.json": json.dumps(simulation.as_json(), indent=1) + "\n",
    }
    for name, data in files.items():
        write_file(folder / name, data)
    return [folder / name for name in files]
