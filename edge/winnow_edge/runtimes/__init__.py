"""Runtimes: what executes a bundle's model. One file each, which registers itself.

==========  ======================================================================================
`litert`    LiteRT on the CPU (ai-edge-litert); the default
`tflite`    its predecessor tflite-runtime, for boards that only have that (extra `tflite`)
`edgetpu`   Coral Edge TPU through the `libedgetpu` delegate
`fake`      no interpreter at all: a documented function of the tile, for tests
==========  ======================================================================================

The runtime asked for is the runtime used, or RuntimeUnavailableError. "auto" takes the Edge TPU
where a device, its library and a compiled model are there, else LiteRT, and logs which.
"""

from __future__ import annotations

import logging

import numpy as np

from winnow_edge.bundle import Bundle
from winnow_edge.errors import BundleError, RuntimeUnavailableError

# In the order in which they are listed; importing a file registers its runtime.
from winnow_edge.runtimes import litert, tflite, edgetpu, fake  # isort: skip  # noqa: F401
from winnow_edge.runtimes.contract import REGISTERED, Classifier, Runtime

log = logging.getLogger(__name__)

GOLDEN_TOLERANCE = 8
"""Largest logit difference (in int8 steps) from LiteRT's golden logits that a runtime without
golden logits of its own may show: kernels round differently, a broken model is off by far more."""


def load_classifier(bundle: Bundle, runtime: str = "auto", *, self_test: bool = True) -> Classifier:
    """Load a bundle's model into a runtime and check it against the golden tiles.

    Raises RuntimeUnavailableError if the runtime is not there, BundleError if the model does not
    fit the manifest or its logits are not the golden ones.
    """
    if runtime not in ("auto", *REGISTERED):
        raise RuntimeUnavailableError(
            f"unknown runtime {runtime!r}", hint=f"known: auto, {', '.join(REGISTERED)}"
        )
    classifier = _load(bundle, runtime)
    if self_test:
        check_golden(classifier, bundle)
    return classifier


def available_runtimes() -> dict[str, str | None]:
    """Runtimes by name, with None where usable here and else the reason why not."""
    return {name: runtime.why_not() for name, runtime in REGISTERED.items()}


def _load(bundle: Bundle, runtime: str) -> Classifier:
    if runtime != "auto":
        return REGISTERED[runtime].load(bundle, requested=runtime)
    if edgetpu.device() is not None:
        try:
            return edgetpu.load(bundle, requested="auto")
        except RuntimeUnavailableError as error:
            log.warning("Edge TPU not used: %s", error)
    log.info("runtime auto: litert")
    return litert.load(bundle, requested="auto")


def tests_of(bundle: Bundle, actual: str) -> int:
    """Golden tiles with which `check_golden` tests a bundle's net on the runtime `actual`."""
    golden = bundle.golden
    return len(golden.tiles) if {actual, "litert"} & golden.logits.keys() else 0


def check_golden(classifier: Classifier, bundle: Bundle) -> int:
    """Run the golden tiles and compare the logits; returns the largest difference in int8 steps.

    A runtime with golden logits in the bundle must give exactly those. One without is compared with
    LiteRT's within GOLDEN_TOLERANCE. Raises BundleError naming tile, class and difference.
    """
    golden, classes = bundle.golden, bundle.manifest.classes
    exact = classifier.actual in golden.logits
    wanted = golden.logits.get(classifier.actual, golden.logits.get("litert"))
    without_net = [name for name, runtime in REGISTERED.items() if not runtime.has_net]
    if classifier.actual in without_net:
        return 0
    if wanted is None or not tests_of(bundle, classifier.actual):
        log.warning(
            "%s: no golden tiles for %s, so no self-test: nothing tells a sound net from another",
            bundle.path,
            classifier.actual,
        )
        return 0
    tolerance = 0 if exact else GOLDEN_TOLERANCE
    logits, largest = np.empty(len(classes), np.int8), 0
    for index, tile in enumerate(golden.tiles):
        classifier.infer(tile, logits)
        off = logits.astype(np.int16) - wanted[index]
        worst = int(np.abs(off).argmax())
        largest = max(largest, abs(int(off[worst])))
        if abs(int(off[worst])) > tolerance:
            raise BundleError(
                f"golden self-test failed on {classifier.actual}: {bundle.member}, tile {index}, "
                f"class {classes[worst]!r}: logit {logits[worst]}, must be {wanted[index, worst]} "
                f"(off by {off[worst]:+d})",
                where=bundle.path,
                hint="the model or this runtime is not the verified one; convert the model again",
            )
    if not exact:
        log.info("%s: logits within %d of LiteRT's", classifier.actual, largest)
    return largest


__all__ = [
    "GOLDEN_TOLERANCE",
    "REGISTERED",
    "Classifier",
    "Runtime",
    "available_runtimes",
    "check_golden",
    "load_classifier",
    "tests_of",
]
