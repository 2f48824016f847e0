"""Runs that nothing needs, removed; compiled."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from schedule.layout import Bools, Ints, Layout
from schedule.result import Order
from schedule.solvers.kit.compiled import jit

if TYPE_CHECKING:
    from schedule.solvers.program.operations import Operations


def without_waste(layout: Layout, runs: Ints, order: Order) -> Ints:
    """Runs of nodes, without those whose results nothing reads. O(runs · reads).

    In a fixed order first runs stay: without one, the next would be too late.
    """
    useful = _useful(
        layout.first_read,
        layout.reads,
        layout.first_output,
        np.arange(layout.n_tensors),
        layout.is_output,
        runs,
        order == "fixed",
    )
    kept: Ints = runs[useful]
    return kept


def trimmed(operations: Operations, runs: Ints) -> Ints:
    """A sequence of operations, without those whose results nothing reads. O(runs · reads).

    Where their operation costs nothing, nor do they, and no move that removes them is
    worth anything: they would fill the sequence, and most moves would be theirs. In a
    given order first runs stay, as above.
    """
    o = operations
    useful = _useful(o.first_read, o.reads, o.first_write, o.writes, o.kept, runs, o.in_order)
    kept: Ints = runs[useful]
    return kept


@jit
def _useful(
    first_read: Ints,
    reads: Ints,
    first_write: Ints,
    writes: Ints,
    kept: Bools,
    runs: Ints,
    first_stay: bool,
) -> Bools:
    """Shape (r,): runs whose results are read later or are `kept`, and first ones that stay."""
    useful = np.zeros(len(runs), np.bool_)
    if first_stay:
        seen = np.zeros(len(first_read), np.bool_)
        for at in range(len(runs)):
            useful[at] = not seen[runs[at]]
            seen[runs[at]] = True
    # From the end, so that one pass is enough: a run that is dropped asks for nothing, which may
    # make earlier ones useless, too. `asked` is what later runs read before it is written anew.
    asked = kept.copy()
    for at in range(len(runs) - 1, -1, -1):
        v = runs[at]
        for i in range(first_write[v], first_write[v + 1]):
            useful[at] |= asked[writes[i]]
        if useful[at]:  # an earlier run of the same writes is of use only to what reads in between
            for i in range(first_write[v], first_write[v + 1]):
                asked[writes[i]] = False
            for i in range(first_read[v], first_read[v + 1]):
                asked[reads[i]] = True
    return useful
