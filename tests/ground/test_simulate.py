"""Simulation: the code that flies, contact by contact, with packets lost and sent again."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from winnow_base.errors import DataError, PlanError
from winnow_cli import app
from winnow_edge.downlink.reader import LinkCounts, read_packets
from winnow_edge.mission import Mission, load_mission
from winnow_edge.store.store import Store
from winnow_ground.simulate import Options, Simulation, simulate, split_packets, swath_paths
from winnow_ground.simulation_output import show, verdict, write_plots

MISSION = """\
name = "sim"
[instrument.camera]
bundle = "hirise-landmarks"
[compute]
runtime = "fake"
threads = 1
[tiling]
merge = 1.0
[class.crater]
threshold = 0.0
utility = 1.0
[class."impact ejecta"]
threshold = 0.0
utility = 20.0
[link]
packet_bytes = 512
container_bytes = 2048
[simulation]
swaths = ["strips/*.png"]
plan = "plan.ionrc"
"""
PLAN = "".join(f"a contact +{h * 3600} +{h * 3600 + 10} 1 2 1200\n" for h in range(4))


@pytest.fixture
def mission(tmp_path: Path) -> Mission:
    """Two strips whose brightness the fake runtime takes for classes, and four contacts."""
    (tmp_path / "strips").mkdir()
    rng = np.random.default_rng(3)
    # The fake runtime takes a tile's brightness for its class: crater is 48, impact ejecta 176.
    for name, levels in (("a", [48] * 10 + [176]), ("b", [16, 48, 176, 16])):
        blocks = [np.full((128, 512), level) + rng.integers(-6, 7, (128, 512)) for level in levels]
        Image.fromarray(np.concatenate(blocks).astype(np.uint8)).save(
            tmp_path / "strips" / f"{name}.png"
        )
    (tmp_path / "plan.ionrc").write_text(PLAN)
    (tmp_path / "mission.toml").write_text(MISSION)
    return load_mission(tmp_path / "mission.toml")


def played(mission: Mission, **options: Any) -> Simulation:
    with simulate(mission, Options(**options)) as simulation:
        return simulation


def products_on_board(out: Path) -> int:
    with Store.open(out / "store", mission=None, read_only=True) as store:
        return sum(sum(states.values()) for states in store.counts().values())


def test_the_policy_brings_value_down_sooner_than_fifo(mission: Mission) -> None:
    fifo, policy = played(mission).runs
    assert (fifo.policy, policy.policy) == ("fifo", "utility-per-byte")
    assert policy.contacts[0].value > 2 * fifo.contacts[0].value
    for run in (fifo, policy):
        for contact in run.contacts:
            assert 0 < contact.sent_bytes <= contact.budget_bytes == 12_000
            assert contact.lost_packets == 0
        values = [c.value for c in run.contacts]
        assert values == sorted(values)
        assert sum(c.bytes for c in run.contacts) == run.received.bytes
        # everything is acknowledged before the next contact, so nothing is sent twice
        assert run.contacts[1].acknowledged == sum(run.contacts[0].products.values())
        assert all(c.returned == 0 for c in run.contacts)


def test_what_gets_lost_is_sent_again_until_all_of_it_is_down(
    mission: Mission, tmp_path: Path
) -> None:
    (tmp_path / "plan.ionrc").write_text(
        "".join(f"a contact +{h * 3600} +{h * 3600 + 60} 1 2 20000\n" for h in range(14))
    )
    simulation = played(mission, loss=0.03, seed=7, out=tmp_path / "out")
    everything = products_on_board(tmp_path / "out")
    for run in simulation.runs:
        assert sum(c.lost_packets for c in run.contacts) > 0
        assert sum(c.returned for c in run.contacts) > 0
        assert run.contacts[0].whole_containers < run.contacts[0].containers
        ids = [p.id for p in run.received.products]
        assert len(ids) == len(set(ids)) == everything


def test_the_same_seed_plays_the_same_and_another_does_not(mission: Mission) -> None:
    def lost(seed: int) -> list[int]:
        return [c.lost_packets for c in played(mission, loss=0.2, seed=seed).runs[1].contacts]

    assert lost(1) == lost(1) != lost(2)


def test_acknowledgements_take_light_time(mission: Mission, tmp_path: Path) -> None:
    (tmp_path / "plan.ionrc").write_text(PLAN + "a range +0 +99999 1 2 3000\n")
    run = played(mission).runs[1]
    # contact 2 starts 3600 s after contact 1: not yet heard of; contact 3 has heard
    assert [c.acknowledged > 0 for c in run.contacts] == [False, False, True, True]


def test_a_contact_that_does_not_come_about_loses_everything(
    mission: Mission, tmp_path: Path
) -> None:
    first, *others = PLAN.splitlines()
    (tmp_path / "plan.ionrc").write_text("\n".join([f"{first} 0.000001", *others]))
    run = played(mission).runs[1]
    assert run.contacts[0].value == 0 and sum(run.contacts[0].products.values()) == 0
    assert run.contacts[0].lost_packets == run.contacts[0].packets > 0
    assert run.received.products and any(c.returned for c in run.contacts)


def test_value_is_counted_against_truth_where_all_of_it_is_known(
    mission: Mission, tmp_path: Path
) -> None:
    feature = {"class": "impact ejecta", "line": 1280, "sample": 0, "lines": 128, "samples": 128}
    strips = tmp_path / "strips"
    (strips / "a.truth.json").write_text(json.dumps({"features": [feature]}))
    assert played(mission).features is None
    (strips / "b.truth.json").write_text(json.dumps({"features": []}))
    simulation = played(mission)
    assert simulation.features == 1
    policy = simulation.runs[1]
    assert policy.contacts[-1].features == 1
    # one feature pays its utility once, however many tiles show it
    assert policy.value == pytest.approx(20.0)
    assert "1 of 1 features seen" in verdict(simulation)[1]


def test_everything_is_kept_in_out_and_goes_on_from_there(mission: Mission, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with simulate(mission, Options(out=out)) as simulation:
        written = write_plots(simulation, out)
    assert [p.name for p in written] == [
        "simulation.html",
        "simulation-contacts.png",
        "simulation-value.png",
        "simulation.json",
    ]
    figures = json.loads((out / "simulation.json").read_text())
    assert set(figures["policies"]) == {"fifo", "utility-per-byte"}
    assert len(figures["policies"]["fifo"]["contacts"]) == 4
    assert (out / "fifo" / "received" / "received.json").is_file()
    # a second time the swaths are there already and nothing doubles
    before = products_on_board(out)
    again = played(mission, out=out, contacts=2)
    assert products_on_board(out) == before
    assert [len(run.contacts) for run in again.runs] == [2, 2]


def test_the_table_tells_contact_by_contact(mission: Mission) -> None:
    simulation = played(mission)
    console = Console(width=110, record=True, file=io.StringIO())
    show(simulation, console)
    text = console.export_text()
    assert "sim: 2 swaths, 4 contacts of node 1, packet loss 0.0%" in text
    assert "T+3:00:00" in text and text.count("fifo") >= 5
    assert "times fifo's value" in text
    assert "…" not in text
    narrow = Console(width=90, record=True, file=io.StringIO())
    show(simulation, narrow)
    assert "…" not in narrow.export_text()


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
        played(mission, out=tmp_path / "out")
    assert says in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_swaths_that_are_not_there_are_named(mission: Mission, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no swath matches 'none/\*\.png'"):
        swath_paths(mission, ["none/*.png"])
    assert [p.name for p in swath_paths(mission)] == ["a.png", "b.png"]
    both = [str(tmp_path / "strips" / "*.png"), str(tmp_path / "strips" / "a.png")]
    assert len(swath_paths(mission, both)) == 2


def run(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    code = "import sys; from winnow_cli.app import main; sys.argv[0] = 'winnow'; main()"
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def test_the_three_commands_from_a_shell(mission: Mission, tmp_path: Path) -> None:
    done = run("simulate", "mission.toml", "--loss", "0.05", "--out", "out", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert figures["loss"] == 0.05 and figures["swaths"][0]["swath"] == "a.png"
    packets = sorted((tmp_path / "out" / "fifo").glob("*.received.packets"))
    done = run("receive", *packets, "--out", "in", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "packets: " in done.stdout and "contact 4: " in done.stdout
    done = run("report", "in", "--mission", "mission.toml", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert Path(tmp_path, json.loads(done.stdout)["report"]).is_file()


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("receive", "mission.toml", "--out", "in"), 3, "holds no packet of ours"),
        (("receive", "none.bin", "--out", "in"), 3, "none.bin: No such file"),
        (("report", "strips"), 3, "holds no received.json"),
        (("simulate", "none.toml"), 3, "none.toml: No such file"),
        (("simulate", "mission.toml", "--plan", "none"), 3, "none: No such file"),
        (("simulate", "mission.toml", "--swath", "x*"), 3, "no swath matches 'x*'"),
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
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["winnow", *arguments])
    with pytest.raises(SystemExit) as caught:
        app.main()
    out, err = capsys.readouterr()
    assert caught.value.code == code
    assert says in err and not out
    if code == 3:
        assert len(err.splitlines()) == 1 and err.startswith("winnow: ")


def test_packets_are_split_as_the_edge_reads_them(mission: Mission, tmp_path: Path) -> None:
    played(mission, out=tmp_path / "out")
    file = tmp_path / "out" / "fifo" / "contact-001.packets"
    pieces = list(split_packets(memoryview(file.read_bytes())))
    counts = LinkCounts()
    with file.open("rb") as stream:
        assert len(list(read_packets(stream, counts))) == len(pieces) > 3
    assert b"".join(pieces) == file.read_bytes()
