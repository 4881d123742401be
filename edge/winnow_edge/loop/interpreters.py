"""n single-thread interpreters in n threads, fed with the tiles of one block after the other.

LiteRT releases the interpreter lock while it runs, so threads do; one interpreter each is faster
than one interpreter with n threads, and logits do not depend on how tiles are shared out.
"""

from __future__ import annotations

import itertools
import os
import queue
import sys
import threading
from collections.abc import Sequence
from types import TracebackType

import numpy as np

from winnow_edge.bundle import Bundle, Int8Array, Tile
from winnow_edge.loop.decision import Borderline, SecondViews
from winnow_edge.loop.verifier import Verifier
from winnow_edge.runtimes import Classifier, load_classifier


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0))


class Job:
    """Tiles to be shown to the net and, once `wait` returns, their logits, int8 (n, classes), and
    the `second` views of those that are `borderline` (None: there are no second views).

    Whoever ran a tile asks whether to run its mirror image too, so that it depends on the tile
    alone. It asks when no tile is left: right after a net the caches hold nothing of Python's, and
    the question takes several times as long.
    """

    def __init__(
        self,
        tiles: Sequence[Tile],
        classes: int,
        workers: int,
        borderline: Borderline | None = None,
    ) -> None:
        self.tiles = tiles
        self.logits = np.empty((len(tiles), classes), np.int8)
        self.second: SecondViews | None = None
        self._borderline = borderline
        if borderline is not None:
            self._mirrored = np.empty_like(self.logits)
            self._twice = np.zeros(len(tiles), np.bool_)
        self._next = itertools.count()
        self._workers = workers
        self._ended: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()

    def work(self, classifier: Classifier) -> None:
        """Take tiles until none is left; every worker calls this once."""
        infer, tiles, classes = classifier.infer, self.tiles, self.logits.shape[1]
        count, following = len(tiles), self._next
        # Logits go out through a memoryview, which takes them faster than an array.
        flat = self.logits.reshape(-1).data
        try:
            # next() on a count is one atomic step: each tile goes to one worker.
            if self._borderline is None:
                while (index := next(following)) < count:
                    infer(tiles[index], flat[index * classes : (index + 1) * classes])
            else:
                mine = []
                while (index := next(following)) < count:
                    infer(tiles[index], flat[index * classes : (index + 1) * classes])
                    mine.append(index)
                borderline, rows = self._borderline, self.logits
                for index in [n for n in mine if borderline(rows[n])]:
                    classifier.infer_mirrored(tiles[index], self._mirrored[index])
                    self._twice[index] = True
        except BaseException as error:
            self._ended.put(error)
        else:
            self._ended.put(None)

    def wait(self) -> Int8Array:
        """Wait until every tile is done; raises what a worker raised."""
        for _ in range(self._workers):
            if (error := self._ended.get()) is not None:
                raise error
        self._workers = 0
        if self._borderline is not None:
            twice = np.flatnonzero(self._twice)
            self.second = SecondViews(twice, self._mirrored[twice])
        return self.logits


def _verifier(bundle: Bundle, runtime: str) -> Verifier | None:
    second = bundle.verifier
    if second is None:
        return None
    return Verifier(second, load_classifier(second, "litert" if runtime == "edgetpu" else runtime))


SWITCH_SECONDS = 2e-5
"""Python's switch interval while interpreters run: a thread that comes back from its net may wait
so long for the interpreter lock while another decides (docs/notebook/flight-loop.md)."""


class Interpreters:
    """A pool of `threads` interpreters of one bundle (0: one a core); a context manager.

    Only the first goes through the golden self-test: the others run the same code on the same
    bytes. `verifier` is the second stage (None: the bundle has none, or it is not wanted), with an
    interpreter of its own for the thread that decides; on an Edge TPU's board it runs on LiteRT.
    Raises what `load_classifier` raises.
    """

    def __init__(
        self, bundle: Bundle, runtime: str, threads: int = 0, *, verifier: bool = True
    ) -> None:
        self.bundle = bundle
        first = load_classifier(bundle, runtime)
        self.requested, self.actual = runtime, first.actual
        # An Edge TPU is one device: more interpreters would only queue up before it.
        self.threads = 1 if first.actual == "edgetpu" else threads or cores()
        self.classifiers = [first] + [
            load_classifier(bundle, first.actual, self_test=False) for _ in range(1, self.threads)
        ]
        self.verifier = _verifier(bundle, first.actual) if verifier else None
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._workers = [
            threading.Thread(target=self._run, args=(c,), name=f"interpreter-{n}", daemon=True)
            for n, c in enumerate(self.classifiers)
        ]
        self._switch_seconds = sys.getswitchinterval()
        sys.setswitchinterval(min(SWITCH_SECONDS, self._switch_seconds))
        for worker in self._workers:
            worker.start()

    def submit(self, tiles: Sequence[Tile], borderline: Borderline | None = None) -> Job:
        """Hand over quantized tiles, views that must stay until they are done; those that are
        `borderline` are shown twice."""
        job = Job(tiles, len(self.bundle.manifest.classes), self.threads, borderline)
        for _ in self._workers:
            self._jobs.put(job)
        return job

    def close(self) -> None:
        """Let the workers finish and end them."""
        for _ in self._workers:
            self._jobs.put(None)
        for worker in self._workers:
            worker.join()
        if self._workers:
            sys.setswitchinterval(self._switch_seconds)
        self._workers = []

    def __enter__(self) -> Interpreters:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _run(self, classifier: Classifier) -> None:
        while (job := self._jobs.get()) is not None:
            job.work(classifier)
