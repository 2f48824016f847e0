"""Make an order of runs fit a budget: let go of what is idle, recompute it when it is read."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from schedule.layout import Ints, Layout
from schedule.result import Order

#: A pass that runs this many times what it follows goes round in circles.
_MOST = 4
#: Ancestors looked at for the cost of making a tensor again; beyond, it counts as dear.
_DEEP = 200


@dataclass(frozen=True, slots=True)
class Rule:
    """What to let go of first: the least cost ** `cost` / (size ** `size` · wait ** `wait`).

    `cost` is what making the storage's tensors again takes now, `wait` the
    compute until one of them is read next. With all exponents 1 this is the
    eviction score of DTR (Kirisame et al. 2021, arXiv:2006.09616), looking
    ahead instead of back.
    """

    cost: float = 1.0
    size: float = 1.0
    wait: float = 1.0


#: From balanced to extreme: the first is the best guess, all are cheap to try.
RULES = (
    Rule(),
    Rule(wait=0.5),
    Rule(wait=0.0),
    Rule(size=0.5),
    Rule(size=0.5, wait=0.0),
    Rule(size=0.25, wait=0.5),
    Rule(cost=0.5),
    Rule(cost=0.0, size=0.0),
)


def fit(
    layout: Layout,
    runs: Ints,
    budget: int,
    rule: Rule,
    order: Order = "free",
    stop: Callable[[], bool] = lambda: False,
) -> Ints | None:
    """Runs that fit the budget and follow `runs`, with more recomputation where needed.

    One pass over `runs`: before each run, what it reads and isn't there is
    made again, and as long as the run doesn't fit, the idle storage that the
    rule picks goes. A tensor goes by itself after its last read in `runs`.

    Parameters
    ----------
    layout
        The graph as arrays.
    runs
        Shape (r,): an executable order of runs, every needed node in it.
    budget
        Memory that must not be exceeded.
    rule
        What goes first.
    order
        `fixed`: first runs stay in the order in which `runs` has them.
    stop
        Asked now and then; True ends the pass without a plan.

    Returns
    -------
    numpy.ndarray or None
        Node numbers; None where the pass gets stuck.

    Notes
    -----
    O(runs + evictions · live storages · ancestors looked at).
    """
    made = _Pass(layout, runs, budget, rule, stop).run()
    return None if made is None else without_waste(layout, made, order)


def without_waste(layout: Layout, runs: Ints, order: Order) -> Ints:
    """The same runs without those whose results nothing reads. O(runs · reads).

    In a fixed order first runs stay: without one, the next would be too late.
    """
    wanted = layout.is_output.tolist()
    first = np.zeros(len(runs), dtype=bool)
    if order == "fixed":
        first[np.unique(runs, return_index=True)[1]] = True
    reads, outputs = layout.reads_of, layout.outputs_of
    kept: list[int] = []
    for v, must in zip(reversed(runs.tolist()), reversed(first.tolist())):
        if must or any(wanted[t] for t in outputs[v]):
            kept.append(v)
            for t in outputs[v]:
                wanted[t] = False
            for t in reads[v]:
                wanted[t] = True
    return np.array(kept[::-1], np.int64)


class _StuckError(Exception):
    """Nothing idle is left to let go of, something can't be made again, or time is up."""


class _Pass:
    """What is live while the runs are followed."""

    def __init__(
        self, layout: Layout, runs: Ints, budget: int, rule: Rule, stop: Callable[[], bool]
    ) -> None:
        self._layout, self._budget, self._rule, self._stop = layout, budget, rule, stop
        self._base: list[int] = runs.tolist()
        self._reads, self._outputs = layout.reads_of, layout.outputs_of
        self._producer: list[int] = layout.producer.tolist()
        self._storage: list[int] = layout.storage.tolist()
        self._memory: list[int] = layout.memory.tolist()
        self._compute: list[float] = layout.compute.tolist()
        self._may: list[bool] = layout.recomputable.tolist()
        self._resident: list[bool] = layout.resident.tolist()
        self._extra: list[int] = (layout.new_memory + layout.workspace).tolist()
        self._on: dict[int, list[int]] = {}  # the live tensors on each live storage
        self._live = [False] * layout.n_tensors
        self._ran = [False] * layout.n_nodes
        self._pinned = [0] * layout.n_tensors
        self._used = self._at = 0
        self._made: list[int] = []
        self._list_events()
        for t in range(layout.n_inputs):
            self._bring(t)

    def _list_events(self) -> None:
        """When each tensor is read or written again: codes 2·place + write, latest first."""
        end = len(self._base)
        self._events: list[list[int]] = [
            [2 * end] if out else [] for out in self._layout.is_output.tolist()
        ]
        for at in reversed(range(end)):
            v = self._base[at]
            for t in self._outputs[v]:
                self._events[t].append(2 * at + 1)
            for t in self._reads[v]:
                self._events[t].append(2 * at)
        self._clock = np.append(0.0, np.cumsum(self._layout.compute[self._base])).tolist()

    def run(self) -> Ints | None:
        """Follow the runs to the end; None where that gets stuck."""
        if self._used > self._budget:
            return None
        try:
            for at, v in enumerate(self._base):
                self._at = at
                if not self._ran[v] or not all(self._live[t] for t in self._outputs[v]):
                    self._make(v)
                for t in (*self._reads[v], *self._outputs[v]):
                    while self._events[t] and self._events[t][-1] <= 2 * at + 1:
                        self._events[t].pop()
                self._drop_idle((*self._reads[v], *self._outputs[v]))
            self._at = len(self._base)
            outputs = np.flatnonzero(self._layout.is_output).tolist()
            for t in outputs:  # from here on they stay
                self._pinned[t] += 1
            for t in outputs:
                if not self._live[t]:
                    self._make(self._producer[t])
        except _StuckError:
            return None
        return np.array(self._made, np.int64)

    def _make(self, wanted: int) -> None:
        """Run a node, and before it, depth first, the makers of what it lacks."""
        stack: list[int] = []

        def enter(v: int) -> None:
            if v < 0 or (self._ran[v] and not self._may[v]):
                raise _StuckError
            stack.append(v)
            for t in self._reads[v]:
                self._pinned[t] += 1

        enter(wanted)
        while stack:
            v = stack[-1]
            missing = next((t for t in self._reads[v] if not self._live[t]), None)
            if missing is not None:
                enter(self._producer[missing])
                continue
            self._execute(v)
            stack.pop()
            for t in self._reads[v]:
                self._pinned[t] -= 1
            if stack:  # the run that was asked for still has its events ahead
                self._drop_idle((*self._reads[v], *self._outputs[v]))

    def _execute(self, v: int) -> None:
        if len(self._made) > _MOST * len(self._base) + 100:
            raise _StuckError
        while self._used + self._extra[v] > self._budget:
            self._evict()
        for t in self._outputs[v]:
            if not self._live[t]:
                self._bring(t)
        self._ran[v] = True
        self._made.append(v)

    def _bring(self, t: int) -> None:
        self._live[t] = True
        s = self._storage[t]
        if s not in self._on:
            self._on[s] = []
            self._used += self._memory[s]
        self._on[s].append(t)

    def _drop(self, t: int) -> None:
        self._live[t] = False
        s = self._storage[t]
        self._on[s].remove(t)
        if not self._on[s]:
            del self._on[s]
            self._used -= self._memory[s]

    def _drop_idle(self, tensors: tuple[int, ...]) -> None:
        """Let go of those that nothing will read."""
        for t in tensors:
            if self._live[t] and not (self._events[t] or self._pinned[t] or self._resident[t]):
                self._drop(t)

    def _evict(self) -> None:
        """Let go of the storage that the rule picks."""
        if self._stop():
            raise _StuckError
        rule, best, least = self._rule, -1, math.inf
        now = self._clock[self._at]
        for s, tensors in self._on.items():
            if not self._memory[s] or any(self._pinned[t] or self._resident[t] for t in tensors):
                continue
            cost = self._cost(s, tensors)
            if cost == math.inf:
                continue
            events = [self._events[t][-1] >> 1 for t in tensors if self._events[t]]
            wait = self._clock[min(events)] - now if events else math.inf
            score = cost**rule.cost if rule.cost else float(cost > 0)
            score /= self._memory[s] ** rule.size * max(wait, 1e-9) ** rule.wait
            if score < least or (score == least and s < best):
                best, least = s, score
        if best < 0:
            raise _StuckError
        for t in list(self._on[best]):
            self._drop(t)

    def _cost(self, storage: int, tensors: list[int]) -> float:
        """Compute that it takes now to make again what will be read of a storage."""
        stack = [t for t in tensors if self._events[t] and not self._events[t][-1] & 1]
        if any(self._producer[t] < 0 for t in tensors):
            return math.inf if any(self._events[t] for t in tensors) else 0.0
        seen: set[int] = set()
        cost = 0.0
        while stack:
            v = self._producer[stack.pop()]
            if v in seen:
                continue
            if v < 0 or not self._may[v] or len(seen) > _DEEP:
                return math.inf
            seen.add(v)
            cost += self._compute[v]
            stack += [t for t in self._reads[v] if not self._live[t] or self._storage[t] == storage]
        return cost
