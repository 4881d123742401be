"""The bundle: what is written is what opens, and nothing else opens."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from winnow_edge import bundle as bundle_module
from winnow_edge.archive import pack
from winnow_edge.bundle import (
    Golden,
    InputSpec,
    Manifest,
    OutputSpec,
    encode_bundle,
    find_bundle,
    open_bundle,
    parse_bundle,
    write_bundle,
)
from winnow_edge.errors import BundleError, OutputError

MANIFEST = Manifest(
    name="small",
    classes=("other", "crater", "dune"),
    head="softmax",
    input=InputSpec(8, 8, 1, 1.0, -128),
    output=OutputSpec(0.25, -3),
    temperature=1.25,
    thresholds={"crater": 0.8, "dune": 0.5},
    training={"dataset": "folder", "counts": {"train": {"crater": 3}}},
    licence="Apache-2.0",
    attribution="rendered",
)
GOLDEN = Golden(
    np.arange(2 * 64, dtype=np.int16).astype(np.int8).reshape(2, 8, 8, 1),
    {"litert": np.array([[1, 2, 3], [4, 5, 6]], np.int8)},
)
DATA = encode_bundle(MANIFEST, model=b"not a real model", golden=GOLDEN, card="# Card\n")


def write_small(path: Path, **changes: Any) -> bundle_module.Bundle:
    manifest = dataclasses.replace(MANIFEST, **changes)
    return write_bundle(path, manifest, model=b"not a real model", golden=GOLDEN, card="# Card\n")


def test_what_is_written_opens_with_the_same_content(tmp_path: Path) -> None:
    path = tmp_path / "small.winnow"
    written = write_small(path)
    opened = open_bundle(path)
    assert opened.sha256 == written.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert dataclasses.replace(opened.manifest, sha256={}) == MANIFEST
    assert opened.model == b"not a real model"
    assert opened.card == "# Card\n"
    np.testing.assert_array_equal(opened.golden.tiles, GOLDEN.tiles)
    np.testing.assert_array_equal(opened.golden.logits["litert"], GOLDEN.logits["litert"])
    assert opened.manifest.input.exact_pixels


def test_same_content_gives_same_bytes_and_any_zip_tool_reads_them(tmp_path: Path) -> None:
    path = tmp_path / "a.winnow"
    write_small(path)
    assert path.read_bytes() == DATA
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        names = [info.filename for info in archive.infolist()]
        assert names == ["manifest.json", "model.tflite", "golden.npz", "card.md"]
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        manifest = json.loads(archive.read("manifest.json"))
        for name, digest in manifest["sha256"].items():
            assert hashlib.sha256(archive.read(name)).hexdigest() == digest
    assert set(manifest["sha256"]) == {"model.tflite", "golden.npz", "card.md"}


def test_one_flipped_bit_anywhere_is_refused() -> None:
    path = Path("small.winnow")
    assert parse_bundle(DATA, path).manifest.name == "small"
    for place in range(len(DATA)):
        changed = bytearray(DATA)
        changed[place] ^= 1 << place % 8
        with pytest.raises(BundleError):
            parse_bundle(bytes(changed), path)


@given(st.integers(0, len(DATA) - 1), st.binary(max_size=8))
def test_cut_or_extended_bundles_are_refused(length: int, tail: bytes) -> None:
    for data in (DATA[:length] + tail, DATA + tail + b"x"):
        if data != DATA:
            with pytest.raises(BundleError):
                parse_bundle(data, Path("small.winnow"))


@given(st.binary(max_size=200))
def test_garbage_is_refused(data: bytes) -> None:
    with pytest.raises(BundleError):
        parse_bundle(data, Path("garbage"))


def test_a_changed_member_with_a_right_crc_is_named() -> None:
    members = _members(DATA)
    members["model.tflite"] = b"another model!!!"
    with pytest.raises(BundleError, match=r"model\.tflite has SHA-256 .* the manifest says"):
        parse_bundle(pack(members), Path("x.winnow"))


def test_unknown_format_version_says_both_versions() -> None:
    members = _members(DATA)
    raw = json.loads(members["manifest.json"])
    members["manifest.json"] = json.dumps({**raw, "format_version": 99}).encode()
    with pytest.raises(BundleError, match="format version 99, this winnow-edge reads 1"):
        parse_bundle(pack(members), Path("x.winnow"))


def test_a_manifest_that_says_nothing_of_borderline_tiles_has_none(tmp_path: Path) -> None:
    assert write_small(tmp_path / "x.winnow", borderline=0.9).manifest.borderline == 0.9
    members = _members(DATA)
    raw = json.loads(members["manifest.json"])
    del raw["borderline"]
    members["manifest.json"] = json.dumps(raw).encode()
    assert parse_bundle(pack(members), Path("x.winnow")).manifest.borderline == 0.0


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"temperature": 0.0}, "`temperature` is 0.0, legal is 0.001 to 1000"),
        ({"head": "argmax"}, "`head` is 'argmax'"),
        ({"classes": ("a", "a", "b")}, "`classes` must be"),
        ({"thresholds": {"moon": 0.5}}, "names 'moon', which is not a class"),
        ({"thresholds": {"crater": 1.5}}, "`thresholds.crater` is 1.5"),
        ({"borderline": 1.5}, "`borderline` is 1.5, legal is 0 to 1"),
        ({"borderline": 0.9, "head": "sigmoid"}, "`borderline` needs a softmax head"),
        ({"input": InputSpec(8, 8, 2, 1.0, -128)}, "`input.channels` is 2"),
        ({"output": OutputSpec(0.25, 300)}, "`output.zero_point` is 300"),
        ({"input": InputSpec(16, 8, 1, 1.0, -128)}, "golden tiles are int8"),
        ({"classes": ("other", "crater"), "thresholds": {}}, "golden logits of litert"),
    ],
)
def test_illegal_manifests_are_neither_written_nor_read(
    tmp_path: Path, changes: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(BundleError) as caught:
        write_small(tmp_path / "x.winnow", **changes)
    assert complaint in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_missing_members_and_other_zips_are_no_bundles(tmp_path: Path) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("manifest.json", "{}")
    with pytest.raises(BundleError, match=r"no model\.tflite, golden\.npz, card\.md"):
        parse_bundle(out.getvalue(), Path("x.winnow"))
    other = tmp_path / "x.winnow"
    other.write_bytes(b"\x89PNG....")
    with pytest.raises(BundleError, match="not a zip archive"):
        open_bundle(other)
    with pytest.raises(BundleError, match="no such bundle"):
        open_bundle(tmp_path / "absent.winnow")
    with pytest.raises(BundleError, match="cannot be read"):
        open_bundle(tmp_path)


def test_an_unwritable_place_leaves_the_old_bundle_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "small.winnow"
    write_small(path)
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left"):
        write_small(path, name="other")
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["small.winnow"]
    monkeypatch.undo()
    with pytest.raises(OutputError, match="No such file"):
        write_small(tmp_path / "absent" / "small.winnow")


def test_bundles_are_found_by_path_beside_a_file_and_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missions = tmp_path / "missions"
    missions.mkdir()
    write_small(missions / "near.winnow")
    shipped = tmp_path / "shipped"
    shipped.mkdir()
    write_small(shipped / "small.winnow")
    monkeypatch.setattr(bundle_module, "bundles_folder", lambda: shipped)
    mission = missions / "mission.toml"
    assert find_bundle("near.winnow", beside=mission) == missions / "near.winnow"
    assert find_bundle(str(missions / "near.winnow")) == missions / "near.winnow"
    assert find_bundle("small") == shipped / "small.winnow"
    monkeypatch.chdir(missions)
    assert find_bundle("near.winnow").resolve() == missions / "near.winnow"
    with pytest.raises(BundleError, match=r"no such bundle; give .* shipped name: small"):
        find_bundle("absent")


def test_shipped_bundles_open() -> None:
    paths = bundle_module.shipped_bundles()
    if not paths:
        pytest.skip("no bundle is installed with this checkout")
    for path in paths:
        bundle = open_bundle(path)
        assert bundle.manifest.name == path.stem
        assert len(bundle.model) <= 1_000_000
        assert bundle.manifest.input.exact_pixels


def test_opening_a_bundle_loads_no_training_library() -> None:
    code = (
        "import sys, winnow_edge.bundle, winnow_edge.runtimes\n"
        "print([m for m in ('keras', 'tensorflow', 'winnow_ground') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def _members(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {info.filename: archive.read(info) for info in archive.infolist()}
