"""The dynamic programs over a chain of layers: least memory, and least compute within some."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from schedule.layout import Floats, Ints
from schedule.solvers.classics.layers.demands import Demands, Task

#: Above every sum of sizes: those stay below 2**61.
NEVER = 1 << 62


class Choice(NamedTuple):
    """How a task begins: a sweep to the layer `split`, or (None) keeping its first layer.

    `inner` and `rest` are the memory for what comes then, and for what is left
    after a sweep, in the unit of whoever chose.
    """

    split: int | None
    inner: int
    rest: int


class LeastMemory:
    """The least budget with which a chain of layers can be brought forward and back.

    O(n³) for n layers, vectorised over where to sweep to. There is no slot and
    no rounding in it.
    """

    def __init__(self, demands: Demands) -> None:
        self._demands = demands
        n = demands.n_layers
        self._need = np.zeros((2, n, n), np.int64)
        for task in demands.tasks():
            sweeps = self._sweeps(task)
            least = min(self._keep(task), int(sweeps.min(initial=NEVER)))
            self._need[int(task.owned), task.start, task.end] = least

    @property
    def budget(self) -> int:
        """That least budget, as far as the measures say."""
        return int(self._need[1, 0, -1])

    def _keep(self, task: Task) -> int:
        need = self._demands.keep(task)
        if task.start == task.end:
            return need
        inner = self._demands.inner(task)
        within = int(self._need[int(inner.owned), inner.start, inner.end])
        return max(need, within + self._demands.held(task))

    def _sweeps(self, task: Task) -> Ints:
        s, t, owned = task.start, task.end, int(task.owned)
        inner = self._need[1, s + 1 : t + 1, t] + self._demands.size[s]
        return np.maximum(np.maximum(self._demands.sweep(task), inner), self._need[owned, s, s:t])

    def choose(self, task: Task, memory: int) -> Choice:
        """What takes the least memory."""
        if task.start == task.end:
            return Choice(None, 0, 0)
        sweeps = self._sweeps(task)
        best = int(sweeps.argmin())
        if self._keep(task) <= sweeps[best]:
            return Choice(None, 0, 0)
        return Choice(task.start + 1 + best, 0, 0)


class LeastCompute:
    """The least compute of all tasks, for every amount of memory in equal slots.

    The recursion of Beaumont, Eyraud-Dubois, Herrmann, Joly and Shilova 2019
    (arXiv:1911.13214), with the memory of each layer's runs as it was
    measured. Demands are rounded up to slots and the budget is met exactly, so
    that what fits in slots fits. Where all that may be held is a multiple of one
    unit, and the budget has no more of them than there are slots, slots are that
    unit, and nothing is rounded.

    Parameters
    ----------
    demands
        What each step takes.
    budget
        In the graph's unit, at least that of `LeastMemory`.
    slots
        Into how many the budget is divided at most, less what is always there.
    stop
        Asked now and then whether to give up.

    Notes
    -----
    O(n³ · slots) for n layers, vectorised over slots and over where to sweep to,
    and O(n² · slots) memory.
    """

    def __init__(self, demands: Demands, budget: int, slots: int, stop: Callable[[], bool]) -> None:
        self._demands = demands
        n = demands.n_layers
        self._set_slots(budget, slots)
        shape = (n, n, self._slots)
        self._cost = {True: np.empty(shape), False: np.empty(shape)}
        self._ahead = np.empty(shape)  # where the input is owned, with all sweeps up to there
        # The first slot with which a task can be done, and what takes no more compute.
        self._start = np.full((2, n, n), self._slots, np.int64)
        self._least = np.zeros((n, n))
        again, first = demands.measures.again, demands.measures.first
        self._swept = [_summed(each.sweep_compute) for each in (again, first)]
        self._all: list[list[float]] = [again.all_compute.tolist(), first.all_compute.tolist()]
        self._last: list[list[float]] = [again.last_compute.tolist(), first.last_compute.tolist()]
        #: Whether there was time for all of it.
        self.complete = True
        for task in demands.tasks():
            if task.start == task.end and stop():
                self.complete = False
                return
            self._fill(task)

    def _set_slots(self, budget: int, slots: int) -> None:
        """Slot i stands for the memory lowest + i · unit, the budget for one of them."""
        holds = self._demands.holds()
        # Below that, no task can be finished: it keeps its first layer in the end.
        least = min(map(self._demands.keep, self._demands.tasks()))
        span = max(budget - least, 0)
        unit = math.gcd(*holds)
        if unit == 0 or span // unit > slots:
            unit = max(1, -(-span // slots))
        self._unit, self._lowest = unit, least + span % unit
        self.budget = span // unit
        # Where a layer's run leaves less than there was before, more is there for the next.
        gain = -sum(min(0, held) for held in holds) // unit
        self._slots = self.budget + min(gain, slots) + 1

    def _shift(self, memory: int) -> int:
        """By how many slots something held is counted."""
        return -(-memory // self._unit)

    def _from(self, memory: int) -> int:
        """The first slot with at least this memory."""
        return min(max(-((self._lowest - memory) // self._unit), 0), self._slots)

    @property
    def fits(self) -> bool:
        """Whether there is a plan within the budget."""
        return self.complete and bool(np.isfinite(self._cost[True][0, -1, self.budget]))

    def _fill(self, task: Task) -> None:
        s, t, owned = task
        row = self._cost[owned][s, t]
        self._least[s, t] = self._keep(task, row)
        if s < t:
            starts = self._sweep_starts(task)
            low = int(starts.min())
            enough = row <= self._least[s, t]
            high = int(enough.argmax()) if enough[-1] else self._slots
            if low < high:
                best = self._sweeps(task, starts, low, high).min(axis=0)
                best -= self._swept[self._demands.is_first(task)][s]
                np.minimum(row[low:high], best, out=row[low:high])
        known = np.isfinite(row)
        self._start[int(owned), s, t] = int(known.argmax()) if known[-1] else self._slots
        if owned:
            np.add(row, self._swept[self._demands.is_first(task)][s], out=self._ahead[s, t])

    def _keep(self, task: Task, row: Floats) -> float:
        """Fill the row with what it costs to keep the first layer; return the least of that."""
        s, t, _ = task
        way = self._demands.is_first(task)
        row[:] = np.inf
        start = self._from(self._demands.keep(task))
        if s == t:
            row[start:] = self._last[way][s]
            return self._last[way][s]
        inner = self._demands.inner(task)
        within = self._cost[inner.owned][inner.start, inner.end]
        shift = self._shift(self._demands.held(task))
        start = max(start, shift)
        slots = np.minimum(np.arange(start, self._slots) - shift, self._slots - 1)
        row[start:] = within[slots] + self._all[way][s]
        return float(self._least[s + 1, t]) + self._all[way][s]

    def _sweep_starts(self, task: Task) -> Ints:
        """Shape (end − start,): the first slot with which each sweep leads to a plan."""
        s, t, owned = task
        skipped = self._shift(self._demands.size[s])
        demand = -((self._lowest - self._demands.sweep(task)) // self._unit)
        inner = self._start[1, s + 1 : t + 1, t] + skipped
        return np.maximum(np.maximum(demand, inner), self._start[int(owned), s, s:t])

    def _sweeps(self, task: Task, starts: Ints, low: int, high: int) -> Floats:
        """Shape (end − start, high − low): what each sweep costs with the slots low … high − 1."""
        s, t, owned = task
        skipped = self._shift(self._demands.size[s])
        inner = self._ahead[s + 1 : t + 1, t, low - skipped : high - skipped]
        cost: Floats = inner + self._cost[owned][s, s:t, low:high]
        for k in np.flatnonzero(starts > low).tolist():
            cost[k, : starts[k] - low] = np.inf
        return cost

    def choose(self, task: Task, memory: int) -> Choice:
        """What takes the least compute with the memory of a slot."""
        s = task.start
        if s == task.end:
            return Choice(None, 0, 0)
        row = np.empty(self._slots)
        self._keep(task, row)
        starts = self._sweep_starts(task)
        if starts.min() <= memory:
            sweeps = self._sweeps(task, starts, memory, memory + 1)[:, 0]
            best = int(sweeps.argmin())
            if sweeps[best] - self._swept[self._demands.is_first(task)][s] < row[memory]:
                skipped = self._shift(self._demands.size[s])
                return Choice(s + 1 + best, memory - skipped, memory)
        held = self._shift(self._demands.held(task))
        return Choice(None, min(memory - held, self._slots - 1), 0)


def _summed(costs: Floats) -> Floats:
    """The compute of all layers before each, and of all."""
    return np.concatenate([[0.0], np.cumsum(costs)])
