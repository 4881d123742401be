"""Winnow beside the tools one would otherwise use: the same swath, the same tiles, the same net.

Every contender is a process of its own that reads one grey PGM, cuts it into tiles of the net's
size at half-tile hop and classifies each on one thread (Winnow also on every core). They take
turns, round by round; times are medians over the rounds, without imports and loading of the net,
with reading the swath. Peak memory is the kernel's VmHWM of each process. Winnow's time includes
what the others do not do: screening, decisions, product encoding and commits to its store.

    python benchmarks/peers.py [--samples N] [--lines N] [--rounds N] [--without NAME] [--out FILE]

`make bench-peers` sets it up and runs it twice: on a browse strip, and on a wider swath, where it
tells what a contender holds in memory (Keras left out: it would take 12 GB). The table comes to
standard output as Markdown; what there is so far is written to FILE after every turn as JSON.

Contenders that are not installed, or die, are left out and named.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

NAMES = {
    "winnow": "Winnow, 1 thread",
    "winnow-all": "Winnow, all cores",
    "crop-loop": "Pillow crops + LiteRT",
    "sahi": "SAHI slices + LiteRT",
    "supervision": "supervision slicer + LiteRT",
    "rasterio-ort": "rasterio windows + ONNX Runtime, int8",
    "keras": "Keras predict, batches of 32 (its own threads)",
}
CONTENDERS = tuple(NAMES)


def origins(extent: int, side: int) -> list[int]:
    """Tile origins at half-tile hop, the last flush with the end; as all contenders cut."""
    regular = list(range(0, extent - side + 1, side // 2))
    return regular if regular[-1] == extent - side else [*regular, extent - side]


def boxes(width: int, height: int, side: int) -> Iterator[tuple[int, int]]:
    """(sample, line) of every tile, row by row."""
    for line in origins(height, side):
        for sample in origins(width, side):
            yield sample, line


def interpreter(bundle: Any) -> Callable[[Any], Any]:
    """The bundle's int8 net on one thread: uint8 tile (side, side) to int8 logits."""
    from ai_edge_litert.interpreter import Interpreter

    net = Interpreter(model_content=bundle.model, num_threads=1)
    net.allocate_tensors()
    source, sink = net.get_input_details()[0]["index"], net.get_output_details()[0]["index"]

    def classify(tile: Any) -> Any:
        quantized = (np.asarray(tile).astype(np.int16) - 128).astype(np.int8)
        net.set_tensor(source, quantized[None, :, :, None])
        net.invoke()
        return net.get_tensor(sink)

    return classify


def run_winnow(path: Path, bundle: Any, threads: int) -> Callable[[], int]:
    """`run_swath` into a scratch store."""
    from winnow_edge.loop.interpreters import Interpreters
    from winnow_edge.loop.run import run_swath
    from winnow_edge.loop.settings import Settings
    from winnow_edge.mission import Compute, Instrument, Mission, Tiling
    from winnow_edge.prepare.chain import open_lines
    from winnow_edge.store.store import Store

    camera = Instrument(bundle=str(bundle.path))
    # Every tile is shown once, as the others do, whatever the bundle says of second views.
    mission = Mission(
        "peers", {"camera": camera}, tiling=Tiling(scales=(1,)), compute=Compute(borderline=0.0)
    )
    settings = Settings.of(mission, "camera", bundle)
    pool = Interpreters(bundle, "litert", threads)
    store = Store.open(tempfile.mkdtemp(prefix="winnow-peers-"), mission=mission)

    def job() -> int:
        lines = open_lines(path, camera, bundle.manifest.input)
        summary = run_swath(lines, settings, store, pool, name=str(time.time_ns()))
        lines.close()
        return summary.tally.tiles

    return job


def run_crop_loop(path: Path, bundle: Any, side: int) -> Callable[[], int]:
    """What one writes first: Pillow crops and set_tensor."""
    from PIL import Image

    classify = interpreter(bundle)

    def job() -> int:
        image = Image.open(path)
        count = 0
        for sample, line in boxes(*image.size, side):
            classify(image.crop((sample, line, sample + side, line + side)))
            count += 1
        return count

    return job


def run_sahi(path: Path, bundle: Any, side: int) -> Callable[[], int]:
    """SAHI's slice_image."""
    from sahi.slicing import slice_image

    classify = interpreter(bundle)

    def job() -> int:
        sliced = slice_image(
            str(path),
            slice_height=side,
            slice_width=side,
            overlap_height_ratio=0.5,
            overlap_width_ratio=0.5,
            verbose=False,
        )
        for tile in sliced.images:
            classify(tile[..., 0] if tile.ndim == 3 else tile)
        return len(sliced.images)

    return job


def run_supervision(path: Path, bundle: Any, side: int) -> Callable[[], int]:
    """supervision's InferenceSlicer with a callback."""
    import cv2
    import supervision as sv

    classify = interpreter(bundle)
    count = 0

    def look(tile: Any) -> Any:
        nonlocal count
        count += 1
        classify(tile[..., 0])
        return sv.Detections.empty()

    slicer = sv.InferenceSlicer(
        callback=look, slice_wh=(side, side), overlap_wh=(side // 2, side // 2), thread_workers=1
    )

    def job() -> int:
        nonlocal count
        count = 0
        slicer(cv2.imread(str(path)))
        return count

    return job


def run_rasterio_ort(path: Path, model: Path, side: int) -> Callable[[], int]:
    """rasterio windows and ONNX Runtime on one thread."""
    import onnxruntime
    import rasterio
    from rasterio.windows import Window

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(model), options)
    spec = session.get_inputs()[0]
    channel_last = spec.shape[-1] == 1

    def job() -> int:
        count = 0
        with rasterio.open(path) as image:
            for sample, line in boxes(image.width, image.height, side):
                tile = image.read(1, window=Window(sample, line, side, side))
                quantized = (tile.astype(np.int16) - 128).astype(np.int8)
                shaped = quantized[None, :, :, None] if channel_last else quantized[None, None]
                session.run(None, {spec.name: shaped})
                count += 1
        return count

    return job


def run_keras(path: Path, model: Path, side: int) -> Callable[[], int]:
    """Keras predict on the float model in batches of 32."""
    import keras
    from PIL import Image

    net = keras.saving.load_model(model, compile=False)

    def job() -> int:
        image = np.asarray(Image.open(path))
        tiles = [
            image[line : line + side, sample : sample + side]
            for sample, line in boxes(image.shape[1], image.shape[0], side)
        ]
        batches = np.stack(tiles).astype(np.float32)[..., None]
        net.predict(batches, batch_size=32, verbose=0)
        return len(tiles)

    return job


def child(args: argparse.Namespace) -> None:
    """One contender: sets up, then runs the job once for every line on standard input."""
    from winnow_edge.board.host import peak_rss_mb
    from winnow_edge.bundle import find_bundle, open_bundle

    bundle = open_bundle(find_bundle(args.bundle))
    side, path = bundle.manifest.input.height, Path(args.swath)
    makers: dict[str, Callable[[], Callable[[], int]]] = {
        "winnow": lambda: run_winnow(path, bundle, 1),
        "winnow-all": lambda: run_winnow(path, bundle, 0),
        "crop-loop": lambda: run_crop_loop(path, bundle, side),
        "sahi": lambda: run_sahi(path, bundle, side),
        "supervision": lambda: run_supervision(path, bundle, side),
        "rasterio-ort": lambda: run_rasterio_ort(path, Path(args.onnx), side),
        "keras": lambda: run_keras(path, Path(args.keras), side),
    }
    job = makers[args.peer]()
    print(json.dumps({"ready": True}), flush=True)
    for _ in sys.stdin:
        started = time.perf_counter()
        tiles = job()
        seconds = time.perf_counter() - started
        answer = {"tiles": tiles, "seconds": seconds, "peak_rss_mb": peak_rss_mb()}
        print(json.dumps(answer), flush=True)


@dataclass(frozen=True)
class Contender:
    """A contender's process, and the file of what it says on standard error."""

    process: Any
    said: Path

    def last_words(self) -> str:
        """The last line that it said, once it is dead."""
        self.process.communicate()  # closes its pipes, broken or not
        said = self.said.read_text(encoding="utf-8", errors="replace")
        return (said.strip().splitlines() or ["no reason given"])[-1]


def start(name: str, args: argparse.Namespace, swath: Path) -> tuple[Contender | None, str | None]:
    """A contender, or None and why there is none."""
    if name == "rasterio-ort" and not Path(args.onnx).is_file():
        return None, f"no ONNX model at {args.onnx}"
    if name == "keras" and not Path(args.keras).is_file():
        return None, f"no Keras model at {args.keras}"
    options = ["--bundle", args.bundle, "--onnx", args.onnx, "--keras", args.keras]
    # A file, not a pipe: nobody reads before the end, and a full pipe would hold up who writes.
    said = swath.with_name(f"{name}.stderr")
    with said.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(
            [sys.executable, __file__, "--peer", name, "--swath", str(swath), *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
            env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"},
        )
    contender = Contender(process, said)
    assert process.stdout is not None
    if not process.stdout.readline():
        return None, contender.last_words()
    return contender, None


def ask(contender: Contender) -> tuple[dict[str, Any], str | None]:
    """Run a contender's job once; nothing and why not, if it died of it."""
    process = contender.process
    try:
        process.stdin.write("go\n")
        process.stdin.flush()
    except BrokenPipeError:
        pass  # the line below says why
    if line := process.stdout.readline():
        return json.loads(line), None
    last = contender.last_words()
    return {}, f"ended with {process.returncode}: {last}"


def report_of(
    args: argparse.Namespace, rounds: dict[str, list[dict[str, Any]]], missing: dict[str, str]
) -> dict[str, Any]:
    """What there is so far: medians of each contender's rounds."""
    results = {}
    for name, answers in rounds.items():
        if not answers or name in missing:
            continue
        seconds = statistics.median(a["seconds"] for a in answers)
        tiles, peak = answers[-1]["tiles"], answers[-1]["peak_rss_mb"]
        results[name] = {
            "rounds": len(answers),
            "tiles": tiles,
            "seconds": round(seconds, 3),
            "tiles_per_s": round(tiles / seconds, 1),
            "peak_rss_mb": round(peak, 1),
            "tiles_per_s_per_mb": round(tiles / seconds / peak, 2),
        }
    shape = {"lines": args.lines, "samples": args.samples}
    return {**shape, "results": results, "missing": missing}


def compare(args: argparse.Namespace) -> dict[str, Any]:
    """All contenders in turns."""
    from winnow_edge.board.bench import rendered

    with tempfile.TemporaryDirectory(prefix="winnow-peers-") as folder:
        swath = Path(folder) / "swath.pgm"
        with swath.open("wb") as file:
            file.write(f"P5 {args.samples} {args.lines} 255\n".encode())
            for first in range(0, args.lines, 512):
                file.write(rendered(min(512, args.lines - first), args.samples).tobytes())
        missing: dict[str, str] = {}
        rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in CONTENDERS}
        alive: dict[str, Contender] = {}
        # All are loaded once; those that wait for their turn sleep.
        for name in CONTENDERS:
            why: str | None = "as asked"
            contender = None
            if name not in args.without:
                contender, why = start(name, args, swath)
            if contender is not None:
                alive[name] = contender
            elif why is not None:
                missing[name] = why
        for number in range(args.warm_up + args.rounds):
            for name, contender in list(alive.items()):
                answer, why = ask(contender)
                if why is not None:
                    missing[name] = why
                    del alive[name]
                elif number >= args.warm_up:
                    rounds[name].append(answer)
                report = report_of(args, rounds, missing)
                if args.out is not None:
                    args.out.write_text(json.dumps(report, indent=1) + "\n")
            print(f"round {number + 1} of {args.warm_up + args.rounds} done", file=sys.stderr)
        for contender in alive.values():
            contender.process.stdin.close()
            contender.process.wait()
    return report_of(args, rounds, missing)


def show(report: dict[str, Any]) -> None:
    """The table, and Winnow's ratios to the best of the others."""
    results = report["results"]
    first = results.get("winnow", {}).get("tiles_per_s")
    print(f"{report['samples']:,} samples x {report['lines']:,} lines\n")
    print("| | tiles/s | to Winnow, 1 thread | peak MB | tiles/s per MB |\n|---|---|---|---|---|")
    for name, r in results.items():
        ratio = f"{r['tiles_per_s'] / first:.2f}" if first else ""
        print(
            f"| {NAMES[name]} | {r['tiles_per_s']:,.0f} | {ratio} | {r['peak_rss_mb']:,.0f} "
            f"| {r['tiles_per_s_per_mb']:.1f} |"
        )
    peers = {name: r for name, r in results.items() if not name.startswith("winnow")}
    print()
    for key, what in (("tiles_per_s", "tiles/s"), ("tiles_per_s_per_mb", "tiles/s per MB")):
        if peers and "winnow-all" in results:
            top = max(peers, key=lambda name: peers[name][key])
            ratio = results["winnow-all"][key] / peers[top][key]
            print(f"Winnow on all cores to the best peer, {what}: {ratio:.2f} ({NAMES[top]})")
    for name, why in report["missing"].items():
        print(f"{NAMES[name]}: left out ({why})")


def main() -> None:
    """Parse the command line; compare, or be one contender."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--lines", type=int, default=4096)
    parser.add_argument("--samples", type=int, default=2048)
    parser.add_argument("--without", choices=CONTENDERS, action="append", default=[])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--warm-up", type=int, default=1, help="rounds that do not count")
    parser.add_argument("--bundle", default="hirise-landmarks")
    parser.add_argument("--onnx", default="build/peers/model.onnx")
    parser.add_argument("--keras", default="runs/hirise-landmarks/model.keras")
    parser.add_argument("--out", type=Path, help="JSON, written after every turn")
    parser.add_argument("--peer", choices=CONTENDERS, help=argparse.SUPPRESS)
    parser.add_argument("--swath", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peer:
        child(args)
        return
    show(compare(args))


if __name__ == "__main__":
    main()
