"""Searching: the columns in memory count exactly what SQL counts."""

from __future__ import annotations

import math
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from winnow_ground.catalogue.columns import BLOCK, ORDERS, Columns
from winnow_ground.catalogue.facets import Query
from winnow_ground.catalogue.schema import create

CLASSES = ("crater", "spider", "other")
YEARS = ("2024-05-01", "2025-01-01", "")
tiles = st.lists(
    st.tuples(
        st.integers(0, 4), st.integers(0, 2), st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]),
        st.booleans(),
    ),
    max_size=40,
)  # fmt: skip
queries = st.builds(
    Query,
    chosen=st.fixed_dictionaries(
        {},
        optional={
            "class": st.frozensets(st.sampled_from(CLASSES)),
            "year": st.frozensets(st.sampled_from(["2024", "2025", ""])),
            "bundle": st.frozensets(st.sampled_from(["a", "b"])),
        },
    ),
    lowest=st.sampled_from([0.0, 0.3, 0.5]),
    highest=st.sampled_from([0.5, 0.6, 1.0]),
    least=st.integers(0, 4),
    text=st.sampled_from(["", "esp", "3"]),
    box=st.sampled_from([None, (-10.0, -10.0, 25.0, 25.0), (0.0, 30.0, 90.0, 5.0)]),
    since=st.sampled_from(["", "2024-06"]),
    order=st.sampled_from(ORDERS),
    worth=st.dictionaries(st.sampled_from(CLASSES), st.sampled_from([0.0, 0.5, 4.0])),
)
blocks = st.sampled_from([3, BLOCK])


@contextmanager
def catalogue(rows: list[Any]) -> Iterator[Any]:
    with tempfile.TemporaryDirectory() as folder:
        db = create(Path(folder) / "c.db")
        db.executemany("INSERT INTO class (name) VALUES (?)", [(name,) for name in CLASSES])
        db.executemany("INSERT INTO bundle (name) VALUES (?)", [("a",), ("b",)])
        for n in range(5):
            start = YEARS[n % 3] or None
            where = (10.0 * n, 10.0 * n) if n < 4 else (None, None)
            db.execute(
                "INSERT INTO swath (name, bundle, start, latitude, longitude, sha256)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (f"ESP_{n}", 1 + n % 2, start, *where, str(n)),
            )
        put(db, rows, 1)
        yield db
        db.close()


def put(db: Any, rows: list[Any], changed: int, first: int = 0) -> None:
    db.executemany(
        "INSERT INTO tile (swath, number, class, posterior, detection, line, sample, lines,"
        " samples, changed) VALUES (?, ?, ?, ?, ?, 0, 0, 64, 64, ?)",
        [(s + 1, first + i, c + 1, p, d, changed) for i, (s, c, p, d) in enumerate(rows)],
    )


def by_hand(rows: list[Any], query: Query) -> list[int]:
    """Ids of what the query finds, slowly."""

    def swath(n: int) -> bool:
        start, place = YEARS[n % 3], (10.0 * n if n < 4 else None)
        year, bundle = query.chosen.get("year"), query.chosen.get("bundle")
        if (year and start[:4] not in year) or (bundle and "ab"[n % 2] not in bundle):
            return False
        if query.text not in f"esp_{n}" or (query.since and not start >= query.since):
            return False
        if query.box is None:
            return True
        south, west, north, east = query.box
        if place is None or not south <= place <= north:
            return False
        return west <= place <= east if west <= east else place >= west or place <= east

    wanted = query.chosen.get("class")
    found = [
        (i + 1, s)
        for i, (s, c, p, d) in enumerate(rows)
        if d and query.lowest <= p <= query.highest and (not wanted or CLASSES[c] in wanted)
    ]
    finds = Counter(s for _, s in found)
    return [i for i, s in found if swath(s) and (query.least < 2 or finds[s] >= query.least)]


@given(tiles, queries, blocks)
def test_counts_and_pages_are_those_of_a_slow_search(
    rows: list[Any], query: Query, block: int
) -> None:
    with catalogue(rows) as db:
        columns = Columns(db, block)
        want = by_hand(rows, query)
        found = columns.find(query, most=100)
        assert found.total == len(want) == sum(found.facets["swath"].values())
        assert sorted(found.rows.tolist()) == want
        assert found.swaths == len({rows[i - 1][0] for i in want})
        # Pages one after the other are the whole, in the order that was asked for.
        pages = [columns.find(query, first=n, most=3).rows for n in range(0, len(want) + 3, 3)]
        np.testing.assert_array_equal(np.concatenate(pages), found.rows)
        posterior = [rows[i - 1][2] for i in found.rows]
        if query.order == "confidence":
            assert posterior == sorted(posterior, reverse=True)
        elif query.order == "unsure":
            assert posterior == sorted(posterior)
        elif query.order == "newest":
            starts = [YEARS[rows[i - 1][0] % 3] for i in found.rows]
            assert starts == sorted(starts, reverse=True)
        elif query.order in ("value", "novelty"):
            weights = query.worth if query.order == "value" else rarities(rows)
            of = [CLASSES[rows[i - 1][1]] for i in found.rows]
            scores = [weights.get(name, 1.0) * p for name, p in zip(of, posterior, strict=True)]
            np.testing.assert_allclose(scores, sorted(scores, reverse=True), rtol=1e-5)


def rarities(rows: list[Any]) -> dict[str, float]:
    """Bits of each class: minus the logarithm of its share among the detections, one more each."""
    of = [CLASSES[row[1]] for row in rows if row[3]]
    total = len(of) + len(CLASSES)
    return {name: -math.log2((of.count(name) + 1) / total) for name in CLASSES}


@given(tiles, tiles, queries, blocks)
def test_what_is_added_later_is_found_as_if_it_had_been_there(
    rows: list[Any], more: list[Any], query: Query, block: int
) -> None:
    with catalogue(rows) as db:
        columns = Columns(db, block)
        other = create(Path(db.execute("PRAGMA database_list").fetchone()[2]))
        put(other, more, 2, len(rows))
        if rows:
            other.execute("UPDATE tile SET posterior = 0.75, changed = 3 WHERE id = 1")
            rows = [(*rows[0][:2], 0.75, rows[0][3]), *rows[1:]]
        other.close()
        columns.follow()
        assert sorted(columns.find(query, most=100).rows.tolist()) == by_hand(rows + more, query)


def test_swaths_that_are_taken_away_are_found_no_more() -> None:
    with catalogue([(n, 0, 0.5, True) for n in range(5)]) as db:
        columns = Columns(db)
        other = create(Path(db.execute("PRAGMA database_list").fetchone()[2]))
        other.execute("DELETE FROM swath WHERE id = 2")
        other.close()
        columns.follow()
        found = columns.find(Query(order="swath"))
        assert found.rows.tolist() == [1, 3, 4, 5]
        assert found.facets["swath"] == {"ESP_0": 1, "ESP_2": 1, "ESP_3": 1, "ESP_4": 1}


def test_what_could_not_be_read_is_read_the_next_time(tmp_path: Path) -> None:
    writer = create(tmp_path / "c.db")
    writer.execute("INSERT INTO class (name) VALUES ('crater')")
    writer.execute("INSERT INTO swath (name, sha256) VALUES ('one', '1')")
    with closing(sqlite3.connect(tmp_path / "c.db", isolation_level=None)) as reader:
        columns = Columns(reader)
        put(writer, [(0, 0, 0.5, True)] * 3, 1)

        def refuse(action: int, table: str | None, *_: object) -> int:
            kept = (action, table) != (sqlite3.SQLITE_READ, "tile")
            return sqlite3.SQLITE_OK if kept else sqlite3.SQLITE_DENY

        reader.set_authorizer(refuse)
        for _ in range(2):
            with pytest.raises(sqlite3.DatabaseError):
                columns.follow()
        reader.set_authorizer(None)
        assert columns.follow()
        assert (len(columns), columns.follow()) == (3, False)
    writer.close()
