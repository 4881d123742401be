"""A PDS4 label for the table of a search: what the CSV file beside it holds, field by field.

The label follows the PDS4 Information Model 1.21.0.0 (schema PDS4_PDS_1L00): Product_Observational
with a Table_Delimited, NASA Planetary Data System, "PDS4 Common Schema and Dictionary".
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from winnow_base.pages import templates

VERSION: Final = "1.21.0.0"
"""Of the information model."""
_UTC: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z")


@dataclass(frozen=True, slots=True)
class Field:
    """A column of the table: its name, PDS4 data type, what it means, its unit if it has one."""

    name: str
    type: str
    description: str
    unit: str = ""


FIELDS: Final = {
    field.name: field
    for field in (
        Field("id", "ASCII_Integer", "Number of the detection in the catalogue."),
        Field("swath", "UTF8_String", "Name of the swath."),
        Field("class", "UTF8_String", "Class that the net told."),
        Field("posterior", "ASCII_Real", "Posterior of the class, after temperature, 0 to 1."),
        Field("line", "ASCII_Integer", "First line of the box, from 0.", "pixel"),
        Field("sample", "ASCII_Integer", "First sample of the box, from 0.", "pixel"),
        Field("lines", "ASCII_Integer", "Lines of the box.", "pixel"),
        Field("samples", "ASCII_Integer", "Samples of the box.", "pixel"),
        Field("time", "UTF8_String", "Time of its middle, UTC or mission time."),
        Field("latitude", "ASCII_Real", "Latitude of its middle, north positive.", "deg"),
        Field("longitude", "ASCII_Real", "Longitude of its middle, east positive.", "deg"),
        Field("instrument", "UTF8_String", "Instrument of the swath."),
        Field("bundle", "UTF8_String", "Name of the bundle, which holds the net."),
        Field("have", "UTF8_String", "Best that is on the ground: record, thumbnail or image."),
        Field("picture", "UTF8_String", "File of its picture."),
        Field("start", "UTF8_String", "Start of the swath, UTC."),
    )
}
"""What a label says of each column that `rows` writes."""


@dataclass(frozen=True, slots=True)
class Table:
    """A CSV file in UTF-8: bytes of all and of its header line, which is no record; lines end with
    LF; MD5 digest; names of its columns."""

    file: str
    size: int
    header: int
    records: int
    md5: str
    columns: tuple[str, ...]


def label_of(
    table: Table, instruments: Iterable[str], mission: str | None, times: Iterable[str]
) -> str:
    """The label of a table; the first and last of the `times` that are UTC bound it."""
    known = sorted(when for when in times if _UTC.fullmatch(when))
    name = mission or "unknown"
    return (
        templates("winnow_ground")
        .get_template("catalogue/pds4.xml.j2")
        .render(
            lid=f"urn:nasa:pds:winnow_catalogue:data:{_slug(table.file)}",
            version=VERSION,
            table=table,
            start=known[0] if known else None,
            stop=known[-1] if known else None,
            mission=name,
            mission_lid=_slug(name),
            instruments=sorted(filter(None, instruments)) or ["unknown"],
            made=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            fields=[FIELDS[name] for name in table.columns],
        )
    )


def _slug(text: str) -> str:
    """The text as a part of a logical identifier: lower case, digits, `-`, `_` and `.`."""
    return re.sub(r"[^a-z0-9._-]+", "_", text.casefold()).strip("._-") or "unnamed"
