"""PyTorch's activation memory budget: a knapsack over what the forward pass leaves behind."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar, Literal, Protocol, get_args

import numpy as np

from schedule.errors import BadOption
from schedule.graph import Graph
from schedule.layout import Bools, Floats, Ints
from schedule.lowering import replayed
from schedule.memory import Trace
from schedule.solvers.classics.demand import Demand
from schedule.solvers.classics.segments import offer_better
from schedule.solvers.contract import Deadline, Incumbent, Problem, Proof
from schedule.values import is_one_of, shown

Method = Literal["dp", "greedy"]

#: Ratio without a budget.
_RATIO = 0.5
#: Under a budget all multiples of 1 / `_STEPS` are tried as ratios, first tenths and hundredths.
_STEPS = 1000
#: Units of the dynamic program's capacity, at most and at least; and cells of its table.
_UNITS = (100, 10_000)
_CELLS = 100_000_000


@dataclass(frozen=True, slots=True)
class Knapsack:
    """Save what fits a share of the activations' memory; recompute the rest when it is read.

    What `torch._functorch.config.activation_memory_budget` asks of PyTorch's
    partitioner (`choose_saved_values_set`), on any graph with a backward pass.
    At ratio 1 all that the backward pass reads is saved, at 0 nothing is. In
    between a 0/1 knapsack picks the forward nodes whose results are saved: the
    most compute within that share of the memory. The rest is freed at the
    boundary to the backward pass, and recomputed once: all that a backward node
    lacks right before it runs, in the program's order, held to its last use.

    Under a budget, the ratio whose replayed peak fits at the least compute:
    the peak doesn't fall with the ratio, so many are tried.

    Parameters
    ----------
    ratio
        Share from 0 to 1 of the memory of what is saved at 1; None: as above,
        and 0.5 without a budget.
    method
        The knapsack by dynamic programming (`dp`; sizes in units of at least a
        ten-thousandth of that memory, rounded up), or by compute for each unit
        of memory (`greedy`).

    Notes
    -----
    O(units · nodes) for the knapsacks of all ratios together, and O(nodes +
    edges) for each ratio's plan.
    """

    ratio: float | None = None
    method: Method = "dp"
    counts_work: ClassVar[bool] = True
    name: str = "knapsack"
    summary: str = "saves what a knapsack picks within a share of memory (PyTorch's memory budget)"

    def __post_init__(self) -> None:
        if not is_one_of(self.method, get_args(Method)):
            raise BadOption(f"method is {shown(self.method)}; it is one of dp, greedy")
        if self.ratio is not None and not 0 <= self.ratio <= 1:
            raise BadOption(f"the ratio is {self.ratio!r}; it has to be from 0 to 1")

    def supports(self, graph: Graph) -> str | None:
        """Graphs with a backward pass."""
        if not graph.layout.backward.any():
            return "it has no backward nodes for which anything could be saved"
        return None

    def improve(self, problem: Problem, incumbent: Incumbent, deadline: Deadline) -> Proof:
        """The plan of the ratio, or of the best one under the budget."""
        activations = Activations(problem.graph)
        if self.ratio is None and problem.budget is not None:
            offer_better(problem, incumbent, deadline, self._plans(activations))
            return Proof()
        ratio = _RATIO if self.ratio is None else self.ratio
        if ratio == 1:
            saved = activations.all
        else:
            capacity = math.floor(Fraction(ratio) * activations.memory)
            saved = self._packing(activations).pick(capacity)
        incumbent.offer(activations.plan(saved))
        return Proof()

    def _packing(self, activations: Activations) -> Packing:
        kind = Table if self.method == "dp" else Densest
        return kind(activations.sizes, activations.computes, activations.memory)

    def _plans(self, activations: Activations) -> Iterator[Trace]:
        """The plans of all ratios that save something else, from 1 down, few at first."""
        yield activations.plan(activations.all)
        packing = self._packing(activations)
        seen = {activations.all.tobytes()}
        for stride in (_STEPS // 10, _STEPS // 100, 1):
            for step in range(_STEPS, -1, -stride):
                saved = packing.pick(activations.memory * step // _STEPS)
                if saved.tobytes() not in seen:
                    seen.add(saved.tobytes())
                    yield activations.plan(saved)


class Packing(Protocol):
    """What a knapsack takes, at every capacity up to a largest one."""

    def pick(self, capacity: int) -> Bools:
        """Shape (k,): items of together at most this size, and of much value."""


class Table:
    """The most value at each capacity, by dynamic programming; where that is equal, later items.

    Sizes are in units of their greatest common divisor, or where these would be too
    many, in larger ones: then rounded up, and capacities down, so that what is
    picked always fits.

    Parameters
    ----------
    sizes, values
        Shape (k,): sizes are > 0, values ≥ 0. What has no value is never picked.
    most
        The largest capacity that will be asked for.

    Notes
    -----
    O(k · units) time and bytes.
    """

    def __init__(self, sizes: Ints, values: Floats, most: int) -> None:
        fewest, largest = _UNITS
        units = min(largest, max(fewest, _CELLS // max(len(sizes), 1)))
        self._common = math.gcd(*sizes.tolist()) or 1
        self._unit = max(1, -(-(most // self._common) // units))
        self._sizes: list[int] = (-(-(sizes // self._common) // self._unit)).tolist()
        length = self._units(most) + 1
        value = np.zeros(length)
        self._taken: Bools = np.zeros((len(sizes), length), np.bool_)
        for item in reversed(range(len(sizes))):
            size = self._sizes[item]
            if size < length:
                with_it = value[: length - size] + values[item]
                better = with_it > value[size:]
                self._taken[item, size:] = better
                value[size:] = np.where(better, with_it, value[size:])

    def _units(self, capacity: int) -> int:
        return capacity // self._common // self._unit

    def pick(self, capacity: int) -> Bools:
        """Shape (k,): the items of most value that fit. O(k)."""
        left = self._units(capacity)
        picked: Bools = np.zeros(len(self._sizes), np.bool_)
        for item, size in enumerate(self._sizes):
            if self._taken[item, left]:
                picked[item] = True
                left -= size
        return picked


class Densest:
    """Items by value for each unit of size, as long as they fit; the parameters as for `Table`."""

    def __init__(self, sizes: Ints, values: Floats, most: int) -> None:
        self._sizes: list[int] = sizes.tolist()
        order = np.lexsort((-np.arange(len(sizes)), -values / sizes))
        self._order: list[int] = order[values[order] > 0].tolist()

    def pick(self, capacity: int) -> Bools:
        """Shape (k,): the items that are picked. O(k)."""
        picked: Bools = np.zeros(len(self._sizes), np.bool_)
        for item in self._order:
            if self._sizes[item] <= capacity:
                picked[item] = True
                capacity -= self._sizes[item]
        return picked


class Activations:
    """What the forward pass can drop, and the plans that save some of it.

    A forward node is an item where the backward pass reads its results or needs
    them to recompute something, and where they can be dropped: the storages
    that it allocates, without graph outputs, and written by nodes that may run
    again, views included. Everything else is saved.

    Attributes
    ----------
    sizes, computes
        Shape (k,): memory that each item holds, > 0, and its compute.
    memory
        Memory of what can be dropped and is read by the backward pass: what is
        saved at ratio 1.
    all
        Shape (k,): every item.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph, layout = graph, graph.layout
        needed = np.flatnonzero(layout.needed)
        self._forward: Ints = needed[needed < layout.boundary]
        self._rest: list[int] = needed[needed >= layout.boundary].tolist()
        is_forward = np.zeros(layout.n_nodes + 1, np.bool_)  # the last: inputs (−1)
        is_forward[self._forward] = True
        once = np.append(~layout.recomputable, False)
        owner = layout.producer
        may_drop: Bools = (layout.memory > 0) & is_forward[owner]
        may_drop[layout.storage[once[layout.producer] | layout.is_output]] = False
        self._by_tensor: Bools = may_drop[layout.storage] & is_forward[layout.producer]
        self._owner: Ints = owner[layout.storage]
        self.memory = int(layout.memory[may_drop & self._read_later()].sum())
        held = np.zeros(layout.n_nodes, np.int64)
        np.add.at(held, owner[may_drop], layout.memory[may_drop])
        again = np.array(sorted(set(self._runs(self._by_tensor)[1])), np.int64)
        self._items: Ints = again[held[again] > 0]
        self.sizes: Ints = held[self._items]
        self.computes: Floats = layout.compute[self._items]
        self.all: Bools = np.ones(len(self._items), np.bool_)

    def _read_later(self) -> Bools:
        """Shape (m,): storages that a node from the boundary on reads."""
        layout = self._graph.layout
        found: Bools = np.zeros(layout.n_tensors, np.bool_)
        for v in self._rest:
            found[layout.storage[layout.reads_of[v]]] = True
        return found

    def plan(self, saved: Bools) -> Trace:
        """The plan that saves these items."""
        kept = np.zeros(self._graph.layout.n_nodes + 1, np.bool_)
        kept[self._items[saved]] = True
        runs, _ = self._runs(self._by_tensor & ~kept[self._owner])
        return replayed(self._graph, np.array(runs, np.int64))

    def _runs(self, dropped: Bools) -> tuple[list[int], list[int]]:
        """All runs where these tensors are freed at the boundary, and what runs again."""
        demand = Demand(self._graph.layout, dropped)
        runs: list[int] = self._forward.tolist()
        again: list[int] = []
        for v in self._rest:
            reruns = demand.restore(v)
            again += reruns
            runs += reruns
            runs.append(v)
        return runs, again
