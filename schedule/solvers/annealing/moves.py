"""Moves on a sequence: take a run out, put one in, or both, priced without replaying.

What a move changes is a handful of ranges of slots in which a resource is held
or no longer held. Only a move that is accepted is made.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from schedule.layout import Ints
from schedule.solvers.annealing.state import BLOCK, BUDGET, REPEATED, State, neighbours
from schedule.solvers.kit.compiled import jit
from schedule.solvers.kit.randomness import below, draw
from schedule.solvers.program.operations import Operations

_HALF = 0.5
#: How far from where a run is to go an empty slot is looked for.
_REACH = 16


class MoveShares(NamedTuple):
    """How moves are chosen.

    Attributes
    ----------
    come, go, shift
        Shares of the moves that let something run again, that take one of several runs
        out, and that move one of several runs; the rest move any run.
    late
        How often a run is looked at for outputs that could be made again before the end.
    chain, chain_ends
        The most runs that come at once, in a chain; how often it ends before.
    """

    come: float = 0.25
    go: float = 0.2
    shift: float = 0.15
    late: float = 0.1
    chain: int = 6
    chain_ends: float = 0.3


#: Those that are usual.
SHARES = MoveShares()


@jit
def _note(ranges: Ints, n: int, start: int, end: int, change: int) -> int:
    """Add a range of slots, start … end, with its change, to the list."""
    if change != 0 and start <= end:
        ranges[3 * n] = start
        ranges[3 * n + 1] = end
        ranges[3 * n + 2] = change
        return n + 1
    return n


@jit
def list_changes(operations: Operations, state: State, v: int, out: int, into: int) -> int:
    """What it changes to take v out of slot `out` and put it into slot `into` (−1: not).

    The number of ranges in `state.ranges`; −1 where that can't be done.
    """
    n = _list_reads(operations, state, v, out, into)
    if n >= 0:
        n = _list_writes(operations, state, v, out, into, n)
    if n >= 0 and out >= 0:
        n = _note(state.ranges, n, out, out, -operations.extra[v])
    if n >= 0 and into >= 0:
        n = _note(state.ranges, n, into, into, operations.extra[v])
    return n


@jit
def _list_reads(operations: Operations, state: State, v: int, out: int, into: int) -> int:
    """List what is held longer or less long because v reads it; −1: it isn't there."""
    n = 0
    for at in range(operations.first_read[v], operations.first_read[v + 1]):
        r = operations.reads[at]
        if into >= 0:
            before, after = neighbours(state, r, into, out)
            if before < 0:
                return -1
            if not _is_held(operations, r, after):
                n = _note(state.ranges, n, (before >> 1) + 1, into, operations.size[r])
        if out >= 0:
            before, after = neighbours(state, r, out, -1)
            if not _is_held(operations, r, after):
                n = _note(state.ranges, n, (before >> 1) + 1, out, -operations.size[r])
    return n


@jit
def _list_writes(operations: Operations, state: State, v: int, out: int, into: int, n: int) -> int:
    """List what is held from another place on because v writes it; −1: some reader is left."""
    last = len(state.run_at) - 1
    for at in range(operations.first_write[v], operations.first_write[v + 1]):
        r = operations.writes[at]
        size = operations.size[r]
        if out >= 0:
            before, after = neighbours(state, r, out, -1)
            until = last if after < 0 else after >> 1
            if _is_held(operations, r, after):
                if before >= 0:
                    n = _note(state.ranges, n, (before >> 1) + 1, out, size)
                elif into < 0 or (after >= 0 and into > until):
                    return -1
                else:
                    n = _note(state.ranges, n, out + 1, until, -size)
        if into >= 0:
            before, after = neighbours(state, r, into, out)
            until = last if after < 0 else after >> 1
            if _is_held(operations, r, after):
                if before >= 0:
                    n = _note(state.ranges, n, (before >> 1) + 1, into, -size)
                else:
                    n = _note(state.ranges, n, into + 1, until, size)
    return n


@jit
def _is_held(operations: Operations, r: int, after: int) -> bool:
    """Whether r is held up to its use `after` (−1: the end): where it is read, or an output."""
    return after & 1 == 0 if after >= 0 else bool(operations.kept[r])


@jit
def _excess_change(state: State, budget: int, start: int, end: int, change: int) -> int:
    """By how much `change` in the slots start … end changes the sum of what exceeds the budget."""
    total = 0
    memory, lazy, low, high = state.memory, state.lazy, state.low, state.high
    for block in range(start // BLOCK, end // BLOCK + 1):
        top = high[block]
        if top <= budget and top + change <= budget:
            continue
        a, b = max(start, block * BLOCK), min(end, block * BLOCK + BLOCK - 1)
        bottom = low[block]
        if bottom >= budget and bottom + change >= budget:
            total += change * (b - a + 1)
            continue
        limit = budget - lazy[block]
        for i in range(a, b + 1):
            over = memory[i] - limit
            total += max(over + change, 0) - max(over, 0)
    return total


@jit
def price(state: State, n: int) -> int:
    """The change of the excess that the first n ranges make together."""
    budget = state.numbers[BUDGET]
    ranges, events = state.ranges, state.events
    m = 0
    for i in range(n):
        for side in range(2):
            slot = ranges[3 * i + side] + side
            change = ranges[3 * i + 2] if side == 0 else -ranges[3 * i + 2]
            j = m - 1
            while j >= 0 and events[2 * j] > slot:
                events[2 * j + 2] = events[2 * j]
                events[2 * j + 3] = events[2 * j + 1]
                j -= 1
            if j >= 0 and events[2 * j] == slot:
                # Close the gap again: one event to a slot.
                events[2 * j + 1] += change
                for k in range(j + 1, m):
                    events[2 * k] = events[2 * k + 2]
                    events[2 * k + 1] = events[2 * k + 3]
            else:
                events[2 * j + 2] = slot
                events[2 * j + 3] = change
                m += 1
    total = 0
    running = 0
    for j in range(m - 1):
        running += events[2 * j + 1]
        if running != 0:
            total += _excess_change(state, budget, events[2 * j], events[2 * j + 2] - 1, running)
    return total


@jit
def keeps_order(operations: Operations, state: State, v: int, out: int, into: int) -> bool:
    """Whether the first runs are still in the order of the operations after a move."""
    first = state.first_slot
    if out < 0 or out != first[v]:
        return into < 0 or into > first[v]
    if into < 0:
        return False
    if v > 0 and into < first[v - 1]:
        return False
    if state.times[v] > 1 and into > _next_write(operations, state, v, out):
        return False  # the next run would become the first
    return v + 1 >= len(first) or into < first[v + 1]


@jit
def _next_write(operations: Operations, state: State, v: int, slot: int) -> int:
    """The slot in which v runs next after `slot`; it does."""
    r = operations.writes[operations.first_write[v]]
    at = state.first_use[r]
    while state.uses[at] & 1 == 0 or state.uses[at] >> 1 <= slot:
        at += 1
    return int(state.uses[at] >> 1)


@jit
def _empty_near(state: State, slot: int, reach: int) -> int:
    """An empty slot at most `reach` away, the nearest; −1 where there is none."""
    run_at, last = state.run_at, len(state.run_at) - 1
    for away in range(reach):
        if slot - away > 0 and run_at[slot - away] == -1:
            return slot - away
        if slot + away <= last and run_at[slot + away] == -1:
            return slot + away
    return -1


@jit
def _full_near(state: State, slot: int) -> int:
    """The nearest slot from here on that has a run, around the end; there is one."""
    run_at = state.run_at
    while run_at[slot] < 0:
        slot += 1
        if slot == len(run_at):
            slot = 1
    return slot


@jit
def pick_run(state: State) -> int:
    """The slot of any run."""
    return _full_near(state, 1 + below(state.random, len(state.run_at) - 1))


@jit
def pick_repeat(operations: Operations, state: State, reader: int, late: float) -> tuple[int, int]:
    """What the run in slot `reader` reads, to be run again before it: (operation, slot).

    Now and then an output that it is the last to use, to be run again before the end.
    """
    random, v = state.random, state.run_at[reader]
    n = operations.first_read[v + 1] - operations.first_read[v]
    r, start, end = -1, 0, reader
    if draw(random) < late or n == 0:
        r = _pick_last_used(operations, state, reader)
        start, end = reader, len(state.run_at)
    if r < 0 and n > 0:
        r = operations.reads[operations.first_read[v] + below(random, n)]
        before, _ = neighbours(state, r, reader, -1)
        start, end = before >> 1, reader
    if r < 0 or end - start <= 1:
        return -1, -1
    u = operations.producer[r]
    if u < 0 or not operations.may_repeat[u]:
        return -1, -1
    slot = end - int(np.exp(draw(random) * np.log(end - start)))
    while slot > start and state.run_at[slot] != -1:
        slot -= 1
    return u, (slot if slot > start else -1)


@jit
def _pick_last_used(operations: Operations, state: State, slot: int) -> int:
    """An output that is used in this slot and never after; −1: none, or not picked."""
    v = state.run_at[slot]
    first_read, first_write = operations.first_read[v], operations.first_write[v]
    n = operations.first_read[v + 1] - first_read
    uses = n + operations.first_write[v + 1] - first_write
    if uses == 0:  # a free view of what is always there
        return -1
    at = below(state.random, uses)
    r = operations.reads[first_read + at] if at < n else operations.writes[first_write + at - n]
    if not operations.kept[r] or neighbours(state, r, slot, -1)[1] >= 0:
        return -1
    return int(r)


@jit
def _pick_run_of(operations: Operations, state: State, v: int) -> int:
    """A slot in which v runs, each equally likely."""
    which = below(state.random, state.times[v])
    r = operations.writes[operations.first_write[v]]
    for at in range(state.first_use[r], state.first_use[r] + state.n_uses[r]):
        if state.uses[at] & 1:
            if which == 0:
                return int(state.uses[at] >> 1)
            which -= 1
    return -1


@jit
def _pick_target(state: State, out: int) -> int:
    """An empty slot to move to from `out`, near ones more often; −1: none found."""
    slots = len(state.run_at)
    away = int(np.exp(draw(state.random) * np.log(slots)))
    target = out + (away if draw(state.random) < _HALF else -away)
    return _empty_near(state, target, _REACH) if 1 <= target < slots else -1


@jit
def pick(operations: Operations, state: State, shares: MoveShares) -> tuple[int, int, int]:
    """A move: (operation, the slot it leaves or −1, the slot it goes to or −1).

    An operation of −1: none.
    """
    random, repeated = state.random, state.numbers[REPEATED]
    may_go = shares.come + shares.go
    chance = draw(random) if may_go > 0.0 else 1.0
    if chance < shares.come:
        v, into = pick_repeat(operations, state, pick_run(state), shares.late)
        return (v, -1, into) if into >= 0 else (-1, -1, -1)
    if chance < may_go or (chance < may_go + shares.shift and repeated > 0):
        if repeated == 0:
            return -1, -1, -1
        v = state.repeated[below(random, repeated)]
        out = _pick_run_of(operations, state, v)
        if chance < may_go:
            return v, out, -1
    else:
        out = pick_run(state)
        v = state.run_at[out]
    into = _pick_target(state, out)
    return (v, out, into) if into >= 0 else (-1, -1, -1)
