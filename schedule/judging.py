"""Who checks what solvers offer, and says what is known: no solver grades itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from schedule.bounds import TOLERANCE, least_compute, memory_floor, round_up, round_up_memory
from schedule.errors import (
    BadInput,
    InvalidSchedule,
    SolverBug,
    SolverFailed,
)
from schedule.layout import Ints
from schedule.log import LOG
from schedule.lowering import needed_in_order
from schedule.makespan import level_floor
from schedule.memory import Trace, keeps_order
from schedule.result import Result, Shortfall, Status
from schedule.sizes import format_short, share_meant, with_exact
from schedule.solvers.contract import (
    MOST_RUNS,
    Problem,
    Progress,
    Proof,
)
from schedule.steps import Schedule
from schedule.values import listed
from schedule.verification import verify


class Judge:
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
                LOG.debug("%s: takes %s, peak %s", by, trace.makespan, trace.peak)
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
                LOG.debug("%s: no schedule takes less than %s", by, bound)
            self._runs = proof.runs or self._runs
            needed = 0 if proof.needed is None else round_up_memory(self._graph, proof.needed)
            if needed > self._needed:
                self._needed, self._node, self._needed_by = needed, proof.node, by
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
        most = f"in {self._time_limit:g} s" if self._runs <= MOST_RUNS else f"at all ({MOST_RUNS})"
        return f": what does takes {self._runs} runs, more than are written {most}"

    def _shortfall(self) -> Shortfall:
        budget, needed = self._budget, self._needed
        if budget is None:
            reason = f"nothing was written in time{self._too_long()}"
        elif self.infeasible:
            where = f" (node {self._node!r})" if self._node is not None else ""
            if needed == self._floor.memory and self._node is None:
                where = f" (for {listed(self._floor.tensors)} at once)"
            asked, least, more = format_short(budget, needed, needed - budget)
            reason = (
                f"no schedule fits {asked}: at least {with_exact(least, needed)} needed{where},"
                f" {more} more"
                f"{share_meant(budget, needed)}"
            )
        else:
            asked, least = format_short(budget, self._least_peak or budget)
            reason = f"nothing found that fits {asked}{self._too_long()}"
            if self._least_peak is not None:
                reason += f"; the least peak reached is {least}"
        at_floor = self.infeasible and needed == self._floor.memory
        tensors = self._floor.tensors if at_floor else ()
        return Shortfall(needed, self._node, reason, self._least_peak, tensors)
