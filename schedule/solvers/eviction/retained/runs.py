"""Runs that recompute what isn't retained, for each of its readers; compiled."""

from __future__ import annotations

import numpy as np

from schedule.layout import Bools, Ints, offsets
from schedule.solvers.contract import Deadline
from schedule.solvers.eviction.retained.choice import Positions, Weights, positions_of, retain
from schedule.solvers.kit.compiled import jit, part
from schedule.solvers.kit.structs import Struct
from schedule.solvers.program.operations import Operations

#: About the seconds that a run takes.
_SECONDS_A_RUN = 2e-7


def runs_with_retained(
    operations: Operations, sequence: Ints, capacity: int, deadline: Deadline
) -> Ints | None:
    """A sequence that fits and follows another one, with some results retained throughout.

    What isn't retained is recomputed for each reader, from what is, depth first and
    what needs most memory first, as in a tree of which everything below a node has to
    be held (Sethi and Ullman 1970, doi:10.1145/321607.321620); its cost is a sum over
    paths, and never unbounded as that of evictions is, which may evict what the next
    one needs. Results are given up one after the other: next, the one that adds least
    compute for the memory that it frees where that is exceeded. In the end results
    stay as long as there is room, the one that is read soonest first.

    Parameters
    ----------
    operations
        The operations.
    sequence
        Shape (s,): each operation that is needed, once, in an executable order.
    capacity
        Memory that must not be exceeded, without that of what stays.
    deadline
        Ends it without a result; so does a sequence of more runs than can be checked. Its
        work are edges looked at; a million are a few milliseconds.

    Returns
    -------
    numpy.ndarray or None
        Operations; None where what a node needs at once doesn't fit in this way.

    Notes
    -----
    O(edges) for each of at most a thousand steps, and then for each run O(its reads and
    what stays).
    """
    positions = positions_of(operations, sequence)
    weights = retain(positions, capacity, deadline)
    if weights is None or weights.runs.sum() > deadline.most_runs:
        return None
    n = len(positions.own)
    found = np.empty(int(weights.runs.sum()), np.int64)
    order = np.argsort(positions.reads, kind="stable")
    first_reader = offsets(np.bincount(positions.reads, minlength=n))
    walk = _Walk(
        first_reader=first_reader,
        readers=np.repeat(np.arange(n), np.diff(positions.first_read))[order],
        next_reader=first_reader[:-1].copy(),
        live=np.zeros(n, np.bool_),
        pins=np.zeros(n, np.int64),
        idle=np.empty(n, np.int64),
        waiting=np.empty(n + 1, np.int64),
        cursor=np.empty(n + 1, np.int64),
        leaving=np.argsort(weights.end, kind="stable"),
    )
    length = _walk(positions, weights, walk, capacity, found)
    deadline.spend(_SECONDS_A_RUN * max(length, 0))
    return None if length < 0 else sequence[found[:length] - positions.inputs]


class _Walk(Struct):
    """What is live on the way.

    Attributes
    ----------
    first_reader, readers, next_reader
        CSR: who reads each result, ascending, and the next one of them that runs first.
    live, pins
        Shape (p,): whether a result is live, and how many waiting runs hold it.
    idle
        What was given up and is live as there is room.
    waiting, cursor
        Runs that wait for others, each for the next, and for which of their reads.
    leaving
        Resources by where they are read last.
    """

    first_reader: Ints
    readers: Ints
    next_reader: Ints
    live: Bools
    pins: Ints
    idle: Ints
    waiting: Ints
    cursor: Ints
    leaving: Ints


@jit
def _walk(
    positions: Positions,
    weights: Weights,
    walk: _Walk,
    capacity: int,
    found: Ints,
) -> int:
    """Write the runs into `found`; how many, or −1 where memory doesn't suffice."""
    p, given_up = positions, weights.given_up
    n, length, used, gone, idle = len(p.own), 0, 0, 0, 0
    for v in range(p.inputs):
        walk.live[v] = True
        used += p.own[v]
    for first in range(p.inputs, n):
        while gone < len(p.size) and weights.end[walk.leaving[gone]] < first:
            r = walk.leaving[gone]
            if p.writer[r] >= 0 and not given_up[p.writer[r]]:
                used -= p.size[r]
            gone += 1
        depth = 0
        walk.waiting[0], walk.cursor[0] = first, p.first_read[first]
        while depth >= 0:
            v, i = walk.waiting[depth], walk.cursor[depth]
            if i < p.first_read[v + 1]:
                u = p.reads[i]
                if walk.live[u]:
                    walk.pins[u] += 1
                    walk.cursor[depth] += 1
                else:
                    depth += 1
                    walk.waiting[depth], walk.cursor[depth] = u, p.first_read[u]
                continue
            while used + p.needs[v] > capacity:
                at = _farthest(walk, idle, first)
                if at < 0:
                    return -1
                u, walk.idle[at], idle = walk.idle[at], walk.idle[idle - 1], idle - 1
                walk.live[u] = False
                used -= p.own[u]
            found[length] = v
            length += 1
            used += p.own[v]
            walk.live[v] = True
            if given_up[v]:
                walk.idle[idle], idle = v, idle + 1
            for i in range(p.first_read[v], p.first_read[v + 1]):
                walk.pins[p.reads[i]] -= 1
            depth -= 1
    return length


@part
def _farthest(walk: _Walk, idle: int, first: int) -> int:
    """Where in `idle` the result is that nothing holds and that is read last; −1: none."""
    worst, latest = -1, -1
    for at in range(idle):
        u = walk.idle[at]
        if walk.pins[u] > 0:
            continue
        i, end = walk.next_reader[u], walk.first_reader[u + 1]
        while i < end and walk.readers[i] < first:
            i += 1
        walk.next_reader[u] = i
        reader = walk.readers[i] if i < end else len(walk.live)
        if reader > latest:
            worst, latest = at, reader
    return worst
