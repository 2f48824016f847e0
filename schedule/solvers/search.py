"""Search on the sequence of runs: for large and wide graphs, reordered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from schedule.graph import Graph
from schedule.lowering import needed_in_order
from schedule.solvers.annealing import SEQUENCES
from schedule.solvers.contract import Deadline, Incumbent, Problem, Proof
from schedule.solvers.eviction import EVICTION
from schedule.solvers.exact.corridor import CORRIDOR
from schedule.solvers.exact.reordered import Reordered
from schedule.solvers.greedy import Greedy
from schedule.solvers.kit.loading import Loading

if TYPE_CHECKING:
    from schedule.solvers.annealing.rounds import AnnealingSettings


@dataclass(frozen=True, slots=True)
class Search:
    """Simulated annealing on sequences of runs: they are inserted, removed and moved.

    What is annealed, and with which moves, is the idea of FastSA (Imanishi et
    al., NeurIPS 2023); here memory above the budget is summed over the whole
    sequence instead of only the peak, at a price that rises until the sequence
    fits. A move is priced from the ranges in which it changes memory, in about
    a microsecond. Each worker anneals with a seed of its own, and all go on from
    the best. It begins with the plans of `greedy`, and proves nothing beyond
    every node once.

    Parameters
    ----------
    starts
        Whether to begin with the plans of `greedy` as a warm start.
    refines
        Whether integer programs are asked, in any order, for what best runs again in the
        order of the best sequence (`schedule.solvers.exact.reordered`), between rounds.
    settings
        How sequences are annealed; None: `AnnealingSettings()`.
    """

    starts: bool = True
    refines: bool = True
    settings: AnnealingSettings | None = None
    counts_work: ClassVar[bool] = True
    compiled: ClassVar[tuple[Loading, ...]] = (*Greedy.compiled, SEQUENCES, CORRIDOR)
    name: str = "search"
    summary: str = "simulated annealing on the sequence of runs; large and wide graphs, reordered"

    def supports(self, graph: Graph) -> str | None:
        """Any graph."""
        return None

    def improve(self, problem: Problem, incumbent: Incumbent, deadline: Deadline) -> Proof:
        """Rounds until nothing is recomputed, two cycles find nothing, or the time is up."""
        if incumbent.offer(needed_in_order(problem.graph)):
            return Proof()
        if self.starts:
            Greedy().improve(problem, incumbent.by("greedy"), deadline)
        parts = (EVICTION, SEQUENCES)
        if not all(not deadline.passed and part.wait(incumbent, deadline) for part in parts):
            return Proof()
        # Numba is loaded only when it is needed.
        from schedule.solvers.annealing.searcher import Searcher

        searcher = Searcher(
            problem, problem.order, incumbent, problem.seed, problem.workers, self.settings
        )
        programs = Reordered(problem, incumbent.by("ilp"))
        while not (deadline.passed or incumbent.is_good_enough or searcher.settled):
            if self.refines and problem.order == "free":
                programs.improve(deadline)
            searcher.round(deadline)
        if incumbent.trace is None:
            searcher.offer_least_peak()
        return Proof()
