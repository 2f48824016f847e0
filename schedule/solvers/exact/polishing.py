"""Relaxed plans, annealed until they fit.

A model's solution knows memory only at a few cut points: laid out, it exceeds the budget
somewhere between them, often by little, and takes what no schedule can take less of. A
schedule that costs the same, or little more, often lies a few moves of its runs away.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from schedule.layout import Ints
from schedule.lowering import free_early
from schedule.solvers.annealing import SEQUENCES
from schedule.solvers.contract import Deadline, Incumbent, Problem
from schedule.solvers.kit.loading import PATIENCE
from schedule.solvers.program.operations import node_runs, operations_of


@dataclass(frozen=True, slots=True)
class PolishingSettings:
    """How much is annealed.

    Attributes
    ----------
    moves
        Moves for each iteration of the models' solver, of all plans together; 0: none.
    share
        The share of the seconds left that one plan may take.
    """

    moves: int = 30
    share: float = 0.05


#: The default.
POLISHING = PolishingSettings()


class Polishing:
    """Annealing of the plans of models, one after the other, in the order that is asked for.

    Parameters
    ----------
    problem, incumbent
        What is solved, and who takes what fits.
    settings
        How much is annealed.
    """

    def __init__(
        self,
        problem: Problem,
        incumbent: Incumbent,
        settings: PolishingSettings = POLISHING,
    ) -> None:
        self._problem, self._incumbent = problem, incumbent
        self._settings = settings
        self._moves = self._plans = 0

    def polish(self, runs: Ints, iterations: int, deadline: Deadline) -> None:
        """Anneal a plan that doesn't fit, where it is worth it; a schedule that fits is offered.

        Parameters
        ----------
        runs
            Shape (r,): the nodes that run, in order.
        iterations
            How many iterations all models have taken so far.
        deadline
            When to stop.
        """
        problem, graph, settings = self._problem, self._problem.graph, self._settings
        is_cheaper = float(graph.layout.compute[runs].sum()) < self._incumbent.compute
        if not is_cheaper or self._moves >= settings.moves * iterations:
            return
        if not SEQUENCES.wait(self._incumbent, deadline, PATIENCE):
            return
        # Numba is loaded only when it is needed.
        from schedule.solvers.annealing.rounds import Annealing, AnnealingSettings

        usual = AnnealingSettings()
        one = replace(usual, quick=replace(usual.polish, from_best=False), quick_share=1.0)
        operations = operations_of(graph, problem.order)
        annealing = Annealing(
            operations,
            operations.sequence(runs),
            (problem.budget or 0) - graph.layout.resident_memory,
            problem.seed + self._plans,
            one,
        )
        annealing.round(deadline.share(settings.share))
        self._moves += annealing.moves
        self._plans += 1
        if annealing.best is not None:
            found = node_runs(graph, operations, annealing.best)
            self._incumbent.offer(free_early(graph, found))
