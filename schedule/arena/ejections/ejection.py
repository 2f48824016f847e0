"""Ejection search, compiled: a packing below a given height, by putting in and throwing out."""

from __future__ import annotations

import numpy as np

from schedule.arena.buffers import NONE, Buffers
from schedule.arena.fitting import list_near
from schedule.layout import Floats, Ints
from schedule.solvers.kit.compiled import jit, part
from schedule.solvers.kit.randomness import Words, below
from schedule.solvers.kit.sorting import sort_by
from schedule.solvers.kit.structs import Struct

#: Positions in `Ejection.numbers`: how many buffers have no offset; steps done; the place that
#: costs least, and how many others cost the same.
LEFT, STEPS, PLACE, TIES = 0, 1, 2, 3
#: More than all costs together.
_MOST = 1e300


class Ejection(Struct):
    """A partial packing below a height, and space to search.

    Attributes
    ----------
    offset
        Shape (n,): −1 where a buffer is thrown out.
    top
        Shape (n,): offset plus size.
    pool
        Shape (n,): the buffers without an offset, the last to be put in next.
    cost
        Shape (n,): what throwing a buffer out costs. It grows with every time that the buffer
        found no gap.
    low, high
        Shape (n,): the placed buffers that one can collide with, by offset and by end.
    numbers, least
        See above, and what the place costs: shape (1,).
    random
        State of the random numbers.
    """

    offset: Ints
    top: Ints
    pool: Ints
    cost: Floats
    low: Ints
    high: Ints
    numbers: Ints
    least: Floats
    random: Words


def ejection_of(buffers: Buffers, offset: Ints, height: int, random: Words) -> Ejection:
    """A packing, with what ends above a height thrown out, the largest to be put in first."""
    offset, n = offset.copy(), len(offset)
    out = np.flatnonzero(offset + buffers.size - buffers.slack > height)
    offset[out] = NONE
    pool = np.zeros(n, np.int64)
    pool[: len(out)] = out[np.argsort(buffers.size[out], kind="stable")]
    return Ejection(
        offset,
        offset + buffers.size,
        pool,
        np.ones(n),
        np.empty(n, np.int64),
        np.empty(n, np.int64),
        np.array([len(out), 0, 0, 0]),
        np.zeros(1),
        random,
    )


@jit
def eject(buffers: Buffers, state: Ejection, height: int, steps: int) -> None:
    """Put in buffers until all are in, or `steps` are done.

    After the guided ejection search of Nagata and Bräysy 2009 (doi:10.1016/j.orl.2009.04.006),
    which did so for vehicles. O(degree log degree) a step.
    """
    numbers = state.numbers
    numbers[STEPS] = 0
    while numbers[LEFT] and numbers[STEPS] < steps:
        numbers[STEPS] += 1
        _step(buffers, state, height)


@part
def _step(buffers: Buffers, state: Ejection, height: int) -> None:
    offset, numbers, pool = state.offset, state.numbers, state.pool
    numbers[LEFT] -= 1
    u = pool[numbers[LEFT]]
    count = list_near(buffers, offset, state.low, u)
    for k in range(count):
        state.high[k] = state.low[k]
    sort_by(offset, state.low, count)
    sort_by(state.top, state.high, count)
    limit = height - buffers.size[u] + buffers.slack[u]
    limit -= limit % buffers.alignment
    state.least[0] = _MOST
    if not _lie_on(buffers, state, limit, u, count):
        _lie_under(buffers, state, limit, u, count)
    place = numbers[PLACE]
    size, crowded = buffers.size[u], False
    for k in range(count):
        j = state.low[k]
        if offset[j] < place + size and state.top[j] > place:
            crowded = True
            offset[j] = NONE
            pool[numbers[LEFT]] = j
            numbers[LEFT] += 1
    offset[u] = place
    state.top[u] = place + size
    if crowded:
        state.cost[u] += 1.0


@part
def _consider(state: Ejection, place: int, cost: float) -> None:
    """Take a place where it costs less than what is known; of equal ones, any."""
    numbers = state.numbers
    if cost < state.least[0]:
        state.least[0] = cost
        numbers[PLACE] = place
        numbers[TIES] = 1
    elif cost == state.least[0]:
        numbers[TIES] += 1
        if below(state.random, numbers[TIES]) == 0:
            numbers[PLACE] = place


@part
def _lie_on(buffers: Buffers, state: Ejection, limit: int, u: int, count: int) -> bool:
    """Consider the ground, and the top of every buffer; whether nothing is in the way of one.

    The lowest of those is taken.
    """
    size, begun, over, a = buffers.size[u], 0.0, 0.0, 0
    for ended in range(count + 1):  # so many end at the place or below
        place = 0
        if ended > 0:
            over += state.cost[state.high[ended - 1]]
            place = state.top[state.high[ended - 1]]
        if place > limit:
            break
        if ended < count and state.top[state.high[ended]] == place:
            continue
        while a < count and state.offset[state.low[a]] < place + size:
            begun += state.cost[state.low[a]]
            a += 1
        if a == ended:
            state.numbers[PLACE] = place
            return True
        _consider(state, place, begun - over)
    return False


@part
def _lie_under(buffers: Buffers, state: Ejection, limit: int, u: int, count: int) -> None:
    """Consider the places right under every buffer, and under the limit."""
    size, begun, over, a, b = buffers.size[u], 0.0, 0.0, 0, 0
    for k in range(count + 1):
        place = limit
        if k < count:
            place = state.offset[state.low[k]] - size
        if place < 0 or place > limit:
            continue
        while a < count and state.offset[state.low[a]] < place + size:
            begun += state.cost[state.low[a]]
            a += 1
        while b < count and state.top[state.high[b]] <= place:
            over += state.cost[state.high[b]]
            b += 1
        _consider(state, place, begun - over)
