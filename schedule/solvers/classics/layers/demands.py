"""How much memory each step of a plan over a chain of layers takes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from schedule.layout import Ints, offsets
from schedule.solvers.classics.layers.measuring import Figures, Measures


class Task(NamedTuple):
    """Bring the layers `start` … `end` forward and back.

    The input of `start` is there. `owned`: nothing else needs it, so that it may
    be freed after its last use. All layers after `end` are done; or `end` is the
    last one, and then none of these has run yet.
    """

    start: int
    end: int
    owned: bool


class Demands:
    """The least memory with which each step of each task can be taken.

    A task either *sweeps* forward to a later layer, finishes from there on, and
    begins again; or it *keeps* what the backward nodes of its first layer read,
    finishes the others, and goes back.

    Memory is the budget less what earlier layers hold for their own backward
    nodes: the input of the task's first layer is part of it. What has to stay of
    an earlier layer's first run in case it runs again counts as part of it, too,
    so that it needn't be taken off at every sweep.
    """

    def __init__(self, measures: Measures) -> None:
        m = measures
        self.measures = m
        self.n_layers = len(m.before)
        self.size: list[int] = m.size.tolist()
        self.is_pinned: list[bool] = m.is_pinned.tolist()
        self._once: list[int] = m.once.tolist()
        staying = offsets(m.once)
        self._waiting: list[int] = (m.waiting + staying[1:]).tolist()
        self._before: list[int] = (m.before + staying[:-1]).tolist()
        self._coming_first: list[int] = (m.waiting + staying[:-1]).tolist()
        self._sweeps_first = self._sweeps(m.first, m.before + staying[:-1])
        self._sweeps_again = self._sweeps(m.again, np.zeros_like(m.before))
        self._all, self._back = _listed(m, "all"), _listed(m, "back")
        self._left = _listed(m, "left")
        self._last, self._back_last = _listed(m, "last"), _listed(m, "back_last")

    def _sweeps(self, figures: Figures, around: Ints) -> list[Ints]:
        """For each first layer, what sweeping over it and each later one takes."""
        size = self.measures.size[:-1]
        through = around + figures.sweep[1] + size
        found = []
        for s in range(self.n_layers):
            each = through[s:] + size[s]
            each[0] = around[s] + figures.sweep[0, s] + size[s]
            found.append(np.maximum.accumulate(each))
        return found

    def is_first(self, task: Task) -> bool:
        """Whether the layers of a task run for the first time."""
        return task.end == self.n_layers - 1

    def sweep(self, task: Task) -> Ints:
        """Shape (end − start,): to sweep to the layers start + 1 … end."""
        s, length = task.start, task.end - task.start
        if self.is_first(task):
            return self._sweeps_first[s][:length]
        return self._sweeps_again[s][:length] + self._waiting[task.end]

    def keep(self, task: Task) -> int:
        """To run the first layer, keeping what its backward nodes read, and to go back."""
        s, way = task.start, 2 * self.is_first(task) + task.owned
        ahead, back = self._all[way][s], self._back[way][s]
        if s == task.end:
            ahead, back = self._last[way][s], self._back_last[way][s]
        if self.is_first(task):
            going, coming = self._before[s], self._coming_first[s]
        else:
            going, coming = self._waiting[task.end], self._waiting[s]
        return max(going + ahead, coming + back) + self.size[s]

    def held(self, task: Task) -> int:
        """What the first layer keeps then while later ones run, their input apart."""
        s, way = task.start, 2 * self.is_first(task) + task.owned
        held = self.size[s] + self._left[way][s] - self.size[s + 1]
        return held - self._once[s] if self.is_first(task) else held

    def holds(self) -> list[int]:
        """Everything by which the memory of a task and of one that it leads to may differ."""
        last = self.n_layers - 1
        ends = [(s, end) for s in range(last) for end in {last, last - 1} if end > s]
        tasks = [Task(s, end, owned) for s, end in ends for owned in self._ways(s)]
        return [*self.size, *map(self.held, tasks)]

    def _ways(self, start: int) -> tuple[bool, ...]:
        """Whether a task that starts there may own its input."""
        return (True, False) if self.is_pinned[start] else (True,)

    def inner(self, task: Task) -> Task:
        """What is to be done between keeping and going back."""
        return Task(task.start + 1, task.end, not self.is_pinned[task.start + 1])

    def tasks(self) -> list[Task]:
        """All that may come up, each after those that it may leave."""
        return [
            Task(s, t, owned)
            for t in range(self.n_layers)
            for s in range(t, -1, -1)
            for owned in self._ways(s)
        ]


def _listed(measures: Measures, name: str) -> list[list[int]]:
    """A figure of runs again and first runs, for inputs that aren't owned and that are."""
    again, first = getattr(measures.again, name), getattr(measures.first, name)
    return [*again.tolist(), *first.tolist()]
