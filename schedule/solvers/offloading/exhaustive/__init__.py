"""Exact search of schedules with a host, compiled: graphs of some twenty nodes."""

from __future__ import annotations

import numpy as np

from schedule.graph import Graph
from schedule.solvers.kit.loading import Loading

#: Nodes and tensors above which no search is possible: sets are bits of an integer.
MOST = 60


def is_within_reach(graph: Graph, most: int) -> bool:
    """Whether a graph has at most so many nodes, and tensors, no views, and may copy all inputs."""
    layout = graph.layout
    if max(layout.n_nodes, layout.n_tensors) > min(most, MOST):
        return False
    has_views = not np.array_equal(layout.storage, np.arange(layout.n_tensors))
    return bool(layout.offloadable.all()) and not has_views


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
