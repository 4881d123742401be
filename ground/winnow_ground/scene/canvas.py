"""What a scene is painted on: a height field, an albedo field and the list of true features."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from winnow_edge.products.kinds import Box

Field = npt.NDArray[np.floating[Any]]
"""A field over the swath, shape (lines, samples); float32 wherever it is as large as that."""

GROUND_SAMPLE_M = 2.9
"""Metres per pixel: a HiRISE browse strip, 2,048 samples over some 6 km (product ESP_072719_1970:
23,846 samples of 0.25 m reduced to 2,048). Heights are in pixels too, so slopes have no unit."""


@dataclass(frozen=True, slots=True)
class Feature:
    """One true feature: its class, its bounding box and what is worth knowing about it."""

    class_name: str
    box: Box
    about: dict[str, float] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The entry of the truth file."""
        return {
            "class": self.class_name,
            "line": self.box.line,
            "sample": self.box.sample,
            "lines": self.box.lines,
            "samples": self.box.samples,
            **self.about,
        }


@dataclass(slots=True)
class Canvas:
    """Height (pixels) and albedo (1 is dusty plain) of the scene, painted on in place by every
    module; `first_line` is where a part lies in the whole.
    """

    height: Field
    albedo: Field
    rng: np.random.Generator
    features: list[Feature] = field(default_factory=list)
    first_line: int = 0

    @property
    def shape(self) -> tuple[int, int]:
        """(lines, samples)."""
        lines, samples = self.height.shape
        return lines, samples

    def part(self, top: int, bottom: int) -> Canvas:
        """The lines from `top` to `bottom` as a canvas of their own that paints on this one."""
        top, bottom = max(0, top), min(self.shape[0], bottom)
        return Canvas(
            self.height[top:bottom],
            self.albedo[top:bottom],
            self.rng,
            self.features,
            self.first_line + top,
        )

    def window(self, line: float, sample: float, reach: float) -> Window | None:
        """The part of the canvas within `reach` pixels of a point, None if there is none."""
        lines, samples = self.shape
        top, left = max(0, int(line - reach)), max(0, int(sample - reach))
        bottom = min(lines, int(line + reach) + 2)
        right = min(samples, int(sample + reach) + 2)
        if bottom <= top or right <= left:
            return None
        y = (np.arange(top, bottom, dtype=np.float32) - np.float32(line))[:, None]
        x = (np.arange(left, right, dtype=np.float32) - np.float32(sample))[None, :]
        return Window((slice(top, bottom), slice(left, right)), y, x)

    def add(
        self, class_name: str, top: float, left: float, bottom: float, right: float, **about: float
    ) -> None:
        """Note a true feature; its box is clipped to the canvas."""
        lines, samples = self.shape
        y0, x0 = max(0, round(top)), max(0, round(left))
        y1, x1 = min(lines, round(bottom)), min(samples, round(right))
        if y1 > y0 and x1 > x0:
            box = Box(line=y0 + self.first_line, sample=x0, lines=y1 - y0, samples=x1 - x0)
            self.features.append(
                Feature(class_name, box, {k: round(v, 3) for k, v in about.items()})
            )

    def bury(self, cover: Field, most: float = 0.35) -> None:
        """Strike features off the list of which more than the share `most` lies under `cover`.

        `cover` 0..1 has the shape of this canvas.
        """

        def seen(feature: Feature) -> bool:
            b, top = feature.box, feature.box.line - self.first_line
            part = cover[max(0, top) : max(0, top + b.lines), b.sample : b.sample + b.samples]
            return part.size == 0 or float(part.mean()) <= most

        self.features[:] = [f for f in self.features if seen(f)]


@dataclass(frozen=True, slots=True)
class Window:
    """A rectangle of the canvas with coordinates relative to a point inside it."""

    at: tuple[slice, slice]
    y: Field
    x: Field


def smoothstep(x: Field) -> Field:
    """The cubic that rises from 0 at x <= 0 to 1 at x >= 1 with level ends."""
    t = np.clip(x, 0, 1)
    out: Field = t * t * (3 - 2 * t)
    return out


def polar(window: Window) -> tuple[Field, Field]:
    """Distance (pixels) and angle (radians) from the window's point."""
    return np.hypot(window.y, window.x), np.arctan2(window.y, window.x)
