"""The edge on aarch64, under emulation: what it installs, its logits and its records, bit for bit.

`make test-arm`. Emulated times say nothing about a board; emulated results do.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from winnow_edge.bundle import Bundle, find_bundle, open_bundle, shipped_bundles
from winnow_edge.runtimes import load_classifier
from winnow_ground.scene.layout import render_scene

pytestmark = pytest.mark.arm
Emulated = Callable[..., "subprocess.CompletedProcess[str]"]
CORES = ("cortex-a72", "cortex-a76")
"""Raspberry Pi 4 and 5; the first has no dot product, so its int8 kernels are others."""
TILES = 8
"""Rendered tiles per bundle, besides its golden ones."""

INSTALLED = """
import importlib.metadata as m, json, re, sys
def name(text): return re.sub("[-_.]+", "-", re.match("[A-Za-z0-9._-]+", text)[0]).lower()
here = {name(d.metadata["Name"]) for d in m.distributions()}
asked = [name(r) for r in m.requires("winnow-edge") if ";" not in r]
needed, left = {"winnow-edge"}, list(asked)
while left:
    if (one := left.pop()) not in needed:
        needed.add(one)
        left += [name(r) for r in m.requires(one) or [] if ";" not in r]
machine = __import__("platform").machine()
print(json.dumps({"here": sorted(here), "asked": sorted(asked), "needed": sorted(needed),
                  "machine": machine}))
"""

LOGITS = """
import sys
import numpy as np
from winnow_edge.bundle import open_bundle, shipped_bundles
from winnow_edge.runtimes import load_classifier
folder, *names = sys.argv[1:]
assert sorted(p.name for p in shipped_bundles()) == sorted(names), shipped_bundles()
for path in shipped_bundles():
    bundle = open_bundle(path)
    tiles = np.load(f"{folder}/{path.stem}.npy")
    classifier = load_classifier(bundle, "litert", self_test=False)
    logits = np.empty((len(tiles), len(bundle.manifest.classes)), np.int8)
    for tile, out in zip(tiles, logits):
        classifier.infer(tile, out)
    np.save(f"{folder}/{path.stem}.{sys.platform}-arm.npy", logits)
"""


@pytest.fixture(scope="module")
def strip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small rendered swath, as PNG and as JPEG."""
    folder = tmp_path_factory.mktemp("swath")
    pixels = render_scene(lines=320, samples=384, seed=3).image
    Image.fromarray(pixels).save(folder / "strip.png")
    Image.fromarray(pixels[:160]).save(folder / "strip.jpg", quality=90)
    return folder


def test_the_wheel_brings_its_four_dependencies_and_nothing_else(emulated: Emulated) -> None:
    found = json.loads(emulated("cortex-a72", "-c", INSTALLED).stdout)
    assert found["machine"] == "aarch64"
    assert found["asked"] == ["ai-edge-litert", "numpy", "pillow", "spacepackets"]
    assert found["here"] == found["needed"]


def test_every_shipped_bundle_is_bit_exact(
    emulated: Emulated, strip: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Golden tiles give the golden logits, rendered tiles those of this machine."""
    bundles = [open_bundle(path) for path in shipped_bundles()]
    assert bundles, "no bundle is shipped"
    names = [bundle.path.name for bundle in bundles]
    here: dict[str, np.ndarray] = {}
    folders = {core: tmp_path_factory.mktemp(core) for core in CORES}
    for bundle in bundles:
        tiles = np.concatenate([bundle.golden.tiles, _tiles_of(strip / "strip.png", bundle)])
        here[bundle.path.stem] = _logits(bundle, tiles)
        for folder in folders.values():
            np.save(folder / f"{bundle.path.stem}.npy", tiles)
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda c: emulated(c, "-c", LOGITS, folders[c], *names), CORES))
    for bundle in bundles:
        stem, golden = bundle.path.stem, bundle.golden.logits["litert"]
        for core, folder in folders.items():
            logits = np.load(folder / f"{stem}.linux-arm.npy")
            np.testing.assert_array_equal(logits[: len(golden)], golden, f"{stem} golden, {core}")
            np.testing.assert_array_equal(logits, here[stem], f"{stem} against x86, {core}")
        assert len(np.unique(here[stem], axis=0)) > 4, "tiles too alike to prove anything"


def test_info_and_doctor_find_the_board_fit(emulated: Emulated) -> None:
    name = shipped_bundles()[0].stem
    info = json.loads(emulated(CORES[0], "-m", "winnow_edge.cli", "info", name, "--json").stdout)
    assert info["name"] == open_bundle(find_bundle(name)).manifest.name
    doctor = ["-m", "winnow_edge.cli", "doctor", name, "--json"]
    with ThreadPoolExecutor() as pool:
        reports = list(pool.map(lambda core: json.loads(emulated(core, *doctor).stdout), CORES))
    for core, report in zip(CORES, reports, strict=True):
        found = {finding["what"]: finding for finding in report["findings"]}
        assert report["fit"] and found[f"bundle {name}"]["state"] == "ok"
        assert ("asimddp" in found["processor"]["found"]) == (core == "cortex-a76")


def test_a_swath_leaves_the_same_records_on_every_core(
    emulated: Emulated, strip: Path, tmp_path: Path
) -> None:
    """Records, thumbnails, images and summaries of the store, byte for byte those of x86."""
    bundle = open_bundle(shipped_bundles()[0])
    classes = "".join(
        f"[class.{json.dumps(name)}]\nthreshold = 0.3\n" for name in bundle.manifest.classes
    )
    mission = tmp_path / "mission.toml"
    name = bundle.path.stem
    mission.write_text(
        f'name = "arm"\n[instrument.cam]\nbundle = "{name}"\nnodata = 0\n'
        f"[tiling]\nscales = [1, 2]\n{classes}"
    )
    swaths = [strip / "strip.png", strip / "strip.jpg"]

    def on(core: str) -> list[tuple[Any, ...]]:
        store = tmp_path / core
        command = ["-m", "winnow_edge.cli", "run", mission, *swaths, "--store", store]
        if core == "x86":
            subprocess.run([sys.executable, *command], check=True, capture_output=True)
        else:
            emulated(core, *command)
        return _content(store)

    with ThreadPoolExecutor() as pool:
        here, *boards = pool.map(on, ("x86", *CORES))
    kinds = {row[1] for row in here}
    assert kinds >= {1, 2, 3}, "no detection: the comparison would leave the pictures out"
    for core, there in zip(CORES, boards, strict=True):
        assert len(there) == len(here), core
        differing = [(a, b) for a, b in zip(here, there, strict=True) if a != b]
        assert not differing, f"{core}: {len(differing)} differ, the first: {differing[0]}"


def _tiles_of(swath: Path, bundle: Bundle) -> np.ndarray:
    """TILES tiles of a rendered strip in the form of the bundle's input, int8."""
    spec = bundle.manifest.input
    mode = "L" if spec.channels == 1 else "RGB"
    with Image.open(swath) as opened:
        pixels = np.asarray(opened.convert(mode)).reshape(opened.height, opened.width, -1)
    random = np.random.default_rng(7)
    lines = random.integers(0, pixels.shape[0] - spec.height, TILES)
    samples = random.integers(0, pixels.shape[1] - spec.width, TILES)
    tiles = np.stack(
        [
            pixels[y : y + spec.height, x : x + spec.width]
            for y, x in zip(lines, samples, strict=True)
        ]
    )
    return (tiles ^ 0x80).view(np.int8)


def _logits(bundle: Bundle, tiles: np.ndarray) -> np.ndarray:
    classifier = load_classifier(bundle, "litert")
    logits = np.empty((len(tiles), len(bundle.manifest.classes)), np.int8)
    for tile, out in zip(tiles, logits, strict=True):
        classifier.infer(tile, out)
    return logits


def _content(store: Path) -> list[tuple[Any, ...]]:
    with contextlib.closing(sqlite3.connect(f"file:{store / 'store.db'}?mode=ro", uri=True)) as db:
        rows = db.execute(
            "SELECT swath, kind, tile, class, posterior, detection, state, data"
            " FROM product ORDER BY id"
        ).fetchall()
    db.close()
    return rows
