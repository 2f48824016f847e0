"""Where a staged program looks: its cut points, rows and orders, and those that are missing."""

from __future__ import annotations

import numpy as np

from schedule.layout import Bools, Floats, Ints
from schedule.lowering import needed_in_order, replayed
from schedule.memory import Trace
from schedule.result import Order
from schedule.solvers.contract import Problem
from schedule.solvers.exact.cut_points import cut_candidates, excess_of, worst_cut
from schedule.solvers.exact.model import StagedModel, Windows, fixed_windows, free_windows
from schedule.solvers.exact.staged_runs import StagedRuns, lay_out
from schedule.solvers.program.contraction import Contraction


class Discretization:
    """What a staged program tells apart: intervals between cut points, and more inside some.

    It begins with one cut point. Where a solution, laid out as runs, exceeds the budget, the
    program didn't see it, and is told to look there, as in dynamic discretization discovery
    (Boland and others 2017, doi:10.1287/opre.2017.1624).

    Parameters
    ----------
    problem, order, contraction
        What is solved.
    most_ordered
        The most operations of one interval that a model puts in order; 0: none.

    Attributes
    ----------
    cuts
        Operations that are cut points.
    inner
        Pairs (operation that starts an interval, or −1; operation with a row there).
    orders
        By operation that starts an interval, or −1: the operations ordered there.
    """

    def __init__(
        self, problem: Problem, order: Order, contraction: Contraction, most_ordered: int
    ) -> None:
        self._problem, self._order, self._contraction = problem, order, contraction
        self._most_ordered = most_ordered
        excess = excess_of(contraction, needed_in_order(problem.graph), problem.budget or 0)
        self._candidates = cut_candidates(contraction, order, excess)
        self.cuts = {worst_cut(self._candidates, excess)}
        self.inner: set[tuple[int, int]] = set()
        self.orders: dict[int, set[int]] = {}

    def model(self, reserve: dict[int, int] | None = None) -> StagedModel:
        """The staged program that looks there, with memory kept back by operation (`reserve`)."""
        cuts = np.array(sorted(self.cuts), np.int64)
        windows_of = fixed_windows if self._order == "fixed" else free_windows
        windows = windows_of(self._contraction, cuts)
        interval = {v: k for k, v in enumerate(cuts.tolist(), start=1)} | {-1: 0}
        inner = [(interval[start], v) for start, v in self.inner]
        orders = {interval[start]: operations for start, operations in self.orders.items()}
        memory = self._problem.budget or 0
        return StagedModel(
            self._problem.graph, self._contraction, windows, memory, inner, orders, reserve
        )

    def replay(self, model: StagedModel, x: Floats) -> tuple[StagedRuns, Trace]:
        """A solution of the model laid out as runs, and what these do to memory."""
        hold, run = model.holds_and_runs(x)
        staged = lay_out(
            self._problem.graph, self._contraction, self._first_runs(model.windows, run), hold
        )
        return staged, replayed(self._problem.graph, staged.runs)

    def _first_runs(self, windows: Windows, run: Bools) -> list[Ints]:
        """Per interval, what runs there for the first time: its cut point, then by number."""
        first = np.where(run.any(axis=0), run.argmax(axis=0), -1)
        if self._order == "free":
            first[self._contraction.is_view] = -1  # they run where they are read
        found = []
        for k in range(len(windows.cuts) + 1):
            operations = np.flatnonzero(first == k)
            if k:
                cut = windows.cuts[k - 1]
                operations = np.concatenate([[cut], operations[operations != cut]])
            found.append(operations)
        return found

    def refine(self, windows: Windows, staged: StagedRuns, trace: Trace) -> bool:
        """In each interval, add the cut point or the row that its worst step calls for.

        Parameters
        ----------
        windows, staged, trace
            Of the model's solution: its intervals, its runs and their replay.

        Returns
        -------
        bool
            Whether there was any to add.
        """
        during = trace.during[trace.codes >= 0]
        refined: set[int] = set()
        for at in np.argsort(-during, kind="stable").tolist():
            if during[at] <= (self._problem.budget or 0):
                break
            k = int(staged.interval[at])
            if k in refined:
                continue
            start = int(windows.cuts[k - 1]) if k else -1
            row = (start, int(self._contraction.operation[staged.runs[at]]))
            cut = self._cut_for(windows, staged, at)
            if cut is not None:
                self.cuts.add(cut)
                refined.add(k)
            elif self._order_more(start, staged, k):
                refined.add(k)
            elif row not in self.inner and row[0] != row[1]:
                self.inner.add(row)
                refined.add(k)
        return bool(refined)

    def _order_more(self, start: int, staged: StagedRuns, k: int) -> bool:
        """Let the model order what runs in interval k; False: it does so already."""
        ordered = self.orders.get(start, set())
        inside = self._contraction.operation[staged.runs[staged.interval == k]].tolist()
        new = {v for v in inside if v != start and not self._contraction.is_view[v]} - ordered
        if not new or len(ordered | new) > self._most_ordered:
            return False
        self.orders[start] = ordered | new
        return True

    def _cut_for(self, windows: Windows, staged: StagedRuns, at: int) -> int | None:
        """A new cut point for the run at position `at`: the first run it serves, or one near it."""
        k = int(staged.interval[at])
        inside = [v for v in self._candidates if v not in self.cuts]
        if self._order == "fixed":
            return staged.served(at, [v for v in inside if windows.earliest[v] == k])
        operation = self._contraction.operation[staged.runs]
        first_at: dict[int, int] = {}
        for position, v in enumerate(operation.tolist()):
            first_at.setdefault(v, position)
        near = [v for v in inside if staged.interval[first_at[v]] == k]
        return min(near, key=lambda v: (abs(first_at[v] - at), v), default=None)
