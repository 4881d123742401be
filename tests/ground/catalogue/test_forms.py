"""Exports in pieces: few and large ones, whatever the form."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from winnow_ground.catalogue.forms import FORMS, pieces
from winnow_ground.catalogue.rows import Detection

ONE = Detection(
    1, "ESP_1", "crater", 0.5, 0, 0, 64, 64, None, None, None, "hirise", "b", "record", None, 1,
    None, None, None, None,
)  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_many_detections_are_few_pieces(form: str) -> None:
    made = list(pieces((replace(ONE, id=n, swath_id=n) for n in range(2000)), form, "mars"))
    assert len(made) < 40


@pytest.mark.parametrize("count", [0, 1, 499, 500, 501, 2000])
def test_pieces_together_are_json(count: int) -> None:
    for form in (form for form in FORMS if form.endswith(".json")):
        found = (replace(ONE, id=n, swath_id=n) for n in range(count))
        told = json.loads("".join(pieces(found, form, "mars")))
        rows = told if isinstance(told, list) else told.get("annotations", told.get("features"))
        assert len(rows) == count
