"""Follow runs: recompute what they read, evict what is idle."""

from __future__ import annotations

from schedule.solvers.eviction.choice import (
    evict,
    is_read_next,
    position_of_next_use,
)
from schedule.solvers.eviction.state import (
    AT,
    EMITTED,
    HAS_BEGUN,
    USED,
    WORK,
    Base,
    State,
    begin,
    can_rerun,
    free,
    make_live,
)
from schedule.solvers.kit.compiled import jit, part
from schedule.solvers.kit.queue import touch
from schedule.solvers.kit.sorting import sort_by
from schedule.solvers.program.tensors import Tensors

#: What `follow` answers: everything ran, it is stuck, it paused.
DONE, STUCK, PAUSED = 0, 1, 2
#: The work of a run, in nodes and edges looked at.
_RUN = 8


@jit
def follow(graph: Tensors, base: Base, state: State, budget: int, work: int) -> int:
    """Follow the runs from where the state is, until the end or until `work` is done.

    Called again with the same state, it goes on where it paused.
    """
    numbers, end = state.numbers, len(base.runs)
    if not numbers[HAS_BEGUN]:
        begin(graph, base, state)
    if numbers[USED] > budget:
        return STUCK
    while numbers[AT] < end:
        if numbers[WORK] >= work:
            return PAUSED
        v = base.runs[numbers[AT]]
        # A rerun in what is followed is left out where its outputs are live: they could stay.
        if not (state.ran[v] and _all_live(graph, state, v)) and not _run_with_missing(
            graph, base, state, budget, v
        ):
            return STUCK
        _advance_events(graph, base, state, v)
        _free_unread(graph, base, state, v)
        numbers[AT] += 1
    # Outputs may have been evicted. All are pinned before the first is recomputed: otherwise
    # one could be evicted for another.
    for t in range(len(graph.producer)):
        state.pins[t] += graph.is_output[t]
    for t in range(len(graph.producer)):
        if graph.is_output[t] and not state.live[t]:
            v = graph.producer[t]
            if v < 0 or not _run_with_missing(graph, base, state, budget, v):
                return STUCK
            _free_unread(graph, base, state, v)
    return DONE


@part
def _all_live(graph: Tensors, state: State, v: int) -> bool:
    live = True
    for t in range(graph.first_output[v], graph.first_output[v + 1]):
        live &= state.live[t]
    return live


@part
def _run_with_missing(graph: Tensors, base: Base, state: State, budget: int, wanted: int) -> bool:
    """Run a node, and before it, in the order of what is followed, what it lacks; False: stuck.

    Depth first, all that waits would hold what it reads: in a graph of thousands of
    layers more than fits the budget.
    """
    count = _list_missing(graph, base, state, budget, wanted)
    # Evicting one ancestor to recompute another may go on for ever: many times the runs that
    # it should take count as stuck.
    most = state.numbers[EMITTED] + base.limits.circles * (count + 1)
    for at in range(count):
        v = state.missing[state.ranked[at]]
        if not state.pending[v]:
            continue  # it ran already, for another node that lacked an evicted tensor
        if not _run_depth_first(graph, base, state, budget, v, most):
            return False
        if v != wanted:
            _free_unread(graph, base, state, v)
    return True


@part
def _run_depth_first(
    graph: Tensors, base: Base, state: State, budget: int, wanted: int, most: int
) -> bool:
    """Run a node, and before it, depth first, the producers of what it still lacks.

    What was listed before it has run by now, but may have been evicted for it.
    """
    # A stack of its own, as chains of evicted tensors may be thousands of nodes long.
    waiting, cursor, n = state.waiting, state.cursor, 0
    v = wanted
    while True:
        if v >= 0:  # push it; what waits on the stack has its reads pinned
            if state.ran[v] and not graph.may_repeat[v]:
                return False
            waiting[n], cursor[n] = v, graph.first_read[v]
            n += 1
            _pin(graph, state, v, 1)
        v = waiting[n - 1]
        # What is before the cursor is live and pinned, so it needn't be looked at again.
        cursor[n - 1] = _next_missing(graph, state, v, cursor[n - 1])
        if cursor[n - 1] < graph.first_read[v + 1]:  # its producer first; v waits for that
            v = graph.producer[graph.reads[cursor[n - 1]]]
            if v < 0:
                return False
            continue
        # All that it reads is live. It is unpinned only after the run, which may evict.
        if state.numbers[EMITTED] == most or not _run(graph, base, state, budget, v):
            return False
        _pin(graph, state, v, -1)
        n -= 1
        if n == 0:
            return True
        _free_unread(graph, base, state, v)
        v = -1


@part
def _list_missing(graph: Tensors, base: Base, state: State, budget: int, wanted: int) -> int:
    """How much has to run for `wanted`, itself too, listed in the order of what is followed.

    Where that is much, what will be read next is recomputed along with it: each by
    itself would take about the same again. What several of them read stays until the
    last of them, if it fits.
    """
    state.stack[0] = wanted
    state.pending[wanted] = True
    count = _add_producers(graph, state, 0, 1)
    if count > base.limits.deep:
        more = _add_soon(graph, base, state, budget, count)
        count = _add_producers(graph, state, count, more)
    for i in range(count):
        state.missing[i] = state.stack[i]
        state.ranks[i] = base.position[state.stack[i]]
        state.ranked[i] = i
    sort_by(state.ranks, state.ranked, count)
    return count


@part
def _add_producers(graph: Tensors, state: State, start: int, count: int) -> int:
    """To the nodes on the stack from `start` on, add the producers of what they lack."""
    # Breadth first: the stack is a list at whose end the producers of its members are added.
    # What they read counts as wanted, so that it isn't freed between two of them.
    stack, at = state.stack, start
    while at < count:
        v = stack[at]
        at += 1
        state.numbers[WORK] += 1
        for i in range(graph.first_read[v], graph.first_read[v + 1]):
            t = graph.reads[i]
            state.wants[t] += 1  # `_complete` takes it back once v has run
            u = graph.producer[t]
            if not state.live[t] and u >= 0 and not state.pending[u]:
                state.pending[u] = True
                stack[count] = u
                count += 1
    return count


@part
def _add_soon(graph: Tensors, base: Base, state: State, budget: int, count: int) -> int:
    """Add the producers of what was evicted and will be read before the budget is full again.

    The budget is for what is read next, whether it is live or not.
    """
    # Memory by position of the next use; its running sum says up to which position everything
    # that will be read can be live together. O(tensors + runs), and only where much is missing.
    demand, runs = state.demand, len(base.runs)
    for at in range(runs + 1):
        demand[at] = 0
    for t in range(len(graph.producer)):
        if graph.stays[t]:
            demand[0] += graph.memory[t]
        elif _is_awaited(graph, base, state, t):
            demand[position_of_next_use(base, state, t)] += graph.memory[t]
    end, needed = 0, demand[0]
    while needed <= budget and end < runs:
        end += 1
        needed += demand[end]
    if needed <= budget:
        end += 1
    state.numbers[WORK] += runs + 1
    # What is live already needs no rerun, but was counted above: it takes its memory, too.
    for t in range(len(graph.producer)):
        u = graph.producer[t]
        if (
            not state.live[t]
            and _is_awaited(graph, base, state, t)
            and position_of_next_use(base, state, t) < end
            and not state.pending[u]
            and can_rerun(graph, state, u)
        ):
            state.pending[u] = True
            state.stack[count] = u
            count += 1
    return count


@part
def _is_awaited(graph: Tensors, base: Base, state: State, t: int) -> bool:
    """Whether tensor t was live before and will be read before it is written again."""
    u = graph.producer[t]
    return u >= 0 and state.ran[u] and is_read_next(base, state, t)


@part
def _complete(graph: Tensors, state: State, v: int) -> None:
    """Note that node v has run: if it was pending, what it reads is wanted once less."""
    if state.pending[v]:
        state.pending[v] = False
        for i in range(graph.first_read[v], graph.first_read[v + 1]):
            state.wants[graph.reads[i]] -= 1


@part
def _pin(graph: Tensors, state: State, v: int, change: int) -> None:
    for i in range(graph.first_read[v], graph.first_read[v + 1]):
        state.pins[graph.reads[i]] += change


@part
def _next_missing(graph: Tensors, state: State, v: int, start: int) -> int:
    """The position in `reads`, from `start` on, of v's first read that isn't live; or their end."""
    at, end = start, graph.first_read[v + 1]
    while at < end and state.live[graph.reads[at]]:
        at += 1
    return at


@part
def _run(graph: Tensors, base: Base, state: State, budget: int, v: int) -> bool:
    """Evict until a node fits, and run it; False: it doesn't fit."""
    numbers = state.numbers
    if numbers[EMITTED] == len(state.emitted):  # a pass that goes round in circles
        return False
    # `extra` counts all that the node writes, second copies of live outputs too.
    while numbers[USED] + graph.extra[v] > budget:
        if not evict(graph, base, state):
            return False
    for t in range(graph.first_output[v], graph.first_output[v + 1]):
        if not state.live[t]:
            make_live(graph, state, t)
    if state.ran[v]:  # before its first run, no reader of its outputs has run
        _rescore_readers(graph, base, state, v)
    state.ran[v] = True
    state.is_deep[v] = False
    _complete(graph, state, v)
    state.emitted[numbers[EMITTED]] = v
    numbers[EMITTED] += 1
    numbers[WORK] += _RUN
    return True


@part
def _rescore_readers(graph: Tensors, base: Base, state: State, v: int) -> None:
    """Have what v's readers write scored again: it has become cheaper to recompute.

    Scores that fall are the exception to old ones being lower bounds. Of the readers only
    a few are looked at, as a tensor may have thousands.
    """
    left = base.limits.readers
    for t in range(graph.first_output[v], graph.first_output[v + 1]):
        for i in range(graph.first_reader[t], graph.first_reader[t + 1]):
            reader = graph.readers[i]
            if left == 0:
                return
            left -= 1
            # Whether its rerun takes much is unknown again: v, which it needs, has just run.
            state.is_deep[reader] = False
            for out in range(graph.first_output[reader], graph.first_output[reader + 1]):
                if state.live[out]:
                    _rescore(graph, state, out)


@part
def _rescore(graph: Tensors, state: State, t: int) -> None:
    s = graph.storage[t]
    if graph.memory[s] > 0:
        touch(state.queue, s)


@part
def _advance_events(graph: Tensors, base: Base, state: State, v: int) -> None:
    """Note that the uses of what v reads and writes are over up to here."""
    until = 2 * state.numbers[AT] + 1  # an event is 2·position, and 1 more where it is a write
    for i in range(graph.first_read[v], graph.first_read[v + 1]):
        _advance(base, state, graph.reads[i], until)
    for t in range(graph.first_output[v], graph.first_output[v + 1]):
        _advance(base, state, t, until)


@part
def _advance(base: Base, state: State, t: int, until: int) -> None:
    at = state.next_event[t]
    while at < base.first_event[t + 1] and base.events[at] <= until:
        at += 1
    state.next_event[t] = at


@part
def _free_unread(graph: Tensors, base: Base, state: State, v: int) -> None:
    """Of what v reads and writes, free what nothing will read; the rest is idle."""
    for i in range(graph.first_read[v], graph.first_read[v + 1]):
        _free_or_rescore(graph, base, state, graph.reads[i])
    for t in range(graph.first_output[v], graph.first_output[v + 1]):
        _free_or_rescore(graph, base, state, t)


@part
def _free_or_rescore(graph: Tensors, base: Base, state: State, t: int) -> None:
    if not state.live[t] or graph.stays[t]:
        return
    is_over = state.next_event[t] == base.first_event[t + 1]
    if is_over and state.pins[t] == 0 and state.wants[t] == 0:
        free(graph, state, t)
    else:
        _rescore(graph, state, t)
