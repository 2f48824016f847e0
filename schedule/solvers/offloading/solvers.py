"""Solvers for a device with a host below it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from schedule.graph import Graph
from schedule.layout import Floats, Ints
from schedule.levels import Level
from schedule.lowering import needed_in_order
from schedule.makespan import makespan_bound
from schedule.memory import Trace
from schedule.solvers.contract import Deadline, Incumbent, Problem, Proof, Solver
from schedule.solvers.greedy import Greedy
from schedule.solvers.offloading.annealing import COPIES
from schedule.solvers.offloading.choosing import LARGEST_FIRST, PREFERENCES, Choice
from schedule.solvers.offloading.gaps import Gap, Runs
from schedule.solvers.offloading.placing import Placement
from schedule.solvers.offloading.refining import STAGED, Plan, Staged, StagedSettings
from schedule.solvers.offloading.torchtitan import (
    OFFLOAD,
    RECOMPUTE,
    Inner,
    by_program,
    by_rank,
    parts_of,
    runs_with,
    saved_by,
    ways_of,
)
from schedule.solvers.portfolio import Auto

if TYPE_CHECKING:
    from schedule.solvers.offloading.annealing.searcher import Copies


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
    alone, programs
        Of the time that is left, for recomputation alone, and then for staged programs.
    budgets
        From the plain program's peak down to the budget, so many budgets are met by
        recomputation, and the rest of the way by copies.
    share
        Of the time that is left, for recomputation within these budgets.
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

    alone: float = 0.25
    programs: float = 0.6
    budgets: int = 8
    share: float = 0.6
    patience: int = 10
    moves: int = 60_000
    moves_of_a_gap: int = 100
    noise: float = 0.5
    kept: int = 6
    staged: StagedSettings = STAGED


_USUAL = OffloadSettings()


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

    settings: OffloadSettings = _USUAL
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
        attempt = _Attempt(problem, incumbent, self.settings)
        attempt.try_all(Runs(problem.graph, _plain(problem.graph)))
        until = deadline.unless(lambda: incumbent.is_good_enough)
        settings = self.settings
        alone = self._alone(problem, until.share(settings.alone))
        if alone is not None and not until.passed:
            attempt.try_all(alone)
        staged = Staged(problem, incumbent, attempt.offer_plan, settings.staged)
        staged.run(until.share(settings.programs))
        for runs in self._sequences(problem, until):
            attempt.try_all(runs)
            if until.passed:
                return Proof()
        random, failed = np.random.default_rng(problem.seed), 0
        while attempt.tried and failed < settings.patience and not until.passed:
            failed = 0 if attempt.disturb(random, until) else failed + 1
        return Proof()

    def _alone(self, problem: Problem, deadline: Deadline) -> Runs | None:
        """What recomputation alone finds; None: nothing, or it was not asked."""
        known = Incumbent(replace(problem, levels=()), clock=deadline.clock)
        Auto().improve(replace(problem, levels=()), known, deadline)
        if known.trace is None:
            return None
        return Runs(problem.graph, known.trace.codes[known.trace.codes >= 0])

    def _sequences(self, problem: Problem, deadline: Deadline) -> Iterator[Runs]:
        """Less and less recomputed, by `greedy`."""
        graph, budget = problem.graph, problem.budget
        assert budget is not None, "without a budget the program fits as it is"
        peak = needed_in_order(graph).peak
        count, way = self.settings.budgets, peak - budget
        for step in range(count - 1, 0, -1):
            alone = replace(problem, budget=peak - way * step // count, levels=())
            known = Incumbent(alone)
            Greedy().improve(alone, known, deadline.share(self.settings.share / step))
            if known.trace is not None:
                yield Runs(graph, known.trace.codes[known.trace.codes >= 0])


#: How much rather what a program's solution copies goes to the host.
_PLANNED = 1e3


def _plain(graph: Graph) -> Ints:
    return np.flatnonzero(graph.layout.needed)


@dataclass(slots=True)
class _Tried:
    """Runs, their gaps, which of them are copied, and the best that came of it."""

    makespan: float
    runs: Runs
    gaps: list[Gap]
    chosen: list[Gap]
    trace: Trace | None
    positions: Ints | None = None  # of the chosen ones, once annealed


class _Attempt:
    """What was tried, and the runs that led to the best."""

    def __init__(
        self, problem: Problem, incumbent: Incumbent, settings: OffloadSettings = _USUAL
    ) -> None:
        self.problem, self.incumbent, self.settings = problem, incumbent, settings
        self.graph = problem.graph
        self.level: Level = problem.levels[0]
        self.last: Trace | None = None  # the best of what was placed last
        self.tried: list[_Tried] = []

    def choice(self, runs: Runs, gaps: list[Gap]) -> Choice:
        """Gaps to choose from."""
        compute = self.graph.layout.compute[runs.runs]
        return Choice(gaps, runs.memory, self._budget(runs), self.level, compute)

    def try_all(self, runs: Runs) -> None:
        """Every preference, with these runs."""
        if self.problem.fits(runs.peak):
            self.incumbent.offer(runs.codes)
            return
        gaps = runs.gaps()
        self._try(runs, gaps, np.ones(len(gaps)))

    def _try(self, runs: Runs, gaps: list[Gap], factors: Floats) -> _Tried | None:
        """Every preference; what was best, if anything fits."""
        tried = None
        for preference in PREFERENCES:
            chosen = self.choice(runs, gaps).by(preference, factors)
            found = np.inf if chosen is None else self.offer(runs, chosen)
            if chosen is not None and found < (np.inf if tried is None else tried.makespan):
                tried = _Tried(found, runs, gaps, chosen, self.last)
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
        tried = self._try(runs, gaps, np.where(planned, _PLANNED, 1.0))
        if tried is not None:
            self.anneal(tried, deadline)
        if over.max(initial=0) > 0:
            return min(int(over.argmax()), len(runs.runs) - 1)
        if tried is None or tried.trace is None or not tried.trace.timeline.waits:
            return None
        worst = max(tried.trace.timeline.waits, key=lambda wait: wait.time)
        return min(int((tried.trace.codes[: worst.step] >= 0).sum()), len(runs.runs) - 1)

    def anneal(self, tried: _Tried, deadline: Deadline, seed: int = 0) -> bool:
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
            self._copies(tried.runs, gaps),
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

    def _copies(self, runs: Runs, gaps: list[Gap]) -> Copies:
        from schedule.solvers.offloading.annealing.searcher import Copies

        lives: dict[tuple[int, int], int] = {}
        rows = [
            (gap.size, lives.setdefault(gap.life, len(lives)), gap.written, gap.last, gap.next)
            for gap in gaps
        ]
        size, life, written, last, next_ = np.array(rows, np.int64).reshape(-1, 5).T.copy()
        compute = self.graph.layout.compute[runs.runs]
        return Copies(runs.memory, compute, size, life, written, last, next_)

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
        for early in (True, False):
            trace: Trace | None = None
            for _ in range(2):  # by the times of the first, the second knows when runs wait
                placement = self._placement(runs, gaps)
                if not placement.fits:
                    return best
                placement.spread_out(*placement.times(trace))
                placement.issue(early)
                trace = self.incumbent.replay(placement.codes())
                if self.problem.fits(trace.peak) and trace.makespan < best:
                    best, self.last = float(trace.makespan), trace
        return best

    def _placement(self, runs: Runs, gaps: list[Gap]) -> Placement:
        return Placement(self.graph, self.level, runs, gaps, self._budget(runs))

    def _budget(self, runs: Runs) -> int:
        return runs.peak if self.problem.budget is None else self.problem.budget


@dataclass(frozen=True, slots=True)
class Torchtitan:
    """Keep, recompute or offload each tensor saved for the backward pass, as torchtitan does.

    A linear program divides what each block of the forward pass saves, such that memory fits
    at every block of the backward pass, and all copies are hidden; then each block's tensors
    are ranked, or chosen by an integer program. Blocks are of about the same size, as a graph
    has no layers. Where the peak of what comes of it exceeds the budget, that is asked again
    with a lower one.

    Parameters
    ----------
    inner
        How a block's tensors are chosen: `torchtitan.by_rank` or `torchtitan.by_program`.
    name, summary
        Of the two.
    blocks, attempts, step
        The number of blocks, how often it is asked, and by what share of the budget lower
        each time.
    """

    inner: Inner
    name: str
    summary: str
    blocks: int = 24
    attempts: int = 25
    step: float = 0.02
    knows_levels: bool = True

    def supports(self, graph: Graph) -> str | None:
        """Training graphs."""
        return None if graph.layout.backward.any() else "it has no backward pass"

    def improve(self, problem: Problem, incumbent: Incumbent, deadline: Deadline) -> Proof:
        """The first plan that fits."""
        if incumbent.offer(needed_in_order(problem.graph)):
            return Proof()
        assert problem.budget is not None, "without a budget the program fits as it is"
        graph, attempt = problem.graph, _Attempt(problem, incumbent)
        plain = Runs(graph, _plain(graph))
        saved = saved_by(plain, self.blocks)
        for lower in range(self.attempts if saved is not None else 0):
            if deadline.passed or saved is None:
                break
            budget = int(problem.budget * (1 - self.step * lower))
            parts = parts_of(saved, budget, attempt.level, deadline)
            if parts is None:
                break
            ways = ways_of(saved, parts, self.inner, deadline)
            rerun = np.zeros(graph.layout.n_tensors, dtype=bool)
            rerun[saved.storages[ways == RECOMPUTE]] = True
            runs = Runs(graph, runs_with(graph, plain, rerun))
            away = set(saved.storages[ways == OFFLOAD].tolist())
            boundary = runs.boundary
            gaps = [gap for gap in runs.gaps() if gap.last < boundary <= gap.next]
            gaps = [gap for gap in gaps if gap.storage in away]
            if np.isfinite(attempt.offer(runs, gaps)):
                break
        return Proof()


#: Solvers for a device with levels below it, by name; the first is what `auto` asks.
OFFLOADERS: dict[str, Solver] = {
    solver.name: solver
    for solver in (
        Offload(),
        OffloadLargest(),
        OffloadAll(),
        Torchtitan(by_rank, "torchtitan_greedy", "torchtitan's policy, tensors by rank"),
        Torchtitan(by_program, "torchtitan_ilp", "torchtitan's policy, tensors by programs"),
    )
}
