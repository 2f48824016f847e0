"""The compiled part of a beam search: fronts of states, and the states that lie before them."""

from __future__ import annotations

import numpy as np

from schedule.layout import Floats, Ints
from schedule.solvers.exact.corridor.states import Guide, undo
from schedule.solvers.kit.compiled import jit, part
from schedule.solvers.kit.states import COUNT, QUEUED, States, Words, add, lowest, put, take
from schedule.solvers.kit.structs import Struct
from schedule.solvers.program.operations import Operations


class Front(Struct):
    """The states that a level kept, at most f of them, of w words each.

    Attributes
    ----------
    live, memory, spent
        Shapes (f, w), (f,) and (f,): what is live, its memory, and the price of what comes after.
    number
        Shape (f,): how each came about, as a position in `Kept`.
    count
        Shape (1,): how many there are.
    """

    live: Words
    memory: Ints
    spent: Floats
    number: Ints
    count: Ints

    @classmethod
    def of(cls, width: int, words: int) -> Front:
        """An empty one."""
        return cls(
            live=np.zeros((width, words), np.uint64),
            memory=np.zeros(width, np.int64),
            spent=np.zeros(width),
            number=np.zeros(width, np.int64),
            count=np.zeros(1, np.int64),
        )


class Kept(Struct):
    """All states that were ever kept, shape (k,): the next one, −1 at the end, and the run to it.

    `count`, shape (1,), is how many there are.
    """

    after: Ints
    run: Ints
    count: Ints

    @classmethod
    def of(cls, space: int) -> Kept:
        """None, and space for so many."""
        return cls(*(np.zeros(each, np.int64) for each in (space, space, 1)))

    def with_space(self, more: int) -> Kept:
        """The same ones, and space for more."""
        count = int(self.count[0])
        if count + more <= len(self.run):
            return self
        larger = Kept.of(2 * (count + more))
        larger.after[:count], larger.run[:count] = self.after[:count], self.run[:count]
        larger.count[0] = count
        return larger

    def runs_from(self, number: int) -> Ints:
        """The runs from a state to the end."""
        runs = []
        while number >= 0:  # each state knows the one after it, so they come in order
            runs.append(self.run[number])
            number = int(self.after[number])
        return np.array(runs, np.int64)


@jit
def expand(
    operations: Operations,
    guide: Guide,
    excess: float,
    held: float,
    front: Front,
    stage: int,
    most: float,
    firsts: States,
    agains: States,
) -> int:
    """The states before those of a front: before the last first run, and before reruns.

    None of the latter has spent more than `most`. A unit of memory is taken to cost `excess`
    where it is missing for the next first run, and `held` where it is live before one. Returns
    the number of moves looked at.
    """
    v0, moves, before = stage - 1, 0, agains.before
    for s in range(front.count[0]):
        moves += 1
        memory = _changed(operations, guide, front.live[s], front.memory[s], v0)
        if memory + operations.extra[v0] <= guide.budget:
            spent = front.spent[s]
            undo(guide, front.live[s], v0, before)
            met = add(firsts, v0, before, memory, spent, spent + held * memory, front.number[s], v0)
            if met >= 0:
                put(firsts, met)
            if memory <= front.memory[s]:
                continue  # no other move is of more use: see `backward._first`
        for w in range(len(before)):
            word = front.live[s, w]
            while word:
                v = operations.producer[64 * w + lowest(word)]
                word &= word - np.uint64(1)
                if v < 0 or not operations.may_repeat[v]:
                    continue
                moves += 1
                spent = front.spent[s] + operations.compute[v]
                if spent > most:
                    continue
                memory = _changed(operations, guide, front.live[s], front.memory[s], v)
                if memory + operations.extra[v] > guide.budget:
                    continue
                undo(guide, front.live[s], v, before)
                missing = _changed(operations, guide, before, memory, v0)
                missing += operations.extra[v0] - guide.budget
                key = spent + excess * max(missing, 0)
                met = add(agains, stage, before, memory, spent, key, front.number[s], v)
                if met >= 0:
                    put(agains, met)
    return moves


@part
def _changed(operations: Operations, guide: Guide, live: Words, memory: int, v: int) -> int:
    """The memory of what has to be live before a run of v, for `live` to be so after it."""
    for w in range(len(live)):
        # Only what changes is counted: a few of some hundred.
        gone = live[w] & guide.writes[v, w] & ~guide.reads[v, w]
        while gone:
            memory -= operations.size[64 * w + lowest(gone)]
            gone &= gone - np.uint64(1)
        new = guide.reads[v, w] & ~live[w]
        while new:
            memory += operations.size[64 * w + lowest(new)]
            new &= new - np.uint64(1)
    return memory


@jit
def keep(states: States, front: Front, kept: Kept) -> None:
    """Have the best of the states as the front, and no states."""
    count = 0
    while count < len(front.spent) and states.number[QUEUED] > 0:
        s = take(states)
        for w in range(len(states.before)):
            front.live[count, w] = states.live[s, w]
        front.memory[count], front.spent[count] = states.memory[s], states.spent[s]
        at = kept.count[0]
        kept.after[at], kept.run[at] = states.after[s], states.run[s]
        kept.count[0] += 1
        front.number[count] = at
        count += 1
    front.count[0] = count
    for at in range(states.number[QUEUED]):
        states.place[states.queue[at]] = 0
    states.number[QUEUED] = states.number[COUNT] = 0
    for slot in range(len(states.slots)):
        states.slots[slot] = 0
