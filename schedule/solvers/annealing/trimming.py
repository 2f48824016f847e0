"""Runs without use, taken out of a sequence."""

from __future__ import annotations

import numpy as np

from schedule.layout import Bools, Ints
from schedule.solvers.annealing.state import Tables
from schedule.solvers.kit.compiled import jit


def trimmed(tables: Tables, runs: Ints) -> Ints:
    """The same sequence without runs whose results nothing reads. O(runs + their uses).

    They cost nothing where their operation does, so nothing else would ever drive them
    out: they would fill the sequence, and most moves would be theirs. Of each
    operation one run stays, in a given order its first: without it, the next
    would be too late.
    """
    kept: Ints = runs[_wanted(tables, runs)]
    return kept


@jit
def _wanted(tables: Tables, runs: Ints) -> Bools:
    """Shape (runs,): whether each has to stay."""
    times = np.zeros(len(tables.cost), np.int64)
    must = np.zeros(len(runs), np.bool_)
    for at in range(len(runs)):
        times[runs[at]] += 1
        must[at] = tables.in_order and times[runs[at]] == 1
    is_read = tables.kept.copy()
    wanted = np.zeros(len(runs), np.bool_)
    for at in range(len(runs) - 1, -1, -1):
        v = runs[at]
        is_used = must[at] or times[v] == 1
        for k in range(tables.first_write[v], tables.first_write[v + 1]):
            is_used = is_used or is_read[tables.writes[k]]
        if not is_used:
            times[v] -= 1
            continue
        wanted[at] = True
        for k in range(tables.first_write[v], tables.first_write[v + 1]):
            is_read[tables.writes[k]] = False
        for k in range(tables.first_read[v], tables.first_read[v + 1]):
            is_read[tables.reads[k]] = True
    return wanted
