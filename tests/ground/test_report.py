"""The report: what it says is what came down, it stands alone, and it trusts no text."""

from __future__ import annotations

import base64
import dataclasses
import html
import io
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.running import winnow
from winnow_base.errors import DataError, PacketError
from winnow_edge.bundle import find_bundle, open_bundle
from winnow_edge.errors import OutputError, StoreError, SwathError
from winnow_edge.products.kinds import Box, Kind
from winnow_edge.store.store import Store
from winnow_edge.testing import begin, product_of_size
from winnow_ground import caution, findings, plots, swath_plot
from winnow_ground.against_truth import ClassTally, lay
from winnow_ground.labels import Placed, place_labels
from winnow_ground.palette import Palette
from winnow_ground.receive import receive
from winnow_ground.received import load_received
from winnow_ground.report import write_report
from winnow_ground.truth import Feature, Truth, TruthOfTable, detection_boxes, load_truth

Fly = Callable[..., Any]


class Page(HTMLParser):
    """Counts tags, collects what a browser would fetch and what a reader would see."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.urls: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.urls += [v or "" for k, v in attrs if k in ("src", "href", "srcset", "data")]

    def handle_data(self, data: str) -> None:
        self.text += data


def swath_file(path: Path, lines: int = 768, samples: int = 512) -> Path:
    pixels = np.random.default_rng(5).integers(0, 256, (lines, samples), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def truth_file(path: Path, store: Path, share: float = 0.5) -> Path:
    """Truth in which a share of the detections are right, and one feature that nobody found."""
    with Store.open(store, mission=None, read_only=True) as opened:
        boxes = detection_boxes(opened)
        names = opened.swaths()[0].classes
        found = {r.tile_index: names[r.class_index] for r in opened.products() if r.detection}
    features = [
        {"class": found[tile], "line": b.line, "sample": b.sample, "lines": 50, "samples": 50}
        for (_, tile), b in sorted(boxes.items())
    ][: round(len(boxes) * share)]
    features.append({"class": "crater", "line": 5000, "sample": 0, "lines": 9, "samples": 9})
    path.write_text(json.dumps({"lines": 768, "samples": 512, "features": features}))
    return path


def test_the_page_stands_alone_and_shows_every_picture(fly: Fly, tmp_path: Path) -> None:
    flown = fly()
    flown.contact(tmp_path / "1.bin", 20_000)
    received = receive([tmp_path / "1.bin"], tmp_path / "in")
    report = write_report(tmp_path / "in")
    page = Page(report.page.read_text())
    outside = [u for u in page.urls if not u.startswith(("data:", "#"))]
    assert not outside
    assert "script" not in page.tags and "link" not in page.tags
    jpegs = [u for u in page.urls if u.startswith("data:image/jpeg")]
    pictured = {(p.swath, p.tile) for p in received.products if p.kind in ("image", "thumbnail")}
    assert len(jpegs) == len(pictured) > 0
    assert [p.name for p in report.pngs] == [
        "report-swath.png",
        "report-classes.png",
        "report-arrival.png",
    ]
    inside = [u for u in page.urls if u.startswith("data:image/png")]
    dark, light = inside[::2], inside[1::2]
    assert not set(dark) & set(light)
    for url, path in zip(light, report.pngs, strict=True):
        assert base64.b64decode(url.split(",")[1]) == path.read_bytes()
        with Image.open(path) as image:
            assert min(image.size) > 150
    assert "Nothing went wrong" in page.text


def test_value_against_bytes_needs_the_store_and_favours_the_policy(
    fly: Fly, tmp_path: Path
) -> None:
    flown = fly()
    sent = flown.contact(tmp_path / "1.bin", 9_000)
    receive([tmp_path / "1.bin"], tmp_path / "in")
    report = write_report(
        tmp_path / "in", store=tmp_path / "store", mission=tmp_path / "mission.toml"
    )
    assert "report-value.png" in [p.name for p in report.pngs]
    with Store.open(tmp_path / "store", mission=None, read_only=True) as store:
        board = findings.value_on_board(store, flown.mission, None)
        got, _ = findings.value_received(load_received(tmp_path / "in"), flown.mission, None)
    assert got == pytest.approx(sent.value, rel=1e-4)
    size = load_received(tmp_path / "in").bytes
    assert board.after("utility-per-byte", size) > 2 * board.after("fifo", size)
    assert board.gains["fifo"].sum() == pytest.approx(board.gains["utility-per-byte"].sum())
    words = " ".join(f"{figure} {text}" for figure, text in report.headline)
    share = f"{100 * got / board.total:.0f} %"
    assert f"{share} of the value on board came down, by the model's word" in words


def test_a_demo_folder_is_understood_as_it_is(fly: Fly, tmp_path: Path) -> None:
    fly(name="swath.png").contact(tmp_path / "1.bin", 20_000)
    receive([tmp_path / "1.bin"], tmp_path / "received")
    swath_file(tmp_path / "swath.png")
    truth_file(tmp_path / "truth.json", tmp_path / "store")
    report = write_report(tmp_path)
    assert report.page == tmp_path / "report.html"
    assert {p.name for p in report.pngs} >= {"report-swath.png", "report-value.png"}
    page = Page(report.page.read_text()).text
    (seen,) = (f for f, words in report.headline if "features that are there" in words)
    there = len(load_truth(tmp_path / "truth.json"))
    assert re.fullmatch(rf"\d+ of {there}", seen)
    (value,) = (words for _, words in report.headline if "value" in words)
    assert "of the value of all that is there came down" in value
    assert "really there" in page and "false: not in truth" in page
    assert "model's word" not in page


def test_truth_counts_a_feature_once_and_the_oracle_is_best(fly: Fly, tmp_path: Path) -> None:
    flown = fly()
    features = load_truth(truth_file(tmp_path / "truth.json", tmp_path / "store"))
    with Store.open(tmp_path / "store", mission=None, read_only=True) as store:
        board = findings.value_on_board(store, flown.mission, {1: features})
        # the same feature twice over: worth no more than once for a second picture of it
        table = store.table()
        boxes = {key: Box(0, 0, 64, 64) for key in detection_boxes(store)}
        crater = (Feature("crater", Box(0, 0, 64, 64)),)
        one = TruthOfTable.of(table, boxes, {1: crater}, flown.mission)
        assert one.gains(np.arange(len(table))).sum() == pytest.approx(1.0)
    sums = {name: gains.sum() for name, gains in board.gains.items()}
    utility = {"crater": 1.0, "dark dune": 1.0, "impact ejecta": 20.0}
    there = sum(utility[f.class_name] for f in features[:-1])
    assert sums["oracle"] == pytest.approx(sums["fifo"]) == pytest.approx(there)
    for size in (500, 2_000, 10_000, 40_000):
        assert board.after("oracle", size) >= 0.99 * board.after("utility-per-byte", size)
    assert board.seen_after("oracle", 10**9) == len(features) - 1


def test_troubles_are_said_in_words(fly: Fly, tmp_path: Path) -> None:
    fly(truncated="ends inside line 700").contact(tmp_path / "1.bin", 30_000)
    data = bytearray((tmp_path / "1.bin").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "1.bin").write_bytes(data + b"noise" * 30)
    receive([tmp_path / "1.bin"], tmp_path / "in")
    report = write_report(tmp_path / "in", store=tmp_path / "store")
    text = " ".join(report.troubles)
    assert "1 packet arrived damaged (CRC failure)" in text
    assert "1 container arrived in part" in text
    assert "belonged to no packet" in text
    assert "Swath ESP_1 is truncated: ends inside line 700." in text
    page = Page(report.page.read_text()).text
    assert "Not everything went as it should" in page and "Nothing went wrong" not in page
    assert all(line in page for line in report.troubles)


def test_evicted_products_are_told(fly: Fly, tmp_path: Path) -> None:
    flown = fly("[store]\nquota_mb = 0.5\n".join(_split_mission()))
    flown.contact(tmp_path / "1.bin", 5_000)
    receive([tmp_path / "1.bin"], tmp_path / "in")
    with Store.open(tmp_path / "store", mission=flown.mission) as store:
        writer = begin(store, "more")
        for tile in range(60):
            image = product_of_size(Kind.IMAGE, tile, 9_000, 0.9, swath=writer.swath_id)
            writer.commit(products=[image], next_tile=tile + 1, next_line=tile, pending=b"")
    report = write_report(tmp_path / "in", store=tmp_path / "store")
    assert any("had to leave the store" in said for said in report.troubles)


def _split_mission() -> tuple[str, str]:
    text = Path(__file__).with_name("conftest.py").read_text()
    body = re.search(r'MISSION = """\\\n(.*?)"""', text, re.S)
    assert body is not None
    before, after = body[1].split("[link]")
    return before, "[link]" + after


def test_everything_on_the_page_is_escaped(fly: Fly, tmp_path: Path) -> None:
    evil = '<script>alert("$x_1$")</script>&.png'
    flown = fly(name=evil, truncated="<b>bold</b>")
    flown.contact(tmp_path / "1.bin", 15_000)
    receive([tmp_path / "1.bin"], tmp_path / "in")
    source = write_report(tmp_path / "in").page.read_text()
    assert evil not in source and "<b>bold" not in source
    assert html.escape("<b>bold</b>") in source
    page = Page(source)
    assert "script" not in page.tags and evil in page.text


def test_class_names_that_mean_something_to_matplotlib_are_drawn_as_they_are() -> None:
    names = ("_hidden", "$broken_{math", "back\\slash", "кратер", "火星")
    palette = Palette(names)
    counts = {name: dict.fromkeys(findings.HAVE, 1) for name in names}
    marks = [swath_plot.Mark(Box(0, 0, 200, 400), n, "image", "1") for n in names]
    pixels = np.zeros((300, 400), np.uint8)
    tallies = {name: ClassTally(there=4, pictured=1, false=2) for name in names}
    for png in (
        *plots.class_counts(counts, palette, "$title_"),
        *plots.feature_counts(tallies, palette, "$title_"),
        *swath_plot.draw(pixels, 300, 400, marks, palette, "$a_"),
    ):
        with Image.open(io.BytesIO(png)) as image:
            assert image.width > 300


def test_a_class_has_one_colour_and_no_two_share_one() -> None:
    classes = ("other", "crater", "dark dune", "slope streak", "bright dune", "impact ejecta")
    palette = Palette(classes)
    colours = [palette[c] for c in classes]
    assert len(set(colours)) == len(classes)
    assert palette["crater"] == Palette(classes[1:])["crater"]


@pytest.mark.parametrize(
    ("lines", "samples"), [(1, 1), (64, 4096), (5317, 2048), (126_000, 20_048), (10**7, 100)]
)
def test_any_shape_of_swath_is_laid_out_on_a_page(lines: int, samples: int) -> None:
    count, scale = swath_plot.panels(lines, samples)
    per_panel = -(-lines // count)
    assert samples * scale * count <= 1250 + 1 and per_panel * scale <= 1900 + 1
    palette = Palette(("crater",))
    box = Box(lines // 2, samples // 2, max(1, lines // 9), max(1, samples // 3))
    marks = [swath_plot.Mark(box, "crater", "image", "12")]
    drawn = swath_plot.draw(np.full((40, 30), 9, np.uint8), lines, samples, marks, palette, "t")
    for png, paper in zip(drawn, (255, 33), strict=True):
        with Image.open(io.BytesIO(png)) as image:
            assert image.width < 1800 and image.height < 2600
            rgb = np.asarray(image.convert("RGB"), np.int16)
        assert abs(rgb[0, 0] - paper).max() <= 1
        # the box is on it, in its class's colour
        red, green, blue = (rgb[..., i] for i in range(3))
        assert ((abs(red - 0xE6) < 12) & (abs(green - 0x9F) < 12) & (blue < 12)).any()


def test_without_a_store_records_of_one_feature_are_one_detection(fly: Fly, tmp_path: Path) -> None:
    fly().contact(tmp_path / "1.bin", 10**7)
    received = receive([tmp_path / "1.bin"], tmp_path / "in")
    detections = {(p.tile, p.class_index) for p in received.products if p.detection}
    apart = findings.find(received, None, None, merge=0.3)
    assert {(f.tile, f.class_index) for f in apart} == detections
    assert [f.number for f in apart if f.number] == list(range(1, len(detections) + 1))
    assert all(f.have == "image" for f in apart)


def test_several_swaths_have_a_map_each(fly: Fly, tmp_path: Path) -> None:
    flown = fly(name="a.png")
    flown.add_swath("b.png", seed=1, rows=6)
    flown.contact(tmp_path / "1.bin", 40_000)
    receive([tmp_path / "1.bin"], tmp_path / "in")
    b = swath_file(tmp_path / "b.png", 384)
    report = write_report(tmp_path / "in", swaths=[b])
    assert {p.name for p in report.pngs} >= {"report-swath-1.png", "report-swath-2.png"}
    with pytest.raises(DataError, match=r"is the swath of no swath .* there are: a\.png, b\.png"):
        write_report(tmp_path / "in", swaths=[swath_file(tmp_path / "c.png")])


def two_swaths(fly: Fly, tmp_path: Path) -> tuple[Path, Path, Path]:
    """What came down of two swaths, and their files."""
    flown = fly(name="a.png")
    flown.add_swath("b.png", seed=1, rows=6)
    flown.contact(tmp_path / "1.bin", 40_000)
    folder = receive([tmp_path / "1.bin"], tmp_path / "in").folder
    return folder, swath_file(tmp_path / "a.png"), swath_file(tmp_path / "b.png", 384)


@pytest.mark.parametrize("order", ["folder first", "folder last", "repeated", "bare"])
def test_a_shells_pattern_of_swaths_works_as_it_does_on_board(
    fly: Fly, tmp_path: Path, order: str
) -> None:
    """Every file is opened: one that is of no swath is refused by its name, wherever it stands."""
    folder, a, b = two_swaths(fly, tmp_path)
    other = swath_file(tmp_path / "c.png")
    for first, second in ((other, b), (a, other)):
        done = winnow(
            "report",
            *{
                "folder first": (folder, "--swath", first, second),
                "folder last": ("--swath", first, second, folder),
                "repeated": ("--swath", first, folder, "--swath", second),
                "bare": (folder, first, second),
            }[order],
        )
        assert done.returncode == 3
        assert "c.png" in done.stderr


def test_a_report_of_several_swaths_takes_their_files(fly: Fly, tmp_path: Path) -> None:
    done = winnow("report", "--swath", *two_swaths(fly, tmp_path)[1:], tmp_path / "in")
    assert done.returncode == 0, done.stderr


def test_what_cannot_be_reported_is_one_clear_line(fly: Fly, tmp_path: Path) -> None:
    fly().contact(tmp_path / "1.bin", 15_000)
    receive([tmp_path / "1.bin"], tmp_path / "in")
    with pytest.raises(PacketError, match=r"holds no received\.json"):
        write_report(tmp_path)
    with pytest.raises(StoreError, match="no store here"):
        write_report(tmp_path / "in", store=tmp_path / "none")
    with pytest.raises(SwathError, match="no such swath"):
        write_report(tmp_path / "in", swaths=[tmp_path / "none.png"])
    with pytest.raises(DataError, match="has 100 lines, the swath that came down has 768"):
        write_report(tmp_path / "in", swaths=[swath_file(tmp_path / "short.png", 100)])
    with pytest.raises(SwathError, match="300 samples wide, 512"):
        write_report(tmp_path / "in", swaths=[swath_file(tmp_path / "slim.png", 768, 300)])
    with pytest.raises(DataError, match="is it a truth file"):
        (tmp_path / "t.json").write_text("{}")
        write_report(tmp_path / "in", truths=[tmp_path / "t.json"])
    with pytest.raises(OutputError, match="cannot be written"):
        write_report(tmp_path / "in", out=tmp_path / "1.bin" / "x")
    next((tmp_path / "in" / "thumbnails").iterdir()).unlink()
    with pytest.raises(DataError, match=r"receive the packet files anew"):
        write_report(tmp_path / "in")


def test_a_store_of_another_spacecraft_is_refused(fly: Fly, tmp_path: Path) -> None:
    flown = fly()
    flown.contact(tmp_path / "1.bin", 15_000)
    receive([tmp_path / "1.bin"], tmp_path / "in")
    flown.folder = tmp_path / "other"
    flown.add_swath()
    with pytest.raises(DataError, match="is not the store that these packets came from"):
        write_report(tmp_path / "in", store=tmp_path / "other")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "is not JSON"),
        ("[]", "must be a table"),
        ('{"features": [], "classes": "some"}', "`classes` is 'some', must be a list"),
        ('{"features": [1]}', r"`features\[0\]` must be a table"),
        ('{"features": [{"class": "crater", "line": 1}]}', r"`features\[0\]\.sample` is missing"),
        (
            '{"features": [{"class": "c", "line": 1, "sample": 1, "lines": 0, "samples": 1}]}',
            r"`features\[0\]\.lines` is 0",
        ),
    ],
)
def test_a_malformed_truth_file_is_named(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "truth.json").write_text(text)
    with pytest.raises(DataError, match=says) as caught:
        load_truth(tmp_path / "truth.json")
    assert "truth.json" in str(caught.value)


def test_found_missed_and_false_are_counted_by_class(fly: Fly, tmp_path: Path) -> None:
    flown = fly()
    flown.contact(tmp_path / "1.bin", 12_000)
    received = receive([tmp_path / "1.bin"], tmp_path / "in")
    ((store_id, swath),) = received.swaths
    with Store.open(tmp_path / "store", mission=None, read_only=True) as store:
        everything = findings.find(received, store, None, merge=0.3)
        right = [f for f in everything if f.class_name == "crater"][::2]
        features = [Feature("crater", f.box) for f in right]
        features += [Feature("crater", Box(9000, 0, 64, 64)), Feature("spider", Box(0, 0, 9, 9))]
        truth = {(store_id, swath): Truth(tuple(features))}
        found = findings.find(received, store, truth, merge=0.3)
    tallies = lay(found, truth).classes
    crater = tallies["crater"]
    assert (crater.there, crater.missed) == (len(right) + 1, 1)
    assert crater.found == len(right)
    pictured = {f.tile for f in everything if f.number is not None}
    assert crater.pictured == sum(f.tile in pictured for f in right) > 0
    assert crater.false == sum(f.class_name == "crater" for f in everything) - len(right)
    assert (tallies["spider"].there, tallies["spider"].missed) == (1, 1)
    # truth names craters and spiders alone: of dunes it says nothing
    assert all(f.true is None for f in found if f.class_name == "dark dune")
    whole = {(store_id, swath): Truth(tuple(features), classes="all")}
    dunes = [f for f in findings.find(received, None, whole, 0.3) if f.class_name == "dark dune"]
    assert dunes and all(f.true is False for f in dunes)


def test_misses_are_drawn_and_false_finds_are_crossed() -> None:
    palette = Palette(("crater", "dune"))
    pixels = np.full((400, 400), 120, np.uint8)
    box = Box(100, 100, 200, 200)

    def drawn(*marks: swath_plot.Mark) -> Any:
        png = swath_plot.draw(pixels, 400, 400, marks, palette, "t").light
        with Image.open(io.BytesIO(png)) as image:
            return np.asarray(image.convert("RGB"), np.int16)

    plain = drawn(swath_plot.Mark(box, "crater", "record"))
    crossed = drawn(swath_plot.Mark(box, "crater", "record", false=True))
    colour = np.array([0xE6, 0x9F, 0x00])

    def orange(picture: Any) -> int:
        return int((abs(picture - colour).max(axis=2) < 30).sum())

    assert orange(crossed) > 1.3 * orange(plain)
    assert orange(drawn(swath_plot.Mark(box, "crater", swath_plot.MISSED))) > 100
    # a dashed box shows its colour, not the dark line under it
    high, wide = plain.shape[:2]
    dark = (plain[high // 8 : high * 3 // 4, wide // 8 :] < 60).all(axis=2).sum()
    assert orange(plain) > dark / 2


def test_numbers_stand_beside_small_tiles_and_never_on_each_other() -> None:
    rng = np.random.default_rng(3)
    boxes = [Box(int(y), int(x), 40, 40) for y, x in rng.integers(100, 900, (30, 2))]
    wanted = [Placed(box, str(n), "crater", "#000000") for n, box in enumerate(boxes)]
    labels = list(place_labels(wanted, 1.0, (0, 1000, 0, 1000)))
    assert len(labels) > 20
    texts = {label.text for label in labels}
    assert texts <= {str(n) for n in range(30)}  # no room for the class
    for label in labels:
        box = boxes[int(label.text)]
        within_line = box.line < label.y < box.line + box.lines
        within_sample = box.sample < label.x < box.sample + box.samples
        assert not (within_line and within_sample)
    spots = {(label.x, label.y) for label in labels}
    assert len(spots) == len(labels)
    (large,) = place_labels(
        [Placed(Box(0, 0, 400, 400), "7", "crater", "#0")], 1.0, (0, 999, 0, 999)
    )
    assert large.text == "7 crater"


def test_without_truth_a_report_says_what_its_posteriors_are_worth(
    fly: Fly, tmp_path: Path
) -> None:
    fly().contact(tmp_path / "1.bin", 15_000)
    receive([tmp_path / "1.bin"], tmp_path / "in")
    # "b" is no bundle that is here
    unknown = write_report(tmp_path / "in")
    assert "neither its calibration nor the base rate" in " ".join(unknown.cautions)
    shipped = open_bundle(find_bundle("hirise-landmarks")).manifest
    said = caution.of_bundle(shipped, {"crater": 40}, shown=2000)
    assert "calibration error there" in " ".join(said.sentences)
    (row,) = said.rows
    assert row.here_per_100 == pytest.approx(2.0)
    assert row.right is not None and row.detections is not None and row.rarer is not None
    # rarer ground can only make precision worse, and never as bad as guessing
    assert 0 < row.rarer < (row.right + 1) / (row.detections + 2)
    bare = dataclasses.replace(shipped, metrics={}, training={})
    said = caution.of_bundle(bare, {"crater": 1}, shown=None)
    assert "does not say" in said.sentences[0] and said.rows[0].rarer is None
