"""Integer programs in the order of the best schedule: what search reorders, they refine.

Programs are at their best in a given order, where they know in which interval everything
first runs; search finds the order, and is slow to find what best runs again in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from schedule.graph import Graph
from schedule.layout import Ints, first_of
from schedule.lowering import free_early
from schedule.memory import Trace, simulate
from schedule.solvers.contract import Deadline, Incumbent, Problem, Proof

if TYPE_CHECKING:
    from schedule.solvers.exact.refinement import Refinement

#: The share of the seconds left that one order gets at first, and at most: twice as much after
#: each of which nothing came.
_SHARE, _MOST_SHARE = 0.1, 0.4
#: A schedule of this many runs for each node is beyond what programs refine.
_LONGEST = 8


class Reordered:
    """Refinements of a problem that allows any order, each in that of the incumbent then.

    Once nothing has come of one, they take no more seconds than pass between them.

    Parameters
    ----------
    problem, incumbent
        What is solved, and who takes what is found.
    """

    def __init__(self, problem: Problem, incumbent: Incumbent) -> None:
        self._problem, self._incumbent = problem, incumbent
        self._order: Ints = np.zeros(0, np.int64)
        self._refinement: Refinement | None = None
        self._share = _SHARE
        # Since the last of which something came: theirs, and those between them.
        self._vain = self._between = 0.0
        self._ended = incumbent.clock.now()

    def improve(self, deadline: Deadline) -> None:
        """Refine in the incumbent's order, or go on where that was begun."""
        trace, incumbent = self._incumbent.trace, self._incumbent
        if trace is None or incumbent.is_good_enough:
            return
        if np.count_nonzero(trace.codes >= 0) > _LONGEST * len(self._problem.graph):
            return
        clock = incumbent.clock
        started = clock.now()
        if self._between + started - self._ended < self._vain:
            return
        order, refinement = _order_of(trace), self._refinement
        if refinement is None or not np.array_equal(order, self._order):
            cuts, self._order = self._cuts, order
            refinement = self._refinement = self._begin(trace, cuts)
        if refinement.finished:
            return
        before = incumbent.compute
        until = deadline.unless(lambda: incumbent.is_good_enough)
        refinement.run(until.share(self._share))
        if incumbent.compute < before:
            self._share, self._vain, self._between = _SHARE, 0.0, 0.0
        else:
            self._share = min(2 * self._share, _MOST_SHARE)
            self._vain += clock.now() - started
            self._between += started - self._ended
        self._ended = clock.now()

    @property
    def _cuts(self) -> Ints:
        """The nodes that are cut points in the order that was refined last."""
        last = self._refinement
        if last is None:
            return self._order[:0]
        return self._order[last.contraction.nodes[sorted(last.cuts)]]

    def _begin(self, trace: Trace, cuts: Ints) -> Refinement:
        """Begin in the order of a schedule, with the cut points that another one needed."""
        # HiGHS is loaded only when it is needed.
        from schedule.solvers.exact.refinement import Refinement

        graph, problem = self._problem.graph, self._problem
        nodes = [graph.nodes[v] for v in self._order.tolist()]
        other = Graph(nodes, graph.inputs, graph.outputs, graph.name)
        asked = Problem(other, problem.budget, "fixed", problem.gap, problem.seed, problem.workers)
        judge = _Translator(other, graph, self._order, self._incumbent)
        incumbent = Incumbent(asked, judge, self._incumbent.clock)
        number = np.empty_like(self._order)
        number[self._order] = np.arange(len(self._order))
        incumbent.offer(free_early(other, number[trace.codes[trace.codes >= 0]]))
        found = Refinement(asked, "fixed", incumbent)
        found.cuts.update(found.contraction.operation[number[cuts]].tolist())
        return found


class _Translator:
    """Offers schedules of the graph with its nodes in another order as those of the graph."""

    def __init__(self, other: Graph, graph: Graph, order: Ints, incumbent: Incumbent) -> None:
        self._other, self._graph, self._order, self._incumbent = other, graph, order, incumbent

    def take(self, codes: Ints, by: str) -> Trace:
        """The replay of a schedule of the other graph; its runs are offered."""
        self._incumbent.offer(free_early(self._graph, self._order[codes[codes >= 0]]))
        return simulate(self._other, codes)

    def prove(self, proof: Proof, by: str) -> None:
        """What holds in one order says nothing of any other."""

    def say(self, note: str) -> None:
        """Pass it on."""
        self._incumbent.say(note)


def _order_of(trace: Trace) -> Ints:
    """All nodes in the order of their first runs; those that never run last."""
    runs = trace.codes[trace.codes >= 0]
    order = runs[first_of(runs)]
    rest = np.setdiff1d(np.arange(trace.graph.layout.n_nodes), order)
    found: Ints = np.concatenate([order, rest])
    return found
