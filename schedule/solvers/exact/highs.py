"""Mixed-integer programs on HiGHS: arrays in, solution and proved bound out.

HiGHS can be busy for minutes without looking at the clock or at anything else: in its
presolve, in a restart, in a factorisation. So it runs in a thread of its own, which is
left behind where it doesn't end in time. What may be busy for long, larger programs,
it runs in another process (`processes`), which can be ended; where there is none to be
had, in the thread, too.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass, fields, replace
from enum import Enum, auto
from typing import Any

import numpy as np
import numpy.typing as npt

from schedule.errors import ScheduleError
from schedule.layout import Floats, Ints
from schedule.log import LOG
from schedule.solvers.contract import Deadline
from schedule.solvers.exact.calls import Call
from schedule.solvers.exact.engine import Engine, Found
from schedule.solvers.exact.processes import (
    HighsProcess,
    NoProcessError,
    give_back,
    take,
)

#: Some columns, and their values in a solution.
Start = tuple[Ints, Floats]

#: By how much a reduced cost of an optimum may be off: HiGHS's default.
DUAL_TOLERANCE = 1e-7

#: By how much, as a share, the price of a solution may be off for its columns' tolerance.
_MISPRICED = 1e-6

#: Programs of more nonzeros are solved in another process. Those of fewer are busy for little more
#: than a second, and most are solved before another process has begun, which takes a tenth of one.
_LARGE = 10_000
#: About the seconds that a program takes, and each nonzero: to solve it relaxed, and for each
#: iteration of that; with integral columns before HiGHS calls back, and from one callback to
#: the next.
_SECONDS_A_PROGRAM, _SECONDS_A_NONZERO = 5e-4, 1e-6
_SECONDS_AN_ITERATION, _SECONDS_A_CALL = 3e-8, 2e-5
_CALLS_BEFORE = 3


class Outcome(Enum):
    """How a solve ended."""

    SOLVED = auto()
    INFEASIBLE = auto()
    STOPPED = auto()


@dataclass(frozen=True, slots=True)
class Program:
    """Minimise cost·x subject to row_lower ≤ A x ≤ row_upper, lower ≤ x ≤ upper.

    `starts` (rows + 1), `columns` and `values` hold A row by row; `integer`
    marks the columns that have to be integral.
    """

    cost: Floats
    lower: Floats
    upper: Floats
    integer: npt.NDArray[np.bool_]
    row_lower: Floats
    row_upper: Floats
    starts: Ints
    columns: Ints
    values: Floats

    def relaxed(self) -> Program:
        """The same with no column integral."""
        return replace(self, integer=np.zeros_like(self.integer))


@dataclass(frozen=True, slots=True)
class Answer:
    """`x` is the best solution (None: none found); no solution costs less than `bound`.

    `work` counts the solver's iterations: the same on every machine. `prices` are the
    rows' dual values, where no column has to be integral and there is a solution.
    """

    outcome: Outcome
    x: Floats | None
    bound: float
    work: int = 0
    prices: Floats | None = None


def minimise(
    program: Program,
    *,
    deadline: Deadline,
    gap: float = 0.0,
    target: float = -math.inf,
    nodes: int | None = None,
    tolerance: float | None = None,
    seed: int = 0,
    start: Start | None = None,
) -> Answer:
    """Solve `program` to within `gap` (in the objective), or until the time is up.

    Parameters
    ----------
    program
        The model.
    deadline
        When to stop; looked at from this thread, twenty times a second. Where HiGHS
        doesn't stop, within a fraction of a second it is left behind, and what it has
        found with it.
    gap
        Stop when solution and bound are this close.
    target
        A bound that is proved already: a solution this good ends the search.
    nodes
        Nodes of the search tree after which it ends; None: no limit.
    tolerance
        By how much a solution may break a row, at least 1e-10; None: HiGHS's default, 1e-6.
    seed
        Of HiGHS's random choices.
    start
        A warm start; columns that it leaves open are found first.

    Raises
    ------
    KeyboardInterrupt
        Ctrl-C was pressed meanwhile; the solver has been stopped, or left behind.
    MemoryError
        Memory ran out in HiGHS.
    ScheduleError
        HiGHS failed, with its presolve and without.
    """
    if deadline.passed:
        return Answer(Outcome.STOPPED, None, -math.inf)
    options: dict[str, Any] = {
        "mip_abs_gap": float(gap),
        "objective_target": float(target),
        "random_seed": seed,
    }
    if nodes is not None:
        options["mip_max_nodes"] = nodes
    if tolerance is not None:
        options["mip_feasibility_tolerance"] = options["primal_feasibility_tolerance"] = tolerance
    answer = _solved(program, options, start, deadline)
    if start is not None and answer is not None and _is_mispriced(program, answer, gap, target):
        LOG.debug("HiGHS: ended at a price that its solution doesn't have; without a warm start")
        answer = _solved(program, options, None, deadline)
    if answer is None:  # now and then what presolve leaves can't be taken back to the model
        answer = _solved(program, options | {"presolve": "off"}, start, deadline)
    if answer is None:
        raise ScheduleError("HiGHS failed on a model that it accepted: please report it")
    return answer


def _is_mispriced(program: Program, answer: Answer, gap: float, target: float) -> bool:
    """Whether the search ended although its solution is neither as good as it has to be nor best.

    HiGHS 1.16's presolve may price a warm start too low, as parallel columns are merged, and
    then find nothing better. The bound is the wrong price: it holds, but ends nothing.
    """
    if answer.outcome is not Outcome.SOLVED or answer.x is None:
        return False
    price = float(program.cost @ answer.x)
    return price > max(answer.bound + gap, target) + _MISPRICED * max(1.0, abs(price))


def _solved(
    program: Program,
    options: dict[str, Any],
    start: Start | None,
    deadline: Deadline,
) -> Answer | None:
    """What HiGHS answers with these options; None: it failed."""
    call: Call[Found | None] = Call()
    effort = _Effort(program)
    try:
        found = call.answer(_Work(program, options, start, effort, deadline), deadline)
    except ValueError as error:
        raise ScheduleError(str(error)) from error
    if call.left:
        LOG.debug("HiGHS: %d columns, left behind", len(program.cost))
        return Answer(Outcome.STOPPED, None, -math.inf)
    if found is None:
        return None
    outcome, x, bound, iterations, prices, calls = found
    deadline.spend(effort.seconds(iterations, calls))
    LOG.debug("HiGHS: %d columns, %s after %d iterations", len(program.cost), outcome, iterations)
    return Answer(Outcome[outcome], x, bound, iterations, prices)


class _Effort:
    """What HiGHS's work on a program takes, counted by what it reports."""

    def __init__(self, program: Program) -> None:
        self._nonzeros = len(program.values)
        self._is_integer = bool(program.integer.any())

    def seconds(self, iterations: int, calls: int) -> float:
        """About the seconds that it took."""
        if self._is_integer:
            return _SECONDS_A_PROGRAM + self._call * (calls + _CALLS_BEFORE)
        return _SECONDS_A_PROGRAM + _SECONDS_A_NONZERO * self._nonzeros + self._step * iterations

    def limits(self, seconds: float) -> tuple[dict[str, Any], float]:
        """HiGHS's option, and the number of callbacks, that end it after about so many seconds."""
        if self._is_integer:
            return {}, max(1, int(seconds / self._call))
        return {"simplex_iteration_limit": max(1, int(min(seconds / self._step, 2**31 - 1)))}, (
            math.inf
        )

    @property
    def _call(self) -> float:
        return _SECONDS_A_CALL * max(self._nonzeros, 1)

    @property
    def _step(self) -> float:
        return _SECONDS_AN_ITERATION * max(self._nonzeros, 1_000)


class _Work:
    """A program and where it is solved: large ones in a process, others in this one."""

    def __init__(
        self,
        program: Program,
        options: dict[str, Any],
        start: Start | None,
        effort: _Effort,
        deadline: Deadline,
    ) -> None:
        self._effort = effort
        self._arrays = tuple(getattr(program, field.name) for field in fields(program))
        self._is_large = len(program.values) > _LARGE
        self._options, self._start = options, start
        self._deadline = deadline
        self._stopped = self._left = False
        self._lock = threading.Lock()
        self._engine: Engine | None = None
        self._process: HighsProcess | None = None

    def run(self) -> Found | None:
        """What HiGHS finds."""
        if self._is_large:
            try:
                return self._asked(take())
            except NoProcessError:  # then here
                pass
        self._engine = engine = Engine(*self._question())
        if self._stopped:
            engine.stop()
        return engine.run()

    def _asked(self, process: HighsProcess) -> Found | None:
        self._process = process
        try:
            found = None if self._left else process.ask(*self._question())
        except BaseException:
            process.bury()
            raise
        with self._lock:  # what is given back is no more to be killed
            self._process = None
        give_back(process)
        return found

    def _question(self) -> tuple[Any, ...]:
        left = self._deadline.seconds_left
        if self._deadline.clock.counts_work:
            limit, most_calls = self._effort.limits(left)
        else:
            limit, most_calls = {"time_limit": left}, math.inf
        return self._arrays, self._options | limit, self._start, most_calls

    def stop(self) -> None:
        """Have HiGHS end at its next callback."""
        self._stopped = True
        if self._engine is not None:
            self._engine.stop()
        with self._lock:
            if self._process is not None:
                self._process.stop()

    def leave(self) -> None:
        """End the process; a thread goes on until HiGHS calls back."""
        self._left = True
        with self._lock:
            if self._process is not None:
                self._process.kill()

    def mute(self) -> None:
        """Have HiGHS call back no more."""
        if self._engine is not None:
            self._engine.mute()
