"""Diversity: sketches that know texture, not place, and an order that avoids repeats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from winnow_edge.downlink.contact import downlink
from winnow_edge.downlink.reader import LinkCounts, read_containers
from winnow_edge.products.diversity import discounted
from winnow_edge.products.kinds import Kind
from winnow_edge.products.ranking import rank
from winnow_edge.products.sketch import SKETCH_BYTES, sketch
from winnow_edge.products.table import COLUMNS, ProductTable
from winnow_edge.products.worth import utilities
from winnow_edge.store.store import Store
from winnow_edge.testing import begin, fill, landmark_mission, pictures_of

CLASSES = {1: ("other", "crater", "dark dune"), 2: ("dark dune", "crater")}
SMOOTH, ROUGH = bytes([60, 20, 5, 5, 5, 10, 20, 30]), bytes([60, 150, 140, 90, 60, 30, 20, 10])


def pictures(*rows: tuple[int, Kind, int, float, bytes]) -> ProductTable:
    """Detections' pictures: swath, kind, class, posterior, sketch; each of its own tile."""
    table = np.zeros(len(rows), COLUMNS)
    for n, (swath, kind, cls, posterior, look) in enumerate(rows):
        table[n] = (n + 1, swath, kind, n, cls, posterior, True, 1, 0, 1000, look)
    return ProductTable(table, CLASSES)


def test_a_sketch_has_its_documented_octets() -> None:
    flat = np.full((64, 64), 128, np.uint8)
    assert sketch(flat) == bytes([64, 0, 0, 0, 0, 0, 0, 0])  # 128 / 64 x 32
    rows, columns = np.indices((64, 64))
    chequered = np.where((rows + columns) % 2, 255, 0).astype(np.uint8)
    # Mean 127.5, deviation 127.5, all of it in the finest octave: log2(128.5) x 32 = 224.
    assert sketch(chequered) == bytes([64, 224, 224, 0, 0, 0, 0, 0])
    blocks = np.where((rows // 4 + columns // 4) % 2, 255, 0).astype(np.uint8)
    assert sketch(blocks) == bytes([64, 224, 0, 0, 224, 0, 0, 0])


@given(
    arrays(
        np.uint8,
        st.one_of(
            st.tuples(st.integers(1, 40), st.integers(1, 40)),
            st.tuples(st.integers(1, 20), st.integers(1, 20), st.just(3)),
        ),
    )
)
def test_every_tile_has_a_sketch(pixels: np.ndarray[Any, Any]) -> None:
    assert len(sketch(pixels)) == SKETCH_BYTES


def test_a_sketch_knows_no_orientation() -> None:
    pixels = np.random.default_rng(0).normal(128, 20, (128, 128)).cumsum(axis=0)
    tile = np.clip(pixels / 128 + 60, 0, 255).astype(np.uint8)
    for turned in (tile[::-1], tile[:, ::-1], tile.T, np.rot90(tile)):
        assert sketch(turned) == sketch(tile)


def test_grey_and_colour_of_the_same_greys_are_alike() -> None:
    tile = np.random.default_rng(0).integers(0, 255, (32, 32), np.uint8)
    assert sketch(np.stack([tile] * 3, axis=-1)) == sketch(tile)


def test_repeats_wait_for_something_new() -> None:
    mission = landmark_mission("[ranking]\ndiversity = 1.0")
    table = pictures(
        (1, Kind.IMAGE, 1, 0.99, ROUGH),
        (1, Kind.IMAGE, 1, 0.98, ROUGH),
        (1, Kind.IMAGE, 1, 0.97, ROUGH),
        (1, Kind.IMAGE, 1, 0.60, SMOOTH),
        (1, Kind.IMAGE, 2, 0.90, ROUGH),
    )
    assert rank(table, "utility-per-byte", mission).tolist() == [0, 1, 2, 3, 4]
    # The smooth crater, then the dune, of another class; then what has been seen.
    assert rank(table, "diversity", mission).tolist() == [0, 3, 4, 1, 2]
    # Without weight it is value per byte.
    plain = landmark_mission("[ranking]\ndiversity = 0.0")
    assert rank(table, "diversity", plain).tolist() == [0, 1, 2, 3, 4]


def test_what_was_sent_before_is_no_news() -> None:
    mission = landmark_mission("[ranking]\ndiversity = 1.0")
    table = pictures((1, Kind.IMAGE, 1, 0.99, ROUGH), (1, Kind.IMAGE, 1, 0.6, SMOOTH))
    # Sent from another swath, whose bundle numbers the class otherwise.
    sent = pictures((2, Kind.IMAGE, 1, 0.9, ROUGH))
    sent.columns["tile"] = 77
    assert rank(table, "diversity", mission).tolist() == [0, 1]
    assert rank(table, "diversity", mission, known=sent).tolist() == [1, 0]
    # A thumbnail shows too little to make an image stale.
    sent.columns["kind"] = Kind.THUMBNAIL
    assert rank(table, "diversity", mission, known=sent).tolist() == [0, 1]


def test_a_tiles_own_thumbnail_does_not_make_its_image_stale() -> None:
    mission = landmark_mission("[ranking]\ndiversity = 1.0")
    table = pictures((1, Kind.THUMBNAIL, 1, 0.9, ROUGH), (1, Kind.IMAGE, 1, 0.9, ROUGH))
    table.columns["tile"] = 5
    density = utilities(table, mission)
    assert discounted(table, density, None, 1.0).tolist() == density.tolist()
    assert discounted(table, density, table, 1.0).tolist() == density.tolist()


def many(seed: int, count: int) -> ProductTable:
    """Pictures of one class that look much alike, two of most tiles; posteriors repeat."""
    rng = np.random.default_rng(seed)
    table = np.zeros(count, COLUMNS)
    table["id"], table["swath"], table["tile"] = np.arange(count) + 1, 1, np.arange(count) // 2
    table["kind"] = np.where(rng.random(count) < 0.5, Kind.THUMBNAIL, Kind.IMAGE)
    table["class_index"], table["detection"], table["bytes"] = 1, True, 1000
    table["posterior"] = rng.integers(4, 9, count) / 8
    looks = rng.integers(60, 160, (12, 8))[rng.integers(0, 12, count // 2 + 1)]
    looks = np.clip(looks + rng.normal(0, 6, looks.shape), 1, 255).astype(np.uint8)
    table["sketch"] = [bytes(looks[n // 2]) for n in range(count)]
    return ProductTable(table, CLASSES)


@pytest.mark.parametrize("count", [127, 129, 700])
@pytest.mark.parametrize("weight", [0.0, 0.6, 1.0])
def test_many_pictures_are_taken_one_by_one(count: int, weight: float) -> None:
    """However few are compared at a time: the first of the best of all, with what was sent."""
    table, known = many(1, count), many(2, 300)
    known.columns["tile"] += count // 4  # some of its tiles are those that wait
    density = utilities(table, landmark_mission())

    def looks(of: ProductTable) -> np.ndarray[Any, Any]:
        octets = np.ascontiguousarray(of.columns["sketch"]).view(np.uint8)
        return octets.reshape(len(of), SKETCH_BYTES).astype(np.float32) / 32

    def alike(sent: ProductTable, which: int) -> np.ndarray[Any, Any]:
        distance = np.square(looks(table) - looks(sent)[which]).sum(axis=1)
        similar = np.exp(distance * np.float32(-0.5))
        similar[table.columns["tile"] == sent.columns["tile"][which]] = 0
        return np.where(sent.columns["kind"][which] >= table.columns["kind"], similar, 0)

    near = np.max([alike(known, n) for n in range(len(known))], axis=0)
    expected, waiting = density.copy(), np.ones(count, bool)
    for _ in range(count):
        score = np.where(waiting, density * (1 - weight * near), -1.0)
        best = int(score.argmax())
        expected[best], waiting[best] = score[best], False
        near = np.maximum(near, alike(table, best))
    assert discounted(table, density, known, weight).tolist() == expected.tolist()


picture = st.tuples(
    st.sampled_from([1, 2]),
    st.sampled_from([Kind.THUMBNAIL, Kind.IMAGE]),
    st.sampled_from([0, 1]),
    st.floats(0.125, 1, width=32),
    st.binary(min_size=8, max_size=8),
)


@given(st.lists(picture, max_size=30), st.floats(0, 1))
def test_the_order_is_the_greedy_one(rows: list[Any], weight: float) -> None:
    """Against the plain definition: take the best of what is left, again and again."""
    table, mission = pictures(*rows), landmark_mission()
    density = utilities(table, mission)
    got = discounted(table, density, None, weight)
    looks = np.array([np.frombuffer(row[4], np.uint8) / 32 for row in rows]).reshape(-1, 8)
    names = [CLASSES[row[0]][row[2]] for row in rows]
    left, chosen = set(range(len(rows))), []
    while left:

        def score(n: int) -> float:
            alike = [
                np.exp(-np.square(looks[n] - looks[m]).sum() / 2)
                for m in chosen
                if names[m] == names[n] and (rows[m][1] >= rows[n][1])
            ]
            return float(density[n] * (1 - weight * max(alike, default=0.0)))

        best = max(score(n) for n in left)
        # Ties and rounding: any of the best may be next; ours is the one with that key.
        nearly = [n for n in left if score(n) >= best * (1 - 1e-5)]
        following = max(nearly, key=lambda n: got[n])
        # Similarities are float32; a weight near 1 leaves little of a density but their rounding.
        rounding = 1e-6 * float(density.max())
        assert got[following] == pytest.approx(best, rel=1e-4, abs=rounding)
        chosen.append(following)
        left.remove(following)


def test_a_contact_shows_more_kinds_of_ground(tmp_path: Path) -> None:
    """Through the store: forty pictures of one texture and four of another, all of one class."""
    rng = np.random.default_rng(0)
    mission = landmark_mission("[ranking]\ndiversity = 0.9")
    products = []
    for tile in range(44):
        noise = 40 if tile >= 40 else 4
        pixels = np.clip(rng.normal(128, noise, (64, 64)), 0, 255).astype(np.uint8)
        posterior = 0.6 if tile >= 40 else 0.95
        products += pictures_of(tile, pixels, posterior, mission)
    fill(tmp_path / "store", mission, products)
    with Store.open(tmp_path / "store", mission=mission, read_only=True) as store:
        table = store.table()
    rare = {}
    for policy in ("utility-per-byte", "diversity"):
        first = table.columns["tile"][rank(table, policy, mission)[:12]]
        rare[policy] = int((first >= 40).sum())
    assert rare["diversity"] > rare["utility-per-byte"]


def test_contacts_by_diversity_remember_earlier_ones(tmp_path: Path) -> None:
    mission = landmark_mission("[ranking]\npolicy = 'diversity'\ndiversity = 1.0")
    flat = np.full((64, 64), 90, np.uint8)
    rough = np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)
    seen = pictures_of(0, flat, 0.99, mission)
    alike = pictures_of(1, flat, 0.98, mission)
    new = pictures_of(2, rough, 0.55, mission)
    with Store.open(tmp_path / "store", mission=mission) as store:
        writer = begin(store)
        writer.commit(products=seen, next_tile=1, next_line=1, pending=b"")
        downlink(store, mission, budget_bytes=20_000, out=tmp_path / "1.bin")
        writer.commit(products=[*alike, *new], next_tile=3, next_line=2, pending=b"")
        downlink(store, mission, budget_bytes=20_000, out=tmp_path / "2.bin")
        tiles = {row.id: row.tile_index for row in store.products(kinds=(Kind.IMAGE,))}
    with (tmp_path / "2.bin").open("rb") as stream:
        sent = [i.id for c in read_containers(stream, LinkCounts()) for i in c.items]
    assert [tiles[number] for number in sent if number in tiles] == [2, 1]
