"""The front door: `solve` asks a solver, checks its answer, and makes the Result."""

from __future__ import annotations

import logging
import threading
import time
import warnings
from collections.abc import Iterable
from dataclasses import replace
from typing import Unpack

from schedule.bounds import round_down_memory
from schedule.cancelling import cancelled
from schedule.errors import (
    BadOption,
    NotApplicable,
    is_out_of_memory,
)
from schedule.graph import Graph, require_graph
from schedule.joint import Inner, Joint
from schedule.judging import Judge
from schedule.levels import Level, levels_of
from schedule.log import LOG
from schedule.memory import Trace
from schedule.options import SolveKeywords, SolveOptions, options_of, spelled_out
from schedule.result import Result
from schedule.sizes import parse_budget
from schedule.solvers import Solver, solver_of
from schedule.solvers.contract import (
    Clock,
    Deadline,
    Incumbent,
    Problem,
    Progress,
    Proof,
)
from schedule.solvers.kit.interrupts import interrupts
from schedule.solvers.kit.memory import MemoryLimit
from schedule.solvers.offloading.solvers import OFFLOADERS
from schedule.values import shown, switch


@spelled_out(SolveKeywords)
def solve(
    graph: Graph,
    budget: int | str | None = None,
    solver: str | Solver = "auto",
    *,
    options: SolveOptions | None = None,
    levels: Iterable[Level] | Level | None = None,
    addresses: bool = False,
    alignment: int = 1,
    **given: Unpack[SolveKeywords],
) -> Result:
    """Find a schedule that fits the budget at the least compute.

    Parameters
    ----------
    graph
        The computation graph.
    budget
        Memory that must never be exceeded: an integer in the graph's unit, a
        size (`"2GiB"`), or a share (`"80%"`) of the unplanned peak. None: no
        limit; each solver then does what it does by nature.
    solver
        A name from `schedule.SOLVERS`, that of another package's solver, or an
        object like those.
    levels
        What is below the device, a host first: `schedule.host("64GiB", "25GB/s")`.
        Tensors may be copied there and back, and it is the makespan that is to be
        least, and that is bounded. Solvers for that are `offload` (which `auto`
        asks), `offload_largest`, `offload_all`, and objects with `knows_levels`
        set, which heed `Problem.levels`.
    options
        How to solve; by default `SolveOptions()`.
    addresses
        Whether the budget is the size of one arena: the result then has an offset in it
        for every allocation (`Result.addresses`). Its bound is that of schedules whose peak
        is within the budget, and it is `infeasible` only where there is none.
    alignment
        Of every offset: a power of two.
    order, time_limit, work_limit, gap, seed, workers, progress, memory_share, cancel
        The same one by one, in the place of those in `options`: `SolveOptions`
        says what each is.

    Returns
    -------
    Result
        Its schedule is verified, its bound proved. "Too small a budget" is a
        status, not an error. On Ctrl-C, where it is cancelled, and where memory runs
        out, the best found so far is returned, with `interrupted` set.

    Raises
    ------
    BadInput
        A budget, solver, order or limit that isn't one; a solver that doesn't
        handle this graph; another package's solver that doesn't work. Addresses with
        a work limit: packing isn't counted as work.
    SolverBug
        The solver proposed something that doesn't verify.
    MemoryError
        Memory ran out, or the share of it that may be taken, before there was any schedule.
    Exception
        Whatever `progress` or `cancel` raises; and what the solver does by a bug, where it has
        found nothing by then. Where it has, that is returned, with the warning
        `schedule.errors.SolverFailed`.

    Examples
    --------
    >>> import schedule
    >>> plan = schedule.solve(schedule.example("chain"), budget="50%")
    >>> plan.status
    <Status.OPTIMAL: 'optimal'>
    """
    require_graph(graph)
    below = levels_of(levels)
    chosen = solver_for(solver, below)
    asked = options_of(options, given, solve)
    limit = None if budget is None else parse_budget(budget, graph)
    _require_support(chosen, graph, asked)
    _require_placeable(asked, addresses, alignment, below)
    if addresses:
        return _solve_jointly(graph, limit, chosen, asked, int(alignment))
    return _solve(graph, limit, chosen, asked, levels=below)


def solver_for(solver: str | Solver, levels: tuple[Level, ...]) -> Solver:
    """The solver of that name, or that object, for a device with these levels below it.

    Raises
    ------
    BadOption
        There is none of that name, or the object is none; lists those there are.
    NotApplicable
        It knows nothing of levels, but there are some.
    """
    if levels and isinstance(solver, str):
        if solver == "auto":
            return next(iter(OFFLOADERS.values()))
        if solver in OFFLOADERS:
            return OFFLOADERS[solver]
    found = solver_of(solver)
    if levels and not getattr(found, "knows_levels", False):  # its bound is on the compute
        raise NotApplicable(
            f"solver {found.name!r} plans for one level of memory; with others below the device"
            f" there are auto, {', '.join(OFFLOADERS)}, and objects with knows_levels = True"
        )
    return found


def _solve_jointly(
    graph: Graph, limit: int | None, chosen: Solver, asked: SolveOptions, alignment: int
) -> Result:
    """Schedule and addresses; the judge is shown only what has an arena within the budget."""
    problem = Problem(graph, limit, order=asked.order, gap=asked.gap, seed=asked.seed)
    judge = Judge(problem, asked.time_limit, chosen.name, asked.progress)

    def follow(inside: Progress) -> None:
        """What is found and proved inside isn't yet, of the whole."""
        judge.say(inside.note)

    def within(inner: Inner) -> Result:
        progress = None if asked.progress is None else follow
        told = replace(asked, time_limit=inner.seconds, progress=progress)
        return _solve(graph, inner.budget, chosen, told, inner.starts, inner.bound)

    deadline = Deadline.after(asked.time_limit)
    return Joint(problem, alignment, deadline, within, judge, asked.cancel).result()


def _solve(
    graph: Graph,
    limit: int | None,
    chosen: Solver,
    asked: SolveOptions,
    starts: tuple[Trace, ...] = (),
    bound: float = 0,
    levels: tuple[Level, ...] = (),
) -> Result:
    """One solve, from schedules and a bound that are known."""
    memory, time_up, told = MemoryLimit(asked.memory_share), _TimeUp(asked), threading.Event()
    clock = Clock(asked.work_limit is not None, (told.is_set, memory.is_exceeded, time_up.is_so))
    deadline = Deadline.after(asked.work_limit or asked.time_limit, clock)
    workers = 1 if clock.counts_work else asked.workers  # one does the same every time
    problem = Problem(
        graph,
        limit,
        order=asked.order,
        gap=asked.gap,
        seed=asked.seed,
        workers=workers,
        levels=levels,
    )
    judge = Judge(problem, asked.time_limit, chosen.name, asked.progress)
    problem = _rounded(problem)
    incumbent = Incumbent(problem, judge, clock).by(chosen.name)
    interrupted = ran_out = False

    def improve() -> None:
        _tell(incumbent, starts, bound)
        incumbent.prove(_require_proof(chosen, chosen.improve(problem, incumbent, deadline)))

    def is_answered() -> bool:
        return incumbent.is_good_enough or judge.infeasible

    LOG.info("solving %r: %d nodes, budget %s, by %s", graph.name, len(graph), limit, chosen.name)
    if not judge.infeasible:
        try:
            with interrupts():
                interrupted = cancelled(improve, asked.cancel, told) and not is_answered()
        except KeyboardInterrupt:
            interrupted = True
        except Exception as error:  # it may be out of memory, or have a bug
            if (callers := judge.callers(error)) is not None:
                raise callers from callers.__cause__
            ran_out, answered = is_out_of_memory(error), judge.outlives(error)
            if ran_out and not answered:
                raise MemoryError("memory ran out before there was any schedule") from error
            if not answered:
                raise
            if not ran_out:
                warnings.warn(judge.failure(error), stacklevel=3)
        finally:
            incumbent.close()  # a thread that was left behind has nothing more to say
    if memory.exceeded and not is_answered():
        ran_out = True
        if not judge.has_answer:
            raise MemoryError(f"{memory} before there was any schedule")
    late = time_up.was_met and not is_answered()
    # Here, where nothing holds on to what the exception held.
    result = judge.result(interrupted or late, ran_out, incumbent.seconds_compiling)
    result = replace(result, out_of_time=late)
    _log(graph, result)
    return result


def _rounded(problem: Problem) -> Problem:
    """The problem for the largest peak within its budget: the same answer, closer relaxations."""
    if problem.budget is None:
        return problem
    return replace(problem, budget=round_down_memory(problem.graph, problem.budget))


def _require_proof(solver: Solver, found: object) -> Proof:
    """What a solver proves; it may be the caller's."""
    if isinstance(found, Proof):
        return found
    raise TypeError(
        f"improve of solver {solver.name!r} returned {shown(found)}; it has to return a"
        " schedule.solvers.Proof: Proof() proves nothing"
    )


def _log(graph: Graph, result: Result) -> None:
    """Log what came of it, as text: handlers keep what they are given."""
    if LOG.isEnabledFor(logging.INFO):
        LOG.info("solved %r: %s", graph.name, str(result))


def _tell(incumbent: Incumbent, starts: tuple[Trace, ...], bound: float) -> None:
    """Say what is known before."""
    incumbent.prove(Proof(bound=bound))
    for start in starts:
        incumbent.offer(start)


def _require_support(solver: Solver, graph: Graph, asked: SolveOptions) -> None:
    """Refuse a graph that a solver doesn't handle, and a work limit where it counts no work."""
    reason = solver.supports(graph)
    if reason is not None:
        raise NotApplicable(f"solver {solver.name!r} doesn't handle graph {graph.name!r}: {reason}")
    if not counts_as_asked(solver, asked):
        raise NotApplicable(
            f"solver {solver.name!r} doesn't count its work, so no work_limit ends it: give a"
            " time_limit alone (one that does count says so, by counts_work = True)"
        )


def counts_as_asked(solver: Solver, asked: SolveOptions) -> bool:
    """Whether a solver counts its work, where there is a work limit."""
    return asked.work_limit is None or getattr(solver, "counts_work", False) is True


def _require_placeable(
    asked: SolveOptions, addresses: bool, alignment: int, levels: tuple[Level, ...]
) -> None:
    """Refuse options of addresses that make no sense."""
    if not switch(addresses, "addresses"):
        if alignment != 1:
            raise BadOption(
                f"alignment is {shown(alignment)}, but no addresses are asked for: addresses=True"
            )
        return
    if levels:
        raise BadOption(
            "addresses with levels below the device: copies have no addresses; give one of them"
        )
    from schedule.arena.placing import check_alignment  # it loads what compiles

    check_alignment(alignment)
    if asked.work_limit is not None:
        raise BadOption(
            "addresses with a work_limit: packing isn't counted as work; give a time_limit alone"
        )


class _TimeUp:
    """The time limit where work is counted: past it, what is found is no longer the same."""

    def __init__(self, asked: SolveOptions) -> None:
        self._end = time.monotonic() + asked.time_limit
        self._is_asked = asked.work_limit is not None
        self.was_met = False

    def is_so(self) -> bool:
        """Whether it has passed."""
        self.was_met |= self._is_asked and time.monotonic() >= self._end
        return self.was_met
