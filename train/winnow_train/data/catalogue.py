"""What can be fetched, from where, under which licence."""

from __future__ import annotations

import re
from dataclasses import dataclass

from winnow_base.errors import DataError

ZENODO = "https://zenodo.org"
#: The HiRISE team's node of the Planetary Data System.
HIRISE_PDS = "https://hirise-pds.lpl.arizona.edu"
HIRISE_CREDIT = "NASA/JPL-Caltech/University of Arizona (public domain; credit is asked for)"
#: Observation id: mission phase, orbit, target code (degrees of orbit from the descending equator
#: crossing times ten), as in the HiRISE RDR software interface specification, section 3.3.
OBSERVATION = re.compile(r"^(AEB|TRA|PSP|ESP)_(\d{6})_(\d{4})$")
#: Suffixes of the browse products: as projected, with burnt-in annotation, not projected.
BROWSE = {
    "browse": "_RED.browse.jpg",
    "abrowse": "_RED.abrowse.jpg",
    "nomap": "_RED.NOMAP.browse.jpg",
}


@dataclass(frozen=True)
class Archive:
    """A published set: `file` of a Zenodo record, unpacked into `folder`.

    `size` (bytes), `md5` and `licence` are given where they were published elsewhere than in the
    record too; where they are None the record itself is asked.
    """

    name: str
    record: int
    file: str
    folder: str
    title: str
    cite: str
    size: int | None = None
    md5: str | None = None
    licence: str | None = None

    @property
    def doi(self) -> str:
        """The DOI of this very version."""
        return f"10.5281/zenodo.{self.record}"


_DEEP_MARS = (
    'K. Wagstaff et al., "Deep Mars: CNN Classification of Mars Imagery for the PDS Imaging '
    'Atlas", IAAI 2018'
)
ARCHIVES = {
    a.name: a
    for a in (
        Archive(
            "hirise-v1",
            1048301,
            "hirise-map-proj.zip",
            "hirise-map-proj-v1",
            "Mars orbital image (HiRISE) labeled data set",
            _DEEP_MARS,
        ),
        Archive(
            "hirise-v3",
            2538136,
            "hirise-map-proj-v3.zip",
            "hirise-map-proj-v3",
            "Mars orbital image (HiRISE) labeled data set version 3",
            "G. Doran, S. Lu, L. Mandrake, K. Wagstaff, 2019",
        ),
        Archive(
            "hirise-v3.2",
            4002935,
            "hirise-map-proj-v3_2.zip",
            "hirise-map-proj-v3_2",
            "Mars orbital image (HiRISE) labeled data set version 3.2",
            "G. Doran, E. Dunkel, S. Lu, K. Wagstaff, 2020",
            size=911_235_740,
            md5="236d9c627db1a5970e77a01a8c8a035a",
            licence="cc-by-4.0",
        ),
        Archive(
            "msl",
            1049137,
            "msl-images.zip",
            "msl-images",
            "Mars surface image (Curiosity rover) labeled data set",
            _DEEP_MARS,
        ),
    )
}


def browse_path(observation: str, kind: str = "browse") -> str:
    """Path of a browse strip on the HiRISE node, below its root.

    Observations are filed by a hundred orbits (HiRISE RDR archive volume, EXTRAS directory).
    Raises DataError for what is no observation id.

    >>> browse_path("ESP_072719_1970")
    'PDS/EXTRAS/RDR/ESP/ORB_072700_072799/ESP_072719_1970/ESP_072719_1970_RED.browse.jpg'
    """
    return f"PDS/EXTRAS/RDR/{_folder(observation)}/{observation}{BROWSE[kind]}"


def label_path(observation: str) -> str:
    """Path of the PDS3 label of an observation's RED product.

    >>> label_path("PSP_005038_1935")
    'PDS/RDR/PSP/ORB_005000_005099/PSP_005038_1935/PSP_005038_1935_RED.LBL'
    """
    return f"PDS/RDR/{_folder(observation)}/{observation}_RED.LBL"


def _folder(observation: str) -> str:
    parts = OBSERVATION.match(observation)
    if parts is None:
        raise DataError(
            f"{observation!r} is no HiRISE observation id",
            hint="ids look like ESP_072719_1970: phase, six digits of orbit, four of target",
        )
    first = int(parts[2]) // 100 * 100
    return f"{parts[1]}/ORB_{first:06d}_{first + 99:06d}/{observation}"
