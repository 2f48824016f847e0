"""Where nothing fits: how much memory is missing, and which operation needs it."""

from __future__ import annotations

import math

import numpy as np

from schedule.layout import Floats, offsets
from schedule.solvers.contract import Proof
from schedule.solvers.exact.highs import Answer, Program
from schedule.solvers.exact.model import StagedModel


def least_budget(model: StagedModel) -> Program:
    """A program whose optimum is the memory that is missing, in budgets; 0 where none is.

    One column more than the model: what is added to the capacity of every
    memory row.
    """
    program = model.program
    counts = np.diff(program.starts)
    counts[model.memory_rows] += 1
    starts = offsets(counts)
    slot = np.zeros(starts[-1], dtype=bool)
    slot[starts[1:][model.memory_rows] - 1] = True
    columns = np.full(starts[-1], len(program.cost))
    values = np.full(starts[-1], -1.0)
    columns[~slot], values[~slot] = program.columns, program.values
    return Program(
        cost=np.append(np.zeros(len(program.cost)), 1.0),
        lower=np.append(program.lower, 0.0),
        upper=np.append(program.upper, np.inf),
        integer=np.append(program.integer, False),
        row_lower=program.row_lower,
        row_upper=program.row_upper,
        starts=starts,
        columns=columns,
        values=values,
    )


def shortage(model: StagedModel, answer: Answer, missing: float) -> Proof:
    """The proof that nothing fits: the least budget that it leaves open, and what needs it.

    Parameters
    ----------
    model
        The model without a solution.
    answer
        The answer to its `least_budget`.
    missing
        By that, the memory that is missing at least, in budgets.
    """
    budget = int(model.budget)
    node = None
    if answer.x is not None:
        tight = _tightest(model, answer.x[:-1])
        node = model.graph.layout.node_names[model.contraction.nodes[tight]]
    return Proof(needed=budget + max(1, math.ceil(missing * budget)), node=node)


def _tightest(model: StagedModel, x: Floats) -> int:
    """The operation whose memory row has the least capacity left in a solution."""
    program, rows = model.program, model.memory_rows
    row = np.repeat(np.arange(len(program.row_upper)), np.diff(program.starts))
    used = np.bincount(row, program.values * x[program.columns], len(program.row_upper))
    return model.memory_of[int((program.row_upper[rows] - used[rows]).argmin())]
