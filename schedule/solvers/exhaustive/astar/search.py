"""Exact search of graphs with up to some hundred operations."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from schedule.bounds import memory_floor
from schedule.lowering import free_early
from schedule.memory import Trace
from schedule.solvers.contract import Deadline, Incumbent, Problem, Proof
from schedule.solvers.exhaustive.astar.expansion import (
    BLOCKED,
    BLOCKED_BY,
    EMPTY,
    FOUND,
    FULL,
    LAST,
    ONGOING,
    Scratch,
    advance,
    begin,
)
from schedule.solvers.exhaustive.astar.rules import rules_of, sums_of
from schedule.solvers.kit.states import QUEUED, STATE_BYTES, runs_from, space_for, with_more_space
from schedule.solvers.program.operations import Operations, node_runs, operations_of
from schedule.solvers.program.reruns import Prices

#: How often a search asks whether to stop, in states times operations: about a millisecond
#: for small graphs, a tenth of a second for large ones.
_OFTEN = 20_000
#: About the seconds that an operation takes in a state that is looked at.
_SECONDS_AN_OPERATION = 5e-8
#: States that there is space for at first, and how many times as many there are next.
_SPACE, _GROWTH = 1 << 12, 4
#: Bytes for the states of one search.
_MEMORY = 1 << 30
#: The share of the seconds left in which the least peak is looked for, where nothing fits.
_AFTERWARDS = 0.3


class AStar:
    """Best-first search (A*, doi:10.1109/TSSC.1968.300136) from the end to the start.

    Parameters
    ----------
    problem
        One that `is_within_reach`. Without a budget, the schedule of least peak is searched
        for.
    memory
        Bytes for states: it ends where that is full.
    negligible
        Resources of less memory count as nothing. Far fewer states differ then, and what is
        proved holds all the same; but a schedule that is found may not fit.
    space
        States that there is space for at first.

    Attributes
    ----------
    ended
        How the search ended: see `expansion`.

    Notes
    -----
    O(edges · words + operations · live) for a state; exponential in how much can be
    live at once. What states are, and why these are all the schedules that matter, is
    said in `schedule.solvers.exhaustive.states`, which does the same for smaller
    graphs, without a compiler.
    """

    def __init__(
        self, problem: Problem, memory: int = _MEMORY, negligible: int = 0, space: int = _SPACE
    ) -> None:
        self._negligible = negligible
        self._problem, self._of_peak = problem, problem.budget is None
        self._graph = graph = problem.graph
        o = _without(operations_of(graph, problem.order), negligible)
        self._operations = o
        self._prices = Prices.of(graph, o)
        self._resident = graph.layout.resident_memory
        capacity = (problem.budget or 0) - self._resident
        self._rules = rules_of(o, self._prices.cost, capacity, self._of_peak)
        words, lanes = self._rules.reads.shape[1], self._rules.ancestors.shape[1]
        self._scratch = Scratch(
            np.zeros(lanes, np.uint64), np.zeros((len(o.nodes), words), np.uint64)
        )
        self._most = memory // (STATE_BYTES + 8 * words)
        self._states = space_for(min(self._most, space), words)
        floor = memory_floor(graph).memory - self._resident
        self._least = float(floor) if self._of_peak else 0.0
        self._limit = math.inf
        self._often = max(1, _OFTEN // max(len(o.nodes), 1))
        begin(self._rules, self._scratch, self._states, self._least)
        self.ended = EMPTY if floor > capacity and not self._of_peak else ONGOING

    def run(self, incumbent: Incumbent, deadline: Deadline) -> Proof:
        """Search on, for what is better than the incumbent; what is proved of all schedules.

        A deadline's work is the number of states looked at.
        """
        while self.ended == ONGOING and not deadline.passed:
            states = self._states
            if not self._of_peak:
                asked = self._problem.asked(incumbent.compute)
                self._limit = min(self._limit, self._prices.limit_below(asked))
            count = int(min(self._often, deadline.work))
            self.ended = advance(self._rules, self._scratch, states, self._limit, count)
            deadline.work -= count
            deadline.spend(_SECONDS_AN_OPERATION * len(self._operations.nodes) * count)
            if self.ended == FULL and len(states.stage) < self._most:
                more = min(self._most, _GROWTH * len(states.stage))
                self._states, self.ended = with_more_space(states, more), ONGOING
                continue
            if self.ended == ONGOING and states.number[QUEUED]:
                self._least = max(self._least, float(states.least[states.queue[0]]))
                if not self._of_peak:
                    incumbent.prove(self._bound(self._least))
        return self._answer(incumbent, deadline)

    def _answer(self, incumbent: Incumbent, deadline: Deadline) -> Proof:
        states = self._states
        last = int(states.number[LAST])
        if self.ended == FOUND:
            runs = node_runs(self._graph, self._operations, runs_from(states, last))
            trace = incumbent.replay(free_early(self._graph, runs))
            price = float(states.spent[last])
            return self._peak(price, trace) if self._of_peak else self._bound(price)
        if self.ended == EMPTY and self._limit == math.inf:
            return self._too_much(incumbent, deadline)
        if self._of_peak:
            return self._peak(self._least)
        return self._bound(self._limit if self.ended == EMPTY else self._least)

    def _bound(self, price: float) -> Proof:
        """No schedule's reruns cost less, or less than those of the incumbent."""
        return Proof(bound=self._prices.compute(min(price, self._limit)))

    def _peak(self, price: float, trace: Trace | None = None) -> Proof:
        """No schedule has a lower peak; where it is that of `trace`, the node that needs it."""
        node, needed = None, int(price) + self._resident
        if trace is not None and trace.peak == needed and trace.peak_step >= 0:
            node = self._graph.layout.node_names[trace.codes[trace.peak_step]]
        return Proof(needed=needed, node=node)

    def _too_much(self, incumbent: Incumbent, deadline: Deadline) -> Proof:
        """Nothing fits: what would?"""
        number, floor = self._states.number, memory_floor(self._graph)
        blocked = Proof(needed=floor.memory, node=floor.node)
        if number[BLOCKED]:
            at = self._operations.nodes[number[BLOCKED_BY]]
            needed = int(number[BLOCKED]) + self._resident
            blocked = Proof(needed=needed, node=self._graph.layout.node_names[at])
        self._states = space_for(1, 1)  # the memory is for the other search
        least = AStar(replace(self._problem, budget=None), negligible=self._negligible)
        found = least.run(incumbent, deadline.share(_AFTERWARDS))
        return max(blocked, found, key=lambda proof: proof.needed or 0)


def _without(o: Operations, negligible: int) -> Operations:
    """The same operations, where resources of less memory than that take nothing."""
    is_small = o.size < negligible
    if not is_small.any():
        return o
    dropped = sums_of(o.first_write, np.where(is_small, o.size, 0)[o.writes])
    return replace(o, size=np.where(is_small, 0, o.size), extra=o.extra - dropped)
