"""A rendered strip of Mars with known truth: pixels with the statistics of real browse strips, and
a box around every crater, dune, streak, impact and pit in it.

`docs/scene.md` says what is rendered by which formula from which source, and how a classifier
trained on real landmarks behaves on it.
"""

from winnow_ground.scene.canvas import GROUND_SAMPLE_M, Feature
from winnow_ground.scene.layout import ZONES, Scene, render_scene

__all__ = ["GROUND_SAMPLE_M", "ZONES", "Feature", "Scene", "render_scene"]
