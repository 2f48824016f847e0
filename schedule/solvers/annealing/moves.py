"""Moves on a sequence: remove a run, insert one, or both, priced without replaying.

What a move changes is a handful of ranges of slots in which a resource is held
or no longer held. Only a move that is accepted is carried out.
"""

from __future__ import annotations

import math

from schedule.layout import Ints
from schedule.solvers.annealing.state import BLOCK, BUDGET, REPEATED, State, uses_around
from schedule.solvers.kit.compiled import part
from schedule.solvers.kit.randomness import below, draw
from schedule.solvers.kit.structs import Struct
from schedule.solvers.program.operations import Operations

_HALF = 0.5
#: How far from its target a run may be inserted, where that slot isn't empty.
_REACH = 16
#: There is space for a chain of so many reruns.
MOST_LINKS = 64


class MoveShares(Struct):
    """How moves are chosen.

    Attributes
    ----------
    insert, remove, shift
        Shares of the moves that insert a rerun, that remove one of several runs, and that
        move one of several runs; the rest move any run.
    late
        Probability that a rerun is for an output of the graph instead of for a read.
    chain, chain_ends
        The most reruns that are inserted at once, in a chain, up to `MOST_LINKS`; the
        probability that it ends after each.
    whole, held
        The share of chains that are whole: they have all that their runs lack, up to
        `MOST_LINKS`; the most that the probability is, drawn for each, that something lacking
        is held all the same.
    """

    insert: float = 0.25
    remove: float = 0.2
    shift: float = 0.15
    late: float = 0.1
    chain: int = 6
    chain_ends: float = 0.3
    whole: float = 0.0
    held: float = 0.6


#: The default, and while nothing fits.
SHARES, HUNTED = MoveShares(), MoveShares(whole=1.0)


@part
def _note(ranges: Ints, n: int, start: int, end: int, change: int) -> int:
    """Add a range of slots, start … end, with its change, to the list."""
    if change != 0 and start <= end:
        ranges[3 * n] = start
        ranges[3 * n + 1] = end
        ranges[3 * n + 2] = change
        return n + 1
    return n


@part
def list_changes(operations: Operations, state: State, v: int, out: int, into: int) -> int:
    """List what changes when v leaves slot `out` and is inserted in slot `into` (−1: neither).

    The number of ranges in `state.ranges`; −1 where the sequence would not be executable.
    """
    # In two halves: what leaving changes is seen in the sequence as it is, what inserting
    # changes in the one without the run in `out`. The ranges may overlap; `price` adds them up.
    n = _list_reads(operations, state, v, out, into)
    if n >= 0:
        n = _list_writes(operations, state, v, out, into, n)
    if n >= 0 and out >= 0:
        n = _note(state.ranges, n, out, out, -operations.extra[v])
    if n >= 0 and into >= 0:
        n = _note(state.ranges, n, into, into, operations.extra[v])
    return n


@part
def _list_reads(operations: Operations, state: State, v: int, out: int, into: int) -> int:
    """List what is held longer or less long because v reads it; −1: it isn't live there."""
    n = 0
    for at in range(operations.first_read[v], operations.first_read[v + 1]):
        r = operations.reads[at]
        if into >= 0:
            before, after = uses_around(state, r, into, out)
            if before < 0:
                return -1
            # Where r is held past this slot anyway, one more read changes nothing.
            if not _is_held(operations, r, after):
                n = _note(state.ranges, n, (before >> 1) + 1, into, operations.size[r])
        if out >= 0:  # the mirror image: v was the last reader before a write, or the end
            before, after = uses_around(state, r, out, -1)
            if not _is_held(operations, r, after):
                n = _note(state.ranges, n, (before >> 1) + 1, out, -operations.size[r])
    return n


@part
def _list_writes(operations: Operations, state: State, v: int, out: int, into: int, n: int) -> int:
    """List what is held from another slot on because v writes it; −1: some reader lacks it."""
    last = len(state.run_at) - 1
    for at in range(operations.first_write[v], operations.first_write[v + 1]):
        r = operations.writes[at]
        size = operations.size[r]
        if out >= 0:
            before, after = uses_around(state, r, out, -1)
            until = last if after < 0 else after >> 1
            if _is_held(operations, r, after):
                if before >= 0:
                    # The value from before has to last through the gap that v leaves.
                    n = _note(state.ranges, n, (before >> 1) + 1, out, size)
                elif into < 0 or (after >= 0 and into > until):
                    return -1
                else:
                    n = _note(state.ranges, n, out + 1, until, -size)
        if into >= 0:
            before, after = uses_around(state, r, into, out)
            until = last if after < 0 else after >> 1
            if _is_held(operations, r, after):
                if before >= 0:
                    # The value from before isn't needed after its last use: v writes it anew.
                    n = _note(state.ranges, n, (before >> 1) + 1, into, -size)
                else:
                    n = _note(state.ranges, n, into + 1, until, size)
    return n


@part
def _is_held(operations: Operations, r: int, after: int) -> bool:
    """Whether r is held up to its use `after` (−1: the end): where it is read, or an output."""
    is_kept: bool = operations.kept[r]
    return after & 1 == 0 if after >= 0 else is_kept


@part
def _excess_change(state: State, budget: int, start: int, end: int, change: int) -> int:
    """By how much `change` in the slots start … end changes the sum of what exceeds the budget."""
    total = 0
    memory, lazy, low, high = state.memory, state.lazy, state.low, state.high
    # Most blocks are within the budget before and after, or above it before and after: their
    # least and most tell, and only blocks that cross it are gone through slot by slot.
    for block in range(start // BLOCK, end // BLOCK + 1):
        top = high[block]
        if top <= budget and top + change <= budget:
            continue
        a, b = max(start, block * BLOCK), min(end, block * BLOCK + BLOCK - 1)
        bottom = low[block]
        if bottom >= budget and bottom + change >= budget:
            total += change * (b - a + 1)
            continue
        limit = budget - lazy[block]  # instead of adding `lazy` in every slot
        for i in range(a, b + 1):
            over = memory[i] - limit
            total += max(over + change, 0) - max(over, 0)
    return total


@part
def price(state: State, n: int) -> int:
    """The change of the excess by the first n ranges together."""
    budget = state.numbers[BUDGET]
    ranges, events = state.ranges, state.events
    # What exceeds the budget isn't additive where ranges overlap. So they are turned into
    # events, pairs of a slot and by how much the change rises there, ascending and one to a
    # slot. Insertion sort, as there are two for each read and write of one run: a handful.
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
                # That slot has its event: close the gap that the shifting opened.
                events[2 * j + 1] += change
                for k in range(j + 1, m):
                    events[2 * k] = events[2 * k + 2]
                    events[2 * k + 1] = events[2 * k + 3]
            else:
                events[2 * j + 2] = slot
                events[2 * j + 3] = change
                m += 1
    # Between two events the change is the same in all slots: a prefix sum over the events.
    total = 0
    running = 0
    for j in range(m - 1):
        running += events[2 * j + 1]
        if running != 0:  # a move by a few slots cancels itself almost everywhere
            total += _excess_change(state, budget, events[2 * j], events[2 * j + 2] - 1, running)
    return total


@part
def keeps_order(operations: Operations, state: State, v: int, out: int, into: int) -> bool:
    """Whether the first runs are still in the order of the operations after a move."""
    first = state.first_slot
    if out < 0 or out != first[v]:  # a rerun, which has to stay one
        return into < 0 or into > first[v]
    if into < 0:
        return False
    # First runs are in the order of the operations' numbers, so its two neighbours tell.
    if v > 0 and into < first[v - 1]:
        return False
    if state.times[v] > 1 and into > _next_write(operations, state, v, out):
        return False  # the next run would become the first
    return v + 1 >= len(first) or into < first[v + 1]


@part
def _next_write(operations: Operations, state: State, v: int, slot: int) -> int:
    """The slot in which v runs next after `slot`, which has to exist."""
    # Runs aren't listed by operation. But a resource has one writer, so the writes of any that
    # v writes are the runs of v.
    r = operations.writes[operations.first_write[v]]
    at = state.first_use[r]
    while state.uses[at] & 1 == 0 or state.uses[at] >> 1 <= slot:
        at += 1
    found: int = state.uses[at] >> 1
    return found


@part
def _empty_near(state: State, slot: int, reach: int) -> int:
    """An empty slot at most `reach` away, the nearest; −1 where there is none."""
    run_at, last = state.run_at, len(state.run_at) - 1
    for away in range(reach):
        if slot - away > 0 and run_at[slot - away] == -1:
            return slot - away
        if slot + away <= last and run_at[slot + away] == -1:
            return slot + away
    return -1


@part
def _full_near(state: State, slot: int) -> int:
    """The nearest slot from here on that has a run, around the end; at least one run exists."""
    # A run behind a long gap is found more often. That does no harm, as after each chunk of
    # moves empty slots are spread evenly again.
    run_at = state.run_at
    while run_at[slot] < 0:
        slot += 1
        if slot == len(run_at):
            slot = 1
    return slot


@part
def pick_run(state: State) -> int:
    """The slot of any run."""
    return _full_near(state, 1 + below(state.random, len(state.run_at) - 1))


@part
def pick_repeat(operations: Operations, state: State, reader: int, late: float) -> tuple[int, int]:
    """A rerun of what the run in slot `reader` reads, before it: (operation, slot), or −1, −1.

    With probability `late` instead of an output that it is the last to use, before the end.
    """
    random, v = state.random, state.run_at[reader]
    n = operations.first_read[v + 1] - operations.first_read[v]
    r, start, end = -1, 0, reader
    # An output has to be live at the end, which no run reads: without this it could never be
    # evicted in between.
    if draw(random) < late or n == 0:
        r = _pick_last_used(operations, state, reader)
        start, end = reader, len(state.run_at)
    if r < 0 and n > 0:
        # In the gap since its last use: before that, it would still be held from there to here.
        r = operations.reads[operations.first_read[v] + below(random, n)]
        before, _ = uses_around(state, r, reader, -1)
        start, end = before >> 1, reader
    if r < 0 or end - start <= 1:
        return -1, -1
    u = operations.producer[r]
    if u < 0 or not operations.may_repeat[u]:
        return -1, -1
    # The distance to the reader is as likely from 1 to 2 as from 2 to 4, and so on: a rerun
    # just before its reader holds least, but several readers may share one further ahead.
    slot = end - int(math.exp(draw(random) * math.log(end - start)))
    while slot > start and state.run_at[slot] != -1:
        slot -= 1
    return u, (slot if slot > start else -1)


@part
def pick_lacking(
    operations: Operations, state: State, length: int, reader: int, before: int
) -> tuple[int, int]:
    """What a chain of so many reruns for the run in slot `reader` lacks: (operation, slot).

    Of the operations before this one the last, so that whatever of the chain reads from it is
    there; and the last slot for it. −1, −1: nothing is lacking.
    """
    chain, found, slot, first = state.chain, -1, -1, reader
    for k in range(length):
        first = min(first, chain[2 * k + 1])
    for k in range(length):
        v, at = chain[2 * k], chain[2 * k + 1]
        for i in range(operations.first_read[v], operations.first_read[v + 1]):
            r = operations.reads[i]
            u = operations.producer[r]
            if not found <= u < before or u < 0 or not operations.may_repeat[u]:
                continue
            # It lacks what would be held for the chain alone, from before it on.
            if uses_around(state, r, at, -1)[0] >> 1 >= first or _is_held(
                operations, r, uses_around(state, r, reader, -1)[1]
            ):
                continue
            slot = at if u > found else min(slot, at)
            found = u
    while slot > 0:
        slot -= 1
        if state.run_at[slot] == -1:
            return found, slot
    return found, -1


@part
def _pick_last_used(operations: Operations, state: State, slot: int) -> int:
    """An output that is used in this slot and never after; −1: the one that was drawn isn't."""
    v = state.run_at[slot]
    first_read, first_write = operations.first_read[v], operations.first_write[v]
    n = operations.first_read[v + 1] - first_read
    uses = n + operations.first_write[v + 1] - first_write
    if uses == 0:  # a free view of what is always there
        return -1
    at = below(state.random, uses)
    r: int = (
        operations.reads[first_read + at] if at < n else operations.writes[first_write + at - n]
    )
    if not operations.kept[r] or uses_around(state, r, slot, -1)[1] >= 0:
        return -1
    return r


@part
def _pick_run_of(operations: Operations, state: State, v: int) -> int:
    """A slot in which v runs, each equally likely."""
    which = below(state.random, state.times[v])
    r = operations.writes[operations.first_write[v]]  # its writes are the runs of v
    for at in range(state.first_use[r], state.first_use[r] + state.n_uses[r]):
        if state.uses[at] & 1:
            if which == 0:
                slot: int = state.uses[at] >> 1
                return slot
            which -= 1
    return -1


@part
def _pick_target(state: State, out: int) -> int:
    """An empty slot to move to from `out`, near ones more often; −1: none found."""
    slots = len(state.run_at)
    # As in `pick_repeat`: every order of magnitude is as likely as another.
    away = int(math.exp(draw(state.random) * math.log(slots)))
    target = out + (away if draw(state.random) < _HALF else -away)
    return _empty_near(state, target, _REACH) if 1 <= target < slots else -1


@part
def pick(operations: Operations, state: State, shares: MoveShares) -> tuple[int, int, int]:
    """A move: (operation, the slot it leaves or −1, the slot it moves to or −1).

    An operation of −1: none.
    """
    random, repeated = state.random, state.numbers[REPEATED]
    to_remove = shares.insert + shares.remove
    chance = draw(random) if to_remove > 0.0 else 1.0
    if chance < shares.insert:
        v, into = pick_repeat(operations, state, pick_run(state), shares.late)
        return (v, -1, into) if into >= 0 else (-1, -1, -1)
    # Without reruns nothing can be removed, while the share of the shifts then moves any run.
    if chance < to_remove or (chance < to_remove + shares.shift and repeated > 0):
        if repeated == 0:
            return -1, -1, -1
        v = state.repeated[below(random, repeated)]
        out = _pick_run_of(operations, state, v)
        if chance < to_remove:
            return v, out, -1
    else:  # any run, first ones too: that is how their order changes
        out = pick_run(state)
        v = state.run_at[out]
    into = _pick_target(state, out)
    return (v, out, into) if into >= 0 else (-1, -1, -1)
