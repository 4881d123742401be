"""A catalogue of one swath whose tiles all came down with pictures."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from winnow_ground.catalogue.add import add_reception
from winnow_ground.catalogue.schema import changes, open_catalogue
from winnow_ground.labelling.answers import Answer, answer
from winnow_ground.labelling.sets import LabelSet, Wanted, find_set, make_set
from winnow_ground.receive import receive

Fly = Callable[..., Any]


class Labelled:
    """A catalogue, and people who say things about its tiles."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.db = open_catalogue(path, write=True)

    def tiles(self, most: int = 1000, where: str = "detection = 1") -> list[int]:
        found = self.db.execute(f"SELECT id FROM tile WHERE {where} ORDER BY id LIMIT {most}")
        return [row[0] for row in found]

    def says(self, person: str, tile: int, what: str, **more: Any) -> bool:
        """A class, or one of the other answers."""
        plain = what in ("nothing", "unsure", "later")
        given = Answer(tile, what if plain else "shows", None if plain else what, **more)
        with changes(self.db, self.path):
            return answer(self.db, person, given)

    def set(self, name: str = "one", tiles: list[int] | None = None, **more: Any) -> LabelSet:
        wanted = Wanted(name, self.tiles() if tiles is None else tiles, person="ann", **more)
        with changes(self.db, self.path):
            make_set(self.db, wanted)
        return find_set(self.db, name)

    def change(self, function: Callable[[sqlite3.Connection], Any]) -> Any:
        with changes(self.db, self.path):
            return function(self.db)


@pytest.fixture
def catalogue(fly: Fly, tmp_path: Path) -> Path:
    """Of a swath of 96 tiles, a quarter of them detections, everything came down."""
    fly(name="ESP_1", instrument="camera").contact(tmp_path / "pass.bin", 1_000_000)
    add_reception(tmp_path / "mars.db", receive([tmp_path / "pass.bin"], tmp_path / "in"))
    return tmp_path / "mars.db"


@pytest.fixture
def labelled(catalogue: Path) -> Iterator[Labelled]:
    held = Labelled(catalogue)
    yield held
    held.db.close()
