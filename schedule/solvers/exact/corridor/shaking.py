"""Iterated local search in the given order: the best, shaken, and neighbourhoods of that.

Where no neighbourhood has anything better, what runs again may run elsewhere at no cost, and
other neighbourhoods open from there (Lourenço, Martin, Stützle 2003, doi:10.1007/0-306-48056-5_11).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

from schedule.layout import Ints
from schedule.memory import Trace
from schedule.solvers.annealing.laying import laid_out
from schedule.solvers.annealing.loop import MOST_PRICE, anneal
from schedule.solvers.annealing.moves import SHARES
from schedule.solvers.annealing.rounds import SECONDS_A_MOVE
from schedule.solvers.annealing.state import EXCESS
from schedule.solvers.contract import Deadline, Incumbent, Problem
from schedule.solvers.exact.corridor.ground import Ground
from schedule.solvers.exact.corridor.neighbourhoods import NEIGHBOURHOODS, Neighbourhoods
from schedule.solvers.kit.randomness import random_of
from schedule.solvers.program.waste import trimmed


@dataclass(frozen=True, slots=True)
class ShakingSettings:
    """How schedules are shaken.

    Attributes
    ----------
    moves, heat
        Annealing moves, and their temperature, as a share of every node once: what costs
        that much more is taken in one of three cases.
    patience
        Searches of neighbourhoods in a row that find nothing before it is shaken again.
    shakes
        How often a call shakes at most: it ends where there is no time limit, too.
    near
        By how much more than the best, as a share of it, a schedule may take that is shaken on.
    """

    moves: int = 200_000
    heat: float = 1e-4
    patience: int = 100
    shakes: int = 5
    near: float = 1e-3


#: The default.
SHAKING = ShakingSettings()


class Shaking:
    """A walk through schedules that are the best of their neighbourhoods.

    It takes no more time than passes between its calls.

    Parameters
    ----------
    problem, incumbent
        What is solved, in the given order, and who knows the best and takes what is found.
    settings
        How it is shaken.
    """

    def __init__(
        self,
        problem: Problem,
        incumbent: Incumbent,
        settings: ShakingSettings = SHAKING,
    ) -> None:
        self._problem, self._incumbent, self._settings = problem, incumbent, settings
        self._random = random_of(problem.seed)
        self._here = Incumbent(problem, clock=incumbent.clock)
        patient = replace(NEIGHBOURHOODS, patience=settings.patience)
        self._neighbourhoods = Neighbourhoods(problem, self._here, patient)
        self._began, self._taken = incumbent.clock.now(), 0.0

    def improve(self, deadline: Deadline) -> None:
        """Walk on, at most until the deadline; its work is moves of searches, times words."""
        clock, incumbent = self._incumbent.clock, self._incumbent
        started = clock.now()
        if 2 * self._taken > started - self._began:
            return
        for _ in range(self._settings.shakes):
            if deadline.passed or incumbent.is_good_enough or incumbent.trace is None:
                break
            if self._here.trace is None or self._neighbourhoods.is_over:
                self._here = Incumbent(self._problem, clock=clock)
                self._here.offer(self._shaken(self._next(incumbent.trace), deadline))
                self._neighbourhoods.go_to(self._here)
            try:
                self._neighbourhoods.improve(deadline)
            finally:  # what was found before Ctrl-C counts
                if self._here.compute < incumbent.compute and self._here.trace is not None:
                    incumbent.offer(self._here.trace)
            if not self._neighbourhoods.is_over:
                break  # there was no time, or nothing of use can be searched
        self._taken += clock.now() - started

    @cached_property
    def _ground(self) -> Ground:
        """Masks of all resources for each operation: only where there is a shake."""
        return Ground.of(self._problem.graph, self._problem.budget or 0)

    def _next(self, best: Trace) -> Trace:
        """What is shaken: where it is, unless that is far from the best."""
        here = self._here.trace
        is_near = here is not None and here.compute <= best.compute * (1 + self._settings.near)
        return here if here is not None and is_near else best

    def _shaken(self, trace: Trace, deadline: Deadline) -> Trace:
        """A schedule annealed a little; itself where that doesn't fit in the end."""
        o, budget, settings = self._ground.operations, self._ground.budget, self._settings
        runs: Ints = o.sequence(trace.codes[trace.codes >= 0])
        state = laid_out(o, budget, self._random, runs, MOST_PRICE)
        heat = settings.heat
        anneal(o, state, settings.moves, heat, heat, 0.0, SHARES)
        deadline.spend(SECONDS_A_MOVE * settings.moves)
        found = trimmed(o, state.run_at[state.run_at >= 0])
        fits = laid_out(o, budget, self._random, found, MOST_PRICE).numbers[EXCESS] == 0
        return self._ground.trace(found) if fits else trace
