"""Solvers for a device with a host below it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from schedule.graph import Graph
from schedule.layout import Ints
from schedule.levels import Level
from schedule.lowering import needed_in_order
from schedule.makespan import makespan_bound
from schedule.memory import Trace
from schedule.solvers.contract import Deadline, Incumbent, Problem, Proof
from schedule.solvers.greedy import Greedy
from schedule.solvers.offloading.choosing import LARGEST_FIRST, PREFERENCES, Choice
from schedule.solvers.offloading.gaps import Gap, Runs
from schedule.solvers.offloading.placing import Placement


@dataclass(frozen=True, slots=True)
class OffloadAll:
    """Spend on the host all that the forward pass keeps, as far as there is room.

    That is what hooks for saved tensors do: whatever is idle when the backward pass
    begins is copied to the host when it has been written, and fetched for its reader.
    Nothing is recomputed. Without a backward pass it is all that is ever idle. O(n log n).
    """

    knows_levels: bool = True
    name: str = "offload_all"
    summary: str = "copies all that the forward pass keeps to the host, and recomputes nothing"

    def supports(self, graph: Graph) -> str | None:
        """Any graph."""
        return None

    def improve(self, problem: Problem, incumbent: Incumbent, deadline: Deadline) -> Proof:
        """One schedule."""
        attempt = _Attempt(problem, incumbent)
        runs = Runs(problem.graph, _plain(problem.graph))
        boundary = runs.boundary
        gaps = [gap for gap in runs.gaps() if gap.last < boundary <= gap.next]
        attempt.offer(runs, attempt.choice(runs, gaps or runs.gaps()).everything())
        return Proof()


@dataclass(frozen=True, slots=True)
class OffloadLargest:
    """Spend the largest gaps on the host, until the program fits.

    Where memory is worst, the largest storage that is idle there goes; nothing is
    recomputed. O(n²) in the worst case.
    """

    knows_levels: bool = True
    name: str = "offload_largest"
    summary: str = "copies the largest storages to the host until it fits, and recomputes nothing"

    def supports(self, graph: Graph) -> str | None:
        """Any graph."""
        return None

    def improve(self, problem: Problem, incumbent: Incumbent, deadline: Deadline) -> Proof:
        """One schedule, where that fits."""
        attempt = _Attempt(problem, incumbent)
        runs = Runs(problem.graph, _plain(problem.graph))
        chosen = attempt.choice(runs, runs.gaps()).by(LARGEST_FIRST)
        if chosen is not None:
            attempt.offer(runs, chosen)
        return Proof()


@dataclass(frozen=True, slots=True)
class OffloadSettings:
    """How much `offload` tries.

    Attributes
    ----------
    budgets
        From the plain program's peak down to the budget, so many budgets are met by
        recomputation, and the rest of the way by copies.
    share
        Of the time that is left, for recomputation within these budgets.
    rounds
        Rounds in which what is copied first is disturbed at random.
    noise
        By how much: the standard deviation of the score's logarithm.
    """

    budgets: int = 8
    share: float = 0.6
    rounds: int = 60
    noise: float = 0.5


@dataclass(frozen=True, slots=True)
class Offload:
    """Recompute part of the way to the budget, and offload the rest.

    For several budgets between the program's peak and the one that is asked for, the
    runs of `greedy`; then, where these don't fit, gaps on the host by several
    preferences. Then rounds that disturb what was best. Its bound is `makespan_bound`.

    Parameters
    ----------
    settings
        How much it tries.

    Notes
    -----
    O(n²) for a preference in the worst case.
    """

    settings: OffloadSettings = OffloadSettings()
    knows_levels: bool = True
    name: str = "offload"
    summary: str = "recomputes part of the way to the budget, and copies the rest to the host"

    def supports(self, graph: Graph) -> str | None:
        """Any graph."""
        return None

    def improve(self, problem: Problem, incumbent: Incumbent, deadline: Deadline) -> Proof:
        """The best of all that was tried; each was offered."""
        if incumbent.offer(needed_in_order(problem.graph)):
            return Proof()
        assert problem.budget is not None, "without a budget the program fits as it is"
        found = makespan_bound(
            problem.graph, problem.budget, problem.levels, lambda: deadline.passed
        )
        if not np.isfinite(found.makespan):
            return Proof(needed=problem.budget + 1, node=found.node)
        incumbent.prove(Proof(bound=found.makespan))
        attempt = _Attempt(problem, incumbent)
        for runs in self._sequences(problem, deadline):
            attempt.try_all(runs)
            if deadline.passed or incumbent.is_good_enough:
                return Proof()
        random = np.random.default_rng(problem.seed)
        for _ in range(self.settings.rounds):
            if deadline.passed or incumbent.is_good_enough:
                break
            attempt.disturb(random, self.settings.noise)
        return Proof()

    def _sequences(self, problem: Problem, deadline: Deadline) -> Iterator[Runs]:
        """The program as it is, then with more and more recomputed."""
        graph, budget = problem.graph, problem.budget
        assert budget is not None, "without a budget the program fits as it is"
        first = Runs(graph, _plain(graph))
        yield first
        count, way = self.settings.budgets, first.peak - budget
        for step in range(count, 0, -1):  # what needs no host first: it always helps
            alone = replace(problem, budget=first.peak - way * step // count, levels=())
            known = Incumbent(alone)
            Greedy().improve(alone, known, deadline.share(self.settings.share / step))
            if known.trace is not None:
                yield Runs(graph, known.trace.codes[known.trace.codes >= 0])


def _plain(graph: Graph) -> Ints:
    return np.flatnonzero(graph.layout.needed)


class _Attempt:
    """What was tried, and the runs that led to the best."""

    def __init__(self, problem: Problem, incumbent: Incumbent) -> None:
        self.problem, self.incumbent = problem, incumbent
        self.graph = problem.graph
        self.level: Level = problem.levels[0]
        self.tried: list[tuple[float, Runs, list[Gap]]] = []  # best makespan, runs, their gaps

    def choice(self, runs: Runs, gaps: list[Gap]) -> Choice:
        """Gaps to choose from."""
        budget = runs.peak if self.problem.budget is None else self.problem.budget
        return Choice(gaps, runs.memory, budget, self.level.capacity)

    def try_all(self, runs: Runs) -> None:
        """Every preference, with these runs."""
        if self.problem.fits(runs.peak):
            self.incumbent.offer(runs.codes)
            return
        gaps, best = runs.gaps(), np.inf
        for preference in PREFERENCES:
            chosen = self.choice(runs, gaps).by(preference)
            if chosen is not None:
                best = min(best, self.offer(runs, chosen))
        self.tried.append((best, runs, gaps))

    def disturb(self, random: np.random.Generator, noise: float) -> None:
        """One of the runs that were best, with what is copied first disturbed."""
        if not self.tried:
            return
        self.tried.sort(key=lambda one: one[0])
        at = min(int(random.geometric(0.5)) - 1, len(self.tried) - 1)
        best, runs, gaps = self.tried[at]
        preference = PREFERENCES[int(random.integers(len(PREFERENCES)))]
        factors = np.exp(random.normal(0.0, noise, len(gaps)))
        chosen = self.choice(runs, gaps).by(preference, factors)
        if chosen is not None:
            self.tried[at] = (min(best, self.offer(runs, chosen)), runs, gaps)

    def offer(self, runs: Runs, gaps: list[Gap]) -> float:
        """Place these gaps, and offer what comes of it; the best makespan."""
        best = np.inf
        for early in (True, False):
            trace: Trace | None = None
            for _ in range(2):  # by the times of the first, the second knows when runs wait
                placement = self._placement(runs, gaps)
                if not placement.fits:
                    return best
                placement.spread_out(*placement.times(trace))
                trace = self.incumbent.replay(placement.codes(early))
                if self.problem.fits(trace.peak):
                    best = min(best, float(trace.makespan))
        return best

    def _placement(self, runs: Runs, gaps: list[Gap]) -> Placement:
        budget = runs.peak if self.problem.budget is None else self.problem.budget
        return Placement(self.graph, self.level, runs, gaps, budget)


#: Solvers for a device with levels below it, by name; the first is what `auto` asks.
OFFLOADERS = {solver.name: solver for solver in (Offload(), OffloadLargest(), OffloadAll())}
