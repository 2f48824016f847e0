"""Keep nothing: recompute what a node needs just before it runs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from schedule.graph import Graph
from schedule.layout import Layout
from schedule.lowering import free_early
from schedule.solvers.contract import Problem, Proposal

#: Longer plans are given up: they would take minutes to check and gigabytes to hold.
_MOST_RUNS = 5_000_000


@dataclass(frozen=True, slots=True)
class RecomputeAll:
    """Hold nothing but what the running node and its own recomputation need.

    The "as late as possible" strategy: on a training chain of n nodes O(1)
    memory and O(n²) compute. Before a node runs, the forward nodes that it
    depends on run again, in the graph's order, as far as their results aren't
    there; of what it read and wrote, only what the next node reads too is kept. Gradients
    (tensors of backward nodes), outputs, and what must not run twice are
    computed once and held to their last use. A graph without backward nodes
    is forward throughout.

    O(n²) time and steps; plans of more than five million runs are given up.
    """

    name: str = "recompute_all"
    summary: str = "nothing kept, everything recomputed when it is needed: the least memory"

    def supports(self, graph: Graph) -> str | None:
        """Any graph."""
        return None

    def propose(self, problem: Problem) -> Proposal:
        """One sub-run of all that is missing before every node."""
        graph = problem.graph
        runs = _runs(graph.layout, problem)
        if runs is None:
            return Proposal()
        return Proposal(free_early(graph, np.array(runs, np.int64)))


def _runs(layout: Layout, problem: Problem) -> list[int] | None:
    """Nodes in the order in which they run; None: too many, or out of time."""
    transient = (~layout.backward & layout.recomputable).tolist()
    producer, reads, outputs = layout.producer.tolist(), layout.reads_of, layout.outputs_of
    runs: list[int] = []
    there: set[int] = set()  # what the last node had at hand and the next one reads
    needed = np.flatnonzero(layout.needed).tolist()
    for v, following in zip(needed, [*needed[1:], None]):
        missing: set[int] = set()
        stack = [v]
        while stack:
            for t in reads[stack.pop()]:
                u = producer[t]
                if u >= 0 and transient[u] and t not in there and u not in missing:
                    missing.add(u)
                    stack.append(u)
        runs += sorted(missing)
        runs.append(v)
        if len(runs) > _MOST_RUNS or problem.seconds_left <= 0:
            return None
        if following is not None:
            there = {*reads[v], *outputs[v]}.intersection(reads[following])
    return runs
