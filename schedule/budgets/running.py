"""How a sweep runs: which solves are under way, what is known, and how it ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from contextlib import suppress
from dataclasses import dataclass, replace

from schedule.budgets.curve import Sweep
from schedule.budgets.delivery import Delivery
from schedule.budgets.directory import Directory
from schedule.budgets.solving import (
    Failure,
    Stated,
    Task,
    answered,
    descending,
    facts_about,
    reconciled,
    state,
)
from schedule.cancelling import is_cancelled
from schedule.errors import (
    OUT_OF_MEMORY,
    BadOutput,
    BadSchedule,
    SolverBug,
    is_out_of_memory,
)
from schedule.files import path_text
from schedule.graph import Graph
from schedule.levels import Level
from schedule.lowering import needed_in_order
from schedule.options import Cancel, SolveOptions
from schedule.result import Result, Status
from schedule.solvers import Progress, Proof, Solver

#: Solves at once in threads of the sweep's own.
_THREADS = 2
#: How often it is looked whether the executor is still there, in seconds.
_BEAT, _CANCEL_BEAT = 1.0, 0.05
#: How long solves that run are waited for after Ctrl-C, and once cancelled, in seconds.
_PATIENCE, _NO_PATIENCE = 5.0, 0.7
#: The longest report of an executor's that is passed on, in letters.
_MOST_LETTERS = 200


@dataclass(frozen=True, slots=True)
class SweepProgress:
    """Where a sweep stands: what its progress callback gets.

    `done` of `total` budgets have their answer after `seconds`. `budget` is the
    one that there is news about, and `latest` what its solver said (None: it is
    done). What is left takes at most `seconds_left`, as far as solves keep to
    their time limit; None: the executor doesn't say how many it runs at once.
    """

    budget: int
    latest: Progress | None
    done: int
    total: int
    seconds: float
    seconds_left: float | None


class _CancelledError(Exception):
    """The sweep was called off."""


class Run:
    """One sweep while it goes on.

    Parameters
    ----------
    graph, budgets, solver, options, levels
        What is solved, and how; budgets ascending, each once, in the graph's unit.
    files
        Where results are written, and what was there before; None: nowhere.
    progress, cancel
        As for `schedule.sweep`.
    known
        What is known beside, by budget, with the same levels.
    """

    def __init__(
        self,
        graph: Graph,
        budgets: list[int],
        solver: Solver,
        options: SolveOptions,
        files: Directory | None,
        progress: Callable[[SweepProgress], None] | None,
        cancel: Cancel | None,
        levels: tuple[Level, ...],
        known: Mapping[int, Result],
    ) -> None:
        self._cancel, self._levels = cancel, levels
        self._graph, self._budgets, self._solver = graph, budgets, solver
        self._options, self._files, self._progress = options, files, progress
        self._started = time.monotonic()
        # What is known of any budget: `_results` answers some of those asked for.
        self._known = {**known, **({} if files is None else files.found)}
        self._results = {
            budget: self._known[budget]
            for budget in budgets
            if files is not None and files.settles(budget)
        }
        self._running: dict[Future[Result | Failure], int] = {}
        self._began: dict[int, float] = {}
        self._at_once: int | None = None
        self._solved = 0
        self._stopped = False
        self._ended = ""
        self._failed = False

    def on(self, executor: Executor | None, workers: int | None) -> Sweep:
        """Solve what isn't known yet, and put everything together.

        Raises
        ------
        BadSchedule
            A solve belies a proof that was read from the directory.
        """
        try:
            return self._on(executor, workers)
        except SolverBug as error:
            if self._files is None or not self._files.found:
                raise
            raise BadSchedule(
                f"{path_text(self._files.path)}: a file there states a proof that is none, or the"
                f" solver is wrong: {error}; give another directory"
            ) from error

    def _on(self, executor: Executor | None, workers: int | None) -> Sweep:
        threads = min(workers or _THREADS, len(self._budgets))
        path = None if self._files is None else self._files.path
        delivery = Delivery(self._graph, executor, threads, path, lambda: self._stopped, self._say)
        with delivery:
            try:
                self._at_once = workers or delivery.width
                self._solve(delivery)
            except KeyboardInterrupt:
                self._ended = "interrupted"
                delivery.stop()
                with suppress(KeyboardInterrupt):  # once more: don't wait
                    self._collect(_PATIENCE)
            except _CancelledError:
                self._ended = "cancelled"
                delivery.stop()
                self._collect(_NO_PATIENCE)
            finally:
                self._stopped = True
                for future in self._running:
                    future.cancel()
        return self._curve()

    def _solve(self, delivery: Delivery) -> None:
        """Keep as many solves running as there may be, until there is nothing left."""
        waiting = [budget for budget in self._budgets if budget not in self._results]
        while waiting or self._running:
            while waiting and not self._ended and self._has_room():
                self._begin(waiting.pop(0), delivery)
            if not self._running:
                break
            done, _ = wait(self._running, self._beat, FIRST_COMPLETED)
            if self._cancel is not None and is_cancelled(self._cancel):
                raise _CancelledError
            while done:  # nothing holds on to them: Dask makes again what is held and lost
                self._take(done.pop())
            if delivery.is_closed:  # then what is left to come never does
                self._ended = self._ended or "the executor failed: its client is closed"
                break

    @property
    def _beat(self) -> float:
        return _BEAT if self._cancel is None else _CANCEL_BEAT

    def _has_room(self) -> bool:
        return self._at_once is None or len(self._running) < self._at_once

    def _begin(self, budget: int, delivery: Delivery) -> None:
        """Send off a solve, unless what is known answers it."""
        facts = facts_about(self._graph, budget, self._known)
        if answered(self._graph, budget, facts, self._options.gap, self._levels):
            self._keep(self._stated(budget))
            return
        task = Task(budget, self._solver, self._options, facts, self._levels)
        try:
            future = delivery.submit(task)
        except Exception as error:  # noqa: BLE001 - an executor may raise anything when it's gone
            self._fail(error)
            return
        self._began[budget] = time.monotonic()
        self._running[future] = budget

    def _stated(self, budget: int) -> Result:
        """What follows from all other results and the program as it is, without a solve."""
        plain = needed_in_order(self._graph)
        known = [facts_about(self._graph, budget, self._known).stated]
        if plain.peak <= budget:
            known.append(Stated(plain.codes, Proof()))
        return state(self._graph, budget, self._solver, self._options, known, self._levels)

    def _take(self, future: Future[Result | Failure]) -> None:
        """A solve has ended, one way or the other."""
        del self._running[future]
        try:
            answer = future.result()
        except Exception as error:  # noqa: BLE001 - what an executor raises, not a solver
            self._fail(error)
            return
        if isinstance(answer, Failure):
            if not is_out_of_memory(answer.error):
                raise answer.error
            self._end(OUT_OF_MEMORY)
            return
        if answer.out_of_memory:
            self._end(OUT_OF_MEMORY)
        self._solved += 1
        if self._stopped and answer.status not in (Status.OPTIMAL, Status.INFEASIBLE):
            answer = replace(answer, interrupted=True)  # it may have been cut short
        self._keep(answer)

    def _keep(self, result: Result) -> None:
        assert result.budget is not None
        self._results[result.budget] = self._known[result.budget] = result
        self._write(result)
        self._say(result.budget, None)

    def _write(self, result: Result) -> None:
        """Put a result into the directory; where that fails begin nothing more."""
        try:
            if self._files is not None:
                self._files.put(result)
        except BadOutput as error:
            self._end(str(error))

    def _fail(self, error: Exception) -> None:
        """The executor doesn't answer: begin nothing more, keep what is known."""
        if is_out_of_memory(error):
            self._end(OUT_OF_MEMORY)
        self._ended = self._ended or f"the executor failed: {_said(error)}"

    def _end(self, reason: str) -> None:
        """Begin nothing more, as what was asked for can't be done."""
        if not self._failed:
            self._ended = "; ".join(filter(None, (self._ended, reason)))
        self._failed = True

    def _collect(self, patience: float) -> None:
        """After Ctrl-C: let solves that run come to an end, for a while."""
        self._stopped = True
        for future in list(self._running):
            if future.cancel():
                del self._running[future]
        done, _ = wait(self._running, timeout=patience)
        for future in done:
            self._take(future)

    def _say(self, budget: int, latest: Progress | None) -> None:
        """Tell the progress callback; in threads, from whichever has news."""
        if self._progress is None or self._stopped:
            return
        self._progress(
            SweepProgress(
                budget,
                latest,
                len(self._results),
                len(self._budgets),
                time.monotonic() - self._started,
                self._seconds_left(),
            )
        )

    def _seconds_left(self) -> float | None:
        """What is left at most, if `_at_once` solves run side by side until the end."""
        if self._at_once is None:
            return None
        now, limit = time.monotonic(), self._options.time_limit
        running = tuple(self._running.values())
        left = [max(0.0, limit + self._began.get(budget, now) - now) for budget in running]
        waiting = max(0, len(self._budgets) - len(self._results) - len(running))
        return max(left, default=0.0) + limit * -(-waiting // self._at_once)

    def _curve(self) -> Sweep:
        """All results, each with what the others say about it."""
        found = reconciled(self._graph, self._known, self._solver, self._options, self._levels)
        for budget in self._results:
            if found[budget] is not self._known[budget]:
                self._write(found[budget])
        self._known = found
        unsolved = [budget for budget in self._budgets if budget not in self._results]
        for budget in self._budgets:
            if budget in unsolved:
                self._results[budget] = replace(self._stated(budget), interrupted=True)
            else:
                self._results[budget] = found[budget]
        points = descending([self._results[budget] for budget in self._budgets])
        return Sweep.of(
            self._graph,
            self._solver.name,
            self._options.order,
            points,
            seconds=time.monotonic() - self._started,
            solved=self._solved,
            ended=self._ended,
            failed=self._failed,
            unsolved=unsolved,
            levels=self._levels,
        )


def _said(error: Exception) -> str:
    """What an executor's exception says, on one line that isn't too long."""
    text = " ".join(str(error).split())[:_MOST_LETTERS]
    return f"{type(error).__name__}: {text or 'it let go of a solve'}"
