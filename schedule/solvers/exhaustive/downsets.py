"""Exact search for the order of least peak that runs every node once.

The memory in use follows from which nodes have run, in whatever order they did:
a state is that set. The search goes backwards, from all nodes to none, along the
way whose largest memory in use is least. A graph's end narrows the choice more
often than its start: a run undone asks for what it reads, while many nodes that
read nothing could all run first.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from itertools import count
from typing import NamedTuple

import numpy as np

from schedule.graph import Graph
from schedule.layout import Ints, mask_of
from schedule.solvers.contract import Deadline
from schedule.solvers.exhaustive.masks import bits

#: Limits of a search, about two seconds: runs that it undoes, and the same times the nodes.
_MOST_RUNS = 200_000
_MOST_NODES = 200_000_000
#: How often a search asks whether to stop, in states.
_OFTEN = 64
#: About the seconds that looking at a run takes.
_SECONDS_A_RUN = 5e-6


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found, and what it proved.

    Attributes
    ----------
    runs
        Shape (needed nodes,): an order of least peak; None: the search gave up.
    needed
        No order has a lower peak.
    """

    runs: Ints | None
    needed: int


def least_peak(graph: Graph, floor: int, deadline: Deadline | None = None) -> Found:
    """The order of least peak, where there are few enough sets of nodes that can have run.

    Parameters
    ----------
    graph
        Any graph; nodes that no output needs never run.
    floor
        A peak that no order beats, or below which nothing is of interest.
    deadline
        When to give up, at the latest.

    Returns
    -------
    Found
        `needed` is the peak of the runs, or the floor where that is more.

    Notes
    -----
    Best-first search for the path whose largest memory is least, exponential in
    how many nodes are independent of each other. Given up after a number of
    runs, or at the deadline.

    Examples
    --------
    >>> from schedule import example
    >>> least_peak(example("diamonds"), 0).needed
    30
    """
    nodes = int(graph.layout.needed.sum())
    if nodes > _MOST_NODES // max(nodes, 1):
        return Found(None, floor)  # it would have to give up before it has undone each run once
    try:
        return _Search(graph, deadline or Deadline()).run(floor)
    except _StoppedError:
        return Found(None, floor)


class _StoppedError(Exception):
    """There is no time to begin."""


class _Item(NamedTuple):
    """A state in the queue; the first three fields rank it.

    Attributes
    ----------
    price
        The largest memory in use from there on.
    left, serial
        How many nodes ran; a number of its own.
    done, last, memory
        Masks of the nodes that ran and of those that can have been the last;
        memory in use.
    """

    price: int
    left: int
    serial: int
    done: int
    last: int
    memory: int


class _Search:
    """Needed nodes by their index among them, storages as masks of the nodes that read them."""

    def __init__(self, graph: Graph, deadline: Deadline) -> None:
        self._deadline, layout = deadline, graph.layout
        self._numbers = np.flatnonzero(layout.needed)
        numbers = self._numbers.tolist()
        index = {v: i for i, v in enumerate(numbers)}
        owner, writers = layout.storage.tolist(), layout.producer.tolist()
        memory = layout.memory.tolist()
        self._before: list[int] = []
        self._after = [0] * len(numbers)
        readers: dict[int, int] = {}
        for i, v in enumerate(numbers):
            if i % _OFTEN == 0 and deadline.passed:
                raise _StoppedError
            for s in {owner[t] for t in layout.reads_of[v]}:
                readers[s] = readers.get(s, 0) | 1 << i
            before = {writers[t] for t in layout.reads_of[v]} - {-1}
            self._before.append(mask_of(index[u] for u in before))
            for j in bits(self._before[i]):
                self._after[j] |= 1 << i
        kept = layout.resident.copy()
        kept[layout.storage[layout.is_output]] = True
        stays = set(np.flatnonzero(kept).tolist())
        self._at_end = int(layout.memory[kept].sum())
        self._at_start = int(layout.memory[: layout.n_inputs].sum())
        self._run_memory: list[int] = layout.run_memory[self._numbers].tolist()
        # What a run leaves live, unless nothing reads it; what is freed after the last reader.
        self._left = [
            sum(memory[t] for t in layout.outputs_of[v] if t in stays or t in readers)
            for v in numbers
        ]
        self._read = [
            [(readers[s], memory[s]) for s in {owner[t] for t in layout.reads_of[v]} - stays]
            for v in numbers
        ]
        self._from: dict[int, int] = {}
        self._price: dict[int, int] = {}
        self._serial = count()
        self._queue: list[_Item] = []

    def run(self, floor: int) -> Found:
        """Expand the states of least price; among equals, those nearest to the start."""
        nodes = len(self._numbers)
        self._runs_left = min(_MOST_RUNS, _MOST_NODES // max(nodes, 1))
        last = mask_of(i for i, after in enumerate(self._after) if not after)
        price = max(floor, self._at_start, self._at_end)
        self._push(price, (1 << nodes) - 1, last, self._at_end)
        looked = 0
        while True:
            item = heapq.heappop(self._queue)
            if item.price > self._price[item.done]:
                continue  # reached with less since
            if not item.done:
                return Found(self._order(), item.price)
            looked += 1
            if self._runs_left <= 0 or (looked % _OFTEN == 0 and self._deadline.passed):
                return Found(None, item.price)
            before = self._runs_left
            self._expand(item)
            self._deadline.spend(_SECONDS_A_RUN * (before - self._runs_left))

    def _push(self, price: int, done: int, last: int, memory: int) -> None:
        self._price[done] = price
        item = _Item(price, done.bit_count(), next(self._serial), done, last, memory)
        heapq.heappush(self._queue, item)

    def _expand(self, item: _Item) -> None:
        """Put the states before this one into the queue; only one where no other is better.

        Where a run fits and no more memory is in use before it than after it, let it be the
        last. For take any way from here on, which undoes it later, and undo it now instead:
        by then others have asked for some of what it reads, so that undoing it adds no more
        than now, which is nothing. So no state on the way has more memory in use.
        """
        moves = []
        for i in bits(item.last):
            self._runs_left -= 1
            before = item.memory - self._left[i]
            before += sum(size for readers, size in self._read[i] if not readers & ~item.done)
            moves.append((max(item.price, before + self._run_memory[i]), i, before))
            if before <= item.memory and before + self._run_memory[i] <= item.price:
                moves = moves[-1:]
                break
        for price, i, before in moves:
            done = item.done ^ 1 << i
            if price < self._price.get(done, price + 1):
                self._from[done] = i
                last = item.last ^ 1 << i
                for j in bits(self._before[i]):
                    if not self._after[j] & done:
                        last |= 1 << j
                self._push(price, done, last, before)

    def _order(self) -> Ints:
        """The runs of the way that was found, from the start."""
        done, order = 0, []
        while done in self._from:
            order.append(self._from[done])
            done |= 1 << order[-1]
        return self._numbers[np.array(order, np.int64)]
