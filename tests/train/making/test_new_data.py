"""`winnow new data` on whatever people have: what it makes, and what it refuses in one line."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.running import Done, winnow
from winnow_train.datasets import read_dataset

WINNOW = "from winnow_cli.app import main; main()"


def scene(seed: int, side: int = 48) -> np.ndarray:
    """A picture like no other, uint8 [side, side], without a 0."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(20, 250, (6, 6), np.uint8))
    fine = np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC), int)
    return np.clip(fine + rng.integers(-6, 7, fine.shape), 1, 255).astype(np.uint8)


def save(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Two classes from five sites, four pictures a site."""
    root = tmp_path / "pictures"
    for s in range(5):
        for i in range(4):
            kind = "crater" if i % 2 else "none"
            save(root / kind / f"site{s}_{i}.png", scene(100 * s + i))
    return root


def index_of(out: Path) -> list[dict[str, str]]:
    """The rows of a set's index.csv."""
    return list(csv.DictReader((out / "index.csv").read_text(encoding="utf-8").splitlines()))


def make(*arguments: object) -> Done:
    return winnow("new", "data", *arguments)


def refused(done: Done, *says: str) -> None:
    assert done.returncode == 3, done.stdout + done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    for words in says:
        assert words in done.stderr


def test_a_table_is_shown_and_nothing_is_made_without_out(pictures: Path, tmp_path: Path) -> None:
    done = make(pictures)
    assert done.returncode == 0, done.stderr
    assert "20 tiles would be made" in done.stdout
    assert "none (background)" in done.stdout
    assert "source: its file name up to the last - or _ and a number" in done.stdout
    assert "Nothing is made yet" in done.stdout
    assert sorted(p.name for p in tmp_path.iterdir()) == ["pictures"]


def test_a_folder_per_class_becomes_a_set_split_by_source(pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "set"
    said = ("--licence", "CC0", "--attribution", "A. Nonym")
    done = make(pictures, "--out", out, "--json", *said)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["n"], told["background"]) == (20, ["none"])
    found = read_dataset("folder", out)
    assert found.counts() == {
        "train": {"crater": 8, "none": 8}, "val": {"crater": 2, "none": 2}
    }  # fmt: skip
    assert set(found.split("val").sources) == set(told["sources"]["val"])
    assert set(found.sources) == {f"site{s}" for s in range(5)}
    assert (found.attribution, found.licence) == ("A. Nonym", "CC0")
    assert not out.with_name("set.part").exists()
    assert winnow("data", "check", "folder", "--data", out).returncode == 0
    rows = index_of(out)
    assert {r["picture"] for r in rows} == {p.name for p in pictures.rglob("*.png")}
    first = next(r for r in rows if r["picture"] == "site0_0.png")
    assert (out / first["file"]).read_bytes() == (pictures / "none/site0_0.png").read_bytes()
    # The same pictures make the same set, and what is there is not touched unasked.
    refused(make(pictures, "--out", out), "is there already", "--yes to replace it")
    assert make(pictures, "--out", out, "--yes", "--seed", 2).returncode == 0
    assert json.loads((out / "PROVENANCE.json").read_text())["seed"] == 2
    (tmp_path / "mine").mkdir()
    refused(make(pictures, "--out", tmp_path / "mine", "--yes"), "is there already")


def test_pictures_of_every_depth_and_colour(tmp_path: Path) -> None:
    root = tmp_path / "p"
    wide = scene(1).astype(np.uint16) * 200 + 9000
    save(root / "a" / "s1_1.png", wide)
    colour = np.stack([scene(2), scene(3), scene(4)], 2)
    clear = np.dstack([colour, np.where(np.arange(48) < 24, 255, 0)[None].repeat(48, 0)])
    save(root / "a" / "s2_1.png", clear.astype(np.uint8))
    Image.fromarray(colour).quantize(16).save(root / "a" / "s3_1.png")
    Image.fromarray(colour).convert("CMYK").save(root / "a" / "s4_1.jpg")
    Image.fromarray(scene(5)).convert("1").save(root / "a" / "s5_1.png")
    Image.fromarray(scene(6)).convert("LA").save(root / "a" / "s6_1.png")
    save(root / "a" / "s7_1.tif", scene(7, 31))
    save(root / "a" / "s8_1.bmp", scene(8, 7))
    save(root / "a" / "s9_1.png", np.stack([scene(9)] * 3, 2))
    save(root / "b" / "s10_1.png", scene(10, 1500))
    for i in range(11, 14):
        save(root / "b" / f"s{i}_1.png", scene(i, 40 + i))
    done = make(root, "--out", tmp_path / "set")
    assert done.returncode == 0, done.stderr
    rows = index_of(tmp_path / "set")
    kept = {r["picture"]: Image.open(tmp_path / "set" / r["file"]) for r in rows}
    assert {k for k, v in kept.items() if v.mode == "RGB"} == {
        "s2_1.png", "s3_1.png", "s4_1.jpg", "s9_1.png"
    }  # fmt: skip
    assert {v.mode for v in kept.values()} == {"L", "RGB"}
    stretched = np.asarray(kept["s1_1.png"], float)
    assert (stretched.min(), stretched.max()) == (1, 255)
    assert np.corrcoef(stretched.ravel(), wide.ravel())[0, 1] > 0.99
    shown = np.asarray(kept["s2_1.png"])
    assert (shown[:, 24:] == 0).all()
    assert (shown[:, :24] == colour[:, :24]).all()
    assert max(kept["s10_1.png"].size) == 750
    for picture in kept.values():
        picture.close()


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("dark dune", "dark dune"),
        ("crater/old\\x", "crater-old-x"),
        ("🌋 volcano", "🌋 volcano"),
        ("👩‍🚀", "👩‍🚀"),
        (".hidden", "_hidden"),
        ("..", "_."),
        ("[red]x[/red]", "[red]x[-red]"),
        ("a\x1b]0;x\x07b", "a-]0;x-b"),
    ],
)
def test_class_names_of_all_kinds(name: str, kept: str, tmp_path: Path) -> None:
    rows = io.StringIO()
    writer = csv.writer(rows)
    writer.writerow(("file", "class"))
    for i in range(6):
        save(tmp_path / f"s{i}.png", scene(i))
        writer.writerow((f"s{i}.png", name if i % 2 else "plain"))
    (tmp_path / "labels.csv").write_text(rows.getvalue(), encoding="utf-8")
    done = make(tmp_path / "labels.csv", "--out", tmp_path / "set", "--source", "picture")
    assert done.returncode == 0, done.stderr
    assert set(read_dataset("folder", tmp_path / "set").classes) == {kept, "plain"}
    assert "\x1b]" not in done.stdout
    text = winnow("new", "recipe", tmp_path / "set", "--out", tmp_path / "r.toml")
    assert text.returncode == 0, text.stderr


@pytest.mark.parametrize("name", ["", "///", "x" * 90, "\n"])
def test_names_that_can_be_no_class(name: str, tmp_path: Path) -> None:
    save(tmp_path / "a.png", scene(1))
    save(tmp_path / "b.png", scene(2))
    table = {
        "images": [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "b.png"}],
        "annotations": [
            {"image_id": i, "category_id": 1, "bbox": [10, 10, 20, 20]} for i in (1, 2)
        ],
        "categories": [{"id": 1, "name": name}],
    }
    (tmp_path / "c.json").write_text(json.dumps(table))
    refused(make(tmp_path / "c.json", "--tile", 32))


def test_classes_that_would_share_a_folder_are_refused(tmp_path: Path) -> None:
    rows = "file,class\n" + "".join(f"s{i}.png,{'a/b' if i % 2 else 'A-b'}\n" for i in range(4))
    for i in range(4):
        save(tmp_path / f"s{i}.png", scene(i))
    (tmp_path / "l.csv").write_text(rows)
    refused(make(tmp_path / "l.csv"), "would share the folder")


def test_too_little_of_everything(tmp_path: Path) -> None:
    root = tmp_path / "p"
    refused(make(root), "no such folder or file")
    root.mkdir()
    refused(make(root), "holds no picture, and no folder per class")
    save(root / "x.png", scene(0))
    refused(make(root), "holds 1 pictures, but no folder per class")
    (root / "crater").mkdir()
    refused(make(root), "holds no picture in a folder per class")
    save(root / "crater" / "a_1.png", scene(1))
    refused(make(root), "one class alone, 'crater'")
    save(root / "none" / "a_2.png", scene(2))
    refused(make(root), "all tiles are of one source, 'a'", "--source")
    (root / "none" / "a_2.png").rename(root / "none" / "b_2.png")
    refused(make(root), "no source can be spared for val: crater, none would leave train")
    save(root / "none" / "a_3.png", scene(4))
    assert make(root).returncode == 0
    (root / "train").mkdir()
    refused(make(root), "is split already")


def test_bad_pictures_are_named_and_may_be_left_out(pictures: Path, tmp_path: Path) -> None:
    (pictures / "crater" / "site9_1.png").write_bytes(b"")
    refused(make(pictures), "site9_1.png: is empty", "--skip-bad")
    whole = (pictures / "none" / "site0_0.png").read_bytes()
    (pictures / "crater" / "site9_2.png").write_bytes(b"%!PS-Adobe-3.0")
    refused(make(pictures), "the first of 2 bad pictures of 22")
    for bad in ("site9_1.png", "site9_2.png"):
        (pictures / "crater" / bad).unlink()
    (pictures / "crater" / "site3_1.png").write_bytes(whole[: len(whole) // 2])
    out = tmp_path / "set"
    refused(make(pictures, "--out", out), "site3_1.png: ", "truncated", "--skip-bad")
    assert not out.exists()
    done = make(pictures, "--out", out, "--skip-bad")
    assert done.returncode == 0, done.stderr
    assert "1 pictures cannot be decoded: left out" in done.stdout
    assert len(read_dataset("folder", out).tiles) == 19


def test_a_hundred_megapixels_are_made_in_bounded_memory_or_refused(tmp_path: Path) -> None:
    root = tmp_path / "p"
    for i in range(4):
        save(root / ("a" if i % 2 else "b") / f"s{i // 2}_{i}.png", scene(i))
    big = root / "a" / "s7_1.png"
    Image.new("L", (10_000, 10_000), 90).save(big, compress_level=1)
    code = "import resource as r\nr.setrlimit(r.RLIMIT_DATA, (600 << 20,) * 2)\n" + WINNOW
    command = [sys.executable, "-c", code, "new", "data", str(root), "--out", str(tmp_path / "set")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    tile = next((tmp_path / "set").glob("*/a/s7-*.png"))
    with Image.open(tile) as image:
        assert image.size == (1000, 1000)
    big.unlink()
    Image.new("RGB", (10_000, 10_000)).save(root / "a" / "s7_1.png", compress_level=1)
    refused(make(root, "--out", tmp_path / "two"), "decoding it takes 400 MB", "cut it into parts")
    big.unlink()
    (root / "a" / "s7_1.pgm").write_bytes(b"P5 60000 60000 255\n")
    refused(make(root), "is too large: Image size (3600000000 pixels")


def test_copies_across_sets_are_refused_or_left_out(pictures: Path, tmp_path: Path) -> None:
    told = json.loads(make(pictures, "--json").stdout)["sources"]
    here, there = told["train"][0], told["val"][0]
    turned = np.rot90(np.asarray(Image.open(pictures / "crater" / f"{here}_1.png")))
    save(pictures / "crater" / f"{there}_1.png", np.clip(turned * 0.9 + 5, 1, 255).astype(np.uint8))
    out = tmp_path / "set"
    refused(make(pictures, "--out", out), "1 pictures of val look like one of train")
    assert not out.exists()
    done = make(pictures, "--out", out, "--drop-duplicates")
    assert done.returncode == 0, done.stderr
    assert read_dataset("folder", out).counts()["val"] == {"crater": 1, "none": 2}
    assert len(list(out.glob("*/*/*.png"))) == 19
    # The same bytes under two classes: no drop helps.
    data = (pictures / "crater" / f"{here}_1.png").read_bytes()
    (pictures / "none" / f"{here}_0.png").write_bytes(data)
    refused(make(pictures, "--out", tmp_path / "b", "--drop-duplicates"), "one picture of two")


def test_how_a_source_is_read(tmp_path: Path) -> None:
    root = tmp_path / "p"
    for s, site in enumerate(("north", "south", "west")):
        for i, kind in enumerate(("a", "b")):
            save(root / kind / site / "img_1.png", scene(10 * s + i))
    refused(make(root), "all tiles are of one source, 'img'")
    told = json.loads(make(root, "--source", "folder", "--json").stdout)
    assert sum(map(len, told["sources"].values())) == 3
    done = make(root, "--source", r"^(\w)", "--out", tmp_path / "set")
    assert done.returncode == 0, done.stderr
    assert set(read_dataset("folder", tmp_path / "set").sources) == {"n", "s", "w"}
    refused(make(root, "--source", "(x)"), "finds no source")
    refused(make(root, "--source", "x"), "has 0 groups, must have one")
    refused(make(root, "--source", "(("), "is no regular expression")
    save(root / "a" / "other.png", scene(99))
    refused(make(root, "--source", "folder"), "lies in no folder of a source")
    assert "1 sources lie in several folders, e.g. 'img'" in make(root).stdout


@pytest.mark.parametrize("source", ["0077ML00057", "ESP_011289_1950", "a/b", "é", "...", "x-7"])
def test_sources_are_read_back_from_the_set(source: str, tmp_path: Path) -> None:
    rows = "file,class,source\n"
    for i in range(6):
        save(tmp_path / f"p{i}.png", scene(i))
        rows += f"p{i}.png,{'a' if i % 2 else 'b'},{source if i < 2 else f's{i // 2}'}\n"
    (tmp_path / "l.csv").write_text(rows, encoding="utf-8")
    done = make(tmp_path / "l.csv", "--out", tmp_path / "set")
    assert done.returncode == 0, done.stderr
    found = read_dataset("folder", tmp_path / "set")
    assert len(found.sources) == 3
    assert Counter(t.source for t in found.tiles).most_common()[0][1] == 2


def test_a_killed_call_leaves_no_set_and_is_gone_on_with(pictures: Path, tmp_path: Path) -> None:
    for s in range(40):
        for kind in ("crater", "none"):
            save(
                pictures / kind / f"more{s}_{len(kind)}.png", scene(1000 + 10 * s + len(kind), 400)
            )
    out = tmp_path / "set"
    command = [sys.executable, "-c", WINNOW, "new", "data", str(pictures), "--out", str(out)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        part = tmp_path / "set.part"
        while process.poll() is None and len(list(part.glob("*/*/*.png"))) < 3:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    assert not out.exists()
    done = make(pictures, "--out", out)
    assert done.returncode == 0, done.stderr
    other = tmp_path / "other"
    assert make(pictures, "--out", other).returncode == 0
    names = [sorted(p.relative_to(o) for p in o.rglob("*")) for o in (out, other)]
    assert names[0] == names[1]
    assert all((out / n).read_bytes() == (other / n).read_bytes() for n in names[0] if n.suffix)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_places_that_take_nothing(pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    refused(make(pictures, "--out", tmp_path / "file" / "set"), "cannot be written")
    refused(make(pictures, "--out", tmp_path / "file"), "is there already")
    with Path("/dev/full").open("wb") as full:
        command = [sys.executable, "-c", WINNOW, "new", "data", str(pictures)]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, env=os.environ)
    assert done.returncode != 0
    assert b"Traceback" not in done.stderr
