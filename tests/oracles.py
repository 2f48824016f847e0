"""Independent oracles: the memory model step by step, and exhaustive search.

Written from the rules of docs/formats.md, on names, on purpose without a line
of `schedule.memory` or of a solver.
"""

from __future__ import annotations

import heapq
import math
from functools import cached_property
from typing import NamedTuple

import numpy as np

from schedule import errors
from schedule.graph import Graph, Tensor
from schedule.steps import Compute


class Broken(Exception):
    """A rule is broken: which kind, and at which step."""

    def __init__(self, kind, step):
        super().__init__(kind.__name__, step)
        self.kind, self.step = kind, step


class Memory(NamedTuple):
    start: int
    during: list
    after: list


class Model:
    """What the rules need to know of a graph, by name."""

    def __init__(self, graph: Graph):
        self.graph = graph
        self.nodes = {node.name: node for node in graph.nodes}
        self.memory = {name: tensor.memory for name, tensor in graph.tensors.items()}
        self.root = {}
        for name, tensor in graph.tensors.items():
            view_of = tensor.view_of if isinstance(tensor, Tensor) else None
            self.root[name] = name if view_of is None else self.root[view_of]
        self.inputs = {item.name: item for item in graph.inputs}

    def stored(self, live):
        """Rule 3: a storage is there while any tensor on it is live."""
        return sum(self.memory[root] for root in {self.root[name] for name in live})


def walk(graph: Graph, steps) -> tuple[Memory, set]:
    """Memory at the start, during and after each step, and what is live at the end."""
    model = Model(graph)
    live = set(model.inputs)
    ran: set[str] = set()
    start = model.stored(live)
    during, after = [], []
    for at, step in enumerate(steps):
        before = model.stored(live)
        if isinstance(step, Compute):
            node = model.nodes[step.node]
            if not set(node.inputs) <= live:
                raise Broken(errors.InputNotLive, at)
            if node.name in ran and not node.recomputable:
                raise Broken(errors.RunTwice, at)
            if all(out.name in live for out in node.outputs):
                raise Broken(errors.NothingToCompute, at)
            ran.add(node.name)
            during.append(before + sum(out.memory for out in node.outputs) + node.workspace)
            live |= {out.name for out in node.outputs}
        else:
            item = model.inputs.get(step.tensor)
            if item is not None and not item.freeable:
                raise Broken(errors.ResidentFreed, at)
            if step.tensor not in live:
                raise Broken(errors.NotLive, at)
            during.append(before)
            live.discard(step.tensor)
        after.append(model.stored(live))
    return Memory(start, during, after), live


def needed_nodes(graph: Graph) -> list[str]:
    """Nodes without which some output can't be computed, in the graph's order."""
    wanted, needed = set(graph.outputs), []
    for node in reversed(graph.nodes):
        if wanted & {out.name for out in node.outputs}:
            needed.append(node.name)
            wanted |= set(node.inputs)
    return needed[::-1]


class States:
    """What may follow what. A set of tensors is a number here, with a bit for each of them.

    A state is what is live, which run-once nodes have run and, in a fixed order,
    how many first runs there have been.
    """

    def __init__(self, graph: Graph, order: str = "free"):
        self.model, self.fixed = Model(graph), order == "fixed"
        self.bit = {name: 1 << at for at, name in enumerate(self.model.root)}
        self.begin = (self._set(self.model.inputs), 0, 0)
        self.wanted = self._set(graph.outputs)
        resident = {item.name for item in graph.inputs if not item.freeable}
        self.freeable = [bit for name, bit in self.bit.items() if name not in resident]
        self.runs = [self._run(self.model.nodes[name]) for name in needed_nodes(graph)]
        self._stored: dict[int, int] = {}

    def _set(self, names) -> int:
        return sum(self.bit[name] for name in set(names))

    def _run(self, node):
        """What it reads, writes and takes, its compute, and its mark if it must not run twice."""
        writes = self._set(out.name for out in node.outputs)
        takes = sum(out.memory for out in node.outputs) + node.workspace
        return self._set(node.inputs), writes, takes, node.compute, writes * (not node.recomputable)

    def stored(self, live: int) -> int:
        """Memory in use while these are live, counted once for each set."""
        if live not in self._stored:
            names = [name for name, bit in self.bit.items() if live & bit]
            self._stored[live] = self.model.stored(names)
        return self._stored[live]

    def moves(self, state):
        """Compute, memory in use meanwhile, and the state that follows."""
        live, once, done = state
        stored = self.stored(live)
        for bit in self.freeable:
            if live & bit:
                yield 0, stored, (live ^ bit, once, done)
        for place, (reads, writes, takes, compute, mark) in enumerate(self.runs):
            if self.fixed and place > done:
                break
            if writes & ~live and not reads & ~live and not once & mark:
                first = done + (self.fixed and place == done)
                yield compute, stored + takes, (live | writes, once | mark, first)


def least_compute(graph: Graph, budget: int, order: str = "free"):
    """The least compute of any schedule within the budget; None: there is none.

    Dijkstra over states. Exponential: for graphs of about ten nodes.
    """
    states = States(graph, order)
    if states.stored(states.begin[0]) > budget:
        return None
    cheapest = {states.begin: 0}
    queue = [(0, states.begin)]
    while queue:
        spent, state = heapq.heappop(queue)
        if spent > cheapest[state]:
            continue
        if not states.wanted & ~state[0]:
            return spent
        for price, used, following in states.moves(state):
            total = spent + price
            if used <= budget and total < cheapest.get(following, math.inf):
                cheapest[following] = total
                heapq.heappush(queue, (total, following))
    return None


def least_budget(graph: Graph) -> int:
    """The least budget within which some schedule exists: Dijkstra over peaks."""
    states = States(graph)
    start = states.stored(states.begin[0])
    least = {states.begin: start}
    queue = [(start, states.begin)]
    while queue:
        peak, state = heapq.heappop(queue)
        if not states.wanted & ~state[0]:
            return peak
        if peak > least[state]:
            continue
        for _, used, following in states.moves(state):
            higher = max(peak, used)
            if higher < least.get(following, math.inf):
                least[following] = higher
                heapq.heappush(queue, (higher, following))
    raise AssertionError("the graph's own order is a schedule")


class Sets:
    """The least compute to get to every set of live tensors, for graphs of a dozen nodes.

    The same rules as in `least_compute` once more, over arrays: position `live`
    of an array is the set of that number, by its bits, so that all sets move at
    once. Up to about 18 bits: one for each tensor that is read or asked for and
    is no resident input, and one for each node that must not run twice (set
    once it ran). Repeated until nothing gets cheaper.
    """

    def __init__(self, graph: Graph, order: str = "free"):
        model = Model(graph)
        self.model, self.order = model, order
        self.nodes = [model.nodes[name] for name in needed_nodes(graph)]
        used = {name for node in self.nodes for name in node.inputs} | set(graph.outputs)
        self.resident = {item.name for item in graph.inputs if not item.freeable}
        # What nothing reads is freed at once; what can't be freed is always live.
        self.bit = {name: 1 << at for at, name in enumerate(sorted(used - self.resident))}
        self.tensors = len(self.bit)
        once = [node for node in self.nodes if not node.recomputable]
        self.ran = {node.name: 1 << self.tensors + at for at, node in enumerate(once)}
        self.bits = self.tensors + len(once)
        self.inputs, self.wanted = self._mask(model.inputs), self._mask(graph.outputs)

    @cached_property
    def sets(self):
        """All of them, by number."""
        return np.arange(1 << self.bits)

    @cached_property
    def stored(self):
        """Memory of what is live in each set: rule 3."""
        stored = np.full(1 << self.bits, self.model.stored(self.resident))
        for root in sorted({self.model.root[name] for name in self.bit} - self.resident):
            held = self._mask(name for name in self.bit if self.model.root[name] == root)
            stored[self.sets & held != 0] += self.model.memory[root]
        return stored

    def _mask(self, names) -> int:
        return sum(self.bit.get(name, 0) for name in names)

    def least_compute(self, budget: int):
        """Of any schedule within the budget; None: there is none."""
        if self.model.stored(self.model.inputs) > budget:
            return None
        spent = np.full(1 << self.bits, np.inf)
        spent[self.inputs] = 0
        if self.order == "free":
            self._settle(spent, self.nodes, budget)
        else:
            for at, node in enumerate(self.nodes):
                self._settle(spent, self.nodes[:at], budget)
                before, after = self._run(node, budget)
                following = np.full(1 << self.bits, np.inf)
                following[after] = spent[before] + node.compute
                spent = following
            self._settle(spent, self.nodes, budget)
        least = spent[self.sets & self.wanted == self.wanted].min()
        return None if np.isinf(least) else least

    def _run(self, node, budget):
        """Sets before and after a run, those where all that it writes was freed before.

        The others get to the same sets, and have no less memory in use.
        """
        reads, writes = self._mask(node.inputs), self._mask(out.name for out in node.outputs)
        ran = self.ran.get(node.name, 0)
        use = self.stored + sum(out.memory for out in node.outputs) + node.workspace
        before = np.flatnonzero(
            (self.sets & reads == reads) & (self.sets & (writes | ran) == 0) & (use <= budget)
        )
        return before, before | writes | ran

    def _settle(self, spent, nodes, budget):
        """Run these nodes, and free, until nothing gets cheaper."""
        runs = [(*self._run(node, budget), node.compute) for node in nodes]
        total = None
        while total is None or not np.array_equal(total, spent):
            total = spent.copy()
            for before, after, cost in runs:
                spent[after] = np.minimum(spent[after], spent[before] + cost)
            for at in range(self.tensors):
                without, live = np.moveaxis(spent.reshape(-1, 2, 1 << at), 1, 0)
                np.minimum(without, live, out=without)
