"""Runs that nothing needs, removed; compiled."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from schedule.layout import Bools, Ints, Layout
from schedule.result import Order
from schedule.solvers.kit.compiled import jit
from schedule.solvers.kit.structs import Struct

if TYPE_CHECKING:
    from schedule.solvers.program.operations import Operations


def without_waste(layout: Layout, runs: Ints, order: Order) -> Ints:
    """Runs of nodes, without those whose results nothing reads. O(runs · reads).

    In a fixed order first runs stay: without one, the next would be too late.
    """
    own = np.arange(layout.n_tensors)
    lists = layout.first_read, layout.reads, layout.first_output, own
    return _useful(*lists, layout.is_output, runs, order == "fixed")


def trimmed(operations: Operations, runs: Ints) -> Ints:
    """A sequence of operations, without those whose results nothing reads. O(runs · reads).

    Where their operation costs nothing, nor do they, and no move that removes them is
    worth anything: they would fill the sequence, and most moves would be theirs. In a
    given order first runs stay, as above.
    """
    o = operations
    lists = o.first_read, o.reads, o.first_write, o.writes
    return _useful(*lists, o.kept, runs, o.in_order)


class _Uses(Struct):
    """Runs, and whether each is of use; `asked` is what later ones read before it is written."""

    first_read: Ints
    reads: Ints
    first_write: Ints
    writes: Ints
    runs: Ints
    first_stay: bool
    asked: Bools
    seen: Bools
    useful: Bools


def _useful(
    first_read: Ints,
    reads: Ints,
    first_write: Ints,
    writes: Ints,
    kept: Bools,
    runs: Ints,
    first_stay: bool,
) -> Ints:
    """The runs whose results are read later or are `kept`, and first ones that stay."""
    uses = _Uses(
        first_read,
        reads,
        first_write,
        writes,
        np.ascontiguousarray(runs),
        first_stay,
        asked=kept.copy(),
        seen=np.zeros(len(first_read), np.bool_),
        useful=np.zeros(len(runs), np.bool_),
    )
    _mark_useful(uses)
    left: Ints = runs[uses.useful]
    return left


@jit
def _mark_useful(uses: _Uses) -> None:
    runs, asked, useful = uses.runs, uses.asked, uses.useful
    if uses.first_stay:
        for at in range(len(runs)):
            useful[at] = not uses.seen[runs[at]]
            uses.seen[runs[at]] = True
    # From the end, so that one pass is enough: a run that is dropped asks for nothing, which may
    # make earlier ones useless, too.
    for at in range(len(runs) - 1, -1, -1):
        v = runs[at]
        first, end = uses.first_write[v], uses.first_write[v + 1]
        for i in range(first, end):
            useful[at] |= asked[uses.writes[i]]
        if useful[at]:  # an earlier run of the same writes is of use only to what reads in between
            for i in range(first, end):
                asked[uses.writes[i]] = False
            for i in range(uses.first_read[v], uses.first_read[v + 1]):
                asked[uses.reads[i]] = True
