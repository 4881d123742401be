"""The page of a simulation: what each policy brought, of what, and contact by contact."""

from __future__ import annotations

from winnow_base.figure import Plot
from winnow_ground.page import TEMPLATES, picture
from winnow_ground.simulate import PolicyRun, Simulation
from winnow_ground.words import WORD, count, listed, percent, size


def simulation_page(simulation: Simulation, by_contact: Plot, by_bytes: Plot) -> str:
    """The page as one self-contained HTML file."""
    names = [str(swath["swath"]) for swath in simulation.swaths]
    contacts = simulation.runs[0].contacts
    return TEMPLATES.get_template("simulation.html.j2").render(
        title=f"{simulation.mission.name}, simulated",
        subtitle=f"{listed(names)}; {count(len(contacts), 'contact')} of node "
        f"{simulation.downlinks.node}, packet loss {simulation.loss:.1%}",
        heads=[
            {"figure": figure, "words": words}
            for run in reversed(simulation.runs)
            for figure, words in _heads(run, simulation)
        ],
        notes=list(simulation.downlinks.notes),
        words=_words(simulation),
        contacts=picture(by_contact, "Value on the ground after each contact, by policy"),
        value=picture(by_bytes, "Value against bytes, by policy"),
        features=simulation.features is not None,
        rows=[
            {
                "number": pair[0].number,
                "start": simulation.plan.time_text(pair[0].start),
                "policies": [
                    {"name": run.policy, "outcome": outcome}
                    for run, outcome in zip(simulation.runs, pair, strict=True)
                ],
            }
            for pair in zip(*(run.contacts for run in simulation.runs), strict=True)
        ],
    )


def _heads(run: PolicyRun, simulation: Simulation) -> list[tuple[str, str]]:
    worth, brought = simulation.worth, f"came down by {run.policy} in {size(run.received.bytes)}"
    if worth is None:
        return [(f"{run.value:,.1f}", f"of value, {WORD}, {brought}. Nobody has checked it")]
    seen = run.contacts[-1].features if run.contacts else 0
    return [
        (percent(run.value, worth), f"of the value of all that is there {brought}"),
        (f"{seen:,} of {simulation.features:,}", f"features have a picture down by {run.policy}"),
    ]


def _words(simulation: Simulation) -> str:
    if simulation.worth is None:
        return (
            "There is no truth beside every swath, so value is utility times posterior: the model "
            "grades itself. The policies can be compared by it; how much of Mars they bring cannot."
        )
    return (
        f"Value against truth: each of the {simulation.features:,} features that are there pays "
        "the utility of its class once. What the model missed is in the whole and in no policy."
    )
