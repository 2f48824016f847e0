"""Exact search of schedules with a host, compiled: graphs of some twenty nodes."""

from __future__ import annotations

from schedule.graph import Graph
from schedule.solvers.kit.loading import Loading

#: Nodes and tensors above which no search is possible: sets are bits of an integer.
MOST = 60


def is_within_reach(graph: Graph, most: int) -> bool:
    """Whether a graph has at most so many nodes, and tensors."""
    return max(graph.layout.n_nodes, graph.layout.n_tensors) <= min(most, MOST)


def _warm_up() -> None:
    from schedule.examples import example
    from schedule.levels import Level
    from schedule.solvers.contract import Deadline, Incumbent, Problem
    from schedule.solvers.offloading.exhaustive.search import HostSearch

    graph = example("chain", layers=2)
    problem = Problem(graph, 3, levels=(Level("host", 100, 1, 1),))
    incumbent = Incumbent(problem)
    proof = HostSearch(problem, states=1000).run(incumbent, Deadline())
    if proof.bound is None or abs(incumbent.compute - proof.bound) > 1e-6:
        raise AssertionError("a chain of two layers has few states")


#: The compiled code of this package.
HOST_SEARCH = Loading(_warm_up, rank=3)
