"""Lists of requests that go up to a board."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
from PIL import Image

from tests.fuzz import mutate
from tests.fuzz.door import Door
from tests.fuzz.stores import put
from winnow_edge.downlink.requests import Request, Requests, answer, load_requests
from winnow_edge.loop.flight import Flight
from winnow_edge.mission import load_mission
from winnow_edge.products.event import decode_events
from winnow_edge.products.kinds import Kind
from winnow_edge.products.region import decode_region
from winnow_edge.store.store import Store
from winnow_edge.testing import painted_swath, write_probe

LINES, SAMPLES = 60, 80


def requests_door(folder: Path) -> Door:
    """Lists that are answered from a store and the file of its swath."""
    mission = load_mission(write_probe(folder, "[requests]\nbytes = 9000\n"))
    pixels = painted_swath(LINES, SAMPLES)
    Image.fromarray(pixels).save(folder / "strip.png")
    with Flight(mission, folder / "store") as flight:
        flight.run(folder / "strip.png")
        number = flight.store.store_id
    held = (folder / "store" / "store.db").read_bytes()
    asked = (Request(1, "strip.png", 3, 4, 20, 30), Request(2, "x", 0, 0, 1, 1))
    plain = Requests(number, asked).to_json()
    path = folder / "requests.json"

    def damaged(rng: random.Random) -> bytes:
        words = (b'"line"', b'"samples"', b"60", b"80", b"4294967295", b"1e9", b"-1", b"0")
        return mutate.json_bytes(rng, [json.loads(plain)], words)

    def enter(data: bytes) -> None:
        path.write_bytes(data)
        requests = load_requests(path)
        requests.to_json()
        put(folder / "store", held)
        with Store.open(folder / "store", mission=mission) as store:
            answers = answer(store, mission, requests, [folder])
            for row in list(store.products(kinds=(Kind.REGION, Kind.EVENT))):
                octets = store.data(row.id)
                if row.kind is Kind.EVENT:
                    decode_events(octets)
                    continue
                part = decode_region(octets)
                box = part.box
                wanted = pixels[box.line :, box.sample :][: box.lines, : box.samples]
                np.testing.assert_array_equal(part.pixels, wanted)
            for one in answers:
                one.as_json()

    return Door(enter, [plain.encode()], damaged)
