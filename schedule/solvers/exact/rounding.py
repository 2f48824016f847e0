"""Linear relaxations rounded to schedules, with ever more of the budget kept back."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from schedule.bounds import round_up
from schedule.layout import Bools, Floats, Ints
from schedule.lowering import needed_in_order, replayed
from schedule.memory import Trace
from schedule.solvers.contract import Deadline, Incumbent, Problem, Proof
from schedule.solvers.exact.completion import complete
from schedule.solvers.exact.cut_points import boundary_cut, cut_candidates, excess_of
from schedule.solvers.exact.highs import Outcome, minimise
from schedule.solvers.exact.model import StagedModel, Windows, fixed_windows, free_windows
from schedule.solvers.exact.relaxation import NOTHING, Relaxed, relax, safe_bound
from schedule.solvers.exact.shortage import least_budget, shortage
from schedule.solvers.exact.staged_runs import StagedRuns, lay_out
from schedule.solvers.program.contraction import contract

#: Rounds what a solution holds, from 0 to 1, to choices of what to hold.
Round = Callable[[Floats], Sequence[Bools]]

#: How often cut points are added for one allowance, and the columns of a model to which none are.
_ROUNDS = 12
_LARGE = 50_000
#: About the seconds that laying out a choice takes, and each of its runs.
_SECONDS_A_ROUNDING, _SECONDS_A_RUN = 3e-4, 5e-6


class Rounding:
    """Schedules from linear relaxations in the given order, and the bound that these prove.

    Parameters
    ----------
    problem
        What is solved, with a budget that the program as it is exceeds.
    incumbent, deadline
        Takes schedules; when to stop.
    allowances
        Shares of the budget to keep back, one after the other.
    rounded
        Makes choices of what to hold, each a flag for every entry, from a
        solution's, shape (K + 1, r), from 0 to 1.
    """

    def __init__(
        self,
        problem: Problem,
        incumbent: Incumbent,
        deadline: Deadline,
        allowances: Sequence[float],
        rounded: Round,
    ) -> None:
        self._problem, self._allowances, self._rounded = problem, allowances, rounded
        self._incumbent, self._deadline = incumbent, deadline
        self._graph, self._budget = problem.graph, problem.budget or 0
        plain = needed_in_order(self._graph)
        self._least = plain.peak
        self._contraction = contract(self._graph)
        self._excess = excess_of(self._contraction, plain, self._budget)
        self._candidates = cut_candidates(self._contraction, "fixed", self._excess)
        self._proof = Proof()

    def run(self) -> Proof:
        """Every allowance, then those again that a cut point more may help; the proof."""
        if self._candidates:
            first = boundary_cut(self._graph, self._contraction, self._candidates, self._excess)
            waiting = [(share, {first}) for share in self._allowances]
            for _ in range(_ROUNDS):
                waiting = self._round(waiting)
        return self._proof

    def _round(self, waiting: list[tuple[float, set[int]]]) -> list[tuple[float, set[int]]]:
        """Round each relaxation; those to be solved again, with more cut points."""
        repeated: list[tuple[float, set[int]]] = []
        for share, cuts in waiting:
            if self._is_over:
                return []
            more = self._refine(share, cuts)
            if more:
                repeated.append((share, cuts | more))
        return repeated

    @property
    def _is_over(self) -> bool:
        is_late = self._deadline.passed or self._proof.needed is not None
        return is_late or self._incumbent.is_good_enough

    def _refine(self, share: float, cuts: set[int]) -> set[int]:
        """Round one relaxation; cut points for where its cheapest schedule exceeds the budget."""
        model = self._model(fixed_windows(self._contraction, np.array(sorted(cuts), np.int64)))
        relaxed = self._relax(model, share)
        if share == self._allowances[0]:
            self._prove(model, relaxed, share)
        # A schedule may cost less than the relaxation it is rounded from, but hardly ever much.
        if relaxed.x is None or relaxed.compute >= self._incumbent.compute:
            return set()
        staged, trace = self._cheapest(model, relaxed)
        if self._problem.fits(trace.peak) or model.n_columns > _LARGE:
            return set()
        return self._more_cuts(model.windows, staged, trace) - cuts

    def _model(self, windows: Windows) -> StagedModel:
        return StagedModel(self._graph, self._contraction, windows, self._budget)

    def _relax(self, model: StagedModel, share: float) -> Relaxed:
        return relax(model, self._deadline, share)

    def _cheapest(self, model: StagedModel, relaxed: Relaxed) -> tuple[StagedRuns, Trace]:
        """Lay out and offer all roundings; the one of least compute."""
        assert relaxed.x is not None
        c, windows = self._contraction, model.windows
        padded = np.append(relaxed.x, 0.0)  # what is never held has the column −1
        first = [np.flatnonzero(windows.earliest == k) for k in range(model.intervals)]
        found: list[tuple[StagedRuns, Trace]] = []
        for choice in self._rounded(padded[model.hold]):
            hold = complete(self._graph, c, windows, choice & (model.hold >= 0))
            staged = lay_out(self._graph, c, first, hold)
            found.append((staged, replayed(self._graph, staged.runs)))
            self._deadline.spend(_SECONDS_A_ROUNDING + _SECONDS_A_RUN * len(staged.runs))
            self._offer(found[-1][1])
        return min(found, key=lambda each: each[1].compute)

    def _more_cuts(self, windows: Windows, staged: StagedRuns, trace: Trace) -> set[int]:
        """For each interval that exceeds the budget, the first run that its worst step serves."""
        during = trace.during[trace.codes >= 0]
        more: set[int] = set()
        for k in np.unique(staged.interval[during > self._budget]).tolist():
            inside = np.flatnonzero(staged.interval == k)
            at = int(inside[during[inside].argmax()])
            candidates = [v for v in self._candidates if windows.earliest[v] == k]
            cut = staged.served(at, candidates)
            if cut is not None:
                more.add(cut)
        return more

    def _offer(self, trace: Trace) -> None:
        """Offer a schedule where it is the best so far, or while none fits, of the least peak."""
        if self._problem.fits(trace.peak):
            if trace.compute < self._incumbent.compute:
                self._incumbent.offer(trace)
        elif self._incumbent.trace is None and trace.peak < self._least:
            self._least = trace.peak
            self._incumbent.offer(trace)

    def _prove(self, model: StagedModel, relaxed: Relaxed, share: float) -> None:
        """Take the bound of the relaxation with nothing kept back, in the order asked for."""
        if self._problem.order == "free":
            model = self._model(self._any_order(model.windows.cuts))
        if self._problem.order == "free" or share > 0:
            relaxed = self._relax(model, 0.0)
        if relaxed.outcome is Outcome.INFEASIBLE:
            self._give_up(model)
        elif math.isfinite(relaxed.bound):
            bound = max(self._proof.bound or 0, round_up(self._graph, relaxed.bound))
            self._proof = Proof(bound=bound)
            self._incumbent.prove(self._proof)

    def _any_order(self, cuts: Ints) -> Windows:
        """The cut points nearest to these on one directed path."""
        path = np.array(cut_candidates(self._contraction, "free", self._excess), np.int64)
        at = np.minimum(np.searchsorted(path, cuts), len(path) - 1)
        return free_windows(self._contraction, np.unique(path[at]))

    def _give_up(self, model: StagedModel) -> None:
        """Prove that nothing fits: the least budget that the relaxation leaves open."""
        program = least_budget(model).relaxed()
        answer = minimise(program, deadline=self._deadline)
        missing = safe_bound(answer, model) - NOTHING
        if answer.outcome is Outcome.SOLVED and missing > 0:
            self._proof = shortage(model, answer, missing)
