"""Which idle storage is evicted next."""

from __future__ import annotations

import math

from schedule.solvers.eviction.state import (
    AT,
    SEARCH,
    WORK,
    Base,
    State,
    can_rerun,
    free,
)
from schedule.solvers.kit.compiled import part
from schedule.solvers.kit.queue import UNKNOWN, put, remove
from schedule.solvers.program.tensors import Tensors

#: The work of scoring a storage, in nodes and edges looked at.
_LOOK = 2
#: The least wait, as a share of every node once: what is read next counts as that far away.
_SOON = 1e-12


@part
def evict(graph: Tensors, base: Base, state: State) -> bool:
    """Evict the idle storage of least score; False: there is none.

    Scores rise while their storages aren't used, so the one with the least old score is
    scored again until the least new score is below all that are left.
    """
    queue = state.queue
    best, tries = -1, 0
    # An old score is a lower bound on the new one. So most storages are never scored anew: once
    # the best new score is at the top of the heap, nothing below can be less.
    while queue.size[0] > 0:
        s = queue.heap[0]
        if s == best:
            break
        # Where many old scores are out of date by a little, the best so far will do.
        tries += queue.score[s] != UNKNOWN
        if tries > base.limits.tries and best >= 0:
            break
        score = _score(graph, base, state, s)
        if score < 0:
            remove(queue, s)  # until it is used again
            continue
        put(queue, s, score)
        if best < 0 or score < queue.score[best] or (score == queue.score[best] and s < best):
            best = s
    if best < 0:
        return False
    for i in range(graph.first_on[best], graph.first_on[best + 1]):
        if state.live[graph.on[i]]:
            free(graph, state, graph.on[i])
    return True


@part
def _score(graph: Tensors, base: Base, state: State, s: int) -> float:
    """Score of storage s, the least of which is evicted first; −1: it may not be evicted."""
    # The storage is in use again as soon as any tensor on it is.
    next_use = len(base.runs) + 1
    for i in range(graph.first_on[s], graph.first_on[s + 1]):
        t = graph.on[i]
        if not state.live[t]:
            continue
        if state.pins[t] > 0 or graph.stays[t]:
            return -1.0
        if state.wants[t] > 0:  # a pending rerun reads it: sooner than anything that is followed
            next_use = state.numbers[AT]
        elif state.next_event[t] < base.first_event[t + 1]:
            next_use = min(next_use, base.events[state.next_event[t]] >> 1)
    cost = _cost(graph, base, state, s, next_use)
    if cost <= 0.0:
        return cost  # it may not be evicted, or that costs nothing
    wait = math.inf
    if next_use <= len(base.runs):
        wait = base.clock[next_use] - base.clock[state.numbers[AT]]
    by = base.exponents
    score: float = cost**by.cost / graph.share[s] ** by.size / max(wait, _SOON) ** by.wait
    return score


@part
def _will_be_read(base: Base, state: State, t: int) -> bool:
    """Whether tensor t is read before it is written again."""
    return state.wants[t] > 0 or is_read_next(base, state, t)


@part
def is_read_next(base: Base, state: State, t: int) -> bool:
    """The same by the runs that are followed alone, without reruns inserted for one of them."""
    at = state.next_event[t]
    if at == base.first_event[t + 1]:
        return False
    is_write: bool = base.events[at] & 1 == 1
    return not is_write


@part
def position_of_next_use(base: Base, state: State, t: int) -> int:
    """The position of the next use of tensor t, which has one."""
    position: int = base.events[state.next_event[t]] >> 1
    return position


@part
def _last_use(graph: Tensors, base: Base, t: int) -> int:
    """The position up to which tensor t stays live if it is now and isn't evicted."""
    if graph.stays[t]:
        return len(base.runs)
    if base.first_event[t + 1] == base.first_event[t]:
        return -1
    position: int = base.events[base.first_event[t + 1] - 1] >> 1
    return position


@part
def _cost(graph: Tensors, base: Base, state: State, s: int, next_use: int) -> float:
    """Compute of the reruns that restore what will be read of storage s; −1: impossible.

    At its next use. What isn't live, or won't be after its own last use, has to be
    recomputed, too.
    """
    # A number for each search marks what it has seen: clearing marks would take O(nodes).
    state.numbers[SEARCH] += 1
    state.numbers[WORK] += _LOOK
    n, all_before = 0, 0.0
    for i in range(graph.first_on[s], graph.first_on[s + 1]):
        t = graph.on[i]
        if state.live[t] and _will_be_read(base, state, t):
            v = graph.producer[t]
            if not can_rerun(graph, state, v):
                return -1.0
            n = _enter(state, v, n)
            all_before = max(all_before, base.clock[base.position[v] + 1])
    # Depth first over the ancestors that would have to run again. On a long chain that may be
    # all of it, for every storage: so beyond a limit the cost is taken for all that ran before.
    cost, nodes, edges = 0.0, 0, 0
    while n > 0:
        n -= 1
        v = state.stack[n]
        cost += graph.compute[v]
        nodes += 1
        edges += graph.first_read[v + 1] - graph.first_read[v]
        state.numbers[WORK] += 1 + graph.first_read[v + 1] - graph.first_read[v]
        # Marked, so that no later search has to find out the same.
        if state.is_deep[v] or nodes > base.limits.deep or edges > base.limits.wide:
            _mark_deep(graph, base, state, s)
            return all_before
        for i in range(graph.first_read[v], graph.first_read[v + 1]):
            t = graph.reads[i]
            # It will still be live at the next use, unless it is evicted too: a guess.
            if state.live[t] and graph.storage[t] != s and _last_use(graph, base, t) >= next_use:
                continue
            u = graph.producer[t]
            if not can_rerun(graph, state, u):
                return -1.0
            n = _enter(state, u, n)
    return cost


@part
def _mark_deep(graph: Tensors, base: Base, state: State, s: int) -> None:
    """Note that restoring what will be read of storage s takes more than is looked at."""
    for i in range(graph.first_on[s], graph.first_on[s + 1]):
        t = graph.on[i]
        if state.live[t] and _will_be_read(base, state, t):
            state.is_deep[graph.producer[t]] = True


@part
def _enter(state: State, v: int, n: int) -> int:
    """Push node v on the stack of n, unless this search has seen it; the new height."""
    if state.seen[v] == state.numbers[SEARCH]:
        return n
    state.seen[v] = state.numbers[SEARCH]
    state.stack[n] = v
    return n + 1
