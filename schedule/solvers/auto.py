"""What `solve` does by default."""

from __future__ import annotations

from dataclasses import dataclass

from schedule.graph import Graph
from schedule.solvers.contract import Problem, Proposal
from schedule.solvers.ilp import Ilp
from schedule.solvers.recompute_all import RecomputeAll

#: Above this many nodes the quadratic strategy isn't worth its time.
_SMALL = 1000


@dataclass(frozen=True, slots=True)
class Auto:
    """The quick strategies first, then the exact method for the rest of the time.

    `recompute_all` (on graphs of up to 1,000 nodes), then `ilp`, which itself
    begins with `store_all` and `sqrt`: whatever fits at the least compute wins,
    and the bound is that of `ilp`.
    """

    name: str = "auto"
    summary: str = "the quick strategies, then ilp: the default"

    def supports(self, graph: Graph) -> str | None:
        """Any graph."""
        return None

    def propose(self, problem: Problem) -> Proposal:
        """The best of what the solvers behind it offer."""
        if len(problem.graph) <= _SMALL:
            problem.offer(RecomputeAll().propose(problem))
        return Ilp().propose(problem)
