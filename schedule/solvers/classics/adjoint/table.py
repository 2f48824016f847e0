"""The dynamic programs over an adjoint chain: least memory, and least compute within some."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from schedule.layout import Ints
from schedule.solvers.classics.adjoint.tasks import Choice, Needs, Task, Tasks
from schedule.solvers.contract import Deadline

#: Computes: whole numbers of 32 bits where they suffice, floats elsewhere.
Costs = npt.NDArray[Any]

#: More than any whole number that counts as a compute; twice this still has 32 bits.
_MUCH = 2**30 - 1
#: Numbers that are looked at in one go, so that they stay in a processor's cache.
_BLOCK = 2**16
#: About the seconds that a task takes, and each number of slots in it.
_SECONDS_A_TASK, _SECONDS_A_SLOT = 3e-5, 2e-8


class LeastMemory:
    """The least budget with which an adjoint chain can be taken back.

    O(n³) for n steps, O(n²) where all are alike.
    """

    def __init__(self, tasks: Tasks, deadline: Deadline) -> None:
        self._tasks, self._chain = tasks, tasks.chain
        self.needs = Needs(tasks)
        self._starting = [np.zeros(width, np.int64) for width in tasks.widths]
        self._ending = [np.zeros(width, np.int64) for width in tasks.widths]
        #: The least memory that any task takes.
        self.least = 0
        #: Whether the time was enough for all of it.
        self.complete = True
        for task in tasks:
            if deadline.passed:
                self.complete = False
                return
            need = int(self._ways(task).min())
            deadline.spend(_SECONDS_A_TASK)
            for (row, column), by_end in tasks.places(task):
                self._starting[row][column] = self._ending[by_end[0]][by_end[1]] = need
            self.least = min(need, self.least or need)

    def of(self, task: Task) -> int:
        """The least memory that a task takes."""
        row, column = self._tasks.places(task)[0][1]
        return int(self._ending[row][column])

    @property
    def budget(self) -> int:
        """That least budget."""
        return self.of(Task(0, self._chain.length))

    def _ways(self, task: Task) -> Ints:
        """What it takes to keep dependency data, and to advance to each state."""
        tasks, needs = self._tasks, self.needs
        keep, kept = needs.keep(task), tasks.kept(task)
        if kept == task.end:
            return np.array([keep])
        keep = max(keep, self.of(Task(kept, task.end)) + needs.kept(task))
        row, columns = tasks.behind(task)
        behind = self._ending[row][columns] + self._chain.state[task.start]
        row, columns = tasks.before(task)
        before = self._starting[row][columns]
        advance = np.maximum(needs.advance(task), np.maximum(before, behind))
        return np.concatenate([[keep], advance])

    def choose(self, task: Task, memory: int) -> Choice:
        """What takes the least memory."""
        best = int(self._ways(task).argmin())
        return _choice(self._tasks, task, best, 0, 0)


def _choice(tasks: Tasks, task: Task, way: int, inner: int, rest: int) -> Choice:
    """The choice of a way: 0 is to keep data, those that follow go to the states in turn."""
    if way == 0:
        return Choice(keeps=True, state=tasks.kept(task), inner=inner, rest=rest)
    states = tasks.states(task)
    state = states.start + way - 1 if isinstance(states, slice) else int(states[way - 1])
    return Choice(keeps=False, state=state, inner=inner, rest=rest)


def _unit(sizes: Ints, span: int, slots: int) -> int:
    """The size of a slot with which least is lost by rounding sizes up, and the span has so few.

    A size divides into slots without loss where a slot is one of its parts, rounded up. O(sizes
    · parts).
    """
    common = math.gcd(*sizes.tolist()) or 1
    sizes, counts = np.unique(sizes[sizes > 0] // common, return_counts=True)
    least = max(1, -(-(span // common) // max(slots - 1, 1)))
    if least == 1 or not len(sizes):
        return common * least
    found, best = least, math.inf
    for parts in range(1, int(sizes[-1]) // least + 1):
        for part in (-(-sizes // parts)).tolist():
            lost = ((-sizes % part) * counts).sum() if part >= least else math.inf
            found, best = (part, lost) if lost < best else (found, best)
    return common * found


class LeastCompute:
    """The least compute of all tasks, for every amount of memory in equal slots.

    The recursion of Maddison 2024 (doi:10.1016/j.jocs.2024.102405), with each
    step's own sizes and costs, and with memory as the model counts it while steps run. What
    is held is rounded up to slots, and the budget is one of them. Where all that may be held
    is a multiple of one unit, and there are no more of those than slots, nothing is rounded.

    Parameters
    ----------
    tasks
        The tasks of the chain.
    memory
        The least memory that they take.
    budget
        In the graph's unit.
    slots
        The most slots.
    deadline
        When to give up.

    Notes
    -----
    O(n³ · slots) time and O(n² · slots) memory for n steps, O(n² · slots) and O(n · slots)
    where all are alike; vectorised over slots and over where to advance to.
    """

    def __init__(
        self, tasks: Tasks, memory: LeastMemory, budget: int, slots: int, deadline: Deadline
    ) -> None:
        chain = tasks.chain
        self._tasks, self._chain, self._needs, self._memory = tasks, chain, memory.needs, memory
        span = max(budget - memory.least, 0)
        unit = _unit(np.concatenate([chain.dependency[1:-1], chain.state[:-1]]), span, slots)
        self._unit, self._budget = unit, budget
        self.slots = span // unit + 1
        is_whole = all(isinstance(each, int) for each in chain.compute)
        is_whole = is_whole and (chain.length + 1) * sum(chain.compute) < _MUCH
        self._much = _MUCH if is_whole else math.inf
        self._dtype: type[Any] = np.int32 if is_whole else np.float64
        self._advanced: Costs = np.cumsum(chain.compute, dtype=self._dtype)
        shapes = [(self.slots, width) for width in tasks.widths]
        # The first one with the compute of advancing from a task's start to its end.
        self._starting = [np.empty(shape, self._dtype) for shape in shapes]
        self._ending = [np.empty(shape, self._dtype) for shape in shapes]
        # The first slots with which nothing has to run twice.
        self._enough = [np.zeros(width, np.int64) for width in tasks.widths]
        #: Whether the time was enough for all of it.
        self.complete = True
        for task in tasks:
            if deadline.passed:
                self.complete = False
                return
            self._fill(task)
            deadline.spend(_SECONDS_A_TASK + _SECONDS_A_SLOT * self.slots)

    @property
    def fits(self) -> bool:
        """Whether there is a plan within the budget."""
        whole = Task(0, self._chain.length)
        return self.complete and bool(self._of(whole)[-1] < self._much)

    @property
    def of_all(self) -> int | float:
        """The least compute of all steps within the budget."""
        found: int | float = self._of(Task(0, self._chain.length))[-1].item()
        return found

    def _of(self, task: Task) -> Costs:
        row, column = self._tasks.places(task)[0][1]
        found: Costs = self._ending[row][:, column]
        return found

    def _held(self, memory: int) -> int:
        """By how many slots something held is counted."""
        return -(-memory // self._unit)

    def _from(self, memory: int) -> int:
        """The first slot with at least this memory; their number where none has."""
        return min(max(self.slots - 1 - (self._budget - memory) // self._unit, 0), self.slots)

    def _fill(self, task: Task) -> None:
        """The least of all ways, slot by slot; nothing is ever held before the first state."""
        tasks, (start, end) = self._tasks, task
        once = self._advanced[end] - self._advanced[start]
        enough, kept = self._from(self._needs.keep(task)), tasks.kept(task)
        if kept < end:
            row, column = tasks.places(Task(kept, end))[0][1]
            rest = int(self._enough[row][column])
            enough = min(max(enough, rest + self._held(self._needs.kept(task))), self.slots)
        cost = np.full(self.slots, self._much, self._dtype)
        cost[enough:] = once
        first = min(self._from(self._memory.of(task)), enough)
        within = self._advanced[tasks.states(task)] - self._advanced[start]
        rows = max(_BLOCK // (1 + len(within)), 1)
        for low in range(first if start else max(first, self.slots - 1), enough, rows):
            high = min(low + rows, enough)
            # To advance further than that takes no less than what is known with less memory.
            known = cost[low - 1] if low else self._much
            ways = 1 + int(within.searchsorted(known - once))
            np.minimum(self._ways(task, low, high, ways).min(axis=1), known, out=cost[low:high])
        for (row, column), by_end in tasks.places(task):
            self._starting[row][:, column] = np.minimum(cost + once, self._much)
            row, column = by_end
            self._ending[row][:, column] = cost
            self._enough[row][column] = enough

    def _ways(self, task: Task, low: int, high: int, ways: int) -> Costs:
        """What the first ways cost with the slots low … high − 1: to keep data, each advance.

        Shape (high − low, ways), no more than there are; at least `much` where it doesn't fit.
        """
        cost = np.empty((high - low, ways), self._dtype)
        cost[:, 0] = self._kept(task, low, high)
        if ways == 1:
            return cost
        held = self._held(int(self._chain.state[task.start]))
        begin = min(max(low, held), high)
        row, columns = self._tasks.before(task)
        before = self._starting[row][begin:high, columns]
        row, columns = self._tasks.behind(task)
        behind = self._ending[row][begin - held : high - held, columns]
        np.add(before[:, : ways - 1], behind[:, : ways - 1], out=cost[begin - low :, 1:])
        cost[: begin - low, 1:] = self._much
        need = self._needs.advance(task)[: ways - 1]  # never falls
        if self._from(int(need[-1])) > low:
            for k in np.flatnonzero(np.diff(need, prepend=-1)).tolist():
                cost[: max(self._from(int(need[k])) - low, 0), k + 1 :] = self._much
        return cost

    def _kept(self, task: Task, low: int, high: int) -> Costs:
        """The first of the ways: to keep dependency data."""
        kept = self._tasks.kept(task)
        held = self._held(self._needs.kept(task)) if kept < task.end else 0
        cost = np.full(high - low, self._much, self._dtype)
        begin = min(max(low, self._from(self._needs.keep(task)), held), high)
        cost[begin - low :] = self._advanced[kept] - self._advanced[task.start]
        if kept < task.end:
            cost[begin - low :] += self._of(Task(kept, task.end))[begin - held : high - held]
        return cost

    def choose(self, task: Task, memory: int) -> Choice:
        """What takes the least compute with the memory of a slot."""
        states = self._tasks.states(task)
        ways = 1 + len(self._advanced[states])
        best = int(self._ways(task, memory, memory + 1, ways)[0].argmin())
        held = self._needs.kept(task) if best == 0 else int(self._chain.state[task.start])
        return _choice(self._tasks, task, best, memory - self._held(held), memory)
