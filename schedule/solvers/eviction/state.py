"""The state of a pass as arrays: what is live, and what can't be recomputed any more."""

from __future__ import annotations

import numpy as np

from schedule.layout import Bools, Floats, Ints
from schedule.solvers.kit.compiled import part
from schedule.solvers.kit.queue import Queue, remove, touch
from schedule.solvers.kit.structs import Struct
from schedule.solvers.program.tensors import Tensors

#: Positions in `State.numbers`: the position in what is followed, memory in use, runs emitted,
#: nodes and edges looked at so far, the number of the last search for ancestors, and whether
#: the pass has begun.
AT, USED, EMITTED, WORK, SEARCH, HAS_BEGUN = 0, 1, 2, 3, 4, 5


class EvictionLimits(Struct):
    """How far a pass looks, and when it counts as stuck.

    Attributes
    ----------
    deep, wide
        Nodes and edges looked at for the cost of recomputing a tensor; beyond, it counts
        as all that ran before the tensor was live for the first time.
    tries
        Scores that prove to be out of date before the best of them is taken.
    readers
        Readers of a recomputed tensor whose results are scored again, as they have become
        cheaper.
    circles
        Recomputing one tensor with this many times the runs that it should take counts as
        going round in circles.
    longest
        So does a pass that emits this many times the runs that it follows.
    passes
        The most passes, each over the result of the one before.
    """

    deep: int = 200
    wide: int = 1_000
    tries: int = 64
    readers: int = 8
    circles: int = 20
    longest: int = 4
    passes: int = 4


#: The default.
LIMITS = EvictionLimits()


class Exponents(Struct):
    """What is evicted first: see `schedule.solvers.eviction.fitting.Rule`."""

    cost: float
    size: float
    wait: float


class Base(Struct):
    """The runs that are followed.

    Attributes
    ----------
    runs
        Shape (r,): node numbers.
    first_event, events
        CSR, with one entry more: when each tensor is read or written, ascending:
        2·position + (1 where it is written). Outputs are read at position r.
    clock
        Shape (r + 1,): compute up to each position.
    position
        Shape (n,): where each node runs first.
    exponents, limits
        By what is evicted first, and how far a pass looks.
    """

    runs: Ints
    first_event: Ints
    events: Ints
    clock: Floats
    position: Ints
    exponents: Exponents
    limits: EvictionLimits


def base_of(graph: Tensors, runs: Ints, exponents: Exponents, limits: EvictionLimits) -> Base:
    """The runs, and space for when each tensor is used in their order. O(runs)."""
    reads = np.diff(graph.first_read)[runs].sum()
    writes = np.diff(graph.first_output)[runs].sum()
    position = np.full(len(graph.may_repeat), len(runs))
    nodes, at = np.unique(runs, return_index=True)
    position[nodes] = at
    return Base(
        runs=np.ascontiguousarray(runs),
        first_event=np.zeros(len(graph.producer) + 2, np.int64),
        events=np.empty(reads + writes + graph.is_output.sum(), np.int64),
        clock=np.append(0.0, np.cumsum(graph.compute[runs])),
        position=position,
        exponents=exponents,
        limits=limits,
    )


@part
def _list_events(graph: Tensors, base: Base) -> None:
    """List the uses of each tensor, see `Base`."""
    # Counting sort by tensor, in two passes over the runs: as these are in order, so are the
    # uses of each tensor. Counts are two further on than usual: then `first` is right at the end.
    runs, first, events = base.runs, base.first_event, base.events
    tensors = len(graph.producer)
    for t in range(tensors):
        first[t + 2] += graph.is_output[t]
    for at in range(len(runs)):
        v = runs[at]
        for i in range(graph.first_read[v], graph.first_read[v + 1]):
            first[graph.reads[i] + 2] += 1
        for t in range(graph.first_output[v], graph.first_output[v + 1]):
            first[t + 2] += 1
    for t in range(tensors + 1):  # first[t + 1] is where the next event of t is put
        first[t + 1] += first[t]
    for at in range(len(runs)):
        v = runs[at]
        for i in range(graph.first_read[v], graph.first_read[v + 1]):
            t = graph.reads[i]
            events[first[t + 1]] = 2 * at
            first[t + 1] += 1
        # A write is marked: what is written anew before it is read costs nothing to evict.
        for t in range(graph.first_output[v], graph.first_output[v + 1]):
            events[first[t + 1]] = 2 * at + 1
            first[t + 1] += 1
    for t in range(tensors):
        if graph.is_output[t]:
            events[first[t + 1]] = 2 * len(runs)
            first[t + 1] += 1


class State(Struct):
    """What is live, and what is known about it.

    Attributes
    ----------
    live, pins, wants, next_event
        Shape (m,): whether a tensor is live, how many waiting runs hold it, how many
        pending ones will read it, and the position in `Base.events` of its next use.
    on_it
        Shape (m,): how many live tensors are on a storage.
    ran, pending, blocked, is_deep
        Shape (n,): whether a node has run; whether it is about to, for the run that is
        followed now; whether it can't run again, because something that it needs is lost
        for good; whether its rerun takes more than is looked at, as far as is known.
    queue
        The storages that may be evicted, by score.
    emitted
        The runs so far, with space for as many as there may be.
    waiting, cursor
        Runs that wait for others, each for the next, and for which of their reads.
    stack, seen
        Space for walks over the graph.
    missing, ranks, ranked
        Space for the runs that one run needs, their positions, and their order.
    demand
        Shape (r + 1,): space for memory by position.
    numbers
        Counters, see `AT` and others.
    """

    live: Bools
    pins: Ints
    wants: Ints
    next_event: Ints
    on_it: Ints
    ran: Bools
    pending: Bools
    blocked: Bools
    is_deep: Bools
    queue: Queue
    emitted: Ints
    waiting: Ints
    cursor: Ints
    stack: Ints
    seen: Ints
    missing: Ints
    ranks: Floats
    ranked: Ints
    demand: Ints
    numbers: Ints


def start(graph: Tensors, base: Base, most: int) -> State:
    """The state before the first run, with space for `most` runs."""
    nodes, tensors = len(graph.may_repeat), len(graph.producer)
    return State(
        live=np.zeros(tensors, np.bool_),
        pins=np.zeros(tensors, np.int64),
        wants=np.zeros(tensors, np.int64),
        next_event=np.zeros(tensors, np.int64),
        on_it=np.zeros(tensors, np.int64),
        ran=np.zeros(nodes, np.bool_),
        pending=np.zeros(nodes, np.bool_),
        blocked=np.zeros(nodes, np.bool_),
        is_deep=np.zeros(nodes, np.bool_),
        queue=Queue.of(tensors),
        emitted=np.empty(most, np.int64),
        waiting=np.empty(nodes + 1, np.int64),
        cursor=np.empty(nodes + 1, np.int64),
        stack=np.empty(nodes + tensors + 1, np.int64),
        seen=np.zeros(nodes, np.int64),
        missing=np.empty(nodes, np.int64),
        ranks=np.empty(nodes),
        ranked=np.empty(nodes, np.int64),
        demand=np.empty(len(base.runs) + 1, np.int64),
        numbers=np.zeros(6, np.int64),
    )


@part
def make_live(graph: Tensors, state: State, t: int) -> None:
    """Note that tensor t is live from now on."""
    state.live[t] = True
    # A storage is counted once, however many tensors are on it: with the first, until the last.
    s = graph.storage[t]
    if state.on_it[s] == 0:
        state.numbers[USED] += graph.memory[s]
    state.on_it[s] += 1
    if graph.memory[s] > 0:  # evicting one of size 0 would free nothing
        touch(state.queue, s)


@part
def begin(graph: Tensors, base: Base, state: State) -> None:
    """List all uses, and make what is an input live. O(runs + reads)."""
    _list_events(graph, base)
    state.numbers[HAS_BEGUN] = 1
    for t in range(len(graph.producer)):
        state.next_event[t] = base.first_event[t]
        if graph.producer[t] < 0:
            make_live(graph, state, t)


@part
def free(graph: Tensors, state: State, t: int) -> None:
    """Free tensor t."""
    state.live[t] = False
    s = graph.storage[t]
    state.on_it[s] -= 1
    if state.on_it[s] == 0:
        state.numbers[USED] -= graph.memory[s]
        remove(state.queue, s)
    if not can_rerun(graph, state, graph.producer[t]):
        _block_readers(graph, state, t)


@part
def can_rerun(graph: Tensors, state: State, v: int) -> bool:
    """Whether node v, which ran before, can run again, and all that it needs as well."""
    return v >= 0 and graph.may_repeat[v] and not state.blocked[v]


@part
def _block_readers(graph: Tensors, state: State, lost: int) -> None:
    """Note that a tensor is lost for good, and so is what follows from it and isn't live."""
    # Every node is blocked at most once in a pass, so all walks together take O(edges).
    stack = state.stack
    stack[0] = lost
    n = 1
    while n > 0:
        n -= 1
        t = stack[n]
        for i in range(graph.first_reader[t], graph.first_reader[t + 1]):
            v = graph.readers[i]
            if state.blocked[v]:
                continue
            state.blocked[v] = True
            # What is live may be read as long as it is: it is lost only when it is freed, and
            # then `free` comes here again.
            for out in range(graph.first_output[v], graph.first_output[v + 1]):
                if not state.live[out]:
                    stack[n] = out
                    n += 1
