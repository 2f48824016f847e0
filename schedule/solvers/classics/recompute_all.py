"""Keep nothing: recompute what a node needs just before it runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from schedule.graph import Graph
from schedule.layout import Bools, Layout
from schedule.lowering import free_early
from schedule.solvers.classics.demand import Demand
from schedule.solvers.contract import Deadline, Incumbent, Problem, Proof


@dataclass(frozen=True, slots=True)
class RecomputeAll:
    """Hold nothing but what the running node and its own recomputation need.

    The "as late as possible" strategy: on a training chain of n nodes O(1)
    memory and O(n²) compute. Before a node runs, the forward nodes that it
    depends on run again, in the graph's order, as far as their results aren't
    live; of what it read and wrote, only what the next node reads too is kept.
    Gradients (tensors of backward nodes), outputs, and results of what must not
    run twice are computed once and held to their last use. A graph without
    backward nodes is forward throughout.

    O(n²) time and steps; plans of more than twenty million runs, or of more than can
    be checked in time, are given up.
    """

    counts_work: ClassVar[bool] = True
    name: str = "recompute_all"
    summary: str = "nothing kept, everything recomputed when it is needed: the least memory"

    def supports(self, graph: Graph) -> str | None:
        """Any graph."""
        return None

    def improve(self, problem: Problem, incumbent: Incumbent, deadline: Deadline) -> Proof:
        """One sub-run of all that is missing before every node."""
        graph = problem.graph
        runs = _runs(graph.layout, deadline)
        if runs is not None:
            incumbent.offer(free_early(graph, np.array(runs, np.int64)))
        return Proof()


def _runs(layout: Layout, deadline: Deadline) -> list[int] | None:
    """Nodes in the order in which they run; None: too many, or out of time."""
    by_node = np.append(~layout.backward & layout.recomputable, False)  # the last: inputs (−1)
    transient: Bools = by_node[layout.producer]
    reads, outputs = layout.reads_of, layout.outputs_of
    demand = Demand(layout, transient)
    runs: list[int] = []
    needed = np.flatnonzero(layout.needed).tolist()
    for v, following in zip(needed, [*needed[1:], None]):
        runs += demand.before(v)
        runs.append(v)
        if len(runs) > deadline.most_runs:
            return None
        for t in reads[v]:
            demand.absent[t] = bool(transient[t])
        if following is not None:  # what this node has at hand, and the next one reads
            for t in {*reads[v], *outputs[v]}.intersection(reads[following]):
                demand.absent[t] = False
    return runs
