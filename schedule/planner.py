"""The front door: `solve` asks a solver, checks its answer, and makes the Result."""

from __future__ import annotations

import logging
import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Unpack

import numpy as np

from schedule.bounds import TOLERANCE, least_compute, memory_floor, round_up
from schedule.cancelling import cancelled
from schedule.errors import (
    BadInput,
    BadOption,
    InvalidSchedule,
    NotApplicable,
    SolverBug,
    SolverFailed,
    is_out_of_memory,
)
from schedule.graph import Graph, require_graph
from schedule.joint import Inner, Joint
from schedule.layout import Ints
from schedule.log import LOG
from schedule.lowering import needed_in_order
from schedule.memory import Trace, keeps_order
from schedule.options import SolveKeywords, SolveOptions, options_of, spelled_out
from schedule.result import Result, Shortfall, Status
from schedule.sizes import format_memories, parse_budget, share_meant
from schedule.solvers import Solver, solver_of
from schedule.solvers.contract import (
    MOST_RUNS,
    Clock,
    Deadline,
    Incumbent,
    Problem,
    Progress,
    Proof,
)
from schedule.solvers.kit.interrupts import interrupts
from schedule.solvers.kit.memory import MemoryLimit
from schedule.steps import Schedule
from schedule.values import shown
from schedule.verification import verify


@spelled_out(SolveKeywords)
def solve(
    graph: Graph,
    budget: int | str | None = None,
    solver: str | Solver = "auto",
    *,
    options: SolveOptions | None = None,
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
    chosen = solver_of(solver)
    asked = options_of(options, given)
    limit = None if budget is None else parse_budget(budget, graph)
    _require_support(chosen, graph, asked)
    _require_placeable(asked, addresses, alignment)
    if addresses:
        return _solve_jointly(graph, limit, chosen, asked, int(alignment))
    return _solve(graph, limit, chosen, asked)


def _solve_jointly(
    graph: Graph, limit: int | None, chosen: Solver, asked: SolveOptions, alignment: int
) -> Result:
    """Schedule and addresses; the judge is shown only what has an arena within the budget."""
    problem = Problem(graph, limit, order=asked.order, gap=asked.gap, seed=asked.seed)
    judge = _Judge(problem, asked.time_limit, chosen.name, asked.progress)

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
) -> Result:
    """One solve, from schedules and a bound that are known."""
    memory, time_up, told = MemoryLimit(asked.memory_share), _TimeUp(asked), threading.Event()
    clock = Clock(asked.work_limit is not None, (told.is_set, memory.is_exceeded, time_up.is_so))
    deadline = Deadline.after(asked.work_limit or asked.time_limit, clock)
    workers = 1 if clock.counts_work else asked.workers  # one does the same every time
    problem = Problem(
        graph, limit, order=asked.order, gap=asked.gap, seed=asked.seed, workers=workers
    )
    judge = _Judge(problem, asked.time_limit, chosen.name, asked.progress)
    incumbent = Incumbent(problem, judge, clock).by(chosen.name)
    interrupted = ran_out = False

    def improve() -> None:
        _tell(incumbent, starts, bound)
        incumbent.prove(chosen.improve(problem, incumbent, deadline))

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
    interrupted |= time_up.was_met and not is_answered()
    # Here, where nothing holds on to what the exception held.
    result = judge.result(interrupted, ran_out, incumbent.seconds_compiling)
    _log(result)
    return result


def _log(result: Result) -> None:
    """Log what came of it, as text: handlers keep what they are given."""
    if LOG.isEnabledFor(logging.INFO):
        LOG.info("solved %s", str(result))


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
    if asked.work_limit is not None and getattr(solver, "counts_work", False) is not True:
        raise NotApplicable(
            f"solver {solver.name!r} doesn't count its work, so no work_limit ends it: give a"
            " time_limit alone (one that does count says so, by counts_work = True)"
        )


def _require_placeable(asked: SolveOptions, addresses: bool, alignment: int) -> None:
    """Refuse options of addresses that make no sense."""
    if not isinstance(addresses, (bool, np.bool)):
        raise BadOption(f"addresses is {shown(addresses)}; it has to be True or False")
    if not addresses:
        if alignment != 1:
            raise BadOption(
                f"alignment is {shown(alignment)}, but no addresses are asked for: addresses=True"
            )
        return
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


class _Judge:
    """Replays what solvers offer, keeps the best that verifies, and says what is proved."""

    def __init__(
        self,
        problem: Problem,
        time_limit: float,
        solver: str,
        progress: Callable[[Progress], None] | None,
    ) -> None:
        self._problem, self._time_limit, self._solver = problem, time_limit, solver
        self._graph, self._budget = problem.graph, problem.budget
        self._progress, self._started = progress, time.monotonic()
        self._best: Trace | None = None
        self._found_by: str | None = None
        self._least_peak: int | None = None
        self._runs: int | None = None
        self._bound = least_compute(problem.graph)
        self._bound_by: str | None = None
        self._needed_by: str | None = None
        self._floor = memory_floor(problem.graph)
        self._needed, self._node = self._floor.memory, self._floor.node
        self._lock = threading.Lock()
        self._callers_errors: list[BaseException] = []  # from several threads, maybe

    @property
    def infeasible(self) -> bool:
        """Whether it is proved that nothing fits."""
        return self._budget is not None and self._budget < self._needed

    def take(self, codes: Ints, by: str) -> Trace:
        """Verify a schedule and keep it if it is better than what was known; its replay."""
        with self._lock:
            trace = self._verified(codes, by)
            if better := self._keep(trace):
                self._found_by = by
                LOG.debug("%s: compute %s, peak %s", by, trace.compute, trace.peak)
            self._check(by)
        if better:
            self.say("")
        return trace

    def prove(self, proof: Proof, by: str) -> None:
        """Take note of what is proved."""
        with self._lock:
            bound = 0 if proof.bound is None else round_up(self._graph, proof.bound)
            if better := bound > self._bound:
                self._bound, self._bound_by = bound, by
                LOG.debug("%s: no schedule takes less than %s", by, bound)
            self._runs = proof.runs or self._runs
            if proof.needed is not None and proof.needed > self._needed:
                self._needed, self._node, self._needed_by = proof.needed, proof.node, by
            self._check(by)
        if better:
            self.say("")

    def say(self, note: str) -> None:
        """Tell the progress callback where the solve stands."""
        if self._progress is None:
            return
        best = None if self._best is None else self._best.compute
        seconds = time.monotonic() - self._started
        try:
            self._progress(
                Progress(self._solver, seconds, self._time_limit, best, self._bound, note)
            )
        except BaseException as error:
            self._callers_errors.append(error)
            raise

    def callers(self, error: BaseException) -> BaseException | None:
        """The exception of the progress callback that an error is, or was made of, if any."""
        cause: BaseException | None = error
        while cause is not None and not any(cause is each for each in self._callers_errors):
            cause = cause.__cause__
        return cause

    def outlives(self, error: Exception) -> bool:
        """Whether there is an answer that an error in the solver doesn't touch.

        One that says that an answer is wrong does.
        """
        if isinstance(error, (SolverBug, BadInput)):
            return False
        return self.has_answer

    @property
    def has_answer(self) -> bool:
        """Whether there is a schedule, or a proof that there is none."""
        return self._best is not None or self.infeasible

    def failure(self, error: Exception) -> SolverFailed:
        """What to say of an error that the answer outlives."""
        said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        warning = SolverFailed(
            f"solver {self._solver!r} failed ({said}); what it had found by then is returned"
        )
        warning.__cause__ = error
        return warning

    def _keep(self, trace: Trace) -> bool:
        """Keep a schedule that fits and is better than the best; of others, the least peak."""
        if not self._problem.fits(trace.peak):
            self._least_peak = min(trace.peak, self._least_peak or trace.peak)
            return False
        key = (trace.compute, trace.peak, len(trace.codes))
        best = self._best
        if best is not None and key >= (best.compute, best.peak, len(best.codes)):
            return False
        self._best = trace
        return True

    def _verified(self, codes: Ints, by: str) -> Trace:
        """The replay of a schedule; the program as it is was replayed before anybody asked."""
        plain = needed_in_order(self._graph)
        if codes is plain.codes:
            return plain
        try:
            trace = verify(self._graph, codes)
        except (InvalidSchedule, BadInput) as error:  # BadInput: it is none at all
            raise SolverBug(f"solver {by!r} proposed an invalid schedule: {error}") from error
        if self._problem.order == "fixed" and not keeps_order(trace):
            raise SolverBug(f"solver {by!r} proposed first runs in another order")
        return trace

    def _check(self, by: str) -> None:
        """No proof may contradict a schedule that was replayed."""
        if self._best is None:
            return
        if self.infeasible:
            raise SolverBug(
                f"solver {by!r} claims that {self._needed} are needed,"
                f" but a schedule with peak {self._best.peak} fits"
            )
        if self._bound - self._best.compute > self._tolerance:
            raise SolverBug(
                f"solver {by!r} claims the bound {self._bound},"
                f" but a schedule with compute {self._best.compute} fits"
            )

    @property
    def _tolerance(self) -> float:
        return TOLERANCE * float(self._graph.compute)

    def result(self, interrupted: bool, ran_out: bool, compiling: float) -> Result:
        """What is known now."""
        graph, best = self._graph, self._best
        seconds = time.monotonic() - self._started
        if best is None:
            status = Status.INFEASIBLE if self.infeasible else Status.UNKNOWN
            bound = None if self.infeasible else self._bound
        else:
            proved = best.compute - self._bound <= self._tolerance
            status = Status.OPTIMAL if proved else Status.FEASIBLE
            bound = min(self._bound, best.compute)
        return Result(
            status=status,
            schedule=None if best is None else Schedule.of_codes(graph, best.codes),
            graph_name=graph.name,
            digest=graph.digest,
            graph_compute=graph.compute,
            solver=self._solver,
            order=self._problem.order,
            budget=self._budget,
            seconds=seconds,
            seed=self._problem.seed,
            lower_bound=bound,
            peak=None if best is None else best.peak,
            compute=None if best is None else best.compute,
            overhead=None if best is None else best.overhead,
            checkpoints=() if best is None else best.checkpoints,
            shortfall=None if best is not None else self._shortfall(),
            interrupted=interrupted or ran_out,
            out_of_memory=ran_out,
            found_by=self._found_by,
            proved_by=self._needed_by if best is None and self.infeasible else self._bound_by,
            compiling=compiling,
            trace=best,
        )

    def _too_long(self) -> str:
        """What is known to fit, but isn't written."""
        if self._runs is None:
            return ""
        most = f"in {self._time_limit:g} s" if self._runs <= MOST_RUNS else f"at all ({MOST_RUNS})"
        return f": what does takes {self._runs} runs, more than are written {most}"

    def _shortfall(self) -> Shortfall:
        budget, needed = self._budget, self._needed
        if budget is None:
            reason = f"nothing was written in time{self._too_long()}"
        elif self.infeasible:
            where = f" (node {self._node!r})" if self._node is not None else ""
            if needed == self._floor.memory and self._node is None:
                where = f" ({self._floor})"
            asked, least, more = format_memories(budget, needed, needed - budget)
            reason = (
                f"no schedule fits {asked}: at least {least} needed{where}, {more} more"
                f"{share_meant(budget, needed)}"
            )
        else:
            asked, least = format_memories(budget, self._least_peak or budget)
            reason = f"nothing found that fits {asked}{self._too_long()}"
            if self._least_peak is not None:
                reason += f"; the least peak reached is {least}"
        at_floor = self.infeasible and needed == self._floor.memory
        tensors = self._floor.tensors if at_floor else ()
        return Shortfall(needed, self._node, reason, self._least_peak, tensors)
