"""The front door: `solve` asks a solver, checks its answer, and makes the Result."""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Callable, Iterable
from typing import Unpack

from schedule.bounds import TOLERANCE, least_compute, memory_floor, round_up
from schedule.errors import (
    BadInput,
    BadOption,
    InvalidSchedule,
    NotApplicable,
    SolverBug,
    SolverFailed,
    is_out_of_memory,
)
from schedule.graph import Graph
from schedule.layout import Ints
from schedule.levels import Level, levels_of
from schedule.lowering import needed_in_order
from schedule.makespan import level_floor
from schedule.memory import Trace, keeps_order, verify
from schedule.options import SolveKeywords, SolveOptions, options_of, spelled_out
from schedule.result import Result, Shortfall, Status
from schedule.sizes import format_memory, parse_budget
from schedule.solvers import Solver, solver_named
from schedule.solvers.contract import MOST_RUNS, Deadline, Incumbent, Problem, Progress, Proof
from schedule.solvers.kit.interrupts import interrupts
from schedule.solvers.kit.memory import MemoryLimit
from schedule.solvers.offloading.solvers import OFFLOADERS
from schedule.steps import Schedule
from schedule.values import shown


@spelled_out(SolveKeywords)
def solve(
    graph: Graph,
    budget: int | str | None = None,
    solver: str | Solver = "auto",
    *,
    levels: Iterable[Level] | Level | None = None,
    options: SolveOptions | None = None,
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
    order, time_limit, gap, seed, workers, progress, memory_share
        The same one by one, in the place of those in `options`: `SolveOptions`
        says what each is.

    Returns
    -------
    Result
        Its schedule is verified, its bound proved. "Too small a budget" is a
        status, not an error. On Ctrl-C, and where memory runs out, the best
        found so far is returned, with `interrupted` set.

    Raises
    ------
    BadInput
        A budget, solver, order or limit that isn't one; a solver that doesn't
        handle this graph; another package's solver that doesn't work.
    SolverBug
        The solver proposed something that doesn't verify.
    MemoryError
        Memory ran out, or the share of it that may be taken, before there was any schedule.
    Exception
        Whatever `progress` raises; and what the solver does by a bug, where it has
        found nothing by then. Where it has, that is returned, with the warning
        `schedule.errors.SolverFailed`.

    Examples
    --------
    >>> import schedule
    >>> plan = schedule.solve(schedule.example("chain"), budget="50%")
    >>> plan.status
    <Status.OPTIMAL: 'optimal'>
    """
    asked = options_of(options, given)
    below = levels_of(levels)
    chosen = solver_for(solver, below)
    limit = None if budget is None else parse_budget(budget, graph)
    reason = chosen.supports(graph)
    if reason is not None:
        raise NotApplicable(f"solver {chosen.name!r} doesn't handle graph {graph.name!r}: {reason}")
    memory = MemoryLimit(asked.memory_share)
    deadline = Deadline.after(asked.time_limit).unless(memory.is_exceeded)
    problem = Problem(
        graph,
        limit,
        order=asked.order,
        gap=asked.gap,
        seed=asked.seed,
        workers=asked.workers,
        levels=below,
    )
    judge = _Judge(problem, deadline, chosen.name, asked.progress)
    incumbent = Incumbent(problem, judge).by(chosen.name)
    interrupted = ran_out = False
    if not judge.infeasible:
        try:
            with interrupts():
                incumbent.prove(chosen.improve(problem, incumbent, deadline))
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
                warnings.warn(judge.failure(error), stacklevel=2)
        finally:
            incumbent.close()  # a thread that was left behind has nothing more to say
    if memory.exceeded and not (incumbent.is_good_enough or judge.infeasible):
        ran_out = True
        if not judge.has_answer:
            raise MemoryError(f"{memory} before there was any schedule")
    # Here, where nothing holds on to what the exception held.
    return judge.result(interrupted, ran_out, incumbent.seconds_compiling)


def solver_for(solver: str | Solver, levels: tuple[Level, ...]) -> Solver:
    """The solver of that name, or that object, for a device with these levels below it.

    Raises
    ------
    BadOption
        There is none of that name, or the object is none; lists those there are.
    NotApplicable
        It knows nothing of levels, but there are some.
    """
    if not levels:
        return solver_named(solver) if isinstance(solver, str) else _checked(solver)
    if solver == "auto":
        return next(iter(OFFLOADERS.values()))
    if isinstance(solver, str) and solver in OFFLOADERS:
        return OFFLOADERS[solver]
    found = solver_named(solver) if isinstance(solver, str) else _checked(solver)
    if not getattr(found, "knows_levels", False):  # its bound would be one on the compute
        raise NotApplicable(
            f"solver {found.name!r} plans for one level of memory; with others below the device"
            f" there are auto, {', '.join(OFFLOADERS)}, and objects with knows_levels = True"
        )
    return found


def _checked(solver: Solver) -> Solver:
    """A solver object, where it has what the contract asks for."""
    missing = [
        name
        for name, has_it in (
            ("name", isinstance(getattr(solver, "name", None), str)),
            ("supports(graph)", callable(getattr(solver, "supports", None))),
            ("improve(problem, incumbent, deadline)", callable(getattr(solver, "improve", None))),
        )
        if not has_it
    ]
    if missing:
        raise BadOption(
            f"solver {shown(solver)} is no solver: it has no {' and no '.join(missing)};"
            " see schedule.solvers.Solver"
        )
    return solver


class _Judge:
    """Replays what solvers offer, keeps the best that verifies, and says what is proved."""

    def __init__(
        self,
        problem: Problem,
        deadline: Deadline,
        solver: str,
        progress: Callable[[Progress], None] | None,
    ) -> None:
        self._problem, self._deadline, self._solver = problem, deadline, solver
        self._graph, self._budget = problem.graph, problem.budget
        self._progress, self._started = progress, deadline.end - deadline.limit
        self._best: Trace | None = None
        self._found_by: str | None = None
        self._least_peak: int | None = None
        self._runs: int | None = None
        self._bound = least_compute(problem.graph)
        self._bound_by: str | None = None
        self._needed_by: str | None = None
        self._floor = (
            level_floor(problem.graph, problem.levels)
            if problem.levels
            else memory_floor(problem.graph)
        )
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
            self._check(by)
        if better:
            self.say("")
        return trace

    def prove(self, proof: Proof, by: str) -> None:
        """Take note of what is proved."""
        with self._lock:
            bound = 0 if proof.bound is None else self._rounded(proof.bound)
            if better := bound > self._bound:
                self._bound, self._bound_by = bound, by
            self._runs = proof.runs or self._runs
            if proof.needed is not None and proof.needed > self._needed:
                self._needed, self._node, self._needed_by = proof.needed, proof.node, by
            self._check(by)
        if better:
            self.say("")

    def _rounded(self, bound: int | float) -> int | float:
        """The least that a schedule can take; with levels that is no sum of computes."""
        return bound if self._problem.levels else round_up(self._graph, bound)

    def say(self, note: str) -> None:
        """Tell the progress callback where the solve stands."""
        if self._progress is None:
            return
        best = None if self._best is None else self._best.makespan
        seconds = time.monotonic() - self._started
        try:
            self._progress(
                Progress(self._solver, seconds, self._deadline.limit, best, self._bound, note)
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
        key = (trace.makespan, trace.peak, len(trace.codes))
        best = self._best
        if best is not None and key >= (best.makespan, best.peak, len(best.codes)):
            return False
        self._best = trace
        return True

    def _verified(self, codes: Ints, by: str) -> Trace:
        """The replay of a schedule; the program as it is was replayed before anybody asked."""
        plain = needed_in_order(self._graph)
        if codes is plain.codes and not self._problem.levels:
            return plain
        try:
            trace = verify(self._graph, codes, levels=self._problem.levels)
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
        if self._bound - self._best.makespan > self._tolerance:
            raise SolverBug(
                f"solver {by!r} claims the bound {self._bound},"
                f" but a schedule that takes {self._best.makespan} fits"
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
            proved = best.makespan - self._bound <= self._tolerance
            status = Status.OPTIMAL if proved else Status.FEASIBLE
            bound = min(self._bound, best.makespan)
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
            levels=self._problem.levels,
            level_peaks=() if best is None else best.peaks_below,
            makespan=best.makespan if best is not None and self._problem.levels else None,
            trace=best,
        )

    def _too_long(self) -> str:
        """What is known to fit, but isn't written."""
        if self._runs is None:
            return ""
        most = (
            f"in {self._deadline.limit:g} s" if self._runs <= MOST_RUNS else f"at all ({MOST_RUNS})"
        )
        return f": what does takes {self._runs} runs, more than are written {most}"

    def _shortfall(self) -> Shortfall:
        budget, needed = self._budget, self._needed
        if budget is None:
            reason = f"nothing was written in time{self._too_long()}"
        elif self.infeasible:
            where = f" (node {self._node!r})" if self._node is not None else ""
            if needed == self._floor.memory and self._node is None:
                where = f" ({self._floor})"
            reason = (
                f"no schedule fits {format_memory(budget)}: at least {format_memory(needed)}"
                f" needed{where}, {format_memory(needed - budget)} more"
            )
        else:
            reason = f"nothing found that fits {format_memory(budget)}{self._too_long()}"
            if self._least_peak is not None:
                reason += f"; the least peak reached is {format_memory(self._least_peak)}"
        at_floor = self.infeasible and needed == self._floor.memory
        tensors = self._floor.tensors if at_floor else ()
        return Shortfall(needed, self._node, reason, self._least_peak, tensors)
