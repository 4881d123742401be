"""The contenders: each reads one grey PGM, cuts it into tiles and classifies them on one thread.

    python -m benchmarks.peers.contenders NAME SWATH BUNDLE ONNX KERAS

is one of them as a process. It loads what it needs, says so, and runs once for every line on
standard input. It answers with a line of JSON: tiles, seconds, peak_rss_mb.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

Job = Callable[[], int]
"""Runs over the swath once and returns its number of tiles."""


class Given(NamedTuple):
    """The swath, the bundle, the same net for ONNX Runtime and for Keras."""

    swath: Path
    bundle: Any
    onnx: str
    keras: str

    @property
    def side(self) -> int:
        """Side of a tile in pixels."""
        side: int = self.bundle.manifest.input.height
        return side

    def corners(self, width: int, height: int) -> Iterator[tuple[int, int]]:
        """(sample, line) of every tile, row by row at half-tile hop, the last flush with the end;
        as all contenders cut."""
        starts = [list(range(0, n - self.side + 1, self.side // 2)) for n in (height, width)]
        for axis, extent in zip(starts, (height, width), strict=True):
            if axis[-1] != extent - self.side:
                axis.append(extent - self.side)
        return ((sample, line) for line in starts[0] for sample in starts[1])

    def classifier(self) -> Callable[[Any], Any]:
        """The int8 net on one thread: uint8 tile (side, side) to int8 logits."""
        from ai_edge_litert.interpreter import Interpreter

        net = Interpreter(model_content=self.bundle.model, num_threads=1)
        net.allocate_tensors()
        source, sink = net.get_input_details()[0]["index"], net.get_output_details()[0]["index"]

        def classify(tile: Any) -> Any:
            quantized = (np.asarray(tile).astype(np.int16) - 128).astype(np.int8)
            net.set_tensor(source, quantized[None, :, :, None])
            net.invoke()
            return net.get_tensor(sink)

        return classify


def winnow(given: Given, threads: int = 1) -> Job:
    """The flight loop into a scratch store."""
    from benchmarks.rig import flying
    from winnow_edge.prepare.chain import open_lines

    stack = contextlib.ExitStack()
    camera, fly = stack.enter_context(flying(given.bundle, threads=threads))
    atexit.register(stack.close)

    def job() -> int:
        with contextlib.closing(
            open_lines(given.swath, camera, given.bundle.manifest.input)
        ) as lines:
            return fly(lines).tally.tiles

    return job


def crop_loop(given: Given) -> Job:
    """What one writes first: Pillow crops and set_tensor."""
    from PIL import Image

    classify, side = given.classifier(), given.side

    def job() -> int:
        image = Image.open(given.swath)
        corners = list(given.corners(*image.size))
        for sample, line in corners:
            classify(image.crop((sample, line, sample + side, line + side)))
        return len(corners)

    return job


def sahi(given: Given) -> Job:
    """SAHI's slice_image."""
    from sahi.slicing import slice_image

    classify = given.classifier()
    cut = {"slice_height": given.side, "slice_width": given.side, "verbose": False}
    overlap = {"overlap_height_ratio": 0.5, "overlap_width_ratio": 0.5}

    def job() -> int:
        sliced = slice_image(str(given.swath), **cut, **overlap)
        for tile in sliced.images:
            classify(tile[..., 0] if tile.ndim == 3 else tile)
        return len(sliced.images)

    return job


def supervision(given: Given) -> Job:
    """supervision's InferenceSlicer with a callback."""
    import cv2
    import supervision as sv

    classify, seen = given.classifier(), [0]

    def look(tile: Any) -> Any:
        seen[0] += 1
        classify(tile[..., 0])
        return sv.Detections.empty()

    size, overlap = (given.side, given.side), (given.side // 2, given.side // 2)
    slicer = sv.InferenceSlicer(callback=look, slice_wh=size, overlap_wh=overlap, thread_workers=1)

    def job() -> int:
        seen[0] = 0
        slicer(cv2.imread(str(given.swath)))
        return seen[0]

    return job


def rasterio_ort(given: Given) -> Job:
    """rasterio windows and ONNX Runtime on one thread."""
    import onnxruntime
    import rasterio
    from rasterio.windows import Window

    options, side = onnxruntime.SessionOptions(), given.side
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(given.onnx, options)
    spec = session.get_inputs()[0]
    shape = (1, side, side, 1) if spec.shape[-1] == 1 else (1, 1, side, side)

    def job() -> int:
        with rasterio.open(given.swath) as image:
            corners = list(given.corners(image.width, image.height))
            for sample, line in corners:
                tile = image.read(1, window=Window(sample, line, side, side))
                quantized = (tile.astype(np.int16) - 128).astype(np.int8)
                session.run(None, {spec.name: quantized.reshape(shape)})
        return len(corners)

    return job


def keras_predict(given: Given) -> Job:
    """Keras predict on the float model in batches of 32."""
    import keras
    from PIL import Image

    net, side = keras.saving.load_model(given.keras, compile=False), given.side

    def job() -> int:
        image = np.asarray(Image.open(given.swath))
        corners = given.corners(image.shape[1], image.shape[0])
        tiles = [image[line : line + side, sample : sample + side] for sample, line in corners]
        batches = np.stack(tiles).astype(np.float32)[..., None]
        net.predict(batches, batch_size=32, verbose=0)
        return len(tiles)

    return job


CONTENDERS: dict[str, tuple[str, Callable[[Given], Job]]] = {
    "winnow": ("Winnow, 1 thread", winnow),
    "winnow-all": ("Winnow, all cores", lambda given: winnow(given, 0)),
    "crop-loop": ("Pillow crops + LiteRT", crop_loop),
    "sahi": ("SAHI slices + LiteRT", sahi),
    "supervision": ("supervision slicer + LiteRT", supervision),
    "rasterio-ort": ("rasterio windows + ONNX Runtime, int8", rasterio_ort),
    "keras": ("Keras predict, batches of 32 (its own threads)", keras_predict),
}


def main() -> None:
    """Be one contender."""
    from winnow_edge.board.host import peak_rss_mb
    from winnow_edge.bundle import find_bundle, open_bundle

    name, swath, bundle, onnx, keras = sys.argv[1:]
    job = CONTENDERS[name][1](Given(Path(swath), open_bundle(find_bundle(bundle)), onnx, keras))
    print(json.dumps({"ready": True}), flush=True)
    for _ in sys.stdin:
        started = time.perf_counter()
        tiles = job()
        seconds = time.perf_counter() - started
        answer = {"tiles": tiles, "seconds": seconds, "peak_rss_mb": peak_rss_mb()}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
