"""Writing swaths into the store, a block at a time, each in one transaction."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

from winnow_edge.errors import StoreTroubleError, SwathKnownError, Trouble
from winnow_edge.products.encode import SWATH_TILE, encode_swath, with_class, with_flag
from winnow_edge.products.kinds import NO_CLASS, Flag, Kind, Product
from winnow_edge.store.events import count_event
from winnow_edge.store.quota import Keeper
from winnow_edge.store.rows import insert, set_state
from winnow_edge.store.schema import (
    INTACT,
    SEAL,
    SEAL_SWATH,
    SOUND_PRODUCT,
    Meta,
    ProductState,
    StoredSwath,
    checksum,
    seal,
    unseal,
)
from winnow_edge.store.store import Store


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
        if (keeper := keeper_of(store)) is not None:
            keeper.admit((), classes, pending=sum(len(str(value)) for value in about))
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


@dataclass(frozen=True, slots=True)
class _Block:
    """What is committed at once; `left_out` counts pictures by kind that there was no room for."""

    products: tuple[Product, ...]
    next_tile: int
    next_line: int
    pending: bytes | None
    merged: Sequence[tuple[int, int]]
    refused: Sequence[tuple[int, int]]
    passed: Sequence[tuple[int, int, int, float]]
    summary: dict[str, Any] | None
    left_out: Mapping[str, int] = field(default_factory=dict)

    def light(self) -> _Block:
        """The block without its pictures, for a disk that is full."""
        kept = tuple(p for p in self.products if p.kind in (Kind.SWATH, Kind.RECORD))
        gone = Counter(
            p.kind.name.lower() for p in self.products if p.kind not in (Kind.SWATH, Kind.RECORD)
        )
        return replace(self, products=kept, left_out=+gone)


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
        or follows it where that has left the store already. On a disk that stays full
        (`Disk.light`) the pictures of the block are left out, and counted.

        Raises StoreError: the disk has no room even for records, it fails or is read-only, a
        product is there already, or another process writes the same swath. The store is then as it
        was before.
        """
        if next_tile < self.next_tile or next_line < self.next_line:
            raise ValueError("a block cannot end before the one that was committed last")
        block = _Block(
            tuple(products), next_tile, next_line, pending, merged, refused, passed, summary
        )
        store = self._store
        if store.disk.light and store.disk.live_on():
            store.keeper = None  # it knows of less room
        numbers, products = self._write(block.light() if store.disk.light else block)
        if (keeper := keeper_of(store)) is not None:
            keeper.added(numbers, products, self._swath.classes)
        self.next_tile, self.next_line, self.pending = next_tile, next_line, pending
        self.summary = summary

    def _write(self, block: _Block) -> tuple[list[int], Sequence[Product]]:
        """Write a block; the numbers of its products, and those that there was room for."""
        store, keeper, names = self._store, keeper_of(self._store), self._swath.classes
        products: Sequence[Product] = block.products
        if keeper is not None:
            products = keeper.admit(products, names, pending=len(block.pending or b""))
        with store.transaction():
            self._advance(block.next_tile, block.next_line, block.pending)
            numbers = insert(store, self.swath_id, products)
            for kind, n in block.left_out.items():
                count_event(store, "left out", kind, n)
            for flag, tiles in ((Flag.MERGED, block.merged), (Flag.REFUSED, block.refused)):
                for tile, class_index in tiles:
                    _mark(store, self.swath_id, tile, class_index, flag)
            for verified in block.passed:
                _pass(store, self.swath_id, *verified)
            if block.summary is not None:
                store.db.execute(
                    "UPDATE swath SET summary = ? WHERE id = ?",
                    (json.dumps(block.summary), self.swath_id),
                )
                _announce(store, self._swath, block.summary)
            store.db.execute(SEAL_SWATH, (self.swath_id,))
        return numbers, products

    def _advance(self, next_tile: int, next_line: int, pending: bytes | None) -> None:
        """Move the swath on, if it still stands where this writer left it."""
        done = self._store.db.execute(
            "UPDATE swath SET next_tile = ?, next_line = ?, pending = ?"
            " WHERE id = ? AND next_tile = ? AND next_line = ? AND summary IS NULL",
            (next_tile, next_line, seal(pending), self.swath_id, self.next_tile, self.next_line),
        )
        if done.rowcount != 1:
            raise StoreTroubleError(
                f"another process writes swath {self._swath.name!r}",
                Trouble.BUSY,
                where=self._store.path,
                hint="let one run finish before the next",
            )


def keeper_of(store: Store) -> Keeper | None:
    """Who keeps the store within its mission's quota; None where it is open without a mission."""
    if store.mission is None:
        return None
    if not isinstance(store.keeper, Keeper):
        store.keeper = Keeper(store, store.mission)
    return store.keeper


def add_products(
    store: Store, swath: StoredSwath, products: Sequence[Product], meta: Mapping[Meta, Any]
) -> bool:
    """Add products to a swath that no block of its lines makes, keep to the quota, and set values
    of the store's own, all in one transaction; False, and nothing is done, where there is no room
    for all of them. Raises StoreError."""
    keeper = keeper_of(store)
    if keeper is not None and not keeper.admit_all(products, swath.classes):
        return False
    with store.transaction():
        numbers = insert(store, swath.id, products)
        for key, value in meta.items():
            store.set_meta(key, value)
    if keeper is not None:
        keeper.added(numbers, products, swath.classes)
    return True


def announce_lost(store: Store) -> int:
    """Tell the ground anew of swaths whose products that do are lost, as far as anything is to be
    told of them; how many. Raises StoreError."""
    there = store.announcements()
    lost = [swath for swath in store.swaths() if swath.id not in there]
    asked = [swath for swath in lost if store.select(_IS_TO_BE_TOLD, (swath.id,))]
    for swath in asked:
        with store.transaction():
            _announce(store, swath, swath.summary)
    return len(asked)


_IS_TO_BE_TOLD: Final = (
    "SELECT 1 FROM swath WHERE id = ? AND (announcement IS NULL"
    " OR EXISTS (SELECT 1 FROM product WHERE product.id = announcement)"
    f" OR EXISTS (SELECT 1 FROM product WHERE swath = swath.id AND state < 2 AND {SOUND_PRODUCT}))"
)
"""Of a store of an earlier format, what the ground has is not there."""


def next_index(store: Store, swath: StoredSwath, kind: Kind) -> int:
    """The tile index of the next product of a kind that is of no tile, such as `Kind.REGION`."""
    sql = "SELECT COALESCE(MAX(tile), -1) + 1 FROM product WHERE swath = ? AND kind = ?"
    ((number,),) = store.select(sql, (swath.id, int(kind)))
    return int(number)


def _new_swath(store: Store, name: str, about: tuple[object, ...]) -> StoredSwath:
    number = max(1, store.number(Meta.NEXT_SWATH))
    store.set_meta(Meta.NEXT_SWATH, number + 1)
    store.db.execute(
        "INSERT INTO swath (id, name, samples, classes, bundle, digest, fingerprint, info,"
        " born, next_tile, next_line) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0)",
        (number, name, *about, store.contacts()),
    )
    store.db.execute(SEAL_SWATH, (number,))
    swath = store.swath(name)
    assert swath is not None
    return swath


def _announce(store: Store, swath: StoredSwath, summary: dict[str, Any] | None = None) -> None:
    """Make the swath's product; it takes the place of an earlier one.

    It is written over if no contact can have carried it; else its number stands for its
    content, and another follows it.
    """
    data = encode_swath(_about(store, swath, summary))
    earlier = store.announcements(swath.id).get(swath.id)
    if earlier is not None and store.contacts() == swath.born:
        crc = checksum(earlier.id, swath.id, *_ABOUT_SWATH, b"", data)
        store.db.execute(
            "UPDATE product SET data = ?, bytes = ?, crc = ? WHERE id = ?",
            (data, len(data), crc, earlier.id),
        )
        store.db.execute(f"UPDATE product SET seal = {SEAL} WHERE id = ?", (earlier.id,))
        store.set_meta(Meta.DATA_BYTES, store.data_bytes() + len(data) - earlier.bytes)
        return
    if earlier is not None:
        told = (ProductState.STORED, ProductState.SENT)
        set_state(store, [earlier.id], ProductState.ACKNOWLEDGED, of=told)
    about = Product(Kind.SWATH, SWATH_TILE, NO_CLASS, 0.0, False, data)
    (number,) = insert(store, swath.id, [about])
    store.db.execute("UPDATE swath SET announcement = ? WHERE id = ?", (number, swath.id))
    store.db.execute(SEAL_SWATH, (swath.id,))


_ABOUT_SWATH: Final = (int(Kind.SWATH), SWATH_TILE, NO_CLASS, 0.0, 0, 1)
"""What a swath product's row says between swath and sketch."""


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
    data = with_flag(found.data, flag) if found.untold else found.data
    _change(store, found.id, swath_id, tile, class_index, found.posterior, 0, data)


def _pass(
    store: Store, swath_id: int, tile: int, class_index: int, found: int, posterior: float
) -> None:
    """The record of a detection that the second stage let pass, where no contact carried it: it
    gets the class and posterior that the pictures have."""
    record = _record(store, swath_id, tile, class_index)
    if record is None or not record.untold:
        return
    data = with_class(record.data, found, posterior)
    _change(store, record.id, swath_id, tile, found, posterior, record.detection, data)


def _change(
    store: Store,
    number: int,
    swath_id: int,
    tile: int,
    class_index: int,
    posterior: float,
    detection: int,
    data: bytes,
) -> None:
    """A record says something else from now on."""
    key = number, swath_id, int(Kind.RECORD), tile, class_index, posterior, detection, 1
    store.db.execute(
        "UPDATE product SET class = ?, posterior = ?, detection = ?, data = ?, crc = ?"
        " WHERE id = ?",
        (class_index, posterior, detection, data, checksum(*key, b"", data), number),
    )
    store.db.execute(f"UPDATE product SET seal = {SEAL} WHERE id = ?", (number,))


class _Record(NamedTuple):
    """The record of a tile; `untold`: the ground has not been told of it."""

    id: int
    posterior: float
    detection: int
    data: bytes
    untold: bool


def _record(store: Store, swath_id: int, tile: int, class_index: int) -> _Record | None:
    """The record of a tile; None where there is none, or a damaged one, which stays as it is."""
    row = store.db.execute(
        "SELECT id, posterior, detection, data, state = ? AND NOT unheard FROM product"
        f" WHERE {SOUND_PRODUCT} AND data IS NOT NULL AND {INTACT} AND"
        # The index product_once serves only those who say what it leaves out.
        " swath = ? AND tile = ? AND kind = ? AND class = ? AND kind <> 0",
        (ProductState.STORED, swath_id, tile, Kind.RECORD, class_index),
    ).fetchone()
    return None if row is None else _Record(*row)


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
