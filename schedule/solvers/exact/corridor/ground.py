"""What all searches of a problem from its end share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from schedule.bounds import TOLERANCE, cost_step
from schedule.graph import Graph
from schedule.layout import Bools, Ints
from schedule.lowering import replayed
from schedule.memory import Trace
from schedule.solvers.contract import Deadline
from schedule.solvers.exact.corridor.backward import begin, step
from schedule.solvers.exact.corridor.potentials import Potentials
from schedule.solvers.exact.corridor.states import EXPANDED, MET, MOVES, Guide
from schedule.solvers.kit.states import (
    QUEUED,
    States,
    Words,
    mask_of,
    masks_of,
    runs_from,
    space_for,
)
from schedule.solvers.program.contraction import Contraction, contract
from schedule.solvers.program.operations import Operations, operations_of
from schedule.solvers.program.views import with_views

#: Moves between two looks at the clock, at most: less than a second of them.
_MOVES = 200_000
#: About the seconds that a search takes, and a word of a state for each move.
_SECONDS_A_SEARCH, _SECONDS_A_MOVE = 1e-3, 5e-8
#: No masks.
NO_WORDS: Words = np.zeros((0, 1), np.uint64)


@dataclass(frozen=True, slots=True)
class Effort:
    """What one search may take.

    Attributes
    ----------
    moves, capacity
        Moves, and states that there is space for.
    most, often
        States that a stage may expand; how often it asks whether to stop, in these.
    is_whole
        Whether nothing may be left out: the search ends, without a result, where it is.
    """

    moves: int
    capacity: int
    most: int
    often: int
    is_whole: bool


@dataclass(frozen=True, slots=True)
class Ended:
    """The cheapest runs that were found (None: none), whether states were left out, and moves."""

    runs: Ints | None
    was_cut: bool
    moves: int


@dataclass(frozen=True)
class Ground:
    """A problem in the given order, with masks of w words; o operations, r resources.

    Attributes
    ----------
    graph, contraction, operations
        What is solved.
    budget
        Memory beside resident inputs.
    reads, writes
        Shape (o, w): masks of the resources that each operation reads and writes.
    outputs
        Shape (w,): the mask of what has to be live at the end.
    once, step
        The compute of every operation once, and by how much the next better schedule is
        cheaper, at least.
    """

    graph: Graph
    contraction: Contraction
    operations: Operations
    budget: int
    reads: Words
    writes: Words
    outputs: Words
    once: float
    step: float

    @classmethod
    def of(cls, graph: Graph, budget: int) -> Ground:
        """The ground of a graph; the budget counts everything."""
        o = operations_of(graph, "fixed")
        once = float(o.compute.sum())
        return cls(
            graph=graph,
            contraction=contract(graph),
            operations=o,
            budget=budget - graph.layout.resident_memory,
            reads=masks_of(o.first_read, o.reads, len(o.size)),
            writes=masks_of(o.first_write, o.writes, len(o.size)),
            outputs=mask_of(np.flatnonzero(o.kept), len(o.size)),
            once=once,
            # The next better compute is a whole step of the costs away.
            step=max(0.9 * float(cost_step(graph)), 0.5 * TOLERANCE * once),
        )

    @property
    def words(self) -> int:
        """Words of a mask."""
        return len(self.outputs)

    def guide(
        self,
        potentials: Potentials,
        allowed: Bools,
        outputs: Words | None = None,
        fence: Words = NO_WORDS,
        forced: Words = NO_WORDS,
        lasting: Words = NO_WORDS,
    ) -> Guide:
        """What a search is given; it begins with `outputs`, without them at the very end."""
        return Guide(
            reads=self.reads,
            writes=self.writes,
            outputs=self.outputs if outputs is None else outputs,
            budget=self.budget,
            base=potentials.base,
            price=potentials.price,
            allowed=allowed,
            fence=fence,
            forced=forced,
            lasting=lasting,
            forces=np.zeros(lasting.shape[1], np.uint64),
        )

    def search(
        self, guide: Guide, first: int, end: int, limit: float, effort: Effort, deadline: Deadline
    ) -> Ended:
        """From right before one operation first runs back to right before another does.

        `end` counts all operations for the end of the schedule. Reruns between them take at
        most `limit` of compute. A deadline's work is moves, times the words of a state.
        """
        states, was_cut = space_for(effort.capacity, self.words), False

        def is_over() -> bool:
            return int(states.number[MOVES]) >= effort.moves or deadline.passed

        limit += TOLERANCE * self.once / 4  # sums of costs are rounded
        begin(self.operations, guide, states, end)
        for _ in range(first, end):
            was_cut |= self._back(guide, states, limit, effort, is_over)
            if was_cut and (effort.is_whole or is_over()):
                states.number[MET] = 0
                break
        tried = int(states.number[MOVES])
        deadline.work -= self.words * tried
        deadline.spend(_SECONDS_A_SEARCH + _SECONDS_A_MOVE * self.words * tried)
        front = states.own[: states.number[MET]]
        if not len(front):
            return Ended(None, was_cut, tried)
        return Ended(runs_from(states, int(front[states.spent[front].argmin()])), was_cut, tried)

    def _back(
        self,
        guide: Guide,
        states: States,
        limit: float,
        effort: Effort,
        is_over: Callable[[], bool],
    ) -> bool:
        """From what was met to what is met in the stage before: whether anything was left out."""
        was_cut, is_first, left = False, True, int(states.number[MET])
        most = effort.most
        while left and most > 0 and not is_over():
            count = min(most, max(effort.often, left // 10))
            was_cut |= step(self.operations, guide, states, is_first, limit, count, _MOVES)
            is_first, left = False, int(states.number[QUEUED])
            most -= int(states.number[EXPANDED])
        if is_first:
            states.number[MET] = 0
        return was_cut or left > 0

    def trace(self, sequence: Ints) -> Trace:
        """The replay of a sequence of operations."""
        runs = self.operations.nodes[sequence]
        return replayed(self.graph, with_views(self.graph, self.contraction, runs))
