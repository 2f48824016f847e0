"""Constraint programs on CP-SAT: a program in, solutions and a proved bound out.

CP-SAT looks at the clock often, in its presolve, too (it was a third of a second late at
the most, on programs of a quarter of a million constraints). So it runs in a thread of
its own, which is left behind where it doesn't end in time.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from ortools.sat.python import cp_model

from schedule.errors import ScheduleError
from schedule.solvers.contract import Deadline
from schedule.solvers.exact.calls import Call

#: The value of a variable in a solution.
Value = Callable[[cp_model.IntVar], int]

#: About the seconds that a unit of CP-SAT's own count of work takes.
_SECONDS_A_UNIT = 20.0


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
        better bound; never once this has returned.

    Raises
    ------
    KeyboardInterrupt
        Ctrl-C was pressed meanwhile; the solver has been stopped, or left behind.
    ScheduleError
        CP-SAT refuses the program.
    """
    if deadline.passed:
        return Answer(False, False, -math.inf)
    solver = cp_model.CpSolver()
    if deadline.clock.counts_work:
        solver.parameters.max_deterministic_time = deadline.seconds_left / _SECONDS_A_UNIT
    else:
        solver.parameters.max_time_in_seconds = deadline.seconds_left
    solver.parameters.num_workers = workers
    solver.parameters.random_seed = seed
    solver.parameters.catch_sigint_signal = False  # Ctrl-C is Python's to see
    call: Call[cp_model.CpSolverStatus] = Call()
    listener = _Listener(call, on_solution, on_bound)
    solver.best_bound_callback = listener.on_better_bound
    status = call.answer(_Work(solver, program, listener), deadline)
    if call.left:
        return Answer(False, listener.has_found, listener.bound)
    deadline.spend(_SECONDS_A_UNIT * solver.response_proto.deterministic_time)
    if status == cp_model.MODEL_INVALID:
        raise ScheduleError(f"CP-SAT refuses a program: {program.validate()}")
    if status == cp_model.INFEASIBLE:
        return Answer(True, False, math.inf)
    found = status in (cp_model.OPTIMAL, cp_model.FEASIBLE)
    return Answer(status == cp_model.OPTIMAL, found, solver.best_objective_bound)


class _Listener(cp_model.CpSolverSolutionCallback):
    """Takes CP-SAT's callbacks, and remembers whether there was a solution, and the bound."""

    def __init__(
        self,
        call: Call[cp_model.CpSolverStatus],
        on_solution: Callable[[Value], object],
        on_bound: Callable[[float], object],
    ) -> None:
        super().__init__()
        self._call, self._on_solution, self._on_bound = call, on_solution, on_bound
        self.has_found, self.bound = False, -math.inf

    def on_solution_callback(self) -> None:
        """Take a better solution."""
        self.has_found = True
        self._call.reports(lambda: self._on_solution(self.value))

    def on_better_bound(self, bound: float) -> None:
        """Take a better bound."""
        self.bound = bound
        self._call.reports(lambda: self._on_bound(bound))


@dataclass(frozen=True, eq=False, slots=True)
class _Work:
    """CP-SAT at work on a program."""

    solver: cp_model.CpSolver
    program: cp_model.CpModel
    listener: _Listener

    def run(self) -> cp_model.CpSolverStatus:
        """Solve it."""
        return self.solver.solve(self.program, self.listener)

    def stop(self) -> None:
        """Have it end soon."""
        self.solver.stop_search()

    def leave(self) -> None:
        """Nothing: it has been told to end."""

    def mute(self) -> None:
        """Nothing: told to end, it looks for nothing more that it could report."""
