"""What a mission, one of its instruments and that instrument's bundle ask of the flight loop."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from winnow_edge.bundle import Bundle, Manifest, find_bundle, open_bundle
from winnow_edge.errors import BundleError, MissionError
from winnow_edge.loop.band import Quantizer
from winnow_edge.loop.decision import Borderline
from winnow_edge.mission import Instrument, Mission, place_of

_WIDEST = 65_536
"""Lines and samples that the head of a picture can tell."""


@dataclass(frozen=True)
class Settings:
    """Worked out once and handed down; `tile` and `hop` in binned pixels.

    `thresholds` on the posterior, by class; `borderline` tells which tiles are shown a second time
    (None: none is); `verdict_class` is the index of the class that the verdict on a swath goes by
    (None: these swaths get no verdict); `verifier` is the second stage as a bundle of its own
    (None: there is none, or the mission wants none); `digest` stands for everything that changes
    products.
    """

    mission: Mission
    instrument: str
    bundle: Bundle
    tile: int
    hop: int
    quantizer: Quantizer
    thresholds: dict[str, float]
    borderline: Borderline | None
    verdict_class: int | None
    verifier: Bundle | None
    digest: str

    @classmethod
    def of(cls, mission: Mission, instrument: str, bundle: Bundle) -> Settings:
        """Raises MissionError where the three do not fit together."""
        mission.instrument_for("", asked=instrument)  # refuses one that the mission does not have
        tile = _tile_side(mission, bundle)
        return cls(
            mission=mission,
            instrument=instrument,
            bundle=bundle,
            tile=tile,
            hop=mission.tiling.hop or max(tile // 2, 1),
            quantizer=Quantizer(bundle.manifest.input),
            borderline=_borderline(mission, bundle.manifest),
            thresholds=_thresholds(mission, bundle.manifest),
            verdict_class=_verdict_class(mission, bundle.manifest),
            verifier=_verifier(mission, bundle),
            digest=mission.processing_digest(instrument, bundle.sha256),
        )

    @property
    def manifest(self) -> Manifest:
        """The bundle's."""
        return self.bundle.manifest

    @property
    def camera(self) -> Instrument:
        """The instrument itself."""
        return self.mission.instruments[self.instrument]

    @property
    def scales(self) -> tuple[int, ...]:
        """Binning factors, ascending."""
        return self.mission.tiling.scales


def _tile_side(mission: Mission, bundle: Bundle) -> int:
    """The side of a tile, which must be what the net takes."""
    spec = bundle.manifest.input
    if spec.height != spec.width:
        raise MissionError(
            f"bundle {bundle.manifest.name!r} takes {spec.height} x {spec.width} pixels",
            where=mission.path,
            hint="tiles are square: use another bundle",
        )
    tile = mission.tiling.tile
    if tile is not None and tile != spec.height:
        raise MissionError(
            f"`tiling.tile` is {tile}, bundle {bundle.manifest.name!r} takes {spec.height}",
            where=mission.path,
            hint="leave `tiling.tile` out: it follows the bundle",
        )
    widest = spec.height * max(mission.tiling.scales) * mission.context.times
    if widest > _WIDEST:
        raise MissionError(
            f"`context.times` is {mission.context.times}: a context would be {widest:,} lines high",
            where=place_of(mission.path, "context", "times"),
            hint=f"{_WIDEST:,} is the most; leave out scales or `times`",
        )
    hop = mission.tiling.hop
    if hop is not None and hop > spec.height:
        raise MissionError(
            f"`tiling.hop` is {hop}, tiles of bundle {bundle.manifest.name!r} are {spec.height}",
            where=mission.path,
            hint="pixels between tiles would be seen by none",
        )
    return spec.height


def _borderline(mission: Mission, manifest: Manifest) -> Borderline | None:
    """Which tiles are shown a second time: as the mission says, else the bundle.

    The mission's limit holds for its bundles with a softmax head; a sigmoid head has no best
    posterior. Refused only where none of the mission's bundles has a softmax head.
    """
    asked = mission.compute.borderline
    limit = manifest.borderline if asked is None else asked
    if not limit:
        return None
    if manifest.head == "softmax":
        return Borderline(manifest, limit)
    if any(other.head == "softmax" for other in _manifests_of(mission)):
        return None
    raise MissionError(
        f"`compute.borderline` is {limit:g}, but bundle {manifest.name!r} has a {manifest.head} "
        "head, which has no best posterior, and no other instrument's has a softmax head",
        where=place_of(mission.path, "compute", "borderline"),
        hint="leave `borderline` out or make it 0",
    )


def _verifier(mission: Mission, bundle: Bundle) -> Bundle | None:
    """The second stage, where the bundle has one and the mission does not do without."""
    if mission.compute.verifier and bundle.verifier is None:
        raise MissionError(
            f"`compute.verifier` is true, but bundle {bundle.manifest.name!r} has no verifier",
            where=place_of(mission.path, "compute", "verifier"),
            hint="leave `verifier` out: it is used where the bundle has one",
        )
    return None if mission.compute.verifier is False else bundle.verifier


def _thresholds(mission: Mission, manifest: Manifest) -> dict[str, float]:
    """The threshold of every class that has one: the mission's, else the bundle's."""
    thresholds = dict(manifest.thresholds)
    for name, rule in mission.classes.items():
        if name in manifest.classes:
            if rule.threshold is not None:
                thresholds[name] = rule.threshold
        elif not _known_elsewhere(name, mission):
            raise MissionError(
                f"[class.{name!r}] is not a class of bundle {manifest.name!r}",
                where=place_of(mission.path, "class", name),
                hint=f"its classes: {', '.join(manifest.classes)}",
            )
    return thresholds


def _verdict_class(mission: Mission, manifest: Manifest) -> int | None:
    """Index of the verdict's class in the bundle; None if these swaths get no verdict."""
    name = mission.verdict.class_name
    if name in manifest.classes:
        return manifest.classes.index(name)
    if not name or _known_elsewhere(name, mission):
        return None
    raise MissionError(
        f"`verdict.class_name` is {name!r}, no class of bundle {manifest.name!r}",
        where=mission.path,
        hint=f"its classes: {', '.join(manifest.classes)}",
    )


def _known_elsewhere(name: str, mission: Mission) -> bool:
    """Whether the bundle of an instrument of the mission has the class."""
    return any(name in manifest.classes for manifest in _manifests_of(mission))


def _manifests_of(mission: Mission) -> Iterator[Manifest]:
    """The manifest of each bundle of the mission that can be opened."""
    for name in {instrument.bundle for instrument in mission.instruments.values()}:
        try:
            yield open_bundle(find_bundle(name, beside=mission.path)).manifest
        except BundleError:
            continue  # of no concern to the swath of another instrument
