"""The search of states, compiled: from the end back to the start.

A state is what has to be live at some time, as a mask of resources, and which operations
have to run before it. In any order that follows: those without which it can't be made, its
ancestors. In the given order, those are the first ones, as many as its stage says.
"""

from __future__ import annotations

import math

import numpy as np

from schedule.layout import Bools, Floats, Ints
from schedule.solvers.kit.compiled import jit, part
from schedule.solvers.kit.states import (
    COUNT,
    FIRST_OWN,
    QUEUED,
    States,
    Words,
    add,
    lowest,
    put,
    take,
)
from schedule.solvers.kit.structs import Struct

#: Positions in `States.number`: the least memory that was too much (0: none was) and the
#: operation that takes it; the state that was taken last.
BLOCKED, BLOCKED_BY, LAST = FIRST_OWN, FIRST_OWN + 1, FIRST_OWN + 2
#: How a search ended: it may go on; the start is reached, at the least price; there is
#: nothing left below the limit; there is no space for another state.
ONGOING, FOUND, EMPTY, FULL = 0, 1, 2, 3


class Rules(Struct):
    """What a search is given: o operations, r resources in w words, operations in m words.

    Resources are numbered anew: those first whose memory is cheapest to write again, so
    that the bits of a mask are in that order. Operations are in an order that can run.

    Attributes
    ----------
    reads, writes, results, earlier
        Shape (o, w): what an operation reads and writes; what can't be made without it;
        what is made before its first run, or an input.
    ancestors
        Shape (o, m): the operations that run before it, and itself.
    first_reader, readers
        CSR: the operations that read something that it writes.
    outputs, lasting
        Shape (w,): what is live at the end; what can't be made again.
    producer, size, share
        Shape (r,): its writer (−1: an input), its memory, and what making it again costs:
        its share, by memory, of its writer's compute.
    cost, extra, needs, may_repeat, is_crowded
        Shape (o,): compute, in whole units; memory that a run needs beside
        what is held; with what it reads; whether it may run again; whether more may have
        to be live during its first run than fits.
    budget
        Memory beside resident inputs.
    in_order
        Whether first runs are in the order of the operations.
    of_peak
        Whether the price of a schedule is its peak, not the compute of its reruns.
    """

    reads: Words
    writes: Words
    results: Words
    earlier: Words
    ancestors: Words
    first_reader: Ints
    readers: Ints
    outputs: Words
    lasting: Words
    producer: Ints
    size: Ints
    share: Floats
    cost: Floats
    extra: Ints
    needs: Ints
    may_repeat: Bools
    is_crowded: Bools
    budget: int
    in_order: bool
    of_peak: bool


class Scratch(Struct):
    """Space of a search.

    Attributes
    ----------
    todo
        Shape (m,): the operations that have to run before a state.
    asked
        Shape (o, w): what is read after an operation's first run, before the state.
    """

    todo: Words
    asked: Words


@part
def _is_in(words: Words, number: int) -> bool:
    word: np.uint64 = words[number >> 6] >> np.uint64(number & 63)
    return bool(word & np.uint64(1))


@part
def _weigh(rules: Rules, live: Words) -> int:
    """Memory of what is live."""
    memory = 0
    for w in range(len(live)):
        word = live[w]
        while word:
            memory += rules.size[64 * w + lowest(word)]
            word &= word - np.uint64(1)
    return memory


@part
def _find_todo(rules: Rules, scratch: Scratch, live: Words) -> int:
    """Fill `todo`; how many there are."""
    todo, count = scratch.todo, 0
    for m in range(len(todo)):
        todo[m] = 0
    for w in range(len(live)):
        word = live[w]
        while word:
            v = rules.producer[64 * w + lowest(word)]
            word &= word - np.uint64(1)
            if v >= 0:
                for m in range(len(todo)):
                    todo[m] |= rules.ancestors[v, m]
    for m in range(len(todo)):
        word = todo[m]
        while word:
            count += 1
            word &= word - np.uint64(1)
    return count


@part
def _least(rules: Rules, scratch: Scratch, states: States, s: int, live: Words) -> float:
    """What any way to a state costs in reruns, or takes in memory, at least.

    What was made before an operation's first run and is asked for after it, by the
    state or by first runs, is either live meanwhile, or made again: what doesn't fit
    costs at least the linear relaxation of a knapsack (Dantzig 1957,
    doi:10.1287/opre.5.2.266). O(edges · words + operations · live).
    """
    most, words, asked, stage = 0.0, len(live), scratch.asked, states.stage[s]
    if not rules.in_order:
        _find_todo(rules, scratch, live)
        stage = len(rules.cost)
    for v in range(stage - 1, -1, -1):
        if not (rules.in_order or _is_in(scratch.todo, v)):
            continue
        for w in range(words):
            asked[v, w] = 0
        if rules.in_order and v + 1 < stage:
            for w in range(words):
                asked[v, w] = rules.reads[v + 1, w] | asked[v + 1, w]
        elif not rules.in_order:
            for at in range(rules.first_reader[v], rules.first_reader[v + 1]):
                reader = rules.readers[at]
                if _is_in(scratch.todo, reader):
                    for w in range(words):
                        asked[v, w] |= rules.reads[reader, w] | asked[reader, w]
        if rules.is_crowded[v]:
            most = max(most, _crossing(rules, scratch, states, live, v))
    return most


@part
def _crossing(rules: Rules, scratch: Scratch, states: States, live: Words, v: int) -> float:
    """What the first run of one operation costs, or takes, at least."""
    held, lasting = rules.needs[v], rules.needs[v]
    for w in range(len(live)):
        word = rules.earlier[v, w] & (live[w] | scratch.asked[v, w]) & ~rules.reads[v, w]
        while word:
            r = lowest(word)
            held += rules.size[64 * w + r]
            if (rules.lasting[w] >> np.uint64(r)) & np.uint64(1):
                lasting += rules.size[64 * w + r]
            word &= word - np.uint64(1)
    if rules.of_peak:
        return float(lasting)
    if lasting > rules.budget:
        _block(states, lasting, v)
        return math.inf
    excess, cost = held - rules.budget, 0.0
    for w in range(len(live)):
        word = rules.earlier[v, w] & (live[w] | scratch.asked[v, w]) & ~rules.reads[v, w]
        word &= ~rules.lasting[w]
        while word and excess > 0:
            r = 64 * w + lowest(word)
            word &= word - np.uint64(1)
            size = rules.size[r]
            if size:
                cost += rules.share[r] * min(size, excess) / size
                excess -= size
    return cost


@part
def _is_last_first(rules: Rules, states: States, s: int, v: int) -> bool:
    """Whether nothing live but what v writes needs it, in any order: its last run is its first."""
    needing = np.uint64(0)
    for w in range(len(states.before)):
        needing |= states.live[s, w] & ~rules.writes[v, w] & rules.results[v, w]
    return not (needing or rules.in_order)


@part
def _undo(rules: Rules, states: States, s: int, v: int) -> int:
    """Fill `before` with what is live before a run of v that leads to s; its memory."""
    before = states.before
    for w in range(len(before)):
        before[w] = (states.live[s, w] & ~rules.writes[v, w]) | rules.reads[v, w]
    return _weigh(rules, before)


@part
def _is_best(rules: Rules, states: States, s: int, v: int, memory: int) -> bool:
    """Whether no move is better than that by the first run of v, before which is so much.

    It is where what the run reads takes no more memory than what it writes for the
    state. Keep what it reads instead, and run it at the end: that costs no more, and no
    step in between has more in use.
    """
    most = states.spent[s] if rules.of_peak else float(rules.budget)
    return bool(memory <= states.memory[s] and memory + rules.extra[v] <= most)


@part
def _expand(rules: Rules, scratch: Scratch, states: States, s: int, limit: float) -> bool:
    """Put the states before a state into the queue, or the best of them; False: no space."""
    if rules.in_order:
        v = states.stage[s] - 1
        memory = _undo(rules, states, s, v)
        is_best = _is_best(rules, states, s, v, memory)
        if not _reach(rules, scratch, states, s, v, memory, True, limit):
            return False
        if is_best:
            return True
    # First a look for a move that is best, then all of them.
    for takes_all in range(int(rules.in_order), 2):
        for w in range(len(states.before)):
            word = states.live[s, w]
            while word:
                r = 64 * w + lowest(word)
                word &= word - np.uint64(1)
                v = rules.producer[r]
                if v < 0 or _was_seen(rules, states, s, v, r):
                    continue
                is_first = _is_last_first(rules, states, s, v)
                if not (is_first or (takes_all and rules.may_repeat[v])):
                    continue
                memory = _undo(rules, states, s, v)
                is_best = is_first and _is_best(rules, states, s, v, memory)
                if not (is_best or takes_all):
                    continue
                if not _reach(rules, scratch, states, s, v, memory, is_first, limit):
                    return False
                if is_best:
                    return True
    return True


@part
def _was_seen(rules: Rules, states: States, s: int, v: int, r: int) -> bool:
    """Whether v writes something live that comes before r: it is looked at once."""
    w = r >> 6
    for x in range(w):
        if states.live[s, x] & rules.writes[v, x]:
            return True
    lower = (np.uint64(1) << np.uint64(r & 63)) - np.uint64(1)
    return bool(states.live[s, w] & rules.writes[v, w] & lower)


@part
def _reach(
    rules: Rules,
    scratch: Scratch,
    states: States,
    s: int,
    v: int,
    memory: int,
    is_first: bool,
    limit: float,
) -> bool:
    """The state before a run of v, which is in `before`, is reached from s; False: no space."""
    use, spent = memory + rules.extra[v], states.spent[s]
    if rules.of_peak:
        spent = max(spent, float(use))
    elif use > rules.budget:
        _block(states, use, v)
        return True
    elif not is_first:
        spent += rules.cost[v]
    least = max(states.least[s], spent)
    if least >= limit:
        return True
    stage = states.stage[s] - int(is_first)
    if not rules.in_order:
        stage = _find_todo(rules, scratch, states.before)
    new = add(states, stage, states.before, memory, spent, least, s, v)
    if new >= 0:
        states.own[new] = 0
        put(states, new)
    return new != -2


@part
def _block(states: States, memory: int, v: int) -> None:
    """Note that a run takes too much."""
    if states.number[BLOCKED] == 0 or memory < states.number[BLOCKED]:
        states.number[BLOCKED], states.number[BLOCKED_BY] = memory, v


@part
def _is_put_off(rules: Rules, scratch: Scratch, states: States, s: int, limit: float) -> bool:
    """Give a state its own bound, once it is first in the queue; whether it isn't any more.

    Only then, as most states never are first.
    """
    states.own[s] = 1
    for w in range(len(states.before)):
        states.before[w] = states.live[s, w]
    price, least = states.spent[s], _least(rules, scratch, states, s, states.before)
    # Prices are whole numbers, and sums of shares are rounded.
    price = max(price, least) if rules.of_peak else math.ceil((price + least) * (1 - 1e-9))
    if price <= states.least[s]:
        return False
    states.least[s] = price
    if price < limit:
        put(states, s)
    return True


@jit
def begin(rules: Rules, scratch: Scratch, states: States, price: float) -> None:
    """Begin at the end, where the outputs are live; nothing costs less than `price`."""
    memory, stage = _weigh(rules, rules.outputs), len(rules.cost)
    if not rules.in_order:
        stage = _find_todo(rules, scratch, rules.outputs)
    put(states, add(states, stage, rules.outputs, memory, price, price, -1, -1))


@jit
def advance(rules: Rules, scratch: Scratch, states: States, limit: float, most: int) -> int:
    """Expand up to `most` states, those of the least bound, below `limit`: how that ended."""
    for _ in range(most):
        if states.number[QUEUED] == 0:
            return EMPTY
        # So much may be met at once; here nothing is lost where there is no space for it.
        if states.number[COUNT] + len(rules.cost) + 1 > len(states.stage):
            return FULL
        s = take(states)
        states.number[LAST] = s
        if states.own[s] == 0 and _is_put_off(rules, scratch, states, s, limit):
            continue
        if states.stage[s] == 0:
            return FOUND
        if not _expand(rules, scratch, states, s, limit):
            return FULL
    return ONGOING
