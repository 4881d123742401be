"""Contact plans as CSV and from orbits, and one pass in every format."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.running import winnow
from winnow_base.errors import PlanError
from winnow_ground.contacts import ContactPlan, load_plan, parse_plan
from winnow_ground.contacts.write import FORMATS

ROOT = Path(__file__).parents[2]
CUBESAT = ROOT / "missions" / "plans" / "cubesat.toml"
ORBIT = """\
start = "2026-11-22T00:00:00Z"
days = 1
elements = '''
CUBESAT
1 T0001U 26999A   26324.25000000  .00000000  00000-0  30000-4 0    11
2 T0001  97.4000 213.1000 0012000  80.0000 280.0000 15.21937835    16
'''
[station.svalbard]
latitude = 78.23
longitude = 15.39
rate_bps = 1_000_000
"""
BY_RANGE = "rates = [{to_km = 1200, bps = 2e6}, {to_km = 2000, bps = 5e5}]"
HEADER = "start,end,sender,receiver,bits_per_s\n"


def orbital(text: str = ORBIT, path: Path = Path("orbit.toml")) -> ContactPlan:
    pytest.importorskip("sgp4")
    pytest.importorskip("skyfield")
    return parse_plan(text, path)


def test_a_pass_in_every_format_carries_the_same_bytes() -> None:
    # Eight minutes at 128 kbit/s are 7,680,000 bytes: ION says bytes, HDTN says bits.
    plans = [
        "a contact +60 +540 1 2 16000\n",
        "@ 2026/11/22-00:00:00\na contact +60 +540 1 2 16000\n",
        json.dumps(
            {
                "contacts": [
                    {"source": 1, "dest": 2, "startTime": 60, "endTime": 540}
                    | {"rateBitsPerSec": 128_000}
                ]
            }
        ),
        f"{HEADER}60,540,1,2,128000\n",
        "# a comment\nstart,end,bytes_per_s\n60,540,16000\n",
        f"{HEADER}2026-11-22T00:01:00Z,2026-11-22T00:09:00Z,1,2,128e3\n",
        f"{HEADER}2026-11-22T01:01:00+01:00,2026-11-22T00:09:00,1,2,128e3\n",
    ]
    for text in plans:
        (contact,) = parse_plan(text).downlinks().contacts
        assert (contact.budget_bytes, contact.seconds) == (7_680_000, 480), text


def test_the_passes_of_an_orbit_in_every_format_carry_the_same_bytes() -> None:
    plan = orbital(ORBIT.replace("rate_bps = 1_000_000", BY_RANGE))
    budgets = [c.budget_bytes for c in plan.downlinks().contacts]
    assert len(budgets) > 8 and len(set(budgets)) == len(budgets)
    for name, write in FORMATS.items():
        again = parse_plan(write(plan)).downlinks()
        assert [c.budget_bytes for c in again.contacts] == budgets, name
        assert [c.light_seconds for c in again.contacts] == pytest.approx(
            [c.light_seconds for c in plan.downlinks().contacts], abs=1e-6
        )
        if name != "hdtn":  # whose times have no epoch
            epoch = parse_plan(write(plan)).epoch
            assert epoch is not None and plan.epoch is not None
            shift = (epoch - plan.epoch).total_seconds()
            for one, other in zip(plan.contacts, again.contacts, strict=True):
                assert other.start + shift == pytest.approx(one.start, abs=1e-5)


def test_rates_by_range_lie_between_the_rates() -> None:
    plan = orbital(ORBIT.replace("rate_bps = 1_000_000", BY_RANGE))
    fast = orbital(ORBIT.replace("1_000_000", "2e6"))
    whole = {c.where: c for c in fast.contacts}
    assert whole
    for contact in plan.contacts:
        assert 5e5 / 8 * 0.999 <= contact.rate < 2e6 / 8
        assert contact.budget_bytes == pytest.approx(contact.rate * contact.seconds, abs=1)
    # Nearer than 2,000 km for less long than over the mask.
    assert sum(c.seconds for c in plan.contacts) < sum(c.seconds for c in fast.contacts)
    assert {c.light_seconds < 2000 / 299_792 for c in plan.downlinks().contacts} == {True}


def test_a_transmitter_that_is_busy_carries_the_bytes_that_are_left() -> None:
    second = ORBIT[ORBIT.index("[station") :].replace("svalbard", "longyear")
    alone, both = orbital().downlinks(), orbital(ORBIT + second).downlinks()
    assert [c.budget_bytes for c in alone.contacts] == [c.budget_bytes for c in both.contacts]
    later = second.replace("15.39", "35.39")
    longer = orbital(ORBIT + later).downlinks()
    assert sum("starts" in note for note in longer.notes) > 3
    total = sum(c.seconds for c in longer.contacts) * 125_000
    assert sum(c.budget_bytes for c in longer.contacts) == pytest.approx(total, abs=50)


def test_elements_may_lie_in_a_file_beside_the_plan(tmp_path: Path) -> None:
    start, end = ORBIT.index("'''"), ORBIT.rindex("'''") + 3
    (tmp_path / "sat.tle").write_text(ORBIT[start + 3 : end - 3])
    file = tmp_path / "plan.toml"
    file.write_text(ORBIT[:start] + '"sat.tle"' + ORBIT[end:])
    pytest.importorskip("sgp4")
    assert load_plan(file).contacts == tuple(
        type(c)(c.start, c.end, c.sender, c.receiver, c.rate, c.confidence, f"{file}:4")
        for c in orbital().contacts
    )


@pytest.mark.parametrize(
    ("day", "said"),
    [
        ("2026-12-10", "21 days before"),
        ("2026-10-20", "31 days after"),
        ("2026-11-30", None),
    ],
)
def test_stale_elements_are_warned_about(day: str, said: str | None) -> None:
    notes = orbital(ORBIT.replace("2026-11-22", day)).downlinks().notes
    assert [said in note for note in notes if said] == ([True] if said else [])
    assert bool(notes) == bool(said)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("latitude = 78.23", "latitude = 91", ":9: `station.svalbard.latitude` is 91"),
        ("latitude = 78.23\n", "", ":8: `station.svalbard.latitude` is missing"),
        ("rate_bps = 1_000_000", "", ":8: [station.svalbard] has neither"),
        ("rate_bps = 1_000_000", "rate_bps = 0", "`station.svalbard.rate_bps` is 0"),
        ("rate_bps = 1_000_000", "rate_bps = -5", "`station.svalbard.rate_bps` is -5"),
        ("rate_bps", "rates = [{to_km = 9, bps = 9}]\nrate_bps", "has both"),
        ("rate_bps = 1_000_000", "rates = [{to_km=9,bps=9}, {to_km=8,bps=8}]", "from near"),
        ("rate_bps = 1_000_000", "node = 1\nrate_bps = 9", "node` is 1, which another has"),
        ("rate_bps = 1_000_000", "mask = 5\nelevation = 9\nrate_bps = 9", "unknown key"),
        ("days = 1", "days = 0", "`days` is 0"),
        ("days = 1", "days = nan", "`days` is nan"),
        ("2026-11-22T", "2026-13-22T", ":1: `start` is"),
        ("2026-11-22T", "1626-12-22T", "`start` is in 1626"),
        ("16\n", "17\n", "checksum"),
        ("CUBESAT\n", "CUBESAT\nx\n", "no element line"),
        ("[station.svalbard]", "[stations.svalbard]", "unknown key `stations`"),
        ("days = 1", 'satellite = "X"\ndays = 1', "'X' is 0 times"),
        ("days = 1", 'shadow = "square"\ndays = 1', "`shadow` is 'square'"),
    ],
)  # fmt: skip
def test_a_bad_orbit_is_refused_in_a_line(old: str, new: str, says: str) -> None:
    assert old in ORBIT
    with pytest.raises(PlanError) as refused:
        orbital(ORBIT.replace(old, new, 1))
    assert says in str(refused.value) and "\n" not in str(refused.value)


def test_a_station_that_sees_nothing_leaves_no_contact() -> None:
    # The orbit comes no nearer to the pole than 17 degrees.
    high = ORBIT.replace("latitude = 78.23", "latitude = 90\nmask = 85")
    with pytest.raises(PlanError, match="holds no contact; no station sees the satellite"):
        orbital(high).downlinks()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("start,end\n0,9\n", ":1: no column gives the rate"),
        ("start,end,bits_per_s,bytes_per_s\n0,9,1,1\n", ":1: there are two rates"),
        ("start,bits_per_s\n0,9\n", "'end' is missing"),
        ("start,end,rate\n0,9,1\n", "'rate' is no column"),
        ("start,end,end,bits_per_s\n0,9,9,1\n", "'end' is there twice"),
        (f"{HEADER}0,9,1,2\n", ":2: has 4 cells under 5 columns"),
        (f"{HEADER}0,9,1,2,0\n", "`bits_per_s` is 0"),
        (f"{HEADER}0,9,1,2,-8\n", "`bits_per_s` is '-8'"),
        (f"{HEADER}0,9,1,2,nan\n", "`bits_per_s` is 'nan'"),
        (f"{HEADER}-5,9,1,2,8\n", "`start` is '-5'"),
        (f"{HEADER}9,9,1,2,8\n", "not after its start"),
        (f"{HEADER}0,9,1,1,8\n", "cannot send to itself"),
        (f"{HEADER}0,9,one,2,8\n", "`sender` is 'one'"),
        (f"{HEADER}tomorrow,9,1,2,8\n", "`start` is 'tomorrow'"),
        (f"{HEADER}2026-13-01T00:00:00,9,1,2,8\n", "no date and time"),
        (f"{HEADER}2026-11-01T00:00:00,9,1,2,8\n", ":2: has times as dates and times in seconds"),
        (f"{HEADER}0,9,1,2,8\n2026-11-01T00:00:00,2026-11-01T00:09:00,1,2,8\n", ":3: has times as"),
        (f"{HEADER}0,9,1,2,8\n5,10,1,2,8\n", ":3: overlaps the contact of"),
        ("start,end,bits_per_s,confidence\n0,9,1,2\n", "`confidence` is '2'"),
        ("start,end,bits_per_s,confidence\n0,9,1,0\n", "never comes about"),
        (f'{HEADER}"0,9,1,2,8\n', "is not CSV"),
    ],
)  # fmt: skip
def test_a_bad_table_is_refused_in_a_line(text: str, says: str) -> None:
    with pytest.raises(PlanError) as refused:
        parse_plan(text, Path("plan.csv"))
    assert says in str(refused.value) and "\n" not in str(refused.value)


def test_rows_of_a_table_may_come_in_any_order() -> None:
    plan = parse_plan(f"{HEADER}600,900,1,3,8\n0,300,1,2,8\n")
    assert [c.start for c in plan.downlinks().contacts] == [0, 600]
    assert parse_plan(HEADER).contacts == ()


def test_the_command_shows_and_converts(tmp_path: Path) -> None:
    pytest.importorskip("sgp4")
    shown = winnow("contacts", CUBESAT)
    assert shown.returncode == 0, shown.stderr
    assert "contacts of CUBESAT" in shown.stdout and "eclipses" in shown.stdout
    as_json = json.loads(winnow("contacts", CUBESAT, "--json").stdout)
    budgets = [c["bytes"] for c in as_json["contacts"]]
    for name in FORMATS:
        file = tmp_path / f"plan.{name}"
        assert winnow("contacts", CUBESAT, "--to", name, "--out", file).returncode == 0
        again = json.loads(winnow("contacts", file, "--node", "1", "--json").stdout)
        # Where stations see it at once, the shares may differ by the rounding of times.
        assert [c["bytes"] for c in again["contacts"]] == pytest.approx(budgets, abs=1)
    for arguments, code in (
        ((tmp_path / "none",), 3),
        ((CUBESAT, "--node", "9"), 3),
        ((CUBESAT, "--to", "kml"), 2),
        ((CUBESAT, "--out", tmp_path / "x"), 2),
        ((CUBESAT, "--to", "csv", "--out", tmp_path), 3),
    ):
        done = winnow("contacts", *arguments)
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
