"""What a run says about a swath."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from winnow_edge.errors import SwathKnownError
from winnow_edge.loop.verdict import MOST, as_words
from winnow_edge.tables import Reader, setting


@dataclass
class Sampled:
    """Tiles that were sampled and the bytes of their pictures; `until` is the index of the first
    tile that the quota did not hold, with which the sampling ended (None: it holds them all)."""

    tiles: int = setting(0, 0, MOST)
    bytes: int = setting(0, 0, MOST)
    until: int | None = setting(None, 0, MOST)


@dataclass
class Tally:
    """What has been counted in a swath so far; saved with every block."""

    tiles: int = setting(0, 0, MOST)
    screened: int = setting(0, 0, MOST)
    second_views: int = setting(0, 0, MOST)
    """Tiles that were shown to the net a second time, mirrored."""
    hits: int = setting(0, 0, MOST)
    """Tiles that passed a threshold, before detections of one feature are merged."""
    products: int = setting(0, 0, MOST)
    bytes: int = setting(0, 0, MOST)
    by_class: dict[str, int] = setting(dict, 0, MOST)
    cut: int = setting(0, 0, MOST)
    """Features that were closed before the swath had told all of them (`merging.PATIENCE`)."""
    out_of_place: int = setting(0, 0, MOST)
    """Tiles that passed the threshold of a class that is not at their place or in their season."""
    audit: Sampled = setting(Sampled)
    asked: Sampled = setting(Sampled)

    @property
    def detections(self) -> int:
        """Detections after merging."""
        return sum(self.by_class.values())


@dataclass
class Verified:
    """Detections that the second stage was asked about, and how many of them it refused or gave
    another class."""

    verified: int = setting(0, 0, MOST)
    refused: int = setting(0, 0, MOST)
    relabelled: int = setting(0, 0, MOST)


@dataclass(frozen=True)
class _Lasting:
    """What `SwathSummary.lasting` keeps beside what was counted."""

    swath: str = setting(...)
    lines: int = setting(..., 0, MOST)
    samples: int = setting(..., 0, MOST)
    runtime: str = setting(...)
    runtime_requested: str = setting(...)
    instrument: str = setting(...)
    bundle: str = setting(...)
    truncated: str | None = setting(None)
    stretch: tuple[int, ...] | None = setting(None, 0, 65_535, most=2)
    repaired: dict[str, Any] | None = setting(None)
    verdict: dict[str, Any] | None = setting(None)


@dataclass(frozen=True)
class SwathSummary:
    """What a run made of a swath. `complete` is False where it was stopped before the end;
    `verified` is None where there is no second stage."""

    swath: str
    lines: int
    samples: int
    tally: Tally
    seconds: float
    runtime: str
    runtime_requested: str
    threads: int
    instrument: str
    bundle: str
    truncated: str | None
    stretch: tuple[int, int] | None
    repaired: dict[str, Any] | None
    """Dead samples (numbers) and bright pixels (count) that were repaired; None: not asked for.
    With `searched` False the swath had too few lines to be searched for dead samples."""
    verified: Verified | None = None
    verdict: dict[str, Any] | None = None
    """What `verdict.as_json` says; None: none is asked for, or the swath is not complete."""
    complete: bool = True

    def as_json(self) -> dict[str, Any]:
        """JSON values; `seconds` and `threads` are this run's, everything else the swath's."""
        return {**self.lasting(), "seconds": round(self.seconds, 3), "threads": self.threads}

    def as_text(self) -> str:
        """A few lines for people."""
        tally, pixels = self.tally, self.lines * self.samples / 1e6
        found = ", ".join(f"{n} {name}" for name, n in sorted(tally.by_class.items())) or "none"
        twice = f", shown twice {tally.second_views:,}" if tally.second_views else ""
        rate = f" ({tally.tiles / self.seconds:,.0f} tiles/s)" if self.seconds else " (done before)"
        text = (
            f"{self.swath}: {self.lines:,} lines of {self.samples:,} samples ({pixels:.1f} Mpx) in "
            f"{self.seconds:.2f} s{rate} on {self.runtime}\n"
            f"  tiles {tally.tiles:,}, screened {tally.screened:,}{twice}, over threshold "
            f"{tally.hits:,}\n"
            f"  detections {tally.detections:,}: {found}\n"
            f"  products {tally.products:,}, {tally.bytes:,} bytes"
        )
        if (second := self.verified) is not None:
            text += (
                f"\n  verified {second.verified:,}: {second.refused:,} refused, "
                f"{second.relabelled:,} of another class"
            )
        for sampled, what in ((tally.audit, "audit"), (tally.asked, "asked")):
            if sampled.tiles:
                ends = "" if sampled.until is None else f", its quota up at tile {sampled.until:,}"
                text += f"\n  {what} {sampled.tiles:,} tiles, {sampled.bytes:,} bytes{ends}"
        if tally.cut:
            text += f"\n  features closed early, as they ran on and on: {tally.cut:,}"
        if tally.out_of_place:
            text += f"\n  out of their class's place or season: {tally.out_of_place:,} tiles"
        if self.verdict:
            text += f"\n  verdict: {as_words(self.verdict)}"
        if self.truncated:
            text += f"\n  cut short: {self.truncated}"
        return text if self.complete else f"{text}\n  stopped: run again to go on"

    def lasting(self) -> dict[str, Any]:
        """What the store keeps: the same however often the run was interrupted."""
        tally = self.tally
        return {
            "swath": self.swath,
            "lines": self.lines,
            "samples": self.samples,
            "tiles": tally.tiles,
            "screened": tally.screened,
            "second_views": tally.second_views,
            "hits": tally.hits,
            # Swaths without a second stage are told of as they always were.
            **(vars(self.verified) if self.verified is not None else {}),
            "detections": tally.detections,
            "by_class": dict(sorted(tally.by_class.items())),
            **({"cut": tally.cut} if tally.cut else {}),
            **({"out_of_place": tally.out_of_place} if tally.out_of_place else {}),
            **{
                key: asdict(sampled)
                for key, sampled in (("audit", tally.audit), ("asked", tally.asked))
                if sampled != Sampled()
            },
            "products": tally.products,
            "bytes": tally.bytes,
            "runtime": self.runtime,
            "runtime_requested": self.runtime_requested,
            "instrument": self.instrument,
            "bundle": self.bundle,
            "truncated": self.truncated,
            "stretch": self.stretch,
            "repaired": self.repaired,
            "verdict": self.verdict,
            "complete": self.complete,
        }

    @classmethod
    def of_earlier_run(cls, known: dict[str, Any], *, threads: int) -> SwathSummary:
        """The summary of a swath that was complete before, from what `lasting` said of it. Raises
        SwathKnownError where that makes no sense."""
        where = f"swath {str(known.get('swath'))!r}"
        reader = Reader(where, SwathKnownError, others=True, hint="give it another --name")
        kept = reader.table(_Lasting, known)
        second = any(key in known for key in vars(Verified()))
        return cls(
            tally=reader.table(Tally, known),
            seconds=0.0,
            threads=threads,
            verified=reader.table(Verified, known) if second else None,
            **vars(kept) | {"stretch": kept.stretch or None},
        )
