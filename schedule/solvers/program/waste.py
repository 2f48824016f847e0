"""Runs that nothing needs, taken out; compiled."""

from __future__ import annotations

import numpy as np

from schedule.layout import Bools, Ints, Layout
from schedule.result import Order
from schedule.solvers.kit.compiled import jit


def without_waste(layout: Layout, runs: Ints, order: Order) -> Ints:
    """The same runs without those whose results nothing reads. O(runs · reads).

    In a fixed order first runs stay: without one, the next would be too late.
    """
    must: Bools = np.zeros(len(runs), dtype=np.bool_)
    if order == "fixed":
        must[np.unique(runs, return_index=True)[1]] = True
    wanted = _wanted(
        layout.first_read, layout.reads, layout.first_output, layout.is_output, runs, must
    )
    kept: Ints = runs[wanted]
    return kept


@jit
def _wanted(
    first_read: Ints, reads: Ints, first_output: Ints, is_output: Bools, runs: Ints, must: Bools
) -> Bools:
    """Shape (r,): runs that `must` stay, or whose results are read later or are outputs."""
    wanted, kept = is_output.copy(), must.copy()
    for at in range(len(runs) - 1, -1, -1):
        v = runs[at]
        for t in range(first_output[v], first_output[v + 1]):
            kept[at] |= wanted[t]
        if kept[at]:
            wanted[first_output[v] : first_output[v + 1]] = False
            for i in range(first_read[v], first_read[v + 1]):
                wanted[reads[i]] = True
    return kept
