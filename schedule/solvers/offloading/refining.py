"""Staged programs with a host, refined: a cut point more where the last solution didn't fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from schedule.layout import Bools, Floats, Ints
from schedule.levels import Level
from schedule.lowering import needed_in_order
from schedule.solvers.contract import Deadline, Incumbent, Problem, Proof
from schedule.solvers.exact.cut_points import cut_candidates, excess_of, worst_cut
from schedule.solvers.exact.highs import Answer, Outcome, minimise
from schedule.solvers.exact.model import fixed_windows, free_windows
from schedule.solvers.exact.relaxation import relax
from schedule.solvers.exact.staged_runs import StagedRuns, lay_out
from schedule.solvers.offloading.gaps import Gap, Runs
from schedule.solvers.offloading.settings import StagedSettings
from schedule.solvers.offloading.staged import OffloadModel
from schedule.solvers.program.contraction import contract

#: What a program's solver may be wrong by, as a share.
_ROUNDING = 1e-7


@dataclass(frozen=True, slots=True)
class Plan:
    """A solution, laid out.

    Attributes
    ----------
    runs
        The runs.
    copied
        Shape (intervals, storages of the graph): what it has on the host, and not on the
        device, as an interval begins.
    interval
        Shape (r,): of each run.
    """

    runs: Runs
    copied: Bools
    interval: Ints

    def is_copied(self, gap: Gap) -> bool:
        """Whether a storage is on the host in a gap, by this solution."""
        first = self.interval[max(gap.last, 0)] + 1
        last = self.interval[min(gap.next, len(self.interval) - 1)] + 1
        return bool(self.copied[first:last, gap.storage].any())


class Staged:
    """Cut points, added until a solution fits.

    Parameters
    ----------
    problem, incumbent
        What is solved.
    offer
        Makes a schedule of a plan, offers it, and says which of its runs was worst: where
        memory was over, or what waited longest; None: there is none.
    try_set
        Tries what it is worth to have some storages on the host.
    settings
        How.
    """

    def __init__(
        self,
        problem: Problem,
        incumbent: Incumbent,
        offer: Callable[[Plan, Deadline], int | None],
        try_set: Callable[[Ints, Deadline], None],
        settings: StagedSettings,
    ) -> None:
        self.problem, self.incumbent, self.settings = problem, incumbent, settings
        self._offer, self._try_set = offer, try_set
        graph, budget = problem.graph, problem.budget or 0
        self.contraction = whole = contract(graph)
        excess = excess_of(whole, needed_in_order(graph), budget)
        self._candidates = cut_candidates(whole, problem.order, excess)
        self._over = [v for v in self._candidates if excess[v] > 0]
        # Where memory is worst, not at the boundary: half a point to five points more are proved.
        self.cuts = {worst_cut(self._candidates, excess)}
        size = np.where(whole.size < settings.negligible * budget, 0, whole.size)
        self._large = replace(whole, size=size)
        capacity = sum(level.capacity for level in problem.levels)
        self._level: Level = replace(problem.levels[0], capacity=capacity)

    def relax(self, deadline: Deadline) -> None:
        """Linear relaxations, with more and more cut points: bounds, and what is copied.

        With memory kept back they have solutions for what they don't see between cut points.
        """
        is_slow, share = False, 1.0  # nothing is worth more than the first
        for count in self.settings.spread:
            if is_slow:
                break
            at = np.linspace(0, len(self._over) - 1, min(count, len(self._over))).astype(int)
            model = self._model(self.cuts.union(self._over[i] for i in at.tolist()))
            for allowance in self.settings.allowances:
                if deadline.passed or self.incumbent.is_good_enough:
                    return
                began, left = deadline.clock.now(), deadline.seconds_left
                relaxed = relax(model, deadline.share(share), allowance)
                share = self.settings.share
                if relaxed.outcome is Outcome.INFEASIBLE:
                    break
                if np.isfinite(relaxed.bound):
                    self._prove(min(relaxed.bound, model.longest))
                if relaxed.x is None:
                    return
                is_slow |= deadline.clock.now() - began > self.settings.slow * left
                for least in self.settings.parts:
                    self._try_set(self._storages(model.moved(relaxed.x) > least), deadline)

    def run(self, deadline: Deadline) -> None:
        """Solve and refine until the deadline; what is proved is told to the incumbent."""
        for _ in range(self.settings.rounds):
            if deadline.passed or self.incumbent.is_good_enough:
                break
            model = self._model(self.cuts)
            answer = self._solve(model, deadline)
            if answer.outcome is Outcome.INFEASIBLE:  # within `longest`: no proof of more
                break
            if np.isfinite(answer.bound):
                self._prove(model.proved(answer.bound))
            if answer.x is None:
                break
            self._try_set(self._storages(model.moved(answer.x) > 0.5), deadline)
            found = self._laid_out(model, answer.x)
            if found is None:
                break
            plan, staged = found
            worst = self._offer(plan, deadline)
            cut = None if worst is None else self._cut_for(staged, worst)
            if cut is None:
                break
            self.cuts.add(cut)

    def _prove(self, makespan: float) -> None:
        """Tell what a program proves."""
        self.incumbent.prove(Proof(bound=makespan * (1 - _ROUNDING)))

    def _storages(self, moved: Bools) -> Ints:
        """The tensors that own these resources, shape (r,)."""
        resource, layout = self.contraction.resource, self.problem.graph.layout
        owns = (layout.storage == np.arange(layout.n_tensors)) & (resource >= 0)
        found = np.flatnonzero(owns & (layout.memory > 0))
        return found[moved[resource[found]]]

    def _model(self, points: set[int]) -> OffloadModel:
        cuts = np.array(sorted(points), np.int64)
        windows = fixed_windows if self.problem.order == "fixed" else free_windows
        return OffloadModel(
            self.problem.graph,
            self._large,
            windows(self._large, cuts),
            self.problem.budget or 0,
            self._level,
        )

    def _solve(self, model: OffloadModel, deadline: Deadline) -> Answer:
        gap = max(self.settings.gap, self.problem.gap / 2)
        return minimise(
            model.program,
            deadline=deadline.share(self.settings.share),
            gap=gap * float(self.problem.graph.compute) / model.scale,
            seed=self.problem.seed,
        )

    def _laid_out(self, model: OffloadModel, x: Floats) -> tuple[Plan, StagedRuns] | None:
        """The runs of a solution: what is on the host counts as held.

        None: as the program knows memory and views at cut points only, these would run
        again what must not.
        """
        graph, c = self.problem.graph, self.contraction
        hold, run = model.holds_and_runs(x)
        copied = model.copied(x) & ~hold
        # What can't be made again stays, on the device or on the host, whatever is rounded.
        stuck = c.producer < 0
        stuck[~stuck] = ~graph.layout.recomputable[c.nodes[c.producer[~stuck]]]
        copied |= stuck & (model.hold >= 0) & ~hold
        first = np.where(run.any(axis=0), run.argmax(axis=0), -1)
        if self.problem.order == "free":
            first[c.is_view] = -1  # they run where they are read
        firsts = []
        for k in range(model.intervals):
            operations = np.flatnonzero(first == k)
            if k:
                cut = model.windows.cuts[k - 1]
                operations = np.concatenate([[cut], operations[operations != cut]])
            firsts.append(operations)
        staged = lay_out(graph, c, firsts, hold | copied)
        once = staged.runs[~graph.layout.recomputable[staged.runs]]
        if len(np.unique(once)) < len(once):
            return None
        runs = Runs(graph, staged.runs)
        storages = np.zeros((model.intervals, graph.layout.n_tensors), dtype=bool)
        known = c.resource >= 0
        storages[:, known] = copied[:, c.resource[known]]
        return Plan(runs, storages, staged.interval), staged

    def _cut_for(self, staged: StagedRuns, at: int) -> int | None:
        """A new cut point near a run, in its interval; None: there is none."""
        inside = [v for v in self._candidates if v not in self.cuts]
        operation = self.contraction.operation[staged.runs]
        first_at: dict[int, int] = {}
        for position, v in enumerate(operation.tolist()):
            first_at.setdefault(v, position)
        return min(inside, key=lambda v: (abs(first_at[v] - at), v), default=None)
