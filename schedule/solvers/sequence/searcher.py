"""The search as a solver uses it: node runs in, schedules that were replayed out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from schedule.layout import Ints
from schedule.lowering import replayed
from schedule.result import Order
from schedule.solvers.contract import Best, Problem
from schedule.solvers.contraction import Contraction
from schedule.solvers.eviction import without_waste
from schedule.solvers.sequence.annealing import ROUNDS, Annealing
from schedule.solvers.sequence.operations import operations_of
from schedule.solvers.views import with_views

#: So many turns through all rounds, each with twice the moves of the one before, that bring
#: nothing are enough.
_PATIENCE = 2


class Searcher:
    """Rounds of annealing for a problem, in one order.

    Parameters
    ----------
    problem, contraction, order
        What is solved; the program as it is has to exceed the budget.
    best
        Takes what is found, and may know better already.
    seed
        Of the random choices.
    """

    def __init__(
        self, problem: Problem, contraction: Contraction, order: Order, best: Best, seed: int
    ) -> None:
        self._graph, self._contraction = problem.graph, contraction
        self._order, self._best = order, best
        self._operations = operations_of(problem.graph, contraction, order)
        self._annealing = Annealing(
            self._operations,
            np.arange(len(self._operations.nodes)),
            (problem.budget or 0) - problem.graph.layout.resident_memory,
            order == "fixed",
            seed,
        )
        self._rounds = self._turn = 0  # turns up to the last that brought something

    @property
    def settled(self) -> bool:
        """Whether the last turns brought nothing: six of seven moves, or more."""
        return self._rounds // len(ROUNDS) - self._turn >= _PATIENCE

    @property
    def moves(self) -> int:
        """Moves tried so far."""
        return self._annealing.moves

    def round(self, stop: Callable[[], bool]) -> None:
        """One more round, from what is best by now; what it finds is offered."""
        known = self._best.trace
        if known is not None:
            self._annealing.learn(self._operations.sequence(known.codes[known.codes >= 0]))
        flattest = self._annealing.flattest
        better = self._annealing.round(stop)
        self._rounds += 1
        if better or (self._annealing.best is None and self._annealing.flattest is not flattest):
            self._turn = -(-self._rounds // len(ROUNDS))
        if better and self._annealing.best is not None:
            self._offer(self._annealing.best)

    def offer_least_peak(self) -> None:
        """Offer the sequence of the least peak met, where none fits."""
        self._offer(self._annealing.flattest)

    def _offer(self, sequence: Ints) -> None:
        graph = self._graph
        runs = with_views(graph, self._contraction, self._operations.nodes[sequence])
        runs = without_waste(graph.layout, runs, self._order)
        self._best.take(replayed(graph, runs))
