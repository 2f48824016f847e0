"""Search on the sequence of runs: for large and wide graphs, reordered."""

from __future__ import annotations

from collections.abc import Callable
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
from schedule.solvers.kit.loading import PATIENCE, Loading
from schedule.values import require_kind

if TYPE_CHECKING:
    from schedule.solvers.annealing.rounds import AnnealingSettings

#: The share of the seconds left that neighbourhoods get between two rounds.
_NEIGHBOURING = 0.1


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
        Whether the best sequence is refined between rounds: in any order by integer programs
        that are asked for what best runs again in its own (`schedule.solvers.exact.reordered`),
        in the given one by searches of its large neighbourhoods, each to its end
        (`schedule.solvers.exact.corridor.neighbourhoods`), and by beams while there is none.
    restarts
        Whether to begin anew, with other seeds, where two cycles find nothing, until the
        time is up; without, it ends there.
    settings
        How sequences are annealed; None: `AnnealingSettings()`.
    """

    starts: bool = True
    refines: bool = True
    restarts: bool = False
    settings: AnnealingSettings | None = None
    counts_work: ClassVar[bool] = True
    compiled: ClassVar[tuple[Loading, ...]] = (*Greedy.compiled, SEQUENCES, CORRIDOR)
    name: str = "search"
    summary: str = "simulated annealing on the sequence of runs; large and wide graphs, reordered"

    def __post_init__(self) -> None:
        if self.settings is not None:
            from schedule.solvers.annealing.rounds import AnnealingSettings

            require_kind(self.settings, AnnealingSettings, "settings of 'search'")

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
        refine = self._refinement(problem, incumbent)
        while not (deadline.passed or incumbent.is_good_enough):
            if searcher.settled and not self.restarts:
                break
            if searcher.settled:
                searcher.restart()
            if self.refines:
                refine(deadline)
            searcher.round(deadline)
        if incumbent.trace is None:
            searcher.offer_least_peak()
        return Proof()

    @staticmethod
    def _refinement(problem: Problem, incumbent: Incumbent) -> Callable[[Deadline], None]:
        """What refines the best sequence, as far as a deadline allows."""
        if problem.order == "free":
            return Reordered(problem, incumbent.by("ilp")).improve
        from schedule.solvers.exact.corridor.beam import Beam
        from schedule.solvers.exact.corridor.neighbourhoods import Neighbourhoods
        from schedule.solvers.exact.corridor.shaking import Shaking

        beam = Beam(problem, incumbent)
        neighbourhoods, shaking = Neighbourhoods(problem, incumbent), Shaking(problem, incumbent)

        def improve(deadline: Deadline) -> None:
            if CORRIDOR.wait(incumbent, deadline, PATIENCE):
                beam.improve(deadline)
                until = deadline.share(_NEIGHBOURING)
                neighbourhoods.improve(until)
                if neighbourhoods.is_over:
                    shaking.improve(until)

        return improve
