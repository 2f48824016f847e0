"""Which operations may be cut points, and which is the first one."""

from __future__ import annotations

import numpy as np

from schedule.graph import Graph
from schedule.layout import Floats, Ints
from schedule.memory import Trace
from schedule.result import Order
from schedule.solvers.program.contraction import Contraction, heaviest_path


def excess_of(contraction: Contraction, plain: Trace, budget: int) -> Floats:
    """Shape (o,): by how much a trace exceeds the budget at each operation, as a share of it."""
    ran = plain.codes >= 0
    excess = np.zeros(contraction.n_operations)
    at = contraction.operation[plain.codes[ran]]
    excess[at] = np.maximum(0, plain.during[ran] - budget) / max(budget, 1)
    return excess


def cut_candidates(contraction: Contraction, order: Order, excess: Floats) -> list[int]:
    """Operations that may be cut points, ascending: in any order, those on one directed path."""
    if order == "fixed":
        return [int(v) for v in np.flatnonzero(~contraction.is_view)]
    return heaviest_path(contraction, excess)


def boundary_cut(
    graph: Graph, contraction: Contraction, candidates: list[int], excess: Floats
) -> int:
    """The candidate at the backward pass's boundary, without one that at the peak of memory."""
    found: Ints = np.array(candidates, np.int64)
    if graph.layout.boundary < len(contraction.operation):
        wanted = int(np.searchsorted(contraction.nodes, graph.layout.boundary))
    else:
        wanted = int(excess.argmax())
    return int(found[min(int(np.searchsorted(found, wanted)), len(found) - 1)])


def worst_cut(candidates: list[int], excess: Floats) -> int:
    """The candidate at which memory is most over the budget, the first of several."""
    return max(candidates, key=lambda v: excess[v])
