"""Contact plans: when a spacecraft can talk to whom, and how fast.

Four kinds of file are read and told apart by their first characters: ION's (`ion`), HDTN's
(`hdtn`), CSV (`table`), and a TOML file of stations and an orbit (`orbital`). Rates are bytes per
second in ION's, bits per second in HDTN's, and say it themselves in the others.
"""

from winnow_ground.contacts.load import load_plan, parse_plan
from winnow_ground.contacts.plan import Contact, ContactPlan, Downlinks, Range

__all__ = ["Contact", "ContactPlan", "Downlinks", "Range", "load_plan", "parse_plan"]
