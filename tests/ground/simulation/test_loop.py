"""Time passes: backlog, light, power, heat, failures, quota; and no byte is lost or invented."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from winnow_edge.downlink.packing import Hold, fill
from winnow_ground.simulation.curves import curves
from winnow_ground.simulation.decide import decide
from winnow_ground.simulation.onboard import OnBoard
from winnow_ground.simulation.policies import ALL, Drawn, candidates
from winnow_ground.simulation.run import Prepared, simulate

from .worlds import contacts, mission, observations

SLOW = "[simulation.board]\nms_per_tile = 20000\nmj_per_tile = 100\nidle_w = 1\n"
LIVELY = """
[link]
loss = 0.02
packet_bytes = 300
container_bytes = 1500
[store]
quota_mb = {quota}
[audit]
share = 0.02
[simulation.board]
ms_per_tile = {ms}
mj_per_tile = 500
idle_w = 0.5
[simulation.power]
battery_wh = {wh}
solar_w = 4
bus_w = 1
camera_w = 2
uj_per_bit = 40
period_s = 5600
eclipse_s = 2100
[simulation.heat]
kelvin_per_w = 60
[simulation.failures]
resets_per_day = 30
missed = 0.15
"""


@pytest.mark.parametrize("policy", ALL)
def test_bytes_are_conserved_whatever_happens(policy: str) -> None:
    rng = np.random.default_rng(ALL.index(policy))
    for seed in range(4):
        quota, ms = float(rng.choice([0.5, 0.8, 10])), int(rng.choice([1, 900, 4000]))
        text = LIVELY.format(quota=quota, ms=ms, wh=float(rng.choice([0.4, 3, 50])))
        seen = observations(6, every=2500, tiles=300, rare=0.2)
        windows = contacts(7, every=2600, rate=float(rng.choice([60, 900])), light_seconds=700)
        windows[2] = replace(windows[2], confidence=0.5)
        run = simulate(mission(text), seen, windows, seed=seed, policy=policy)
        run.bytes.check()
        assert 0 <= run.value <= (run.worth or 0) + 1e-9
        assert run.bytes.delivered == sum(held.bytes for held in run.contacts)
        assert run.value == pytest.approx(sum(held.value for held in run.contacts))
        if run.bound is not None:
            assert run.value <= run.bound + 1e-6
        # what is missed has a reason, each feature once
        waiting = sum(one.there - one.pictured for one in run.classes.values())
        assert sum(n for why in run.missed.values() for n in why.values()) == waiting


def test_the_same_arguments_give_the_same_result() -> None:
    text = LIVELY.format(quota=1, ms=500, wh=3)
    seen, windows = observations(4), contacts(5)
    one = simulate(mission(text), seen, windows, seed=3, cache=Prepared())
    other = simulate(mission(text), seen, windows, seed=3)
    assert one.as_json() == other.as_json()
    assert one.figures != simulate(mission(text), seen, windows, seed=4).figures


def test_tiles_that_come_faster_than_they_are_computed_wait() -> None:
    seen, windows = observations(3), contacts(5)
    at_once = simulate(mission(), seen, windows)
    slowly = simulate(mission(SLOW), seen, windows)
    assert at_once.figures["queue_most"] == 0 < slowly.figures["queue_most"]
    tiles = sum(int((~s.scores.tiles["screened"]).sum()) for s in seen)
    assert slowly.figures["tiles_computed"] == at_once.figures["tiles_computed"] == tiles
    assert slowly.figures["busy_s"] == pytest.approx(20 * tiles, rel=1e-6)
    assert slowly.figures["energy_wh"] > 0.1 * tiles / 3600
    assert slowly.contacts[0].value < at_once.contacts[0].value
    never = simulate(mission(SLOW.replace("20000", "900000")), seen, windows)
    reasons = {reason for why in never.missed.values() for reason in why}
    assert "not computed" in reasons


def test_a_battery_that_runs_down_stops_computing_and_sending_until_the_sun_comes() -> None:
    power = (
        "[simulation.power]\nbattery_wh = 5\ncharged = 0.72\nbus_w = 1\nsolar_w = 3\n"
        "period_s = 60000\neclipse_s = 5000\n"
    )
    seen, windows = observations(4), contacts(4, every=4000)
    run = simulate(mission(SLOW + power), seen, windows)
    assert run.figures["charge_least"] < 0.7 and run.figures["off_s"] > 3600
    dark = [held for held in run.contacts if not held.held]
    assert dark and all(held.sent_bytes == 0 for held in dark)
    assert sum(held.lacking_bytes for held in dark) == sum(held.budget_bytes for held in dark)
    assert any(held.sent_bytes for held in run.contacts if held.start > 11_000)
    night = power.replace("solar_w = 3", "solar_w = 0")
    blind = simulate(mission(SLOW + night), seen, windows)
    reasons = {reason for why in blind.missed.values() for reason in why}
    assert "no energy" in reasons


def test_a_contact_uses_no_more_than_the_energy_there_is() -> None:
    power = "[simulation.power]\nbattery_wh = 1\nbus_w = 0.1\nuj_per_bit = 500\n"
    run = simulate(mission(power), observations(2), contacts(2, rate=2000))
    first = run.contacts[0]
    usable = first.budget_bytes - first.lacking_bytes
    # 0.2 Wh are left above the limit when the contact begins, less the bus while it lasts.
    assert usable * 8 * 500e-6 == pytest.approx(0.2 * 3600, rel=0.05)
    assert 0 < first.sent_bytes <= usable < first.budget_bytes


def test_a_hot_board_computes_more_slowly() -> None:
    seen, windows = observations(3), contacts(4)
    board = "[simulation.board]\nms_per_tile = 3000\nmj_per_tile = 3000\nidle_w = 0.1\n"
    heat = "[simulation.heat]\nkelvin_per_w = 100\nlimit_c = 80\nseconds = 60\nslower = 0.25\n"
    cool, hot = (simulate(mission(board + more), seen, windows) for more in ("", heat))
    assert hot.figures["celsius_most"] == pytest.approx(80, abs=1)
    assert hot.figures["busy_s"] > 1.2 * cool.figures["busy_s"]


def test_resets_cost_time_and_missed_contacts_carry_nothing() -> None:
    seen, windows = observations(4), contacts(6)
    fails = "[simulation.failures]\nresets_per_day = 200\nmissed = 0.5\n"
    plain = simulate(mission(SLOW), seen, windows, seed=1)
    run = simulate(mission(SLOW + fails), seen, windows, seed=1)
    assert run.figures["resets"] > 20 and run.figures["off_s"] > 20 * 30
    assert run.figures["busy_s"] > plain.figures["busy_s"]
    absent = [held for held in run.contacts if not held.held]
    assert 0 < len(absent) < len(windows) and all(held.bytes == 0 for held in absent)
    again = simulate(mission(SLOW + fails), seen, windows, seed=1, policy="fifo")
    assert [h.held for h in again.contacts] == [h.held for h in run.contacts]


def test_a_contact_that_fails_by_chance_is_not_held_and_hears_nothing() -> None:
    seen, windows = observations(1), contacts(4, rate=300)
    windows[1] = replace(windows[1], confidence=1e-6)
    run = simulate(mission(), seen, windows)
    assert [held.held for held in run.contacts] == [True, False, True, True]
    assert run.figures["contacts_missed"] == 1
    first, failed, third, _ = run.contacts
    assert failed.acknowledged == failed.returned == failed.bytes == 0 < failed.sent_bytes
    assert third.acknowledged == sum(first.products.values()) > 0


def test_a_reset_cuts_a_contact_whatever_sending_costs() -> None:
    seen, windows = observations(4), contacts(6)
    fails = "[simulation.failures]\nresets_per_day = 2000\n[simulation.power]\nuj_per_bit = "
    free, dear = (
        simulate(mission(f"{fails}{cost}\n"), seen, windows, seed=1) for cost in (0.0, 1.0)
    )
    assert free.figures["lost_bytes"] == dear.figures["lost_bytes"] > 0


def test_acknowledgements_come_after_light_and_overdue_products_go_again() -> None:
    seen = observations(1, tiles=100)
    far = contacts(4, every=1000, light_seconds=5000.0)
    run = simulate(mission(), seen, far)
    assert [held.acknowledged for held in run.contacts] == [0, 0, 0, 0]
    assert sum(held.returned for held in run.contacts) > 0
    assert run.figures["repeated_bytes"] > 0
    run.bytes.check()


def test_the_quota_evicts_what_is_worth_least() -> None:
    seen, windows = observations(6, rare=0.3), contacts(2, every=15_000)
    roomy = simulate(mission(), seen, windows)
    tight = simulate(mission("[store]\nquota_mb = 0.5\n"), seen, windows)
    assert roomy.bytes.evicted == 0 < tight.bytes.evicted
    assert tight.figures["held_most"] <= 500_000
    assert roomy.figures["records_compacted"] == 0 < tight.figures["records_compacted"]
    assert any("evicted" in why for why in tight.missed.values())
    # the rare and dear class suffers least
    assert tight.figures["recall.impact"] >= tight.figures["recall.crater"]


def test_policies_rank_as_they_should() -> None:
    seen, windows = observations(8, rare=0.2), contacts(3, rate=500)
    cache = Prepared()
    values = {
        name: simulate(mission(), seen, windows, policy=name, cache=cache).value for name in ALL
    }
    assert values["perfect-net"] >= values["oracle"] >= values["utility-per-byte"]
    assert values["utility-per-byte"] > 1.5 * values["fifo"]
    assert values["utility-per-byte"] > 1.5 * values["random"]
    assert values["utility-per-byte"] > values["send-everything"]
    assert values["rules"] == values["utility-per-byte"]


def test_what_is_drawn_is_the_same_though_few_products_are_looked_at() -> None:
    # Small records by the thousand, of which a contact carries a few.
    board, drawn, flies = OnBoard(mission()), Drawn(4), mission()
    for n, seen in enumerate(observations(6, tiles=2000, rare=0.01)):
        made = decide(seen.scores, flies)
        board.commit(board.begin(made, n, 0, 0.0), (0, len(made.due)), 0.0)
    budget = 20_000
    few = candidates(board, flies, budget, drawn.draws(board))
    assert len(few) < board.count / 5
    whole, part = (
        fill(
            board.table(places), drawn(board, places), {}, Hold(flies.link, budget, lambda _: True)
        )
        for places in (board.stored(), few)
    )
    assert part == whole and sum(map(len, part)) > 50


def test_promises_are_kept_by_rules_alone() -> None:
    rules = mission().classes
    crater = replace(rules["crater"], at_least=1000)
    promising = replace(mission(), classes={**rules, "crater": crater})
    seen, windows = observations(8, rare=0.2), contacts(1, every=1e6, rate=800)
    kept = simulate(promising, seen, windows)
    plain = simulate(promising, seen, windows, policy="utility-per-byte")
    assert kept.policy == "rules"
    assert kept.figures["recall.crater"] > plain.figures["recall.crater"]


def test_curves_tell_what_a_share_of_the_bytes_would_bring() -> None:
    seen = observations(5, rare=0.1)
    names = ("utility-per-byte", "fifo", "oracle", "perfect-net", "send-everything")
    found = {curve.policy: curve for curve in curves(mission(), seen, names)}
    assert list(found) == ["utility-per-byte", "fifo", "oracle", "perfect-net"]
    for share in (0.02, 0.05, 0.2):
        at = {name: curve.at(share) for name, curve in found.items()}
        assert at["perfect-net"] >= at["oracle"] >= at["utility-per-byte"] > at["fifo"]
    ends = {curve.at(1.0) for name, curve in found.items() if name != "perfect-net"}
    assert max(ends) == pytest.approx(min(ends))
