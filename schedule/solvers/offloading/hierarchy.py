"""Checkpoints in several levels of memory: the dynamic program of H-Revolve.

Herrmann & Pallez 2020, "H-Revolve: a framework for adjoint computation on synchronous
hierarchical platforms" (ACM TOMS 46(2), doi:10.1145/3378672). A chain of equal steps is to
be reversed: each step runs forward for `forward`, and is turned, that is run again with all
that its adjoint reads and taken back, for `backward`. Levels have slots for states, and
writing to and reading from each has its cost, during which nothing else happens.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import NamedTuple

import numpy as np

from schedule.layout import Floats


@dataclass(frozen=True, slots=True)
class Storage:
    """A level of memory: how many states it holds, and what writing and reading one costs."""

    slots: int
    write: float
    read: float


class Action(Enum):
    """What is done with a state: see `Operation`."""

    ADVANCE = "advance"
    TURN = "turn"
    STORE = "store"
    LOAD = "load"


class Operation(NamedTuple):
    """One thing to do.

    Advance from a state to the state `to`; turn the step behind a state; store a state in
    level `to`, or load it from there.
    """

    action: Action
    state: int
    to: int = 0


class _Task(NamedTuple):
    """Reverse the steps from `state` on, up to `steps` after its own.

    It is in work, and with `is_stored` in this level, too, where `slots` are left, that one
    included.
    """

    level: int
    state: int
    steps: int
    slots: int
    is_stored: bool


@dataclass(frozen=True)
class Hierarchy:
    """The best way to reverse a chain with checkpoints in several levels.

    Parameters
    ----------
    steps
        How many the chain has, at least 1.
    levels
        The fastest first, which has at least one slot. No more than a slot for each step
        is used.
    forward, backward
        What running a step, and turning it, costs.

    Notes
    -----
    O(steps² · slots) time, vectorised, and O(steps · slots) memory.
    """

    steps: int
    levels: tuple[Storage, ...]
    forward: float = 1.0
    backward: float = 1.0

    @property
    def cost(self) -> float:
        """The least there is."""
        return float(self._tables[-1][0][self.steps - 1, -1])

    @cached_property
    def _tables(self) -> list[tuple[Floats, Floats]]:
        """By level: costs by steps after the first and by slots, with a state in work; stored."""
        found: list[tuple[Floats, Floats]] = []
        for level in self.levels:
            found.append(self._table(level, found[-1][0][:, -1] if found else None))
        return found

    def _table(self, level: Storage, above: Floats | None) -> tuple[Floats, Floats]:
        """One level's, given what the levels above it take without it."""
        at = np.arange(self.steps)
        # From one state in the fastest level, or without this level at all.
        alone = (at + 1) * self.backward + at * (at + 1) / 2 * self.forward + at * level.read
        alone = alone if above is None else above
        free = [np.full(self.steps, np.inf) if above is None else above]
        stored = [np.full(self.steps, np.inf)]
        free[0][0] = self.backward
        for _ in range(min(level.slots, self.steps)):
            stored.append(self._column(free[-1], alone, level.read))
            written = level.write + stored[-1]
            written[0] = self.backward
            free.append(written if above is None else np.minimum(written, above))
            if np.array_equal(free[-2], free[-1]):  # nor does another slot help
                break
        return np.stack(free, axis=1), np.stack(stored, axis=1)

    def _column(self, free: Floats, alone: Floats, read: float) -> Floats:
        """Costs with a state stored, where costs with a slot less are `free`."""
        found = np.empty(self.steps)
        found[0] = self.backward
        advanced = np.arange(self.steps) * self.forward + read
        for steps in range(1, self.steps):
            split = advanced[1:steps] + free[steps - 1 : 0 : -1]
            split += found[: steps - 1]
            found[steps] = min(split.min(initial=np.inf), alone[steps])
        return found

    def operations(self) -> Iterator[Operation]:
        """What to do, in order."""
        last = len(self.levels) - 1
        stack: list[_Task | Operation] = [
            _Task(last, 0, self.steps - 1, self._tables[last][0].shape[1] - 1, False)
        ]
        while stack:
            item = stack.pop()
            if isinstance(item, Operation):
                yield item
            elif item.steps == 0:
                yield Operation(Action.TURN, item.state)
            elif item.is_stored:
                stack += reversed(self._split(item))
            else:
                stack += reversed(self._begun(item))

    def _begun(self, task: _Task) -> list[_Task | Operation]:
        """Whether the state that is in work is stored in this level, or in one above it."""
        level, state, steps, slots, _ = task
        if level:
            written = self.levels[level].write + self._tables[level][1][steps, slots]
            above = self._tables[level - 1][0]
            if not slots or above[steps, -1] <= written:
                return [_Task(level - 1, state, steps, above.shape[1] - 1, False)]
        return [Operation(Action.STORE, state, level), task._replace(is_stored=True)]

    def _split(self, task: _Task) -> list[_Task | Operation]:
        """Where the next checkpoint is; or how to do without any more in this level."""
        level, state, steps, slots, _ = task
        free, stored = self._tables[level]
        ahead = np.arange(1, steps)
        costs = free[steps - ahead, slots - 1] + stored[ahead - 1, slots]
        costs += ahead * self.forward + self.levels[level].read
        if len(costs) and costs.min() <= stored[steps, slots]:
            first = int(ahead[costs.argmin()])
            return [
                Operation(Action.ADVANCE, state, state + first),
                _Task(level, state + first, steps - first, slots - 1, False),
                Operation(Action.LOAD, state, level),
                _Task(level, state, first - 1, slots, True),
            ]
        if level:
            above = self._tables[level - 1][0].shape[1] - 1
            return [_Task(level - 1, state, steps, above, False)]
        found: list[_Task | Operation] = []
        for at in range(steps, -1, -1):
            found += [Operation(Action.LOAD, state, level)] if at < steps else []
            found += [Operation(Action.ADVANCE, state, state + at)] if at else []
            found.append(Operation(Action.TURN, state + at))
        return found
