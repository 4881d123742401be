"""For tests of programs around Winnow: a model, a mission, a swath, a store, made in an instant.

The probe bundle flies on the fake runtime (`winnow_edge.runtimes.fake`), which has no net: it
names a tile by its mean brightness, so the truth about any painted swath is known. Everything else
that runs is what flies.

>>> import tempfile
>>> from pathlib import Path
>>> from winnow_edge.cli import main
>>> from winnow_edge.testing import painted_swath, write_probe
>>> folder = Path(tempfile.mkdtemp())
>>> mission = write_probe(folder, camera="samples = 64")
>>> _ = (folder / "pass.raw").write_bytes(painted_swath(96, 64).tobytes())
>>> main(["run", str(mission), str(folder / "pass.raw"), "--store", str(folder / "store")])
... # doctest: +ELLIPSIS
pass.raw: 96 lines of 64 samples ... on fake
  tiles 77, screened 0, over threshold 61
  ...
0

=====================  ===========================================================================
`probe_bundle`         a bundle of the classes dark, middle and bright for the fake runtime
`probe_manifest`       its manifest, with any field changed
`probe_mission`        a mission of one camera that flies it, with any TOML added
`write_probe`          both as files in one folder, as `winnow-edge run` takes them
`painted_swath`        uint8 (lines, samples): dark and bright squares on middle grey
`landmark_mission`     a mission with utilities for landmarks: crater, dark dune
`begin`                a swath begun in a store
`products_of_tiles`    records, and thumbnails and images of detections, as a run makes them
`pictures_of`          thumbnail and image of one detection that shows given pixels
`product_of_size`      one product of so many bytes
`finish`               such a swath marked complete
`fill`                 a store with one complete swath that holds given products
`record_product`       the product of one tile's record
=====================  ===========================================================================
"""

from winnow_edge.testing.probe import (
    CLASSES,
    SIDE,
    painted_swath,
    probe_bundle,
    probe_manifest,
    probe_mission,
    write_probe,
)
from winnow_edge.testing.stores import (
    LANDMARK_MISSION,
    LANDMARKS,
    begin,
    fill,
    finish,
    landmark_mission,
    pictures_of,
    product_of_size,
    products_of_tiles,
    record_product,
)

__all__ = [
    "CLASSES",
    "LANDMARKS",
    "LANDMARK_MISSION",
    "SIDE",
    "begin",
    "fill",
    "finish",
    "landmark_mission",
    "painted_swath",
    "pictures_of",
    "probe_bundle",
    "probe_manifest",
    "probe_mission",
    "product_of_size",
    "products_of_tiles",
    "record_product",
    "write_probe",
]
