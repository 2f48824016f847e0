"""Search of the neighbourhood of models' solutions: how much work it gets, and when."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from schedule.memory import keeps_order
from schedule.solvers.contract import Deadline, Incumbent, Problem
from schedule.solvers.exact.corridor import CORRIDOR
from schedule.solvers.exact.corridor.potentials import potentials
from schedule.solvers.exact.model import StagedModel, Windows
from schedule.solvers.exact.staged_runs import StagedRuns
from schedule.solvers.kit.loading import PATIENCE
from schedule.solvers.program.contraction import contract

if TYPE_CHECKING:
    from schedule.solvers.exact.corridor.corridor import Corridor, CorridorSettings
    from schedule.solvers.exact.corridor.neighbourhoods import Neighbourhoods


@dataclass(frozen=True, slots=True)
class NearbySettings:
    """How much work the search of neighbourhoods gets.

    Attributes
    ----------
    most
        The most operations of a graph: with more there are too many states. 0: no search.
    first
        Work of the first search: moves looked at, times the words of a state.
    least, usual, greatest
        Work for each iteration of the models' solver: twice as much as before where a
        search has found something, up to about as much time as the models take, else
        half of it.
    neighbouring
        Work of the search of the incumbent's large neighbourhoods, for each iteration: about
        half as much time as the models take.
    corridor
        What one search may take; None: `CorridorSettings()`.
    """

    most: int = 512
    first: int = 2_000_000
    least: int = 100
    usual: int = 300
    greatest: int = 3_000
    neighbouring: int = 500
    corridor: CorridorSettings | None = None


#: The default.
NEARBY = NearbySettings()


class Nearby:
    """Searches of the neighbourhood of solutions in the given order, and what they prove.

    Parameters
    ----------
    problem, incumbent
        What is solved, and who takes what is found.
    settings
        How much work the searches get.
    """

    def __init__(self, problem: Problem, incumbent: Incumbent, settings: NearbySettings) -> None:
        self._problem, self._incumbent, self._settings = problem, incumbent, settings
        self._corridor: Corridor | None = None
        self._neighbourhoods: Neighbourhoods | None = None
        self._free = 0.0
        self._credit, self._rate, self._iterations = settings.first, settings.usual, 0

    @property
    def proved(self) -> float:
        """Compute that no schedule falls below in the given order; infinite where none fits."""
        return -math.inf if self._corridor is None else self._corridor.proved

    def search(
        self,
        windows: Windows,
        staged: StagedRuns,
        bound: int | float,
        iterations: int,
        deadline: Deadline,
    ) -> None:
        """Search near a solution, those before and the incumbent, and for a better bound.

        Parameters
        ----------
        windows, staged
            Cut points of a model, and the runs that were laid out from its solution.
        bound
            Compute that is proved already.
        iterations
            How many iterations all models have taken so far.
        deadline
            When to stop.
        """
        problem, incumbent = self._problem, self._incumbent
        contraction = contract(problem.graph)
        self._credit += self._rate * (iterations - self._iterations)
        self._free += self._settings.neighbouring * (iterations - self._iterations)
        self._iterations = iterations
        if contraction.n_operations > self._settings.most:
            return
        if not CORRIDOR.wait(incumbent, deadline, PATIENCE):
            return
        # Numba is loaded only when it is needed.
        from schedule.solvers.exact.corridor.beam import Beam
        from schedule.solvers.exact.corridor.corridor import CORRIDOR_SETTINGS, Corridor
        from schedule.solvers.exact.corridor.neighbourhoods import Neighbourhoods

        budget = problem.budget or 0
        if self._corridor is None:
            settings = self._settings.corridor or CORRIDOR_SETTINGS
            self._corridor = Corridor(problem.graph, budget, settings)
        Beam(problem, incumbent).improve(deadline)
        if self._neighbourhoods is None:
            self._neighbourhoods = Neighbourhoods(problem, incumbent)
        free = deadline.with_work(self._free)
        self._neighbourhoods.improve(free)
        self._free = free.work
        model = StagedModel(problem.graph, contraction, windows, budget)
        found = potentials(model, deadline)
        if found is None:
            return
        # What counts is what the search adds: not the bound that the models have raised.
        before = incumbent.compute, max(self._corridor.proved, float(bound))
        effort = deadline.with_work(self._credit)
        self._corridor.widen(staged.runs)
        if incumbent.trace is not None and keeps_order(incumbent.trace):
            self._corridor.widen(incumbent.trace.codes[incumbent.trace.codes >= 0])
        self._corridor.follow(incumbent, found, effort)
        self._corridor.prove(incumbent, bound, found, effort)
        self._credit = int(effort.work)
        is_better = incumbent.compute < before[0] or self._corridor.proved > before[1]
        more, less = 2 * self._rate, self._rate // 2
        least, greatest = self._settings.least, self._settings.greatest
        self._rate = min(greatest, more) if is_better else max(least, less)
