"""States of the search on a device with a host: what is where, and when engines are free."""

from __future__ import annotations

import math

import numpy as np

from schedule.layout import Bools, Floats, Ints
from schedule.solvers.kit.compiled import part
from schedule.solvers.kit.queue import Queue, remove
from schedule.solvers.kit.structs import Struct

#: Positions in `Space.number`: how many states there are, the one that was taken last, and how
#: often one was looked at, each that a new one is held against; making that counts as `MADE`.
COUNT, LAST, LOOKED = 0, 1, 2
MADE = 10
#: Clocks of a state: when the next compute, copy down and copy up may begin.
DEVICE, DOWN, UP = 0, 1, 2
#: Copies down and drops before one move, and bits for each in `Space.copied`.
MOST_COPIES, WIDTH = 9, 7
#: Added to the number of a tensor that is dropped.
DROPPED = 63


class Rules(Struct):
    """A graph of n nodes and m tensors on a machine; sets of either are bits of an integer.

    Tensors are numbered from the largest to the smallest, nodes in the graph's order. Those on
    one storage are freed together, as nothing is gained before all are.

    Attributes
    ----------
    reads, writes, first
        Shape (n,): sets of tensors; nodes whose first run has to be before its own.
    cost, memory, is_alone, may_repeat
        Shape (n,): compute, what a run allocates, whether it writes one tensor, whether it
        may run twice.
    size, group, down, up
        Shape (m,): memory, all tensors on its storage (for a view, none), what copies take.
    inputs, resident, outputs, movable, tracked
        Sets of tensors, the last of those that may be copied; nodes of which it matters
        whether they have run.
    budget, capacity, is_full
        Memory of the device, and of the host; whether that may ever be full.
    """

    reads: Ints
    writes: Ints
    first: Ints
    cost: Floats
    memory: Ints
    is_alone: Bools
    may_repeat: Bools
    size: Ints
    group: Ints
    down: Floats
    up: Floats
    inputs: int
    resident: int
    outputs: int
    movable: int
    tracked: int
    budget: int
    capacity: int
    is_full: bool


class Space(Struct):
    """States, shape (s,) each but `clock` (s, 3) and `ready` (s, m), and space for a move.

    Attributes
    ----------
    device, host, ran, fresh, fetched
        What is live, and on the host; nodes that have run, of those that are tracked; what
        is live and wasn't read since it was computed or fetched; what is live by a copy.
    tail
        A live tensor whose copy down ends when the channel is free; −1: none is under way.
    clock, ready
        See above; times that are over before anything could begin are 0.
    bound
        The least makespan of any schedule by way of the state; infinite: another state is
        as good.
    before, move, freed, copied
        The state before, and what led from there: node v, or ~t to fetch tensor t; what was
        freed before that, and what was copied down or dropped, each tensor's number plus one,
        and `DROPPED`, in `WIDTH` bits, the last one lowest.
    slots, following
        Lists of states with the same `device` and `ran`, by hash.
    queue
        Of states by bound, the newest first, by their numbers counted from the end.
    candidates, chosen
        Shape (m,): what may be freed, and positions there.
    sequence, position, begin, end, wait, held
        Shape (k,) or (k + 1,): copies down and drops before a move, when copies begin, and
        after each when the channel is free, until when all wait, and what the host has.
    number
        Counters.
    """

    device: Ints
    host: Ints
    ran: Ints
    fresh: Ints
    fetched: Ints
    tail: Ints
    clock: Floats
    ready: Floats
    bound: Floats
    before: Ints
    move: Ints
    freed: Ints
    copied: Ints
    slots: Ints
    following: Ints
    queue: Queue
    candidates: Ints
    chosen: Ints
    sequence: Ints
    position: Ints
    begin: Floats
    end: Floats
    wait: Floats
    held: Ints
    number: Ints


def space_for(most: int, tensors: int) -> Space:
    """Space for `most` states; as most is zeros, the system provides it as it is used."""
    state = [np.zeros(most, np.int64) for _ in range(13)]
    return Space(
        device=state[0],
        host=state[1],
        ran=state[2],
        fresh=state[3],
        fetched=state[4],
        tail=state[5],
        clock=np.zeros((most, 3)),
        ready=np.zeros((most, tensors)),
        bound=np.zeros(most),
        before=state[6],
        move=state[7],
        freed=state[8],
        copied=state[9],
        slots=np.zeros(1 << (2 * most - 1).bit_length(), np.int64),
        following=state[10],
        queue=Queue.of(most),
        candidates=np.zeros(tensors, np.int64),
        chosen=np.zeros(tensors, np.int64),
        sequence=np.zeros(MOST_COPIES, np.int64),
        position=np.zeros(MOST_COPIES + 1, np.int64),
        begin=np.zeros(MOST_COPIES),
        end=np.zeros(MOST_COPIES + 1),
        wait=np.zeros(MOST_COPIES + 1),
        held=np.zeros(MOST_COPIES + 1, np.int64),
        number=np.zeros(3, np.int64),
    )


@part
def is_in(found: int, number: int) -> bool:
    """Whether a set has a number."""
    return bool((found >> number) & 1)


@part
def left(rules: Rules, have: int, ran: int) -> float:
    """Compute of the nodes that have to run still, where these tensors are anywhere."""
    wanted, total = rules.outputs, 0.0
    for v in range(len(rules.cost) - 1, -1, -1):
        if rules.writes[v] & wanted & ~have:
            if is_in(ran, v) and not rules.may_repeat[v]:
                return math.inf
            total += rules.cost[v]
            wanted |= rules.reads[v]
    return math.inf if wanted & rules.inputs & ~have else total


@part
def memory(rules: Rules, tensors: int) -> int:
    """What the storages take on which these are."""
    found = 0
    for t in range(len(rules.size)):
        if rules.group[t] & tensors:
            found += rules.size[t]
    return found


@part
def _slot(space: Space, device: int, ran: int) -> int:
    """Where the list of a device and what ran begins."""
    mixed = np.uint64(device) * np.uint64(0x9E3779B97F4A7C15)
    mixed ^= mixed >> np.uint64(32)
    mixed = (mixed + np.uint64(ran)) * np.uint64(0xD6E8FEB86659FD93)
    mixed ^= mixed >> np.uint64(32)
    return int(mixed & np.uint64(len(space.slots) - 1))


@part
def _is_idle(space: Space, s: int, tensors: int) -> bool:
    """Whether these could be dropped at once, as nothing is copied from or to them."""
    for t in range(len(space.candidates)):
        if is_in(tensors, t) and (t == space.tail[s] or space.ready[s, t] > 0):
            return False
    return True


@part
def _is_no_later(rules: Rules, space: Space, a: int, b: int) -> bool:
    """Whether whatever can be done from b can be done from a, and no later."""
    more = space.host[a] & ~space.host[b]
    if space.host[b] & ~space.host[a] or (more and rules.is_full and not _is_idle(space, a, more)):
        return False
    for engine in range(3):
        if space.clock[a, engine] > space.clock[b, engine]:
            return False
    settled = min(space.clock[b, DEVICE], space.clock[b, DOWN])
    tail = space.tail[a]
    if tail >= 0 and space.tail[b] != tail and space.clock[a, DOWN] > settled:
        return False
    here, kept = space.device[a], space.host[b]
    for t in range(len(rules.size)):
        if space.ready[a, t] > 0 and is_in(here, t):
            known = settled if is_in(space.host[a], t) else space.clock[b, DOWN]
            if is_in(space.host[a], t) == is_in(kept, t):
                known = max(known, space.ready[b, t])
            if space.ready[a, t] > known:
                return False
    return True


@part
def enter(rules: Rules, space: Space, s: int) -> bool:
    """Put the new state s into its list, unless one there is as good; it replaces others."""
    slot = _slot(space, space.device[s], space.ran[s])
    last, at = -1, space.slots[slot] - 1
    while at >= 0:
        space.number[LOOKED] += 1
        following = space.following[at] - 1
        same = space.device[at] == space.device[s] and space.ran[at] == space.ran[s]
        if same and _is_no_later(rules, space, at, s):
            return False
        if same and _is_no_later(rules, space, s, at):
            remove(space.queue, len(space.tail) - 1 - at)
            if last < 0:
                space.slots[slot] = following + 1
            else:
                space.following[last] = following + 1
        else:
            last = at
        at = following
    space.following[s] = space.slots[slot]
    space.slots[slot] = s + 1
    return True
