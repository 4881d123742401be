"""Mission files, as texts and as tables; what is taken is fitted to a bundle."""

from __future__ import annotations

import contextlib
import copy
import io
import random
import shutil
import tomllib
from pathlib import Path
from typing import Any

from PIL import Image

from tests.fuzz import mutate
from tests.fuzz.door import Door
from winnow_edge.bundle import find_bundle, open_bundle
from winnow_edge.downlink.contact import downlink
from winnow_edge.errors import WinnowEdgeError
from winnow_edge.loop.flight import Flight
from winnow_edge.loop.settings import Settings
from winnow_edge.mission import load_mission
from winnow_edge.schema import mission_schema
from winnow_edge.testing import painted_swath, write_probe

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


def _legal(rng: random.Random, rule: dict[str, Any], depth: int = 0) -> Any:
    """A value that a schema allows; its limits as often as anything between them."""
    if "enum" in rule:
        return rng.choice(rule["enum"])
    match rule["type"]:
        case "boolean":
            return rng.random() < 0.5
        case "integer" | "number":
            low, high = rule.get("minimum", 0), rule.get("maximum", 1000)
            middle = rng.uniform(low, high) if rng.randrange(2) else low + (high - low) / 1000
            value = rng.choice((low, high, middle, low + 1, rule.get("default", low)))
            return int(value) if rule["type"] == "integer" else float(min(value, high))
        case "string":
            return rng.choice((rule.get("default", "x"), "bright", "dark", "nobody", "é"))
        case "array":
            least, most = rule.get("minItems", 0), min(rule.get("maxItems", 5), 5)
            return [_legal(rng, rule["items"]) for _ in range(rng.randint(least, max(least, most)))]
    if "properties" in rule:
        chosen = rng.sample(sorted(rule["properties"]), min(2, len(rule["properties"])))
        return {key: _legal(rng, rule["properties"][key], depth + 1) for key in chosen}
    names = rng.sample(("bright", "dark", "middle", "nobody"), rng.randrange(3))
    return {name: _legal(rng, rule["additionalProperties"], depth + 1) for name in names}


def _put(held: dict[str, Any], key: str, value: Any) -> None:
    """Set a key; tables keep what they have besides."""
    if isinstance(value, dict) and isinstance(held.get(key), dict):
        for inner, entry in value.items():
            _put(held[key], inner, entry)
    else:
        held[key] = value


def flight_door(folder: Path) -> Door:
    """Legal missions, of settings that nobody would combine, flown over small swaths."""
    write_probe(folder)
    path, store = folder / "mission.toml", folder / "store"
    pixels = painted_swath(40, 48, squares=5, side=20)
    pixels[:16] = 0
    Image.fromarray(pixels).save(folder / "a.png")
    (folder / "a.raw").write_bytes((pixels.astype("<u2") * 16).tobytes())
    base = {"name": "probe", "instrument": {"camera": {"bundle": "probe.winnow"}}}
    schema = mission_schema()["properties"]
    camera = schema["instrument"]["additionalProperties"]["properties"]
    tables = sorted(set(schema) - {"name", "instrument", "simulation"})

    def damaged(rng: random.Random) -> tuple[str, bytes]:
        mission = copy.deepcopy(base)
        for _ in range(rng.choice((1, 2, 4))):
            table = rng.choice(tables)
            _put(mission, table, _legal(rng, schema[table]))
        for key in rng.sample(sorted(set(camera) - {"bundle"}), rng.randrange(4)):
            mission["instrument"]["camera"][key] = _legal(rng, camera[key])
        _put(mission, "compute", {"runtime": "fake", "threads": 1})
        return rng.choice(("a.png", "a.raw")), mutate.toml(mission).encode()

    def enter(content: tuple[str, bytes]) -> None:
        swath, data = content
        path.write_bytes(data)
        mission = load_mission(path)
        shutil.rmtree(store, ignore_errors=True)
        wide = None if swath == "a.png" else 48
        with Flight(mission, store) as flight:
            flight.run(folder / swath, instrument="camera", samples=wide)
            downlink(flight.store, mission, budget_bytes=4000, out=io.BytesIO())

    text = mutate.toml({**base, "compute": {"runtime": "fake"}}).encode()
    return Door(enter, [("a.png", text), ("a.raw", text)], damaged)
