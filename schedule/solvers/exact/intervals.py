"""Moccasin's retention intervals, as a constraint program."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from schedule.errors import BadOption
from schedule.graph import Graph
from schedule.lowering import needed_in_order
from schedule.solvers.contract import Deadline, Incumbent, Problem, Proof
from schedule.solvers.greedy import Greedy
from schedule.solvers.kit.loading import Loading

#: The share of the time that `greedy` may take for a warm start.
_FIRST = 0.2


@dataclass(frozen=True, slots=True)
class Intervals:
    """Choose from when to when each result is held, exactly, with CP-SAT.

    The model of Moccasin (Bartan et al. 2023, ICML, arXiv:2304.14463): every
    operation runs up to C times, each run begins an interval during which its
    results are held, and all intervals together stay within the budget. Here
    reruns may be in any order between two first runs, and in a free order first
    runs choose their positions, too (graphs of up to 250 operations; in larger ones
    they keep the given order).

    It begins with the plans of `greedy`. A model leaves out schedules that run
    something more than C times, so what it proves goes only as far as such a
    schedule would cost; where that matters, the next model allows more.

    Parameters
    ----------
    runs
        C of the first model: how often an operation may run at most.

    Raises
    ------
    BadOption
        `runs` is below 1.

    Notes
    -----
    O(C · operations) intervals and O(C² · edges) literals. NP-hard; proofs come
    in seconds for wide graphs of dozens of operations.

    Examples
    --------
    >>> import schedule
    >>> plan = schedule.solve(schedule.example("chain", layers=6), "70%", solver=Intervals())
    >>> plan.status
    <Status.OPTIMAL: 'optimal'>
    """

    runs: int = 2
    counts_work: ClassVar[bool] = True
    compiled: ClassVar[tuple[Loading, ...]] = Greedy.compiled
    name: str = "intervals"
    summary: str = "retention intervals on CP-SAT (Moccasin, Bartan et al. 2023); small wide graphs"

    def __post_init__(self) -> None:
        if self.runs < 1:
            raise BadOption(f"runs is {self.runs}; it has to be 1 or more")

    def supports(self, graph: Graph) -> str | None:
        """Any graph."""
        return None

    def improve(self, problem: Problem, incumbent: Incumbent, deadline: Deadline) -> Proof:
        """Schedules, and what is proved of all."""
        if incumbent.offer(needed_in_order(problem.graph)) or deadline.passed:
            return Proof()
        Greedy().improve(problem, incumbent.by("greedy"), deadline.share(_FIRST))
        # CP-SAT is loaded only when it is needed.
        from schedule.solvers.exact.deepening import Deepening

        if Deepening(problem, incumbent, deadline).run(self.runs):
            return Proof(needed=(problem.budget or 0) + 1)
        return Proof()
