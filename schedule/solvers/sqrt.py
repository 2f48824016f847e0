"""Checkpoints every √n steps, on any training graph."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from schedule.graph import Graph
from schedule.layout import Bools, Ints, offsets
from schedule.lowering import replayed
from schedule.memory import Trace
from schedule.solvers.contract import Problem, Proposal

#: Up to here every number of segments is tried in turn.
_ALL = 64


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
    name: str = "sqrt"
    summary: str = "keeps what crosses the cuts between about √n segments (Chen et al. 2016)"

    def supports(self, graph: Graph) -> str | None:
        """Graphs with a backward pass."""
        if not graph.layout.backward.any():
            return "it has no backward nodes, so there is no forward pass to cut into segments"
        return None

    def propose(self, problem: Problem) -> Proposal:
        """The plan with the fewest segments that fits, or the one of least peak."""
        forward = _Forward(problem.graph)
        root = math.sqrt(max(len(forward.nodes), 1))
        if self.segments is not None:
            return Proposal(forward.plan(self.segments).codes)
        if problem.budget is None:
            return Proposal(forward.plan(round(root)).codes)
        most = math.ceil(2 * root)
        least, before = forward.plan(1), 1
        for count in _growing(most):
            trace = forward.plan(count)
            if problem.fits(trace.peak):  # what was skipped on the way here may fit too
                between = (forward.plan(fewer) for fewer in range(before + 1, count))
                least = next((plan for plan in between if problem.fits(plan.peak)), trace)
            elif trace.peak < least.peak:
                least = trace
            if problem.fits(least.peak) or problem.seconds_left <= 0:
                break
            before = count
        return Proposal(least.codes)


def _growing(most: int) -> Iterator[int]:
    """Every number up to `_ALL`, then in steps of a tenth, up to `most`."""
    count = 1
    while count <= most:
        yield count
        count += max(1, count // 10 if count >= _ALL else 1)


class _Forward:
    """The forward part of a graph: needed nodes before the first backward one."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        layout = graph.layout
        self.nodes: Ints = np.flatnonzero(layout.needed[: layout.turn])
        self._place = np.full(layout.n_nodes + 1, -1, np.int64)  # the last: inputs (−1)
        self._place[self.nodes] = np.arange(len(self.nodes))
        self._rest = np.flatnonzero(layout.needed[layout.turn :]) + layout.turn
        self._set_readers()
        self._weight = offsets(layout.new_memory[self.nodes])
        self._crossing = self._bytes_across()

    def _set_readers(self) -> None:
        """For each tensor, the place of its last forward reader; −1: none."""
        layout = self.graph.layout
        reader = np.repeat(np.arange(layout.n_nodes), np.diff(layout.first_read))
        self._last_reader = np.full(layout.n_tensors, -1, np.int64)
        np.maximum.at(self._last_reader, layout.reads, self._place[reader])

    def _bytes_across(self) -> Ints:
        """Shape (f + 1,): memory of what is written before each place and read from it on."""
        layout = self.graph.layout
        written = self._place[layout.producer]
        last = np.full(layout.n_tensors, -1, np.int64)
        np.maximum.at(last, layout.storage, self._last_reader)
        change = np.zeros(len(self.nodes) + 2, np.int64)
        crosses = (written >= 0) & (last > written)
        np.add.at(change, written[crosses] + 1, layout.memory[crosses])
        np.add.at(change, last[crosses] + 1, -layout.memory[crosses])
        return np.cumsum(change)[:-1]

    def plan(self, segments: int) -> Trace:
        """The plan with that many segments (fewer where there is no place to cut)."""
        starts = self._cut(segments)
        segment = np.searchsorted(starts, np.arange(len(self.nodes)), side="right")
        again = self._reruns(segment, last=len(starts))
        return replayed(self.graph, self._order(segment, again))

    def _cut(self, segments: int) -> Ints:
        """Places where the second and later segments start, ascending."""
        total = self._weight[-1]
        places = []
        for at in range(1, segments):
            low, high = (total * (2 * at + side) / (2 * segments) for side in (-1, 1))
            first = int(np.searchsorted(self._weight, low, side="left"))
            last = int(np.searchsorted(self._weight, high, side="right"))
            first, last = max(first, 1), min(last, len(self.nodes))
            if first < last:
                places.append(first + int(self._crossing[first:last].argmin()))
        return np.unique(np.array(places, np.int64))

    def _reruns(self, segment: Ints, last: int) -> Bools:
        """Shape (f,): nodes to run again, because the backward pass needs what they lead to.

        Not those of the last segment, those that must not run twice, and those
        whose results are kept because a later segment reads them.
        """
        layout = self.graph.layout
        reads, outputs = layout.reads_of, layout.outputs_of
        wanted = np.zeros(layout.n_tensors, dtype=bool)
        for v in self._rest.tolist():
            wanted[reads[v]] = True
        of_tensor = np.append(segment, last + 1)[self._place[layout.producer]]
        read_in = np.append(segment, -1)[self._last_reader]
        kept = (read_in > of_tensor).tolist()
        want, may = wanted.tolist(), layout.recomputable[self.nodes] & (segment < last)
        again = np.zeros(len(self.nodes), dtype=bool)
        for at in reversed(np.flatnonzero(may).tolist()):
            v = int(self.nodes[at])
            if any(want[t] and not kept[t] for t in outputs[v]):
                again[at] = True
                for t in reads[v]:
                    want[t] = True
        return again

    def _order(self, segment: Ints, again: Bools) -> Ints:
        """All runs: the forward pass, then the rest, each segment again before it is needed."""
        layout = self.graph.layout
        waiting: dict[int, list[int]] = {}
        for at in np.flatnonzero(again).tolist():
            waiting.setdefault(int(segment[at]), []).append(int(self.nodes[at]))
        home = np.where(again, segment, -1)
        of_tensor = np.append(home, -1)[self._place[layout.producer]].tolist()
        runs = self.nodes.tolist()
        for v in self._rest.tolist():
            for t in layout.reads_of[v]:
                if of_tensor[t] >= 0:
                    runs += waiting.pop(of_tensor[t], ())
            runs.append(v)
        return np.array(runs, np.int64)
