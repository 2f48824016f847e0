"""Ruin and recreate, compiled: a few buffers are taken out, and put where they cost least.

A packing is an order: each buffer lies on what comes before it. With what can lie on
one it says at once how high an arena would be with another buffer in between, wherever
that goes; the others move up, or down where one is taken out. Ruin and recreate: Schrimpf
et al. 2000 (doi:10.1006/jcph.1999.6413); heads and tails are those of scheduling in shops (Taillard
1994, doi:10.1287/ijoc.6.2.108): time there is addresses here.
"""

from __future__ import annotations

import math

import numpy as np

from schedule.arena.buffers import Buffers
from schedule.arena.fitting import ENDLESS
from schedule.layout import Floats, Ints
from schedule.solvers.kit.compiled import jit, part
from schedule.solvers.kit.randomness import Words, below, draw
from schedule.solvers.kit.sorting import sort_by
from schedule.solvers.kit.structs import Struct

#: Rows of `Recreation.level`.
HEAD, TAIL = 0, 1
#: Positions in `Recreation.numbers`: how many buffers `trial` has, and `removed`; the lowest height
#: seen.
COUNT, REMOVED, BEST = 0, 1, 2
#: Positions in `Recreation.costs`: what the packings `order` and `trial` cost, and the temperature.
COST, TRIED, TEMPERATURE = 0, 1, 2
#: Below every tail.
_NOTHING = -(1 << 62)
#: By so much, either way, and as a power of e, addresses count more or less than time where
#: neighbours are chosen; of so many new orders one is changed to another of the same packing.
_STRETCH, _SELDOM = 2.0, 8


class Recreation(Struct):
    """A packing of n buffers over s sections, and space to search.

    Attributes
    ----------
    order, trial
        Shape (n,): the buffers, each after what it lies on; the same while some are out.
    level
        Shape (2, n): its head, that is where a buffer lies; its tail, how much has to lie on it.
    kept
        Shape (2, n): the same, of `order`, while `trial` is looked at.
    best
        Shape (n,): offsets of the lowest packing seen.
    removed
        Shape (n,): what is out, in the order in which it returns.
    is_out
        Shape (n,).
    key
        Shape (n,): space to sort.
    under
        Shape (n + 1,): how high a buffer would lie that came at each place of `trial`.
    top
        Shape (s,): a skyline, or the part of it that has changed.
    numbers, costs
        See above.
    random
        State of the random numbers.
    """

    order: Ints
    trial: Ints
    level: Ints
    kept: Ints
    best: Ints
    removed: Ints
    is_out: Ints
    key: Floats
    under: Ints
    top: Ints
    numbers: Ints
    costs: Floats
    random: Words


def recreation_of(
    buffers: Buffers, order: Ints, inserts: bool, temperature: float, random: Words
) -> Recreation:
    """A search that begins with the packing that an order is.

    Or with one that comes of it: one buffer after the other is put where that costs least.
    """
    n, sections = len(buffers.first), int(buffers.last.max())

    def space(length: int) -> Ints:
        return np.zeros(length, np.int64)

    laid, removed = (0, n) if inserts else (n, 0)
    return Recreation(
        order=space(n),
        trial=order.copy(),
        level=np.zeros((2, n), np.int64),
        kept=np.zeros((2, n), np.int64),
        best=space(n),
        removed=order.copy(),
        is_out=space(n),
        key=np.zeros(n),
        under=space(n + 1),
        top=space(sections),
        numbers=np.array([laid, removed, ENDLESS]),
        costs=np.array([np.inf, 0.0, temperature]),
        random=random,
    )


@jit
def recreate(
    buffers: Buffers, state: Recreation, height: int, steps: int, most: int, cooling: float
) -> None:
    """Take out up to `most` buffers around one that is too high, and put them in again; so often.

    What costs more is kept by chance, as in simulated annealing; after each step the
    temperature is multiplied by `cooling`. O(n · most · sections) a step.
    """
    numbers, costs, n = state.numbers, state.costs, len(buffers.first)
    for _ in range(steps):
        if numbers[BEST] <= height:
            return
        _copy(state.level, state.kept, n)
        if costs[COST] < math.inf:
            _ruin(buffers, state, height, 1 + below(state.random, most))
        _measure(buffers, state, height)
        limit = costs[COST] - costs[TEMPERATURE] * math.log(1.0 - draw(state.random))
        for k in range(numbers[REMOVED]):
            # With every buffer it costs as much or more.
            if costs[TRIED] > limit:
                break
            _put_in(buffers, state, height, state.removed[k])
        if costs[TRIED] <= limit:
            _accept(buffers, state)
        else:
            _copy(state.kept, state.level, n)
        costs[TEMPERATURE] *= cooling


@part
def _copy(level: Ints, to: Ints, n: int) -> None:
    for side in range(2):
        for u in range(n):
            to[side, u] = level[side, u]


@part
def _ruin(buffers: Buffers, state: Recreation, height: int, count: int) -> None:
    """Take out a buffer that is too high and those nearest to a point in it, so many in all."""
    order, key, numbers, n = state.order, state.key, state.numbers, len(buffers.first)
    u = _too_high(buffers, state, height)
    section = buffers.first[u] + below(state.random, buffers.last[u] - buffers.first[u])
    address = state.level[HEAD, u] + draw(state.random) * buffers.size[u]
    stretch = math.exp(_STRETCH * (2.0 * draw(state.random) - 1.0)) * height / len(state.top)
    numbers[REMOVED] = 0
    for j in range(n):
        sections = max(buffers.first[j] - section, section + 1 - buffers.last[j], 0)
        above = state.level[HEAD, j] - address
        away = max(above, -above - buffers.size[j], 0.0)
        key[j] = -1.0 if j == u else stretch * sections + away
        _take_out(state, j, count)
    way = below(state.random, 3)
    for k in range(numbers[REMOVED]):
        j = state.removed[k]
        state.is_out[j] = 1
        # In any order, the large ones return first, or those that are there long.
        key[j] = -1.0 - draw(state.random)
        if way == 1:
            key[j] *= buffers.size[j]
        elif way == 2:
            key[j] *= buffers.last[j] - buffers.first[j]
    sort_by(key, state.removed, numbers[REMOVED])
    numbers[COUNT] = 0
    for at in range(n):
        if state.is_out[order[at]] == 0:
            state.trial[numbers[COUNT]] = order[at]
            numbers[COUNT] += 1
    for k in range(numbers[REMOVED]):
        state.is_out[state.removed[k]] = 0


@part
def _too_high(buffers: Buffers, state: Recreation, height: int) -> int:
    """Any of the buffers that are too high."""
    found, u = 0, -1
    for j in range(len(buffers.first)):
        if _through(buffers, state, j) > height:
            found += 1
            if below(state.random, found) == 0:
                u = j
    return u


@part
def _take_out(state: Recreation, j: int, count: int) -> None:
    """List a buffer where its key is one of the smallest, so many."""
    key, removed, numbers = state.key, state.removed, state.numbers
    if numbers[REMOVED] < count:
        numbers[REMOVED] += 1
    elif key[j] >= key[removed[count - 1]]:
        return
    place = numbers[REMOVED] - 1
    while place > 0 and key[removed[place - 1]] > key[j]:
        removed[place] = removed[place - 1]
        place -= 1
    removed[place] = j


@part
def _through(buffers: Buffers, state: Recreation, u: int) -> int:
    """How high the highest packing through a buffer is."""
    through: int = state.level[HEAD, u] + buffers.size[u] + state.level[TAIL, u]
    return through


@part
def _measure(buffers: Buffers, state: Recreation, height: int) -> None:
    """Heads and tails of what is in, and what it costs."""
    count, level, top = state.numbers[COUNT], state.level, state.top
    first, last, total = buffers.first, buffers.last, 0.0
    for side in range(2):
        for s in range(len(top)):
            top[s] = _NOTHING
        for k in range(count):
            u = state.trial[k if side == HEAD else count - 1 - k]
            # The highest one's size counts as it is, not rounded up.
            ground = 0 if side == HEAD else -buffers.slack[u]
            level[side, u] = _highest(top, first[u], last[u], ground)
            _lay(top, first[u], last[u], level[side, u] + buffers.size[u])
            if side == TAIL:
                total += _excess(_through(buffers, state, u), height)
    state.costs[TRIED] = total


@part
def _highest(top: Ints, first: int, last: int, ground: int) -> int:
    """How high a skyline is at most, or the ground."""
    highest = ground
    for s in range(first, last):
        highest = max(highest, top[s])
    return highest


@part
def _lay(top: Ints, first: int, last: int, level: int) -> None:
    for s in range(first, last):
        top[s] = level


@part
def _excess(through: int, height: int) -> float:
    """By how much a packing through a buffer is too high, in heights."""
    return max(0.0, (through - height) / height)


@part
def _put_in(buffers: Buffers, state: Recreation, height: int, u: int) -> None:
    """Put a buffer where the highest packing through it is lowest; of equal places, anywhere."""
    trial, under, numbers, level = state.trial, state.under, state.numbers, state.level
    first, last, size, count = buffers.first, buffers.last, buffers.size, numbers[COUNT]
    head, tail = 0, -buffers.slack[u]
    for at in range(count):
        under[at] = head
        j = trial[at]
        # Without a branch, as it would go either way by chance.
        collides = (first[j] < last[u]) & (first[u] < last[j])
        head = max(head, level[HEAD, j] + size[j] if collides else head)
    under[count] = head
    place, least, ties = count, head + tail, 1
    level[TAIL, u] = tail
    for at in range(count - 1, -1, -1):
        j = trial[at]
        collides = (first[j] < last[u]) & (first[u] < last[j])
        tail = max(tail, level[TAIL, j] + size[j] if collides else tail)
        if collides & (under[at] + tail <= least):
            if under[at] + tail < least:
                least, ties = under[at] + tail, 0
            ties += 1
            if below(state.random, ties) == 0:
                place = at
                level[TAIL, u] = tail
    level[HEAD, u] = under[place]
    for at in range(count, place, -1):
        trial[at] = trial[at - 1]
    trial[place] = u
    numbers[COUNT] += 1
    state.costs[TRIED] += _excess(least + size[u], height)
    for side in range(2):
        _raise(buffers, state, height, place, side)


@part
def _raise(buffers: Buffers, state: Recreation, height: int, place: int, side: int) -> None:
    """Have what comes after a buffer lie on it: heads; or what comes before it, tails."""
    trial, top, numbers, level = state.trial, state.top, state.numbers, state.level
    first, last, size = buffers.first, buffers.last, buffers.size
    u, way = trial[place], 1 - 2 * side
    low, high, highest = first[u], last[u], level[side, u] + size[u]
    _lay(top, low, high, highest)
    at = place + way
    while 0 <= at < numbers[COUNT]:
        j = trial[at]
        at += way
        if (level[side, j] >= highest) | (first[j] >= high) | (last[j] <= low):
            continue
        raised = _highest(top, max(first[j], low), min(last[j], high), level[side, j])
        if raised > level[side, j]:
            before = _excess(_through(buffers, state, j), height)
            level[side, j] = raised
            state.costs[TRIED] += _excess(_through(buffers, state, j), height) - before
            _lay(top, first[j], low, _NOTHING)
            _lay(top, high, last[j], _NOTHING)
            low, high = min(low, first[j]), max(high, last[j])
            _lay(top, first[j], last[j], raised + size[j])
            highest = max(highest, raised + size[j])


@part
def _accept(buffers: Buffers, state: Recreation) -> None:
    """Go on from `trial`, now and then in another of the orders that make the same packing."""
    n, share, highest = len(buffers.first), draw(state.random), 0
    for at in range(n):
        u = state.trial[at]
        state.order[at] = u
        highest = max(highest, _through(buffers, state, u))
        # Ascends along what lies on what, wherever between lowest and highest they lie.
        top = state.level[TAIL, u] + buffers.size[u]
        state.key[u] = share * state.level[HEAD, u] - (1.0 - share) * top
    if below(state.random, _SELDOM) == 0:
        sort_by(state.key, state.order, n)
    state.costs[COST] = state.costs[TRIED]
    if highest < state.numbers[BEST]:
        state.numbers[BEST] = highest
        for u in range(n):
            state.best[u] = state.level[HEAD, u]
