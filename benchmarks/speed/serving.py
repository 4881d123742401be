"""`winnow serve` over 3.7 million detections: its starts, twenty people at once, and the memory.

    python -m benchmarks.speed.serving [--short] [--json]

It is started twice, without the columns of an earlier start and with them; told are the seconds to
its address, to the first page and to the counts, by the clock, and processor time to the counts.
The second server then answers twenty clients at once, each with a connection of its own. A client
makes the moves of a person at the search page (a facet, a slider, a page, a picture of every order)
and rests between them, a second on the mean. Waits are from the request to the last octet of the
answer, on the wall clock; a lone client makes such moves first. Processor time is the server's
alone. Memory is its resident set, at its greatest (VmHWM). Clients take processor time too: a note
tells how much of both. The short form has a tenth of the detections.
"""

from __future__ import annotations

import http.client
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import arguments, report
from benchmarks.speed.catalogue import CLASSES, DETECTIONS, SWATHS, fill

PEOPLE, MOVES, REST_S = 20, 30, 1.0
ORDERS = ("confidence", "unsure", "value", "novelty", "newest", "swath")


def moves(seed: int) -> list[str]:
    """What a person asks for, one after another."""
    rng = random.Random(seed)
    asked = []
    for _ in range(MOVES):
        query = [f"low={rng.random():.2f}", f"order={rng.choice(ORDERS)}"]
        if rng.random() < 0.5:
            query.append(f"class={rng.choice(CLASSES[1:])}".replace(" ", "+"))
        if rng.random() < 0.3:
            query.append(f"year={rng.randrange(2006, 2025)}")
        if rng.random() < 0.2:
            query.append(f"least={rng.randrange(2, 30)}")
        if rng.random() < 0.2:
            query.append(f"page={rng.randrange(20)}")
        asked.append(f"/found?{'&'.join(query)}")
    return asked


def person(port: int, seed: int, rest_s: float, waits: list[float]) -> None:
    """Make the moves of a person; the waits are added to `waits`."""
    line, rng = http.client.HTTPConnection("127.0.0.1", port), random.Random(-seed)
    for address in moves(seed):
        # A server lets a connection go that was still for five seconds.
        time.sleep(min(rng.expovariate(1 / rest_s), 3.0) if rest_s else 0)
        begun = time.perf_counter()
        line.request("GET", address)
        answer = line.getresponse()
        answer.read()
        waits.append(time.perf_counter() - begun)
        if answer.status != 200:
            raise SystemExit(f"{address} is answered with {answer.status}")
    line.close()


def figures(who: str, waits: list[float], spent_s: float) -> dict[str, Any]:
    """Waits and the server's processor time a move, in milliseconds."""
    found = 1e3 * np.array(waits)
    middle, late = np.percentile(found, (50, 95))
    return {"people": who, "moves": len(waits), "median ms": middle, "95 % ms": late,
            "most ms": found.max(), "processor ms": 1e3 * spent_s / len(waits)}  # fmt: skip


def processor_s(process: int) -> float:
    """Processor time of the server so far."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(process: int) -> dict[str, float]:
    """The server's resident set, now and at its greatest, in MB."""
    text = Path(f"/proc/{process}/status").read_text()
    names = {"VmRSS": "now", "VmHWM": "most"}
    return {
        said: int(re.findall(rf"{name}:\s+(\d+)", text)[0]) / 1e3 for name, said in names.items()
    }


def started(path: Path) -> tuple[subprocess.Popen[str], int, dict[str, Any]]:
    """A server over a catalogue, its port, and how long its start took in seconds."""
    command = [str(Path(sys.executable).parent / "winnow"), "serve", str(path), "--port", "0"]
    begun = time.perf_counter()
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    port = int(re.findall(r":(\d+)/", server.stdout.readline())[0])
    took = {"address s": time.perf_counter() - begun}
    for name, address in [("page s", "/"), ("counts s", "/found")]:
        line = http.client.HTTPConnection("127.0.0.1", port)
        line.request("GET", address)
        line.getresponse().read()
        line.close()
        took[name] = time.perf_counter() - begun
    return server, port, {**took, "processor s": processor_s(server.pid)}


def main() -> int:
    args = arguments(__doc__).parse_args()
    part = 10 if args.short else 1
    starts = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "catalogue.db"
        fill(path, DETECTIONS // part, SWATHS // part)
        for columns in ("none", "kept"):
            server, port, took = started(path)
            starts.append({"columns": columns, **took})
            if columns == "none":
                used = memory(server.pid)
                server.send_signal(signal.SIGINT)  # keeps them
                server.wait()
        starts[0]["most MB"] = used["most"]
        spent = [processor_s(server.pid)]
        alone: list[float] = []
        person(port, 0, 0.0, alone)
        spent.append(processor_s(server.pid))
        together: list[float] = []
        people = [
            threading.Thread(target=person, args=(port, seed, REST_S, together))
            for seed in range(1, PEOPLE + 1)
        ]
        own, begun = time.process_time(), time.perf_counter()
        for one in people:
            one.start()
        for one in people:
            one.join()
        own, lasted = time.process_time() - own, time.perf_counter() - begun
        spent.append(processor_s(server.pid))
        used = memory(server.pid)
        starts[1]["most MB"] = used["most"]
        server.send_signal(signal.SIGINT)
        server.wait()
    rows = [
        figures("one", alone, spent[1] - spent[0]),
        figures(f"{PEOPLE} at once", together, spent[2] - spent[1]),
    ]
    notes = [
        f"start with columns {row['columns']}: "
        + ", ".join(f"{name} {value:.2f}" for name, value in row.items() if name != "columns")
        for row in starts
    ]
    notes.append(
        f"{DETECTIONS // part:,} detections. With {PEOPLE} at once the server took "
        f"{(spent[2] - spent[1]) / lasted:.0%} of a core, the clients {own / lasted:.0%}; load "
        f"{os.getloadavg()[0]:.1f} at the end on {os.cpu_count()} cores."
    )
    report(args, rows, notes)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
