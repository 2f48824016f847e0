"""How often operations may have to run again: what is provably enough, and what less proves."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

from schedule.bounds import cost_step, least_compute
from schedule.graph import Graph
from schedule.layout import Ints
from schedule.solvers.program.operations import Operations, recomputable

#: Costs of all operations together, in units, where they can't be exact.
_FINE = 1 << 40
#: As good as no limit.
_MANY = 1 << 40


def rows_of(first: Ints, values: Ints) -> list[list[int]]:
    """The rows of a CSR array, as lists."""
    flat, starts = values.tolist(), first.tolist()
    return [flat[start:end] for start, end in pairwise(starts)]


@dataclass(frozen=True)
class Prices:
    """What reruns cost, as integers.

    Attributes
    ----------
    least
        Compute of every node that has to run, once.
    unit
        Compute that 1 stands for.
    cost
        Of a rerun of each operation, rounded down to whole units.
    is_exact
        Whether nothing had to be rounded.
    """

    least: int | float
    unit: int | float
    cost: list[int]
    is_exact: bool

    @classmethod
    def of(cls, graph: Graph, operations: Operations) -> Prices:
        """The costs of these operations, in steps of the graph's where that is fine enough."""
        computes = [graph.nodes[v].compute for v in operations.nodes.tolist()]
        unit: int | float = cost_step(graph)
        is_exact = unit > 0 and sum(computes) // unit <= _FINE
        if not is_exact:
            unit = float(sum(computes)) / _FINE or 1.0
        cost = [int(compute // unit) for compute in computes]
        return cls(least_compute(graph), unit, cost, is_exact)

    def limit(self, best: int | float) -> int | None:
        """What all reruns of a schedule as good cost at most; None: no schedule is known.

        The best one itself is among them: a model can begin with it.
        """
        if math.isinf(best):
            return None
        left = int((best - self.least) // self.unit)
        # Costs are rounded down, and so is their sum; floating-point sums may be off by one.
        return left if self.is_exact else left + 1

    def limit_below(self, best: int | float) -> float:
        """What reruns of a schedule of less compute cost less than."""
        if math.isinf(best):
            return math.inf
        left = -((self.least - best) // self.unit)  # rounded up
        return float(max(left if self.is_exact else left + 1, 0))

    def compute(self, spent: float) -> int | float:
        """The least compute of a schedule whose reruns cost at least `spent` units."""
        if math.isinf(spent):
            return math.inf
        return self.least + self.unit * (round(spent) if self.is_exact else spent)


@dataclass(frozen=True)
class Reruns:
    """How often each operation may run again in a model.

    Attributes
    ----------
    allowed
        By operation.
    enough
        By operation: some best schedule has no more than that.
    """

    allowed: list[int]
    enough: list[int]

    @property
    def left_out(self) -> list[int]:
        """Operations that may have to run again more often than allowed."""
        pairs = enumerate(zip(self.allowed, self.enough))
        return [u for u, (allowed, enough) in pairs if allowed < enough]

    def escape(self, cost: list[int]) -> float:
        """What the reruns of a schedule cost at least in which one runs more often."""
        return min((cost[u] * (self.allowed[u] + 1) for u in self.left_out), default=math.inf)

    def together(self, cost: list[int], limit: int | None) -> int:
        """How many there can be in all within the limit: the cheapest go first."""
        found, left = 0, limit
        for price, count in sorted(zip(cost, self.allowed)):
            if left is not None and price:
                count = min(count, max(left, 0) // price)
                left -= count * price
            found += count
        return found


class RerunRules:
    """What is known of the reruns of the best schedules of one graph.

    Let S be a schedule of least compute, and among these of the fewest runs. Then

    - each of its reruns is of use: before the operation runs the next time, another
      run reads what it wrote, or it is an output's last value; otherwise S without
      it would be as good. So an operation has no more reruns than there are runs
      of its readers (and ends, for an output). In a free order that is true of its
      first run as well.
    - its reruns cost no more than those of a schedule that is known, so there are few
      of what is dear.
    """

    def __init__(self, graph: Graph, operations: Operations, fixed: bool) -> None:
        self._fixed = fixed
        self._may: list[bool] = recomputable(graph, operations).tolist()
        #: What writes a storage for views that aren't free is never run again by a model: such a
        #: view would keep the old copy.
        self._may_here: list[bool] = operations.may_repeat.tolist()
        self._readers: list[list[int]] = [[] for _ in operations.nodes]
        producer = operations.producer.tolist()
        for v, reads in enumerate(rows_of(operations.first_read, operations.reads)):
            for u in {producer[r] for r in reads if producer[r] >= 0}:
                self._readers[u].append(v)
        writes = rows_of(operations.first_write, operations.writes)
        self._ends = [int(any(operations.kept[r] for r in row)) for row in writes]

    def allow(self, most: list[int], cost: list[int], limit: int | None) -> Reruns:
        """What a model may allow that grants each operation at most this many reruns."""
        enough = [0] * len(cost)
        for u in reversed(range(len(cost))):
            if not self._may[u]:
                continue
            uses = self._ends[u] + sum(1 + enough[v] for v in self._readers[u])
            count = uses if self._fixed else uses - 1
            if limit is not None and cost[u]:
                count = min(count, max(limit, 0) // cost[u])
            enough[u] = max(0, min(count, _MANY))
        allowed = [
            min(granted, count) if may else 0
            for granted, count, may in zip(most, enough, self._may_here)
        ]
        return Reruns(allowed, enough)
