"""What is tried for an order of runs: gaps by preference, placed, simulated, annealed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from schedule.graph import Graph
from schedule.layout import Bools, Floats, Ints
from schedule.levels import Level
from schedule.memory import Trace
from schedule.solvers.contract import Deadline, Incumbent, Problem
from schedule.solvers.offloading.annealing import COPIES
from schedule.solvers.offloading.choosing import PREFERENCES, Choice, Preference
from schedule.solvers.offloading.gaps import Gap, Runs
from schedule.solvers.offloading.placing import Placement
from schedule.solvers.offloading.settings import STAGED, StagedSettings
from schedule.solvers.offloading.spilling import spilled

if TYPE_CHECKING:
    from schedule.solvers.offloading.annealing.searcher import Copies
    from schedule.solvers.offloading.refining import Plan

#: How much rather what a program's solution copies goes to the host.
_PLANNED = 1e3
#: About the seconds that a preference takes for each gap.
_SECONDS_A_GAP = 2e-5
#: What part of the time that compute waits annealing may save, more or less.
_SAVED = 0.5


@dataclass(frozen=True, slots=True)
class OffloadSettings:
    """How much `offload` tries.

    Attributes
    ----------
    simple, first, searched
        Of the time that is left, for the bound without programs, and for a search of all
        schedules where the graph is small: has at most so many nodes, and tensors.
    alone, peers, poet, search, relaxed, programs, better
        For recomputation alone where it has no thread of its own, with a host that has next
        to no room, and with one that has room for what is over the budget; for each of the
        quick solvers, and for POET's program, whose solution is a start; for that search
        again, with what is known then; for relaxed programs, for staged ones, and then for
        recomputation by better solvers where something is on the host.
    patience
        Rounds of annealing in a row that may find nothing better.
    moves, moves_of_a_gap, kept
        Of each round: at most, and for each gap. How many orders of runs are kept for
        further rounds.
    noise
        What is copied first is disturbed at random in every other round.
        By how much: the standard deviation of the score's logarithm.
    staged
        How staged programs are refined.
    """

    simple: float = 0.1
    first: float = 0.25
    searched: int = 30
    alone: tuple[float, float] = (0.7, 0.25)
    peers: float = 0.05
    poet: float = 0.15
    search: float = 0.4
    relaxed: float = 0.1
    programs: float = 0.5
    better: float = 0.6
    patience: int = 10
    moves: int = 60_000
    moves_of_a_gap: int = 100
    noise: float = 0.5
    kept: int = 6
    staged: StagedSettings = STAGED


#: The default.
OFFLOAD_SETTINGS = OffloadSettings()


def program_of(graph: Graph) -> Runs:
    """Every node that has to run, once, in the graph's own order."""
    return Runs(graph, np.flatnonzero(graph.layout.needed))


@dataclass(slots=True)
class Tried:
    """Runs, their gaps, which of them are copied, and the best that came of it."""

    makespan: float
    runs: Runs
    gaps: list[Gap]
    chosen: list[Gap]
    trace: Trace | None
    positions: Ints | None = None  # of the chosen ones, once annealed


class Attempt:
    """What was tried, and the runs that led to the best.

    Past `until` only what is begun is ended: of a large graph, one replay takes long.
    """

    def __init__(
        self,
        problem: Problem,
        incumbent: Incumbent,
        settings: OffloadSettings = OFFLOAD_SETTINGS,
        until: Deadline | None = None,
    ) -> None:
        self.problem, self.incumbent, self.settings = problem, incumbent, settings
        self._until = until
        self.graph = problem.graph
        self.level: Level = problem.levels[0]
        #: The same with room for all that the levels below it hold.
        self.whole = replace(self.level, capacity=sum(one.capacity for one in problem.levels))
        self.last: Trace | None = None  # the best of what was placed last
        self.tried: list[Tried] = []

    def choice(self, runs: Runs, gaps: list[Gap]) -> Choice:
        """Gaps to choose from."""
        compute = self.graph.layout.compute[runs.runs]
        return Choice(gaps, runs.memory, self._budget(runs), self.whole, compute)

    def try_all(self, runs: Runs) -> None:
        """Every preference, with these runs."""
        if self.problem.fits(runs.peak):
            self.incumbent.offer(runs.codes)
            return
        gaps = runs.gaps()
        self._try(runs, gaps, np.ones(len(gaps)))

    def _try(
        self,
        runs: Runs,
        gaps: list[Gap],
        factors: Floats,
        preferences: Sequence[Preference] = PREFERENCES,
    ) -> Tried | None:
        """Several preferences; what was best, if anything fits."""
        tried = None
        self.incumbent.clock.spend(_SECONDS_A_GAP * len(gaps) * len(preferences))
        for count, preference in enumerate(preferences):
            if count and self._is_late:
                break
            chosen = self.choice(runs, gaps).by(preference, factors)
            found = np.inf if chosen is None else self.offer(runs, chosen)
            if chosen is not None and found < (np.inf if tried is None else tried.makespan):
                tried = Tried(found, runs, gaps, chosen, self.last)
        if tried is not None:
            self.tried.append(tried)
        return tried

    def offer_plan(self, plan: Plan, deadline: Deadline) -> int | None:
        """A staged program's solution: what it copies goes first; see `Staged`."""
        runs = plan.runs
        if self.problem.fits(runs.peak):
            self.incumbent.offer(runs.codes)
            return None
        gaps = runs.gaps()
        planned = np.array([plan.is_copied(gap) for gap in gaps], dtype=bool)
        over = self.choice(runs, gaps).without(planned)
        tried = self.try_gaps(runs, gaps, planned)
        if tried is not None and self._has_hope(tried):
            self.anneal(tried, deadline)
        if over.max(initial=0) > 0:
            return min(int(over.argmax()), len(runs.runs) - 1)
        if tried is None or tried.trace is None or not tried.trace.timeline.waits:
            return None
        worst = max(tried.trace.timeline.waits, key=lambda wait: wait.time)
        return min(int((tried.trace.codes[: worst.step] >= 0).sum()), len(runs.runs) - 1)

    def begin_with(self, runs: Runs, copied: Sequence[Gap], deadline: Deadline) -> None:
        """Try these runs, what is copied first, and anneal what comes of it."""
        gaps, chosen = runs.gaps(), set(copied)
        planned = np.array([gap in chosen for gap in gaps], dtype=bool)
        tried = self.try_gaps(runs, gaps, planned)
        if tried is not None and self._has_hope(tried):
            self.anneal(tried, deadline)

    def _has_hope(self, tried: Tried) -> bool:
        """Whether it would be better than all others if compute waited for a part of that only."""
        if tried.trace is None:
            return False
        waited = tried.makespan - float(tried.trace.compute)
        return tried.makespan - _SAVED * waited < self.incumbent.compute

    def try_gaps(
        self,
        runs: Runs,
        gaps: list[Gap],
        planned: Bools,
        preferences: Sequence[Preference] = PREFERENCES,
    ) -> Tried | None:
        """Several preferences, those that are planned first."""
        return self._try(runs, gaps, np.where(planned, _PLANNED, 1.0), preferences)

    def anneal(self, tried: Tried, deadline: Deadline, seed: int = 0) -> bool:
        """Anneal which gaps are copied, and when; whether that is better."""
        if not COPIES.wait(self.incumbent, deadline):
            return False
        from schedule.solvers.offloading.annealing.searcher import anneal  # compiles

        gaps = sorted(tried.gaps, key=lambda gap: gap.next)
        chosen = set(tried.chosen)
        if sum(gap.size for gap in chosen) > self.level.capacity:
            return False
        start = np.array([[0, gap.written, gap.last, gap.next] for gap in gaps], np.int64).T.copy()
        where = [at for at, gap in enumerate(gaps) if gap in chosen]
        if tried.positions is None:
            bare = [replace(gaps[at], views=()) for at in where]
            placement = self._placement(tried.runs, bare)
            placement.spread_out(*placement.times())
            start[1:, where] = placement.positions
        else:
            start[1:, where] = tried.positions
        start[0, where] = 1
        best, _ = anneal(
            self.copies(tried.runs, gaps),
            self._budget(tried.runs),
            self.level,
            start,
            seed=seed,
            moves=min(self.settings.moves, self.settings.moves_of_a_gap * len(gaps)),
            deadline=deadline,
        )
        where = np.flatnonzero(best[0]).tolist()
        found = [gaps[at] for at in where]
        placement = self._placement(tried.runs, found)
        placement.put(best[1:, where])
        trace = self.incumbent.replay(placement.codes())
        if not self.problem.fits(trace.peak) or trace.makespan >= tried.makespan:
            return False
        tried.makespan, tried.chosen, tried.trace = float(trace.makespan), found, trace
        tried.positions = best[1:, where]
        return True

    def copies(self, runs: Runs, gaps: list[Gap]) -> Copies:
        """The gaps as arrays, for annealing."""
        from schedule.solvers.offloading.annealing.loop import Gaps
        from schedule.solvers.offloading.annealing.searcher import Copies

        lives: dict[tuple[int, int], int] = {}
        rows = [
            (gap.size, lives.setdefault(gap.life, len(lives)), gap.written, gap.last, gap.next)
            for gap in gaps
        ]
        size, life, written, last, next_ = np.array(rows, np.int64).reshape(-1, 5).T.copy()
        compute = self.graph.layout.compute[runs.runs]
        level = self.level
        down, up = level.latency + size / level.down, level.latency + size / level.up
        return Copies(runs.memory, Gaps(compute, size, life, written, last, next_, down, up))

    def disturb(self, random: np.random.Generator, deadline: Deadline) -> bool:
        """Anneal again one of those that were best, or with what goes first disturbed."""
        self.tried.sort(key=lambda one: one.makespan)
        at = min(int(random.geometric(0.5)) - 1, len(self.tried) - 1)
        tried, seed = self.tried[at], int(random.integers(2**31))
        before = self.incumbent.compute
        if random.integers(2):
            self.anneal(tried, deadline, seed)
        else:
            factors = np.exp(random.normal(0.0, self.settings.noise, len(tried.gaps)))
            new = self._try(tried.runs, tried.gaps, factors)
            if new is not None:
                self.anneal(new, deadline, seed)
        del self.tried[self.settings.kept :]
        return self.incumbent.compute < before

    def offer(self, runs: Runs, gaps: list[Gap]) -> float:
        """Place these gaps, and offer what comes of it; the best makespan."""
        best = np.inf
        gaps = sorted(gaps, key=lambda gap: (gap.storage, gap.written))
        copied = sum({gap.life: gap.size for gap in gaps}.values())
        for early in (True, False):
            trace: Trace | None = None
            for _ in range(2):  # by the times of the first, the second knows when runs wait
                if best < np.inf and self._is_late:
                    return best
                placement = self._placement(runs, gaps)
                if not placement.fits:
                    return best
                placement.spread_out(*placement.times(trace))
                placement.issue(early)
                codes = self._within_levels(placement.codes(), copied)
                if codes is None:
                    break
                trace = self.incumbent.replay(codes)
                if self.problem.fits(trace.peak) and trace.makespan < best:
                    best, self.last = float(trace.makespan), trace
        return best

    @property
    def _is_late(self) -> bool:
        return self._until is not None and self._until.passed

    def _within_levels(self, codes: Ints, copied: int) -> Ints | None:
        """Steps for which every level has room, as they copy so much; None: there are none."""
        if copied <= self.level.capacity:
            return codes
        return spilled(self.graph, codes, self.problem.levels)

    def _placement(self, runs: Runs, gaps: list[Gap]) -> Placement:
        return Placement(self.graph, self.level, runs, gaps, self._budget(runs))

    def _budget(self, runs: Runs) -> int:
        return runs.peak if self.problem.budget is None else self.problem.budget
