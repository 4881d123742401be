"""tflite-runtime, LiteRT's predecessor, for boards that only have that (extra `tflite`).

Its last version, 2.14.0, wants Python 3.11 or older and numpy below 2: with numpy 2 it imports and
then fails when an interpreter is made, which is checked here before anything depends on it.
"""

from __future__ import annotations

from importlib import import_module, metadata

import numpy as np

from winnow_edge.bundle import Bundle
from winnow_edge.errors import RuntimeUnavailableError
from winnow_edge.runtimes.contract import Runtime, register
from winnow_edge.runtimes.litert import InterpreterClassifier

NAME = "tflite"


def why_not() -> str | None:
    """None if tflite-runtime is usable, else the reason."""
    if int(np.__version__.split(".")[0]) >= 2:
        # Not even imported: with numpy 2 its extension prints a page to stderr and fails later.
        return f"tflite-runtime needs numpy below 2, here is {np.__version__}"
    try:
        import_module("tflite_runtime.interpreter")
    except ImportError as error:
        return f"tflite-runtime cannot be imported ({error})"
    return None


def load(bundle: Bundle, *, requested: str = NAME) -> InterpreterClassifier:
    """The bundle's model on tflite-runtime, one thread.

    Raises RuntimeUnavailableError where tflite-runtime is not usable, BundleError if the model does
    not load or does not fit the manifest.
    """
    if (reason := why_not()) is not None:
        raise RuntimeUnavailableError(
            reason, where=NAME, hint="pip install 'winnow-edge[tflite]' in its own environment"
        )
    make = import_module("tflite_runtime.interpreter").Interpreter
    return InterpreterClassifier(
        bundle, requested, NAME, lambda: make(model_content=bundle.model, num_threads=1)
    )


def version() -> str:
    """The package and its version."""
    return f"tflite-runtime {metadata.version('tflite-runtime')}"


register(Runtime(NAME, why_not, load, version))
