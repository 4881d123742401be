"""One self-contained HTML page about what came down, and its plots as PNG files beside it.

The page holds its style and pictures inside, needs no network, follows the reader's light or dark
setting and prints. Jinja2 escapes everything that is put into it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from winnow_base.errors import DataError
from winnow_base.files import make_folder
from winnow_edge.bundle import Manifest, find_bundle, open_bundle
from winnow_edge.errors import BundleError
from winnow_edge.mission import load_mission
from winnow_edge.store.store import Store
from winnow_ground.findings import SwathKey
from winnow_ground.page import Inputs, PageWriter, Report
from winnow_ground.received import RECEIVED_FILE, Received, load_received
from winnow_ground.truth import load_truth


def write_report(
    folder: str | Path,
    *,
    store: str | Path | None = None,
    swaths: Sequence[str | Path] = (),
    mission: str | Path | None = None,
    truths: Sequence[str | Path] = (),
    out: str | Path | None = None,
) -> Report:
    """Write `report.html` and PNGs about the receiving folder `folder` into `out` (default there).

    `store` is a copy of the spacecraft's store (what stayed on board; with `mission`, value against
    bytes), `swaths` the images themselves, `truths` what is really in them; files of several swaths
    are told apart by name. A folder that holds `received/` may also hold `store/`, `mission.toml`,
    `swath.png` (or .jpg, .pgm) and `truth.json`, which are then used. Raises PacketError if the
    folder is none, OutputError, and what the files given raise.
    """
    folder = Path(folder)
    given = _beside(folder, store, swaths, mission, truths)
    received = load_received(given.received)
    target = make_folder(out if out is not None else folder)
    inputs = Inputs(received)
    inputs.mission = load_mission(given.mission) if given.mission else None
    inputs.swaths = _by_swath(received, given.swaths, "swath")
    if given.truths:
        paths = _by_swath(received, given.truths, "truth file")
        inputs.truth = {key: load_truth(path) for key, path in paths.items()}
    inputs.manifests = _manifests(inputs)
    if given.store is None:
        return PageWriter(inputs, target).write()
    with Store.open(given.store, mission=None, read_only=True) as opened:
        known = {c.store for c in received.containers}
        if known and opened.store_id not in known:
            raise DataError(
                "is not the store that these packets came from",
                where=given.store,
                hint="name the right one with --store, or none",
            )
        inputs.store = opened
        return PageWriter(inputs, target).write()


def _manifests(inputs: Inputs) -> dict[SwathKey, Manifest]:
    """The manifests of the swaths' bundles: those that the mission names, else shipped ones."""
    known: dict[SwathKey, Manifest] = {}
    for key, info in inputs.received.swaths.items():
        name, mission = str(info.get("bundle", "")), inputs.mission
        camera = mission.instruments.get(str(info.get("instrument"))) if mission else None
        asked = [(camera.bundle, mission.path)] if mission and camera else []
        for bundle, beside in (*asked, (Path(name).name, None)):
            try:
                manifest = open_bundle(find_bundle(bundle, beside=beside)).manifest
            except BundleError:
                continue  # it flew elsewhere; the page says that it is not here
            if manifest.name == name:
                known.setdefault(key, manifest)
    return known


@dataclass(frozen=True)
class _Given:
    received: Path
    store: Path | None
    swaths: tuple[Path, ...]
    mission: Path | None
    truths: tuple[Path, ...]


def _beside(
    folder: Path,
    store: str | Path | None,
    swaths: Sequence[str | Path],
    mission: str | Path | None,
    truths: Sequence[str | Path],
) -> _Given:
    """What was named, else what lies in the folder."""
    whole = not (folder / RECEIVED_FILE).exists() and (folder / "received").is_dir()

    def there(*names: str) -> tuple[Path, ...]:
        return tuple(folder / n for n in names if whole and (folder / n).exists())[:1]

    return _Given(
        folder / "received" if whole else folder,
        Path(store) if store else next(iter(there("store")), None),
        tuple(map(Path, swaths)) or there("swath.png", "swath.jpg", "swath.pgm"),
        Path(mission) if mission else next(iter(there("mission.toml")), None),
        tuple(map(Path, truths)) or there("truth.json"),
    )


def _by_swath(received: Received, paths: Sequence[Path], what: str) -> dict[SwathKey, Path]:
    """Which file belongs to which swath: by name, or because there is only one of each."""
    keys = sorted({(p.store, p.swath) for p in received.products})
    if len(keys) == 1 and len(paths) == 1:
        return {keys[0]: paths[0]}
    names = {key: Path(received.swath_name(*key)) for key in keys}
    chosen: dict[SwathKey, Path] = {}
    for path in paths:
        match = [k for k, n in names.items() if n.name == path.name or n.stem == path.stem] or [
            k for k, n in names.items() if path.name.startswith(n.stem)
        ]
        if not match:
            listed = ", ".join(str(n) for n in names.values()) or "none"
            raise DataError(
                f"is the {what} of no swath that came down",
                where=path,
                hint=f"name it after its swath; there are: {listed}",
            )
        chosen[match[0]] = path
    return chosen
