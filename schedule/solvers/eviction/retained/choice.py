"""What is retained: given up one after the other, until the rest fits; compiled."""

from __future__ import annotations

import numpy as np

from schedule.layout import Bools, Floats, Ints, offsets, spread
from schedule.solvers.contract import Deadline
from schedule.solvers.kit.compiled import jit, part
from schedule.solvers.kit.structs import Struct
from schedule.solvers.program.contraction import as_rows
from schedule.solvers.program.operations import Operations

#: Steps in which results are given up: few enough for large graphs.
_STEPS = 1_000
#: About the seconds that a step takes for each read.
_SECONDS_A_READ = 1e-8


class Positions(Struct):
    """Inputs, then what runs in its order: p positions, r resources.

    Attributes
    ----------
    first_read, reads
        CSR: the positions whose results each one reads; `weigh` puts them in the order in
        which they are recomputed.
    first_use, uses, first_write, writes
        CSR: the resources that each position reads and writes.
    size, writer, last
        Shape (r,): memory of a resource, the position that writes it (−1: none), and the
        last one where it is live whoever reads it.
    own, needs
        Shape (p,): memory of what each position writes, and of its run beside what it reads.
    cost
        Shape (p,): compute, a little even where it takes none: runs count, too.
    may_repeat
        Shape (p,): whether its results may be given up, and it may run again.
    inputs
        How many positions are inputs.
    """

    first_read: Ints
    reads: Ints
    first_use: Ints
    uses: Ints
    first_write: Ints
    writes: Ints
    size: Ints
    writer: Ints
    last: Ints
    own: Ints
    needs: Ints
    cost: Floats
    may_repeat: Bools
    inputs: int


class Weights(Struct):
    """What follows from what is retained.

    Attributes
    ----------
    given_up
        Shape (p,): whether results are recomputed for each of their readers.
    restoring, space
        Shape (p,): compute that a run takes together with what it recomputes, and the memory
        that they need beside what is retained.
    runs, asked
        Shape (p,): how often a position runs; how often its readers do.
    end
        Shape (r,): the last position at which a resource is read, also by reruns.
    """

    given_up: Bools
    restoring: Floats
    space: Ints
    runs: Floats
    asked: Floats
    end: Ints


def positions_of(operations: Operations, sequence: Ints) -> Positions:
    """The inputs, and the positions of a sequence."""
    o, n = operations, len(operations.nodes)
    given = np.flatnonzero(o.producer < 0)
    inputs = len(given)
    total = inputs + len(sequence)
    position = np.full(n, -1, np.int64)
    position[sequence] = np.arange(inputs, total)
    writer = np.append(position, -1)[o.producer]
    writer[given] = np.arange(inputs)
    at, reader = spread(o.first_read, sequence)
    first_use, uses = as_rows(reader + inputs, o.reads[at], total)
    row = np.repeat(np.arange(total), np.diff(first_use))
    first_read, reads = as_rows(row, writer[uses], total)
    known = np.flatnonzero(writer >= 0)
    first_write, writes = as_rows(writer[known], known, total)
    own = np.zeros(total, np.int64)
    np.add.at(own, writer[known], o.size[known])
    must_stay = np.zeros(total, np.bool_)
    must_stay[writer[known[o.kept[known]]]] = True
    may_repeat = np.append(np.zeros(inputs, np.bool_), o.may_repeat[sequence])
    return Positions(
        first_read=first_read,
        reads=reads,
        first_use=first_use,
        uses=uses,
        first_write=first_write,
        writes=writes,
        size=o.size,
        writer=writer,
        last=np.where(o.kept, total, np.maximum(writer, inputs - 1)),  # inputs are live at first
        own=own,
        needs=np.append(own[:inputs], o.extra[sequence]),
        cost=np.maximum(np.append(np.zeros(inputs), o.cost[sequence]), 1e-6 / max(total, 1)),
        may_repeat=may_repeat & ~must_stay & (own > 0),
        inputs=inputs,
    )


def retain(positions: Positions, capacity: int, deadline: Deadline) -> Weights | None:
    """Give results up until the rest fits; None: no more can be given up, or out of time."""
    n, writer = len(positions.own), positions.writer
    weights = Weights(
        given_up=np.zeros(n, np.bool_),
        restoring=np.zeros(n),
        space=np.zeros(n, np.int64),
        runs=np.zeros(n),
        asked=np.zeros(n),
        end=np.zeros(len(writer), np.int64),
    )
    at_once = -(-n // _STEPS)
    while not deadline.passed:
        deadline.work -= len(positions.reads)
        deadline.spend(_SECONDS_A_READ * len(positions.reads))
        weights.end[:] = positions.last
        _weigh(positions, weights)
        at = np.flatnonzero((writer >= 0) & ~weights.given_up[writer])
        held = np.zeros(n + 2, np.int64)
        np.add.at(held, writer[at] + 1, positions.size[at])
        np.add.at(held, weights.end[at] + 1, -positions.size[at])
        exceeded = np.cumsum(held)[:n] + weights.space > capacity
        if not exceeded.any():
            return weights
        before = offsets(exceeded.astype(np.int64))
        price = _prices(positions, weights, before)
        if not np.isfinite(price).any():  # only several at once would free anything
            price = _prices(positions, weights, before, alone=False)
        next_ = np.argpartition(price, min(at_once, n - 1))[:at_once]
        next_ = next_[np.isfinite(price[next_])]
        if not len(next_):
            return None
        weights.given_up[next_] = True
    return None


@jit
def _weigh(positions: Positions, weights: Weights) -> None:
    """Work out `weights` from what is given up; what needs most beyond its result is first."""
    p, w = positions, weights
    n = len(p.own)
    for v in range(n):
        first, end = p.first_read[v], p.first_read[v + 1]
        for i in range(first + 1, end):  # few are read, and they are mostly in order already
            u, at = p.reads[i], i
            while at > first and _excess(p, w, p.reads[at - 1]) < _excess(p, w, u):
                p.reads[at] = p.reads[at - 1]
                at -= 1
            p.reads[at] = u
        restoring, held, space = p.cost[v], 0, 0
        for i in range(first, end):
            u = p.reads[i]
            if w.given_up[u]:
                restoring += w.restoring[u]
                space = max(space, held + w.space[u])
                held += p.own[u]
        w.restoring[v], w.space[v] = restoring, max(space, held + p.needs[v])
        w.runs[v], w.asked[v] = 1.0, 0.0
    for v in range(n - 1, -1, -1):
        last = v
        if w.given_up[v]:
            w.runs[v] += w.asked[v]
            last = _last_use(p, w, v)
        for i in range(p.first_read[v], p.first_read[v + 1]):
            w.asked[p.reads[i]] += w.runs[v]
        for i in range(p.first_use[v], p.first_use[v + 1]):
            w.end[p.uses[i]] = max(w.end[p.uses[i]], last)


@part
def _last_use(positions: Positions, weights: Weights, v: int) -> int:
    """The last position at which a result of v is read, v where none is."""
    last = v
    for i in range(positions.first_write[v], positions.first_write[v + 1]):
        last = max(last, weights.end[positions.writes[i]])
    return last


@part
def _excess(positions: Positions, weights: Weights, v: int) -> int:
    """What restoring a result needs beyond itself; less than nothing for what is retained."""
    excess: int = weights.space[v] - positions.own[v] if weights.given_up[v] else -1
    return excess


def _prices(positions: Positions, weights: Weights, exceeded: Ints, alone: bool = True) -> Floats:
    """Shape (p,): compute added for memory freed where it is exceeded; infinite: none would be.

    `exceeded`: shape (p + 1,), the number of positions before each where memory is exceeded.
    `alone`: what is read longer then counts against it, as if nothing else were given up.
    """
    price = np.full(len(positions.own), np.inf)
    _fill_prices(positions, weights, exceeded, alone, price)
    return price


@jit
def _fill_prices(
    positions: Positions, weights: Weights, exceeded: Ints, alone: bool, price: Floats
) -> None:
    p, w = positions, weights
    n = len(p.own)
    for v in range(n):
        if w.given_up[v] or not p.may_repeat[v]:
            continue
        last, freed = _last_use(p, w, v), 0.0
        for i in range(p.first_write[v], p.first_write[v + 1]):
            r = p.writes[i]
            # Not while it is written nor at its last read: there it is live all the same.
            freed += p.size[r] * (exceeded[w.end[r]] - exceeded[min(v + 1, w.end[r])])
        for i in range(p.first_use[v], p.first_use[v + 1]):
            r = p.uses[i]
            if alone and not w.given_up[p.writer[r]] and w.end[r] < last:
                # What it reads is read longer.
                freed -= p.size[r] * (exceeded[last + 1] - exceeded[w.end[r] + 1])
        if freed > 0:
            price[v] = w.asked[v] * w.restoring[v] / freed
