"""Copies for which a level has no room go one further down: from a host to a disk."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from schedule.graph import Graph
from schedule.layout import Ints, Layout
from schedule.levels import Level
from schedule.memory import simulate
from schedule.steps import transfer_of

#: Kinds of steps, as `transfer_of` has them.
_OFFLOAD, _PREFETCH, _DROP = range(3)


def spilled(graph: Graph, codes: Ints, levels: Sequence[Level]) -> Ints | None:
    """The same steps, with copies further down where a level is full; None: all are.

    What has to go is what is fetched last (Belady 1966, doi:10.1147/sj.52.0078). It is copied
    down as soon as it is there, lets go of its place when that is needed, and is copied up
    again right before it is fetched. O(steps · copies).
    """
    for number in range(1, len(levels)):
        found = _Level(graph.layout, number, levels[number - 1].capacity).spill(codes)
        if found is None:
            return None
        codes = found
    peaks = simulate(graph, codes, levels).peaks_below
    return codes if all(map(int.__le__, peaks, (each.capacity for each in levels))) else None


class _Level:
    """A level that has a level below it: what is on both, after the steps so far."""

    def __init__(self, layout: Layout, number: int, capacity: int) -> None:
        self.layout, self.number, self.left = layout, number, capacity
        self.here: dict[int, int] = {}  # the step, of those written so far, that copied it here
        self.below: set[int] = set()
        self.fetches: dict[int, list[int]] = defaultdict(list)  # the next one last
        self.found: list[int] = []
        self.after: dict[int, list[int]] = defaultdict(list)

    def spill(self, codes: Ints) -> Ints | None:
        """The steps, with those that they need for the level below; None: there is no room."""
        steps = [transfer_of(self.layout, code) if code < 0 else None for code in codes.tolist()]
        for at in reversed(range(len(steps))):
            step = steps[at]
            if step is not None and step[1:] == (self.number, _PREFETCH):
                self.fetches[step[0]].append(at)
        for code, step in zip(codes.tolist(), steps):
            if step is None or step[1] != self.number:
                self.found.append(code)
            elif not self._copy(code, step[0], step[2]):
                return None
        longer = [[code, *self.after.get(at, ())] for at, code in enumerate(self.found)]
        return np.array([code for each in longer for code in each], np.int64)

    def _copy(self, code: int, t: int, kind: int) -> bool:
        """A step from or to this level; False: there is no room for it."""
        if kind == _DROP:
            if t in self.here:
                self._let_go(t)
            if t in self.below:
                self.below.remove(t)
                self.found.append(self._code(t, self.number + 1, _DROP))
            return True
        if t not in self.here:
            if not self._make_room(t):
                return False
            if kind == _PREFETCH:
                self._bring(t, self._code(t, self.number + 1, _PREFETCH))
            else:
                self._bring(t, code)
        if kind == _PREFETCH:
            self.fetches[t].pop()
            self.found.append(code)
        return True

    def _bring(self, t: int, code: int) -> None:
        self.here[t] = len(self.found)
        self.left -= int(self.layout.memory[t])
        self.found.append(code)

    def _let_go(self, t: int) -> None:
        del self.here[t]
        self.left += int(self.layout.memory[t])
        self.found.append(self._code(t, self.number, _DROP))

    def _make_room(self, t: int) -> bool:
        """Let go of what is fetched last, until there is room for a tensor."""
        while self.layout.memory[t] > self.left:
            others = [other for other in self.here if self.layout.memory[other] > 0]
            if not others:
                return False
            last = max(others, key=self._next_fetch)
            if last not in self.below:
                self.below.add(last)
                self.after[self.here[last]].append(self._code(last, self.number + 1, _OFFLOAD))
            self._let_go(last)
        return True

    def _next_fetch(self, t: int) -> float:
        """The step that fetches a tensor next; infinite: none does."""
        return self.fetches[t][-1] if self.fetches[t] else math.inf

    def _code(self, t: int, level: int, kind: int) -> int:
        return ~(t + (3 * (level - 1) + 1 + kind) * self.layout.n_tensors)
