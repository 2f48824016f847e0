"""Sequences of lower sets: Kusumoto et al.'s formulas, and the dynamic program over them.

Kusumoto, Inoue, Watanabe, Akiba, Koyama, "A graph theoretic framework of
recomputation algorithms for memory-efficient backpropagation", NeurIPS 2019
(arXiv:1905.11722). In formulas, M and T are memory and compute of a set of
vertices, δ⁺ its readers, δ⁻ what it reads, and ∂L those in L that others read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from schedule.layout import Bools, Floats, Ints, mask_of, spread

#: Tolerance for rounding: sums of sizes are floating-point numbers, exact up to 2⁵³.
_ROUNDING = 1 + 1e-12
#: A front of F sets has at most `_WORK` / F² entries, but `_LEAST_ENTRIES` at least.
_WORK = 1 << 23
_LEAST_ENTRIES = 16
#: Sets in the family times vertices, at most.
_MOST_CELLS = 1 << 23

Objective = Literal["time", "memory"]


@dataclass(frozen=True)
class Dag:
    """What the paper's formulas need of a forward graph with n vertices, in topological order.

    Attributes
    ----------
    memory, compute
        Shape (n,): size of what a vertex writes, and the cost to run it.
    reads
        For each vertex, the vertices that it reads from.
    """

    memory: Floats
    compute: Floats
    reads: Sequence[Sequence[int]]

    @cached_property
    def readers(self) -> list[list[int]]:
        """For each vertex, the vertices that read from it."""
        readers: list[list[int]] = [[] for _ in self.reads]
        for v, reads in enumerate(self.reads):
            for u in reads:
                readers[u].append(v)
        return readers


class Family:
    """Lower sets of a dag, ascending by size, the empty one and the whole among them.

    Parameters
    ----------
    dag
        The vertices.
    most
        All lower sets where they are no more than this many; else those that
        are all ancestors of one vertex and itself: of all vertices, or of this
        many, evenly spread.

    Attributes
    ----------
    exact
        Whether it is all of them.
    inside
        Shape (F, n): what is in each set.
    time, kept, need
        Shape (F, F), for L = row, L′ = column, L ⊂ L′: what the step from L to
        L′ adds to the overhead, T(L′ ∖ L ∖ ∂L′), and to what is kept,
        M(∂L′ ∖ L); and what it needs beside that, 2·M(L′ ∖ L) +
        M(δ⁺(L′) ∖ L′) + M(δ⁻(δ⁺(L′)) ∖ L′).
    follows
        Shape (F, F): whether L ⊂ L′.
    """

    def __init__(self, dag: Dag, most: int) -> None:
        self.dag = dag
        n = len(dag.reads)
        sets = _all_lower_sets(dag, most) if n < most else None
        self.exact = sets is not None
        self.inside = _bits(sets, n) if sets is not None else _ancestors(dag, most)
        self._set_steps()
        self._entries = max(_WORK // len(self.inside) ** 2, _LEAST_ENTRIES)

    def _set_steps(self) -> None:
        dag, inside = self.dag, self.inside
        boundary, beside = np.zeros((2, *inside.shape), dtype=bool)
        for v, readers in enumerate(dag.readers):
            boundary[:, v] = inside[:, v] & ~inside[:, readers].all(axis=1)
        after = np.zeros_like(inside)
        for v, reads in enumerate(dag.reads):
            after[:, v] = inside[:, reads].any(axis=1) & ~inside[:, v]
        for v, readers in enumerate(dag.readers):
            beside[:, v] = after[:, readers].any(axis=1) & ~inside[:, v]
        within, at_boundary = inside.astype(np.float64), boundary.astype(np.float64)
        size = within.sum(axis=1)
        self.follows: Bools = (within @ within.T == size[:, None]) & (size[:, None] < size)
        memory, compute = within * dag.memory, within * dag.compute
        self.kept: Floats = at_boundary @ dag.memory - memory @ at_boundary.T
        held, ran = memory.sum(axis=1), compute.sum(axis=1)
        at_once = at_boundary @ dag.compute - compute @ at_boundary.T
        self.time: Floats = np.maximum(ran - ran[:, None] - at_once, 0.0)
        extra = (after.astype(np.float64) + beside) @ dag.memory
        self.need: Floats = 2 * (held - held[:, None]) + extra

    def least_budget(self) -> int:
        """The least budget within which there is a sequence. O(F² · log M(V)), vectorised."""
        low, high = -1, int(self.need[0, -1])
        while high - low > 1:
            middle = (low + high) // 2
            if self._has_sequence(middle):
                high = middle
            else:
                low = middle
        return high

    def _has_sequence(self, budget: float) -> bool:
        kept = np.full(len(self.inside), np.inf)
        kept[0] = 0.0
        for at in range(1, len(kept)):
            fits = self.follows[:, at] & (kept + self.need[:, at] <= budget * _ROUNDING)
            kept[at] = (kept[fits] + self.kept[fits, at]).min(initial=np.inf)
        return bool(np.isfinite(kept[-1]))

    def best(self, budget: float, objective: Objective) -> list[int]:
        """The sequence of least overhead (`"time"`) or of most (`"memory"`) within a budget.

        Parameters
        ----------
        budget
            By the formula for memory; at least `least_budget()`.
        objective
            What to look for.

        Returns
        -------
        list of int
            Sets L₁ ⊂ … ⊂ L_k by number, the last one the whole.
        """
        sign = 1.0 if objective == "time" else -1.0
        fronts = _Fronts(len(self.inside), self._entries)
        for at in range(1, len(self.inside)):
            sets = np.flatnonzero(
                self.follows[:, at] & (fronts.least + self.need[:, at] <= budget * _ROUNDING)
            )
            entries, owner = spread(fronts.first, sets)
            owner = sets[owner]
            kept = fronts.kept[entries]
            fits = kept + self.need[owner, at] <= budget * _ROUNDING
            entries, owner = entries[fits], owner[fits]
            time = fronts.time[entries] + sign * self.time[owner, at]
            fronts.append(at, time, kept[fits] + self.kept[owner, at], entries)
        return fronts.sequence()

    def enough(self, objective: Objective) -> float:
        """The least budget known to be as good for an objective as none at all."""
        return self.peak(self.best(np.inf, objective))

    def peak(self, sequence: Sequence[int]) -> float:
        """Memory of a sequence by the paper's formula: the largest M⁽ⁱ⁾."""
        kept = most = 0.0
        for before, after in zip([0, *sequence], sequence):
            most = max(most, kept + float(self.need[before, after]))
            kept += float(self.kept[before, after])
        return most

    def overhead(self, sequence: Sequence[int]) -> float:
        """Compute that a sequence takes more, by the paper's formula."""
        return sum(float(self.time[pair]) for pair in zip([0, *sequence], sequence))

    def part_of(self, sequence: Sequence[int]) -> Ints:
        """Shape (n,): the part of a sequence that each vertex lies in, from 0 on."""
        return np.asarray((~self.inside[list(sequence)]).sum(axis=0))


class _Fronts:
    """For each set the entries (overhead, kept memory) that no other is better than in both.

    Of more than a limit, overhead is divided into as many ranges, and of each the entry
    that keeps least stays; ranges are narrow where overhead is as wanted, wide elsewhere.
    """

    def __init__(self, sets: int, most: int) -> None:
        self._most = most
        self.first: Ints = np.zeros(sets + 1, np.int64)
        self.first[1:] = 1
        self.least: Floats = np.full(sets, np.inf)
        self.least[0] = 0.0
        self.time: Floats = np.zeros(1)
        self.kept: Floats = np.zeros(1)
        self._before: Ints = np.full(1, -1, np.int64)

    def append(self, number: int, time: Floats, kept: Floats, before: Ints) -> None:
        """Take the front of the next set from all its candidates, each with the entry before it."""
        order = np.lexsort((kept, time))
        least = np.minimum.accumulate(kept[order])
        order = order[np.diff(least, prepend=np.inf) < 0]
        if len(order) > self._most:
            order = order[self._thinned(time[order])]
        self.time = np.concatenate([self.time, time[order]])
        self.kept = np.concatenate([self.kept, kept[order]])
        self._before = np.concatenate([self._before, before[order]])
        self.first[number + 1 :] = len(self.time)
        if len(order):
            self.least[number] = kept[order[-1]]

    def _thinned(self, time: Floats) -> Ints:
        """The first entry, and the last of each range of the others; the first are the finest."""
        share = np.sqrt((time - time[0]) / (time[-1] - time[0]))
        cells = np.floor(share * (self._most - 2))
        last = np.flatnonzero(np.diff(cells, append=np.inf))
        return np.union1d(last, [0])

    def sequence(self) -> list[int]:
        """Sets on the way to the first entry of the last one."""
        entry = int(self.first[-2])
        found: list[int] = []
        while entry > 0:
            found.append(int(np.searchsorted(self.first, entry, side="right")) - 1)
            entry = int(self._before[entry])
        return found[::-1]


def _all_lower_sets(dag: Dag, most: int) -> list[int] | None:
    """All lower sets as bit masks, ascending by size; None: there are more than `most`."""
    reads = [mask_of(us) for us in dag.reads]
    found, stack = {0}, [0]
    while stack:
        mask = stack.pop()
        for v, needs in enumerate(reads):
            more = mask | 1 << v
            if needs & ~mask == 0 and more not in found:
                if len(found) == most:
                    return None
                found.add(more)
                stack.append(more)
    return sorted(found, key=lambda mask: (mask.bit_count(), mask))


def _ancestors(dag: Dag, most: int) -> Bools:
    """Shape (F, n): ∅, all ancestors of single vertices (those included), the whole; by size."""
    n = len(dag.reads)
    count = max(min(n, most - 2, _MOST_CELLS // n - 2), 0)
    leaders = np.unique(np.linspace(0, n - 1, count).round().astype(np.int64))
    leads = [0] * n  # bit k: the vertex is leader k, or an ancestor of it
    for k, v in enumerate(leaders.tolist()):
        leads[v] = 1 << k
    for v in reversed(range(n)):
        for u in dag.reads[v]:
            leads[u] |= leads[v]
    found = _bits(leads, len(leaders)).T
    found = found[np.argsort(found.sum(axis=1), kind="stable")]
    found = found[~found.all(axis=1)]
    return np.concatenate([np.zeros((1, n), bool), found, np.ones((1, n), bool)])


def _bits(masks: Sequence[int], width: int) -> Bools:
    """Shape (masks, width): their bits, the lowest first."""
    size = -(-width // 8)
    flat = np.frombuffer(b"".join(mask.to_bytes(size, "little") for mask in masks), np.uint8)
    bits = np.unpackbits(flat.reshape(len(masks), size), axis=1, count=width, bitorder="little")
    return bits.astype(bool)
