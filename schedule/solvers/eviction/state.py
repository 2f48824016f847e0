"""The graph and the memory as arrays: what is live, and what can't be made again."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from schedule.layout import Bools, Floats, Ints, Layout, offsets
from schedule.solvers.kit.compiled import jit
from schedule.solvers.kit.queue import Queue, remove, touch

#: Places in `State.numbers`: the place in what is followed, memory in use, runs made,
#: looks taken so far at nodes and edges, and the number of the last search for ancestors.
AT, USED, MADE, WORK, SEARCH = 0, 1, 2, 3, 4


class Tables(NamedTuple):
    """A graph with n nodes and m tensors.

    Attributes
    ----------
    first_read, reads, first_output, producer, storage, memory, is_output
        As in `schedule.layout.Layout`.
    first_reader, readers
        CSR: the nodes that read each tensor.
    first_on, on
        CSR: the tensors on each storage.
    extra
        Shape (n,): memory that a run needs beside what is live.
    share, compute
        Shapes (m,) and (n,): sizes and costs without a unit.
    may_repeat, stays
        Shapes (n,) and (m,): whether a node may run again; tensors never let go of.
    """

    first_read: Ints
    reads: Ints
    first_output: Ints
    producer: Ints
    first_reader: Ints
    readers: Ints
    storage: Ints
    first_on: Ints
    on: Ints
    memory: Ints
    extra: Ints
    share: Floats
    compute: Floats
    may_repeat: Bools
    stays: Bools
    is_output: Bools


def tables_of(layout: Layout) -> Tables:
    """The arrays of a graph. O(nodes + edges), sorted."""
    owner = np.repeat(np.arange(layout.n_nodes), np.diff(layout.first_read))
    return Tables(
        first_read=layout.first_read,
        reads=layout.reads,
        first_output=layout.first_output,
        producer=layout.producer,
        first_reader=offsets(np.bincount(layout.reads, minlength=layout.n_tensors)),
        readers=np.sort(layout.reads * layout.n_nodes + owner) % max(layout.n_nodes, 1),
        storage=layout.storage,
        first_on=offsets(np.bincount(layout.storage, minlength=layout.n_tensors)),
        on=np.argsort(layout.storage, kind="stable"),
        memory=layout.memory,
        extra=layout.new_memory + layout.workspace,
        share=layout.memory / max(int(layout.memory.max(initial=0)), 1),
        compute=layout.compute / (float(layout.compute.sum()) or 1.0),
        may_repeat=layout.recomputable,
        stays=layout.resident,
        is_output=layout.is_output,
    )


class Base(NamedTuple):
    """The runs that are followed.

    Attributes
    ----------
    runs
        Shape (r,): node numbers.
    first_event, events
        CSR: when each tensor is read or written, ascending: 2·place + (1 where it is
        written). Outputs are read at place r.
    clock
        Shape (r + 1,): compute up to each place.
    place
        Shape (n,): where each node runs first.
    """

    runs: Ints
    first_event: Ints
    events: Ints
    clock: Floats
    place: Ints


def base_of(tables: Tables, runs: Ints) -> Base:
    """When everything is used in an order of runs. O(runs + reads)."""
    first, events = _list_events(tables, runs)
    clock = np.append(0.0, np.cumsum(tables.compute[runs]))
    place = np.full(len(tables.may_repeat), len(runs))
    nodes, at = np.unique(runs, return_index=True)
    place[nodes] = at
    return Base(runs, first, events, clock, place)


@jit
def _list_events(tables: Tables, runs: Ints) -> tuple[Ints, Ints]:
    tensors = len(tables.producer)
    first = np.zeros(tensors + 2, np.int64)
    for t in range(tensors):
        first[t + 2] += tables.is_output[t]
    for v in runs:
        for i in range(tables.first_read[v], tables.first_read[v + 1]):
            first[tables.reads[i] + 2] += 1
        for t in range(tables.first_output[v], tables.first_output[v + 1]):
            first[t + 2] += 1
    first = np.cumsum(first)  # first[t + 1] is where the next event of t goes
    events = np.empty(first[-1], np.int64)
    for at in range(len(runs)):
        v = runs[at]
        for i in range(tables.first_read[v], tables.first_read[v + 1]):
            t = tables.reads[i]
            events[first[t + 1]] = 2 * at
            first[t + 1] += 1
        for t in range(tables.first_output[v], tables.first_output[v + 1]):
            events[first[t + 1]] = 2 * at + 1
            first[t + 1] += 1
    for t in range(tensors):
        if tables.is_output[t]:
            events[first[t + 1]] = 2 * len(runs)
            first[t + 1] += 1
    return first[:-1], events


class State(NamedTuple):
    """What is live, and what is known about it.

    Attributes
    ----------
    live, pins, wants, next_event
        Shape (m,): whether a tensor is live, how many runs wait for it with all that they
        read held, how many more will read it soon, and the place in `Base.events` of its
        next use.
    on_it
        Shape (m,): how many live tensors are on a storage.
    ran, planned, blocked, is_deep
        Shape (n,): whether a node has run; whether it is about to, for what is made now;
        whether it can't again, because something that it needs is gone for good; whether
        running it again takes more than is looked at, as far as is known.
    made
        The runs made so far, with room for as many as there may be.
    waiting, cursor
        Runs that wait for others, each for the next, and for which of their reads.
    stack, seen
        Room for walks over the graph.
    numbers
        Counters, see `AT` and others.
    """

    live: Bools
    pins: Ints
    wants: Ints
    next_event: Ints
    on_it: Ints
    ran: Bools
    planned: Bools
    blocked: Bools
    is_deep: Bools
    queue: Queue
    made: Ints
    waiting: Ints
    cursor: Ints
    stack: Ints
    seen: Ints
    numbers: Ints


def start(tables: Tables, base: Base, most: int) -> State:
    """The state before the first run, with room for `most` runs."""
    nodes, tensors = len(tables.may_repeat), len(tables.producer)
    state = State(
        live=np.zeros(tensors, np.bool_),
        pins=np.zeros(tensors, np.int64),
        wants=np.zeros(tensors, np.int64),
        next_event=base.first_event[:-1].copy(),
        on_it=np.zeros(tensors, np.int64),
        ran=np.zeros(nodes, np.bool_),
        planned=np.zeros(nodes, np.bool_),
        blocked=np.zeros(nodes, np.bool_),
        is_deep=np.zeros(nodes, np.bool_),
        queue=Queue.of(tensors),
        made=np.empty(most, np.int64),
        waiting=np.empty(nodes + 1, np.int64),
        cursor=np.empty(nodes + 1, np.int64),
        stack=np.empty(nodes + tensors + 1, np.int64),
        seen=np.zeros(nodes, np.int64),
        numbers=np.zeros(5, np.int64),
    )
    _bring_inputs(tables, state)
    return state


@jit
def bring(tables: Tables, state: State, t: int) -> None:
    """Tensor t is live from now on."""
    state.live[t] = True
    s = tables.storage[t]
    if state.on_it[s] == 0:
        state.numbers[USED] += tables.memory[s]
    state.on_it[s] += 1
    if tables.memory[s] > 0:
        touch(state.queue, s)


@jit
def _bring_inputs(tables: Tables, state: State) -> None:
    for t in range(len(tables.producer)):
        if tables.producer[t] < 0:
            bring(tables, state, t)


@jit
def drop(tables: Tables, state: State, t: int) -> None:
    """Let go of tensor t."""
    state.live[t] = False
    s = tables.storage[t]
    state.on_it[s] -= 1
    if state.on_it[s] == 0:
        state.numbers[USED] -= tables.memory[s]
        remove(state.queue, s)
    if not can_make(tables, state, tables.producer[t]):
        _block_readers(tables, state, t)


@jit
def can_make(tables: Tables, state: State, v: int) -> bool:
    """Whether node v, which ran before, can run again, with all that this takes."""
    return v >= 0 and tables.may_repeat[v] and not state.blocked[v]


@jit
def _block_readers(tables: Tables, state: State, lost: int) -> None:
    """A tensor is gone for good: so is what follows from it and isn't live."""
    stack = state.stack
    stack[0] = lost
    n = 1
    while n > 0:
        n -= 1
        t = stack[n]
        for i in range(tables.first_reader[t], tables.first_reader[t + 1]):
            v = tables.readers[i]
            if state.blocked[v]:
                continue
            state.blocked[v] = True
            for out in range(tables.first_output[v], tables.first_output[v + 1]):
                if not state.live[out]:
                    stack[n] = out
                    n += 1
