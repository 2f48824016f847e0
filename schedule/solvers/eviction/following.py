"""Follow runs: make what they read, let go of what is idle."""

from __future__ import annotations

import numpy as np

from schedule.layout import Ints
from schedule.solvers.eviction.choice import (
    Exponents,
    evict,
    is_read_next,
    place_of_next_use,
)
from schedule.solvers.eviction.state import (
    AT,
    MADE,
    USED,
    WORK,
    Base,
    State,
    bring,
    can_make,
    drop,
)
from schedule.solvers.kit.compiled import jit
from schedule.solvers.kit.queue import touch
from schedule.solvers.program.tensors import Tensors

#: What `follow` answers: everything ran, it is stuck, it paused.
DONE, STUCK, PAUSED = 0, 1, 2
#: The work of a run, in nodes and edges looked at.
_RUN = 8


@jit
def follow(
    graph: Tensors, base: Base, state: State, budget: int, rule: Exponents, work: int
) -> int:
    """Follow the runs from where the state is, until the end or for so much work."""
    numbers, end = state.numbers, len(base.runs)
    if numbers[USED] > budget:
        return STUCK
    while numbers[AT] < end:
        if numbers[WORK] >= work:
            return PAUSED
        v = base.runs[numbers[AT]]
        if not (state.ran[v] and _all_live(graph, state, v)) and not _make(
            graph, base, state, budget, rule, v
        ):
            return STUCK
        _pass_events(graph, base, state, v)
        _settle(graph, base, state, v)
        numbers[AT] += 1
    for t in range(len(graph.producer)):
        state.pins[t] += graph.is_output[t]  # from here on they stay
    for t in range(len(graph.producer)):
        if graph.is_output[t] and not state.live[t]:
            v = graph.producer[t]
            if v < 0 or not _make(graph, base, state, budget, rule, v):
                return STUCK
            _settle(graph, base, state, v)
    return DONE


@jit
def _all_live(graph: Tensors, state: State, v: int) -> bool:
    live = True
    for t in range(graph.first_output[v], graph.first_output[v + 1]):
        live &= state.live[t]
    return live


@jit
def _make(
    graph: Tensors, base: Base, state: State, budget: int, rule: Exponents, wanted: int
) -> bool:
    """Run a node, and before it, in the order of what is followed, what it lacks; False: stuck.

    Depth first, all that waits would hold what it reads: in a graph of thousands of
    layers more than there is room for.
    """
    missing = _plan(graph, base, state, budget, wanted)
    most = state.numbers[MADE] + base.limits.circles * (len(missing) + 1)
    for v in missing:
        if not state.planned[v]:
            continue  # it ran for another that was let go of meanwhile
        if not _make_now(graph, base, state, budget, rule, v, most):
            return False
        if v != wanted:
            _settle(graph, base, state, v)
    return True


@jit
def _make_now(
    graph: Tensors, base: Base, state: State, budget: int, rule: Exponents, wanted: int, most: int
) -> bool:
    """Run a node, and before it, depth first, the makers of what it still lacks."""
    waiting, cursor, n = state.waiting, state.cursor, 0
    v = wanted
    while True:
        if v >= 0:
            if state.ran[v] and not graph.may_repeat[v]:
                return False
            waiting[n], cursor[n] = v, graph.first_read[v]
            n += 1
            _pin(graph, state, v, 1)
        v = waiting[n - 1]
        cursor[n - 1] = _missing(graph, state, v, cursor[n - 1])  # what is before it is pinned
        if cursor[n - 1] < graph.first_read[v + 1]:
            v = graph.producer[graph.reads[cursor[n - 1]]]
            if v < 0:
                return False
            continue
        if state.numbers[MADE] == most or not _run(graph, base, state, budget, rule, v):
            return False
        _pin(graph, state, v, -1)
        n -= 1
        if n == 0:
            return True
        _settle(graph, base, state, v)
        v = -1


@jit
def _plan(graph: Tensors, base: Base, state: State, budget: int, wanted: int) -> Ints:
    """What has to run for `wanted`, itself too, in the order of what is followed.

    Where that is much, what will be read next is made along with it: each by itself
    would take about the same again. What several of them read stays until the last of
    them, if there is room.
    """
    state.stack[0] = wanted
    state.planned[wanted] = True
    count = _add_makers(graph, state, 0, 1)
    if count > base.limits.deep:
        more = _add_soon(graph, base, state, budget, count)
        count = _add_makers(graph, state, count, more)
    missing: Ints = state.stack[:count].copy()
    return missing[np.argsort(base.place[missing])] if count > 1 else missing


@jit
def _add_makers(graph: Tensors, state: State, start: int, count: int) -> int:
    """To the nodes on the stack from `start` on, add the makers of what they lack."""
    stack, at = state.stack, start
    while at < count:
        v = stack[at]
        at += 1
        state.numbers[WORK] += 1
        for i in range(graph.first_read[v], graph.first_read[v + 1]):
            t = graph.reads[i]
            state.wants[t] += 1
            u = graph.producer[t]
            if not state.live[t] and u >= 0 and not state.planned[u]:
                state.planned[u] = True
                stack[count] = u
                count += 1
    return count


@jit
def _add_soon(graph: Tensors, base: Base, state: State, budget: int, count: int) -> int:
    """Add the makers of what was let go of and is read before the room is full again.

    The room is for what is read next, whether it is there or not.
    """
    room = np.zeros(len(base.runs) + 1, np.int64)
    for t in range(len(graph.producer)):
        if graph.stays[t]:
            room[0] += graph.memory[t]
        elif _waits(graph, base, state, t):
            room[place_of_next_use(base, state, t)] += graph.memory[t]
    end = np.searchsorted(np.cumsum(room), budget, "right")
    state.numbers[WORK] += len(room)
    for t in range(len(graph.producer)):
        u = graph.producer[t]
        if (
            not state.live[t]
            and _waits(graph, base, state, t)
            and place_of_next_use(base, state, t) < end
            and not state.planned[u]
            and can_make(graph, state, u)
        ):
            state.planned[u] = True
            state.stack[count] = u
            count += 1
    return count


@jit
def _waits(graph: Tensors, base: Base, state: State, t: int) -> bool:
    """Whether tensor t was there and will be read before it is written again."""
    u = graph.producer[t]
    return u >= 0 and state.ran[u] and is_read_next(base, state, t)


@jit
def _carry_out(graph: Tensors, state: State, v: int) -> None:
    """Node v has run: if that was planned, what it reads is wanted once less."""
    if state.planned[v]:
        state.planned[v] = False
        for i in range(graph.first_read[v], graph.first_read[v + 1]):
            state.wants[graph.reads[i]] -= 1


@jit
def _pin(graph: Tensors, state: State, v: int, change: int) -> None:
    for i in range(graph.first_read[v], graph.first_read[v + 1]):
        state.pins[graph.reads[i]] += change


@jit
def _missing(graph: Tensors, state: State, v: int, start: int) -> int:
    """Where in `reads`, from `start` on, the first read of v is that isn't live; or their end."""
    at, end = start, int(graph.first_read[v + 1])
    while at < end and state.live[graph.reads[at]]:
        at += 1
    return at


@jit
def _run(graph: Tensors, base: Base, state: State, budget: int, rule: Exponents, v: int) -> bool:
    """Make room for a node and run it; False: there is no room."""
    numbers = state.numbers
    if numbers[MADE] == len(state.made):
        return False
    while numbers[USED] + graph.extra[v] > budget:
        if not evict(graph, base, state, rule):
            return False
    for t in range(graph.first_output[v], graph.first_output[v + 1]):
        if not state.live[t]:
            bring(graph, state, t)
    if state.ran[v]:
        _tell_neighbours(graph, base, state, v)
    state.ran[v] = True
    state.is_deep[v] = False
    _carry_out(graph, state, v)
    state.made[numbers[MADE]] = v
    numbers[MADE] += 1
    numbers[WORK] += _RUN
    return True


@jit
def _tell_neighbours(graph: Tensors, base: Base, state: State, v: int) -> None:
    """What is made from v's outputs has become cheaper to make."""
    left = base.limits.neighbours
    for t in range(graph.first_output[v], graph.first_output[v + 1]):
        for i in range(graph.first_reader[t], graph.first_reader[t + 1]):
            reader = graph.readers[i]
            if left == 0:
                return
            left -= 1
            state.is_deep[reader] = False
            for out in range(graph.first_output[reader], graph.first_output[reader + 1]):
                if state.live[out]:
                    _look_again(graph, state, out)


@jit
def _look_again(graph: Tensors, state: State, t: int) -> None:
    s = graph.storage[t]
    if graph.memory[s] > 0:
        touch(state.queue, s)


@jit
def _pass_events(graph: Tensors, base: Base, state: State, v: int) -> None:
    """The uses of what v reads and writes up to here are over."""
    until = 2 * state.numbers[AT] + 1
    for i in range(graph.first_read[v], graph.first_read[v + 1]):
        _pass(base, state, graph.reads[i], until)
    for t in range(graph.first_output[v], graph.first_output[v + 1]):
        _pass(base, state, t, until)


@jit
def _pass(base: Base, state: State, t: int, until: int) -> None:
    at = state.next_event[t]
    while at < base.first_event[t + 1] and base.events[at] <= until:
        at += 1
    state.next_event[t] = at


@jit
def _settle(graph: Tensors, base: Base, state: State, v: int) -> None:
    """Of what v reads and writes, let go of what nothing will read; the rest is idle."""
    for i in range(graph.first_read[v], graph.first_read[v + 1]):
        _rest(graph, base, state, graph.reads[i])
    for t in range(graph.first_output[v], graph.first_output[v + 1]):
        _rest(graph, base, state, t)


@jit
def _rest(graph: Tensors, base: Base, state: State, t: int) -> None:
    if not state.live[t] or graph.stays[t]:
        return
    is_over = state.next_event[t] == base.first_event[t + 1]
    if is_over and state.pins[t] == 0 and state.wants[t] == 0:
        drop(graph, state, t)
    else:
        _look_again(graph, state, t)
