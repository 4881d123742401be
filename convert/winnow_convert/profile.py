"""Op profile: work, memory and a roofline estimate of the time per op on the boards that fly.

Roofline (Williams et al. 2009, doi:10.1145/1498765.1498785): an op takes at least as long as its
multiply-accumulates at peak rate and at least as long as its bytes at peak bandwidth; the estimate
is the longer of the two. It is a lower bound: no kernel reaches the peaks, real times are commonly
two to four times as long, and the use of the table is in comparing layers, not in promising rates.
Memory counts as if every op fetched its inputs from DRAM at the full rate of its bus; small nets
stay in the cache, where the bound is the multiply-accumulates'.

Instruction rates are Arm's (software optimization guides) and agree with LLVM's scheduling models:
`AArch64SchedA57.td`, which LLVM uses for the A72 too ("^(S|U)ML[AS]L": one of pipe W), and
`AArch64SchedNeoverseN1.td`, the A76's sibling ("^[SU]ML[AS]Lv": one of pipe V0; dot products:
either of two pipes V).
"""

from __future__ import annotations

from dataclasses import dataclass

from winnow_convert.flatbuffer import Graph, Op


@dataclass(frozen=True)
class Board:
    """One core (or accelerator): `dense` and `depthwise` multiply-accumulates per second, bytes per
    second of `memory`, bytes per second over which each tile and its logits travel (`link`, None:
    they do not), whether constants are fetched from memory each time (`streams_weights`)."""

    name: str
    dense: float
    depthwise: float
    memory: float
    link: float | None
    streams_weights: bool
    source: str


BOARDS = (
    Board(
        # One SIMD multiply pipe (F0), no dot product: SMLAL of 8 int8 products per cycle, 1.5 GHz.
        name="Cortex-A72",
        dense=8 * 1.5e9,
        depthwise=8 * 1.5e9,
        memory=3200e6 * 4,  # LPDDR4-3200, 32 bits wide
        link=None,
        streams_weights=True,
        source="Arm Cortex-A72 Software Optimization Guide (UAN 0016), ASIMD integer multiply; "
        "Raspberry Pi 4 Model B product brief (1.5 GHz, LPDDR4-3200)",
    ),
    Board(
        # Two SIMD pipes with SDOT: 2 x 16 int8 products per cycle, 2.4 GHz; depthwise kernels
        # have no use for the dot product and take one SMLAL of 8 per cycle.
        name="Cortex-A76",
        dense=32 * 2.4e9,
        depthwise=8 * 2.4e9,
        memory=4267e6 * 4,  # LPDDR4X-4267, 32 bits wide
        link=None,
        streams_weights=True,
        source="Arm Cortex-A76 Software Optimization Guide (PJDOC-466751330-7215), ASIMD dot "
        "product; Raspberry Pi 5 product brief (2.4 GHz, LPDDR4X-4267)",
    ),
    Board(
        name="Edge TPU",
        dense=2e12,  # 4 TOPS, an operation being a multiplication or an addition
        depthwise=2e12,
        memory=float("inf"),  # parameters and activations stay in the 8 MB on chip
        link=500e6,  # USB 3.0: 5 Gbit/s with 8b/10b coding
        streams_weights=False,
        source="Coral Accelerator Module datasheet 1.4 (4 TOPS peak, int8); USB Accelerator "
        "datasheet 1.4 (USB 3.0); USB 3.0 specification, 8b/10b",
    ),
)


@dataclass(frozen=True)
class OpProfile:
    """One op: work, memory alive while it runs, and `milliseconds` by board."""

    op: Op
    macs: int
    parameters: int
    alive_bytes: int
    milliseconds: dict[str, float]


@dataclass(frozen=True)
class Profile:
    """A whole graph; `milliseconds` by board include the transfer of tile and logits."""

    ops: tuple[OpProfile, ...]
    macs: int
    parameters: int
    weight_bytes: int
    arena_bytes: int
    milliseconds: dict[str, float]

    def shrink_first(self, board: str, count: int = 3) -> tuple[OpProfile, ...]:
        """The ops that take longest on a board: the layers to make smaller."""
        order = sorted(self.ops, key=lambda p: -p.milliseconds[board])
        return tuple(order[:count])


def profile(graph: Graph) -> Profile:
    """Profile every op of a graph."""
    alive = graph.alive()
    ops = tuple(
        OpProfile(
            op=op,
            macs=op.macs,
            parameters=op.parameters,
            alive_bytes=sum(t.bytes for t in live),
            milliseconds={board.name: 1e3 * _seconds(op, board) for board in BOARDS},
        )
        for op, live in zip(graph.ops, alive, strict=True)
    )
    return Profile(
        ops=ops,
        macs=graph.macs,
        parameters=sum(p.parameters for p in ops),
        weight_bytes=graph.weight_bytes,
        arena_bytes=graph.arena_bytes(),
        milliseconds={board.name: least_ms(graph, board) for board in BOARDS},
    )


def least_ms(graph: Graph, board: Board) -> float:
    """Milliseconds that a graph takes at least on a board, with the transfer of tile and logits."""
    travelling = sum(t.bytes for t in (*graph.inputs, *graph.outputs))
    link = travelling / board.link if board.link else 0.0
    return 1e3 * (sum(_seconds(op, board) for op in graph.ops) + link)


def _seconds(op: Op, board: Board) -> float:
    rate = board.depthwise if op.name == "DEPTHWISE_CONV_2D" else board.dense
    if op.name == "RESHAPE":
        return 0.0  # no kernel moves anything
    moved = op.moved_bytes
    if not board.streams_weights:
        moved -= sum(t.bytes for t in op.inputs if t.constant)
    return max(op.macs / rate, moved / board.memory)
