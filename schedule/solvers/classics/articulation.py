"""Segments between the nodes that every path of the forward pass goes through."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from schedule.graph import Graph
from schedule.layout import Ints
from schedule.solvers.classics.chen_greedy import greedy_cuts
from schedule.solvers.classics.segments import Forward, growing, lacks_backward, offer_better
from schedule.solvers.contract import Deadline, Incumbent, Problem, Proof


@dataclass(frozen=True, slots=True)
class Articulation:
    """Cut the forward pass only behind nodes that everything later is reached through.

    These are the strategies "AP √n" and "AP greedy" of Checkmate (Jain et al.
    2020, arXiv:1910.02653), which carry those of Chen et al. 2016
    (arXiv:1604.06174) from chains to graphs: the positions to cut at are the
    articulation points of the forward graph, taken as undirected, that lie
    between what they depend on and what depends on them (`separators`). Of k
    of them, √n takes every ⌊√k⌋-th; greedy closes a segment at the first one
    where it holds more than b, and searches b as `chen_greedy` does.

    Under a budget √n tries other distances too, from one to the next up to a
    single segment (`store_all`); the plan of least compute that fits counts,
    and where none does, that of least peak. Without a budget: √n's own
    distance and greedy's limits, and the least peak of those.

    Parameters
    ----------
    cuts
        `"sqrt"` or `"greedy"`; None: both are tried.

    Notes
    -----
    O(nodes + edges) to find the points, and for each plan tried.
    """

    cuts: Literal["sqrt", "greedy"] | None = None
    counts_work: ClassVar[bool] = True
    name: str = "articulation"
    summary: str = "segments between articulation points, √n or greedy (Checkmate's AP strategies)"

    def supports(self, graph: Graph) -> str | None:
        """Graphs with a backward pass, and a position that the whole forward pass goes through."""
        reason = lacks_backward(graph)
        if reason is None and not len(separators(Forward(graph))):
            reason = "its forward pass has no articulation point: paths lead around every node"
        return reason

    def improve(self, problem: Problem, incumbent: Incumbent, deadline: Deadline) -> Proof:
        """The best plan of all cuts tried."""
        forward = Forward(problem.graph)
        plans = map(forward.cut, self._choices(forward, problem))
        offer_better(problem, incumbent, deadline, plans)
        return Proof()

    def _choices(self, forward: Forward, problem: Problem) -> Iterator[Ints]:
        """Positions where segments start, of each choice."""
        positions = separators(forward)
        under_budget = problem.budget is not None
        if self.cuts != "sqrt":
            yield from greedy_cuts(forward, positions, under_budget)
        if self.cuts != "greedy":
            distances = [math.isqrt(len(positions))]
            if under_budget:
                yield np.zeros(0, np.int64)
                distances = list(growing(len(positions)))
            for distance in distances:
                yield positions[distance - 1 :: distance] + 1


def separators(forward: Forward) -> Ints:
    """Positions of nodes without which what they depend on and what depends on them fall apart.

    Such a node is an articulation point of the forward graph taken as
    undirected, and no block (no set of nodes that stays in one piece without
    any one of them) has both something that it reads and something that reads
    it. What only parameters lead to, and heads that nothing else reads, are
    articulation points too, but not positions to cut at.

    Parameters
    ----------
    forward
        The forward pass; its nodes are the graph, its tensors the edges.

    Returns
    -------
    numpy.ndarray
        Positions, ascending.

    Notes
    -----
    O(nodes + edges): Hopcroft and Tarjan 1973 (doi:10.1145/362248.362272), by networkx.
    """
    import networkx as nx  # not needed before a graph is cut

    undirected = nx.Graph()
    undirected.add_edges_from(forward.edges.T.tolist())
    reads, is_read, is_inside = np.zeros((3, len(forward.nodes)), dtype=bool)
    for block in nx.biconnected_component_edges(undirected):
        writers, readers = np.sort(np.array(block, np.int64), axis=1).T
        is_inside[np.intersect1d(writers, readers)] = True
        is_read[writers] = True
        reads[readers] = True
    return np.flatnonzero(reads & is_read & ~is_inside)
