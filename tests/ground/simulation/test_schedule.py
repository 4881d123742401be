"""What is seen when: schedules, rendered strips, replays of labelled tiles."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from winnow_base.errors import DataError
from winnow_edge.mission import Mission, parse_mission
from winnow_ground.simulation.labelled import read_tiles
from winnow_ground.simulation.observation import Observation
from winnow_ground.simulation.play import Options, play
from winnow_ground.simulation.schedule import outlook

from .worlds import FLIES, noise

MISSION = f'{FLIES}[simulation]\nplan = "plan.csv"\n'
PLAN = "start,end,bits_per_s\n600,900,64000\n4000,4300,64000\n"
CLASSES = {"other": 6, "crater": 4, "impact ejecta": 2}


@pytest.fixture
def tiles(tmp_path: Path) -> Path:
    """A folder of tiles of 40 x 40 pixels in a folder per class, none like another."""
    rng = np.random.default_rng(1)
    for name, count in CLASSES.items():
        (tmp_path / "tiles" / "val" / name).mkdir(parents=True)
        for n in range(count):
            pixels = rng.integers(0, 256, (40, 40), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "tiles" / "val" / name / f"{n}.png")
    return tmp_path / "tiles"


def mission(folder: Path, more: str = "", text: str = MISSION) -> Mission:
    (folder / "plan.csv").write_text(PLAN)
    return parse_mission(text + more, folder / "mission.toml")


def observations(
    mission: Mission,
    files: Sequence[tuple[Path, str]] = (),
    *,
    until: float = 4300.0,
    seed: int = 0,
    **options: Any,
) -> list[Observation]:
    return outlook(mission, files, until=until, **options).seen(seed)


def seen(folder: Path, more: str, **options: Any) -> list[Observation]:
    return observations(mission(folder, more), **options)


def swath(folder: Path, name: str) -> tuple[Path, str]:
    return noise(folder, name, 192, 200), name


def test_without_a_schedule_one_follows_the_other(tmp_path: Path) -> None:
    files = [swath(tmp_path, "a.png"), swath(tmp_path, "b.png")]
    found = observations(mission(tmp_path), files)
    assert [(o.name, o.start, o.seconds) for o in found] == [
        ("a.png", 0.0, 0.192),
        ("b.png", 0.192, 0.192),
    ]


def test_swaths_come_in_turn_until_the_last_contact(tmp_path: Path) -> None:
    files = [swath(tmp_path, "a.png"), swath(tmp_path, "b.png")]
    schedule = "[simulation.schedule]\nfirst_s = 100\nevery_s = 1000\nseconds = 5\n"
    found = observations(mission(tmp_path, schedule), files)
    assert [(o.name, o.start) for o in found] == [
        ("a.png", 100), ("b.png", 1100), ("a.png#1", 2100), ("b.png#1", 3100), ("a.png#2", 4100),
    ]  # fmt: skip
    assert {o.seconds for o in found} == {5.0}
    # The net saw each once.
    assert found[0].scores is found[2].scores
    random = schedule + 'order = "random"\ncount = 40\n'
    orders = {
        tuple(o.name[0] for o in observations(mission(tmp_path, random), files, until=1, seed=n))
        for n in (1, 2, 2)
    }
    assert len(orders) == 2 and all(10 < "".join(order).count("a") < 30 for order in orders)


def test_a_file_says_what_is_seen_when(tmp_path: Path) -> None:
    files = [swath(tmp_path, "a.png"), swath(tmp_path, "b.png")]
    (tmp_path / "s.csv").write_text(
        "# two\nstart,swath,seconds\n2026-03-01T00:02:00Z,b.png,7\n30,a.png,\n"
    )
    asked = mission(tmp_path, '[simulation.schedule]\nfile = "s.csv"\n')
    import datetime as dt

    epoch = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
    found = observations(asked, files, epoch=epoch)
    assert [(o.name, o.start, o.seconds) for o in found] == [
        ("a.png", 30, 0.192),
        ("b.png", 120, 7),
    ]
    with pytest.raises(DataError, match=r"s.csv:3: `start` is a date, and the contact plan has"):
        observations(asked, files)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no column `start`"),
        ("swath\na.png\n", "no column `start`"),
        ("start,picture\n1,a\n", "'picture' is no column"),
        ("start\n", "names no swath"),
        ("start,swath\n1\n", ":2: has not as many cells"),
        ("start\n-1\n", ":2: `start` is '-1'"),
        ("start\nsoon\n", ":2: `start` is 'soon'"),
        ("start\n2026-13-01T00:00:00\n", "no date and time"),
        ("start,seconds\n1,nan\n", "`seconds` is 'nan'"),
        ("start,swath\n1,none.png\n", ":2: there is no swath 'none.png'; there are: a.png"),
    ],
)
def test_a_bad_schedule_is_refused_in_a_line(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "s.csv").write_text(text)
    asked = mission(tmp_path, '[simulation.schedule]\nfile = "s.csv"\n')
    with pytest.raises(DataError) as refused:
        observations(asked, [swath(tmp_path, "a.png")])
    assert says in str(refused.value) and "\n" not in str(refused.value)


def test_rendered_strips_are_swaths_with_truth(tmp_path: Path) -> None:
    scenes = "[simulation.scenes]\ncount = 2\nlines = 256\nsamples = 300\nseed = 5\n"
    found = seen(tmp_path, scenes, cache=tmp_path / "kept")
    assert [o.name for o in found] == ["scene-5", "scene-6"]
    assert all(o.scores.features for o in found)
    rendered = {p: p.stat().st_mtime_ns for p in (tmp_path / "kept").glob("*.png")}
    assert len(rendered) == 2
    again = seen(tmp_path, scenes, cache=tmp_path / "kept")
    assert {p: p.stat().st_mtime_ns for p in rendered} == rendered
    assert (again[0].scores.logits == found[0].scores.logits).all()
    blind = seen(tmp_path, scenes + 'truth = false\nnames = ["0001ML"]\n', cache=tmp_path / "kept")
    assert [o.name for o in blind] == ["0001ML-5", "0001ML-6"]
    assert {o.scores.features for o in blind} == {None}


def replay(tiles: Path, more: str) -> str:
    return f"[simulation.replay]\ntiles = '{tiles}'\ncolumns = 20\nrows = 50\n{more}"


def test_a_replay_has_the_rarity_that_is_asked_for(tmp_path: Path, tiles: Path) -> None:
    share = 'swaths = 10\nshare = {crater = 0.1, "impact ejecta" = 0.01}\n'
    found = seen(tmp_path, replay(tiles, share))
    assert [o.name for o in found] == [f"replay-{n}" for n in range(10)]
    assert {len(o.scores) for o in found} == {1000}
    there = Counter(name for o in found for name in o.scores.features or ())
    # 10,000 draws: the mean and four standard deviations.
    assert abs(there["crater"] - 1000) < 4 * 30 and abs(there["impact ejecta"] - 100) < 4 * 10
    assert set(there) == {"crater", "impact ejecta"}
    scores = found[0].scores
    side = int(scores.tiles["samples"][0])
    assert (scores.lines, scores.samples) == (50 * side, 20 * side)
    assert scores.tiles["due"].tolist() == [(n // 20 + 1) * side for n in range(1000)]
    # Each tile shows its own feature alone.
    assert sorted(set(scores.shows[:, 1])) == list(range(len(scores.features or ())))
    assert (np.diff(scores.shows[:, 0]) > 0).all()


def test_the_same_tile_is_the_same_wherever_it_lies(tmp_path: Path, tiles: Path) -> None:
    (found,) = seen(tmp_path, replay(tiles, ""))
    labels = np.full(len(found.scores), "other", dtype="U20")
    for tile, feature in found.scores.shows:
        labels[tile] = (found.scores.features or ())[feature]
    by_logits: dict[bytes, set[str]] = {}
    for row, name in zip(found.scores.logits, labels, strict=True):
        by_logits.setdefault(row.tobytes(), set()).add(str(name))
    assert len(by_logits) > 2
    assert (found.scores.tiles["image"] > 24).all()


def test_seeds_draw_other_layouts(tmp_path: Path, tiles: Path) -> None:
    one, same, other = (
        seen(tmp_path, replay(tiles, ""), seed=seed)[0].scores.logits for seed in (1, 1, 2)
    )
    assert (one == same).all() and (one != other).any()


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ("share = {spider = 0.1}\n", "no tile shows 'spider'"),
        ("share = {crater = 0.6, other = 0.6}\n", "add up to 1.2"),
        ("split = 'train'\n", "has no set 'train'; it has: val"),
    ],
)
def test_a_replay_that_cannot_be_is_refused(
    tmp_path: Path, tiles: Path, more: str, says: str
) -> None:
    with pytest.raises(DataError) as refused:
        seen(tmp_path, replay(tiles, more))
    assert says in str(refused.value)


def test_tiles_of_a_class_that_the_net_does_not_know_are_refused(
    tmp_path: Path, tiles: Path
) -> None:
    (tiles / "val" / "crater").rename(tiles / "val" / "caldera")
    with pytest.raises(DataError, match="'caldera', a class that the net does not know"):
        seen(tmp_path, replay(tiles, ""))


def test_labelled_tiles_come_in_several_forms(tmp_path: Path, tiles: Path) -> None:
    folders = read_tiles(tiles, "val")
    assert Counter(name for _, name in folders) == CLASSES
    table = tmp_path / "tiles.csv"
    rows = [f"{path.relative_to(tmp_path)},{name},val" for path, name in folders]
    table.write_text("\n".join(["file,class,set", *rows, "gone.png,crater,train"]) + "\n")
    assert read_tiles(table, "val") == folders
    published = tmp_path / "published"
    (published / "tiles").mkdir(parents=True)
    (published / "x-classmap.csv").write_text("0,other\n1,crater\n")
    folders[0][0].rename(published / "tiles" / "a.png")
    (published / "l_train_val_test.txt").write_text("a.png 1 val\na.png 1 val\nb.png 0 train\n")
    assert read_tiles(published, "val") == [(published / "tiles" / "a.png", "crater")]
    for text, says in (("file,class\nx.png,a\n", "no such tile"), ("a,b\n", "no columns")):
        table.write_text(text)
        with pytest.raises(DataError, match=says):
            read_tiles(table, "val")
    with pytest.raises(DataError, match="no such file or folder"):
        read_tiles(tmp_path / "none", "val")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no labelled tile"):
        read_tiles(tmp_path / "empty", "val")


def test_a_tile_that_is_no_picture_is_refused(tmp_path: Path, tiles: Path) -> None:
    (tiles / "val" / "other" / "0.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"0\.png: the tile cannot be decoded"):
        seen(tmp_path, replay(tiles, ""))


def test_a_replay_is_played_and_judged(tmp_path: Path, tiles: Path) -> None:
    text = replay(tiles, "share = {crater = 0.1}\n") + "[simulation.schedule]\nevery_s = 1500\n"
    campaign = play(mission(tmp_path, text), Options(policies=("fifo",)))
    assert len(campaign.observations) == 3
    (run,) = campaign.results["fifo"]
    assert run.worth and run.figures["tiles"] == 3000
    assert 0 <= run.figures["value_share"] <= 1


def test_every_seed_replays_other_swaths_and_policies_meet_the_same(
    tmp_path: Path, tiles: Path
) -> None:
    text = replay(tiles, "share = {crater = 0.1}\n") + "[simulation.schedule]\nevery_s = 1500\n"
    asked = mission(tmp_path, text)
    campaign = play(asked, Options(policies=("fifo",), seeds=3))
    own, fifo = campaign.flown, campaign.results["fifo"]
    worths = [run.worth for run in own]
    assert len(set(worths)) == 3 and [run.worth for run in fifo] == worths
    assert campaign.worth == pytest.approx(sum(w or 0 for w in worths) / 3)
    (third,) = play(asked, Options(policies=("fifo",), seed=2)).flown
    assert third.as_json() == own[2].as_json()


def test_no_swath_at_all_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="names no swath"):
        seen(tmp_path, "")
