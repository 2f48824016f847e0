"""The table of solvers; a new one is a file beside this and a line in `SOLVERS`."""

from __future__ import annotations

from schedule.errors import BadOption
from schedule.solvers.articulation import Articulation
from schedule.solvers.auto import Auto
from schedule.solvers.chain import Chain
from schedule.solvers.chen_greedy import ChenGreedy
from schedule.solvers.contract import Problem, Progress, Proposal, Solver
from schedule.solvers.dtr import Dtr
from schedule.solvers.greedy import Greedy
from schedule.solvers.ilp import Ilp
from schedule.solvers.knapsack import Knapsack
from schedule.solvers.lower_sets import LowerSets
from schedule.solvers.lp_rounding import LpRounding
from schedule.solvers.recompute_all import RecomputeAll
from schedule.solvers.reorder import Reorder
from schedule.solvers.revolve import Revolve
from schedule.solvers.search import Search
from schedule.solvers.sqrt import Sqrt
from schedule.solvers.store_all import StoreAll

__all__ = ["SOLVERS", "Problem", "Progress", "Proposal", "Solver", "solver_named"]

#: Solvers by name, in the order in which tables list them.
SOLVERS: dict[str, Solver] = {
    solver.name: solver
    for solver in (
        StoreAll(),
        Reorder(),
        RecomputeAll(),
        Sqrt(),
        ChenGreedy(),
        Articulation(),
        LowerSets(),
        Revolve(),
        Chain(),
        LpRounding(),
        Dtr(),
        Knapsack(),
        Greedy(),
        Ilp(),
        Search(),
        Auto(),
    )
}


def solver_named(name: str) -> Solver:
    """The solver of that name, or BadOption listing those there are."""
    if name not in SOLVERS:
        raise BadOption(f"unknown solver {name!r}; there are {', '.join(SOLVERS)}")
    return SOLVERS[name]
