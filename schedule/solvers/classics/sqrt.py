"""Checkpoints every √n steps, on any training graph."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from schedule.graph import Graph
from schedule.layout import Ints
from schedule.memory import Trace
from schedule.solvers.classics.segments import Forward, growing, lacks_backward
from schedule.solvers.contract import Deadline, Incumbent, Problem, Proof


@dataclass(frozen=True, slots=True)
class Sqrt:
    """Cut the forward pass into segments; keep what crosses the cuts, recompute the rest.

    Each segment but the last is recomputed once, as a whole, when the backward
    pass first needs something of it (Chen, Xu, Zhang, Guestrin 2016,
    arXiv:1604.06174). On a training chain of n nodes with √n segments: O(√n)
    memory, O(n) compute. On a DAG the cuts lie where few bytes cross, near
    equal shares of the forward pass's memory.

    Under a budget it takes the fewest segments that fit, from 1 (which is
    `store_all`) up to twice the root of the number of forward nodes; where
    none fits, the number with the least peak. Beyond 64 it tries every tenth
    more, then what lies between the last that doesn't fit and the first that
    does. Without a budget, the root.

    Parameters
    ----------
    segments
        How many segments to use, whatever the budget; None: as above.

    Notes
    -----
    O(nodes + edges) for each number of segments tried.
    """

    segments: int | None = None
    counts_work: ClassVar[bool] = True
    name: str = "sqrt"
    summary: str = "keeps what crosses the cuts between about √n segments (Chen et al. 2016)"

    def supports(self, graph: Graph) -> str | None:
        """Graphs with a backward pass."""
        return lacks_backward(graph)

    def improve(self, problem: Problem, incumbent: Incumbent, deadline: Deadline) -> Proof:
        """The plan with the fewest segments that fits, or the one of least peak."""
        forward = Forward(problem.graph)
        root = math.sqrt(max(len(forward.nodes), 1))
        if self.segments is not None:
            incumbent.offer(_plan(forward, self.segments))
            return Proof()
        if problem.budget is None:
            incumbent.offer(_plan(forward, round(root)))
            return Proof()
        most = math.ceil(2 * root)
        least, before = _plan(forward, 1), 1
        for count in growing(most):
            if problem.fits(least.peak) or deadline.passed:
                break
            trace = least if count == 1 else _plan(forward, count)
            if problem.fits(trace.peak):  # what was skipped on the way here may fit too
                between = (
                    _plan(forward, fewer)
                    for fewer in range(before + 1, count)
                    if not deadline.passed
                )
                least = next((plan for plan in between if problem.fits(plan.peak)), trace)
            elif trace.peak < least.peak:
                least = trace
            before = count
        incumbent.offer(least)
        return Proof()


def _plan(forward: Forward, segments: int) -> Trace:
    """The plan with this many segments (fewer where there is nothing to cut)."""
    return forward.cut(_even(forward, segments))


def _even(forward: Forward, segments: int) -> Ints:
    """Positions where the second and later segments start, ascending."""
    total = forward.weight[-1]
    positions = []
    for at in range(1, segments):
        low, high = (total * (2 * at + side) / (2 * segments) for side in (-1, 1))
        first = int(np.searchsorted(forward.weight, low, side="left"))
        last = int(np.searchsorted(forward.weight, high, side="right"))
        first, last = max(first, 1), min(last, len(forward.nodes))
        if first < last:
            positions.append(first + int(forward.crossing[first:last].argmin()))
    return np.unique(np.array(positions, np.int64))
