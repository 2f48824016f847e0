"""What no schedule can beat."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import reduce
from operator import or_

import numpy as np

from schedule.graph import Graph, kept_with_graph
from schedule.layout import Bools, Ints, Layout, distinct, mask_of, offsets
from schedule.values import listed, total

#: Compute and bound count as equal when they differ by less than this share of
#: the compute of every node once: 0.00001 percentage points of overhead.
TOLERANCE = 1e-7
#: Nodes times tensors up to which ancestors and descendants are listed: sets of 128 MiB.
_MOST_PAIRS = 1 << 30
#: The same where every solve asks: sets of 16 MiB, in a fraction of a second.
_FEW_PAIRS = 1 << 27


@dataclass(frozen=True, slots=True)
class Floor:
    """A budget below which no schedule exists, and what sets it.

    Attributes
    ----------
    memory
        The least budget that isn't excluded.
    node
        The node that needs it; None where the inputs alone or the outputs
        together do.
    tensors
        What has to be in memory at once then, beside `node`'s workspace.
    """

    memory: int
    node: str | None
    tensors: tuple[str, ...]

    def __str__(self) -> str:
        if self.node is None:
            return f"{self.memory} for {listed(self.tensors)} at once"
        return f"{self.memory} while node {self.node!r} runs"


@kept_with_graph
def memory_floor(graph: Graph) -> Floor:
    """The least memory that any schedule in any order has in use at some step.

    The largest of: all inputs (they are live at the start), all outputs and
    resident inputs (they are live at the end), and, for each node that has to
    run, the resident inputs, what it reads, what it writes, its workspace, and what
    can't be written again (inputs, and results of nodes that must not run twice) of
    what its ancestors leave to its descendants: that is live at its first run.
    O(edges · what can't be written again / 64); where nodes times these exceed 2^27,
    they are left out.
    """
    layout = graph.layout
    owner = layout.storage
    resident = layout.resident
    names = layout.tensor_names
    start = np.arange(layout.n_inputs)
    end = np.unique(owner[layout.is_output | resident])
    reader = np.repeat(np.arange(layout.n_nodes), np.diff(layout.first_read))
    pairs = distinct(reader * layout.n_tensors + owner[layout.reads])
    reader, stored = np.divmod(pairs, max(layout.n_tensors, 1))
    extra = ~resident[stored]
    reads = np.bincount(reader[extra], minlength=layout.n_nodes)  # how many, for the slices below
    sums = offsets(layout.memory[stored[extra]])
    slices = offsets(reads)
    need = sums[slices[1:]] - sums[slices[:-1]]
    need += layout.run_memory + layout.resident_memory
    lasting = _Lasting(layout)
    need += lasting.memory
    need[~layout.needed] = 0
    found = [
        Floor(int(layout.memory[start].sum()), None, tuple(names[t] for t in start)),
        Floor(int(layout.memory[end].sum()), None, tuple(names[t] for t in end)),
    ]
    if layout.n_nodes:
        v = int(need.argmax())
        read = layout.reads[layout.first_read[v] : layout.first_read[v + 1]]
        written = range(layout.first_output[v], layout.first_output[v + 1])
        others = np.flatnonzero(resident), owner[read], lasting.during(v)
        together = np.unique(np.concatenate(others))
        tensors = [names[t] for t in together.tolist()] + [names[t] for t in written]
        found.append(Floor(int(need[v]), layout.node_names[v], tuple(tensors)))
    return max(reversed(found), key=lambda floor: floor.memory)


class _Lasting:
    """What can't be written again is live from its only run to its last read: at each node.

    Parameters
    ----------
    layout
        The graph as arrays.

    Attributes
    ----------
    memory
        Shape (n,): of what is live at each node's first run, and neither read nor written
        by it, at least.
    """

    def __init__(self, layout: Layout) -> None:
        owner = layout.storage
        is_owner = owner == np.arange(layout.n_tensors)
        once = np.append(~layout.recomputable, True)[layout.producer]  # the last: inputs
        self._storages = np.flatnonzero(is_owner & once & ~layout.resident & (layout.memory > 0))
        self._sizes = layout.memory[self._storages]
        self._live = [0] * layout.n_nodes
        self.memory = np.zeros(layout.n_nodes, np.int64)
        count = len(self._storages)
        if not 0 < count * layout.n_nodes <= _FEW_PAIRS:
            return
        bit = dict(zip(self._storages.tolist(), (1 << k for k in range(count))))
        bits = [bit.get(t, 0) for t in owner.tolist()]
        made, asked = _made_and_asked(
            _before(layout),
            lambda v: _union(bits[t] for t in layout.outputs_of[v]),
            lambda v: _union(bits[t] for t in layout.reads_of[v]),
            _union(bits[: layout.n_inputs]),
            _union(bits[t] for t in np.flatnonzero(layout.is_output)),
        )
        for v in made:
            read = _union(bits[t] for t in layout.reads_of[v])
            self._live[v] = made[v] & asked[v] & ~read
        sums = {live: int(self._sizes[self._chosen(live)].sum()) for live in set(self._live)}
        self.memory[:] = [sums[live] for live in self._live]

    def during(self, v: int) -> Ints:
        """The storages of `memory` at node v."""
        found: Ints = self._storages[self._chosen(self._live[v])]
        return found

    def _chosen(self, live: int) -> Bools:
        """Shape (storages,): which bits are set."""
        return _flags(live, len(self._storages))


def _before(layout: Layout) -> dict[int, set[int]]:
    """The needed nodes, ascending, each with those that write what it reads."""
    writers = layout.producer.tolist()
    needed = np.flatnonzero(layout.needed).tolist()
    return {v: {writers[t] for t in layout.reads_of[v]} - {-1} for v in needed}


def _made_and_asked(
    before: dict[int, set[int]],
    written: Callable[[int], int],
    read: Callable[[int], int],
    start: int,
    end: int,
    in_time: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> tuple[dict[int, int], dict[int, int]]:
    """What a node's ancestors have written before it, and what is read after it, by node.

    As sets of bits, as `written`, `read`, `start` (there at the start) and `end` (at the end)
    are; `in_time` may end it by an exception.
    """
    made: dict[int, int] = {}
    for v in in_time(before):
        made[v] = start | _union(made[u] | written(u) for u in before[v])
    asked = dict.fromkeys(before, end)
    for v in in_time(reversed(before)):
        reads = asked[v] | read(v)
        for u in before[v]:
            asked[u] |= reads
    return made, asked


def _union(sets: Iterable[int]) -> int:
    return reduce(or_, sets, 0)


def _flags(bits: int, count: int) -> Bools:
    """Shape (count,): which bits of a set are set."""
    data = np.frombuffer(bits.to_bytes(-(-count // 8), "little"), np.uint8)
    found: Bools = np.unpackbits(data, count=count, bitorder="little").astype(bool)
    return found


def reordering_floor(graph: Graph, stop: Callable[[], bool] | None = None) -> int:
    """The least memory that any order of the nodes has in use at some step, nothing recomputed.

    Parameters
    ----------
    graph
        The computation graph.
    stop
        Asked at every node; True: the `memory_floor` has to do. None: nobody stops it.

    Returns
    -------
    int
        In the graph's unit; at least `memory_floor`. No schedule that runs every
        node at most once has a lower peak, whatever its order.

    Notes
    -----
    While node v runs, all that its ancestors (or the inputs) hold for v, its
    descendants or the outputs is in memory, because nothing can be recomputed.
    Of v's ancestors one runs last: then the same holds for what all the others
    left for it and its descendants. And one of v's descendants runs first: then
    all that v's descendants read of its ancestors' is live. Which one that is
    depends on the order, so that the least of these counts.

    O(edges · tensors), on sets of bits; where nodes times tensors exceed 2^30 it
    is the `memory_floor`. Deciding whether an order with a given peak exists is
    NP-complete (Sethi 1975, doi:10.1137/0204020).

    Examples
    --------
    >>> import schedule
    >>> graph = schedule.example("diamonds")
    >>> schedule.memory_floor(graph).memory, schedule.reordering_floor(graph)
    (28, 30)
    """
    floor = memory_floor(graph).memory
    if graph.layout.n_nodes * graph.layout.n_tensors > _MOST_PAIRS:
        return floor
    try:
        return _lineage_floor(graph, stop)
    except _StoppedError:
        return floor


class _StoppedError(Exception):
    """There is no time to go on."""


@kept_with_graph
def _lineage_floor(graph: Graph, stop: Callable[[], bool] | None) -> int:
    return _Lineage(graph, stop).floor(memory_floor(graph).memory)


class _Lineage:
    """What the ancestors of each node write, and what its descendants read, as sets of bits.

    Bit t of a set stands for tensor t, and a storage for the tensor that owns it. As every
    node writes a tensor, what was made also says which nodes ran.
    """

    def __init__(self, graph: Graph, stop: Callable[[], bool] | None) -> None:
        self._layout, self._stop = graph.layout, stop
        layout = graph.layout
        self._nodes = np.flatnonzero(layout.needed).tolist()
        self._memory = np.where(layout.resident, 0, layout.memory)
        run_memory = layout.run_memory + layout.resident_memory
        self._run_memory: list[int] = run_memory.tolist()
        self._before = _before(layout)
        self._after: dict[int, set[int]] = {v: set() for v in self._nodes}
        for v in self._in_time(self._nodes):
            for u in self._before[v]:
                self._after[u].add(v)
        # What is live before a node runs, and what is asked for after it, and while it runs, too.
        self._made, self._asked_later = _made_and_asked(
            self._before,
            lambda v: mask_of(layout.outputs_of[v]),
            self._reads,
            mask_of(range(layout.n_inputs)),
            mask_of(layout.storage[layout.is_output]),
            self._in_time,
        )
        self._asked = {v: self._asked_later[v] | self._reads(v) for v in self._nodes}

    def _reads(self, v: int) -> int:
        return mask_of(self._layout.storage[self._layout.reads_of[v]])

    def floor(self, least: int) -> int:
        """The largest of what has to be in use around each node, and `least`."""
        found = max([least, *map(self._meanwhile, self._in_time(self._nodes))])
        for v in self._in_time(self._nodes):
            found = _raised(found, self._before_it(v))
            found = _raised(found, self._after_it(v))
        return found

    def _in_time(self, nodes: Iterable[int]) -> Iterator[int]:
        """These nodes, as long as nobody wants an end."""
        for v in nodes:
            if self._stop is not None and self._stop():
                raise _StoppedError
            yield v

    def _meanwhile(self, v: int) -> int:
        """Memory in use while v runs."""
        return self._run_memory[v] + self._size(self._made[v] & self._asked[v])

    def _before_it(self, v: int) -> Iterator[int]:
        """Memory in use while the last of v's ancestors runs, for each that can be it."""
        made, earlier = self._made[v], 0
        for u in self._before[v]:
            earlier |= self._made[u]
        for u in self._before[v]:
            written = mask_of(self._layout.outputs_of[u])
            if not earlier & written:
                yield self._run_memory[u] + self._size(made & ~written & self._asked[u])

    def _after_it(self, v: int) -> Iterator[int]:
        """Memory in use while the first of v's descendants runs, for each that can be it."""
        asked, after = self._asked_later[v], self._after[v]
        later = mask_of(self._layout.outputs_of[w].start for w in after)
        for w in after:
            if not self._made[w] & later:
                yield self._run_memory[w] + self._size(self._made[w] & asked)

    def _size(self, storages: int) -> int:
        return int(self._memory @ _flags(storages, self._layout.n_tensors))


def _raised(floor: int, cases: Iterator[int]) -> int:
    """The floor, or the least of all cases where that is more."""
    least = None
    for memory in cases:
        if memory <= floor:
            return floor
        least = memory if least is None else min(least, memory)
    return floor if least is None else least


@kept_with_graph
def least_compute(graph: Graph) -> int | float:
    """Compute of every node that has to run, once: no schedule takes less."""
    needed = graph.layout.needed.tolist()
    return total(node.compute for node, is_needed in zip(graph.nodes, needed) if is_needed)


def round_up(graph: Graph, bound: float) -> int | float:
    """The least compute ≥ `bound` that a schedule of `graph` can have.

    Where all costs are integers, every schedule takes the least compute plus a
    multiple of the costs' greatest common divisor, so a fractional bound from
    a floating-point solver can be rounded up to the next such value (after a
    billionth is taken off for that solver's own rounding).
    """
    least = least_compute(graph)
    safe = bound - 1e-9 * max(abs(bound), float(graph.compute))
    if safe <= least:
        return least
    step = cost_step(graph)
    return int(least) + step * math.ceil((safe - least) / step) if step else safe


@kept_with_graph
def cost_step(graph: Graph) -> int:
    """The greatest common divisor of all costs; 0 where some cost is no integer.

    The computes of two schedules of one graph differ by a multiple of it.
    """
    costs = [node.compute for node in graph.nodes]
    if not all(isinstance(cost, int) for cost in costs):
        return 0
    return math.gcd(*(int(cost) for cost in costs))


def round_up_memory(graph: Graph, needed: int) -> int:
    """The least peak ≥ `needed` that a schedule of `graph` can have.

    Memory in use is a sum of sizes, and so a multiple of their greatest common divisor.
    """
    unit = memory_unit(graph)
    return -(-needed // unit) * unit


def round_down_memory(graph: Graph, budget: int) -> int:
    """The largest peak ≤ `budget` that a schedule of `graph` can have, as far as sizes say."""
    return budget - budget % memory_unit(graph)


@kept_with_graph
def memory_unit(graph: Graph) -> int:
    """The greatest common divisor of all sizes and workspaces; 1 where all are 0."""
    sizes = (tensor.memory for tensor in graph.tensors.values())
    return math.gcd(*sizes, *(node.workspace for node in graph.nodes)) or 1
