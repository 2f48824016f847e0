"""What budgets a graph can have, and what they cost at least."""

from __future__ import annotations

import math
from dataclasses import dataclass

from schedule.bounds import memory_floor
from schedule.graph import Graph, require_graph
from schedule.lowering import in_order
from schedule.memory import simulate
from schedule.options import SolveOptions
from schedule.planner import solve
from schedule.result import Order, Result
from schedule.solvers.contract import Deadline, Incumbent, Problem
from schedule.solvers.exhaustive import states
from schedule.solvers.ilp import Ilp
from schedule.solvers.kit.interrupts import interrupts
from schedule.solvers.reorder import Reordering

#: Into how many solves the time is cut at least, and how close two budgets may get, as a
#: share, before nothing more is tried between them.
_SOLVES = 8
_CLOSE = 0.001
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
        A node whose run takes `needed`, where one does.
    interrupted
        True where the search was cut short by Ctrl-C; the rest is still true.
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
    seed: int = 0,
) -> BudgetLimits:
    """The least budget for which a schedule is known, and the largest proved too small.

    Parameters
    ----------
    graph
        The computation graph.
    order, time_limit, seed
        As in `SolveOptions`; the limits get closer with more seconds.
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
        An order, time limit or seed that isn't one.

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
    asked = SolveOptions(order=order, time_limit=time_limit, seed=seed)
    if not recompute:
        problem = Problem(graph, None, order, seed=asked.seed)
        return _without_recomputation(problem, Deadline.after(asked.time_limit))
    return _Search(graph, order, asked.time_limit, asked.seed).run()


def compute_bound(
    graph: Graph, budget: int | str, *, order: Order = "free", time_limit: float = 5.0
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
    return bounded(graph, budget, order, time_limit).lower_bound


def bounded(graph: Graph, budget: int | str, order: Order, time_limit: float) -> Result:
    """The result whose bound `compute_bound` gives."""
    return solve(graph, budget, Ilp(starts=False), order=order, time_limit=time_limit)


def _without_recomputation(problem: Problem, deadline: Deadline) -> BudgetLimits:
    search, interrupted = Reordering(problem, Incumbent(problem), deadline), False
    try:
        with interrupts():
            search.run()
    except KeyboardInterrupt:
        interrupted = True
    return BudgetLimits(problem.order, search.trace.peak, search.needed, None, interrupted)


class _Search:
    """Budgets tried between what is proved and what is known."""

    def __init__(self, graph: Graph, order: Order, time_limit: float, seed: int) -> None:
        self._graph, self._order, self._seed = graph, order, seed
        self._deadline = Deadline.after(time_limit)
        self._slice = time_limit / _SOLVES
        floor = memory_floor(graph)
        self._needed, self._node = floor.memory, floor.node
        self._known = in_order(graph).peak
        # Budgets between these two were tried without an answer.
        self._open: tuple[int, int] | None = None

    def run(self) -> BudgetLimits:
        """Try until the two meet, or the time or the budgets worth trying run out."""
        try:
            with interrupts():
                if self._needed < self._known and states.is_small(self._graph):
                    self._search()
                if self._needed < self._known:
                    self._reorder()
        except KeyboardInterrupt:
            return self._limits(interrupted=True)
        budget: int | None = self._needed
        while budget is not None:
            # The one gets low soon, wherever it is told to get; the other knows more, and proves.
            for solver in ("greedy", "auto"):
                plan = self._solve(budget, solver)
                if plan is None or plan.interrupted:
                    return self._limits(interrupted=plan is not None)
                if plan.schedule is not None:
                    break
            budget = self._next()
        return self._limits(interrupted=False)

    def _solve(self, budget: int, solver: str) -> Result | None:
        """What a solve says of a budget; None: there is nothing left to ask, or no time."""
        left = self._deadline.seconds_left
        if left <= 0 or self._needed >= self._known:
            return None
        plan = solve(
            self._graph,
            budget,
            solver,
            order=self._order,
            time_limit=max(min(left, self._slice), 1e-3),
            gap=math.inf,
            seed=self._seed,
            workers=1,
        )
        self._learn(budget, plan)
        if plan.out_of_memory:
            raise MemoryError("memory ran out in a solve between the limits")
        return plan

    def _limits(self, interrupted: bool) -> BudgetLimits:
        return BudgetLimits(self._order, self._known, self._needed, self._node, interrupted)

    def _reorder(self) -> None:
        """What another order reaches without recomputation."""
        problem = Problem(self._graph, None, self._order, seed=self._seed)
        search = Reordering(problem, Incumbent(problem), self._deadline.share(_SHARE))
        search.run()
        self._known = min(self._known, search.trace.peak)

    def _search(self) -> None:
        """The least peak, or at least what it is no less than."""
        deadline = self._deadline.share(_SHARE).with_work(_STATES)
        found = states.least_peak(self._graph, self._order, deadline=deadline)
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
            else:
                low, high = self._open or (budget, budget)
                self._open = min(low, budget), max(high, budget)

    def _next(self) -> int | None:
        """The middle of the wider of the two gaps that are left; None: they are closed."""
        low, high = self._open or (self._known, self._needed - 1)
        if low > high:  # nothing is open: halve what lies between
            gaps = [(self._needed - 1, self._known)]
        else:
            gaps = [(max(high, self._needed - 1), self._known), (self._needed - 1, low)]
        start, end = max(gaps, key=lambda gap: gap[1] - gap[0])
        if end - start <= max(1, int(_CLOSE * self._known)):
            return None
        return (start + end) // 2
