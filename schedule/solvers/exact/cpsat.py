"""Constraint programs on CP-SAT: a program in, solutions and a proved bound out.

CP-SAT runs in a thread of its own, so that a time limit or Ctrl-C in the main
thread stops it within a fraction of a second.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass

from ortools.sat.python import cp_model

from schedule.errors import ScheduleError
from schedule.solvers.contract import Deadline

#: How long the main thread waits at a time, in seconds: Ctrl-C is seen this soon.
_BEAT = 0.05

#: The value of a variable in a solution.
Value = Callable[[cp_model.IntVar], int]


def _ignore(_: float) -> None:
    """Take a bound and do nothing with it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """How a solve ended.

    Attributes
    ----------
    decided
        Whether it ran to its end: there is no better solution, or none at all.
    found
        Whether there was a solution.
    bound
        No solution has a smaller objective; infinite where there is none.
    """

    decided: bool
    found: bool
    bound: float


def minimise(
    program: cp_model.CpModel,
    *,
    deadline: Deadline,
    seed: int = 0,
    workers: int = 1,
    on_solution: Callable[[Value], object],
    on_bound: Callable[[float], object] = _ignore,
) -> Answer:
    """Solve a program until it is decided or the time is up.

    Parameters
    ----------
    program
        With an objective to be minimised.
    deadline
        When to stop; looked at from this thread, twenty times a second.
    seed, workers
        Of CP-SAT's random choices; its threads. With one, it does the same each time.
    on_solution, on_bound
        Called from the solver's threads with every better solution, and every
        better bound.

    Raises
    ------
    KeyboardInterrupt
        Ctrl-C was pressed meanwhile; the solver has been stopped.
    ScheduleError
        CP-SAT refuses the program.
    """
    if deadline.passed:
        return Answer(False, False, -math.inf)
    solver = cp_model.CpSolver()
    solver.parameters.max_time_in_seconds = deadline.seconds_left
    solver.parameters.num_workers = workers
    solver.parameters.random_seed = seed
    solver.parameters.catch_sigint_signal = False  # Ctrl-C is Python's to see
    listener = _Listener(on_solution, on_bound)
    solver.best_bound_callback = listener.on_better_bound
    status = _run(solver, program, listener, deadline)
    if status == cp_model.MODEL_INVALID:
        raise ScheduleError(f"CP-SAT refuses a program: {program.validate()}")
    if status == cp_model.INFEASIBLE:
        return Answer(True, False, math.inf)
    found = status in (cp_model.OPTIMAL, cp_model.FEASIBLE)
    return Answer(status == cp_model.OPTIMAL, found, solver.best_objective_bound)


class _Listener(cp_model.CpSolverSolutionCallback):
    """Takes CP-SAT's callbacks; an exception must not cross the C++ between."""

    def __init__(
        self, on_solution: Callable[[Value], object], on_bound: Callable[[float], object]
    ) -> None:
        super().__init__()
        self._on_solution, self._on_bound = on_solution, on_bound
        self.error: BaseException | None = None

    def on_solution_callback(self) -> None:
        """Take a better solution."""
        self._guarded(lambda: self._on_solution(self.value))

    def on_better_bound(self, bound: float) -> None:
        """Take a better bound."""
        self._guarded(lambda: self._on_bound(bound))

    def _guarded(self, call: Callable[[], object]) -> None:
        if self.error is not None:
            return
        try:
            call()
        except BaseException as error:  # noqa: BLE001 - raised again by the main thread
            self.error = error


def _run(
    solver: cp_model.CpSolver,
    program: cp_model.CpModel,
    listener: _Listener,
    deadline: Deadline,
) -> cp_model.CpSolverStatus:
    # An event of our own: Thread.join, interrupted, takes the thread for ended.
    done = threading.Event()
    status = cp_model.UNKNOWN

    def work() -> None:
        nonlocal status
        try:
            status = solver.solve(program, listener)
        except BaseException as error:  # noqa: BLE001 - raised again by the main thread
            listener.error = listener.error or error
        finally:
            done.set()

    threading.Thread(target=work, daemon=True).start()
    try:
        while not done.wait(_BEAT):
            if listener.error is not None or deadline.passed:
                solver.stop_search()
    except BaseException:
        while not done.wait(_BEAT):  # it may have begun only now, and not have heard
            solver.stop_search()
        raise
    if listener.error is not None:
        raise listener.error
    return status
