"""Search on the sequence of runs: for large and wide graphs, reordered."""

from __future__ import annotations

from dataclasses import dataclass

from schedule.bounds import least_compute
from schedule.graph import Graph
from schedule.lowering import needed_in_order
from schedule.solvers.annealing import SEQUENCES
from schedule.solvers.contract import Best, Problem, Proposal
from schedule.solvers.eviction import EVICTION
from schedule.solvers.greedy import Greedy
from schedule.solvers.program.contraction import contract


@dataclass(frozen=True, slots=True)
class Search:
    """Simulated annealing on sequences of runs: runs come, go and move.

    What is annealed, and with which moves, is the idea of FastSA (Imanishi et
    al., NeurIPS 2023); here memory above the budget is summed over the whole
    sequence instead of only the peak, at a price that rises until the sequence
    fits. A move is priced from the ranges in which it changes memory, in about
    a microsecond. Each worker anneals with a seed of its own, and all go on from
    the best. It begins with the plans of `greedy`, and proves nothing beyond
    every node once.
    """

    name: str = "search"
    summary: str = "simulated annealing on the sequence of runs; large and wide graphs, reordered"

    def supports(self, graph: Graph) -> str | None:
        """Any graph."""
        return None

    def propose(self, problem: Problem) -> Proposal:
        """Rounds until nothing is recomputed, they bring nothing, or the time is up."""
        graph, best = problem.graph, Best(problem)
        if not best.take(needed_in_order(graph)):
            Greedy().improve(problem, best)
            self.improve(problem, best)
        return Proposal()

    def improve(self, problem: Problem, best: Best) -> None:
        """Rounds of annealing, from the best schedule known and from the program as it is."""
        parts = (EVICTION, SEQUENCES)
        if not all(problem.seconds_left > 0 and part.wait(problem) for part in parts):
            return
        # Numba is loaded only when it is needed.
        from schedule.solvers.annealing.searcher import Searcher

        graph = problem.graph
        searcher = Searcher(
            problem, contract(graph), problem.order, best, problem.seed, problem.workers
        )
        least = least_compute(graph)
        while problem.seconds_left > 0 and not problem.enough(best.compute, least):
            if searcher.settled:
                break
            searcher.round(lambda: problem.seconds_left)
        if best.trace is None:
            searcher.offer_least_peak()
