"""Follow the program; where it doesn't fit, evict what is cheap to recompute."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from schedule.graph import Graph
from schedule.layout import Ints
from schedule.lowering import free_early, needed_in_order
from schedule.solvers.annealing.sections import SECTIONS
from schedule.solvers.contract import Deadline, Incumbent, Problem, Proof
from schedule.solvers.eviction import EVICTION
from schedule.solvers.eviction.fitting import RULES, Fitting, Rule
from schedule.solvers.eviction.retained import RETAINED
from schedule.solvers.kit.loading import PATIENCE, Loading
from schedule.solvers.program.operations import node_runs, operations_of
from schedule.values import require_kind

if TYPE_CHECKING:
    from schedule.solvers.annealing.sections.coarse import SectionSettings
    from schedule.solvers.eviction.state import EvictionLimits


@dataclass(frozen=True, slots=True)
class GreedySettings:
    """How much `greedy` tries.

    Attributes
    ----------
    rules
        What is evicted first; each is tried on every order.
    orders
        The number of orders that are followed beside the program's own.
    work, work_of_a_node
        Work after which no further rule is tried, in nodes and edges looked at: a
        constant, and more for each node.
    rounds, more_rounds, near
        Where nothing fits: rounds that look for sections of the program to rerun, and
        further ones where what was found exceeds the budget by no more than the share
        `near`.
    grace
        Seconds beyond the time limit that checking what was found last may take.
    retains
        Whether it also tries to retain some results throughout.
    patience
        How many times that work it has for it where evictions don't fit.
    steps, patient
        Where that doesn't help either: steps in which the budget is approached, and the
        number of rules that are tried for it.
    limits, sections
        How far evictions look, and how whole sections are searched; None: the defaults.
    """

    rules: tuple[Rule, ...] = RULES
    orders: int = 2
    work: int = 3_000_000
    work_of_a_node: int = 30
    rounds: int = 3
    more_rounds: int = 4
    near: float = 0.08
    grace: float = 1.0
    retains: bool = True
    patience: int = 50
    steps: int = 8
    patient: int = 3
    limits: EvictionLimits | None = None
    sections: SectionSettings | None = None


_USUAL = GreedySettings()
#: The two rules that mostly have the best plan, in the given order; no last resorts.
QUICK = GreedySettings(
    (RULES[0], RULES[2]), orders=0, rounds=0, more_rounds=0, patient=0, retains=False
)


@dataclass(frozen=True, slots=True)
class Greedy:
    """Before each run, recompute what it reads; while it doesn't fit, evict what is idle.

    A rule says what is evicted first: what takes little compute to restore when it
    is next read, much memory, a long wait until then. That is the eviction of DTR
    (Kirisame et al. 2021, arXiv:2006.09616) with the future known. Each rule's plan
    is followed again, so that what need not have been evicted stays; the best of
    all rules counts.

    In a free order it also follows orders that hold less memory, where their
    peak is lower: one chosen from the last node to the first, and ones in which
    every run has been shifted to where it holds least. Then it retains some results
    throughout and recomputes the others for each reader, which always ends. Where
    evictions alone don't fit, it reruns whole sections of the program, or approaches
    the budget in steps, each from the plan before. It proves nothing beyond every
    node once.

    Parameters
    ----------
    settings
        How much it tries.

    Notes
    -----
    Asked again with the same incumbent, it does nothing where it came to its end.

    O(n log n) for a pass over n nodes. Beyond a limit on the work (not on the
    time: the plan is the same everywhere), no more rules are tried.
    """

    settings: GreedySettings = _USUAL
    counts_work: ClassVar[bool] = True
    compiled: ClassVar[tuple[Loading, ...]] = (EVICTION, RETAINED, SECTIONS)
    name: str = "greedy"
    summary: str = "evicts what is cheap to recompute, by several rules (DTR, looking ahead)"

    def __post_init__(self) -> None:
        require_kind(self.settings, GreedySettings, "settings of 'greedy'")

    def supports(self, graph: Graph) -> str | None:
        """Any graph."""
        return None

    def improve(self, problem: Problem, incumbent: Incumbent, deadline: Deadline) -> Proof:
        """The plans of all rules that there is work for; each was offered."""
        if incumbent.offer(needed_in_order(problem.graph)):
            return Proof()
        ended: list[bool] = incumbent.resume((Greedy, self.settings), list)
        if ended or deadline.passed or not EVICTION.wait(incumbent, deadline):
            return Proof()
        attempt = _Attempt(problem, incumbent, deadline, self.settings)
        attempt.add_orders(np.flatnonzero(problem.graph.layout.needed))
        attempt.follow_rules()
        is_stuck = incumbent.trace is None
        if self.settings.retains:
            attempt.retain(patiently=is_stuck)
        if is_stuck:  # also where that has an answer: it may be far from the best
            attempt.rerun_sections()
        if incumbent.trace is None:
            attempt.approach()
        if not deadline.passed:
            ended.append(True)
        return Proof()


@dataclass
class _Attempt:
    """The orders that are followed, and the best that comes of them."""

    problem: Problem
    incumbent: Incumbent
    deadline: Deadline
    settings: GreedySettings
    orders: list[tuple[Ints, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        problem = self.problem
        self._pace = 0.0  # seconds that it takes to replay and to offer a plan, for each run
        self._until = self.deadline.unless(self._is_late)
        self._fitting = Fitting(problem.graph, problem.order, self._until, self.settings.limits)
        self._allow_work()

    def _allow_work(self) -> None:
        settings = self.settings
        more = settings.work + settings.work_of_a_node * len(self.problem.graph)
        self._fitting.deadline = self._until.with_work(more)

    def add_orders(self, plain: Ints) -> None:
        """The program's own order, and in a free order some with a lower peak, which go first."""
        own = needed_in_order(self.problem.graph).peak
        found: list[tuple[Ints, int]] = []
        if self.problem.order == "free" and self.settings.orders:
            found += ((runs, self._take(runs)) for runs in self._fitting.other_orders(plain))
        lower = sorted((order for order in found if order[1] < own), key=lambda order: order[1])
        self.orders = [*lower[: self.settings.orders], (plain, own)]

    def _is_late(self) -> bool:
        """Whether what is found from now on couldn't be checked in time."""
        return self.deadline.seconds_left <= self._pace * len(self.problem.graph)

    def _take(self, runs: Ints) -> int:
        """Replay runs and offer them; their peak."""
        clock = self.deadline.clock
        started = clock.now()
        trace = self.incumbent.replay(free_early(self.problem.graph, runs))
        self._pace = max(self._pace, (clock.now() - started) / max(len(runs), 1))
        return trace.peak

    @property
    def _is_over(self) -> bool:
        return self._fitting.deadline.passed or self.incumbent.is_good_enough

    def follow_rules(self) -> None:
        """Every rule on every order; one that gets stuck in the first, in no other."""
        for rule in self.settings.rules:
            for runs, _ in self.orders:
                if self._is_over:
                    return
                found = self._fitting.fit(runs, self._budget, rule)
                if found is None:
                    break
                self._take(found)

    def retain(self, patiently: bool) -> None:
        """Retain some results, and recompute the others for each reader: see `retained`.

        Patiently: with many times the work, and however long compiling takes.
        """
        patience = math.inf if patiently else PATIENCE
        if not RETAINED.wait(self.incumbent, self.deadline, patience):
            return
        from schedule.solvers.eviction.retained.runs import runs_with_retained  # compiles

        self._allow_work()
        graph = self.problem.graph
        operations = operations_of(graph, self.problem.order)
        capacity = self._budget - graph.layout.resident_memory
        work = self._fitting.deadline.work * (self.settings.patience if patiently else 1)
        until = self._until.with_work(work)
        found: list[Ints] = []
        for runs, _ in self.orders:
            sequence = operations.sequence(runs)
            if until.passed or self.incumbent.is_good_enough:
                break
            retained = runs_with_retained(operations, sequence, capacity, until)
            if retained is not None:
                found.append(node_runs(graph, operations, retained))
                self._take(found[-1])
        if found and not self._until.passed:
            best = min(found, key=lambda runs: float(graph.layout.compute[runs].sum()))
            self._allow_work()
            again = self._fitting.fit(best, self._budget, self.settings.rules[0])
            if again is not None:
                self._take(again)

    def rerun_sections(self) -> None:
        """Rerun whole sections of the first order: see `Coarse`."""
        problem, graph = self.problem, self.problem.graph
        if not SECTIONS.wait(self.incumbent, self.deadline):
            return
        from schedule.solvers.annealing.sections.coarse import (  # compiles: only when needed
            Coarse,
            SectionSettings,
        )

        operations = operations_of(graph, problem.order)
        if self._is_late():
            return
        first = operations.sequence(self.orders[0][0])
        capacity = self._budget - graph.layout.resident_memory
        coarse = Coarse(operations, first, capacity, self.settings.sections or SectionSettings())
        settings = self.settings
        for round_ in range(settings.rounds + settings.more_rounds):
            is_far = coarse.least_peak > (1 + settings.near) * capacity
            if (round_ >= settings.rounds and is_far) or self._is_late():
                return
            found = coarse.round(self._until)
            if self._pace * len(found) > self.deadline.seconds_left + settings.grace:
                return  # it is many times as long as the program
            if self._take(node_runs(graph, operations, found)) <= self._budget:
                return

    def approach(self) -> None:
        """Lower and lower peaks, each plan from the one before, until one fits."""
        self._allow_work()
        steps = self.settings.steps
        for rule in self.settings.rules[: self.settings.patient]:
            for order, peak in self.orders:
                runs: Ints | None = order
                for step in range(1, steps + 1):
                    if runs is None or self._is_over:
                        break
                    budget = peak - (peak - self._budget) * step // steps
                    runs = self._fitting.fit(runs, budget, rule)
                    if runs is not None:
                        self._take(runs)
                if self.incumbent.trace is not None:
                    return

    @property
    def _budget(self) -> int:
        assert self.problem.budget is not None, "without a budget the program fits as it is"
        return self.problem.budget
