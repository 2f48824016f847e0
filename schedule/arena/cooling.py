"""Ruin and recreate from one temperature down to the next, again and again."""

from __future__ import annotations

import numpy as np

from schedule.arena.buffers import Buffers
from schedule.arena.fitting import ENDLESS
from schedule.arena.searches import recreation
from schedule.arena.searches.recreation import Recreation, recreation_of
from schedule.layout import Ints
from schedule.solvers.contract import Deadline
from schedule.solvers.kit.randomness import random_of

#: Steps of one round; of the first cycles, times buffers; descents of one length; buffers that a
#: step takes out at most.
_ROUND, _FIRST_CYCLE, _DESCENTS, _RUINED = 2_000, 7_500_000, 2, 16
#: Temperatures: at the beginning of a descent, of so many buffers or fewer; at that of its other
#: cycles; at the end of all.
_HOT, _HOT_UP_TO, _WARM, _COLD = 1.0, 250, 0.1, 0.02
#: Buffers times buffers that a step looks at between two looks at the clock.
_OFTEN = 500_000
#: Seconds that a step takes, about, for each buffer.
_PUT = 2e-7


class Cooling:
    """Simulated annealing in descents: a hot cycle, and warm ones of half the length.

    A descent begins with what one buffer after the other makes, each put where that is least.
    Every warm cycle begins with its lowest packing, until one finds none that is lower. Every
    other descent is twice as long as the one before.

    Parameters
    ----------
    buffers, order
        n of them; shape (n,), the order in which they are put in.
    seed, run
        Of random choices; runs of one seed make different ones.
    """

    def __init__(self, buffers: Buffers, order: Ints, seed: int, run: int) -> None:
        self._buffers, self._order, self._seed, self._run = buffers, order, seed, run
        self._recreation: Recreation | None = None
        #: Descents and cycles that have ended, and steps of this one.
        self._descents, self._cycles, self._steps = 0, 0, 0
        #: The lowest packing before this cycle in this descent, and its height.
        self._best: Ints | None = None
        self._least = ENDLESS

    def go_on(self, height: int, deadline: Deadline) -> tuple[Ints | None, float]:
        """Search for a round, or until there is a packing within a height.

        Returns
        -------
        The lowest packing of this cycle, shape (n,), None where there was no time for one; and
        the seconds that the round takes, about.
        """
        n, is_hot = len(self._order), self._best is None
        length = max(2, _FIRST_CYCLE // n) << (self._descents // _DESCENTS)
        hot = _HOT * min(1.0, _HOT_UP_TO / n) if is_hot else _WARM
        length = length if is_hot else length // 2
        if self._recreation is None:
            order = self._order if self._best is None else np.argsort(self._best, kind="stable")
            random = random_of(self._seed + 2**20 * self._run + self._cycles)
            self._recreation = recreation_of(self._buffers, order, is_hot, hot, random)
            self._steps = 0
        state, done = self._recreation, 0
        each = max(1, _OFTEN // (_RUINED * n))
        cooling = (_COLD / hot) ** (1 / length)
        while done < _ROUND and self._steps < length and not deadline.passed:
            recreation.recreate(self._buffers, state, height, each, _RUINED, cooling)
            done += each
            self._steps += each
            if state.numbers[recreation.BEST] <= height:
                break
        found = int(state.numbers[recreation.BEST])
        if self._steps >= length or found <= height:
            self._end_cycle(state, found)
        return None if found == ENDLESS else state.best, _PUT * done * n

    def _end_cycle(self, state: Recreation, found: int) -> None:
        self._recreation = None
        self._cycles += 1
        if found < self._least:
            self._best, self._least = state.best, found
        else:
            self._best, self._least = None, ENDLESS
            self._descents += 1
