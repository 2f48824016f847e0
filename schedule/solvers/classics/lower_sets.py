"""Canonical strategies: the forward pass as an increasing sequence of lower sets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from schedule.graph import Graph
from schedule.layout import Ints
from schedule.memory import Trace
from schedule.result import Order
from schedule.solvers.classics.canonical import Dag, Family, Objective
from schedule.solvers.classics.segments import Forward, lacks_backward, offer_better
from schedule.solvers.contract import Deadline, Incumbent, Problem, Proof
from schedule.solvers.program.contraction import contract, predecessors

#: Budgets of the dynamic program, evenly spread, to try from the largest down, and how often
#: the range between the first whose plan fits and the one before is halved.
_STEPS = 11
_HALVES = 3


@dataclass(frozen=True, slots=True)
class LowerSets:
    """Run the forward pass lower set by lower set, keep their boundaries, recompute the rest.

    The canonical strategies of Kusumoto, Inoue, Watanabe, Akiba, Koyama 2019
    (NeurIPS, arXiv:1905.11722). A lower set holds with every node all that it
    depends on; its boundary is those of its nodes that others read. In a
    sequence L₁ ⊂ L₂ ⊂ … of them the parts Lᵢ ∖ Lᵢ₋₁ are segments: boundaries
    are kept, the rest of each segment but the last is recomputed once, when
    the backward pass needs something of it. A dynamic program finds the best
    sequence by the paper's formulas, within a budget of its own: over all
    lower sets where they are few, else over those that consist of one node
    and its ancestors (the paper's approximation).

    The formulas count forward tensors, and gradients as large as these. What
    counts here is the real peak of the plan, laid out on the whole graph.
    Without a budget the program gets the least one of its own that it can
    keep to, as in the paper. Under one it gets lower and lower ones, from
    what is as good as none, until a plan fits, and then some a little higher.
    That is done for plans that keep a node at a boundary with all it wrote (as
    the paper has it) and for those that keep only what is read later. The plan
    of least compute that fits counts, a single segment (which is `store_all`)
    among them. Where none fits, the other objective is tried; then the plan of
    least peak counts.

    Parameters
    ----------
    objective
        `"time"`: the least overhead within the program's budget. `"memory"`:
        the most, which cuts more coarsely: once what isn't needed any more is
        freed, that often has the lower peak.
    most_sets
        How many lower sets the program works on, at least 2: all of them up
        to here; beyond, the ancestors of this many nodes, evenly spread.

    Notes
    -----
    O(F² · n) for F sets of n forward nodes, then O(F² · K) for each budget,
    sorting aside, where each set has K pairs of overhead and kept memory that no
    other is better than in both. Of more than 2²³ / F² (but 16 at least) some
    are dropped; while that isn't needed, the sequence is optimal by the
    formulas for these sets.
    """

    objective: Objective = "time"
    most_sets: int = 512
    counts_work: ClassVar[bool] = True
    name: str = "lower_sets"
    summary: str = "dynamic program over lower sets of the forward graph (Kusumoto et al. 2019)"

    def supports(self, graph: Graph) -> str | None:
        """Graphs with a backward pass."""
        return lacks_backward(graph)

    def improve(self, problem: Problem, incumbent: Incumbent, deadline: Deadline) -> Proof:
        """The best plan of all budgets that the dynamic program is given."""
        offer_better(problem, incumbent, deadline, self._plans(problem))
        return Proof()

    def _plans(self, problem: Problem) -> Iterator[Trace]:
        forward = Forward(problem.graph)
        if problem.budget is None:
            layouts = _Layouts(forward, self.most_sets, problem.order)
            yield layouts.both(layouts.family.least_budget(), self.objective)[0]
            return
        single = forward.cut(np.zeros(0, np.int64))
        yield single
        if problem.fits(single.peak):
            return
        layouts = _Layouts(forward, self.most_sets, problem.order)
        objectives: tuple[Objective, ...] = ("time", "memory")
        for objective in objectives if self.objective == "time" else objectives[::-1]:
            found = False
            for plan in layouts.around(problem, objective):
                found |= problem.fits(plan.peak)
                yield plan
            if found:
                return


class _Layouts:
    """A graph's family of lower sets, and how a sequence of them becomes a plan."""

    def __init__(self, forward: Forward, most: int, order: Order) -> None:
        self._forward, self._order = forward, order
        dag, self._vertex = forward_dag(forward)
        self.family = Family(dag, most)
        self._found: dict[tuple[float, Objective], tuple[Trace, Trace]] = {}

    def both(self, budget: float, objective: Objective) -> tuple[Trace, Trace]:
        """Plans of the best sequence within a budget of the program.

        In the first, nodes at a boundary are kept with all that they wrote; in
        the second, only what a later part reads.
        """
        asked = budget, objective
        if asked not in self._found:
            part = self.family.part_of(self.family.best(budget, objective))
            segment = np.append(part, 0)[self._vertex]  # the last: views of inputs
            self._found[asked] = (
                self._forward.plan(segment, self._order, whole=True),
                self._forward.plan(segment, self._order, whole=False),
            )
        return self._found[asked]

    def around(self, problem: Problem, objective: Objective) -> Iterator[Trace]:
        """Plans on the way to a large budget whose plan fits, laid out one way or the other."""
        least, enough = float(self.family.least_budget()), self.family.enough(objective)
        for way in range(2):
            high = enough
            for low in np.linspace(enough, least, _STEPS).tolist():
                plans = self.both(low, objective)
                yield from plans
                if problem.fits(plans[way].peak):
                    break
                high = low
            for _ in range(_HALVES if low < high else 0):
                middle = (low + high) / 2
                plans = self.both(middle, objective)
                yield from plans
                low, high = (middle, high) if problem.fits(plans[way].peak) else (low, middle)


def forward_dag(forward: Forward) -> tuple[Dag, Ints]:
    """The forward graph, free views folded into what they are views of.

    Returns
    -------
    Dag
        One vertex for each operation of the forward pass (see `contraction`).
    numpy.ndarray
        Shape (f,): the vertex of each position; −1 for views of inputs.
    """
    graph = forward.graph
    layout, c = graph.layout, contract(graph)
    inside = (c.nodes < layout.boundary) & ~c.is_view
    vertex = np.where(inside, np.cumsum(inside) - 1, -1)
    operations = np.flatnonzero(inside)
    writers = predecessors(c)
    nodes = c.nodes[operations]
    dag = Dag(
        layout.new_memory[nodes].astype(np.float64),
        layout.compute[nodes],
        [sorted(set(vertex[writers[o]].tolist())) for o in operations.tolist()],
    )
    own = c.operation[forward.nodes]
    resource = c.resource[layout.first_output[forward.nodes]]
    writer = np.where(resource < 0, -1, np.append(c.producer, -1)[resource])
    return dag, np.append(vertex, -1)[np.where(c.is_view[own], writer, own)]
