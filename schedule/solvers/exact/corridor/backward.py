"""The search itself, compiled: one stage, from the states before a first run to those before it."""

from __future__ import annotations

import numpy as np

from schedule.solvers.exact.corridor.states import (
    EXPANDED,
    MET,
    MOVES,
    Guide,
    is_fenced,
    undo,
    weigh,
)
from schedule.solvers.kit.compiled import jit, part
from schedule.solvers.kit.states import COUNT, QUEUED, States, add, lowest, put, take
from schedule.solvers.program.operations import Operations


@jit
def begin(operations: Operations, guide: Guide, states: States, stages: int) -> None:
    """The state at the end, where the outputs are live, is what was met."""
    memory, least = weigh(operations, guide, stages, guide.outputs)
    s = add(states, stages, guide.outputs, memory, 0.0, least, -1, -1)
    if s >= 0:  # there is space for it
        states.own[0] = s
        states.number[MET] = 1


@jit
def step(
    operations: Operations,
    guide: Guide,
    states: States,
    is_first: bool,
    limit: float,
    most: int,
    most_moves: int,
) -> bool:
    """From the states of one stage to those of the one before: whether there was no space for one.

    Of the states of the stage, those that reruns lead to among them, up to `most`
    with the least bound are expanded, until `most_moves` were looked at; the others stay
    in the queue. No state with a bound above `limit` is kept. The first step of a stage
    begins with what was met.
    """
    # A stage ends with a first run, and first runs are in order: so all states of a stage are
    # known before the one before it begins, and only the states of one are in the queue.
    number, is_full = states.number, False
    if is_first:
        for at in range(number[QUEUED]):
            states.place[states.queue[at]] = 0
        number[QUEUED] = 0
        for at in range(number[MET]):
            put(states, states.own[at])
        number[MET] = 0
    until = number[MOVES] + most_moves
    number[EXPANDED] = 0
    while number[EXPANDED] < most and number[QUEUED] > 0 and number[MOVES] < until:
        number[EXPANDED] += 1
        # The least bound first. What is left when `most` are expanded promises more.
        s = take(states)
        known = number[COUNT]
        new, is_best = _first(operations, guide, states, s, limit)
        if new >= known:  # one that was met before is in the list already
            states.own[number[MET]] = new
            number[MET] += 1
        is_full |= new == -2
        if not is_best:
            is_full |= _again(operations, guide, states, s, limit)
    return is_full


@part
def _first(
    operations: Operations, guide: Guide, states: States, s: int, limit: float
) -> tuple[int, bool]:
    """Undo the last of the first runs.

    Returns the state before it, where that may be of use, and whether no other
    move from s is: the run fits, and what it reads takes no more memory than
    what it writes for the state. For take any schedule up to the state.
    Keep what the run reads instead of what it writes, and run it at the end:
    that costs no more, and no step in between has more in use. Nothing in
    between reads what it writes, as all readers run later in the given order.
    """
    before = states.before  # one for all moves, as most lead to states that are known
    v = states.stage[s] - 1  # stage j: the operations up to j − 1 have first run
    states.number[MOVES] += 1
    undo(guide, states.live[s], v, before)
    if is_fenced(guide, v, before):
        return -1, False
    memory, least = weigh(operations, guide, v, before)
    if memory + operations.extra[v] > guide.budget:
        return -1, False
    spent = states.spent[s]
    is_best = memory <= states.memory[s]
    if spent + least > limit:
        return -1, is_best
    return add(states, v, before, memory, spent, spent + least, s, v), is_best


@part
def _again(operations: Operations, guide: Guide, states: States, s: int, limit: float) -> bool:
    """Undo reruns of what wrote what is live; whether there was no space for a state."""
    stage, before, is_full = states.stage[s], states.before, False
    # Only a rerun that writes something live can be the last one before the state that is of
    # use: without any, it could be left out.
    for w in range(len(before)):
        word = states.live[s, w]
        while word:
            v = operations.producer[64 * w + lowest(word)]
            word &= word - np.uint64(1)
            if v < 0 or not operations.may_repeat[v] or not guide.allowed[stage, v]:
                continue
            # The stage stays the same: a rerun undone leaves all first runs as they were.
            states.number[MOVES] += 1
            undo(guide, states.live[s], v, before)
            memory, least = weigh(operations, guide, stage, before)
            spent = states.spent[s] + operations.compute[v]
            # Memory while v runs: all that is live before it, and what it writes and needs beside.
            if memory + operations.extra[v] > guide.budget or spent + least > limit:
                continue
            met = add(states, stage, before, memory, spent, spent + least, s, v)
            if met >= 0:
                put(states, met)
            is_full |= met == -2
    return is_full
