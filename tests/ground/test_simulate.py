"""`winnow simulate`: a mission from a shell, its page and files, and what is refused."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from winnow_base.errors import DataError, GateError, PlanError
from winnow_cli import app
from winnow_edge.mission import Mission, load_mission
from winnow_ground.simulation.output import show, verdict, write_all
from winnow_ground.simulation.play import Campaign, Options, play, swath_paths

from .simulation.worlds import STRIPS, draw_strips

MISSION = f"""\
name = "sim"
{STRIPS}
[tiling]
merge = 1.0
[simulation]
swaths = ["strips/*.png"]
plan = "plan.ionrc"
"""
PLAN = "".join(f"a contact +{h * 3600} +{h * 3600 + 10} 1 2 1200\n" for h in range(4))
TRUTH = {"class": "impact ejecta", "line": 1280, "sample": 0, "lines": 128, "samples": 128}


@pytest.fixture
def mission(tmp_path: Path) -> Mission:
    """Two strips whose brightness the fake runtime takes for classes, and four contacts."""
    (tmp_path / "strips").mkdir()
    draw_strips(tmp_path / "strips")
    (tmp_path / "plan.ionrc").write_text(PLAN)
    (tmp_path / "mission.toml").write_text(MISSION)
    return load_mission(tmp_path / "mission.toml")


@pytest.fixture
def known(mission: Mission, tmp_path: Path) -> Mission:
    """The same with the truth beside both strips: one feature."""
    for name, features in (("a", [TRUTH]), ("b", [])):
        path = tmp_path / "strips" / f"{name}.truth.json"
        path.write_text(json.dumps({"features": features}))
    return mission


def with_lines(mission: Mission, *lines: str) -> Mission:
    mission.path.write_text(MISSION + "\n".join(lines) + "\n")
    return load_mission(mission.path)


def test_the_policy_brings_value_down_sooner_than_fifo(mission: Mission) -> None:
    campaign = play(mission)
    assert list(campaign.results) == ["utility-per-byte", "fifo"]
    (policy,), (fifo,) = campaign.results.values()
    assert policy.contacts[0].value > 2 * fifo.contacts[0].value
    for run in (policy, fifo):
        for contact in run.contacts:
            assert 0 < contact.sent_bytes <= contact.budget_bytes == 12_000
            assert contact.lost_packets == 0
        assert sum(c.bytes for c in run.contacts) == run.bytes.delivered
        # everything is acknowledged before the next contact, so nothing is sent twice
        assert run.contacts[1].acknowledged == sum(run.contacts[0].products.values())
        assert all(c.returned == 0 for c in run.contacts)


def test_what_gets_lost_is_sent_again_until_all_of_it_is_down(
    mission: Mission, tmp_path: Path
) -> None:
    plan = "".join(f"a contact +{h * 3600} +{h * 3600 + 60} 1 2 20000\n" for h in range(14))
    (tmp_path / "plan.ionrc").write_text(plan)
    campaign = play(mission, Options(loss=0.03, seed=7))
    for (run,) in campaign.results.values():
        assert sum(c.lost_packets for c in run.contacts) > 0
        assert sum(c.returned for c in run.contacts) > 0
        assert run.contacts[0].whole_containers < run.contacts[0].containers
        assert run.bytes.delivered == run.bytes.generated


def test_the_same_seed_plays_the_same_and_another_does_not(mission: Mission) -> None:
    def lost(seed: int) -> list[int]:
        (run,) = play(mission, Options(loss=0.2, seed=seed)).flown
        return [c.lost_packets for c in run.contacts]

    assert lost(1) == lost(1) != lost(2)


def test_acknowledgements_take_light_time(mission: Mission, tmp_path: Path) -> None:
    (tmp_path / "plan.ionrc").write_text(PLAN + "a range +0 +99999 1 2 3000\n")
    (run,) = play(mission).flown
    # contact 2 starts 3600 s after contact 1: not yet heard of; contact 3 has heard
    assert [c.acknowledged > 0 for c in run.contacts] == [False, False, True, True]


def test_a_contact_that_does_not_come_about_loses_everything(
    mission: Mission, tmp_path: Path
) -> None:
    first, *others = PLAN.splitlines()
    (tmp_path / "plan.ionrc").write_text("\n".join([f"{first} 0.000001", *others]))
    (run,) = play(mission).flown
    assert run.contacts[0].value == 0 and sum(run.contacts[0].products.values()) == 0
    assert run.contacts[0].lost_packets == run.contacts[0].packets > 0
    assert run.bytes.delivered > 0 and any(c.returned for c in run.contacts)


def test_value_is_counted_against_truth_where_all_of_it_is_known(
    known: Mission, tmp_path: Path
) -> None:
    campaign = play(known)
    assert list(campaign.results) == ["utility-per-byte", "fifo", "oracle"]
    (run,) = campaign.flown
    # one feature pays its utility once, however many tiles show it
    assert run.value == run.worth == pytest.approx(20.0)
    assert run.classes["impact ejecta"].pictured == run.classes["impact ejecta"].there == 1
    (tmp_path / "strips" / "b.truth.json").unlink()
    alone = play(known)
    assert alone.flown[0].worth is None and list(alone.results) == ["utility-per-byte", "fifo"]
    assert "no truth beside every swath: oracle cannot be played" in alone.notes
    with pytest.raises(DataError, match="oracle needs the truth of every swath"):
        play(known, Options(policies=["oracle"]))


def test_every_policy_can_be_played_over_several_seeds(known: Mission) -> None:
    names = ["random", "confidence", "diversity", "rules", "perfect-net"]
    names += ["send-everything", "evenly-spaced"]
    campaign = play(known, Options(policies=names, seeds=2, loss=0.05))
    assert list(campaign.results) == ["utility-per-byte", *names]
    for name, runs in campaign.results.items():
        assert [run.seed for run in runs] == [0, 1], name
        assert 0 <= runs[0].value <= 20.0 + 1e-9
        # common random numbers: what gets lost does not depend on what is sent
        assert [c.held for c in runs[0].contacts] == [c.held for c in campaign.flown[0].contacts]
    assert campaign.results["rules"][0].value == campaign.flown[0].value


def test_files_are_written_and_scores_are_kept(known: Mission, tmp_path: Path) -> None:
    out = tmp_path / "out"
    campaign = play(known, Options(out=out, seeds=2))
    written = write_all(campaign, out)
    names = ["simulation.html", "simulation.json", "runs.csv", "contacts.csv"]
    assert [p.name for p in written] == names
    page = (out / "simulation.html").read_text()
    assert not re.search(r"(src|href|srcset)=\"(?!data:|#)", page)
    assert "Policies side by side" in page and "What was missed, and why" in page
    figures = json.loads((out / "simulation.json").read_text())
    assert set(figures["policies"]) == {"utility-per-byte", "fifo", "oracle"}
    assert len(figures["policies"]["fifo"][1]["contacts"]) == 4
    runs = list(csv.DictReader((out / "runs.csv").read_text().splitlines()))
    assert [(r["policy"], r["seed"]) for r in runs[:2]] == [
        ("utility-per-byte", "0"),
        ("utility-per-byte", "1"),
    ]
    assert float(runs[0]["value"]) == campaign.flown[0].value
    assert len((out / "contacts.csv").read_text().splitlines()) == 1 + 3 * 2 * 4
    kept = sorted((out / "scores").iterdir())
    assert len(kept) == 2
    before = [p.stat().st_mtime_ns for p in kept]
    again = play(known, Options(out=out, seeds=2))
    assert [p.stat().st_mtime_ns for p in kept] == before
    assert again.flown[0].figures == campaign.flown[0].figures


def test_kept_scores_that_are_damaged_are_named(mission: Mission, tmp_path: Path) -> None:
    play(mission, Options(out=tmp_path / "out"))
    kept = next((tmp_path / "out" / "scores").iterdir())
    for damaged in (b"", kept.read_bytes()[:200], b"PK\x03\x04" + bytes(40)):
        kept.write_bytes(damaged)
        with pytest.raises(DataError, match="holds no scores"):
            play(mission, Options(out=tmp_path / "out"))


def test_the_table_tells_policy_by_policy(known: Mission) -> None:
    campaign = play(known, Options(seeds=3))
    console = Console(width=110, record=True, file=io.StringIO())
    show(campaign, console)
    text = console.export_text()
    title = "sim: 2 swaths, 196 tiles, 4 contacts of node 1, packet loss 0.0%, 3 seeds"
    assert title in text
    assert "…" not in text
    assert any(line.startswith("utility-per-byte brings") for line in verdict(campaign))


@pytest.mark.parametrize(
    ("plan", "says"),
    [
        ("a contact +0 +60 1 2\n", "plan.ionrc:1: a contact has 5 or 6 fields"),
        ("# empty\n", "holds no contact"),
        ("a contact +0 +60 1 2 9\na contact +30 +90 1 2 9\n", "plan.ionrc:2: overlaps"),
        (PLAN + "a contact +0 +60 2 1 9\n", "--node"),
    ],
)
def test_a_bad_plan_is_refused_before_anything_runs(
    mission: Mission, tmp_path: Path, plan: str, says: str
) -> None:
    (tmp_path / "plan.ionrc").write_text(plan)
    with pytest.raises(PlanError) as caught:
        play(mission, Options(out=tmp_path / "out"))
    assert says in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_mission_that_can_never_send_says_so_and_why(mission: Mission, tmp_path: Path) -> None:
    (tmp_path / "plan.ionrc").write_text("a contact +5 +15 1 2 3\n")
    with pytest.raises(GateError, match="can never send: its longest contact holds 30 bytes"):
        play(mission)
    (tmp_path / "plan.ionrc").write_text(PLAN)
    dark = with_lines(
        mission, "[simulation.power]", "battery_wh = 10", "charged = 0.1", "bus_w = 1"
    )
    with pytest.raises(GateError, match=r"can never send: the board was off in every contact"):
        play(dark)


def test_a_battery_that_never_fills_is_noted(mission: Mission) -> None:
    lines = ("[simulation.power]", "battery_wh = 100", "solar_w = 2", "bus_w = 3")
    campaign = play(with_lines(mission, *lines))
    expected = "the battery never fills: the panel gives 2.00 W on average, bus and idle board take"
    assert any(note.startswith(expected) for note in campaign.notes)
    assert campaign.flown[0].figures["charge_least"] < 1


def test_contexts_take_their_bytes_and_pay_their_share(known: Mission) -> None:
    plain = play(known)
    campaign = play(with_lines(known, "[context]", "times = 2", "share = 0.5"))
    assert campaign.notes == plain.notes == ()
    (run,), (before,) = campaign.flown, plain.flown
    assert run.bytes.generated > before.bytes.generated
    assert run.worth == pytest.approx(1.5 * (before.worth or 0))
    assert sum(held.products["context"] for held in run.contacts) > 0


def test_the_time_of_a_tile_is_that_of_bench(mission: Mission) -> None:
    file = mission.path.with_name("bench.json")
    file.write_text(json.dumps({"tile_ms": 2500.0, "runtime": "fake"}))
    timed = with_lines(mission, "[simulation.board]", 'bench = "bench.json"', "idle_w = 1")
    (run,) = play(timed).flown
    tiles = run.figures["tiles_computed"]
    assert run.figures["busy_s"] == pytest.approx(2.5 * tiles)
    for text, says in (("{}", "tile_ms"), ("[]", "bench"), ('{"tile_ms": -1}', "tile_ms")):
        file.write_text(text)
        with pytest.raises(DataError, match=says):
            play(timed)
    file.unlink()
    with pytest.raises(DataError, match=r"bench.json: No such file"):
        play(timed)


def test_swaths_that_are_not_there_are_named(mission: Mission, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no swath matches 'none/\*\.png'"):
        swath_paths(mission, ["none/*.png"])
    for endless in ("**", "/**/*.png", "strips/**"):
        with pytest.raises(DataError, match="folders of folders"):
            swath_paths(mission, [endless])
    assert [p.name for p in swath_paths(mission)] == ["a.png", "b.png"]
    both = [str(tmp_path / "strips" / "*.png"), str(tmp_path / "strips" / "a.png")]
    assert len(swath_paths(mission, both)) == 2


def ran(arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, folder: Path) -> Any:
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["winnow", *arguments])
    try:
        app.main()
    except SystemExit as end:
        return end.code or 0
    return 0


def test_one_json_object_from_a_shell(
    mission: Mission,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ("simulate", "mission.toml", "--loss", "0.05", "--out", "out", "--json")
    assert ran(arguments, monkeypatch, tmp_path) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["loss"] == 0.05 and figures["observations"][0]["name"] == "a.png"
    assert Path(tmp_path, figures["written"][0]).is_file()


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("receive", "mission.toml", "--out", "in"), 3, "holds no packet of ours"),
        (("receive", "none.bin", "--out", "in"), 3, "none.bin: No such file"),
        (("report", "strips"), 3, "holds no received.json"),
        (("simulate", "none.toml"), 3, "none.toml: No such file"),
        (("simulate", "mission.toml", "--plan", "none"), 3, "none: No such file"),
        (("simulate", "mission.toml", "--swath", "x*"), 3, "no swath matches 'x*'"),
        (("simulate", "mission.toml", "--policy", "best"), 3, "'best' is no policy"),
        (("simulate", "mission.toml", "--plan", "late.ionrc"), 5, "can never send"),
        (("simulate", "mission.toml", "--swath", "x.png", "y.png"), 3, "matches 'x.png'"),
        (("simulate", "--swath", "x.png", "y.png", "mission.toml"), 3, "matches 'x.png'"),
        (("simulate", "mission.toml", "--loss", "2"), 2, "--loss"),
    ],
)
def test_bad_input_is_one_line_and_its_exit_code(
    mission: Mission,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    code: int,
    says: str,
) -> None:
    (tmp_path / "late.ionrc").write_text("a contact +5 +15 1 2 1\n")
    assert ran(arguments, monkeypatch, tmp_path) == code
    out, err = capsys.readouterr()
    assert says in err and not out
    if code in (3, 5):
        assert len(err.splitlines()) == 1 and err.startswith("winnow: ")


def test_a_campaign_knows_what_it_played(mission: Mission) -> None:
    campaign = play(mission, Options(contacts=2))
    assert isinstance(campaign, Campaign)
    assert len(campaign.contacts) == 2 and len(campaign.flown[0].contacts) == 2
    assert json.dumps(campaign.as_json(), allow_nan=False)
