"""Checking a labelled set that is spoilt in every way."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from winnow_base.errors import DataError
from winnow_train.data.check import Check, check
from winnow_train.data.check_print import print_check
from winnow_train.data.hashing import HAMMING, correlation, distance, hashes, reduced


class Quiet:
    def counting(self, what: str, total: int) -> nullcontext:  # type: ignore[type-arg]
        return nullcontext(lambda n: None)


def scene(seed: int) -> Image.Image:
    """A smooth random picture with structure on all scales that the hash sees."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(20, 236, (9, 9), np.uint8))
    return small.resize((96, 96), Image.Resampling.BICUBIC)


def look(name: str, root: Path) -> Check:
    return check(name, root, Quiet())


def test_hashes_see_through_turning_mirroring_brightness_and_size() -> None:
    picture = scene(1)
    turned = [picture.rotate(90 * k) for k in range(4)]
    views = turned + [v.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for v in turned]
    views += [
        picture.point([min(255, round(1.05 * v)) for v in range(256)]),
        picture.resize((41, 41)),
    ]
    tiles = np.stack([reduced(v) for v in views])
    bits, view = distance(hashes(tiles[:1])[0, 0], hashes(tiles))
    assert bits.max() <= 2
    assert bits[:8].max() == 0
    alike = [correlation(tiles[0], t, int(v)) for t, v in zip(tiles, view, strict=True)]
    assert min(alike) > 0.99


def test_hashes_tell_pictures_apart() -> None:
    tiles = np.stack([reduced(scene(s)) for s in range(60)])
    found = hashes(tiles)
    nearest = [distance(found[0, i], np.delete(found, i, axis=1))[0].min() for i in range(60)]
    assert min(nearest) > HAMMING


def test_black_borders_alone_are_not_alike() -> None:
    dark = np.tri(32, dtype=np.float32).astype(bool)
    a, b = reduced(scene(1)), reduced(scene(2))
    a[dark] = b[dark] = 0
    assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.7
    assert correlation(a, b, 0) < 0.6


def hirise(
    root: Path, rows: list[tuple[str, str, str]], *, seed: int = 0, version: str = "v1"
) -> Path:
    """A HiRISE folder of `rows` (name, id, set), each with a picture of its own."""
    images = (
        root / f"hirise-map-proj-{version}" / ("map-proj" if version == "v1" else "map-proj-v3")
    )
    images.mkdir(parents=True)
    lines = "".join(f"{n} {i} {s}\n" for n, i, s in rows)
    (images.parent / "labels-map-proj_train_val_test.txt").write_text(lines)
    classes = "0,other\n1,crater\n2,dark dune\n"
    (images.parent / "landmarks_map-proj_classmap.csv").write_text(classes)
    for k, (name, _, _) in enumerate(rows):
        scene(seed + k).save(images / name, quality=95)
    return images


A, B, C = "ESP_011289_1950", "ESP_011425_1775", "PSP_001414_2165"
CLEAN = [
    (f"{A}_RED-0001.jpg", "0", "train"),
    (f"{A}_RED-0002.jpg", "1", "train"),
    (f"{B}_RED-0001.jpg", "1", "train"),
    (f"{C}_RED-0001.jpg", "0", "val"),
    (f"{C}_RED-0002.jpg", "1", "val"),
]


def test_a_clean_set(tmp_path: Path) -> None:
    hirise(tmp_path, CLEAN)
    found = look("hirise-v1", tmp_path)
    assert found.refused() == []
    assert found.counts["train"] == {"other": 1, "crater": 2, "dark dune": 0}
    assert found.sources == {"train": 2, "val": 1}
    assert found.duplicates == []
    assert found.empty_classes == {}


def test_everything_that_can_be_wrong_is_found(tmp_path: Path) -> None:
    rows = [
        *CLEAN,
        (f"{A}_RED-0003.jpg", "0", "val"),  # a source in two sets
        (f"{A}_RED-0004-r90.jpg", "0", "train"),
        (f"{A}_RED-0004-fh.jpg", "1", "train"),  # one landmark, two labels
        (f"{B}_RED-0005.jpg", "0", "train"),  # empty below
        (f"{B}_RED-0006.jpg", "0", "train"),  # cut short below
        (f"{B}_RED-0007.jpg", "2", "val"),  # a class that train lacks; source in two sets
        (f"{B}_RED-0008.jpg", "0", "train"),  # a turned copy of a val tile, below
    ]
    images = hirise(tmp_path, rows)
    (images / f"{B}_RED-0005.jpg").write_bytes(b"")
    whole = (images / f"{B}_RED-0006.jpg").read_bytes()
    (images / f"{B}_RED-0006.jpg").write_bytes(whole[: len(whole) // 2])
    with Image.open(images / f"{C}_RED-0001.jpg") as picture:
        picture.rotate(90).save(images / f"{B}_RED-0008.jpg", quality=90)
    scene(99).save(images / f"{C}_RED-0099.jpg")  # without a row
    labels = images.parent / "labels-map-proj_train_val_test.txt"
    with labels.open("a") as stream:
        stream.write(f"{A}_RED-0001.jpg 0 train\n")  # repeated
        stream.write(f"{A}_RED-0002.jpg 0 train\n")  # contradicts
        stream.write(f"{A}_RED-0077.jpg 0 train\n")  # absent
        stream.write(f"{A}_RED-0001.jpg\n")  # malformed
        stream.write("hello.jpg 0 train\n")  # no observation
        stream.write(f"{A}_RED-0078.jpg 9 train\n")  # unknown id
    found = look("hirise-v1", tmp_path)
    listing = found.listing
    assert listing.repeated == 1
    assert [len(x) for x in (listing.malformed, listing.unknown_ids, listing.contradictory)] == [
        2,
        1,
        1,
    ]
    assert found.absent == [f"{labels.name}:{len(rows) + 3}: {A}_RED-0077.jpg"]
    assert [e.split()[-1] for e in found.empty] == [f"{B}_RED-0005.jpg"]
    assert [e.split()[-1] for e in found.unreadable] == [f"{B}_RED-0006.jpg"]
    assert listing.unlabelled == [f"{C}_RED-0099.jpg"]
    assert found.leaking == {A: ["train", "val"], B: ["train", "val"]}
    assert found.conflicts == {f"{A}_RED-0004": ["crater", "other"]}
    assert found.empty_classes == {"train": ["dark dune"]}
    (pair,) = found.across_splits()
    assert {pair.a.path.name, pair.b.path.name} == {f"{B}_RED-0008.jpg", f"{C}_RED-0001.jpg"}
    assert len(found.refused()) == 8


def test_versions_are_compared_by_picture_not_by_number(tmp_path: Path) -> None:
    hirise(tmp_path, CLEAN)
    moved = [(n, "0" if i == "1" else i, "val" if s == "train" else s) for n, i, s in CLEAN]
    other = hirise(tmp_path, moved, seed=50, version="v3")
    with Image.open(tmp_path / "hirise-map-proj-v1" / "map-proj" / CLEAN[1][0]) as picture:
        picture.rotate(180).save(other / CLEAN[1][0], quality=90)
    against = look("hirise-v1", tmp_path).related["hirise-v3"]
    assert against["shared_landmark_names"] == 5
    assert against["of_these_the_same_picture"] == 1
    assert against["of_these_other_label"] == [[CLEAN[1][0], "crater", "other"]]
    assert against["sources_in_another_split"] == {A: ["train", "val"], B: ["train", "val"]}
    assert [p["tiles"] for p in against["duplicates"]] == [[CLEAN[1][0], CLEAN[1][0]]]


def test_a_folder_per_class(tmp_path: Path) -> None:
    for k, (split, label, name) in enumerate(
        [
            ("train", "ice", "s1-000001.png"),
            ("train", "rock", "s1-000002.png"),
            ("val", "ice", "s1-000003.png"),
        ]
    ):
        home = tmp_path / split / label
        home.mkdir(parents=True, exist_ok=True)
        scene(k).save(home / name)
    found = look("folder", tmp_path)
    assert found.leaking == {"s1": ["train", "val"]}
    assert found.empty_classes == {"val": ["rock"]}


def test_a_set_that_is_not_there(tmp_path: Path) -> None:
    for name in ("hirise-v1", "msl", "folder", "nothing"):
        with pytest.raises(DataError):
            look(name, tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        look("msl", tmp_path / "absent")


def test_the_command_prints_json_and_ends_with_3(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hirise(tmp_path, [*CLEAN, (f"{A}_RED-0003.jpg", "0", "val")])
    print_check(look("hirise-v1", tmp_path), limit=3)
    assert "sources in two sets: 1" in capsys.readouterr().out
    code = "from winnow_cli.app import main; main()"
    command = [sys.executable, "-c", code, "data", "check", "hirise-v1", "--data", str(tmp_path)]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True)
    assert done.returncode == 3
    assert json.loads(done.stdout)["leaking_sources"] == {A: ["train", "val"]}
    assert done.stderr.strip().endswith("not fit for training: 1 x source in two sets")
