"""Best fit, compiled: buffers one after the other, each into a gap that is there."""

from __future__ import annotations

from schedule.arena.buffers import NONE, Buffers
from schedule.layout import Ints
from schedule.solvers.kit.compiled import jit, part
from schedule.solvers.kit.sorting import sort_by
from schedule.solvers.kit.structs import Struct

#: Above every offset.
ENDLESS = 1 << 62


class Fit(Struct):
    """A packing, and space to make one.

    Attributes
    ----------
    offset
        Shape (n,): −1 where a buffer has none yet.
    near
        Shape (n,): the buffers with an offset that one can collide with.
    """

    offset: Ints
    near: Ints


@part
def list_near(buffers: Buffers, offset: Ints, near: Ints, u: int) -> int:
    """Fill `near` with the placed buffers that u can collide with; how many there are."""
    count = 0
    for at in range(buffers.first_earlier[u], buffers.first_earlier[u + 1]):
        j = buffers.earlier[at]
        if offset[j] >= 0:
            near[count] = j
            count += 1
    for j in range(u + 1, buffers.later[u]):
        if offset[j] >= 0:
            near[count] = j
            count += 1
    return count


@jit
def fit(buffers: Buffers, state: Fit, order: Ints, begin: int, end: int, tightest: bool) -> None:
    """Place the buffers order[begin:end], each into the lowest gap that it fits, or the tightest.

    O(pairs log pairs) for all together.
    """
    for at in range(begin, end):
        u = order[at]
        if state.offset[u] == NONE:
            state.offset[u] = _gap(buffers, state, u, tightest)


@part
def _gap(buffers: Buffers, state: Fit, u: int, tightest: bool) -> int:
    """The offset of the gap that is chosen for u."""
    offset, near, size = state.offset, state.near, buffers.size[u]
    count = list_near(buffers, offset, near, u)
    sort_by(offset, near, count)
    top, best, least = 0, NONE, ENDLESS
    for k in range(count):
        j = near[k]
        room = offset[j] - top
        if size <= room < least:
            best, least = top, room
            if not tightest:
                return best
        top = max(top, offset[j] + buffers.size[j])
    return top if best == NONE else best
