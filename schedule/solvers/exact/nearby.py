"""Schedules near the plans of models: how much work goes there, and when."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from schedule.memory import keeps_order
from schedule.solvers.contract import Best, Problem
from schedule.solvers.exact.corridor import CORRIDOR
from schedule.solvers.exact.corridor.potentials import potentials
from schedule.solvers.exact.model import StagedModel, Windows
from schedule.solvers.exact.plan import Plan
from schedule.solvers.kit.loading import PATIENCE
from schedule.solvers.program.contraction import Contraction

if TYPE_CHECKING:
    from schedule.solvers.exact.corridor.corridor import Corridor

#: The most operations of a graph: more make more states than can be looked at.
_MOST = 512
#: Work of the first search, and work for each iteration of the models' solver, at least and
#: at most: as long as it brings something, up to about as much time as the models take.
_FIRST = 2_000_000
_LEAST, _USUAL, _GREATEST = 100, 300, 3_000


class Nearby:
    """Searches along the plans of models in the given order, and what they prove.

    Parameters
    ----------
    problem, contraction, best
        What is solved; what is found is offered to `best`.
    """

    def __init__(self, problem: Problem, contraction: Contraction, best: Best) -> None:
        self._problem, self._contraction, self._best = problem, contraction, best
        self._corridor: Corridor | None = None
        self._credit, self._rate, self._iterations = _FIRST, _USUAL, 0

    @property
    def proved(self) -> float:
        """Compute that no schedule falls below in the given order; infinite where none fits."""
        return -math.inf if self._corridor is None else self._corridor.proved

    def search(
        self,
        windows: Windows,
        plan: Plan,
        bound: int | float,
        iterations: int,
        stop: Callable[[], bool],
    ) -> None:
        """Search near a plan, those before and the best schedule, and for a better bound.

        Parameters
        ----------
        windows, plan
            Cut points of a model, and the plan that was laid out from it.
        bound
            Compute that is proved already.
        iterations
            How many iterations all models have taken so far.
        stop
            Asked now and then; True ends it.
        """
        problem, best = self._problem, self._best
        self._credit += self._rate * (iterations - self._iterations)
        self._iterations = iterations
        if self._contraction.n_operations > _MOST or not CORRIDOR.wait(problem, PATIENCE):
            return
        # Numba is loaded only when it is needed.
        from schedule.solvers.exact.corridor.corridor import Corridor, Effort

        budget = problem.budget or 0
        if self._corridor is None:
            self._corridor = Corridor(problem.graph, self._contraction, budget)
        model = StagedModel(problem.graph, self._contraction, windows, budget)
        found = potentials(model, problem.seconds_left, stop)
        if found is None:
            return
        # A bound that the models have raised is not the search's doing.
        before = best.compute, max(self._corridor.proved, float(bound))
        effort = Effort(found, self._credit, stop)
        self._corridor.learn(plan.runs)
        if best.trace is not None and keeps_order(best.trace):
            self._corridor.learn(best.trace.codes[best.trace.codes >= 0])
        self._corridor.follow(best, effort)
        self._corridor.prove(best, bound, effort)
        self._credit = effort.work
        is_better = best.compute < before[0] or self._corridor.proved > before[1]
        self._rate = min(_GREATEST, 2 * self._rate) if is_better else max(_LEAST, self._rate // 2)
