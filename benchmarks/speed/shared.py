"""Shared computation for overlap: tiles one by one against strips of them, bit for bit and in time.

MobileNet 0.5 to block 12 with random weights, since time does not depend on them, is built with
`model.shared` at each layer asked for, made int8, and cut there in two. The front is resized to a
strip of tiles at half-tile hop, the back is shown every tile's window of its features. Logits must
be those of the whole model tile by tile, or this fails. Times are processor time of one thread,
all contenders in turns, medians, as ratios to the net that shares nothing, tile by tile.
"""

from __future__ import annotations

import functools
import importlib
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks import harness
from winnow_convert import ptq
from winnow_convert.flatbuffer import Graph, read_graph
from winnow_convert.source import Source
from winnow_edge.board.bench import rendered

Int8Array = npt.NDArray[np.int8]
ALL_LAYERS = ("conv_pw_2_relu", "conv_pw_4_relu", "conv_pw_6_relu")
STRIPS = ("1x4", "1x8", "2x8", "4x8")


def int8_net(shared: str, tile: int, alpha: float) -> bytes:
    """The landmark net with random weights as an int8 flatbuffer."""
    from winnow_train import model
    from winnow_train.recipe import Input, Model

    wanted = Model(
        backbone="MobileNet", alpha=alpha, weights="", last="conv_pw_12_relu", shared=shared
    )
    net = model.build(wanted, Input(tile, tile, 1), {"own": 8}, None, seed=1)
    tiles = np.random.default_rng(1).integers(0, 256, (8, tile, tile, 1), np.uint8)
    # One pass sets the statistics, or the signal of random weights would fade from layer to layer.
    for layer in net.layers:
        if hasattr(layer, "moving_mean"):
            layer.momentum = 0.0
    net(tiles.astype(np.float32) / model.PIXEL_SCALE, training=True)
    source = Source(
        Path(), model.export(net, "own"), "net", tuple("abcdefgh"), "softmax", tile, tile, 1, 1.0
    )
    return ptq.quantize(source, tiles)


def cut(flatbuffer: bytes, shared: str) -> tuple[bytes, bytes, Graph]:
    """A model's ops up to the layer, those behind it, and the graph of the former."""
    schema = importlib.import_module("ai_edge_litert.schema_py_generated")
    builder = importlib.import_module("flatbuffers").Builder
    graph = read_graph(flatbuffer)
    # The converter names a tensor after the layers fused into it, numbered where traced again.
    ends = [op for op in graph.ops if f"/{shared}" in op.outputs[0].name.split(";")[0]]
    ops, between = ends[-1].index + 1, ends[-1].outputs[0].index
    halves = []
    for part in (slice(0, ops), slice(ops, None)):
        raw = schema.ModelT.InitFromObj(schema.Model.GetRootAs(flatbuffer, 0))
        raw.signatureDefs = None
        half = raw.subgraphs[0]
        half.operators = half.operators[part]
        half.inputs = [between] if part.start else half.inputs
        half.outputs = half.outputs if part.start else [between]
        packed = builder(len(flatbuffer))
        packed.Finish(raw.Pack(packed), b"TFL3")
        halves.append(bytes(packed.Output()))
    return halves[0], halves[1], read_graph(halves[0])


class Net:
    """An interpreter with one thread, its input resized to `shape` if that is given."""

    def __init__(self, flatbuffer: bytes, shape: tuple[int, ...] | None = None) -> None:
        make = importlib.import_module("ai_edge_litert.interpreter").Interpreter
        self._net: Any = make(model_content=flatbuffer, num_threads=1)
        self._at = self._net.get_input_details()[0]["index"]
        if shape is not None:
            self._net.resize_tensor_input(self._at, shape)
        self._net.allocate_tensors()
        self._out = self._net.get_output_details()[0]["index"]
        self.shape = tuple(int(n) for n in self._net.get_input_details()[0]["shape"])
        self.invoke = self._net.invoke

    def __call__(self, values: Int8Array) -> Int8Array:
        self._net.set_tensor(self._at, values.reshape(self.shape))
        self.invoke()
        result: Int8Array = self._net.get_tensor(self._out)[0]
        return result


class Strip:
    """`rows` x `columns` tiles at half-tile hop, run together."""

    def __init__(self, halves: tuple[bytes, bytes, Graph], rows: int, columns: int) -> None:
        front, back, graph = halves
        tile = graph.inputs[0].shape[1]
        self.hop, self.tiles = tile // 2, rows * columns
        self.lines, self.samples = tile + self.hop * (rows - 1), tile + self.hop * (columns - 1)
        self.front, self.back = Net(front, (1, self.lines, self.samples, 1)), Net(back)
        self.side = self.back.shape[1]
        strides = [op.options["strideW"] for op in graph.ops]
        self.step = self.hop // int(np.prod(strides))
        self.columns = columns

    def __call__(self, pixels: Int8Array) -> Int8Array:
        """Logits int8 (tiles, classes) of quantized pixels (lines, samples)."""
        features = self.front(pixels)
        logits = []
        for number in range(self.tiles):
            line, sample = (self.step * n for n in divmod(number, self.columns))
            window = features[line : line + self.side, sample : sample + self.side]
            logits.append(self.back(np.ascontiguousarray(window)))
        return np.stack(logits)


def multiplies(graph: Graph, lines: int, samples: int) -> int:
    """Multiply-accumulates of a chain of unpadded convolutions over so large an input."""
    total = 0
    for op in graph.ops:
        kernel, step = op.inputs[1].shape[1], op.options["strideW"]
        lines, samples = (lines - kernel) // step + 1, (samples - kernel) // step + 1
        per_output = op.macs // (op.outputs[0].shape[1] * op.outputs[0].shape[2])
        total += lines * samples * per_output
    return total


def measure(
    layers: list[str], strips: list[str], rounds: int, *, tile: int = 128, alpha: float = 0.5
) -> list[dict[str, Any]]:
    """A row of figures per way of running the net; `time` is per tile, to tiles that share nothing.

    Raises SystemExit if a strip does not give its tiles' logits exactly.
    """
    plain = int8_net("", tile, alpha)
    ways: dict[tuple[str, str], tuple[harness.Way, int, float]] = {}
    ways["nothing", "tiles"] = (Net(plain).invoke, 1, read_graph(plain).macs / 1e6)
    swath = (rendered(tile * 4, tile * 8) ^ np.uint8(0x80)).view(np.int8)
    for layer in layers:
        whole = int8_net(layer, tile, alpha)
        halves, graph = cut(whole, layer), read_graph(whole)
        alone = Net(whole)
        ways[layer, "tiles"] = (alone.invoke, 1, graph.macs / 1e6)
        behind = graph.macs - halves[2].macs
        for form in strips:
            strip = Strip(halves, *(int(n) for n in form.split("x")))
            pixels = np.ascontiguousarray(swath[: strip.lines, : strip.samples])
            corners = [divmod(n, strip.columns) for n in range(strip.tiles)]
            wanted = [
                alone(np.ascontiguousarray(pixels[y : y + tile, x : x + tile]))
                for y, x in ((strip.hop * r, strip.hop * c) for r, c in corners)
            ]
            if not np.ptp(wanted, axis=0).any():
                raise SystemExit(f"{layer} {form}: all tiles look alike, so equality says nothing")
            if not np.array_equal(strip(pixels), np.stack(wanted)):
                raise SystemExit(f"{layer} {form}: a strip gives other logits than its tiles")
            front = multiplies(halves[2], strip.lines, strip.samples) / strip.tiles
            run = functools.partial(strip, pixels)
            ways[layer, form] = (run, strip.tiles, (front + behind) / 1e6)
    runs = {key: again(run, max(1, 32 // tiles)) for key, (run, tiles, _) in ways.items()}
    middle = harness.medians(harness.turns(runs, rounds, clock=time.thread_time))
    base = middle["nothing", "tiles"] / 32
    return [
        {
            "shared up to": key[0],
            "form": key[1],
            "MMAC": round(mmac, 2),
            "time": round(middle[key] / (max(1, 32 // tiles) * tiles) / base, 3),
        }
        for key, (_, tiles, mmac) in ways.items()
    ]


def again(run: harness.Way, times: int) -> harness.Way:
    """So many calls as one."""

    def calls() -> None:
        for _ in range(times):
            run()

    return calls


def main() -> None:
    """Command line."""
    parser = harness.arguments(__doc__)
    parser.add_argument("--shared", nargs="*", default=list(ALL_LAYERS))
    parser.add_argument("--strips", nargs="*", default=list(STRIPS))
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    if args.short:
        rows = measure(args.shared[:1], args.strips[:1], 2, tile=64, alpha=0.25)
    else:
        rows = measure(args.shared, args.strips, args.rounds)
    harness.report(args, rows)


if __name__ == "__main__":
    main()
