"""The nets of a mission on the ground, with interpreters that stay between swaths."""

from __future__ import annotations

from typing import Self

from winnow_edge.bundle import find_bundle, open_bundle
from winnow_edge.loop.interpreters import Interpreters
from winnow_edge.loop.settings import Settings
from winnow_edge.mission import Mission


class Nets:
    """What runs the nets of one mission derives from it; a context manager."""

    def __init__(self, mission: Mission) -> None:
        self.mission = mission
        self._pool: Interpreters | None = None
        self._settings: dict[str, Settings] = {}

    def close(self) -> None:
        """End the interpreters."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def settings_of(self, instrument: str) -> Settings:
        """How swaths of an instrument are flown. Raises BundleError."""
        if instrument not in self._settings:
            name = self.mission.instruments[instrument].bundle
            bundle = open_bundle(find_bundle(name, beside=self.mission.path))
            self._settings[instrument] = Settings.of(self.mission, instrument, bundle)
        return self._settings[instrument]

    def interpreters(self, settings: Settings) -> Interpreters:
        """The interpreters of its bundle; those of another one are ended.

        Raises RuntimeUnavailableError.
        """
        if self._pool is None or self._pool.bundle.sha256 != settings.bundle.sha256:
            self.close()
            compute = self.mission.compute
            self._pool = Interpreters(
                settings.bundle,
                compute.runtime,
                compute.threads,
                verifier=settings.verifier is not None,
            )
        return self._pool
