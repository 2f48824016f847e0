"""Close a segment as soon as it is full: Chen et al.'s memory planning with a budget."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from schedule.graph import Graph
from schedule.layout import Floats, Ints
from schedule.solvers.classics.segments import Forward, lacks_backward, offer_better
from schedule.solvers.contract import Deadline, Incumbent, Problem, Proof

#: Limits from one end of the paper's range to the other.
_LIMITS = 13
#: Under a budget, larger limits too: each is larger than the one before by this factor.
_STEP = 2 ** (1 / 8)
#: Tolerance for rounding, so that what equals a limit doesn't exceed it.
_ROUNDING = 1 + 1e-9


@dataclass(frozen=True, slots=True)
class ChenGreedy:
    """Walk the forward pass; close a segment as soon as it holds more than b.

    Algorithm 3 of Chen, Xu, Zhang, Guestrin 2016 (arXiv:1604.06174). What
    crosses from one segment into later ones is kept, and each segment but the last
    is recomputed once, when the backward pass needs it. On a graph that is no
    chain, the forward pass is taken in the program's order, as the linearised
    greedy of Checkmate takes it (Jain et al. 2020, arXiv:1910.02653).

    The limit b is searched as the paper says: a first run gives what is kept
    (x) and the largest segment (y); 13 limits from √(xy/2) to √(2xy) follow.
    Without a budget the plan of least peak among them counts. Under one,
    larger limits follow up to a single segment (which is `store_all`), and the
    plan of least compute that fits counts; where none does, that of least peak.

    Parameters
    ----------
    segment_memory
        The limit b, whatever the budget; None: as above.

    Notes
    -----
    O(nodes + edges) for each limit tried; under a budget, O(log n) limits
    where n nodes write about as much each.
    """

    segment_memory: int | None = None
    counts_work: ClassVar[bool] = True
    name: str = "chen_greedy"
    summary: str = "closes a segment when it is full, for the best size of one (Chen et al. 2016)"

    def supports(self, graph: Graph) -> str | None:
        """Graphs with a backward pass."""
        return lacks_backward(graph)

    def improve(self, problem: Problem, incumbent: Incumbent, deadline: Deadline) -> Proof:
        """The best plan of all limits, or that of the one that is set."""
        forward = Forward(problem.graph)
        positions = np.arange(len(forward.nodes))
        if self.segment_memory is not None:
            starts = close_when_full(forward, positions, self.segment_memory)
            incumbent.offer(forward.cut(starts))
            return Proof()
        plans = map(forward.cut, greedy_cuts(forward, positions, problem.budget is not None))
        offer_better(problem, incumbent, deadline, plans)
        return Proof()


def close_when_full(forward: Forward, positions: Ints, limit: float) -> Ints:
    """Where segments start if each is closed as soon as it holds more than a limit.

    Parameters
    ----------
    forward
        The forward pass.
    positions
        Where segments may be closed: after any of these positions, ascending.
    limit
        Memory that the nodes of a segment write together, before the one that
        closes it.

    Returns
    -------
    numpy.ndarray
        Positions where the second and later segments start, ascending.

    Notes
    -----
    O(segments · log n).
    """
    starts: list[int] = []
    filled = forward.weight[positions + 1]
    start, last = 0, len(forward.nodes) - 1
    while True:
        at = int(np.searchsorted(filled, forward.weight[start] + limit, side="right"))
        at = max(at, int(np.searchsorted(positions, start)))
        if at == len(positions) or positions[at] == last:
            return np.array(starts, np.int64)
        start = int(positions[at]) + 1
        starts.append(start)


def greedy_cuts(forward: Forward, positions: Ints, under_budget: bool) -> Iterator[Ints]:
    """Different choices of starts: those of the paper's limits, then of larger ones.

    Under a budget a single segment is the first.
    """
    seen = {()} if under_budget else set[tuple[int, ...]]()
    if under_budget:
        yield np.zeros(0, np.int64)
    for limit in _limits(forward, positions, under_budget).tolist():
        starts = close_when_full(forward, positions, limit)
        if tuple(starts.tolist()) not in seen:
            seen.add(tuple(starts.tolist()))
            yield starts


def _limits(forward: Forward, positions: Ints, up_to_all: bool) -> Floats:
    """The limits to try, ascending."""
    total = int(forward.weight[-1])
    first = math.sqrt(total * int(forward.crossing.max()))
    starts = close_when_full(forward, positions, first * _ROUNDING)
    kept = int(forward.crossing[starts].sum())
    ends = forward.weight[np.concatenate([[0], starts, [len(forward.nodes)]]).astype(np.int64)]
    middle = math.sqrt(kept * int(np.diff(ends).max())) or first
    limits = middle * np.geomspace(math.sqrt(0.5), math.sqrt(2), _LIMITS)
    if up_to_all and middle:
        more = math.ceil(math.log(max(total / limits[-1], 1), _STEP))
        limits = np.append(limits, limits[-1] * _STEP ** np.arange(1, more + 1))
    return np.asarray(limits * _ROUNDING)
