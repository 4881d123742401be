"""LiteRT on the CPU (ai-edge-litert): the default runtime."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import numpy as np

from winnow_edge.bundle import Bundle, Int8Array, Logits, Tile
from winnow_edge.errors import BundleError, RuntimeUnavailableError
from winnow_edge.runtimes.contract import Runtime, register

NAME = "litert"


def why_not() -> str | None:
    """None if LiteRT can be imported, else the reason."""
    try:
        import_module("ai_edge_litert.interpreter")
    except ImportError as error:
        return f"ai-edge-litert cannot be imported ({error})"
    return None


def load(bundle: Bundle, *, requested: str = NAME) -> InterpreterClassifier:
    """The bundle's model on LiteRT, one thread.

    Raises RuntimeUnavailableError without ai-edge-litert, BundleError if the model does not load or
    does not fit the manifest.
    """
    if (reason := why_not()) is not None:
        raise RuntimeUnavailableError(reason, where=NAME, hint="pip install ai-edge-litert")
    make = import_module("ai_edge_litert.interpreter").Interpreter

    def quietly() -> Any:
        with _silenced():
            interpreter = make(model_content=bundle.model, num_threads=1)
            interpreter.allocate_tensors()  # the notice comes with the delegate, which comes here
        return interpreter

    return InterpreterClassifier(bundle, requested, NAME, quietly)


@contextmanager
def _silenced() -> Iterator[None]:
    """Keep LiteRT's C++ notice of every interpreter off stderr, where only we speak.

    It writes past `sys.stderr`, so the descriptor itself is turned away; failures still come as
    exceptions. Interpreters are made before any other thread has something to say.
    """
    try:
        sys.stderr.flush()
        saved = os.dup(2)
    except (OSError, ValueError, AttributeError):  # a service may have closed it
        yield
        return
    try:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


class InterpreterClassifier:
    """A TFLite-style interpreter (LiteRT, tflite-runtime) behind the `Classifier` contract.

    `make` returns the interpreter. Tiles are copied once, straight into the interpreter's own
    memory, and logits straight out of it. The interpreter refuses to run while anyone holds one of
    its views, lest its memory move; with static shapes it moves only when tensors are allocated, so
    input and output are addressed directly. Lines are copied as opaque elements: few enough that
    NumPy keeps the interpreter lock for the copy, where letting it go to a busy thread costs more
    than the copy. After a net the caches hold nothing of Python's, so every step here costs more
    than in a loop of its own (docs/notebook/flight-loop.md).
    """

    def __init__(
        self, bundle: Bundle, requested: str, actual: str, make: Callable[[], Any]
    ) -> None:
        self.requested, self.actual = requested, actual
        try:
            self._interpreter = make()
            self._interpreter.allocate_tensors()
            self._interpreter.invoke()  # delegates have arranged their memory after it
        except (RuntimeError, ValueError) as error:
            text = str(error).strip().splitlines() or ["no reason given"]
            raise BundleError(
                f"{bundle.member} does not load on {actual}: {text[0]}", where=bundle.path
            ) from None
        source = _one(self._interpreter.get_input_details(), "input", bundle)
        sink = _one(self._interpreter.get_output_details(), "output", bundle)
        _check_details(source, sink, bundle)
        spec = bundle.manifest.input
        self._shape = (spec.height, spec.width * spec.channels)
        self._line = np.dtype((np.void, self._shape[1]))
        memory = _addressed(self._interpreter.tensor(source["index"])())
        self._input = memory.view(self._line)
        self._pixel = np.dtype((np.void, spec.channels))
        self._pixels = memory.reshape(self._shape).view(self._pixel)
        self._output = _addressed(self._interpreter.tensor(sink["index"])()).data
        self.invoke_only: Callable[[], None] = self._interpreter.invoke

    def infer(self, tile: Tile, logits: Logits) -> None:
        """See `Classifier.infer`."""
        if tile.ndim > 1:
            tile = tile.reshape(self._shape).view(self._line)[:, 0]
        self._input[...] = tile
        self.invoke_only()
        logits[:] = self._output

    def infer_mirrored(self, tile: Tile, logits: Logits) -> None:
        """See `Classifier.infer_mirrored`."""
        pixels = tile[:, None] if tile.ndim == 1 else tile.reshape(self._shape)
        self._pixels[...] = pixels.view(self._pixel)[:, ::-1]
        self.invoke_only()
        logits[:] = self._output


def _addressed(view: Int8Array) -> Int8Array:
    """The same memory, flat, without a reference to the interpreter that owns it."""
    address = view.__array_interface__["data"][0]
    memory = (ctypes.c_int8 * view.size).from_address(address)
    return np.ctypeslib.as_array(memory)


def _one(details: list[dict[str, Any]], what: str, bundle: Bundle) -> dict[str, Any]:
    if len(details) != 1:
        raise BundleError(
            f"{bundle.member} has {len(details)} {what}s, must have 1", where=bundle.path
        )
    return details[0]


def _check_details(source: dict[str, Any], sink: dict[str, Any], bundle: Bundle) -> None:
    """The model's own tensors must be what the manifest says."""
    manifest = bundle.manifest
    spec, out, classes = manifest.input, manifest.output, len(manifest.classes)
    shape = (1, spec.height, spec.width, spec.channels)
    got = tuple(int(n) for n in sink["shape"])
    for what, details, fits, wanted, quantized in (
        ("input", source, tuple(int(n) for n in source["shape"]) == shape, shape, spec),
        ("output", sink, got[0] == 1 and int(np.prod(got)) == classes, (1, classes), out),
    ):
        if details["dtype"] is not np.int8 or not fits:
            raise BundleError(
                f"{bundle.member}: the model's {what} is {np.dtype(details['dtype'])} "
                f"{tuple(int(n) for n in details['shape'])}, the manifest says int8 {wanted}",
                where=bundle.path,
            )
        scale, zero = details["quantization"]
        if np.float32(quantized.scale) != np.float32(scale) or quantized.zero_point != zero:
            raise BundleError(
                f"{bundle.member}: the model's {what} has scale {scale:g} and zero point {zero}, "
                f"the manifest says {quantized.scale:g} and {quantized.zero_point}",
                where=bundle.path,
            )


def version() -> str:
    """The package and its version."""
    return f"ai-edge-litert {metadata.version('ai-edge-litert')}"


register(Runtime(NAME, why_not, load, version))
