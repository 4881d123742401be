"""Winnow on board: stream a swath through a tile classifier, keep and rank what is worth sending.

Depends on numpy, ai-edge-litert, pillow and spacepackets alone, and imports nothing of the ground.
The names of `__all__` are what other programs may build on (docs/api.md). Each is loaded when it is
first used, so that importing this package costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from winnow_edge.bundle import Bundle, find_bundle, open_bundle, shipped_bundles
    from winnow_edge.downlink.container import Container, Item, encode_container
    from winnow_edge.downlink.packets import packetize
    from winnow_edge.downlink.reader import LinkCounts, read_containers
    from winnow_edge.errors import WinnowEdgeError
    from winnow_edge.loop.flight import Flight
    from winnow_edge.loop.interpreters import Interpreters
    from winnow_edge.loop.run import run_swath
    from winnow_edge.loop.settings import Settings
    from winnow_edge.loop.summary import SwathSummary
    from winnow_edge.mission import Mission, load_mission
    from winnow_edge.prepare.chain import Chain, open_lines
    from winnow_edge.products.kinds import Kind
    from winnow_edge.products.ranking import rank
    from winnow_edge.store.store import Store

__version__ = "0.1.0"

_HOMES = {
    "bundle": ("Bundle", "find_bundle", "open_bundle", "shipped_bundles"),
    "downlink.container": ("Container", "Item", "encode_container"),
    "downlink.packets": ("packetize",),
    "downlink.reader": ("LinkCounts", "read_containers"),
    "errors": ("WinnowEdgeError",),
    "loop.flight": ("Flight",),
    "loop.interpreters": ("Interpreters",),
    "loop.run": ("run_swath",),
    "loop.settings": ("Settings",),
    "loop.summary": ("SwathSummary",),
    "mission": ("Mission", "load_mission"),
    "prepare.chain": ("Chain", "open_lines"),
    "products.kinds": ("Kind",),
    "products.ranking": ("rank",),
    "store.store": ("Store",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "Bundle",
    "Chain",
    "Container",
    "Flight",
    "Interpreters",
    "Item",
    "Kind",
    "LinkCounts",
    "Mission",
    "Settings",
    "Store",
    "SwathSummary",
    "WinnowEdgeError",
    "encode_container",
    "find_bundle",
    "load_mission",
    "open_bundle",
    "open_lines",
    "packetize",
    "rank",
    "read_containers",
    "run_swath",
    "shipped_bundles",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
