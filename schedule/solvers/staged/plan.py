"""From a solution of the staged model to an order of runs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from schedule.errors import SolverBug
from schedule.graph import Graph
from schedule.layout import Bools, Ints
from schedule.solvers.staged.contraction import Contraction


@dataclass(frozen=True)
class Plan:
    """Runs in order, and why each is there.

    Attributes
    ----------
    runs
        Shape (p,): node numbers.
    interval
        Shape (p,): the interval that each run belongs to.
    cause
        Shape (p,): the operation for whose first run this run is made (itself,
        for a first run), −1 where it serves what is held at the next cut point.
    """

    runs: Ints
    interval: Ints
    cause: Ints

    def stretches(self) -> list[tuple[int, int]]:
        """Places (start, end) of neighbouring runs that serve the same cause, without it."""
        parts = np.flatnonzero((np.diff(self.interval) != 0) | (np.diff(self.cause) != 0)) + 1
        ends = [*parts.tolist(), len(self.runs)]
        starts = [0, *parts.tolist()]
        return [
            (start, end - bool(self.cause[start] >= 0))
            for start, end in zip(starts, ends)
            if start < end
        ]

    def reordered(self, runs: Ints) -> Plan:
        """The same plan with other runs inside its stretches."""
        return Plan(runs, self.interval, self.cause)


def lay_out(graph: Graph, contraction: Contraction, first_runs: list[Ints], hold: Bools) -> Plan:
    """Order the runs: each rerun as late as possible, just before its first reader.

    Parameters
    ----------
    graph, contraction
        The graph and its contraction.
    first_runs
        Per interval, the operations that run there for the first time, in order.
    hold
        Shape (intervals, r): what is held when each interval begins.

    Notes
    -----
    What has to be rerun follows from what is held, so the plan never runs more
    than the solution paid for. O(runs · reads).
    """
    builder = _Builder(graph, contraction)
    for k, operations in enumerate(first_runs):
        if k:
            builder.enter(hold[k])
        for v in operations.tolist():
            builder.run(v, k, v)
        if k + 1 < len(first_runs):
            builder.make(np.flatnonzero(hold[k + 1]), k)
    builder.finish(len(first_runs) - 1)
    return (
        Plan(*(np.array(part, np.int64) for part in zip(*builder.made)))
        if builder.made
        else (Plan(*np.zeros((3, 0), np.int64)))
    )


class _Builder:
    """Runs operations one by one and knows what is there."""

    def __init__(self, graph: Graph, contraction: Contraction) -> None:
        c, layout = contraction, graph.layout
        self.made: list[tuple[int, int, int]] = []
        self._there = set(np.flatnonzero(c.producer < 0).tolist())
        self._is_output = c.is_output
        self._outputs_wanted = np.flatnonzero(layout.is_output).tolist()
        self._node = c.nodes.tolist()
        self._producer = c.producer.tolist()
        flat, first = c.reads.tolist(), c.first_read.tolist()
        self._reads = [flat[first[v] : first[v + 1]] for v in range(c.n_operations)]
        self._tensors_read, self._outputs = layout.reads_of, layout.outputs_of
        self._resource = c.resource.tolist()
        self._writer = layout.producer.tolist()
        views = c.nodes[c.is_view].tolist()
        # Which value of its storage each free view was last made from; −1: never made.
        self._made_from = dict.fromkeys(views, -1)
        self._value = [0] * (c.n_resources + 1)  # the last one is for resident inputs (−1)

    def enter(self, held: Bools) -> None:
        """Begin an interval with what is held."""
        self._there = set(np.flatnonzero(held).tolist())

    def make(self, resources: Ints, interval: int) -> None:
        """Have these resources there."""
        for r in resources.tolist():
            if r not in self._there:
                self.run(self._producer[r], interval, -1)

    def finish(self, interval: int) -> None:
        """Have the graph's outputs there, free views among them made from the last value."""
        self.make(np.flatnonzero(self._is_output), interval)
        for t in self._outputs_wanted:
            self._refresh(t, interval, -1)

    def run(self, operation: int, interval: int, cause: int) -> None:
        """Run an operation, and before it whatever it still needs."""
        stack = [(operation, False)]
        while stack:
            v, ready = stack.pop()
            missing = [r for r in self._reads[v] if r not in self._there]
            if missing:
                if ready:
                    raise SolverBug("the staged model's solution lacks a run that it needs")
                stack.append((v, True))
                makers = {self._producer[r] for r in missing}
                if -1 in makers:
                    raise SolverBug("the staged model's solution reads an input that was freed")
                stack.extend((u, False) for u in sorted(makers, reverse=True))
            elif v == operation or not self._complete(v):
                self._emit(self._node[v], interval, cause)

    def _complete(self, v: int) -> bool:
        """Whether another branch of the same need has run v meanwhile."""
        return all(self._resource[t] in self._there for t in self._outputs[self._node[v]])

    def _emit(self, node: int, interval: int, cause: int) -> None:
        for t in self._tensors_read[node]:
            self._refresh(t, interval, cause)
        self.made.append((node, interval, cause))
        if node in self._made_from:
            self._made_from[node] = self._value[self._resource[self._outputs[node][0]]]
            return
        for t in self._outputs[node]:
            self._value[self._resource[t]] += 1
            self._there.add(self._resource[t])

    def _refresh(self, tensor: int, interval: int, cause: int) -> None:
        """Make the free views down to `tensor` again where their storage is a new one."""
        chain = []
        view = self._writer[tensor]
        while view in self._made_from:
            if self._made_from[view] == self._value[self._resource[tensor]]:
                break
            chain.append(view)
            view = self._writer[self._tensors_read[view][0]]
        for view in reversed(chain):
            self._made_from[view] = self._value[self._resource[tensor]]
            self.made.append((view, interval, cause))
