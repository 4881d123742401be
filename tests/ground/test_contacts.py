"""Contact plans: ION and HDTN, units, times, light time, and what is refused."""

from __future__ import annotations

import datetime as dt
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from winnow_base.errors import PlanError
from winnow_ground.contacts import load_plan, parse_plan

ION = """\
## begin ionadmin
1 1 ''
s
# the rover's orbiter is node 1, Earth is node 2
a contact +3600 +4200 1 2 16000
a contact +0 +600 1 2 8000 0.9   # the first comes last in the file
a contact +0 +600 2 1 2000
a range +0 +86400 1 2 751.5
m production 1000000
## end ionadmin
"""


def test_ion_contacts_come_in_order_of_time_with_rates_in_bytes():
    plan = parse_plan(ION)
    first, second = plan.downlinks(1).contacts
    assert (first.start, first.end, first.rate, first.confidence) == (0, 600, 8000, 0.9)
    assert first.budget_bytes == 600 * 8000
    assert (second.start, second.seconds, second.budget_bytes) == (3600, 600, 9_600_000)
    assert plan.time_text(second.start) == "T+1:00:00"


def test_light_time_holds_in_both_directions_unless_the_other_is_given():
    plan = parse_plan(ION)
    assert plan.light_time(1, 2, 10) == plan.light_time(2, 1, 10) == 751.5
    assert plan.light_time(1, 2, 90_000) == 0
    both = parse_plan("a range +0 +9 1 2 5\na range +0 +9 2 1 7\n")
    assert (both.light_time(1, 2, 0), both.light_time(2, 1, 0)) == (5, 7)
    # ionrc(5): from the higher number to the lower says nothing about the way back
    assert parse_plan("a range +0 +9 2 1 7\n").light_time(1, 2, 0) == 0


def test_absolute_times_and_the_reference_time():
    plan = parse_plan(
        "a contact 2026/03/01-12:00:00 2026/03/01-12:10:00 1 2 100\n"
        "@ 2026/03/01-13:00:00\n"
        "a contact +60 +120 1 2 100\n"
        "@ +3600\n"
        "a contact +0 +60 1 2 100\n"
    )
    assert plan.epoch == dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
    assert [c.start for c in plan.contacts] == [0, 3660, 7200]
    assert plan.time_text(3660) == "2026-03-01 13:01:00"


def test_registrations_and_hypothetical_contacts_are_not_planned_with():
    plan = parse_plan("a contact -1 +0 1 1 0\na contact +5 0 1 2 9\na contact +0 +1 1 2 9\n")
    assert len(plan.contacts) == 1


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("a contact +0 +600 1 2", "5 or 6 fields, here are 4"),
        ("a contact +0 +600 1 2 fast", "'fast' is no rate in bytes per second"),
        ("a contact +0 +600 1 2 nan", "no rate"),
        ("a contact +0 +600 1 2 1e308", "the rate is 1e308"),
        (f"a contact +0 +{'9' * 400} 1 2 100", "is later than"),
        (f"a contact +0 +600 1 {'9' * 5000} 100", "no node number"),
        ("a contact +0 +600 1 2 -5", "legal is over 0"),
        ("a contact +600 +0 1 2 100", "not after its start"),
        ("a contact 0 +600 1 2 100", "'0' is no time"),
        ("a contact +0 +600 one 2 100", "'one' is no node number"),
        ("a contact +0 +600 1 1 100", "cannot send to itself"),
        ("a contact +0 +600 1 2 100 1.5", "legal is over 0 to 1"),
        ("a contact 2026/02/30-00:00:00 +9 1 2 100", "no date and time"),
        ("a contact 2026/02/03-00:00:00 2026/02/03-00:10:00 1 2 100", "@ yyyy"),
        ("a range +0 +600 1 2", "5 fields, here are 4"),
        ("a range +0 +600 1 2 -1", "legal is 0 to"),
        ("a plan +0 +600 1 2 100", "unknown command 'a plan'"),
        ("contact +0 +600 1 2 100", "unknown command"),
        ("d contact +0 1 2", "cannot be changed here"),
        ("@", "takes one time"),
    ],
)
def test_a_malformed_line_is_named(tmp_path: Path, line: str, says: str):
    file = tmp_path / "plan.ionrc"
    file.write_text(f"a contact +0 +600 1 3 100\n\n{line}\n")
    with pytest.raises(PlanError) as caught:
        load_plan(file)
    assert caught.value.where == f"{file}:3"
    assert says in str(caught.value)


def test_a_contact_beyond_the_calendar_is_refused():
    with pytest.raises(PlanError, match="beyond the year 9999"):
        parse_plan("@ 2026/01/01-00:00:00\na contact +0 +900000000000 1 2 100\n")


def test_overlapping_contacts_of_two_nodes_are_refused_naming_both():
    with pytest.raises(PlanError, match=r"p:2: overlaps the contact of p:1 between"):
        parse_plan("a contact +0 +600 1 2 100\na contact +599 +700 1 2 100\n", Path("p"))
    back_to_back = "a contact +0 +600 1 2 100\na contact +600 +700 1 2 100\n"
    assert len(parse_plan(back_to_back).contacts) == 2
    inside = "a contact +0 +600 1 2 9\na contact +10 +20 1 2 9\na contact +50 +60 1 2 9\n"
    with pytest.raises(PlanError, match="overlaps"):
        parse_plan(inside)


def test_one_transmitter_serves_one_station_at_a_time():
    links = parse_plan(
        "a contact +0 +600 1 2 10\na contact +500 +900 1 3 10\na contact +100 +200 1 4 10\n",
        Path("p"),
    ).downlinks()
    assert [(c.receiver, c.start, c.end) for c in links.contacts] == [(2, 0, 600), (3, 600, 900)]
    assert "p:3: left out" in links.notes[0]
    assert "p:2: starts 100 s later" in links.notes[1]


def test_the_sender_must_be_known():
    with pytest.raises(PlanError, match=r"nodes 1, 2 send in it; .*--node"):
        parse_plan(ION).downlinks()
    with pytest.raises(PlanError, match="node 7 sends in no contact; senders: 1, 2"):
        parse_plan(ION).downlinks(7)
    with pytest.raises(PlanError, match="holds no contact"):
        parse_plan("# nothing yet\n").downlinks()


@pytest.mark.parametrize(
    ("name", "text", "hint"),
    [
        ("p.csv", "", "begin with start,end"),
        ("p.csv", "# later\n\n", "begin with start,end"),
        ("p.csv", "start,end,bits_per_s\n", "under start,end,"),
        ("p.ionrc", "", "add lines `a contact"),
        ("p.json", '{"contacts": []}', "an entry has source, dest,"),
    ],
)
def test_an_empty_plan_is_told_how_its_own_format_goes_on(name: str, text: str, hint: str):
    with pytest.raises(PlanError) as refused:
        parse_plan(text, Path(name)).downlinks()
    assert hint in str(refused.value)


def test_hdtn_rates_are_bits_per_second():
    entry = {
        "contact": 0,
        "source": 102,
        "dest": 10,
        "startTime": 5,
        "endTime": 65,
        "rateBitsPerSec": 80_000,
        "owlt": 3,
    }
    plan = parse_plan(json.dumps({"contacts": [entry]}))
    (contact,) = plan.downlinks().contacts
    assert (contact.rate, contact.budget_bytes) == (10_000, 600_000)
    assert plan.light_time(102, 10, 30) == 3


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"contacts": [', "is not JSON"),
        ('{"contact": []}', "`contacts` is missing"),
        ("[]", "must be a table"),
        ("[" + "9" * 5000 + "]", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ('{"contacts": [7]}', "`contacts[0]` must be a table"),
        ('{"contacts": [{"source": 1}]}', "`contacts[0].dest` is missing"),
    ],
)
def test_a_malformed_hdtn_plan_is_refused(text: str, says: str):
    with pytest.raises(PlanError) as caught:
        parse_plan(text)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("rateBitsPerSec", 0, "unlimited"),
        ("rateBitsPerSec", "fast", "must be a number"),
        ("endTime", 5, "not after"),
        ("source", 1.5, "must be a whole number"),
        ("dest", 1, "to itself"),
        ("startTime", True, "must be a number"),
        ("rateBitsPerSec", 1e400, "is no finite number|is not JSON"),
        ("rateBitsPerSec", 1e20, "legal is 0 to"),
        ("endTime", 1e300, "legal is 0 to"),
        ("source", 10**17, "legal is 0 to"),
    ],
)
def test_illegal_hdtn_values_are_refused(key: str, value: object, says: str):
    entry = {"source": 1, "dest": 2, "startTime": 5, "endTime": 6, "rateBitsPerSec": 8, key: value}
    with pytest.raises(PlanError, match=says):
        parse_plan(json.dumps({"contacts": [entry]}))


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("a contact +0 +600 1 2 1e308", "the rate is 1e308"),
        ("a contact +0 +600 1 2 inf", "is no rate"),
        ("a contact +0 +1" + "0" * 400 + " 1 2 100", "is later than"),
        ("a contact +0 +600 " + "9" * 5000 + " 2 100", "is no node number"),
        ("a contact +0 +600 1 2 " + "9" * 5000, "is no rate"),
        ("a range +0 +600 1 2 1e300", "the distance is 1e300"),
    ],
)
def test_numbers_beyond_all_links_are_refused(line: str, says: str):
    with pytest.raises(PlanError, match=says) as refused:
        parse_plan(line)
    assert len(str(refused.value)) < 500


@pytest.mark.parametrize("kind", ["device", "pipe"])
def test_a_plan_that_never_ends_is_refused(kind: str, tmp_path: Path):
    path = Path("/dev/zero")
    if kind == "pipe":
        path = tmp_path / "plan"
        os.mkfifo(path)
    with pytest.raises(PlanError, match="is a pipe or device"):
        load_plan(path)


def test_a_plan_that_is_not_there_or_not_text(tmp_path: Path):
    with pytest.raises(PlanError, match="No such file"):
        load_plan(tmp_path / "none.ionrc")
    (tmp_path / "b.ionrc").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PlanError, match="is not a text file"):
        load_plan(tmp_path / "b.ionrc")


_WORDS = st.sampled_from(
    [
        *("a", "contact", "range", "@", "+0", "+60", "1", "2", "100", "0.5", "-1", "0", "1e309"),
        *("#", "{", "[", "\n", "\x0b"),
        *("2026/03/01-12:00:00", "9999/12/31-23:59:59", "0001/01/01-00:00:00"),
    ]
)


@given(st.one_of(st.text(), st.lists(_WORDS, max_size=40).map(" ".join)))
def test_any_text_is_a_plan_or_a_plan_error(text: str):
    try:
        plan = parse_plan(text)
    except PlanError as error:
        assert "\n" not in str(error)
    else:
        assert all(c.end > c.start and c.rate > 0 for c in plan.contacts)


@given(
    st.lists(
        st.tuples(st.integers(0, 10**6), st.integers(1, 10**5), st.integers(1, 10**9)),
        min_size=1,
        max_size=20,
    )
)
def test_ion_and_hdtn_of_one_plan_agree(steps: list[tuple[int, int, int]]):
    at, lines, entries = 0, [], []
    for gap, length, rate in steps:
        start, end = at + gap, at + gap + length
        at = end
        lines.append(f"a contact +{start} +{end} 1 2 {rate}")
        entries.append(
            {"source": 1, "dest": 2, "startTime": start, "endTime": end, "rateBitsPerSec": rate * 8}
        )
    ion = parse_plan("\n".join(lines)).downlinks(1).contacts
    hdtn = parse_plan(json.dumps({"contacts": entries})).downlinks(1).contacts
    assert [(c.start, c.end, c.budget_bytes) for c in ion] == [
        (c.start, c.end, c.budget_bytes) for c in hdtn
    ]
    assert [c.budget_bytes for c in ion] == [length * rate for _, length, rate in steps]
