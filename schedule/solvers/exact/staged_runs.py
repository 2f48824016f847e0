"""From a solution of the staged model to an order of runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from schedule.errors import SolverBug
from schedule.graph import Graph
from schedule.layout import Bools, Ints
from schedule.solvers.program.contraction import Contraction
from schedule.solvers.program.views import FreeViews


@dataclass(frozen=True)
class StagedRuns:
    """The runs of a solution, in order: which interval each belongs to, and what it is for.

    Attributes
    ----------
    runs
        Shape (p,): node numbers.
    interval
        Shape (p,): the interval that each run belongs to.
    cause
        Shape (p,): the operation whose first run needs this run (itself, for a
        first run), −1 where it serves what is held at the next cut point.
    """

    runs: Ints
    interval: Ints
    cause: Ints

    def served(self, at: int, candidates: Sequence[int]) -> int | None:
        """Which of these operations needs the run at position `at`, or the last one before that.

        The candidates are ascending and run for the first time in the interval of that
        run; None: none of them does so before what needs it.
        """
        cause = int(self.cause[at])
        earlier = [v for v in candidates if cause < 0 or v <= cause]
        return earlier[-1] if earlier else None


def lay_out(
    graph: Graph, contraction: Contraction, first_runs: list[Ints], hold: Bools
) -> StagedRuns:
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
    What has to be rerun follows from what is held, so these never take more
    compute than the solution paid for. O(runs · reads).
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
        StagedRuns(*(np.array(part, np.int64) for part in zip(*builder.found)))
        if builder.found
        else (StagedRuns(*np.zeros((3, 0), np.int64)))
    )


class _Builder:
    """Runs operations one by one and knows what is live."""

    def __init__(self, graph: Graph, contraction: Contraction) -> None:
        c, layout = contraction, graph.layout
        self.found: list[tuple[int, int, int]] = []
        self._live = set(np.flatnonzero(c.producer < 0).tolist())
        self._is_output = c.is_output
        self._node = c.nodes.tolist()
        self._producer = c.producer.tolist()
        flat, first = c.reads.tolist(), c.first_read.tolist()
        self._reads = [flat[first[v] : first[v + 1]] for v in range(c.n_operations)]
        self._outputs = layout.outputs_of
        self._resource = c.resource.tolist()
        self._views = FreeViews(graph, c)

    def enter(self, held: Bools) -> None:
        """Begin an interval with what is held."""
        self._live = set(np.flatnonzero(held).tolist())

    def make(self, resources: Ints, interval: int) -> None:
        """Make these resources live."""
        for r in resources.tolist():
            if r not in self._live:
                self.run(self._producer[r], interval, -1)

    def finish(self, interval: int) -> None:
        """Make the graph's outputs live, free views among them from the last value."""
        self.make(np.flatnonzero(self._is_output), interval)
        self.found += [(view, interval, -1) for view in self._views.at_end()]

    def run(self, operation: int, interval: int, cause: int) -> None:
        """Run an operation, and before it whatever it still needs."""
        stack = [(operation, False)]
        while stack:
            v, ready = stack.pop()
            missing = [r for r in self._reads[v] if r not in self._live]
            if missing:
                if ready:
                    raise SolverBug("the staged model's solution lacks a run that it needs")
                stack.append((v, True))
                writers = {self._producer[r] for r in missing}
                if -1 in writers:
                    raise SolverBug("the staged model's solution reads an input that was freed")
                stack.extend((u, False) for u in sorted(writers, reverse=True))
            elif v == operation or not self._complete(v):
                self._emit(self._node[v], interval, cause)

    def _complete(self, v: int) -> bool:
        """Whether another branch of the same need has run v meanwhile."""
        return all(self._resource[t] in self._live for t in self._outputs[self._node[v]])

    def _emit(self, node: int, interval: int, cause: int) -> None:
        self.found += [(view, interval, cause) for view in self._views.before(node)]
        self.found.append((node, interval, cause))
        self._views.ran(node)
        self._live.update(self._resource[t] for t in self._outputs[node])
