"""Mission files: what is read, what is refused, and where the error points."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from winnow_edge.bundle import find_bundle
from winnow_edge.errors import MissionError
from winnow_edge.mission import Mission, load_mission, mission_of, parse_mission

SMALL = """\
name = "m"
[instrument.browse]
bundle = "hirise-landmarks"
"""


def refused(text: str) -> str:
    with pytest.raises(MissionError) as caught:
        parse_mission(text)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_everything_has_a_default_but_name_and_bundle() -> None:
    mission = parse_mission(SMALL)
    assert mission.name == "m"
    assert mission.instruments["browse"].bundle == "hirise-landmarks"
    assert mission.tiling.scales == (1,)
    assert mission.ranking.policy == "utility-per-byte"


def test_quoted_class_names_and_whole_numbers_for_real_ones() -> None:
    mission = parse_mission(SMALL + '[class."slope streak"]\nthreshold = 1\nutility = 3\n')
    rule = mission.classes["slope streak"]
    assert (rule.threshold, rule.utility) == (1.0, 3.0)
    assert isinstance(rule.utility, float)


@pytest.mark.parametrize(
    ("extra", "line", "says"),
    [
        (
            "[class.crater]\nthreshold = 1.5\n",
            5,
            "`class.crater.threshold` is 1.5, legal is 0 to 1",
        ),
        ("[class.crater]\nthreshold = nan\n", 5, "is nan, legal is 0 to 1"),
        ("[class.crater]\nlatitude = [-65, -90]\n", 5, "two numbers, the southern first"),
        ("[class.crater]\nlatitude = [-90]\n", 5, "two numbers, the southern first"),
        ("[class.crater]\nlatitude = [-91, 0]\n", 5, "is -91.0, legal is -90 to 90"),
        ("[class.crater]\nseason = [5, 5]\n", 5, "must be two numbers that differ"),
        ("[class.crater]\nseason = [0, 361]\n", 5, "is 361.0, legal is 0 to 360"),
        ("[class.crater]\nthreshhold = 0.5\n", 5, "unknown key `class.crater.threshhold`"),
        ("[tilling]\n", 4, "unknown key `tilling`; did you mean `tiling`?"),
        ("[tiling]\nhop = 0\n", 5, "`tiling.hop` is 0, legal is 1 to 1024"),
        ("[tiling]\nhop = 64.0\n", 5, "must be a whole number"),
        ("[tiling]\nhop = true\n", 5, "must be a whole number"),
        ("[tiling]\n# a comment\nscales = [2, 1]\n", 6, "ascending"),
        ("[tiling]\nscales = []\n", 5, "legal is a list of 1 or more values"),
        ("[tiling]\nscales = 1\n", 5, "must be a list"),
        ("[tiling]\ntile = 64\nhop = 65\n", 6, "over tiling.tile = 64"),
        ('[ranking]\npolicy = "best"\n', 5, "legal is one of: fifo, confidence"),
        ('[instrument.b]\nbundle = "x"\nnodata = 300\n', 6, "legal is 0 to 255"),
        ("[instrument.b]\nsamples = 3\n", 4, "`instrument.b.bundle` is missing"),
        ("[link]\napid = 2047\n", 5, "legal is 0 to 2046"),
    ],
)
def test_a_wrong_value_is_refused_with_its_line_and_range(extra: str, line: int, says: str) -> None:
    message = refused(SMALL + extra)
    assert message.startswith(f"mission.toml:{line}: ")
    assert says in message


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "`name`"),
        ('name = "x"\n', "`instrument` is missing"),
        ('name = "x"\n[instrument]\n', "no [instrument.NAME] table"),
        ('name = "x"\ninstrument = 3\n', "must be tables"),
        ('name = "x"\n[instrument]\nbundle = "b"\n', "must be tables"),
        ("name = \n", "is not TOML"),
        (SMALL + 'tiling = "x"\n', "unknown key `instrument.browse.tiling`"),
        ("tiling = 3\n" + SMALL, "`tiling` must be a table"),
    ],
)
def test_a_malformed_file_is_refused(text: str, says: str) -> None:
    assert says in refused(text)


def test_a_missing_file_a_folder_and_a_binary_file_are_refused(tmp_path: Path) -> None:
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "none.toml", tmp_path, binary):
        with pytest.raises(MissionError, match=str(path)):
            load_mission(path)


@given(st.text(max_size=200))
def test_no_text_does_worse_than_a_mission_error(text: str) -> None:
    try:
        mission = parse_mission(text)
    except MissionError:
        return
    assert isinstance(mission, Mission)


def test_instrument_is_picked_by_file_name_then_by_option() -> None:
    mission = parse_mission(
        'name = "m"\n'
        '[instrument.left]\nbundle = "a"\nmatch = "*ML*"\n'
        '[instrument.right]\nbundle = "b"\nmatch = "*MR*"\n'
    )
    assert mission.instrument_for("0077MR000.JPG")[0] == "right"
    assert mission.instrument_for("0077MR000.JPG", "left")[0] == "left"
    with pytest.raises(MissionError, match="no instrument matches"):
        mission.instrument_for("0077MH000.JPG")
    with pytest.raises(MissionError, match="it has: left, right"):
        mission.instrument_for("x", "up")


def test_the_processing_digest_ignores_the_link_and_follows_the_tiling() -> None:
    def digest(extra: str) -> str:
        return parse_mission(SMALL + extra).processing_digest("browse", "00")

    base = digest("")
    assert digest("[link]\nrate_bps = 9600\n") == base
    assert digest("[class.crater]\nutility = 7\n[ranking]\npolicy = 'fifo'\n") == base
    assert digest("[class.crater]\nthreshold = 0.7\n") != base
    assert digest("[tiling]\nhop = 32\n") != base
    assert digest("[compute]\nthreads = 3\n") == base
    assert digest("[compute]\nborderline = 0\n") != base
    assert parse_mission(SMALL).processing_digest("browse", "01") != base


def test_a_mission_cannot_be_changed() -> None:
    mission = parse_mission(SMALL)
    with pytest.raises(dataclasses.FrozenInstanceError):
        mission.name = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    "extra",
    [
        "[link]\nrate_bps = 1" + "0" * 400 + "\n",
        "[link]\napid = 1" + "0" * 5000 + "\n",
        "[link]\napid = 0x" + "f" * 5000 + "\n",
        "x = " + "[" * 20_000 + "\n",
        'note = """\n' + "a" * 60 + '!\n"""\n',
    ],
    ids=["huge number", "endless digits", "endless hexadecimals", "endless nesting", "long words"],
)
def test_what_only_malice_writes_is_refused_too(extra: str) -> None:
    refused(SMALL + extra)


def test_the_rover_mission_chooses_the_camera_by_the_file_name() -> None:
    mission = load_mission(Path(__file__).parents[2] / "missions" / "msl-by-instrument.toml")
    for name, camera in (
        ("0077ML0005780000102730I01_DRCL.JPG", "mastcam-left"),
        ("0077MR0005780000102730I01_DRCL.JPG", "mastcam-right"),
        ("0292MH0002810020103587C00_DRCL.JPG", "mahli"),
    ):
        chosen, instrument = mission.instrument_for(name)
        assert chosen == camera
        assert find_bundle(instrument.bundle).is_file()
    with pytest.raises(MissionError, match="no instrument matches"):
        mission.instrument_for("0077NAV0005780000102730I01.JPG")
    assert mission.instrument_for("-", asked="mahli")[0] == "mahli"


@pytest.mark.parametrize(
    ("table", "line"),
    [
        ("quick_look", "bytes = 999"),
        ("products", "image_bytes = 1"),
        ("products", "thumbnail_bytes = 599"),
    ],
)
def test_bytes_that_no_picture_fits_are_refused(table: str, line: str) -> None:
    camera = "[instrument.camera]\nbundle = 'x'\n"
    key, _, value = line.partition(" = ")
    with pytest.raises(
        MissionError, match=rf"mission.toml:5: `{table}.{key}` is {value}, legal is 0 or"
    ):
        parse_mission(f"name = 'm'\n{camera}[{table}]\n{line}\n")
    parse_mission(f"name = 'm'\n{camera}[{table}]\n{key} = 0\n")
    parse_mission(f"name = 'm'\n{camera}[{table}]\n{key} = 1000\n")


def test_a_mission_of_changed_values_is_checked_like_its_file() -> None:
    values = {"name": "m", "instrument": {"camera": {"bundle": "hirise-landmarks"}}}
    assert mission_of({**values, "tiling": {"hop": 32}}).tiling.hop == 32
    with pytest.raises(MissionError, match=r"`tiling.hop` is 0, legal is 1 to 1024"):
        mission_of({**values, "tiling": {"hop": 0}})
