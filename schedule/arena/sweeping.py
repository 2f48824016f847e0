"""Best fit in the order of time, compiled: for buffers of which there are too many pairs."""

from __future__ import annotations

from schedule.arena.fitting import ENDLESS
from schedule.layout import Ints
from schedule.solvers.kit.compiled import jit
from schedule.solvers.kit.structs import Struct


class Sweep(Struct):
    """Where a sweep stands: n buffers by their beginnings.

    Attributes
    ----------
    lower, upper, size
        Shape (n,): sizes are multiples of the alignment.
    offset
        Shape (n,): what is found.
    there
        Shape (n,): the buffers that are there, by offset.
    count
        Shape (1,): how many.
    """

    lower: Ints
    upper: Ints
    size: Ints
    offset: Ints
    there: Ints
    count: Ints


@jit
def sweep(state: Sweep, begin: int, end: int, tightest: bool) -> None:
    """Place the next buffers, each into the lowest gap then, or the tightest.

    What begins later isn't looked at. O(buffers there at once) for each.
    """
    there, offset = state.there, state.offset
    for u in range(begin, end):
        kept = 0
        for k in range(state.count[0]):
            if state.upper[there[k]] > state.lower[u]:
                there[kept] = there[k]
                kept += 1
        size, top, best, least, place = state.size[u], 0, -1, ENDLESS, kept
        for k in range(kept):
            room = offset[there[k]] - top
            if size <= room < least:
                best, least, place = top, room, k
                if not tightest:
                    break
            top = offset[there[k]] + state.size[there[k]]
        offset[u] = top if best < 0 else best
        for k in range(kept, place, -1):
            there[k] = there[k - 1]
        there[place] = u
        state.count[0] = kept + 1
