"""The search as solvers use it: node runs in, replayed schedules out."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from schedule.layout import Ints
from schedule.lowering import free_early
from schedule.result import Order
from schedule.solvers.annealing.rounds import Annealing, AnnealingSettings
from schedule.solvers.contract import Deadline, Incumbent, Problem
from schedule.solvers.program.operations import node_runs, operations_of

#: The distance between the seeds of two that anneal side by side.
_SEEDS = 2**32


class Searcher:
    """Rounds of annealing for a problem, in one order.

    Several may anneal side by side, each with a seed of its own. All begin a round
    together, from the best sequence of all, so the same seed and the same number of
    workers find the same schedules.

    Parameters
    ----------
    problem, order
        What is solved; the program as it is has to exceed the budget.
    incumbent
        Takes what is found; where it knows a better schedule, rounds begin with that.
    seed
        Seed of the random choices.
    workers
        How many anneal side by side, each in a thread.
    settings
        How sequences are annealed.
    """

    def __init__(
        self,
        problem: Problem,
        order: Order,
        incumbent: Incumbent,
        seed: int,
        workers: int = 1,
        settings: AnnealingSettings | None = None,
    ) -> None:
        self._settings = settings = settings or AnnealingSettings()
        self._graph, self._incumbent = problem.graph, incumbent
        self._operations = operations_of(problem.graph, order)
        # Seconds that it takes to replay a sequence and to offer it: about as many as this.
        started = incumbent.clock.now()
        self._annealings = [
            Annealing(
                self._operations,
                np.arange(len(self._operations.nodes)),
                (problem.budget or 0) - problem.graph.layout.resident_memory,
                seed + _SEEDS * worker,
                settings,
            )
            for worker in range(workers)
        ]
        self._checking = (incumbent.clock.now() - started) / workers
        self._rounds = self._cycles = 0  # the latter up to the last one that found something

    @property
    def settled(self) -> bool:
        """Whether the last cycles found nothing: they are nineteen of twenty moves."""
        settings = self._settings
        return self._rounds // len(settings.rounds) - self._cycles >= settings.patience

    @property
    def moves(self) -> int:
        """Moves tried so far."""
        return sum(annealing.moves for annealing in self._annealings)

    def round(self, deadline: Deadline) -> None:
        """One more round of each, from the best sequence so far; what they find is offered."""
        known = self._incumbent.trace or self._incumbent.nearest
        flattest = self._flattest
        if known is not None:
            sequence = self._operations.sequence(known.codes[known.codes >= 0])
            for annealing in self._annealings:
                annealing.adopt(sequence)
        costs = [annealing.compute for annealing in self._annealings]
        try:
            self._side_by_side(deadline.earlier(self._checking))
        finally:  # what a round found before Ctrl-C counts
            better = [
                annealing.best
                for annealing, cost in zip(self._annealings, costs)
                if annealing.compute < cost and annealing.best is not None
            ]
            for sequence in better:
                self._offer(sequence)
        self._rounds += 1
        if better or (self._has_none and self._flattest is not flattest):
            self._cycles = -(-self._rounds // len(self._settings.rounds))

    def _side_by_side(self, deadline: Deadline) -> None:
        """One round of each."""
        if len(self._annealings) == 1:
            self._annealings[0].round(deadline)
            return
        over = threading.Event()
        with ThreadPoolExecutor(len(self._annealings)) as threads:
            until = deadline.unless(over.is_set)
            rounds = [threads.submit(each.round, until) for each in self._annealings]
            try:
                for each in rounds:
                    each.result()
            finally:  # an error in one of them, or Ctrl-C
                over.set()

    @property
    def _has_none(self) -> bool:
        """Whether nothing that fits is known."""
        return all(annealing.best is None for annealing in self._annealings)

    @property
    def _flattest(self) -> Ints:
        """The sequence of least peak met."""
        return min(self._annealings, key=lambda annealing: annealing.least_peak).flattest

    def offer_least_peak(self) -> None:
        """Offer the sequence of the least peak met, where none fits."""
        self._offer(self._flattest)

    def _offer(self, sequence: Ints) -> None:
        started = self._incumbent.clock.now()
        runs = node_runs(self._graph, self._operations, sequence)
        self._incumbent.offer(free_early(self._graph, runs))
        self._checking = self._incumbent.clock.now() - started
