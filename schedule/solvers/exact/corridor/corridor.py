"""The corridor method: neighbourhoods of known schedules, searched from the end, and proofs."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from schedule.graph import Graph
from schedule.layout import Bools, Ints, first_of
from schedule.memory import Trace
from schedule.solvers.contract import Deadline, Incumbent
from schedule.solvers.exact.corridor.ground import Effort, Ground
from schedule.solvers.exact.corridor.potentials import Potentials
from schedule.solvers.kit.states import STATE_BYTES
from schedule.solvers.program.operations import recomputable


@dataclass(frozen=True, slots=True)
class CorridorSettings:
    """What one search may take, and how wide corridors are.

    Attributes
    ----------
    memory
        Bytes for the states of one search.
    part, few
        The share of the work left that a search may take, and the least work that is
        worth a search.
    moves, stage
        Moves for each state that there is space for, and the share of the states that one
        stage of a corridor may expand.
    often
        How often a search asks whether to stop, in states that were expanded.
    reach
        By how many first runs a rerun may move at first.
    stride
        By how much the bound is raised at first, as a share of every node once.
    """

    memory: int = 400_000_000
    part: float = 0.4
    few: int = 100_000
    moves: int = 4
    stage: float = 0.05
    often: int = 2_000
    reach: int = 4
    stride: float = 0.01


#: The default.
CORRIDOR_SETTINGS = CorridorSettings()


@dataclass(frozen=True, slots=True)
class _Found:
    """The schedule of least compute, None where there is none within the limit.

    `was_cut`: some states were left out, as they were too many. `was_long`: more
    than a quarter of the moves allowed were looked at.
    """

    trace: Trace | None
    was_cut: bool
    was_long: bool = True


class Corridor:
    """Schedules in the given order, by searches that start from the end.

    A corridor is a neighbourhood: schedules whose reruns are near known ones. A
    deadline's work is the number of moves looked at, times the words of a state.

    Parameters
    ----------
    graph, budget
        What is solved; the budget counts everything.
    settings
        What a search may take.

    Attributes
    ----------
    proved
        Lower bound on the compute of every schedule within the budget, in the given order;
        infinite where none fits.

    Notes
    -----
    O(words · reads) for a state and each of its moves. Searching the neighbourhood
    of a solution by dynamic programming is the corridor method (Sniedovich, Voß
    2006, Control and Cybernetics 35, 551-578).
    """

    def __init__(
        self, graph: Graph, budget: int, settings: CorridorSettings = CORRIDOR_SETTINGS
    ) -> None:
        self._settings, self._ground = settings, Ground.of(graph, budget)
        self._operations = o = self._ground.operations
        # What the search doesn't repeat, although a schedule may.
        self._is_whole = np.array_equal(o.may_repeat, recomputable(graph, o))
        self._once = self._ground.once
        self._reruns = np.zeros((len(o.nodes) + 1, len(o.nodes)), dtype=bool)
        self._reach, self._stride = settings.reach, settings.stride * self._once
        self.proved = -math.inf

    def widen(self, runs: Ints) -> None:
        """Widen the corridor by the reruns of a sequence of nodes, first runs in order."""
        sequence = self._operations.sequence(runs)
        is_first = first_of(sequence)
        stage = np.cumsum(is_first)
        self._reruns[stage[~is_first], sequence[~is_first]] = True

    def prove(
        self,
        incumbent: Incumbent,
        bound: int | float,
        potentials: Potentials,
        deadline: Deadline,
    ) -> None:
        """Raise the bound in strides, from `bound` on, while searches come to an end.

        They search everything, not a corridor: a schedule that one of them finds is
        optimal.
        """
        if not self._is_whole:
            return
        self.proved = max(self.proved, float(bound), self._once)
        everything = np.ones_like(self._reruns)
        while not self._is_over(deadline):
            limit = float(incumbent.compute) - self._ground.step
            if self._stride < self._once:  # else everything, at last
                limit = min(limit, self.proved + self._stride)
            if limit <= self.proved:
                break
            found = self._search(everything, limit, potentials, deadline, 1.0)
            if found.was_cut:
                self._stride /= 2
                break
            self.proved = limit
            if found.trace is not None:
                incumbent.offer(found.trace)
                self.proved = float(found.trace.compute)
                break
            if found.was_long or limit == math.inf:
                break
            self._stride *= 2

    def follow(self, incumbent: Incumbent, potentials: Potentials, deadline: Deadline) -> None:
        """Better schedules than the incumbent, from corridors around known reruns.

        A corridor that was searched to its end is made wider, up to the whole
        problem; one that wasn't is made narrower, until there was one of each.
        """
        before: bool | None = None
        while not self._is_over(deadline):
            limit = float(incumbent.compute) - self._ground.step
            found = self._search(self._allowed(), limit, potentials, deadline, self._settings.stage)
            is_last = self._reach == 1 if found.was_cut else self._reach >= len(self._reruns)
            # Where steps are lost in rounding, or nothing costs anything, it may be no better.
            if found.trace is not None and found.trace.compute < incumbent.compute:
                incumbent.offer(found.trace)
                self.widen(found.trace.codes[found.trace.codes >= 0])
            elif is_last or before not in (None, found.was_cut):
                break
            self._reach = max(1, self._reach // 2) if found.was_cut else 2 * self._reach
            before = found.was_cut

    def _is_over(self, deadline: Deadline) -> bool:
        """Whether no further search is to begin."""
        return deadline.work < self._settings.few or deadline.passed

    def _allowed(self) -> Bools:
        """Shape (o + 1, o): known reruns, and `reach` first runs before and after each."""
        reach, stages = self._reach, len(self._reruns)
        if reach >= stages:
            return np.ones_like(self._reruns)
        change = np.zeros((stages + 1, stages - 1), np.int64)
        stage, v = np.nonzero(self._reruns)
        np.add.at(change, (np.maximum(stage - reach, 0), v), 1)
        np.add.at(change, (np.minimum(stage + reach + 1, stages), v), -1)
        allowed: Bools = change.cumsum(axis=0)[:-1] > 0
        return allowed

    def _search(
        self,
        allowed: Bools,
        limit: float,
        potentials: Potentials,
        deadline: Deadline,
        share: float,
    ) -> _Found:
        """Schedules of at most `limit` whose reruns are allowed, from the end to the start.

        Each stage may expand a share of the states; with all of them, the search ends
        as soon as it is cut.
        """
        ground, settings = self._ground, self._settings
        moves = int(settings.part * deadline.work) // ground.words
        capacity = min(moves // settings.moves, settings.memory // (STATE_BYTES + 8 * ground.words))
        effort = Effort(moves, capacity, int(share * capacity), settings.often, share == 1.0)
        guide, end = ground.guide(potentials, allowed), len(self._operations.nodes)
        found = ground.search(guide, 0, end, limit - self._once, effort, deadline)
        trace = None if found.runs is None else ground.trace(found.runs)
        return _Found(trace, found.was_cut, found.moves > moves // 4)
