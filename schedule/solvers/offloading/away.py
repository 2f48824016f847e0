"""Some storages on the host, and recomputation within the budget for all others.

What is on the host takes no memory of the device but near its reads. So a graph in which
it has no size at all, with a part of the budget kept back, is one for solvers that know
nothing of copies. How much has to be kept back is found by trying.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from schedule.graph import Graph
from schedule.layout import Ints
from schedule.lowering import needed_in_order
from schedule.solvers.contract import Deadline, Incumbent, Problem, Solver
from schedule.solvers.greedy import Greedy
from schedule.solvers.offloading.attempt import Attempt, Tried
from schedule.solvers.offloading.choosing import PREFERENCES
from schedule.solvers.offloading.gaps import Runs

#: What compute may wait for, as a share of all of it, where copies count as hidden.
_HIDDEN = 1e-3
#: The seconds that each storage takes to be left out, about, and each step of a trial.
_SECONDS_A_TENSOR, _SECONDS_A_TRIAL = 2e-6, 2e-4


def without(graph: Graph, storages: Iterable[int]) -> Graph:
    """The graph in which these storages (numbers of tensors) take no memory. O(nodes)."""
    names = graph.layout.tensor_names
    away = {names[t] for t in storages}
    nodes = [
        replace(
            node,
            outputs=tuple(
                replace(each, memory=0) if each.name in away else each for each in node.outputs
            ),
        )
        for node in graph.nodes
    ]
    inputs = [replace(each, memory=0) if each.name in away else each for each in graph.inputs]
    return Graph(nodes, inputs, outputs=graph.outputs, name=graph.name)


@dataclass(frozen=True, slots=True)
class Share:
    """What was tried, and came to this makespan.

    Attributes
    ----------
    storages
        The tensors that own what is on the host.
    reserve
        What was kept back, as a share of the budget; below 0: more was given, and copies
        that aren't among the storages have to make up for it.
    makespan
        What came of it.
    """

    storages: tuple[int, ...]
    reserve: float
    makespan: float


class Away:
    """Sets of storages on the host, tried with as little memory kept back as copies allow.

    Parameters
    ----------
    problem, incumbent, attempt
        What is solved, and who copies.
    trials
        For each set and solver, at most.
    kept
        How many of the best are kept to be tried with better solvers.
    """

    def __init__(
        self,
        problem: Problem,
        incumbent: Incumbent,
        attempt: Attempt,
        trials: int = 5,
        kept: int = 3,
    ) -> None:
        assert problem.budget is not None, "without a budget the program fits as it is"
        self.problem, self.incumbent, self.attempt = problem, incumbent, attempt
        self.budget, self.trials, self.kept = problem.budget, trials, kept
        self.best: list[Share] = []
        self._reserve = 0.1
        self._seen: set[tuple[int, ...]] = set()

    def try_set(self, storages: Ints, deadline: Deadline) -> None:
        """Look for the reserve with which these storages are worth most, by `greedy`."""
        away = tuple(sorted(storages.tolist()))
        if away in self._seen or deadline.passed:
            return
        self._seen.add(away)
        low, high, first = 0.0, 0.4, self._reserve
        if not away:  # then all that is copied is beyond the budget
            peak = needed_in_order(self.problem.graph).peak
            low, high = 1 - peak / self.budget, 0.0
            first = low / 8
        found = self._search(away, Greedy(), (low, high, first), deadline)
        if found is not None and away:
            self._reserve = found.reserve

    def improve(self, solver: Solver, deadline: Deadline) -> bool:
        """Have a better solver recompute, for the best sets; whether that was of use."""
        before = self.incumbent.compute
        for turn, known in enumerate(list(self.best)):
            share = deadline.share(1 / (len(self.best) - turn))
            step = 0.02
            low, high = known.reserve - 2 * step, known.reserve + 2 * step
            if share.passed:
                break
            self._search(known.storages, solver, (low, high, known.reserve), share, trials=3)
        return self.incumbent.compute < before

    def _search(
        self,
        away: tuple[int, ...],
        solver: Solver,
        within: tuple[float, float, float],
        deadline: Deadline,
        trials: int = 0,
    ) -> Share | None:
        """Less is kept back while copies are hidden, and more where they aren't."""
        low, high, reserve = within
        graph = without(self.problem.graph, away)
        best: Share | None = None
        trials = trials or self.trials
        for turn in range(trials):
            if deadline.passed:
                break
            self.incumbent.clock.spend(_SECONDS_A_TENSOR * graph.layout.n_tensors)
            share = deadline.share(1 / (trials - turn))
            tried = self._with(graph, away, reserve, solver, share)
            if tried is None:
                if reserve >= high:
                    break
                low, reserve = reserve, high if turn == 0 else (reserve + high) / 2
                continue
            if tried.makespan < (math.inf if best is None else best.makespan):
                best = Share(away, reserve, tried.makespan)
            if tried.is_hidden:
                high = reserve
            else:
                low = reserve
            reserve = (low + high) / 2
        if best is not None:
            self.best = sorted([*self.best, best], key=lambda each: each.makespan)
            sets = [each.storages for each in self.best]
            first = [each for at, each in enumerate(self.best) if each.storages not in sets[:at]]
            self.best = first[: self.kept]
        return best

    def _with(
        self,
        graph: Graph,
        away: tuple[int, ...],
        reserve: float,
        solver: Solver,
        deadline: Deadline,
    ) -> _Outcome | None:
        """Recompute within what isn't kept back, and copy; None: nothing came of it."""
        problem = self.problem
        alone = replace(problem, graph=graph, levels=(), budget=int(self.budget * (1 - reserve)))
        known = Incumbent(alone, clock=deadline.clock)
        solver.improve(alone, known, deadline)
        if known.trace is None:
            return None
        runs = Runs(problem.graph, known.trace.codes[known.trace.codes >= 0])
        self.incumbent.clock.spend(_SECONDS_A_TRIAL * len(runs.runs))
        compute = float(problem.graph.layout.compute[runs.runs].sum())
        if compute >= self.incumbent.compute:  # copies don't make that less
            return _Outcome(math.inf, is_hidden=True)
        if problem.fits(runs.peak):
            trace = self.incumbent.replay(runs.codes)
            return _Outcome(float(trace.makespan), is_hidden=True)
        gaps = runs.gaps()
        planned = np.isin([gap.storage for gap in gaps], away)
        tried: Tried | None = self.attempt.try_gaps(runs, gaps, planned, PREFERENCES[:2])
        if tried is None or tried.trace is None:
            return None
        waited = tried.trace.makespan - tried.trace.compute
        is_hidden = waited <= _HIDDEN * float(problem.graph.compute)
        return _Outcome(tried.makespan, is_hidden)


@dataclass(frozen=True, slots=True)
class _Outcome:
    """A makespan, and whether next to nothing in it is spent waiting for copies.

    It is infinite where the compute alone is more than what is known.
    """

    makespan: float
    is_hidden: bool
