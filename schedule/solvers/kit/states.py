"""States of a search from the end of a schedule, compiled: a table, and a heap by bound.

A state says what has to be live at some time, as a set of resources, and a stage. The
search numbers its states as it meets them; each knows the run and the state after it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from schedule.layout import Floats, Ints
from schedule.solvers.kit.compiled import jit, part
from schedule.solvers.kit.structs import Struct

Words = npt.NDArray[np.uint64]

#: Positions in `States.number`: the number of states, and of those in the queue; from
#: `FIRST_OWN` on, three that a search counts what it likes in.
COUNT, QUEUED, FIRST_OWN = 0, 1, 2


class States(Struct):
    """The states met so far, shape (s,) each but `live`, shape (s, w), and `slots`.

    Attributes
    ----------
    stage, live, memory
        The stage, the mask of what is live in w words, and the memory of that.
    spent, least
        The price of what comes after the state, and a lower bound on that of any schedule
        by way of it.
    after, run
        The next state, and the run that leads to it; −1 at the end.
    slots
        A hash table of the states' numbers plus 1 (0: empty), at least twice as long as
        these, a power of 2.
    queue, place
        A heap of the states that may be expanded, by `least`, then by stage and by
        number, and the position of each in it plus 1 (0: it isn't).
    own
        Space for what a search keeps beside: a list of states, or a mark for each.
    before
        Shape (w,): space for a mask.
    number
        Counters, see `COUNT` and others.
    """

    stage: Ints
    live: Words
    memory: Ints
    spent: Floats
    least: Floats
    after: Ints
    run: Ints
    slots: Ints
    queue: Ints
    place: Ints
    own: Ints
    before: Words
    number: Ints


#: Bytes of a state beside its words.
STATE_BYTES = 104


def space_for(most: int, words: int) -> States:
    """Space for `most` states; as it is all zeros, the system provides it only as it is used."""
    return States(
        stage=np.zeros(most, np.int64),
        live=np.zeros((most, words), np.uint64),
        memory=np.zeros(most, np.int64),
        spent=np.zeros(most),
        least=np.zeros(most),
        after=np.zeros(most, np.int64),
        run=np.zeros(most, np.int64),
        slots=np.zeros(1 << (2 * most - 1).bit_length(), np.int64),
        queue=np.zeros(most, np.int64),
        place=np.zeros(most, np.int64),
        own=np.zeros(most, np.int64),
        before=np.zeros(words, np.uint64),
        number=np.zeros(FIRST_OWN + 3, np.int64),
    )


def with_more_space(states: States, most: int) -> States:
    """The same states, and space for `most`.

    Who begins with little touches little: a table is looked at all over, and the system
    clears pages of up to two megabytes, one after the other for all threads.
    """
    count, more = int(states.number[COUNT]), space_for(most, len(states.before))
    for name in ("stage", "live", "memory", "spent", "least", "after", "run", "place", "own"):
        getattr(more, name)[:count] = getattr(states, name)[:count]
    more.queue[:count] = states.queue[:count]
    more.number[:] = states.number
    _enter_all(more)
    return more


@jit
def _enter_all(states: States) -> None:
    """Put the states into empty `slots`."""
    for s in range(states.number[COUNT]):
        _, slot = find(states, states.stage[s], states.live[s])
        states.slots[slot] = s + 1


def masks_of(first: Ints, resources: Ints, count: int) -> Words:
    """CSR lists of resources as masks, shape (lists, words)."""
    masks = np.zeros((len(first) - 1, -(-max(count, 1) // 64)), np.uint64)
    row = np.repeat(np.arange(len(first) - 1), np.diff(first))
    bit = np.left_shift(np.uint64(1), (resources % 64).astype(np.uint64))
    np.bitwise_or.at(masks, (row, resources // 64), bit)
    return masks


def mask_of(resources: Ints, count: int) -> Words:
    """The mask of some resources, shape (w,)."""
    found: Words = masks_of(np.array([0, len(resources)]), resources, count)[0]
    return found


@part
def lowest(word: np.uint64) -> int:
    """The number of the lowest bit that is set; the word must not be 0."""
    # By bisection, as Numba has no function for it.
    number = 0
    for width in (32, 16, 8, 4, 2, 1):
        if word & ((np.uint64(1) << np.uint64(width)) - np.uint64(1)) == 0:
            word >>= np.uint64(width)
            number += width
    return number


@part
def find(states: States, stage: int, live: Words) -> tuple[int, int]:
    """The number of a state (−1: not met yet) and its slot."""
    # Multiplying by odd constants and folding the high bits down spreads masks that differ in
    # one bit over the table; its length is a power of 2, so that a mask replaces the division.
    mixed = np.uint64(stage) * np.uint64(0x9E3779B97F4A7C15)
    for w in range(len(live)):
        mixed = (mixed ^ live[w]) * np.uint64(0xD6E8FEB86659FD93)
        mixed ^= mixed >> np.uint64(32)
    last = np.uint64(len(states.slots) - 1)
    slot = mixed & last
    # Linear probing: the table is at most half full, so an empty slot is near, and nothing is
    # ever removed.
    while True:
        s = states.slots[slot] - 1
        if s < 0:
            return -1, int(slot)
        if states.stage[s] == stage:  # hashes may be equal by chance: compare all of it
            same = True
            for w in range(len(live)):
                if states.live[s, w] != live[w]:
                    same = False
                    break
            if same:
                return s, int(slot)
        slot = (slot + np.uint64(1)) & last


@part
def add(
    states: States,
    stage: int,
    live: Words,
    memory: int,
    spent: float,
    least: float,
    after: int,
    run: int,
) -> int:
    """A state that is new, or reached for less than before; −1: neither, −2: no space for it."""
    s, slot = find(states, stage, live)
    if s >= 0 and spent >= states.spent[s]:
        return -1
    # One that is reached for less keeps its number: states met from it refer to it by that.
    if s < 0:
        s = states.number[COUNT]
        if s == len(states.stage):
            return -2
        states.number[COUNT] += 1
        states.slots[slot] = s + 1
        states.stage[s] = stage
        for w in range(len(live)):
            states.live[s, w] = live[w]
        states.memory[s] = memory
    states.spent[s], states.least[s] = spent, least
    states.after[s], states.run[s] = after, run
    number: int = s
    return number


@part
def _is_before(states: States, a: int, b: int) -> bool:
    """Whether a is expanded before b."""
    first: float = states.least[a]
    second: float = states.least[b]
    if first != second:
        return first < second
    near: int = states.stage[a]
    far: int = states.stage[b]
    return near < far or (near == far and a < b)


@part
def put(states: States, s: int) -> None:
    """Put a state into the queue, or move it to where its bound belongs. O(log n)."""
    at = states.place[s] - 1
    if at < 0:
        at = states.number[QUEUED]
        states.number[QUEUED] += 1
    queue, place = states.queue, states.place
    while at > 0:
        above = queue[(at - 1) >> 1]
        if _is_before(states, above, s):
            break
        queue[at] = above
        place[above] = at + 1
        at = (at - 1) >> 1
    _sink(states, s, at)


@part
def take(states: States) -> int:
    """Take the state of the least bound out of the queue, which isn't empty. O(log n)."""
    taken: int = states.queue[0]
    states.place[taken] = 0
    states.number[QUEUED] -= 1
    end = states.number[QUEUED]
    if end:
        _sink(states, states.queue[end], 0)  # the last one fills the gap
    return taken


@part
def _sink(states: States, s: int, at: int) -> None:
    """Put a state at a position of the heap, or below it, where it belongs."""
    queue, place, end = states.queue, states.place, states.number[QUEUED]
    while 2 * at + 1 < end:
        child = 2 * at + 1
        if child + 1 < end and _is_before(states, queue[child + 1], queue[child]):
            child += 1
        below = queue[child]
        if _is_before(states, s, below):
            break
        queue[at] = below
        place[below] = at + 1
        at = child
    queue[at] = s
    place[s] = at + 1


def runs_from(states: States, s: int) -> Ints:
    """The runs from a state to the end."""
    runs = []
    while states.after[s] >= 0:  # each state knows the one after it, so they come in order
        runs.append(states.run[s])
        s = int(states.after[s])
    return np.array(runs, np.int64)
