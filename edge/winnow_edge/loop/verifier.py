"""The second stage: a larger net looks at a detection and its surroundings before it is sent.

It is asked only about detections that merging keeps, so it costs little however slow it is.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from winnow_edge.bundle import Bundle, Int8Array
from winnow_edge.loop.band import Quantizer
from winnow_edge.loop.decision import Decider
from winnow_edge.loop.summary import Verified
from winnow_edge.products.kinds import Detection
from winnow_edge.runtimes import Classifier


class Verifier:
    """Confirms, refuses or relabels detections; `bundle` is the second stage's, loaded into
    `classifier`.

    A detection gets the class that the second stage gives it: of those that reach their threshold
    there, the one with the highest posterior. Where none does, it is refused. Classes without a
    threshold in the second stage are not its business: their detections pass as they are.
    """

    def __init__(self, bundle: Bundle, classifier: Classifier) -> None:
        manifest = bundle.manifest
        self._classes, self._thresholds = manifest.classes, manifest.thresholds
        self._decider = Decider(manifest, manifest.thresholds)
        self._quantizer, self._classifier = Quantizer(manifest.input), classifier
        spec = manifest.input
        self._input: Int8Array = np.empty((spec.height, spec.width, spec.channels), np.int8)

    def invoke_only(self) -> None:
        """Run the net on whatever its input holds: the bare cost, for bench."""
        self._classifier.invoke_only()

    def __call__(
        self,
        detection: Detection,
        counts: Verified,
        allowed: npt.NDArray[np.bool_] | None = None,
    ) -> Detection | None:
        """The detection with the class and posterior of the second stage (None: it is refused),
        which is added to `counts`; `allowed` bool (1, classes) are the classes that can be there
        (None: all)."""
        if self._classes[detection.class_index] not in self._thresholds:
            return detection
        assert detection.window is not None
        half = len(detection.pixels)
        shown = self._input.reshape(self._input.shape[: 2 + (detection.pixels.ndim == 3)])
        self._quantizer.quantize(detection.pixels, shown[:half])
        self._quantizer.quantize(detection.window.pixels(), shown[half:])
        logits = np.empty((1, len(self._classes)), np.int8)
        self._classifier.infer(self._input, logits[0])
        decided = self._decider.decide(logits, allowed=allowed)
        counts.verified += 1
        if not len(decided.tiles):
            counts.refused += 1
            return None
        class_index = int(decided.classes[0])
        counts.relabelled += class_index != detection.class_index
        return replace(
            detection, class_index=class_index, posterior=float(decided.posteriors[0]), window=None
        )
