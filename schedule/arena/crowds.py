"""First fit in any order, compiled: for buffers of which there are too many pairs to list."""

from __future__ import annotations

import numpy as np

from schedule.arena.buffers import NONE, Numbers, rounded_up
from schedule.layout import Ints, offsets
from schedule.solvers.kit.compiled import jit
from schedule.solvers.kit.sorting import sort_by
from schedule.solvers.kit.structs import Struct

#: Of so many buffers, for one it is listed which are there when it begins.
STRIDE = 64


class Crowd(Struct):
    """Buffers as in `Buffers`, without the pairs.

    Attributes
    ----------
    first, last, size, later
        Shape (n,): as in `Buffers`.
    first_there, there
        CSR: of every `STRIDE`-th buffer those before it that are there when it begins.
    offset
        Shape (n,): −1 where a buffer has none yet.
    near
        Shape (n,): space for those that one can collide with.
    """

    first: Ints
    last: Ints
    size: Ints
    later: Ints
    first_there: Ints
    there: Numbers
    offset: Ints
    near: Ints


def crowd_of(first: Ints, last: Ints, size: Ints, fixed: Ints, alignment: int) -> Crowd:
    """Buffers in the right order. O(n log n + n · (those there at once) / STRIDE)."""
    first, last, n = np.ascontiguousarray(first), np.ascontiguousarray(last), len(first)
    space, counts = np.empty(n, np.int64), np.zeros(-(-n // STRIDE), np.int64)
    list_there(first, last, space, counts, np.empty(0, np.int32))
    first_there = offsets(counts)
    there = np.empty(first_there[-1], np.int32)
    list_there(first, last, space, counts, there)
    later = np.searchsorted(first, last, "left")
    rounded = rounded_up(size, alignment)
    return Crowd(first, last, rounded, later, first_there, there, fixed.copy(), space)


@jit
def list_there(first: Ints, last: Ints, active: Ints, counts: Ints, there: Numbers) -> None:
    """Count what is there at every `STRIDE`-th beginning, and list it where there is space."""
    count, end = 0, 0
    for u in range(len(first)):
        if u % STRIDE == 0:
            kept = 0
            for k in range(count):
                if last[active[k]] > first[u]:
                    active[kept] = active[k]
                    kept += 1
            count = kept
            counts[u // STRIDE] = count
            if end < len(there):
                for k in range(count):
                    there[end + k] = active[k]
            end += count
        active[count] = u
        count += 1


@jit
def fit_first(crowd: Crowd, order: Ints, begin: int, end: int) -> None:
    """Place the buffers order[begin:end], each into the lowest gap that it fits.

    O(m log m) for one that can collide with m others.
    """
    offset, near, size = crowd.offset, crowd.near, crowd.size
    for at in range(begin, end):
        u = order[at]
        if offset[u] != NONE:
            continue
        count, listed = 0, u // STRIDE
        for k in range(crowd.first_there[listed], crowd.first_there[listed + 1]):
            j = crowd.there[k]
            if offset[j] >= 0 and crowd.last[j] > crowd.first[u]:
                near[count] = j
                count += 1
        for j in range(listed * STRIDE, u):
            if offset[j] >= 0 and crowd.last[j] > crowd.first[u]:
                near[count] = j
                count += 1
        for j in range(u + 1, crowd.later[u]):
            if offset[j] >= 0:
                near[count] = j
                count += 1
        sort_by(offset, near, count)
        top = 0
        for k in range(count):
            j = near[k]
            if offset[j] - top >= size[u]:
                break
            top = max(top, offset[j] + size[j])
        offset[u] = top
