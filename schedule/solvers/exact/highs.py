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

#: Programs of more nonzeros are solved in another process. Those of fewer are busy for little more
#: than a second, and most are solved before another process has begun, which takes a tenth of one.
_LARGE = 10_000


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
    if answer is None:  # now and then what presolve leaves can't be taken back to the model
        answer = _solved(program, options | {"presolve": "off"}, start, deadline)
    if answer is None:
        raise ScheduleError("HiGHS failed on a model that it accepted: please report it")
    return answer


def _solved(
    program: Program,
    options: dict[str, Any],
    start: Start | None,
    deadline: Deadline,
) -> Answer | None:
    """What HiGHS answers with these options; None: it failed."""
    call: Call[Found | None] = Call()
    try:
        found = call.answer(_Work(program, options, start, deadline), deadline)
    except ValueError as error:
        raise ScheduleError(str(error)) from error
    if call.left:
        return Answer(Outcome.STOPPED, None, -math.inf)
    if found is None:
        return None
    outcome, x, bound, iterations, prices = found
    return Answer(Outcome[outcome], x, bound, iterations, prices)


class _Work:
    """A program and where it is solved: large ones in a process, others in this one."""

    def __init__(
        self,
        program: Program,
        options: dict[str, Any],
        start: Start | None,
        deadline: Deadline,
    ) -> None:
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
        options = self._options | {"time_limit": self._deadline.seconds_left}
        return self._arrays, options, self._start

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
