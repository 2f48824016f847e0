"""One budget of a sweep: its solve, and what the results of others say about it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from schedule.bounds import least_compute, memory_floor
from schedule.graph import Graph
from schedule.layout import Ints
from schedule.levels import Level
from schedule.makespan import level_floor
from schedule.options import SolveOptions
from schedule.planner import solve
from schedule.result import Result, Status
from schedule.solvers import Deadline, Incumbent, Problem, Progress, Proof, Solver
from schedule.steps import encode


@dataclass(frozen=True, slots=True)
class Stated:
    """A schedule as codes (None: none), and what is proved; not checked yet.

    `found_by`, `bound_by` and `needed_by` are the solvers that it comes from, where that is
    known.
    """

    codes: Ints | None
    proof: Proof
    found_by: str | None = None
    bound_by: str | None = None
    needed_by: str | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known about a budget before it is solved.

    Attributes
    ----------
    codes, objective
        The best schedule of all smaller budgets, which fits this one too, and what it
        takes: makespan with levels below the device, else compute; None: there is none.
    bound
        The best bound of all larger budgets, which holds for this one too.
    needed, node
        Every budget below `needed` is proved too small; the node that needs it.
    found_by, bound_by, needed_by
        The solvers that the schedule, the bound and the need come from.
    """

    codes: Ints | None = None
    objective: int | float | None = None
    bound: int | float | None = None
    needed: int = 0
    node: str | None = None
    found_by: str | None = None
    bound_by: str | None = None
    needed_by: str | None = None

    @property
    def stated(self) -> Stated:
        """The same as a solver would say it."""
        proof = Proof(self.bound, self.needed, self.node)
        return Stated(self.codes, proof, self.found_by, self.bound_by, self.needed_by)

    def improve(self, result: Result) -> bool:
        """Whether these facts say more about a budget than its result does."""
        if result.schedule is None:
            too_small = (result.budget or 0) < self.needed
            return result.status is Status.UNKNOWN and (too_small or self._raise(result))
        less = self.objective is not None and self.objective < (result.objective or 0)
        return less or (result.status is Status.FEASIBLE and self._raise(result))

    def _raise(self, result: Result) -> bool:
        """Whether the bound here is better, or there is the first schedule."""
        better = self.bound is not None and self.bound > (result.lower_bound or 0)
        return better or (result.schedule is None and self.codes is not None)


@dataclass(frozen=True)
class Task:
    """What a worker needs for one solve, beside the graph; it can be pickled.

    Its options are of one thread, and without a progress callback: that stays here.
    """

    budget: int
    solver: Solver
    options: SolveOptions
    facts: Facts
    levels: tuple[Level, ...] = ()


@dataclass(frozen=True)
class Failure:
    """An exception of a solver: told apart from those of the executor that ran it."""

    error: Exception


def run(
    graph: Graph,
    task: Task,
    stopped: Callable[[], bool] | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Result | Failure:
    """Solve one budget, beginning with what is known."""
    solver = _Informed(task.solver, (task.facts.stated,), stopped)
    try:
        return solve(
            graph,
            task.budget,
            solver,
            levels=task.levels,
            options=task.options,
            progress=progress,
        )
    except Exception as error:  # noqa: BLE001 - raised again where the sweep was called
        return Failure(error)


@dataclass(frozen=True)
class _Informed:
    """A solver together with what is known before it is asked.

    Parameters
    ----------
    solver
        The solver in whose name it speaks.
    known
        What to say first.
    stopped
        Whether it has to end before the time limit.
    asks
        Whether the solver is asked at all.
    """

    solver: Solver
    known: tuple[Stated, ...]
    stopped: Callable[[], bool] | None = None
    asks: bool = True

    @property
    def name(self) -> str:
        """The solver's name."""
        return self.solver.name

    @property
    def summary(self) -> str:
        """The solver's summary."""
        return self.solver.summary

    @property
    def counts_work(self) -> bool:
        """The solver's own, where it has it."""
        return getattr(self.solver, "counts_work", False) is True

    @property
    def knows_levels(self) -> bool:
        """The solver's own; what is stated is about the levels that it is stated with."""
        return not self.asks or getattr(self.solver, "knows_levels", False) is True

    def supports(self, graph: Graph) -> str | None:
        """What the solver supports."""
        return self.solver.supports(graph)

    def improve(self, problem: Problem, incumbent: Incumbent, deadline: Deadline) -> Proof:
        """What is known, then what the solver says."""
        for stated in self.known:
            if stated.codes is not None:
                incumbent.by(stated.found_by or self.name).offer(stated.codes)
            bound, needed = Proof(stated.proof.bound), replace(stated.proof, bound=None)
            incumbent.by(stated.bound_by or self.name).prove(bound)
            incumbent.by(stated.needed_by or self.name).prove(needed)
        if not self.asks:
            return Proof()
        until = deadline if self.stopped is None else deadline.unless(self.stopped)
        return self.solver.improve(problem, incumbent, until)


def state(
    graph: Graph,
    budget: int,
    solver: Solver,
    options: SolveOptions,
    known: Iterable[Stated] = (),
    levels: tuple[Level, ...] = (),
) -> Result:
    """The result that follows from what is stated, without a solve; each is verified."""
    stated = _Informed(solver, tuple(known), asks=False)
    return solve(graph, budget, stated, levels=levels, options=options)


def stated_by(graph: Graph, result: Result) -> Stated:
    """What a result says."""
    codes = None if result.schedule is None else encode(graph, result.schedule)
    proof = Proof(result.lower_bound)
    if result.shortfall is not None:
        proof = replace(proof, needed=result.shortfall.needed, node=result.shortfall.node)
    return Stated(codes, proof, result.found_by, result.proved_by, _needed_by(result))


def _needed_by(result: Result) -> str | None:
    """Who proved what is needed; what a larger budget's answer says of it comes from another."""
    return result.proved_by if result.status is Status.INFEASIBLE else None


def facts_about(graph: Graph, budget: int, results: Mapping[int, Result]) -> Facts:
    """What results say about a budget; its own may be among them."""
    facts, best, least = Facts(), None, math.inf
    for other in sorted(results):
        result = results[other]
        if other <= budget and result.objective is not None and result.objective < least:
            best, least = result, result.objective
        bound = result.lower_bound if other >= budget else None
        if bound is not None and (facts.bound is None or bound > facts.bound):
            facts = replace(facts, bound=bound, bound_by=result.proved_by)
        if result.shortfall is not None and result.shortfall.needed > facts.needed:
            needed, node = result.shortfall.needed, result.shortfall.node
            facts = replace(facts, needed=needed, node=node, needed_by=_needed_by(result))
    if best is None:
        return facts
    codes = stated_by(graph, best).codes
    return replace(facts, codes=codes, objective=best.objective, found_by=best.found_by)


def answered(
    graph: Graph, budget: int, facts: Facts, gap: float, levels: tuple[Level, ...] = ()
) -> bool:
    """Whether the facts leave nothing to solve."""
    floor = level_floor(graph, levels) if levels else memory_floor(graph)
    if budget < max(facts.needed, floor.memory):
        return True
    bound = max(least_compute(graph), facts.bound or 0)
    best = math.inf if facts.objective is None else facts.objective
    return Problem(graph, budget, gap=gap).enough(best, bound)


def reconciled(
    graph: Graph,
    results: Mapping[int, Result],
    solver: Solver,
    options: SolveOptions,
    levels: tuple[Level, ...] = (),
) -> dict[int, Result]:
    """The results with what each says about the others: then the curve is monotone.

    A schedule serves every larger budget. A bound holds for every smaller one,
    and so does a proof that nothing fits.
    """
    found = dict(results)
    for budget in sorted(results):
        result = found[budget]
        facts = facts_about(graph, budget, found)
        if facts.improve(result):
            known = (stated_by(graph, result), facts.stated)
            made = state(graph, budget, solver, options, known, levels)
            found[budget] = replace(
                made,
                seconds=result.seconds,
                interrupted=result.interrupted,
                out_of_memory=result.out_of_memory,
                out_of_time=result.out_of_time,
            )
    return found


def descending(points: Sequence[Result]) -> tuple[Result, ...]:
    """Reconciled results by ascending budget, the last hair taken off their bounds' descent.

    Where schedule and bound meet within the tolerance, or a bound was rounded,
    that of a larger budget may still be higher. It holds for the smaller one,
    and is no more than what it takes: no larger budget's schedule takes more.
    """
    found, highest = list(points), -math.inf
    for at in reversed(range(len(found))):
        bound = found[at].lower_bound
        if bound is not None and bound < highest:
            found[at] = replace(found[at], lower_bound=highest)
        highest = max(highest, -math.inf if bound is None else bound)
    return tuple(found)
