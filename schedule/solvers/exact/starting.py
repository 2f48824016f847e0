"""A schedule as a solution of the staged model: the warm start of the integer program."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from schedule.layout import Floats, Ints
from schedule.memory import Trace
from schedule.solvers.exact.highs import Start

if TYPE_CHECKING:
    from schedule.solvers.exact.model import StagedModel


def start_of(model: StagedModel, trace: Trace) -> Start:
    """What a schedule holds at the cut points and runs in the intervals.

    Parameters
    ----------
    model
        The model that starts with it.
    trace
        A schedule that fits the model's budget, first runs in order where the
        model's windows ask for that.

    Returns
    -------
    Start
        A value for every hold and run; what follows from them, and the order
        inside intervals, is left to the solver. O(cut points · steps).
    """
    c = model.contraction
    operation = np.where(trace.codes >= 0, c.operation[np.maximum(trace.codes, 0)], -1)
    steps = np.flatnonzero(operation >= 0)
    ran, first = np.unique(operation[steps], return_index=True)
    first_step = np.full(c.n_operations, -1, np.int64)
    first_step[ran] = steps[first]
    at_cut = first_step[model.windows.cuts]
    interval = np.searchsorted(at_cut, steps, side="right")
    values = np.zeros(model.n_columns)
    _set(values, model.run[interval, operation[steps]])
    for k, step in enumerate(at_cut.tolist(), start=1):
        live = c.resource[trace.live_before(step)]
        held = np.unique(live[live >= 0])
        _set(values, model.hold[k, held])
        bases = c.base[held]
        _set(values, model.hold[k, bases[bases >= 0]])
    columns = np.concatenate([model.run[model.run >= 0], model.hold[model.hold >= 0]])
    return columns, values[columns]


def _set(values: Floats, columns: Ints) -> None:
    """Set these columns to 1; constants stay."""
    values[columns[columns >= 0]] = 1.0
