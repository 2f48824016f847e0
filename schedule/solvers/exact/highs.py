"""Mixed-integer programs on HiGHS: arrays in, solution and proved bound out.

HiGHS runs in a thread of its own, so that a time limit or Ctrl-C in the main
thread stops it within a fraction of a second, in its C++ too.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Any

import numpy as np
import numpy.typing as npt
from highspy import (
    HighsModelStatus,
    HighsStatus,
    HighsVarType,
    MatrixFormat,
    ObjSense,
    _core,
    cb,
)

from schedule.errors import ScheduleError
from schedule.layout import Floats, Ints
from schedule.solvers.contract import Deadline

#: Some columns, and their values in a solution.
Start = tuple[Ints, Floats]

#: By how much a reduced cost of an optimum may be off: HiGHS's default.
DUAL_TOLERANCE = 1e-7

_Kind = cb.HighsCallbackType
#: Models of up to this many columns are searched for symmetry.
_SYMMETRIC = 5_000
#: How long the main thread waits at a time, in seconds: Ctrl-C is seen this soon.
_BEAT = 0.05


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
    on_bound: Callable[[float], None] | None = None,
) -> Answer:
    """Solve `program` to within `gap` (in the objective), or until the time is up.

    Parameters
    ----------
    program
        The model.
    deadline
        When to stop; looked at from this thread, twenty times a second.
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
    on_bound
        Called from the solver's thread with a better bound.

    Raises
    ------
    KeyboardInterrupt
        Ctrl-C was pressed meanwhile; the solver has been stopped.
    ScheduleError
        HiGHS failed, with its presolve and without.
    """
    if deadline.passed:
        return Answer(Outcome.STOPPED, None, -math.inf)
    options: dict[str, Any] = {
        "time_limit": deadline.seconds_left,
        "mip_abs_gap": float(gap),
        "objective_target": float(target),
        "random_seed": seed,
    }
    if nodes is not None:
        options["mip_max_nodes"] = nodes
    if tolerance is not None:
        options["mip_feasibility_tolerance"] = options["primal_feasibility_tolerance"] = tolerance
    answer = _solved(program, options, start, on_bound, deadline)
    if answer is None:  # now and then what presolve leaves can't be taken back to the model
        options |= {"presolve": "off", "time_limit": deadline.seconds_left}
        answer = _solved(program, options, start, on_bound, deadline)
    if answer is None:
        raise ScheduleError("HiGHS failed on a model that it accepted: please report it")
    return answer


def _solved(
    program: Program,
    options: dict[str, Any],
    start: Start | None,
    on_bound: Callable[[float], None] | None,
    deadline: Deadline,
) -> Answer | None:
    """What HiGHS answers with these options; None: it failed."""
    solver = _loaded(program, options)
    if start is not None:
        columns, values = start
        solver.setSolution(len(columns), columns.astype(np.int32), values)
    listener = _Listener(on_bound)
    solver.setCallback(listener.called, None)
    for kind in listener.kinds:
        solver.startCallback(kind)
    _run(solver, listener, deadline)
    if solver.getModelStatus() == HighsModelStatus.kSolveError:
        return None
    return _answer(solver, program, listener)


def _loaded(program: Program, options: dict[str, Any]) -> Any:
    solver = _core._Highs()
    options = {
        **options,
        "output_flag": False,
        "threads": 1,
        # HiGHS calls a relative gap of 1e-4 optimal by default.
        "mip_rel_gap": 0.0,
        # HiGHS 1.13 and later may lose an equality clique after this rule and call a feasible
        # program infeasible (ERGO-Code/HiGHS issue 3216).
        "presolve_rule_off": 1 << 16,
        # Looking for symmetry takes longer than it saves where models are large.
        "mip_detect_symmetry": len(program.cost) <= _SYMMETRIC,
    }
    for name, value in options.items():
        solver.setOptionValue(name, value)
    rows, columns = len(program.row_lower), len(program.cost)
    status = solver.passModel(
        columns,
        rows,
        len(program.values),
        int(MatrixFormat.kRowwise),
        int(ObjSense.kMinimize),
        0.0,
        program.cost,
        program.lower,
        program.upper,
        program.row_lower,
        program.row_upper,
        program.starts[:-1].astype(np.int32),
        program.columns.astype(np.int32),
        program.values,
        np.where(program.integer, int(HighsVarType.kInteger), 0).astype(np.int32),
    )
    if status == HighsStatus.kError:
        raise ScheduleError(f"HiGHS refuses a model of {rows} rows and {columns} columns")
    return solver


class _Listener:
    """Takes HiGHS's callbacks and remembers whether to stop."""

    def __init__(self, on_bound: Callable[[float], None] | None) -> None:
        self.stop = threading.Event()
        self.bound = -math.inf
        self.error: BaseException | None = None
        self._on_bound = on_bound
        self.kinds = [_Kind.kCallbackMipInterrupt, _Kind.kCallbackSimplexInterrupt]
        self.kinds.append(_Kind.kCallbackIpmInterrupt)
        if on_bound is not None:
            self.kinds.append(_Kind.kCallbackMipLogging)

    def called(self, kind: Any, message: str, out: Any, into: Any, data: Any) -> None:
        """Handle one callback; an exception must not cross the C++ between."""
        try:
            if kind == _Kind.kCallbackMipLogging and self._on_bound is not None:
                if math.isfinite(out.mip_dual_bound) and out.mip_dual_bound > self.bound:
                    self.bound = out.mip_dual_bound
                    self._on_bound(self.bound)
            elif self.stop.is_set():
                into.user_interrupt = True
        except BaseException as error:  # noqa: BLE001 - raised again by the main thread
            self.error = error
            self.stop.set()


def _run(solver: Any, listener: _Listener, deadline: Deadline) -> None:
    # An event of our own: Thread.join, interrupted, takes the thread for ended.
    done = threading.Event()

    def work() -> None:
        try:
            solver.run()
        except BaseException as error:  # noqa: BLE001 - raised again by the main thread
            listener.error = error
        finally:
            done.set()

    threading.Thread(target=work, daemon=True).start()
    try:
        while not done.wait(_BEAT):
            if deadline.passed:
                listener.stop.set()
    except BaseException:
        listener.stop.set()
        done.wait()
        raise
    if listener.error is not None:
        raise listener.error


def _answer(solver: Any, program: Program, listener: _Listener) -> Answer:
    status = solver.getModelStatus()
    if status == HighsModelStatus.kMemoryLimit:
        raise MemoryError("HiGHS ran out of memory")
    info = solver.getInfo()
    x = None
    if info.primal_solution_status == 2:
        x = np.array(solver.getSolution().col_value)
    work = int(info.simplex_iteration_count)
    if status == HighsModelStatus.kInfeasible:
        return Answer(Outcome.INFEASIBLE, None, math.inf, work)
    bound = float(info.mip_dual_bound)
    if status == HighsModelStatus.kModelEmpty:  # no columns, and so no cost
        return Answer(Outcome.SOLVED, np.zeros(0), 0.0)
    if status == HighsModelStatus.kObjectiveTarget:
        return Answer(Outcome.SOLVED, x, bound, work)
    if status == HighsModelStatus.kOptimal:
        if program.integer.any():
            return Answer(Outcome.SOLVED, x, bound, work)
        # A linear program has no bound of its own.
        bound = float(info.objective_function_value)
        prices = np.array(solver.getSolution().row_dual)
        return Answer(Outcome.SOLVED, x, bound, work, prices)
    return Answer(Outcome.STOPPED, x, max(bound, listener.bound), work)
