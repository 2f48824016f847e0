"""What budgets a graph can have, and what they cost at least."""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass

from schedule.bounds import memory_floor, memory_unit, round_down_memory
from schedule.cancelling import cancelled
from schedule.graph import Graph, require_graph
from schedule.lowering import in_order
from schedule.memory import simulate
from schedule.options import Cancel, SolveOptions
from schedule.planner import solve
from schedule.result import Order, Result
from schedule.solvers.contract import Clock, Deadline, Incumbent, Problem
from schedule.solvers.exhaustive import states
from schedule.solvers.ilp import Ilp
from schedule.solvers.kit.interrupts import interrupts
from schedule.solvers.reorder import Reordering
from schedule.values import switch

#: Into how many solves the time is cut at least, and how close two budgets may get, as a
#: share, before nothing more is tried between them.
_SOLVES = 8
_CLOSE = 0.001
#: What the next budget is of the least one known, on the way down, and the share of the time left
#: that a step may take.
_STEP, _DESCENT = 0.85, 0.4
#: What the search of a small graph, and that for another order, get at most: of the time,
#: and the former in states (ten seconds).
_SHARE = 0.25
_STATES = 200_000


@dataclass(frozen=True, slots=True)
class BudgetLimits:
    """Which budgets are possible, as far as it is known.

    Attributes
    ----------
    order
        The order that schedules keep, as for `solve`.
    known
        The least budget for which a schedule is known; it was replayed.
    needed
        Every smaller budget is proved to be too small.
    node
        The node that needs it, where a proof names one.
    interrupted
        True where the search was cut short, by Ctrl-C, by `cancel`, or by the time limit
        before its work limit; the rest is still true.
    """

    order: Order
    known: int
    needed: int
    node: str | None
    interrupted: bool = False

    @property
    def exact(self) -> bool:
        """Whether the least possible budget is known."""
        return self.known == self.needed


def minimum_budget(
    graph: Graph,
    *,
    order: Order = "free",
    recompute: bool = True,
    time_limit: float = 60.0,
    work_limit: float | None = None,
    seed: int = 0,
    cancel: Cancel | None = None,
) -> BudgetLimits:
    """The least budget for which a schedule is known, and the largest proved too small.

    Parameters
    ----------
    graph
        The computation graph.
    order, time_limit, work_limit, seed, cancel
        As in `SolveOptions`, of the whole search; the limits get closer with more seconds.
    recompute
        False: of the schedules that run every node once; their least peak, as
        far as solver `reorder` finds it, and what is proved of it.

    Returns
    -------
    BudgetLimits
        In the graph's unit.

    Raises
    ------
    BadOption
        An order, limit, seed or `cancel` that isn't one, or `recompute` that is neither True
        nor False.

    Notes
    -----
    Small graphs are searched for the schedule of least peak. Where that gives
    up, and for others: a search for the order of least peak, then solves at
    budgets between the two, from both sides, each until the first schedule or
    proof. Deciding which budget is possible is PSPACE-complete, NP-complete
    where nothing is recomputed
    (`schedule.bounds.reordering_floor`).

    Examples
    --------
    >>> import schedule
    >>> graph = schedule.example("chain", layers=8)
    >>> limits = schedule.minimum_budget(graph)
    >>> limits.known, limits.needed
    (3, 3)
    >>> limits = schedule.minimum_budget(graph, recompute=False)
    >>> limits.known, limits.needed
    (10, 10)
    """
    require_graph(graph)
    asked = SolveOptions(
        order=order, time_limit=time_limit, work_limit=work_limit, seed=seed, cancel=cancel
    )
    return limited(graph, asked, recompute=switch(recompute, "recompute"))


def limited(
    graph: Graph, asked: SolveOptions, *, recompute: bool = True, known: int | None = None
) -> BudgetLimits:
    """What `minimum_budget` gives; `known` is a budget for which a schedule is known already."""
    search = _Search(graph, asked, known)
    work = search.run if recompute else search.reorder
    interrupted = False
    try:
        with interrupts():
            interrupted = cancelled(work, asked.cancel, search.told)
    except KeyboardInterrupt:
        interrupted = True
    return search.limits(interrupted)


def compute_bound(
    graph: Graph,
    budget: int | str,
    *,
    order: Order = "free",
    time_limit: float = 5.0,
    work_limit: float | None = None,
    cancel: Cancel | None = None,
) -> int | float | None:
    """Compute that no schedule within the budget can beat; None: no schedule fits.

    The bound of the first relaxations, for graphs too large to solve; `solve`
    gives a schedule with it. Parameters as for `solve`.

    Examples
    --------
    >>> import schedule
    >>> schedule.compute_bound(schedule.example("chain", layers=8), 4)
    26
    """
    asked = SolveOptions(order=order, time_limit=time_limit, work_limit=work_limit, cancel=cancel)
    return bounded(graph, budget, asked).lower_bound


def bounded(graph: Graph, budget: int | str, asked: SolveOptions) -> Result:
    """The result whose bound `compute_bound` gives."""
    return solve(graph, budget, Ilp(starts=False), options=asked)


class _Search:
    """Budgets tried between what is proved and what is known.

    Parameters
    ----------
    graph
        The graph.
    asked
        How long, and in what order; `cancel` is its caller's concern: `told` is set then.
    known
        A budget for which a schedule is known already.
    """

    def __init__(self, graph: Graph, asked: SolveOptions, known: int | None = None) -> None:
        self._graph, self._asked = graph, asked
        self.told = threading.Event()
        self._end = time.monotonic() + asked.time_limit
        counts = asked.work_limit is not None
        stops = (self.told.is_set, self._is_late) if counts else (self.told.is_set,)
        given = asked.work_limit or asked.time_limit
        self._deadline = Deadline.after(given, Clock(counts, stops))
        self._slice = given / _SOLVES
        floor = memory_floor(graph)
        self._needed, self._node = floor.memory, floor.node
        plain, self._unit = in_order(graph).peak, memory_unit(graph)
        self._known = plain if known is None else min(plain, round_down_memory(graph, known))
        self._interrupted = False
        # Budgets between these two were tried without an answer.
        self._open: tuple[int, int] | None = None

    def _is_late(self) -> bool:
        """Whether the time limit came before the work limit."""
        return time.monotonic() >= self._end

    def run(self) -> None:
        """Try until the two meet, or the time or the budgets worth trying run out."""
        if self._needed < self._known and states.is_small(self._graph):
            self._search()
        if self._needed < self._known:
            search = self._reordering(_SHARE)
            search.run()
            self._known = min(self._known, search.trace.peak)
        # The one gets low soon, wherever it is told to get; the other knows more, and proves.
        if self._solve(self._needed, "greedy") is None:
            return
        # A solve's work counts as spent also where it ends before: too few would be left to prove.
        if not (self._deadline.clock.counts_work or self._descend()):
            return
        budget: int | None = self._needed
        solvers: tuple[str, ...] = ("auto",)
        while budget is not None:
            for solver in solvers:
                plan = self._solve(budget, solver)
                if plan is None:
                    return
                if plan.schedule is not None:
                    break
            else:
                self._leave_open(budget)
            budget, solvers = self._next(), ("greedy", "auto")

    def _descend(self) -> bool:
        """Go down by steps with what is quick, while that has a schedule; whether to go on.

        Told to get somewhere that nothing reaches, it stops higher than told to get near. It
        ends by itself, so it may take a large share of the time that is left.
        """
        while True:
            below = round_down_memory(self._graph, int(_STEP * self._known))
            budget = max(self._needed, below)
            plan = self._solve(budget, "greedy", _DESCENT)
            if plan is None or plan.schedule is None:
                return plan is not None

    def reorder(self) -> None:
        """What no recomputation reaches, and what is proved of that."""
        search = self._reordering(1.0)
        try:
            search.run()
        finally:  # whatever ends it, what it knows by then is true
            self._known, self._needed, self._node = search.trace.peak, search.needed, None

    def _solve(self, budget: int, solver: str, share: float = 0.0) -> Result | None:
        """What a solve says of a budget; None: nothing left to ask, no time, or interrupted.

        It has a slice of the time, or this share of what is left.
        """
        asked, clock = self._asked, self._deadline.clock
        left = self._deadline.seconds_left
        if left <= 0 or self._deadline.passed or self._needed >= self._known:
            return None
        seconds = max(min(left, max(self._slice, share * left)), 1e-3)
        until = max(self._end - time.monotonic(), 1e-3) if clock.counts_work else seconds
        plan = solve(
            self._graph,
            budget,
            solver,
            order=asked.order,
            time_limit=until,
            work_limit=seconds if clock.counts_work else None,
            gap=math.inf,
            seed=asked.seed,
            workers=1,
            cancel=None if asked.cancel is None else self.told,
        )
        clock.spend(seconds)
        self._learn(budget, plan)
        if plan.out_of_memory:
            raise MemoryError("memory ran out in a solve between the limits")
        self._interrupted = plan.interrupted
        return None if plan.interrupted else plan

    def limits(self, interrupted: bool) -> BudgetLimits:
        """What is known now."""
        known, needed = self._known, self._needed
        is_late = self._deadline.clock.counts_work and self._is_late() and needed < known
        cut_short = interrupted or self._interrupted or is_late
        return BudgetLimits(self._asked.order, known, needed, self._node, cut_short)

    def _reordering(self, share: float) -> Reordering:
        """A search for another order, without recomputation."""
        problem = Problem(self._graph, None, self._asked.order, seed=self._asked.seed)
        incumbent = Incumbent(problem, clock=self._deadline.clock)
        return Reordering(problem, incumbent, self._deadline.share(share))

    def _search(self) -> None:
        """The least peak, or at least what it is no less than."""
        deadline = self._deadline.share(_SHARE).with_work(_STATES)
        found = states.least_peak(self._graph, self._asked.order, deadline=deadline)
        if found.codes is not None:
            self._known = simulate(self._graph, found.codes).peak
        if found.needed is not None and found.needed > self._needed:
            self._needed, self._node = found.needed, found.node

    def _learn(self, budget: int, plan: Result) -> None:
        if plan.peak is not None:
            self._known = min(self._known, plan.peak)
        elif plan.shortfall is not None:
            if plan.shortfall.least_peak is not None:
                self._known = min(self._known, plan.shortfall.least_peak)
            if plan.shortfall.needed > budget:
                self._needed, self._node = plan.shortfall.needed, plan.shortfall.node

    def _leave_open(self, budget: int) -> None:
        """Remember a budget that has no answer, unless it is proved to be too small."""
        if self._needed <= budget:
            low, high = self._open or (budget, budget)
            self._open = min(low, budget), max(high, budget)

    def _next(self) -> int | None:
        """The middle of the wider of the two gaps that are left; None: they are closed.

        All are multiples of what divides all sizes: between two of them the answer is the same.
        """
        small = self._needed - self._unit
        low, high = self._open or (self._known, small)
        if low > high:  # nothing is open: halve what lies between
            gaps = [(small, self._known)]
        else:
            gaps = [(max(high, small), self._known), (small, low)]
        start, end = max(gaps, key=lambda gap: gap[1] - gap[0])
        if end - start <= max(self._unit, int(_CLOSE * self._known)):
            return None
        return round_down_memory(self._graph, (start + end) // 2)
