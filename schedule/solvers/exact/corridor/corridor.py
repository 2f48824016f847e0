"""Schedules near those that are known, and proofs that there is none: searches from the end."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from schedule.bounds import TOLERANCE, cost_step
from schedule.graph import Graph
from schedule.layout import Bools, Ints
from schedule.lowering import replayed
from schedule.memory import Trace
from schedule.solvers.contract import Best
from schedule.solvers.exact.corridor.backward import runs_from, step
from schedule.solvers.exact.corridor.potentials import Potentials
from schedule.solvers.exact.corridor.states import States, Tables, Words, add, room_for, weigh
from schedule.solvers.program.contraction import Contraction
from schedule.solvers.program.operations import operations_of
from schedule.solvers.program.views import with_views

#: Memory for the states of one search, in bytes, and bytes of a state beside its words.
_MEMORY = 400_000_000
_STATE = 88
#: The share of the work left that a search may take, the least that is worth one, and moves
#: for each state that there is room for; the share of the states that one stage of a corridor
#: may expand.
_PART = 0.4
_FEW = 100_000
_MOVES = 4
_STAGE = 0.05
#: How often it asks whether to stop, in states that were expanded.
_OFTEN = 2_000
#: By how much, in first runs, a rerun may move at first.
_REACH = 4
#: By how much a proof is raised at first, as a share of every node once.
_STRIDE = 0.01


@dataclass(slots=True)
class Effort:
    """What searches may use.

    Attributes
    ----------
    potentials
        Bounds on the compute before a state, for the same graph and budget.
    work
        How many moves searches may yet look at, times the words of a state.
    stop
        Asked now and then; True ends it.
    """

    potentials: Potentials
    work: int
    stop: Callable[[], bool] = lambda: False

    @property
    def is_over(self) -> bool:
        """Whether no further search is to begin."""
        return self.work < _FEW or self.stop()


@dataclass(frozen=True, slots=True)
class _Found:
    """The schedule of least compute, None where there is none within the limit.

    `was_cut`: some states were left out, as they were too many. `was_long`: more
    than a quarter of the moves allowed were looked at.
    """

    trace: Trace | None
    was_cut: bool
    was_long: bool = True


class Corridor:
    """Schedules in the given order, by searches that start from the end.

    Parameters
    ----------
    graph, contraction, budget
        What is solved; the budget counts everything.

    Attributes
    ----------
    proved
        Compute that no schedule within the budget falls below, in the given order;
        infinite where none fits.

    Notes
    -----
    O(words · reads) for a state and each of its moves. To search the
    neighbourhood of a solution by dynamic programming is the corridor method
    (Sniedovich, Voß 2006, Control and Cybernetics 35, 551-578).
    """

    def __init__(self, graph: Graph, contraction: Contraction, budget: int) -> None:
        self._graph, self._contraction = graph, contraction
        self._operations = o = operations_of(graph, contraction, "fixed")
        self._budget = budget - graph.layout.resident_memory
        # What the search doesn't repeat, although a schedule may.
        again = graph.layout.recomputable[o.nodes] & ~contraction.is_view
        self._is_whole = bool((o.may_repeat == again).all())
        self._reads = _masks(o.first_read, o.reads, len(o.size))
        self._writes = _masks(o.first_write, o.writes, len(o.size))
        self._outputs = _masks(np.array([0, o.kept.sum()]), np.flatnonzero(o.kept), len(o.size))[0]
        self._compute = np.where(contraction.is_view, 0.0, graph.layout.compute[o.nodes])
        self._once = float(self._compute.sum())
        # The next better compute is a whole step of the costs away.
        self._step = max(0.9 * float(cost_step(graph)), 0.5 * TOLERANCE * self._once)
        self._reruns = np.zeros((len(o.nodes) + 1, len(o.nodes)), dtype=bool)
        self._reach, self._stride = _REACH, _STRIDE * self._once
        self.proved = -math.inf

    def learn(self, runs: Ints) -> None:
        """Have the corridor include the reruns of a sequence of nodes, first runs in order."""
        sequence = self._operations.sequence(runs)
        is_first = np.zeros(len(sequence), dtype=bool)
        is_first[np.unique(sequence, return_index=True)[1]] = True
        stage = np.cumsum(is_first)
        self._reruns[stage[~is_first], sequence[~is_first]] = True

    def prove(self, best: Best, bound: int | float, effort: Effort) -> None:
        """Raise what is proved, in strides from `bound` on, while searches come to an end.

        They search everything. A schedule that one of them finds takes the least
        compute there is.
        """
        if not self._is_whole:
            return
        self.proved = max(self.proved, float(bound), self._once)
        everything = np.ones_like(self._reruns)
        while not effort.is_over:
            limit = float(best.compute) - self._step
            if self._stride < self._once:  # else everything, at last
                limit = min(limit, self.proved + self._stride)
            if limit <= self.proved:
                break
            found = self._search(everything, limit, effort, 1.0)
            if found.was_cut:
                self._stride /= 2
                break
            self.proved = limit
            if found.trace is not None:
                best.take(found.trace)
                self.proved = float(found.trace.compute)
                break
            if found.was_long or limit == math.inf:
                break
            self._stride *= 2

    def follow(self, best: Best, effort: Effort) -> None:
        """Better schedules than the best, from corridors around the reruns that are known.

        One that was searched to its end is made wider, at last as wide as the
        problem; one that wasn't is made narrower, until there is one of each.
        """
        before: bool | None = None
        while not effort.is_over:
            limit = float(best.compute) - self._step
            found = self._search(self._allowed(), limit, effort, _STAGE)
            is_last = self._reach == 1 if found.was_cut else self._reach >= len(self._reruns)
            if found.trace is not None:
                best.take(found.trace)
                self.learn(found.trace.codes[found.trace.codes >= 0])
            elif is_last or before not in (None, found.was_cut):
                break
            self._reach = max(1, self._reach // 2) if found.was_cut else 2 * self._reach
            before = found.was_cut

    def _allowed(self) -> Bools:
        """Shape (o + 1, o): known reruns, and as many first runs before and after each."""
        reach, stages = self._reach, len(self._reruns)
        if reach >= stages:
            return np.ones_like(self._reruns)
        change = np.zeros((stages + 1, stages - 1), np.int64)
        stage, v = np.nonzero(self._reruns)
        np.add.at(change, (np.maximum(stage - reach, 0), v), 1)
        np.add.at(change, (np.minimum(stage + reach + 1, stages), v), -1)
        allowed: Bools = change.cumsum(axis=0)[:-1] > 0
        return allowed

    def _search(self, allowed: Bools, limit: float, effort: Effort, share: float) -> _Found:
        """Schedules of at most `limit` whose reruns are allowed, from the end to the start.

        Each stage may expand a share of the states; with all of them, the search ends
        as soon as it is cut.
        """
        words, stages, was_cut = len(self._outputs), len(self._compute), False
        moves = int(_PART * effort.work) // words
        room = min(moves // _MOVES, _MEMORY // (_STATE + 8 * words))
        states, tables = room_for(room, words), self._tables(effort.potentials, allowed)

        def is_over() -> bool:
            return int(states.number[1]) >= moves or effort.stop()

        # Sums of costs are rounded.
        limit += TOLERANCE * self._once / 4 - self._once
        memory, least = weigh(tables, stages, self._outputs)
        front = np.array([add(states, stages, self._outputs, memory, 0.0, least, -1, -1)])
        for _ in range(stages):
            front, left_out = _stage(tables, states, front, limit, int(share * room), is_over)
            was_cut |= left_out
            if was_cut and (share == 1.0 or is_over()):
                front = front[:0]
                break
        tried = int(states.number[1])
        effort.work -= words * tried
        if not len(front):
            return _Found(None, was_cut, tried > moves // 4)
        trace = self._trace(states, int(front[states.spent[front].argmin()]))
        return _Found(trace, was_cut, tried > moves // 4)

    def _trace(self, states: States, s: int) -> Trace:
        runs = self._operations.nodes[runs_from(states, s)]
        return replayed(self._graph, with_views(self._graph, self._contraction, runs))

    def _tables(self, potentials: Potentials, allowed: Bools) -> Tables:
        o = self._operations
        return Tables(
            reads=self._reads,
            writes=self._writes,
            cost=self._compute,
            extra=o.extra,
            may_repeat=o.may_repeat,
            size=o.size,
            producer=o.producer,
            outputs=self._outputs,
            budget=self._budget,
            base=potentials.base,
            price=potentials.price,
            allowed=allowed,
        )


def _stage(
    tables: Tables,
    states: States,
    front: Ints,
    limit: float,
    most: int,
    stop: Callable[[], bool],
) -> tuple[Ints, bool]:
    """The states met in the stage before, and whether anything was left out."""
    found, was_cut, rest = [front[:0]], False, front
    while len(rest) and most > 0 and not stop():
        count = min(most, max(_OFTEN, len(rest) // 10))
        met, rest, is_full = step(tables, states, rest, limit, count)
        found.append(met)
        was_cut |= is_full
        most -= count
    return np.concatenate(found), was_cut or len(rest) > 0


def _masks(first: Ints, resources: Ints, count: int) -> Words:
    """CSR lists of resources as masks, shape (lists, words)."""
    masks = np.zeros((len(first) - 1, -(-max(count, 1) // 64)), np.uint64)
    row = np.repeat(np.arange(len(first) - 1), np.diff(first))
    bit = np.left_shift(np.uint64(1), (resources % 64).astype(np.uint64))
    np.bitwise_or.at(masks, (row, resources // 64), bit)
    return masks
