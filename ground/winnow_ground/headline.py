"""The headline of a report: (figure, words) pairs, each of which says of what its figure is.

With truth every share is of all that is there. Without it every value is by the model's word, and
says so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from winnow_edge.mission import Mission
from winnow_edge.store.store import Store
from winnow_ground import findings
from winnow_ground.against_truth import Laid
from winnow_ground.findings import Found, SwathKey, ValueOnBoard
from winnow_ground.received import Received
from winnow_ground.truth import Truth, worth_of_all
from winnow_ground.words import WORD, by_class, count, kinds, percent, size

Head = tuple[str, str]


def came_down(received: Received, store: Store | None) -> Head:
    """Bytes, and their share of those on board."""
    on_board = bytes_on_board(received, store)
    share = f", {percent(received.bytes, on_board)} of the {size(on_board)} on board"
    contacts = count(len(received.contacts()), "contact")
    return size(received.bytes), f"of products came down in {contacts}{share if on_board else ''}"


def bytes_on_board(received: Received, store: Store | None) -> int:
    """Bytes of all products; 0 where nobody has said."""
    if store is not None:
        return int(store.table(findings.ON_BOARD).columns["bytes"].sum())
    # A swath's own count leaves out the product that carries it.
    told = sum(int(info.get("bytes") or 0) for info in received.swaths.values())
    more = sum(p.bytes for p in received.products if p.kind == "swath")
    return told + more if told else 0


def features(laid: Laid, fifo: int | None) -> list[Head]:
    """With truth: what of all that is there came down, what was missed, what is false."""
    whole = laid.whole
    beside = f"; first in, first out would have brought {fifo:,}" if fifo is not None else ""
    heads = [
        (
            f"{whole.pictured:,} of {whole.there:,}",
            f"features that are there came down in a picture "
            f"({percent(whole.pictured, whole.there)}){beside}",
        )
    ]
    missed = {name: t.missed for name, t in laid.classes.items() if t.missed}
    on_board = f", {whole.on_board:,} of them still on board" if whole.on_board else ""
    heads.append(
        (
            f"{whole.missed:,} missed",
            f"of the {whole.there:,} features, {by_class(missed)}; {whole.found:,} were found"
            f"{on_board}"
            if missed
            else f"all {whole.there:,} features were found{on_board}",
        )
    )
    false = {name: t.false for name, t in laid.classes.items() if t.false}
    words = f"detections ({by_class(false)})" if false else "detections"
    heads.append(
        (
            f"{whole.false:,} false",
            f"{words}: truth has no such feature there; pictures of "
            f"{whole.false_pictured:,} of them came down",
        )
    )
    return heads


def detections(found: Sequence[Found], received: Received) -> list[Head]:
    """Without truth: pictures and their classes, by the model's word."""
    pictured = [f for f in found if f.number is not None]
    classes = Counter(f.class_name for f in pictured)
    said = f" ({by_class(classes)})" if classes else ""
    return [
        (
            f"{len(pictured):,}",
            f"detections{said} have come down as pictures, {WORD}: {kinds(received.kinds())}. "
            "Nobody has checked them",
        )
    ]


def value(
    board: ValueOnBoard,
    mission: Mission,
    received: Received,
    truth: dict[SwathKey, Truth] | None,
    store: Store | None,
) -> Head:
    """The value that came down: of all that is there, or of what the model says there is."""
    got, _ = findings.value_received(received, mission, truth, store)
    fifo = board.after("fifo", received.bytes)
    if truth is None:
        return (
            percent(got, board.total),
            f"of the value on board came down, {WORD}: utility × posterior of its own detections. "
            f"First in, first out would have brought {percent(fifo, board.total)} in as many bytes",
        )
    there = worth_of_all((f for features in truth.values() for f in features), mission)
    return (
        percent(got, there),
        f"of the value of all that is there came down (the detections on board hold "
        f"{percent(board.total, there)} of it); first in, first out would have brought "
        f"{percent(fifo, there)} in as many bytes",
    )


def link(received: Received) -> Head:
    """What got lost on the way."""
    counts = received.link
    lost = received.never_arrived + counts.crc_failures
    text = (
        f"{counts.packets} received, {counts.crc_failures} damaged, "
        f"{received.never_arrived} never arrived"
    )
    if lost:
        return percent(lost, counts.packets + lost), f"of the packets got lost: {text}"
    return "no loss", f"on the way: packets {text}"
