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
from schedule.layout import Floats, Ints
from schedule.solvers.kit.compiled import jit, part
from schedule.solvers.kit.randomness import Words, below, draw
from schedule.solvers.kit.sorting import sort_by
from schedule.solvers.kit.structs import Struct

#: Positions in `Recreation.numbers`: how many buffers `trial` has, and `removed`; the height of
#: the packing, and the lowest one seen.
COUNT, REMOVED, HEIGHT, BEST = 0, 1, 2, 3
#: Positions in `Recreation.costs`: what the packing costs, and the temperature.
COST, TEMPERATURE = 0, 1
#: Below every tail.
_NOTHING = -(1 << 62)


class Recreation(Struct):
    """A packing of n buffers over s sections, and space to search.

    Attributes
    ----------
    order, trial
        Shape (n,): the buffers, each after what it lies on; the same while some are out.
    head, tail
        Shape (n,): where a buffer lies; how much has to lie on it.
    kept_head, kept_tail
        Shape (n,): the same, of `order`, while `trial` is looked at.
    best
        Shape (n,): offsets of the lowest packing seen.
    removed, stack
        Shape (n,): what is out, in the order in which it returns; the buffers of one section.
    is_out
        Shape (n,).
    key
        Shape (n,): space to sort.
    under
        Shape (n + 1,): how high a buffer would lie that came at each place of `trial`.
    top, following, begins
        Shape (s + 1,): a skyline, of steps that begin at a section where `begins` is 1: how
        high each is, and where the next one begins.
    numbers, costs
        See above.
    random
        State of the random numbers.
    """

    order: Ints
    trial: Ints
    head: Ints
    tail: Ints
    kept_head: Ints
    kept_tail: Ints
    best: Ints
    removed: Ints
    stack: Ints
    is_out: Ints
    key: Floats
    under: Ints
    top: Ints
    following: Ints
    begins: Ints
    numbers: Ints
    costs: Floats
    random: Words


def recreation_of(buffers: Buffers, offset: Ints, temperature: float, random: Words) -> Recreation:
    """A search that goes on from a packing."""
    n, sections = len(buffers.first), int(buffers.last.max())

    def space(length: int) -> Ints:
        return np.zeros(length, np.int64)

    return Recreation(
        order=np.argsort(offset, kind="stable"),
        trial=space(n),
        head=space(n),
        tail=space(n),
        kept_head=space(n),
        kept_tail=space(n),
        best=space(n),
        removed=space(n),
        stack=space(n),
        is_out=space(n),
        key=np.zeros(n),
        under=space(n + 1),
        top=space(sections + 1),
        following=space(sections + 1),
        begins=space(sections + 1),
        numbers=np.array([n, 0, 0, np.iinfo(np.int64).max]),
        costs=np.array([0.0, temperature]),
        random=random,
    )


@jit
def begin(buffers: Buffers, state: Recreation, height: int) -> None:
    """Measure the packing that `order` is. O(n) steps of the skyline, as good as O(n)."""
    n = len(buffers.first)
    for at in range(n):
        state.trial[at] = state.order[at]
    state.numbers[COUNT] = n
    _measure(buffers, state)
    state.costs[COST] = _cost(buffers, state, height)
    _note_best(state)


@jit
def recreate(
    buffers: Buffers, state: Recreation, height: int, steps: int, most: int, cooling: float
) -> None:
    """Take out up to `most` buffers around one that is too high, and put them in again; so often.

    What costs more is kept by chance, as in simulated annealing; after each step the
    temperature is multiplied by `cooling`. O(n · most) a step.
    """
    numbers, costs = state.numbers, state.costs
    for _ in range(steps):
        if numbers[BEST] <= height:
            return
        _keep(state)
        if not _ruin(buffers, state, height, 1 + below(state.random, most)):
            return
        for k in range(numbers[REMOVED]):
            _measure(buffers, state)
            _put_in(buffers, state, state.removed[k])
        _measure(buffers, state)
        cost = _cost(buffers, state, height)
        rise = cost - costs[COST]
        if rise <= 0.0 or draw(state.random) < math.exp(-rise / costs[TEMPERATURE]):
            costs[COST] = cost
            _accept(buffers, state)
        else:
            for u in range(len(buffers.first)):
                state.head[u] = state.kept_head[u]
                state.tail[u] = state.kept_tail[u]
        costs[TEMPERATURE] *= cooling


@part
def _keep(state: Recreation) -> None:
    for u in range(len(state.head)):
        state.kept_head[u] = state.head[u]
        state.kept_tail[u] = state.tail[u]


@part
def _ruin(buffers: Buffers, state: Recreation, height: int, count: int) -> bool:
    """Take out a buffer of those that are too high, and its neighbours in a section.

    Returns whether there is one that is too high.
    """
    order, numbers, n = state.order, state.numbers, len(buffers.first)
    u = _too_high(buffers, state, height)
    if u < 0:
        return False
    section = buffers.first[u] + below(state.random, buffers.last[u] - buffers.first[u])
    high, place = 0, 0
    for at in range(n):
        j = order[at]
        if buffers.first[j] <= section < buffers.last[j]:
            if j == u:
                place = high
            state.stack[high] = j
            high += 1
    low = max(0, place - below(state.random, count))
    numbers[REMOVED] = 0
    way = below(state.random, 3)
    for at in range(low, min(high, low + count)):
        _take_out(buffers, state, state.stack[at], way)
    sort_by(state.key, state.removed, numbers[REMOVED])
    numbers[COUNT] = 0
    for at in range(n):
        if state.is_out[order[at]] == 0:
            state.trial[numbers[COUNT]] = order[at]
            numbers[COUNT] += 1
    for k in range(numbers[REMOVED]):
        state.is_out[state.removed[k]] = 0
    return True


@part
def _too_high(buffers: Buffers, state: Recreation, height: int) -> int:
    """Any of the buffers that are too high; −1: there is none."""
    found, u = 0, -1
    for j in range(len(buffers.first)):
        if state.head[j] + buffers.size[j] + state.tail[j] > height:
            found += 1
            if below(state.random, found) == 0:
                u = j
    return u


@part
def _take_out(buffers: Buffers, state: Recreation, j: int, way: int) -> None:
    """Take one out: in any order, the large ones return first, or those that are there long."""
    weight = -1.0 - draw(state.random)
    if way == 1:
        weight *= buffers.size[j]
    elif way == 2:
        weight *= buffers.last[j] - buffers.first[j]
    state.key[j] = weight
    state.is_out[j] = 1
    state.removed[state.numbers[REMOVED]] = j
    state.numbers[REMOVED] += 1


@part
def _measure(buffers: Buffers, state: Recreation) -> None:
    """Heads and tails of what is in."""
    count = state.numbers[COUNT]
    _clear(state, 0)
    for at in range(count):
        u = state.trial[at]
        state.head[u] = _lay(buffers, state, u, 0)
    _clear(state, _NOTHING)
    for at in range(count - 1, -1, -1):
        u = state.trial[at]
        # The highest one's size counts as it is, not rounded up.
        state.tail[u] = _lay(buffers, state, u, -buffers.slack[u])


@part
def _clear(state: Recreation, ground: int) -> None:
    for s in range(len(state.begins)):
        state.begins[s] = 0
    state.begins[0] = 1
    state.top[0] = ground
    state.following[0] = len(state.begins) - 1


@part
def _lay(buffers: Buffers, state: Recreation, u: int, ground: int) -> int:
    """Lay a buffer on the skyline; where it lies.

    As good as O(1): of the steps that it covers none is ever looked at again.
    """
    top, following, begins = state.top, state.following, state.begins
    first, last = buffers.first[u], buffers.last[u]
    step = first
    while begins[step] == 0:
        step -= 1
    s, before, lowest = step, step, ground
    while s < last:
        lowest = max(lowest, top[s])
        before = s
        if s > first:
            begins[s] = 0
        s = following[s]
    if s > last:
        begins[last] = 1
        top[last] = top[before]
        following[last] = s
    if step < first:
        following[step] = first
    begins[first] = 1
    following[first] = last
    top[first] = lowest + buffers.size[u]
    return lowest


@part
def _put_in(buffers: Buffers, state: Recreation, u: int) -> None:
    """Put a buffer where the highest packing through it is lowest; of equal places, anywhere."""
    trial, under, numbers = state.trial, state.under, state.numbers
    first, last, size, count = buffers.first, buffers.last, buffers.size, numbers[COUNT]
    level = 0
    for at in range(count):
        under[at] = level
        j = trial[at]
        if first[j] < last[u] and first[u] < last[j]:
            level = max(level, state.head[j] + size[j])
    over = -buffers.slack[u]
    place, least, ties = count, level + over, 1
    for at in range(count - 1, -1, -1):
        j = trial[at]
        if first[j] < last[u] and first[u] < last[j]:
            over = max(over, state.tail[j] + size[j])
            if under[at] + over < least:
                place, least, ties = at, under[at] + over, 1
            elif under[at] + over == least:
                ties += 1
                if below(state.random, ties) == 0:
                    place = at
    for at in range(count, place, -1):
        trial[at] = trial[at - 1]
    trial[place] = u
    numbers[COUNT] += 1


@part
def _cost(buffers: Buffers, state: Recreation, height: int) -> float:
    """By how much the packings through all buffers are too high, in heights; notes the highest."""
    total, highest = 0.0, 0
    for u in range(len(buffers.first)):
        through = state.head[u] + buffers.size[u] + state.tail[u]
        highest = max(highest, through)
        total += max(0.0, (through - height) / height)
    state.numbers[HEIGHT] = highest
    return total


@part
def _accept(buffers: Buffers, state: Recreation) -> None:
    """Go on from `trial`, its buffers in one of the orders that make the same packing."""
    n, share = len(buffers.first), draw(state.random)
    for at in range(n):
        u = state.trial[at]
        state.order[at] = u
        # Ascends along what lies on what, wherever between lowest and highest they lie.
        state.key[u] = share * state.head[u] - (1.0 - share) * (state.tail[u] + buffers.size[u])
    sort_by(state.key, state.order, n)
    _note_best(state)


@part
def _note_best(state: Recreation) -> None:
    numbers = state.numbers
    if numbers[HEIGHT] < numbers[BEST]:
        numbers[BEST] = numbers[HEIGHT]
        for u in range(len(state.head)):
            state.best[u] = state.head[u]
