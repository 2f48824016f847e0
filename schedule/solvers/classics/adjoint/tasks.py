"""The tasks into which reversing an adjoint chain falls, and how each may begin."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from schedule.layout import Ints
from schedule.solvers.classics.adjoint.detection import AdjointChain
from schedule.solvers.contract import MOST_RUNS

#: How many groups a chain of n steps has, by √n: with fewer, plans take more compute.
_GROUPS = 3

#: Where a table has something: a row and a column.
Place = tuple[int, int]


class Task(NamedTuple):
    """Take the steps after state `start` up to step `end` back, from that state on.

    All later steps are back already; or `end` is the last step, and has not run yet.
    """

    start: int
    end: int


class Choice(NamedTuple):
    """How a task begins: by advancing to a state, or keeping the dependency data up to it.

    `inner` and `rest` are the memory for the task that follows, and for what is left after
    advancing, in the unit of whoever chose.
    """

    keeps: bool
    state: int
    inner: int
    rest: int


class Tasks:
    """All tasks of a chain, how they may begin, and where tables have their values.

    There are two tables, so that what a task may fall into lies side by side: one by where
    tasks start, one by where they end.

    Attributes
    ----------
    chain
        The chain.
    widths
        The number of columns in each row of either table.
    """

    def __init__(self, chain: AdjointChain) -> None:
        self.chain = chain
        self.widths = [chain.length + 1] * (chain.length + 1)

    def __iter__(self) -> Iterator[Task]:
        """Each task after those into which it falls."""
        length = self.chain.length
        for steps in range(1, length + 1):
            for start in range(length - steps + 1):
                yield Task(start, start + steps)

    def places(self, task: Task) -> list[tuple[Place, Place]]:
        """Where the two tables have a task's value; all places, should there be several."""
        return [(task, (task.end, task.start))]

    def kept(self, task: Task) -> int:
        """The state up to which dependency data is kept, where a task begins by that."""
        return task.start + 1

    def states(self, task: Task) -> slice | Ints:
        """The states to which it may advance, ascending."""
        return slice(task.start + 1, task.end)

    def before(self, task: Task) -> tuple[int, slice]:
        """Where the first table has the tasks from a task's start to each of these states."""
        return task.start, slice(task.start + 1, task.end)

    def behind(self, task: Task) -> tuple[int, slice]:
        """Where the second table has the tasks from each of these states to a task's end."""
        return task.end, slice(task.start + 1, task.end)


class UniformTasks(Tasks):
    """The same where all steps are alike: how many they are, and whether it is all from an end.

    Rows are tasks between other steps (0), those with the last step (1), with the first one
    (2), and the whole (3); columns are numbers of steps, in the second table those left out.
    """

    def __init__(self, chain: AdjointChain) -> None:
        super().__init__(chain)
        self.widths = [chain.length + 1] * 4

    def __iter__(self) -> Iterator[Task]:
        """One task of each kind and number of steps."""
        length = self.chain.length
        for steps in range(1, length):
            if steps < length - 1:
                yield Task(1, 1 + steps)
            yield Task(0, steps)
            yield Task(length - steps, length)
        yield Task(0, length)

    def places(self, task: Task) -> list[tuple[Place, Place]]:
        """By the kind and the number of steps."""
        length, steps = self.chain.length, task.end - task.start
        kind = 2 * (task.start == 0) + (task.end == length)
        return [((kind, steps), (kind, length - steps))]

    def before(self, task: Task) -> tuple[int, slice]:
        """Where the first table has the tasks from a task's start to each of its states."""
        return 2 * (task.start == 0), slice(1, task.end - task.start)

    def behind(self, task: Task) -> tuple[int, slice]:
        """Where the second table has the tasks from each of its states to a task's end."""
        length = self.chain.length
        return int(task.end == length), slice(length - (task.end - task.start) + 1, length)


class GroupedTasks(Tasks):
    """Some of the tasks of a long chain: those within a group of steps, and those of whole groups.

    Tasks of several groups advance to where a group begins, or keep all data of the first one.
    There are some 3 √n groups of n steps, and they begin with small states.
    Rows are states, for tasks within groups, and then groups; columns are states within a
    group, or groups. Whole groups have places among both.
    """

    def __init__(self, chain: AdjointChain) -> None:
        super().__init__(chain)
        length, state = chain.length, chain.state
        count = min(_GROUPS * math.isqrt(length), length - 1)
        ends = np.linspace(1, length, count + 1, dtype=np.int64).tolist()
        begins = [low + int(state[low:high].argmin()) for low, high in pairwise(ends)]
        self._borders = np.array([0, *begins, length])
        self._group: list[int] = (
            np.searchsorted(self._borders, np.arange(length + 1), side="right") - 1
        ).tolist()
        self._begin: list[int] = self._borders[self._group].tolist()
        self.widths = [int(np.diff(self._borders).max()) + 1] * (length + 1)
        self.widths += [len(self._borders)] * len(self._borders)

    def __iter__(self) -> Iterator[Task]:
        """Each task after those into which it falls."""
        borders = self._borders.tolist()
        for low, high in pairwise(borders):
            for steps in range(1, high - low + 1):
                for start in range(low, high - steps + 1):
                    yield Task(start, start + steps)
        for groups in range(2, len(borders)):
            for first in range(len(borders) - groups):
                yield Task(borders[first], borders[first + groups])

    def _groups(self, task: Task) -> tuple[int, int]:
        return self._group[task.start], self._group[task.end]

    def _is_within(self, task: Task) -> bool:
        """Whether a task is within a group, if not all of it."""
        first, last = self._groups(task)
        return last == first or (last == first + 1 and task.end == self._begin[task.end])

    def places(self, task: Task) -> list[tuple[Place, Place]]:
        """Among states, among groups, or both."""
        (start, end), begin, found = task, self._begin[task.start], []
        if self._is_within(task):
            found.append(((start, end - begin), (end, start - begin)))
        if start == begin and end == self._begin[end]:
            (first, last), base = self._groups(task), self.chain.length + 1
            found.append(((base + first, last), (base + last, first)))
        return found

    def kept(self, task: Task) -> int:
        """The next state, or where the next group begins."""
        if self._is_within(task):
            return task.start + 1
        return int(self._borders[self._group[task.start] + 1])

    def states(self, task: Task) -> slice | Ints:
        """Those within, or where groups begin."""
        if self._is_within(task):
            return super().states(task)
        first, last = self._groups(task)
        found: Ints = self._borders[first + 1 : last]
        return found

    def before(self, task: Task) -> tuple[int, slice]:
        """Where the first table has the tasks from a task's start to each of its states."""
        if self._is_within(task):
            begin = self._begin[task.start]
            return task.start, slice(task.start + 1 - begin, task.end - begin)
        first, last = self._groups(task)
        return self.chain.length + 1 + first, slice(first + 1, last)

    def behind(self, task: Task) -> tuple[int, slice]:
        """Where the second table has the tasks from each of its states to a task's end."""
        if self._is_within(task):
            begin = self._begin[task.start]
            return task.end, slice(task.start + 1 - begin, task.end - begin)
        first, last = self._groups(task)
        return self.chain.length + 1 + last, slice(first + 1, last)


class Needs:
    """The memory that the ways to begin a task take, beside the tasks that follow."""

    def __init__(self, tasks: Tasks) -> None:
        self._tasks, self._chain = tasks, tasks.chain
        # A step from a state that nothing else holds.
        self._onward = self._chain.forward.copy()
        self._onward[1:] += self._chain.state[:-1]
        self._data = np.cumsum(self._chain.dependency)
        self._keep: dict[Task, int] = {}

    def _around(self, task: Task) -> int:
        """What is in use in any case."""
        chain = self._chain
        return int(chain.around[-1] if task.end == chain.length else chain.around[task.end])

    def kept(self, task: Task) -> int:
        """Memory of the dependency data that is kept."""
        return int(self._data[self._tasks.kept(task)] - self._data[task.start])

    def keep(self, task: Task) -> int:
        """To keep it, until the adjoints of its steps have run."""
        found = self._keep.get(task)
        if found is None:
            found = self._keep[task] = self._needed_to_keep(task)
        return found

    def _needed_to_keep(self, task: Task) -> int:
        chain, steps = self._chain, slice(task.start + 1, self._tasks.kept(task) + 1)
        held = self._data[task.start : steps.stop - 1] - self._data[task.start]
        need = int((held + self._onward[steps]).max()) + self._around(task)
        need = max(need, int((held + chain.back[steps]).max()))
        return max(need, chain.turn) if task.start + 1 == chain.length else need

    def advance(self, task: Task) -> Ints:
        """To advance to each of the states; never falls."""
        chain = self._chain
        first = self._onward[task.start + 1 : task.end] + int(chain.state[task.start])
        first[0] = self._onward[task.start + 1]
        found: Ints = np.maximum.accumulate(first) + self._around(task)
        states = self._tasks.states(task)
        return found if isinstance(states, slice) else found[states - task.start - 1]


def adjoint_runs(
    chain: AdjointChain, choose: Callable[[Task, int], Choice], memory: int, most: int = MOST_RUNS
) -> Ints | None:
    """The runs to which choices lead; None where there are more than `most`. O(runs).

    Parameters
    ----------
    chain
        The chain.
    choose
        How to begin a task with this memory, in whatever unit it counts.
    memory
        Memory for the whole chain.
    most
        Runs beyond which a plan is given up.
    """
    runs: list[int] = []
    stack: list[tuple[Task, int] | range] = [(Task(0, chain.length), memory)]
    while stack and len(runs) <= most:
        item = stack.pop()
        if isinstance(item, range):
            runs += item
            continue
        (start, end), memory = item
        choice = choose(Task(start, end), memory)
        state = choice.state
        runs += range(start, state)  # node j is step j + 1
        if choice.keeps:
            stack.append(range(chain.adjoint(state), chain.adjoint(start)))
        else:
            stack.append((Task(start, state), choice.rest))
        if state < end:
            stack.append((Task(state, end), choice.inner))
        elif chain.has_loss and end == chain.length:
            runs.append(chain.length)
    return None if stack else np.array(runs, np.int64)
