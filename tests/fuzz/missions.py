"""Mission files, as texts and as tables; what is taken is fitted to a bundle."""

from __future__ import annotations

import contextlib
import random
import tomllib
from pathlib import Path

from tests.fuzz import mutate
from tests.fuzz.door import Door
from winnow_edge.bundle import find_bundle, open_bundle
from winnow_edge.errors import WinnowEdgeError
from winnow_edge.loop.settings import Settings
from winnow_edge.mission import load_mission
from winnow_edge.testing import write_probe

TEXT = """\
name = "probe"
[instrument.camera]
bundle = "probe.winnow"
samples = 64
bits = 8
nodata = 0
byte_order = "little"
stretch_limits = [3, 900]
dead_samples = [4, 5]
find_dead_samples = true
stall_s = 3.5
[tiling]
hop = 8
scales = [1, 2]
merge = 0.3
proposals = "salient"
[screening]
nodata_max = 0.5
[class."bright"]
threshold = 0.9
utility = 2.0
[verdict]
hard_means = [0.1, 0.2]
[ranking]
policy = "diversity"
[store]
quota_mb = 10
[link]
rate_bps = 128_000
packet_bytes = 1024
[compute]
runtime = "fake"
memory_mb = 100
[simulation]
swaths = ["a.png"]
"""
WORDS = (
    *(b"[", b"]", b"[[", b"=", b'"', b"'", b'"""', b"\n", b".", b"{", b"}", b"#", b"\\u0000"),
    *(b"nan", b"inf", b"-1", b"1e999", b"true", b"1979-05-27", b"9" * 5000, b"[" * 3000, b"[]"),
    *(b"0x" + b"f" * 5000, b"[instrument.camera]\n", b"hop = 0\n", b"tile = 7\n", b"[class]\n"),
    *(b'""', b"~nosuch/x", b"x" * 300, b"\\ud800", b"probe.winnow", b"samples", b"bits", b"16"),
)


def mission_door(folder: Path) -> Door:
    write_probe(folder)
    path = folder / "mission.toml"
    values = tomllib.loads(TEXT)

    def damaged(rng: random.Random) -> bytes:
        if rng.randrange(2):
            return mutate.octets(rng, [TEXT.encode()], WORDS)
        return mutate.toml(mutate.tree(rng, [values])).encode("utf-8", "surrogatepass")

    def enter(data: bytes) -> None:
        path.write_bytes(data)
        mission = load_mission(path)
        for name, camera in mission.instruments.items():
            with contextlib.suppress(WinnowEdgeError):
                bundle = open_bundle(find_bundle(camera.bundle, beside=path))
                Settings.of(mission, name, bundle)

    return Door(enter, [TEXT.encode()], damaged)
