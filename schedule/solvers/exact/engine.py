"""HiGHS itself, on plain arrays; and the whole program of a process that runs nothing else.

This module imports nothing of this package, so that such a process starts within a
fifth of a second: `processes` starts it, `highs` says what is run where.
"""

from __future__ import annotations

import math
import os
import pickle
import queue
import sys
import threading
import time
from typing import Any

import numpy as np
from highspy import (
    HighsModelStatus,
    HighsStatus,
    HighsVarType,
    MatrixFormat,
    ObjSense,
    _core,
    cb,
)

#: Costs, limits of columns, whether they are integral, limits of rows, and the matrix row by row.
Arrays = tuple[Any, ...]
#: How it ended, the solution, the bound, iterations, dual values and callbacks: see `highs.Answer`.
Found = tuple[str, Any, float, int, Any, int]

_Kind = cb.HighsCallbackType
_INTERRUPTS = (
    _Kind.kCallbackMipInterrupt,
    _Kind.kCallbackSimplexInterrupt,
    _Kind.kCallbackIpmInterrupt,
)
#: Models of up to this many columns are searched for symmetry.
_SYMMETRIC = 5_000
#: A lower limit that rows of what can't be negative never come near.
_NEVER = -1.0
#: How often a process looks whether the one that it works for is still there, in seconds.
_LOOK = 0.5


class Engine:
    """One call of HiGHS.

    Parameters
    ----------
    arrays
        The program's fields, in their order.
    options
        HiGHS's, beside those that are the same for every program.
    start
        Columns and their values in a warm start; None: none.
    most_calls
        Callbacks of the search of integer solutions after which it ends: HiGHS calls back
        where it has come to the same point of its work, on every machine.
    """

    def __init__(
        self,
        arrays: Arrays,
        options: dict[str, Any],
        start: tuple[Any, Any] | None,
        most_calls: float = math.inf,
    ) -> None:
        self._arrays, self._options, self._start = arrays, options, start
        self._most_calls, self._calls = most_calls, 0
        self._stopped = False
        self._solver = _core._Highs()

    def stop(self) -> None:
        """Have `run` end at HiGHS's next callback; from another thread."""
        self._stopped = True

    def mute(self) -> None:
        """Have HiGHS call back no more, as Python is about to end, which would crash it."""
        for kind in _INTERRUPTS:
            self._solver.stopCallback(kind)

    def run(self) -> Found | None:
        """What HiGHS finds; None: it failed.

        Raises
        ------
        MemoryError
            HiGHS ran out of memory.
        ValueError
            HiGHS refuses the program.
        """
        solver = self._solver
        self._load()
        if self._start is not None:
            columns, values = self._start
            solver.setSolution(len(columns), columns.astype(np.int32), values)
        solver.setCallback(self._called, None)
        for kind in _INTERRUPTS:
            solver.startCallback(kind)
        solver.run()
        if solver.getModelStatus() == HighsModelStatus.kSolveError:
            return None
        return self._found()

    def _load(self) -> None:
        cost, lower, upper, integer, row_lower, row_upper, starts, columns, values = self._arrays
        options = {
            **self._options,
            "output_flag": False,
            "threads": 1,
            # HiGHS calls a relative gap of 1e-4 optimal by default.
            "mip_rel_gap": 0.0,
            # HiGHS 1.13 and later may lose an equality clique after this rule and call a feasible
            # program infeasible (ERGO-Code/HiGHS issue 3216).
            "presolve_rule_off": 1 << 16,
            # Looking for symmetry takes longer than it saves where models are large.
            "mip_detect_symmetry": len(cost) <= _SYMMETRIC,
        }
        for name, value in options.items():
            self._solver.setOptionValue(name, value)
        status = self._solver.passModel(
            len(cost),
            len(row_lower),
            len(values),
            int(MatrixFormat.kRowwise),
            int(ObjSense.kMinimize),
            0.0,
            cost,
            lower,
            upper,
            np.where(_are_capacities(self._arrays), _NEVER, row_lower),
            row_upper,
            starts[:-1].astype(np.int32),
            columns.astype(np.int32),
            values,
            np.where(integer, int(HighsVarType.kInteger), 0).astype(np.int32),
        )
        if status == HighsStatus.kError:
            size = f"{len(row_lower)} rows and {len(cost)} columns"
            raise ValueError(f"HiGHS refuses a model of {size}")

    def _called(self, kind: Any, message: str, out: Any, into: Any, data: Any) -> None:
        """Handle one callback: has HiGHS end where it is to."""
        # No bound is taken from here, nor from its log: those are above the optimum now and then.
        self._calls += kind == _Kind.kCallbackMipInterrupt
        if self._stopped or self._calls >= self._most_calls:
            into.user_interrupt = True

    def _found(self) -> Found:
        solver, integer = self._solver, self._arrays[3]
        status = solver.getModelStatus()
        if status == HighsModelStatus.kMemoryLimit:
            raise MemoryError("HiGHS ran out of memory")
        info = solver.getInfo()
        x = None
        if info.primal_solution_status == 2:
            x = np.array(solver.getSolution().col_value)
        work = int(info.simplex_iteration_count)
        if status == HighsModelStatus.kInfeasible:
            return "INFEASIBLE", None, math.inf, work, None, self._calls
        bound = float(info.mip_dual_bound)
        if status == HighsModelStatus.kModelEmpty:  # no columns, and so no cost
            return "SOLVED", np.zeros(0), 0.0, 0, None, self._calls
        if status == HighsModelStatus.kObjectiveTarget:
            return "SOLVED", x, bound, work, None, self._calls
        if status == HighsModelStatus.kOptimal:
            if integer.any():
                return "SOLVED", x, bound, work, None, self._calls
            # A linear program has no bound of its own.
            prices = np.array(solver.getSolution().row_dual)
            return "SOLVED", x, float(info.objective_function_value), work, prices, self._calls
        return "STOPPED", x, bound, work, None, self._calls


def _are_capacities(arrays: Arrays) -> Any:
    """Which rows limit a sum of what can't be negative from above, and from below not at all.

    HiGHS's presolve takes from such a row a cover after the other, the least coefficient at a
    time (`strengthenInequalities`), which goes on for minutes where many are small against the
    sum of all. It passes over rows with two limits.
    """
    lower, row_lower, row_upper, starts, columns, values = (arrays[i] for i in (1, 4, 5, 6, 7, 8))
    row = np.repeat(np.arange(len(row_lower)), np.diff(starts))
    below = np.take(lower, columns, mode="clip")  # a column that isn't there is HiGHS's to refuse
    may_fall = np.bincount(row, (values < 0) | (below < 0), len(row_lower)) > 0
    return np.isneginf(row_lower) & (row_upper >= 0) & ~may_fall


class _Server:
    """A process's whole life: what comes in is run, and answered, until nobody is there.

    In come `("run", number, (arrays, options, start))` and `("stop", number)`; out
    goes, at the end of each run, `("found", what `Engine.run` returns)` or
    `("error", exception)`.
    """

    def __init__(self) -> None:
        self._in = sys.stdin.buffer
        self._out = os.fdopen(os.dup(1), "wb")
        os.dup2(2, 1)  # what HiGHS prints goes where nobody reads it
        self._asked: queue.SimpleQueue[tuple[int, Any]] = queue.SimpleQueue()
        self._stopped = 0
        self._number = 0
        self._engine: Engine | None = None

    def serve(self, parent: int) -> None:
        """Answer until the process that asks, with this number, is gone."""
        threading.Thread(target=self._hear, daemon=True).start()
        threading.Thread(target=_end_with, args=[parent], daemon=True).start()
        self._say("ready", None)
        while True:
            number, question = self._asked.get()
            engine = Engine(*question)
            self._number, self._engine = number, engine
            if self._stopped >= number:
                engine.stop()
            try:
                self._say("found", engine.run())
            except Exception as error:  # noqa: BLE001 - raised again by who asked
                self._say("error", error)

    def _say(self, kind: str, content: object) -> None:
        pickle.dump((kind, content), self._out, protocol=5)
        self._out.flush()

    def _hear(self) -> None:
        try:
            while True:
                kind, number, *content = pickle.load(self._in)
                if kind == "run":
                    self._asked.put((number, *content))
                    continue
                self._stopped = number
                engine = self._engine
                if engine is not None and self._number == number:
                    engine.stop()
        except BaseException:  # noqa: BLE001 - nobody is there, or nobody to be understood
            os._exit(0)


def _end_with(parent: int) -> None:
    """End this process soon after its parent: others may keep the pipe from it open."""
    while os.getppid() == parent:
        time.sleep(_LOOK)
    os._exit(0)


if __name__ == "__main__":
    _Server().serve(int(sys.argv[1]))
