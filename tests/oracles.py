"""Independent oracles: the memory model step by step, and exhaustive search.

Written from the rules of docs/formats.md, in plain Python and on names, on
purpose without a line of `schedule.memory`.
"""

from __future__ import annotations

import heapq
from itertools import count
from typing import NamedTuple

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


def least_compute(graph: Graph, budget: int, order: str = "free"):
    """The least compute of any schedule within the budget; None: there is none.

    Dijkstra over what is live (and which run-once nodes have run, and, in a
    fixed order, how many first runs there have been). Exponential: for graphs
    of about ten nodes.
    """
    model = Model(graph)
    first_runs = needed_nodes(graph)
    begin = (frozenset(model.inputs), frozenset(), 0)
    if model.stored(begin[0]) > budget:
        return None
    cheapest = {begin: 0}
    tie = count()
    queue = [(0, next(tie), begin)]
    while queue:
        spent, _, state = heapq.heappop(queue)
        if spent > cheapest[state]:
            continue
        if set(graph.outputs) <= state[0]:
            return spent
        for price, following in _moves(model, state, budget, first_runs, order):
            total = spent + price
            if total < cheapest.get(following, float("inf")):
                cheapest[following] = total
                heapq.heappush(queue, (total, next(tie), following))
    return None


def _moves(model, state, budget, first_runs, order):
    live, once, done = state
    for name in live:
        if name not in model.inputs or model.inputs[name].freeable:
            yield 0, (live - {name}, once, done)
    stored = model.stored(live)
    for place, name in enumerate(first_runs):
        node = model.nodes[name]
        new = {out.name for out in node.outputs}
        if new <= live or not set(node.inputs) <= live:
            continue
        if name in once or (order == "fixed" and place > done):
            continue
        if stored + sum(out.memory for out in node.outputs) + node.workspace > budget:
            continue
        ran = once if node.recomputable else once | {name}
        first = done + (order == "fixed" and place == done)
        yield node.compute, (live | new, ran, first)


def least_budget(graph: Graph) -> int:
    """The least budget within which some schedule exists, by bisection over the oracle."""
    low, high = 0, sum(Model(graph).memory.values()) * 2 + sum(n.workspace for n in graph.nodes)
    while low < high:
        middle = (low + high) // 2
        if least_compute(graph, middle) is None:
            low = middle + 1
        else:
            high = middle
    return low
