"""Swaths whose rows are lost, made again of what their own products say of them."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

from winnow_edge.errors import PacketError
from winnow_edge.products.encode import decode_swath
from winnow_edge.products.kinds import Kind
from winnow_edge.store.schema import SEAL_SWATH, SELECT_SWATH, Meta, StoredSwath

_TOLD = ("id", "swath", "mission", "bundle", "classes", "samples", "complete")


def rebuild_swaths(db: sqlite3.Connection) -> list[str]:
    """Make the rows of swaths again that are missing or make no sense, and of which a swath product
    is there; their names. Nothing more can be run into such a swath."""
    sound = set()
    for values in db.execute(f"{SELECT_SWATH} ORDER BY id").fetchall():
        try:
            sound.add(StoredSwath.read(values).id)
        except (TypeError, ValueError, RecursionError):
            db.execute("DELETE FROM swath WHERE id = ?", (values[0],))
    told = db.execute(
        "SELECT id, swath, data FROM product WHERE kind = ? AND data IS NOT NULL ORDER BY id DESC",
        (Kind.SWATH,),
    ).fetchall()
    names = []
    for number, swath, data in told:
        if swath in sound:
            continue
        try:
            about = decode_swath(data)
            db.execute(
                "INSERT INTO swath (id, name, samples, classes, bundle, digest, info, born,"
                " next_tile, next_line, summary, announcement) VALUES (?, ?, ?, ?, ?, '', ?,"
                " (SELECT coalesce(MAX(value), 0) FROM meta WHERE key = ?),"
                " (SELECT coalesce(MAX(tile), -1) + 1 FROM product WHERE swath = ?), 0, ?, ?)",
                _row(swath, about, number),
            )
        except (PacketError, KeyError, sqlite3.Error):
            continue
        db.execute(SEAL_SWATH, (swath,))
        sound.add(swath)
        names.append(str(about["swath"]))
    return names


def _row(swath: int, about: dict[str, Any], announcement: int) -> tuple[Any, ...]:
    rest = {key: value for key, value in about.items() if key not in _TOLD}
    return (
        swath, about["swath"], about["samples"], json.dumps(about["classes"]), about["bundle"],
        json.dumps(rest if not about["complete"] else {}), Meta.CONTACT, swath,
        json.dumps({**rest, "swath": about["swath"], "complete": about["complete"]}),
        announcement,
    )  # fmt: skip
