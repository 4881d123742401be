"""Contact plans of any format."""

from __future__ import annotations

from pathlib import Path

from winnow_base.errors import PlanError
from winnow_base.files import read_text
from winnow_ground.contacts.hdtn import parse_hdtn
from winnow_ground.contacts.ion import parse_ion
from winnow_ground.contacts.orbital import parse_orbital
from winnow_ground.contacts.plan import ContactPlan, refuse_overlaps
from winnow_ground.contacts.table import is_table, parse_table


def load_plan(path: str | Path) -> ContactPlan:
    """Read a contact plan of any of the formats.

    Raises PlanError with the file and line of what is malformed, and for overlapping contacts;
    MissingExtraError for an orbit without `sgp4` and `skyfield`.
    """
    path = Path(path)
    return parse_plan(read_text(path, PlanError), path)


def parse_plan(text: str, path: Path = Path("contacts.ionrc")) -> ContactPlan:
    """As `load_plan`, from the text of the file. A file `.toml` has an orbit and stations."""
    if path.suffix.lower() == ".toml":
        plan = parse_orbital(text, path)
    elif text.lstrip().startswith(("{", "[")):
        plan = parse_hdtn(text, path)
    elif path.suffix.lower() == ".csv" or is_table(text):
        plan = parse_table(text, path)
    else:
        plan = parse_ion(text, path)
    refuse_overlaps(plan)
    return plan
