"""Mixed checkpointing: adjoint chains with restart and dependency data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from schedule.graph import Graph
from schedule.layout import Ints
from schedule.lowering import free_early, needed_in_order
from schedule.solvers.classics.adjoint.detection import (
    AdjointChain,
    adjoint_chain,
    reason_against,
)
from schedule.solvers.classics.adjoint.table import LeastCompute, LeastMemory
from schedule.solvers.classics.adjoint.tasks import (
    GroupedTasks,
    Tasks,
    UniformTasks,
    adjoint_runs,
)
from schedule.solvers.contract import Deadline, Incumbent, Problem, Proof

#: Values in a table at the most: two tables of so many take less than half a gigabyte.
_MOST = 25_000_000


@dataclass(frozen=True, slots=True)
class Mixed:
    """Store states to restart from and dependency data side by side, at the least compute.

    For adjoint chains: each step writes the next state and, apart from it, what its
    adjoint reads. A checkpoint is one or the other: a state, from which steps run again, or
    the dependency data of a step, which then need not run again. Dynamic
    programming finds the best mixture (Maddison 2024, doi:10.1016/j.jocs.2024.102405,
    arXiv:2305.09568; `MixedCheckpointSchedule` in the package checkpoint-schedules).

    Memory is what the model counts while each step runs, not a number of checkpoints,
    and steps may differ in sizes and costs. Where the least memory of any such plan exceeds
    the budget, that plan is proposed.

    Parameters
    ----------
    slots
        Into how many equal slots the budget is divided at most. Sizes are rounded up to
        them; where all have a common unit and the budget has no more of those, nothing is
        rounded. Chains of equal steps have at least two slots a step, very long ones fewer.
    steps
        In chains of more unequal steps only some tasks are looked at: those within groups of
        steps, and those of whole groups.

    Notes
    -----
    O(n² · slots) time and O(n · slots) memory for n equal steps; where they differ
    O(n³ · slots) and O(n² · slots), for long chains O(n² · slots) and O(n¹·⁵ · slots).
    """

    slots: int = 500
    steps: int = 150
    counts_work: ClassVar[bool] = True
    name: str = "mixed"
    summary: str = "states and dependency data of adjoint chains, mixed (Maddison 2024)"

    def supports(self, graph: Graph) -> str | None:
        """Adjoint chains: steps that write a state and, apart from it, what their adjoint reads."""
        return reason_against(graph)

    def improve(self, problem: Problem, incumbent: Incumbent, deadline: Deadline) -> Proof:
        """The plan of least compute that fits, or the one of least memory."""
        graph, budget = problem.graph, problem.budget
        plain = needed_in_order(graph)
        incumbent.offer(plain)
        chain = adjoint_chain(graph)
        if budget is None or problem.fits(plain.peak) or chain is None:
            return Proof()
        runs = self._runs(chain, budget, deadline)
        if runs is not None:
            incumbent.offer(free_early(graph, runs))
        return Proof()

    def _runs(self, chain: AdjointChain, budget: int, deadline: Deadline) -> Ints | None:
        """The runs of that plan; None where they, or the chain, are too many for the time."""
        is_uniform, is_long = chain.is_uniform, chain.length > self.steps
        tasks = (UniformTasks if is_uniform else GroupedTasks if is_long else Tasks)(chain)
        memory = LeastMemory(tasks, deadline)
        if not memory.complete:
            return None
        if memory.budget <= budget:
            slots = max(self.slots, 2 * chain.length) if is_uniform else self.slots
            slots = min(slots, _MOST // sum(tasks.widths))
            compute = LeastCompute(tasks, memory, budget, slots, deadline)
            if compute.fits:
                whole = compute.slots - 1
                return adjoint_runs(chain, compute.choose, whole, deadline.most_runs)
        return adjoint_runs(chain, memory.choose, 0, deadline.most_runs)
