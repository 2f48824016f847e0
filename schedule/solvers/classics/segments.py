"""The forward pass in segments: what crosses is kept, each segment but the last is rerun once.

It is what the segment solvers share: a choice of segments goes in, a schedule
comes out (Chen, Xu, Zhang, Guestrin 2016, arXiv:1604.06174).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from schedule.graph import Graph
from schedule.layout import Bools, Ints, offsets, spread
from schedule.lowering import replayed
from schedule.memory import Trace
from schedule.result import Order
from schedule.solvers.contract import Deadline, Incumbent, Problem

#: Up to here every number is tried.
_ALL = 64
#: About the seconds that making a plan takes, and each of its steps.
_SECONDS_A_PLAN, _SECONDS_A_STEP = 2e-4, 3e-6


def lacks_backward(graph: Graph) -> str | None:
    """Why there is no forward pass to cut; None where there is one."""
    if not graph.layout.backward.any():
        return "it has no backward nodes, so there is no forward pass to cut into segments"
    return None


def growing(most: int) -> Iterator[int]:
    """Every number up to `_ALL`, then in steps of a tenth, up to `most`."""
    count = 1
    while count <= most:
        yield count
        count += max(1, count // 10 if count >= _ALL else 1)


def offer_better(
    problem: Problem, incumbent: Incumbent, deadline: Deadline, plans: Iterable[Trace]
) -> None:
    """Offer each plan that is better than those before it.

    That is one that fits at less compute; while none fits, or without a budget, one of a lower
    peak. The first is always made; the others until the deadline.
    """
    best: tuple[int | float, ...] | None = None
    for plan in plans:
        deadline.spend(_SECONDS_A_PLAN + _SECONDS_A_STEP * len(plan.codes))
        score: tuple[int | float, ...] = (1, plan.peak, plan.compute)
        if problem.budget is not None and problem.fits(plan.peak):
            score = (0, plan.compute, plan.peak)
        if best is None or score < best:
            best = score
            incumbent.offer(plan)
        if deadline.passed:
            return


class Forward:
    """The forward part of a graph: needed nodes before the first backward one.

    Attributes
    ----------
    graph
        The graph.
    nodes
        Shape (f,): node numbers, ascending; a node's index here is its position.
    weight
        Shape (f + 1,): memory of what is written before each position.
    crossing
        Shape (f + 1,): memory of what is written before each position and read
        from it on, in the forward pass.

    Notes
    -----
    O(nodes + edges), and the same for each plan.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        layout = graph.layout
        self.nodes: Ints = np.flatnonzero(layout.needed[: layout.boundary])
        self._position = np.full(layout.n_nodes + 1, -1, np.int64)  # the last: inputs (−1)
        self._position[self.nodes] = np.arange(len(self.nodes))
        self._rest = np.flatnonzero(layout.needed[layout.boundary :]) + layout.boundary
        reader = np.repeat(np.arange(layout.n_nodes), np.diff(layout.first_read))
        self._reader = self._position[reader]
        self.weight: Ints = offsets(layout.new_memory[self.nodes])
        self.crossing: Ints = self._bytes_across()

    def _bytes_across(self) -> Ints:
        layout = self.graph.layout
        written = self._position[layout.producer]
        last = np.full(layout.n_tensors, -1, np.int64)
        np.maximum.at(last, layout.storage[layout.reads], self._reader)
        change = np.zeros(len(self.nodes) + 2, np.int64)
        crosses = (written >= 0) & (last > written)
        np.add.at(change, written[crosses] + 1, layout.memory[crosses])
        np.add.at(change, last[crosses] + 1, -layout.memory[crosses])
        return np.cumsum(change)[:-1]

    @property
    def edges(self) -> Ints:
        """Shape (2, e): positions of the writer and the reader of each tensor, each pair once."""
        writer = self._position[self.graph.layout.producer[self.graph.layout.reads]]
        inside = (writer >= 0) & (self._reader >= 0)
        return np.unique(np.stack([writer[inside], self._reader[inside]]), axis=1)

    def cut(self, starts: Ints) -> Trace:
        """The plan whose second and later segments start at these positions, ascending."""
        segment = np.searchsorted(starts, np.arange(len(self.nodes)), side="right")
        return self.plan(segment)

    def plan(self, segment: Ints, order: Order = "fixed", whole: bool = False) -> Trace:
        """The plan with these segments.

        Parameters
        ----------
        segment
            Shape (f,): the segment of each position, 0 … s; at no reader less than
            at a writer of what it reads.
        order
            In a free order the segments run one after the other; else the
            forward pass runs in the graph's order, whatever the segments.
        whole
            Whether a node of which one result is kept keeps them all, so that
            it need not run again for another; else only what is read later on is kept.
        """
        again = self._reruns(segment, self._kept(segment, whole))
        first = np.argsort(segment, kind="stable") if order == "free" else slice(None)
        return replayed(self.graph, self._order(self.nodes[first], segment, again))

    def _kept(self, segment: Ints, whole: bool) -> Bools:
        """Shape (m,): tensors that a later segment than their own reads."""
        layout = self.graph.layout
        written_in = np.append(segment, len(segment))[self._position[layout.producer]]
        read_in = np.full(layout.n_tensors, -1, np.int64)
        np.maximum.at(read_in, layout.reads, np.append(segment, -1)[self._reader])
        kept = read_in > written_in
        if whole:
            writers = np.zeros(layout.n_nodes + 1, dtype=bool)  # the last: inputs (−1)
            writers[layout.producer[layout.storage[kept]]] = True  # a view keeps what it lies on
            writers[layout.producer[kept]] = True
            writers[-1] = False
            kept = writers[layout.producer]
        return np.asarray(kept)

    def _reruns(self, segment: Ints, kept: Bools) -> Bools:
        """Shape (f,): nodes to run again, because the backward pass needs what they lead to.

        Not those of the last segment, those that must not run twice, and those
        whose results are kept.
        """
        layout = self.graph.layout
        reads, outputs = layout.reads_of, layout.outputs_of
        want = np.zeros(layout.n_tensors, dtype=bool)
        want[layout.reads[spread(layout.first_read, self._rest)[0]]] = True
        wanted, stays = want.tolist(), kept.tolist()
        may = layout.recomputable[self.nodes] & (segment < segment.max(initial=0))
        again = np.zeros(len(self.nodes), dtype=bool)
        for at in reversed(np.flatnonzero(may).tolist()):
            v = int(self.nodes[at])
            if any(wanted[t] and not stays[t] for t in outputs[v]):
                again[at] = True
                for t in reads[v]:
                    wanted[t] = True
        return again

    def _order(self, first: Ints, segment: Ints, again: Bools) -> Ints:
        """All runs: the forward pass, then the rest, each segment again before it is needed."""
        layout = self.graph.layout
        home = np.where(again, segment, -1)
        of_tensor = np.append(home, -1)[self._position[layout.producer]]
        read, reader = spread(layout.first_read, self._rest)
        wanted = of_tensor[layout.reads[read]]
        # Each segment runs again before the first node of the rest that reads of it.
        segments, at = np.unique(wanted, return_index=True)
        rank = np.full(int(segment.max(initial=0)) + 1, -1, np.int64)
        rank[segments[segments >= 0]] = at[segments >= 0]
        reruns = np.flatnonzero(again & (rank[segment] >= 0))
        reruns = reruns[np.argsort(rank[segment[reruns]], kind="stable")]
        before = reader[rank[segment[reruns]]]
        rest = np.insert(self._rest, before, self.nodes[reruns])
        return np.concatenate([first, rest])
