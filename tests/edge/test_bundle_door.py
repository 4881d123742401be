"""Bundles whose digests are right and whose content is not: one line, and nothing large in memory.

They are made as an attacker would make them: member by member, with the canonical archive.
"""

from __future__ import annotations

import io
import json
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from winnow_edge import archive
from winnow_edge.bundle import Bundle, Golden, encode_bundle, find_bundle, parse_bundle
from winnow_edge.cli import main
from winnow_edge.errors import BundleError
from winnow_edge.testing import write_probe
from winnow_edge.testing.probe import probe_manifest

SIDE = 8


def members() -> dict[str, bytes]:
    golden = Golden(np.zeros((1, SIDE, SIDE, 1), np.int8), {"litert": np.zeros((1, 3), np.int8)})
    data = encode_bundle(probe_manifest(SIDE), model=b"TFL3", golden=golden, card="# probe")
    return archive.unpack(data, Path("probe.winnow"))[0]


def opened(manifest: str | None = None, golden: bytes | None = None) -> Bundle:
    """A bundle of another manifest or other golden arrays, with the digests that they have."""
    held = members()
    if golden is not None:
        raw = json.loads(held[archive.MANIFEST])
        raw["sha256"][archive.GOLDEN] = archive.sha256(golden)
        held |= {archive.GOLDEN: golden, archive.MANIFEST: json.dumps(raw).encode()}
    if manifest is not None:
        held[archive.MANIFEST] = manifest.encode("utf-8", "surrogatepass")
    return parse_bundle(archive.pack(held), Path("probe.winnow"))


def manifest_with(change: Callable[[dict[str, Any]], None]) -> str:
    raw = json.loads(members()[archive.MANIFEST])
    change(raw)
    return json.dumps(raw)


def test_the_manifest_as_it_was_made_opens() -> None:
    assert opened(manifest_with(lambda raw: None)).manifest.name == "probe"


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("temperature", 5e-324, "`temperature` is 5e-324, legal is 0.001 to 1000"),
        ("temperature", 10**400, "takes more than 64 bits"),
        ("temperature", True, "`temperature` is True, must be a number"),
        ("metrics", [], "`metrics` must be a table"),
        ("metrics", {"int8": {"per_class": 3}}, "`metrics.int8.per_class` must be tables"),
        ("metrics", {"int8": {"accuracy": "x"}}, "`metrics.int8.accuracy` is 'x'"),
        ("metrics", {"int8": {"per_class": {"dark": {"recall": 7}}}}, "dark.recall` is 7"),
        ("metrics", {"thresholds": {"by_class": []}}, "`metrics.thresholds.by_class` must be"),
        ("training", [1], "`training` must be a table"),
        ("training", {"dataset": {}}, "`training.dataset` is {}, must be a text"),
        ("training", {"appearance": 1}, "`training.appearance` must be a table"),
        ("classes", "dark", "`classes` is 'dark', must be a list"),
        ("classes", ["dark", 2, "bright"], "`classes` is 2, must be a text"),
        ("classes", ["dark", "", "bright"], "`classes` must be a text that is not empty"),
        ("name", "x" * 5000, "5,000 characters, legal is up to 4,096"),
        ("sha256", {"model.tflite": 1}, "`sha256.model.tflite` is 1, must be a text"),
        ("thresholds", {"bright": None}, "`thresholds.bright` is None"),
        ("extra", 1, "unknown key `extra`"),
        ("verifier", 1, "`verifier` must be a table"),
        ("verifier", {"sha256": {}}, "unknown key `verifier.sha256`"),
    ],
)
def test_a_value_of_the_wrong_type_or_range_is_named(key: str, value: Any, says: str) -> None:
    with pytest.raises(BundleError) as caught:
        opened(manifest_with(lambda raw: raw.update({key: value})))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ('"temperature": 1e400', "1e400 is no finite number"),
        ('"temperature": NaN', "NaN is no finite number"),
        ('"name": "a\\ud800b"', "text that is not Unicode"),
        ('"name": "a\ud800b"', "is not UTF-8 text"),
        ('"training": ' + "[" * 200_000 + "]" * 200_000, "nested deeper"),
        ('"training": ' + '{"a":' * 100 + "1" + "}" * 100, "nested deeper than 64"),
        ('"name": ' + "9" * 5000, "takes more than 64 bits"),
    ],
)
def test_json_that_cannot_be_written_again_is_refused(written: str, says: str) -> None:
    key = written.partition(":")[0].strip('"')
    text = manifest_with(lambda raw: raw.pop(key, None))
    with pytest.raises(BundleError, match=says):
        opened("{" + written + "," + text[1:])


def test_half_a_surrogate_pair_is_refused_and_a_whole_one_is_a_character() -> None:
    pair = '"licence": "\\ud83d\\ude00"'
    text = manifest_with(lambda raw: raw.pop("licence"))
    assert opened("{" + pair + "," + text[1:]).manifest.licence == "\U0001f600"


def test_golden_arrays_that_inflate_are_refused_before_they_do() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as held, held.open("tiles.npy", "w") as to:
        for _ in range(200):
            to.write(bytes(1 << 20))
    tracemalloc.start()
    try:
        with pytest.raises(BundleError, match=r"golden\.npz cannot be read .*inflates to 210 MB"):
            opened(golden=out.getvalue())
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "name", ["~nosuchuser/x.winnow", "x" * 300, "x" * 100_000, "a\0b", "/dev/null", "."]
)
def test_names_that_no_file_can_have_are_no_bundle(name: str) -> None:
    with pytest.raises(BundleError, match="no such bundle") as caught:
        find_bundle(name)
    assert len(str(caught.value)) < 1000


def test_a_bundle_without_golden_tiles_is_not_passed_over_in_silence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shipped = parse_bundle(find_bundle("ice-patches").read_bytes(), Path("x"))
    spec = shipped.manifest.input
    nothing = np.zeros((0, spec.height, spec.width, spec.channels), np.int8)
    data = encode_bundle(
        shipped.manifest, model=shipped.model, golden=Golden(nothing, {}), card="none"
    )
    (tmp_path / "bare.winnow").write_bytes(data)
    assert main(["doctor", str(tmp_path / "bare.winnow"), "--store", str(tmp_path)]) == 0
    said = next(line for line in capsys.readouterr().out.splitlines() if "bare" in line)
    assert said.startswith("warn") and "no golden tiles of model.tflite" in said


def test_a_folder_of_a_store_that_cannot_be_looked_at_is_a_finding(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", "ice-patches", "--store", str(tmp_path / ("x" * 300))]) == 3
    assert "cannot be looked at: File name too long" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--samples", "1" + "0" * 30),
        ("--samples", "1000001"),
        ("--samples", "0"),
        ("--threads", "100000"),
        ("--threads", "9" * 5000),
        ("--stall", "nan"),
        ("--passes", "9" * 5000),
    ],
)
def test_numbers_beyond_all_use_are_usage_errors(
    option: str, value: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mission = write_probe(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["run", str(mission), "-", option, value, "--store", str(tmp_path / "store")])
    assert ended.value.code == 2
    *_, last = capsys.readouterr().err.splitlines()
    assert option in last and len(last) < 200
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("option", [("--power", "nan"), ("--power", "-5"), ("--seconds", "inf")])
def test_bench_measures_nothing_with_figures_that_are_none(
    option: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["bench", "ice-patches", *option])
    assert ended.value.code == 2
    assert option[0] in capsys.readouterr().err
