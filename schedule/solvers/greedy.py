"""Follow the program; where it doesn't fit, let go of what is cheap to make again."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from schedule.bounds import least_compute
from schedule.graph import Graph
from schedule.layout import Ints
from schedule.lowering import needed_in_order, replayed
from schedule.solvers.contract import Best, Problem, Proposal
from schedule.solvers.eviction import RULES, Fitting
from schedule.solvers.loading import EVICTION

#: Work after which no further rule is tried: so much, and so much more for each node.
_WORK = 3_000_000
_WORK_OF_A_NODE = 30
#: Orders that are followed beside the program's own.
_ORDERS = 2
#: Where nothing fits, such parts of the program run a second time, and that may take so much
#: for each node: one pass over 100,000 nodes and a second run of a fifth of them.
_BEGINNINGS = (0.1, 0.2, 0.3)
_WORK_OF_A_NODE_AND_ITS_RERUN = 300
#: Where that doesn't help, the budget is approached in so many steps, by so many rules.
_STEPS = 8
_PATIENT = 3


@dataclass(frozen=True, slots=True)
class Greedy:
    """Before each run, make what it reads; while there is no room, let go of what is idle.

    What goes first is a matter of a rule: little compute to make it again when
    it is next read, much memory, a long wait until then. That is the eviction
    of DTR (Kirisame et al. 2021, arXiv:2006.09616) with the future known. Each
    rule's plan is followed again, so that what can stay after all does; the
    best of all rules counts.

    In a free order it also follows orders that hold less memory, where their
    peak is lower: one chosen from the last node to the first, and ones in which
    every run has been shifted to where it holds least. Where nothing fits, it
    has the first part of the program run again behind its peak, or comes to the
    budget in steps, each from the plan before. It proves nothing beyond every
    node once.

    Notes
    -----
    O(n log n) for a pass over n nodes. Beyond a limit on the work (not on the
    time: the plan is the same everywhere), no more rules are tried.
    """

    name: str = "greedy"
    summary: str = "lets go of what is cheap to make again, by several rules (DTR, looking ahead)"

    def supports(self, graph: Graph) -> str | None:
        """Any graph."""
        return None

    def propose(self, problem: Problem) -> Proposal:
        """The plans of all rules that there is work for; each was offered."""
        best = Best(problem)
        if not best.take(needed_in_order(problem.graph)):
            self.improve(problem, best)
        return Proposal()

    def improve(self, problem: Problem, best: Best) -> None:
        """The same where the program as it is doesn't fit, sharing the best schedule."""
        if not EVICTION.wait(problem):
            return
        attempt = _Attempt(problem, best)
        attempt.add_orders(np.flatnonzero(problem.graph.layout.needed))
        attempt.follow_rules()
        if best.trace is None:
            attempt.rerun_beginning()
        if best.trace is None:
            attempt.approach()


@dataclass
class _Attempt:
    """The orders that are followed, and what they come to."""

    problem: Problem
    best: Best
    orders: list[tuple[Ints, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        layout = self.problem.graph.layout
        self._fitting = Fitting(layout, self.problem.order, lambda: self.problem.seconds_left <= 0)
        self._least = least_compute(self.problem.graph)
        self._allow_work(_WORK_OF_A_NODE)

    def _allow_work(self, of_a_node: int) -> None:
        nodes = len(self.problem.graph)
        self._fitting.limit = self._fitting.work + _WORK + of_a_node * nodes

    def add_orders(self, plain: Ints) -> None:
        """The program's own order, and in a free order some with a lower peak, which go first."""
        own = replayed(self.problem.graph, plain).peak
        found: list[tuple[Ints, int]] = []
        if self.problem.order == "free":
            for runs in self._fitting.other_orders(plain):
                trace = replayed(self.problem.graph, runs)
                self.best.take(trace)
                found.append((runs, trace.peak))
        lower = sorted((order for order in found if order[1] < own), key=lambda order: order[1])
        self.orders = [*lower[:_ORDERS], (plain, own)]

    @property
    def _is_over(self) -> bool:
        return self._fitting.is_over or self.problem.enough(self.best.compute, self._least)

    def follow_rules(self) -> None:
        """Every rule on every order; one that gets stuck in the first, in no other."""
        for rule in RULES:
            for runs, _ in self.orders:
                if self._is_over:
                    return
                found = self._fitting.fit(runs, self._budget, rule)
                if found is None:
                    break
                self.best.take(replayed(self.problem.graph, found))

    def rerun_beginning(self) -> None:
        """Have the first part run again where the program doesn't exceed the budget any more.

        What is read late of what ran early fills the memory of deep graphs with long
        skips. To make one tensor of it again takes most of what ran before it; to make
        all of the first part takes little more, and then all of that can go meanwhile.
        """
        self._allow_work(_WORK_OF_A_NODE_AND_ITS_RERUN)
        runs, _ = self.orders[0]
        trace = replayed(self.problem.graph, runs)
        over = np.flatnonzero(trace.during[trace.codes >= 0] > self._budget)
        end = over[-1] + 1 if len(over) else 0  # the inputs alone may exceed it
        for share in _BEGINNINGS:
            again = runs[: min(int(share * len(runs)), end)]
            again = again[self.problem.graph.layout.recomputable[again]]
            twice = np.concatenate([runs[:end], again, runs[end:]])
            found = None if self._is_over else self._fitting.fit(twice, self._budget, RULES[0])
            if found is not None:
                self.best.take(replayed(self.problem.graph, found))

    def approach(self) -> None:
        """Lower and lower peaks, each plan from the one before, until one fits."""
        self._allow_work(_WORK_OF_A_NODE)
        for rule in RULES[:_PATIENT]:
            for order, peak in self.orders:
                runs: Ints | None = order
                for step in range(1, _STEPS + 1):
                    if runs is None or self._is_over:
                        break
                    budget = peak - (peak - self._budget) * step // _STEPS
                    runs = self._fitting.fit(runs, budget, rule)
                    if runs is not None:
                        self.best.take(replayed(self.problem.graph, runs))
                if self.best.trace is not None:
                    return

    @property
    def _budget(self) -> int:
        assert self.problem.budget is not None, "without a budget the program fits as it is"
        return self.problem.budget
