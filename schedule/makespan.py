"""What no schedule can beat where there are levels below the device: bounds on the makespan.

Around the first run of a node v, whatever the order: its ancestors have run before it,
its descendants run after it. What the ancestors (and the inputs) hold for v, its
descendants or the outputs is either in memory while v runs; or its node runs again
after v; or it was copied down before v began and is copied up after v has ended, since
`free` waits for copies and `prefetch` for computes. What has to go for v to fit is
divided between the last two in the best way, fractions allowed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from schedule.bounds import Floor, least_compute
from schedule.graph import Graph, kept_with_graph
from schedule.layout import Bools, Floats, Ints, Layout, distinct, mask_of, offsets
from schedule.levels import Level, levels_of
from schedule.sizes import parse_budget

#: Nodes times tensors up to which ancestors and descendants are listed: sets of 128 MiB.
_MOST_PAIRS = 1 << 30
#: What floating-point sums may be wrong by, as a share.
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class MakespanBound:
    """A makespan that no schedule is below, and what says so.

    Attributes
    ----------
    makespan
        In units of compute; infinite: nothing fits the budget and the capacities.
    node
        The node around whose first run too much has to be held; None where the bound
        is the compute of every node once.
    """

    makespan: int | float
    node: str | None = None


def level_floor(graph: Graph, levels: Sequence[Level]) -> Floor:
    """The least memory of the device that any schedule has in use at some step.

    As `memory_floor`, but an input that isn't freeable, and may be copied, counts only where
    it is read, and beside what the levels can't hold. O(nodes + edges), once for each graph.
    """
    layout, capacity = graph.layout, sum(level.capacity for level in levels)
    owner, names = layout.storage, layout.tensor_names
    resident = int(layout.memory[layout.resident].sum())
    stays = layout.resident & ~layout.offloadable
    start = np.arange(layout.n_inputs)
    end = np.unique(owner[layout.is_output])
    found = [Floor(int(layout.memory[start].sum()), None, tuple(names[t] for t in start))]
    end = np.union1d(end, np.flatnonzero(stays))
    left = resident - int(layout.memory[end[layout.resident[end]]].sum()) - capacity
    outputs = int(layout.memory[end].sum()) + max(0, left)
    found.append(Floor(outputs, None, tuple(names[t] for t in end)))
    needs, there = _read_and_written(graph)
    needs = np.where(layout.needed, needs + np.maximum(0, resident - there - capacity), -1)
    v = int(needs.argmax()) if len(needs) else -1
    if v >= 0 and needs[v] > outputs:
        read = distinct(owner[layout.reads[slice(*layout.first_read[v : v + 2])]])
        read = np.union1d(read, np.flatnonzero(stays))
        held = [*(names[t] for t in read), *(names[t] for t in layout.outputs_of[v])]
        found.append(Floor(int(needs[v]), layout.node_names[v], tuple(held)))
    return max(reversed(found), key=lambda floor: floor.memory)


@kept_with_graph
def _read_and_written(graph: Graph) -> tuple[Ints, Ints]:
    """Memory of what each node needs: what it reads, writes, works in, and what always stays.

    And that of the resident inputs among these.
    """
    layout = graph.layout
    stays = layout.resident & ~layout.offloadable
    always = int(layout.memory[stays].sum())
    reader = np.repeat(np.arange(layout.n_nodes), np.diff(layout.first_read))
    pairs = distinct(reader * layout.n_tensors + layout.storage[layout.reads])
    reader, stored = np.divmod(pairs, max(layout.n_tensors, 1))
    needs, there = layout.run_memory + always, np.full(layout.n_nodes, always, np.int64)
    reader, stored = reader[~stays[stored]], stored[~stays[stored]]
    np.add.at(needs, reader, layout.memory[stored])
    np.add.at(there, reader, np.where(layout.resident[stored], layout.memory[stored], 0))
    return needs, there


def makespan_bound(
    graph: Graph,
    budget: int | str,
    levels: Iterable[Level] | Level | None,
    stop: Callable[[], bool] | None = None,
) -> MakespanBound:
    """A lower bound on the makespan of every schedule, in any order.

    Parameters
    ----------
    graph
        The computation graph.
    budget, levels
        As for `schedule.solve`: memory of the device, and what is below it, a host first.
    stop
        Asked at every node; True: what is known by then has to do. None: nobody stops it.

    Returns
    -------
    MakespanBound
        At least the compute of every node that has to run, once.

    Notes
    -----
    Let v need `excess` memory beyond the budget with all that has to be kept around
    it, let q of it be computed again, at least compute X(q), and let the rest be
    copied: down until D at least, and up for U and what follows it. With `head` and
    `tail` the compute of v's ancestors and descendants, `cost` its own, and `all` every
    node's, the makespan is at least

        max(all + X, max(head, D) + cost + max(tail + X, U)).

    That is convex in the bytes that are copied, so its least value is found exactly.
    Levels below the first only add to the capacity. O(nodes · tensors · log tensors);
    where nodes times tensors exceed 2^30 it is the compute of every node once.

    Examples
    --------
    >>> import schedule
    >>> from schedule.makespan import makespan_bound
    >>> graph = schedule.example("chain", layers=8)
    >>> slow, fast = (schedule.Level("host", 99, rate, rate) for rate in (0.25, 10))
    >>> [round(makespan_bound(graph, 6, [level]).makespan, 6) for level in (slow, fast)]
    [19.0, 17]
    """
    limit, below = parse_budget(budget, graph), levels_of(levels)
    least = MakespanBound(least_compute(graph))
    layout = graph.layout
    if not below or layout.n_nodes * layout.n_tensors > _MOST_PAIRS:
        return least
    around = _Around(graph, below)
    best = least
    for v in np.flatnonzero(layout.needed).tolist():
        if stop is not None and stop():
            break
        found = around.bound(v, limit)
        if found > best.makespan * (1 + _ROUNDING):
            best = MakespanBound(found, layout.node_names[v])
    return best


class _Around:
    """What has to be kept around the first run of each node, and what else costs."""

    def __init__(self, graph: Graph, levels: Sequence[Level]) -> None:
        layout = graph.layout
        self.layout, self.total = layout, float(least_compute(graph))
        self.capacity = sum(level.capacity for level in levels)
        self.down, self.up = (_rate(layout, levels[0], way) for way in ("down", "up"))
        self.stays: Bools = layout.resident & ~layout.offloadable
        self.may_rerun = np.zeros(layout.n_tensors, dtype=bool)
        made = layout.producer >= 0
        self.may_rerun[made] = layout.recomputable[layout.producer[made]]
        self.before, self.after = _lineage(layout)
        self.asked = _asked_later(layout)
        self.release, self.later = self._windows()

    def bound(self, v: int, budget: int) -> float:
        """The least makespan with which v's first run can be within the budget."""
        layout = self.layout
        before, after = (_flags(sets[v], layout.n_nodes) for sets in (self.before, self.after))
        made = np.ones(layout.n_tensors, dtype=bool)
        made[layout.n_inputs :] = before[layout.producer[layout.n_inputs :]]
        read = distinct(layout.storage[layout.reads[slice(*layout.first_read[v : v + 2])]])
        kept = made & _flags(self.asked[v], layout.n_tensors)
        kept[read] = True
        kept |= self.stays
        excess = int(layout.memory[kept].sum()) + int(layout.run_memory[v]) - budget
        if excess <= 0:
            return self.total
        kept[read] = False  # these have to be there
        kept &= layout.offloadable
        sizes, costs = self._reruns(kept)
        copied = min(int(layout.memory[kept].sum()), self.capacity)
        if excess - int(sizes.sum()) > copied:
            return math.inf
        times = _Times(
            self.total,
            float(layout.compute[before].sum()),
            float(layout.compute[v]),
            float(layout.compute[after].sum()),
            float(self.release[kept].min(initial=math.inf)),
            float(self.later[kept].min(initial=math.inf)),
            self.down,
            self.up,
        )
        return _least(times, sizes, costs, excess, copied)

    def _windows(self) -> tuple[Floats, Floats]:
        """Before each storage there is so much compute, and after whoever reads it, shape (m,)."""
        layout, costs = self.layout, self.layout.compute
        with_ancestors, with_descendants = (
            costs + [costs[_flags(bits, layout.n_nodes)].sum() for bits in sets]
            for sets in (self.before, self.after)
        )
        release = np.zeros(layout.n_tensors)
        made = layout.producer >= 0
        release[made] = with_ancestors[layout.producer[made]]
        later = np.full(layout.n_tensors, math.inf)
        reader = np.repeat(np.arange(layout.n_nodes), np.diff(layout.first_read))
        needed = layout.needed[reader]
        owner = layout.storage[layout.reads]
        np.minimum.at(later, owner[needed], with_descendants[reader[needed]])
        later[layout.storage[layout.is_output]] = 0
        return release, later

    def _reruns(self, kept: Bools) -> tuple[Ints, Floats]:
        """What running nodes again gives back, and what that costs, the cheapest first."""
        layout = self.layout
        again = kept & self.may_rerun
        sizes = np.zeros(layout.n_nodes, np.int64)
        np.add.at(sizes, layout.producer[again], layout.memory[again])
        nodes = np.flatnonzero(sizes)
        ratio = layout.compute[nodes] / sizes[nodes]
        nodes = nodes[np.argsort(ratio, kind="stable")]
        return sizes[nodes], layout.compute[nodes]


@dataclass(frozen=True, slots=True)
class _Times:
    """What is fixed of a makespan: computes, and what a copied byte takes.

    No copy down begins before `release`, and `later` is still to compute after the last
    copy up; they are no more than `head` and `tail`.
    """

    total: float
    head: float
    cost: float
    tail: float
    release: float
    later: float
    down: float
    up: float

    def lines(self, rerun: Floats, copied: Ints) -> Floats:
        """Shape (5, k): what a makespan is at least, for each division of the excess."""
        down, up = self.release + self.down * copied, self.later + self.up * copied
        return np.stack(
            [
                self.total + rerun,
                self.head + self.cost + self.tail + rerun,
                self.head + self.cost + up,
                down + self.cost + self.tail + rerun,
                down + self.cost + up,
            ]
        )


def _least(times: _Times, sizes: Ints, costs: Floats, excess: int, most: int) -> float:
    """The least makespan over all divisions of the excess; up to `most` can be copied."""
    given = offsets(sizes)
    spent = np.append(0.0, np.cumsum(costs))
    low, high = max(0, excess - int(given[-1])), min(most, excess)
    corners = excess - given
    copied = np.unique(np.append(corners[(corners > low) & (corners < high)], [low, high]))
    rerun = np.interp(excess - copied, given, spent)
    lines = times.lines(rerun, copied)
    values = lines.max(axis=0)
    at = int(values.argmin())
    found = float(values[at])
    for left in (at - 1, at):  # between two of these points all lines are straight
        if 0 <= left < len(copied) - 1:
            found = min(found, _lowest(lines[:, left], lines[:, left + 1]))
    return found * (1 - _ROUNDING)


def _lowest(left: Floats, right: Floats) -> float:
    """The least value of the highest of several straight lines, given at both ends."""
    slope = right - left
    one, other = np.triu_indices(len(left), 1)
    apart = slope[one] - slope[other]
    crossing = apart != 0
    where = (left[other] - left[one])[crossing] / apart[crossing]
    where = where[(where > 0) & (where < 1)]
    if not len(where):
        return math.inf
    return float((left[:, None] + slope[:, None] * where).max(axis=0).min())


def _rate(layout: Layout, level: Level, way: str) -> float:
    """The least time that a byte takes: in the largest copy there can be."""
    largest = max(int(layout.memory.max(initial=0)), 1)
    return (level.time_down if way == "down" else level.time_up)(largest) / largest


def _lineage(layout: Layout) -> tuple[list[int], list[int]]:
    """The ancestors and the descendants of each node that has to run, as sets of bits."""
    needed, makers = layout.needed.tolist(), layout.producer.tolist()
    before, after = [0] * layout.n_nodes, [0] * layout.n_nodes
    read = [
        {makers[t] for t in reads} - {-1} if needed[v] else set()
        for v, reads in enumerate(layout.reads_of)
    ]
    for v in range(layout.n_nodes):
        for u in read[v]:
            before[v] |= before[u] | 1 << u
    for v in reversed(range(layout.n_nodes)):
        for u in read[v]:
            after[u] |= after[v] | 1 << v
    return before, after


def _asked_later(layout: Layout) -> list[int]:
    """Storages that each node's descendants read, or that are asked for at the end."""
    owner = layout.storage.tolist()
    reads = [mask_of({owner[t] for t in each}) for each in layout.reads_of]
    outputs = mask_of(layout.storage[layout.is_output].tolist())
    asked = [outputs] * layout.n_nodes
    needed, makers = layout.needed.tolist(), layout.producer.tolist()
    for v in reversed(range(layout.n_nodes)):
        if needed[v]:
            for u in {makers[t] for t in layout.reads_of[v]} - {-1}:
                asked[u] |= asked[v] | reads[v]
    return asked


def _flags(bits: int, count: int) -> Bools:
    """A set of bits as flags, shape (count,)."""
    data = np.frombuffer(bits.to_bytes(-(-count // 8), "little"), np.uint8)
    return np.unpackbits(data, count=count, bitorder="little").astype(bool)
