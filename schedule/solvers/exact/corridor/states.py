"""States of a schedule in the given order, from its end: what has to be live; compiled.

A state (j, X) says that the operations 0 … j − 1 have first run, and that the
resources X are live, as what runs from there on reads them or they are outputs.
Resources are bits of 64-bit words. A move undoes a run: before it, what the run
reads has to be live instead of what it writes.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from schedule.layout import Bools, Floats, Ints
from schedule.solvers.kit.compiled import part
from schedule.solvers.kit.structs import Struct
from schedule.solvers.program.operations import Operations

Words = npt.NDArray[np.uint64]


class Guide(Struct):
    """What a search is given beside the operations; o of them, r resources in w words.

    Attributes
    ----------
    reads, writes
        Shape (o, w): masks of the resources that each operation reads and writes.
    outputs
        Shape (w,): the mask of what has to be live at the end.
    budget
        Memory beside resident inputs.
    base, price
        Shapes (o + 1,) and (o + 1, r): see `Potentials`.
    allowed
        Shape (o + 1, o): by the number of first runs before, whether an operation may
        run again there.
    """

    reads: Words
    writes: Words
    outputs: Words
    budget: int
    base: Floats
    price: Floats
    allowed: Bools


#: Positions in `States.number`: the number of states, of moves looked at, of states in the
#: queue, and of those met in the stage before.
COUNT, MOVES, QUEUED, MET = 0, 1, 2, 3


class States(Struct):
    """The states met so far, shape (s,) each but `live`, shape (s, w), and `slots`.

    Attributes
    ----------
    stage, live, memory
        j, the mask of X, and the memory of X.
    spent, least
        Compute of the reruns after the state, and a lower bound on that of all reruns of
        any schedule by way of it.
    after, run
        The next state, and the run that leads to it; −1 at the end.
    slots
        A hash table of the states' numbers plus 1 (0: empty), at least twice as long as
        these, a power of 2.
    queue, place
        A heap of the states of one stage that may be expanded, by `least` and then by
        number, and the position of each in it plus 1 (0: it isn't).
    met
        The states met in the stage before.
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
    met: Ints
    before: Words
    number: Ints


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
        met=np.zeros(most, np.int64),
        before=np.zeros(words, np.uint64),
        number=np.zeros(4, np.int64),
    )


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
def weigh(operations: Operations, guide: Guide, stage: int, live: Words) -> tuple[int, float]:
    """Memory of what is live, and a lower bound on the cost of reruns before a state."""
    memory, cost = 0, guide.base[stage]
    price = guide.price[stage]
    for w in range(len(live)):
        word = live[w]
        while word:
            r = 64 * w + lowest(word)
            memory += operations.size[r]
            cost += price[r]
            word &= word - np.uint64(1)  # clears that bit: as many rounds as bits are set
    return memory, max(cost, 0.0)  # the potentials may fall below 0, which no cost does


@part
def undo(guide: Guide, live: Words, v: int, before: Words) -> None:
    """What has to be live before a run of v, for `live` to be so after it."""
    for w in range(len(live)):
        before[w] = (live[w] & ~guide.writes[v, w]) | guide.reads[v, w]


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
def put(states: States, s: int) -> None:
    """Put a state into the queue, or move it up there: its bound may only have fallen."""
    queue, place, least = states.queue, states.place, states.least
    at = place[s] - 1
    if at < 0:
        at = states.number[QUEUED]
        states.number[QUEUED] += 1
    while at > 0:
        above = queue[(at - 1) >> 1]
        if least[above] < least[s] or (least[above] == least[s] and above < s):
            break
        queue[at] = above
        place[above] = at + 1
        at = (at - 1) >> 1
    queue[at] = s
    place[s] = at + 1


@part
def take(states: States) -> int:
    """Take the state of the least bound out of the queue, which isn't empty."""
    queue, place, least = states.queue, states.place, states.least
    taken: int = queue[0]
    place[taken] = 0
    states.number[QUEUED] -= 1
    end = states.number[QUEUED]
    if end == 0:
        return taken
    # The last one fills the gap, and moves down to where it belongs.
    s, at = queue[end], 0
    while 2 * at + 1 < end:
        child = 2 * at + 1
        if child + 1 < end:
            a, b = queue[child], queue[child + 1]
            if least[b] < least[a] or (least[b] == least[a] and b < a):
                child += 1
        below = queue[child]
        if least[s] < least[below] or (least[s] == least[below] and s < below):
            break
        queue[at] = below
        place[below] = at + 1
        at = child
    queue[at] = s
    place[s] = at + 1
    return taken
