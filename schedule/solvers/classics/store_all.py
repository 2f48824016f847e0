"""Keep everything: the program as it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from schedule.graph import Graph
from schedule.lowering import in_order
from schedule.solvers.contract import Deadline, Incumbent, Problem, Proof


@dataclass(frozen=True, slots=True)
class StoreAll:
    """Every node once, in the graph's own order, each tensor freed after its last use.

    The "as soon as possible" strategy: on a training chain of n nodes O(n)
    memory and O(n) compute. Its peak is what `100%` means in a budget.
    O(n log n).
    """

    counts_work: ClassVar[bool] = True
    name: str = "store_all"
    summary: str = "every node once, nothing recomputed: the program as it is"

    def supports(self, graph: Graph) -> str | None:
        """Any graph."""
        return None

    def improve(self, problem: Problem, incumbent: Incumbent, deadline: Deadline) -> Proof:
        """The graph's own order, freed early."""
        incumbent.offer(in_order(problem.graph))
        return Proof()
