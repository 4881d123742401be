"""The page of a simulation, one self-contained HTML file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from winnow_ground.page import TEMPLATES, picture
from winnow_ground.simulation import drawings
from winnow_ground.simulation.play import Campaign
from winnow_ground.simulation.result import Result
from winnow_ground.simulation.stats import Mean, mean_of, paired
from winnow_ground.words import WORD, listed, percent, size

MOST_CONTACTS = 200
"""Contacts that the page lists; all are in contacts.csv."""
_ROWS = (
    ("value", "value", 1.0, 1),
    ("value_share", "% of all that is there", 100.0, 1),
    ("auc", "area under value against bytes", 1.0, 3),
    ("density", "value per MB", 1.0, 1),
    ("recall", "% of features with a picture down", 100.0, 1),
    ("precision", "% of pictures that are right", 100.0, 1),
    ("age_s", "age of value when it came, h", 1 / 3600, 1),
    ("bytes_down", "MB of products down", 1e-6, 2),
    ("evicted_bytes", "MB evicted", 1e-6, 2),
    ("lost_bytes", "MB lost", 1e-6, 2),
    ("energy_wh", "energy used, Wh", 1.0, 1),
)
"""Figure, words, factor, digits."""


def page(campaign: Campaign, heading: str, sentences: Sequence[str]) -> str:
    """Everything that a review wants to see."""
    runs, results = campaign.flown, campaign.results
    label = "value (utility of true features)" if campaign.truth else f"value, {WORD}"
    power = campaign.mission.simulation.power
    capacity = power.battery_wh * 3600
    classes = [name for name, one in runs[0].classes.items() if one.there]
    return TEMPLATES.get_template("simulation.html.j2").render(
        title=f"{campaign.mission.name}, simulated",
        subtitle=heading,
        names=listed([seen.name for seen in campaign.observations]),
        heads=_heads(campaign),
        notes=list(campaign.notes),
        sentences=list(sentences),
        words=_words(campaign),
        table=_table(campaign),
        policies=list(results),
        time=picture(drawings.over_time(results, campaign.worth, label), "Value over time"),
        octets=picture(drawings.against_bytes(results, label), "Value against bytes"),
        shares=picture(
            drawings.by_share(campaign.curves, drawings.styles_of(tuple(results)), label),
            "Value by share of bytes",
        ),
        missed=picture(drawings.why_missed(results), "What was missed and why")
        if campaign.truth
        else None,
        recalls=picture(drawings.recalls(results, classes), "Recall by class") if classes else None,
        firsts=_firsts(campaign, classes),
        spacecraft=picture(
            drawings.spacecraft(
                runs[0],
                campaign.mission.store.quota_mb * 1e6,
                capacity,
                capacity * (1 - power.depth_of_discharge),
            ),
            "Storage, battery and queue over time",
        ),
        octets_of=[{"policy": name, **asdict(some[0].bytes)} for name, some in results.items()],
        rows=[
            {"held": held, "start": campaign.plan.time_text(held.start)}
            for held in runs[0].contacts[:MOST_CONTACTS]
        ],
        more=max(0, len(runs[0].contacts) - MOST_CONTACTS),
        flown=runs[0].policy,
        seed=campaign.seed,
    )


def _heads(campaign: Campaign) -> list[dict[str, str]]:
    runs, name = campaign.flown, campaign.flown[0].policy
    mine = mean_of([run.value for run in runs]).mean
    heads = []
    if (worth := campaign.worth) is not None:
        heads.append({"figure": percent(mine, worth), "words": "of the value of all that is there"})
    else:
        heads.append(
            {"figure": f"{mine:,.1f}", "words": f"of value, {WORD}. Nobody has checked it"}
        )
    for other, words in (
        ("oracle", "of what an oracle brings that knows truth and future"),
        ("fifo", "times the value of fifo"),
    ):
        theirs = campaign.results.get(other)
        if theirs is None or other == name:
            continue
        value = mean_of([run.value for run in theirs]).mean
        if value > 0:
            ratio = mine / value
            said = f"{ratio:.2f}" if other == "fifo" else percent(mine, value)
            heads.append({"figure": said, "words": words})
    figures = [run.figures for run in runs]
    if campaign.truth:
        right = [f["precision"] for f in figures if "precision" in f]
        if right:
            words = "of the pictures show what they say"
            heads.append({"figure": percent(mean_of(right).mean, 1), "words": words})
    down = mean_of([f["bytes_down"] for f in figures]).mean
    made = mean_of([f["generated_bytes"] for f in figures]).mean
    heads.append({"figure": size(down), "words": f"came down, of {size(made)} made on board"})
    return heads


def _words(campaign: Campaign) -> str:
    if not campaign.truth:
        return (
            "There is no truth beside every swath, so value is utility times posterior: the model "
            "grades itself. The policies can be compared by it; how much of what is there they "
            "bring cannot."
        )
    runs = campaign.flown
    features = mean_of([sum(one.there for one in run.classes.values()) for run in runs]).mean
    return (
        f"Value against truth: each of the {features:,.0f} features that are there pays the "
        "utility of its class once. What the net missed is in the whole and in no policy, but that "
        "of the perfect net."
    )


def _table(campaign: Campaign) -> list[dict[str, Any]]:
    """A row per figure, a cell per policy: mean, interval, and difference to the flown policy."""
    rows = []
    for key, words, factor, digits in _ROWS:
        every = [run.figures.get(key) for runs in campaign.results.values() for run in runs]
        if not any(every):  # nobody has it, or it is 0 for all
            continue
        cells = []
        for name, runs in campaign.results.items():
            if any(key not in run.figures for run in runs):
                cells.append({"mean": "–", "half": "", "apart": "", "apart_half": ""})
                continue
            values = [factor * run.figures[key] for run in runs]
            base = [factor * run.figures.get(key, math.nan) for run in campaign.flown]
            apart = paired(values, base) if name != campaign.flown[0].policy else None
            cells.append(
                {
                    "mean": f"{mean_of(values).mean:,.{digits}f}",
                    "half": _half(mean_of(values), digits),
                    "apart": "" if apart is None else f"{apart.mean:+,.{digits}f}",
                    "apart_half": "" if apart is None else _half(apart, digits),
                }
            )
        rows.append({"words": words, "cells": cells})
    return rows


def _half(mean: Mean, digits: int) -> str:
    return "" if mean.half is None else f"±{mean.half:,.{digits}f}"


def _firsts(campaign: Campaign, classes: Sequence[str]) -> list[dict[str, Any]]:
    """When the first of each class was heard of, in the first run of each policy."""
    rows = []
    for name in classes:
        firsts = [_first(runs[0], name, campaign) for runs in campaign.results.values()]
        earliest = campaign.flown[0].classes[name].earliest_s
        rows.append(
            {
                "class": name,
                "there": campaign.flown[0].classes[name].there,
                "earliest": "–" if earliest is None else campaign.plan.time_text(earliest),
                "firsts": firsts,
            }
        )
    return rows


def _first(run: Result, name: str, campaign: Campaign) -> str:
    one = run.classes.get(name)
    if one is None or one.first_s is None:
        return "never"
    return campaign.plan.time_text(one.first_s)
