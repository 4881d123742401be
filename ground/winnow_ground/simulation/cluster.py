"""Batches of missions on Dask: worker processes here, or a cluster."""

from __future__ import annotations

import asyncio
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from winnow_base.errors import MissingExtraError, NetworkError
from winnow_edge.errors import WinnowEdgeError

if TYPE_CHECKING:
    from distributed import Client

_WAIT_S = 10
"""How long a scheduler is waited for."""


@contextmanager
def connected(count: int, scheduler: str | None) -> Iterator[Client]:
    """A client of `count` worker processes here, or of the scheduler at an address.

    Raises NetworkError for a scheduler that is not there, has no workers, or goes away;
    MissingExtraError without `distributed`.
    """
    try:
        import dask
        from distributed import Client, LocalCluster
    except ImportError:
        raise MissingExtraError(
            "dask and distributed are not installed", hint="pip install 'winnow-ground[sweep]'"
        ) from None
    _hush()
    local: Any = None
    client: Any = None
    try:
        with dask.config.set({"distributed.admin.tick.limit": "1h"}):
            if scheduler is None:
                with warnings.catch_warnings():
                    # Another cluster here has the port that nobody asked for.
                    warnings.filterwarnings("ignore", "Port .* is already in use", UserWarning)
                    local = LocalCluster(
                        n_workers=count,
                        threads_per_worker=1,
                        processes=True,
                        dashboard_address=None,
                        silence_logs=logging.CRITICAL,
                    )
            try:
                client = Client(local or scheduler, timeout=_WAIT_S)
            except (OSError, ValueError, TimeoutError) as error:
                raise NetworkError(
                    "no scheduler answers",
                    where=scheduler or "here",
                    hint="start one with `dask scheduler`, and give its tcp://HOST:PORT",
                ) from error
            if scheduler is not None and not cores_of(client):
                raise NetworkError(
                    "the scheduler has no workers",
                    where=scheduler,
                    hint="start some with `dask worker " + scheduler + "`",
                )
            yield client
    finally:
        for one in (client, local):
            if one is not None:
                with suppress(Exception):
                    one.close(timeout=_WAIT_S)


def _hush() -> None:
    """Keep words about workers that come and go, and tracebacks about them, off the terminal."""
    for name in [*logging.root.manager.loggerDict, "distributed", "distributed.client"]:
        if name.partition(".")[0] in ("distributed", "tornado"):
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)


def cores_of(client: Client) -> int:
    """Threads of all workers."""
    return sum(client.nthreads().values())


def results(
    client: Client,
    world: Any,
    batches: Sequence[Any],
    seeds: int,
    play: Callable[[Any, Any, int], list[Any]],
) -> Iterator[list[Any]]:
    """Rows of batches as they end. What workers died at is left out.

    Raises what a mission raises, NetworkError where the scheduler dies.
    """
    from distributed import as_completed
    from distributed.client import FutureCancelledError
    from distributed.scheduler import KilledWorker

    try:
        (held,) = client.scatter([world], broadcast=True, hash=False)
        futures = client.map(
            play, [held] * len(batches), batches, [seeds] * len(batches), pure=False, retries=2
        )
        for future in as_completed(futures):
            try:
                yield future.result()
            except (KilledWorker, FutureCancelledError, asyncio.CancelledError):
                if client.status != "running":
                    raise
    except WinnowEdgeError:
        raise
    except (KilledWorker, FutureCancelledError, asyncio.CancelledError, OSError, TimeoutError) as e:
        raise NetworkError(
            "the scheduler is gone",
            where=getattr(client.scheduler, "address", "the scheduler"),
            hint="say the same again once it is back: what is done is kept",
        ) from e
