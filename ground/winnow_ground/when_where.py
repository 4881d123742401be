"""When and where swaths and tiles were seen, in words: what a spacecraft told is looked at here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from winnow_edge.files import printable
from winnow_ground.received import ReceivedProduct

_SOURCES = {
    "told": "as the run was told",
    "sidecar": "by the file beside the swath",
    "label": "by its PDS label",
    "EXIF": "by its EXIF data",
    "receiver": "by the log of a receiver",
    "clock": "by the mission clock",
    "ground": "by a file that the ground had",
}
_MOST_FAULTS = 5
_MOST_TEXT = 300
_HIGHEST_M = 1e12


def of_swath(info: Mapping[str, Any]) -> str:
    """When a swath was seen and by whose word, a sentence with a space before it; empty where
    nothing is known."""
    start, geometry = _table(info, "start"), _table(info, "geometry")
    said = []
    tiles = info.get("out_of_place")
    if start:
        utc = start.get("utc")
        when = _text(utc) if isinstance(utc, str) else "at a time that its clock did not know"
        said.append(f"seen {when} ({_source(start)})")
    if geometry.get("source") is not None:
        said.append(f"its places are known {_source(geometry)}{_altitude(geometry)}")
    if type(tiles) is int and 0 < tiles < 2**32:
        said.append(
            f"{tiles:,} tiles look like a class that is not at their place or in their season: "
            "they are records, and no detections"
        )
    text = "; ".join(said)
    return f" {text[0].upper()}{text[1:]}." if text else ""


def faults(name: str, info: Mapping[str, Any]) -> list[str]:
    """What the spacecraft did not believe of what was told about a swath."""
    found = _table(info, "geometry").get("faults")
    listed = found if isinstance(found, list) else []
    told = [_text(fault) for fault in listed if isinstance(fault, str)]
    return [f"Swath {name}: the spacecraft did not believe {f}." for f in told[:_MOST_FAULTS]]


def of_product(product: ReceivedProduct | None) -> str:
    """When and where a tile was seen: `2022-01-30T14:43:59.182Z, 71.0210° S, 246.4000° E`."""
    if product is None:
        return ""
    parts = [product.time] if product.time else []
    if product.latitude is not None:
        parts.append(f"{abs(product.latitude):.4f}° {'S' if product.latitude < 0 else 'N'}")
    if product.longitude is not None:
        parts.append(f"{product.longitude % 360:.4f}° E")
    return ", ".join(parts)


def _altitude(geometry: Mapping[str, Any]) -> str:
    """From how far up: `, from 300,000 to 301,500 m up`; empty where that is not known."""
    told = geometry.get("altitude_m")
    if not (isinstance(told, list) and len(told) == 2):
        return ""
    if not all(type(m) in (int, float) and abs(m) <= _HIGHEST_M for m in told):
        return ""
    low, high = (f"{m:,.0f}" for m in told)
    return f", seen from {low} m up" if low == high else f", seen from {low} to {high} m up"


def _table(info: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = info.get(key)
    return found if isinstance(found, dict) else {}


def _source(table: Mapping[str, Any]) -> str:
    source = table.get("source")
    return _SOURCES.get(source, _text(source)) if isinstance(source, str) else "nobody says how"


def _text(text: str) -> str:
    return printable(text[:_MOST_TEXT])[:_MOST_TEXT]
