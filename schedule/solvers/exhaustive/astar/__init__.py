"""Exact search of states, compiled: graphs of up to some hundred operations."""

from __future__ import annotations

import numpy as np

from schedule.solvers.contract import Problem
from schedule.solvers.kit.loading import Loading
from schedule.solvers.program.operations import operations_of, recomputable

#: Operations above which there are too many states for any bound worth its time.
_MOST = 600
#: Memory above which floating-point numbers leave out some integers.
_EXACT = 1 << 53


def is_within_reach(problem: Problem) -> bool:
    """Whether a search of states is of use.

    It doesn't see schedules that write a storage anew while a view that isn't free is
    on it, and counts memory in floating-point numbers: such graphs are left to others.
    """
    o = operations_of(problem.graph, problem.order)
    if not 0 < len(o.nodes) <= _MOST:
        return False
    memory = int(o.size.sum(dtype=object)) + int(o.extra.max())
    return memory < _EXACT and np.array_equal(o.may_repeat, recomputable(problem.graph, o))


def _warm_up() -> None:
    from schedule.examples import example
    from schedule.solvers.contract import Deadline, Incumbent
    from schedule.solvers.exhaustive.astar.search import AStar

    graph = example("chain", layers=6)
    incumbent = Incumbent(problem := Problem(graph, 4, "free"))
    # With little space, so that it has to grow.
    proof = AStar(problem, memory=1_000_000, space=8).run(incumbent, Deadline())
    if proof.bound != incumbent.compute:
        raise AssertionError("a chain has few states")


#: The compiled code of this package.
ASTAR = Loading(_warm_up, rank=2)
