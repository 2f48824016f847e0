"""The search itself, compiled: one stage, from the states before a first run to those before it."""

from __future__ import annotations

import heapq

import numpy as np

from schedule.layout import Ints
from schedule.solvers.exact.corridor.states import Guide, States, Words, add, lowest, undo, weigh
from schedule.solvers.kit.compiled import jit
from schedule.solvers.program.operations import Operations


@jit
def step(
    operations: Operations, guide: Guide, states: States, front: Ints, limit: float, most: int
) -> tuple[Ints, Ints, bool]:
    """From the states of one stage to those of the one before.

    Of the states of the stage, those that reruns lead to among them, up to `most`
    with the least bound are expanded. No state with a bound above `limit` is kept.

    Returns
    -------
    tuple
        The states met in the stage before; those of this one that weren't
        expanded; and whether there was no space for one.
    """
    # A stage ends with a first run, and first runs are in order: so all states of a stage are
    # known before the one before it begins, and only the states of one are in the queue.
    before = np.zeros_like(guide.outputs)  # one buffer for all moves: most states are known
    queue = [(states.least[s], s) for s in front]
    heapq.heapify(queue)
    met = np.zeros(most, np.int64)
    count, is_full = 0, False
    for _ in range(most):
        while queue and queue[0][0] > states.least[queue[0][1]]:
            heapq.heappop(queue)  # reached for less since
        if not queue:
            break
        # The least bound first. What is left when `most` are expanded promises more.
        s = heapq.heappop(queue)[1]
        known = states.number[0]
        new, is_best = _first(operations, guide, states, s, limit, before)
        if new >= known:  # one that was met before is in the list already
            met[count] = new
            count += 1
        is_full |= new == -2
        if not is_best:
            is_full |= _again(operations, guide, states, s, limit, before, queue)
    rest = np.array([s for least, s in queue if least == states.least[s]], np.int64)
    return met[:count], rest, is_full


@jit
def _first(
    operations: Operations, guide: Guide, states: States, s: int, limit: float, before: Words
) -> tuple[int, bool]:
    """Undo the last of the first runs.

    Returns the state before it, where that may be of use, and whether no other
    move from s is: the run fits, and what it reads takes no more memory than
    what it writes for the state. For take any schedule up to the state.
    Keep what the run reads instead of what it writes, and run it at the end:
    that costs no more, and no step in between has more in use. Nothing in
    between reads what it writes, as all readers run later in the given order.
    """
    v = states.stage[s] - 1  # stage j: the operations up to j − 1 have first run
    states.number[1] += 1
    undo(guide, states.live[s], v, before)
    memory, least = weigh(operations, guide, v, before)
    if memory + operations.extra[v] > guide.budget:
        return -1, False
    spent = states.spent[s]
    is_best = memory <= states.memory[s]
    if spent + least > limit:
        return -1, is_best
    return add(states, v, before, memory, spent, spent + least, s, v), is_best


@jit
def _again(
    operations: Operations,
    guide: Guide,
    states: States,
    s: int,
    limit: float,
    before: Words,
    queue: list[tuple[float, int]],
) -> bool:
    """Undo reruns of what wrote what is live; whether there was no space for a state."""
    stage, is_full = states.stage[s], False
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
            states.number[1] += 1
            undo(guide, states.live[s], v, before)
            memory, least = weigh(operations, guide, stage, before)
            spent = states.spent[s] + operations.compute[v]
            # Memory while v runs: all that is live before it, and what it writes and needs beside.
            if memory + operations.extra[v] > guide.budget or spent + least > limit:
                continue
            met = add(states, stage, before, memory, spent, spent + least, s, v)
            if met >= 0:
                heapq.heappush(queue, (states.least[met], met))
            is_full |= met == -2
    return is_full


@jit
def runs_from(states: States, s: int) -> Ints:
    """The runs from a state to the end."""
    # Each state knows the one after it, so the runs come out in order: counted, then filled.
    count, at = 0, s
    while states.after[at] >= 0:
        at = states.after[at]
        count += 1
    runs = np.zeros(count, np.int64)
    at = s
    for i in range(count):
        runs[i] = states.run[at]
        at = states.after[at]
    return runs
