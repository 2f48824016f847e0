"""The dynamic programs over a chain of layers: least memory, and least compute within some."""

from __future__ import annotations

import math

import numpy as np

from schedule.layout import Floats, Ints
from schedule.solvers.classics.layers.measuring import Demands
from schedule.solvers.classics.layers.runs import Choice, Task
from schedule.solvers.contract import Deadline

#: About the seconds that a task takes, and each number of slots in it.
_SECONDS_A_TASK, _SECONDS_A_SLOT = 3e-5, 2e-8


class LeastMemory:
    """The least budget with which a chain of layers can be brought forward and back.

    O(n³) for n layers, vectorised over where to advance to. There is no slot and
    no rounding in it.
    """

    def __init__(self, demands: Demands) -> None:
        self._demands, n = demands, demands.n_layers
        self._need = np.zeros((2, n, n), np.int64)
        for task in demands.tasks():
            self._need[int(task.owned), task.start, task.end] = self._ways(task).min()

    @property
    def budget(self) -> int:
        """That least budget, as far as the measures say."""
        return int(self._need[1, 0, -1])

    def _ways(self, task: Task) -> Ints:
        """Shape (1 + end − start,): what it takes to keep the first layer, and each advance."""
        (s, t, owned), demands = task, self._demands
        keep = demands.keep(task)
        if s < t:
            inner = demands.inner(task)
            within = self._need[int(inner.owned), inner.start, inner.end]
            keep = max(keep, int(within) + demands.held(task))
        behind = self._need[1, s + 1 : t + 1, t] + demands.size[s]
        advances = np.maximum(behind, self._need[int(owned), s, s:t])
        return np.array([keep, *np.maximum(advances, demands.advance(task))])

    def choose(self, task: Task, memory: int) -> Choice:
        """What takes the least memory."""
        best = int(self._ways(task).argmin())
        return Choice(task.start + best if best else None, 0, 0)


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
        The most slots that the budget is divided into, less what is always live.
    deadline
        When to give up.

    Notes
    -----
    O(n³ · slots) for n layers, vectorised over slots and over where to advance to,
    and O(n² · slots) memory.
    """

    def __init__(self, demands: Demands, budget: int, slots: int, deadline: Deadline) -> None:
        self._demands, n = demands, demands.n_layers
        tasks = demands.tasks()
        self._set_slots(tasks, budget, slots)
        self._cost = np.full((2, n, n, self._slots), np.inf)
        # Compute of advancing over all layers before each.
        self._advanced = np.pad(np.cumsum(demands.advance_compute, axis=1), ((0, 0), (1, 0)))
        self._all, self._last = demands.all_compute, demands.last_compute
        #: Whether the time was enough for all of it.
        self.complete = True
        for task in tasks:
            if task.start == task.end and deadline.passed:
                self.complete = False
                return
            self._fill(task)
            deadline.spend(_SECONDS_A_TASK + _SECONDS_A_SLOT * self._slots)

    def _set_slots(self, tasks: list[Task], budget: int, slots: int) -> None:
        """Slot i stands for the memory lowest + i · unit, the budget for one of them."""
        demands = self._demands
        # By these, the memory of a task and of one that it leads to may differ.
        held = {(task.start, demands.held(task)) for task in tasks if task.start < task.end}
        # Below that, no task can be finished: it keeps its first layer in the end.
        least = min(map(demands.keep, tasks))
        span = max(budget - least, 0)
        unit = math.gcd(*demands.size, *(each for _, each in held))
        if unit == 0 or span // unit > slots:
            unit = max(1, -(-span // slots))
        self._unit, self._lowest = unit, least + span % unit
        self.budget = span // unit
        # Where a layer's run leaves less in use than before, the next has more.
        gain = -sum(min(0, each) for _, each in held) // unit
        self._slots = self.budget + min(gain, slots) + 1

    def _shift(self, memory: int) -> int:
        """By how many slots something held is counted."""
        return -(-memory // self._unit)

    def _from(self, memory: Ints | int) -> Ints:
        """The first slot with at least this memory."""
        return np.clip(-((self._lowest - memory) // self._unit), 0, self._slots)

    @property
    def fits(self) -> bool:
        """Whether there is a plan within the budget."""
        return self.complete and bool(np.isfinite(self._cost[1, 0, -1, self.budget]))

    def _fill(self, task: Task) -> None:
        self._cost[int(task.owned), task.start, task.end] = self._ways(task, 0, self._slots).min(0)

    def _ways(self, task: Task, low: int, high: int) -> Floats:
        """What it costs to keep the first layer, and each advance, with the slots low … high − 1.

        Shape (1 + end − start, high − low); infinite where it doesn't fit.
        """
        (s, t, owned), demands = task, self._demands
        first = int(demands.is_first(task))
        cost = np.empty((1 + t - s, high - low))
        cost[0] = np.inf
        start = int(self._from(demands.keep(task)))
        if s == t:
            cost[0, max(start - low, 0) :] = self._last[first, s]
            return cost
        inner, held = demands.inner(task), self._shift(demands.held(task))
        slots = np.arange(max(start, held, low), high)
        behind = self._cost[int(inner.owned), inner.start, inner.end]
        behind = behind[np.minimum(slots - held, self._slots - 1)]
        cost[0, slots - low] = self._all[first, s] + behind
        skipped = self._shift(demands.size[s])
        begin = min(max(low, skipped), high)
        behind = self._cost[1, s + 1 : t + 1, t, begin - skipped : high - skipped]
        before = self._cost[int(owned), s, s:t, begin:high]
        np.add(behind, before, out=cost[1:, begin - low :])
        cost[1:, begin - low :] += (
            self._advanced[first, s + 1 : t + 1, None] - self._advanced[first, s]
        )
        cost[1:, : begin - low] = np.inf
        least = self._from(demands.advance(task))
        for k in np.flatnonzero(least > begin).tolist():
            cost[k + 1, : least[k] - low] = np.inf
        return cost

    def choose(self, task: Task, memory: int) -> Choice:
        """What takes the least compute with the memory of a slot."""
        best = int(self._ways(task, memory, memory + 1)[:, 0].argmin())
        if best:
            skipped = self._shift(self._demands.size[task.start])
            return Choice(task.start + best, memory - skipped, memory)
        if task.start == task.end:
            return Choice(None, 0, 0)
        held = self._shift(self._demands.held(task))
        return Choice(None, min(memory - held, self._slots - 1), 0)
