"""Servers that start again: with the columns that an earlier one kept, and with pages of an earlier
one still open."""

from __future__ import annotations

import threading
from contextlib import closing
from pathlib import Path

from tests.ground.serve.serving import Served, Server, serving
from winnow_ground.catalogue.kept import beside
from winnow_ground.catalogue.schema import create


def detections(server: Served) -> int:
    found: int = server.get("/found").told["detections"]
    return found


def test_a_start_with_kept_columns_finds_the_same(catalogue: Path) -> None:
    with serving(catalogue) as first:
        before = first.get("/found").told
        assert before["detections"]
        # A label, or a box, is written by the server itself; no detection is another one for it.
        assert first.change("/swath/1/ask", BOX).status == 200
    assert beside(catalogue).is_file()
    with serving(catalogue) as second:
        assert second.get("/found").told == before
        page = second.get("/", Accept="text/html").body.decode()
    assert f"{before['detections']} detections" in page


BOX = {"line": 64, "sample": 128, "lines": 64, "samples": 256, "comment": ""}


def test_what_changed_between_two_starts_is_found(catalogue: Path) -> None:
    with serving(catalogue) as first:
        before = detections(first)
    with closing(create(catalogue)) as db:
        # Without the number of a change, as no program of Winnow does it.
        db.execute("DELETE FROM tile WHERE id = (SELECT min(id) FROM tile WHERE detection = 1)")
    with serving(catalogue) as second:
        assert detections(second) == before - 1


def test_servers_that_are_killed_and_two_at_once_find_all(catalogue: Path) -> None:
    killed = Server(catalogue)
    before = detections(Served(killed.port, catalogue))
    killed.kill()
    with serving(catalogue) as one, serving(catalogue) as other:
        found: list[int] = []
        asking = [
            threading.Thread(target=lambda server=server: found.append(detections(server)))
            for server in (one, other)
            for _ in range(4)
        ]
        for thread in asking:
            thread.start()
        for thread in asking:
            thread.join()
        assert found == [before] * len(asking)
        with closing(create(catalogue)) as db:
            db.execute("UPDATE tile SET detection = 0, changed = changed + 1")
        assert (detections(one), detections(other)) == (0, 0)
    with serving(catalogue) as later:
        assert detections(later) == 0


def test_a_page_of_an_earlier_server_is_told_what_is_new(catalogue: Path) -> None:
    with serving(catalogue) as first:
        seen = first.get("/mission/now").told["version"]
    with serving(catalogue) as second:
        assert second.get(f"/mission/now?seen={seen}").told["part"]


def test_every_store_has_its_contacts_on_the_page(catalogue: Path) -> None:
    with closing(create(catalogue)) as db:
        db.executemany(
            "INSERT INTO contact (store, number, containers, products, bytes, folder)"
            " VALUES (?, ?, 1, 0, 0, '')",
            [(7, number) for number in range(1000, 1100)] + [(8, 3)],
        )
    with serving(catalogue) as server:
        page = server.get("/mission").body.decode()
    assert "store 00000008" in page
    assert ">1099<" in page or ">1099 " in page
    assert "1039" not in page
