"""Writing swaths into the store, a block at a time, each in one transaction."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from winnow_edge.errors import StoreError, SwathKnownError
from winnow_edge.products.encode import SWATH_TILE, encode_swath, with_class, with_flag
from winnow_edge.products.kinds import NO_CLASS, Flag, Kind, Product
from winnow_edge.store.quota import keep_quota
from winnow_edge.store.schema import (
    MAX_SWATHS,
    SOUND_PRODUCT,
    Meta,
    ProductState,
    StoredSwath,
    checksum,
    seal,
    unseal,
)
from winnow_edge.store.store import Store

_VALUES: Final = "(?, ?, ?, ?, ?, ?, 0, ?, ?, ?, ?)"
_INSERT: Final = (
    "INSERT INTO product (swath, kind, tile, class, posterior, detection, state, bytes, sketch,"
    f" data, crc) VALUES {_VALUES}"
)
_AT_ONCE: Final = 32  # each statement lets Python's lock go and asks for it again
_INSERT_MANY: Final = _INSERT + f", {_VALUES}" * (_AT_ONCE - 1)


def begin_swath(
    store: Store,
    name: str,
    *,
    samples: int,
    classes: tuple[str, ...],
    bundle: str,
    digest: str,
    fingerprint: str | None,
    info: dict[str, Any],
) -> SwathWriter:
    """A writer for a new swath, or for one that a killed run left unfinished.

    `digest` is `Mission.processing_digest`, `fingerprint` identifies the file's content (None
    for a pipe), `info` anything else that the ground should know (JSON); it comes down with
    the swath's product. Of a swath that is complete, `writer.complete` is True. Raises
    StoreError if the name is known with other content or processing.
    """
    swath = store.swath(name)
    if swath is None:
        about = (samples, json.dumps(classes), bundle, digest, fingerprint, json.dumps(info))
        with store.transaction():
            swath = _new_swath(store, name, about)
            _announce(store, swath)
    else:
        _check_same(swath, samples, digest, fingerprint, store.path)
    ((sealed,),) = store.select("SELECT pending FROM swath WHERE id = ?", (swath.id,))
    try:
        return SwathWriter(store, swath, unseal(sealed))
    except (TypeError, ValueError) as error:
        raise SwathKnownError(
            f"the state of swath {name!r} is damaged ({error})",
            where=store.path,
            hint="give it another --name, and it is run anew",
        ) from error


class SwathWriter:
    """Writes one swath, a block at a time.

    Attributes: `swath_id`; `info`, what the ground was told when the swath began; `complete`;
    `next_tile`, tiles of a lower index are committed; `next_line`, lines before it are done with;
    `pending`, what was saved with the last block (bytes or None); `summary` of a complete swath
    (dict or None).
    """

    def __init__(self, store: Store, swath: StoredSwath, pending: bytes | None) -> None:
        self._store, self._swath = store, swath
        self.swath_id = swath.id
        self.info = swath.info
        self.next_tile, self.next_line = swath.next_tile, swath.next_line
        self.pending = pending
        self.summary = swath.summary

    @property
    def complete(self) -> bool:
        return self.summary is not None

    def commit(
        self,
        *,
        products: Sequence[Product],
        next_tile: int,
        next_line: int,
        pending: bytes | None,
        merged: Sequence[tuple[int, int]] = (),
        refused: Sequence[tuple[int, int]] = (),
        passed: Sequence[tuple[int, int, int, float]] = (),
        summary: dict[str, Any] | None = None,
    ) -> None:
        """Store a block in one transaction and keep to the quota.

        `merged` names detections, as (tile, class), for whose feature another one stands: their
        records, of this block or before, are worth no more than any tile's. Neither are those of
        the `refused` ones. Those of the ones that `passed` the second stage, as (tile, class, its
        class, its posterior), say from now on what it said. With a `summary` the swath is complete:
        its product, JSON of `info` and `summary`, takes the place of the one made at the beginning,
        or follows it where that has left the store already.

        Raises StoreError: the disk is full or read-only, a product is there already, or another
        process writes the same swath. The store is then as it was before.
        """
        if next_tile < self.next_tile or next_line < self.next_line:
            raise ValueError("a block cannot end before the one that was committed last")
        store = self._store
        with store.transaction():
            self._advance(next_tile, next_line, pending)
            _insert(store, self.swath_id, products)
            for flag, tiles in ((Flag.MERGED, merged), (Flag.REFUSED, refused)):
                for tile, class_index in tiles:
                    _mark(store, self.swath_id, tile, class_index, flag)
            for verified in passed:
                _pass(store, self.swath_id, *verified)
            if store.mission is not None:
                keep_quota(store, store.mission)
            if summary is not None:
                store.db.execute(
                    "UPDATE swath SET summary = ? WHERE id = ?",
                    (json.dumps(summary), self.swath_id),
                )
                _announce(store, self._swath, summary)
        self.next_tile, self.next_line, self.pending = next_tile, next_line, pending
        self.summary = summary

    def _advance(self, next_tile: int, next_line: int, pending: bytes | None) -> None:
        """Move the swath on, if it still stands where this writer left it."""
        done = self._store.db.execute(
            "UPDATE swath SET next_tile = ?, next_line = ?, pending = ?"
            " WHERE id = ? AND next_tile = ? AND next_line = ? AND summary IS NULL",
            (next_tile, next_line, seal(pending), self.swath_id, self.next_tile, self.next_line),
        )
        if done.rowcount != 1:
            raise StoreError(
                f"another process writes swath {self._swath.name!r}",
                where=self._store.path,
                hint="let one run finish before the next",
            )


def _new_swath(store: Store, name: str, about: tuple[object, ...]) -> StoredSwath:
    ((swaths,),) = store.select("SELECT COUNT(*) FROM swath")
    if swaths >= MAX_SWATHS:
        raise StoreError(
            f"holds {MAX_SWATHS} swaths, the most it can number",
            where=store.path,
            hint="start another with --store",
        )
    store.db.execute(
        "INSERT INTO swath (name, samples, classes, bundle, digest, fingerprint, info,"
        " born, next_tile, next_line) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0, 0)",
        (name, *about, store.contacts()),
    )
    swath = store.swath(name)
    assert swath is not None
    return swath


def _insert(store: Store, swath_id: int, products: Sequence[Product]) -> None:
    entries = [
        # Plain integers: SQLite's adapter takes its time over any other kind.
        (swath_id, int(kind), tile, cls, posterior, int(detection), len(data), sketch, data,
         checksum(swath_id, kind, tile, cls, posterior, detection, data))
        for kind, tile, cls, posterior, detection, data, sketch in products
    ]  # fmt: skip
    whole = len(entries) - len(entries) % _AT_ONCE
    for first in range(0, whole, _AT_ONCE):
        some = entries[first : first + _AT_ONCE]
        store.db.execute(_INSERT_MANY, list(itertools.chain.from_iterable(some)))
    store.db.executemany(_INSERT, entries[whole:])
    store.set_meta(Meta.DATA_BYTES, store.data_bytes() + sum(len(p.data) for p in products))


def _announce(store: Store, swath: StoredSwath, summary: dict[str, Any] | None = None) -> None:
    """Make the swath's product; it takes the place of an earlier one.

    It is written over if no contact can have carried it; else its number stands for its
    content, and another follows it.
    """
    data = encode_swath(_about(store, swath, summary))
    earlier = store.announcements().get(swath.id)
    if earlier is not None and store.contacts() == swath.born:
        store.db.execute(
            "UPDATE product SET data = ?, bytes = ?, crc = ? WHERE id = ?",
            (data, len(data), checksum(*_about_swath(swath.id), data), earlier.id),
        )
        store.set_meta(Meta.DATA_BYTES, store.data_bytes() + len(data) - earlier.bytes)
        return
    if earlier is not None:
        store.db.execute(
            "UPDATE product SET state = ? WHERE id = ?", (ProductState.ACKNOWLEDGED, earlier.id)
        )
    _insert(store, swath.id, [Product(Kind.SWATH, SWATH_TILE, NO_CLASS, 0.0, False, data)])
    store.db.execute(
        "UPDATE swath SET announcement = (SELECT MAX(id) FROM product) WHERE id = ?", (swath.id,)
    )


def _about_swath(swath_id: int) -> tuple[int, int, int, int, float, int]:
    """What a swath product's row says beside its data."""
    return swath_id, Kind.SWATH, SWATH_TILE, NO_CLASS, 0.0, 0


def _about(store: Store, swath: StoredSwath, summary: dict[str, Any] | None) -> dict[str, Any]:
    """What the ground is told about a swath."""
    return {
        "id": swath.id,
        "swath": swath.name,
        "mission": store.meta(Meta.MISSION),
        "bundle": swath.bundle,
        "classes": swath.classes,
        "samples": swath.samples,
        "complete": summary is not None,
        **swath.info,
        **(summary or {}),
    }


def _mark(store: Store, swath_id: int, tile: int, class_index: int, flag: Flag) -> None:
    """The record of a detection that counts no more: flagged so, where no contact carried it."""
    found = _record(store, swath_id, tile, class_index)
    if found is None:
        return  # with a sigmoid head the tile's record may name another class
    data = found.data
    if data is not None and found.untold:
        data = with_flag(data, flag)
    crc = checksum(swath_id, Kind.RECORD, tile, class_index, found.posterior, 0, data)
    store.db.execute(
        "UPDATE product SET detection = 0, data = ?, crc = ? WHERE id = ?", (data, crc, found.id)
    )


def _pass(
    store: Store, swath_id: int, tile: int, class_index: int, found: int, posterior: float
) -> None:
    """The record of a detection that the second stage let pass, where no contact carried it: it
    gets the class and posterior that the pictures have."""
    record = _record(store, swath_id, tile, class_index)
    if record is None or record.data is None or not record.untold:
        return
    data = with_class(record.data, found, posterior)
    crc = checksum(swath_id, Kind.RECORD, tile, found, posterior, record.detection, data)
    store.db.execute(
        "UPDATE product SET class = ?, posterior = ?, data = ?, crc = ? WHERE id = ?",
        (found, posterior, data, crc, record.id),
    )


class _Record(NamedTuple):
    """The record of a tile; `untold`: the ground has not been told of it."""

    id: int
    posterior: float
    detection: int
    data: bytes | None
    untold: bool


def _record(store: Store, swath_id: int, tile: int, class_index: int) -> _Record | None:
    """The record of a tile; None where there is none, or a damaged one, which stays as it is."""
    row = store.db.execute(
        "SELECT id, posterior, detection, data, data IS NOT NULL AND state = ? AND NOT unheard, crc"
        f" FROM product WHERE {SOUND_PRODUCT} AND"
        # The index product_once serves only those who say what it leaves out.
        " swath = ? AND tile = ? AND kind = ? AND class = ? AND kind <> 0",
        (ProductState.STORED, swath_id, tile, Kind.RECORD, class_index),
    ).fetchone()
    if row is None:
        return None
    *values, crc = row
    record = _Record(*values)
    key = (swath_id, Kind.RECORD, tile, class_index, record.posterior, record.detection)
    gone = record.data is None  # evicted
    return record if gone or checksum(*key, record.data) == crc else None


def _check_same(
    swath: StoredSwath, samples: int, digest: str, fingerprint: str | None, path: Path
) -> None:
    """A swath goes on only where content, shape and processing are the same."""
    for what, known, given in (
        ("content", swath.fingerprint, fingerprint),
        ("samples per line", swath.samples, samples),
        ("processing (mission file or bundle)", swath.digest, digest),
    ):
        if known != given:
            raise SwathKnownError(
                f"swath {swath.name!r} is known with other {what}",
                where=path,
                hint="give it another --name or --store",
            )
