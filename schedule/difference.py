"""Two plans of one graph: what each keeps, recomputes and moves, and what that changes."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from schedule.graph import Graph
from schedule.layout import Ints
from schedule.memory import Trace
from schedule.sizes import format_memories, format_share
from schedule.steps import AnySchedule, transfer_of
from schedule.verification import verify


class Kept(NamedTuple):
    """A checkpoint of one plan only; `memory` is that of its storage."""

    tensor: str
    memory: int


class Rerun(NamedTuple):
    """A node that runs `a` times in one plan and `b` times in the other.

    `compute` is what that adds to the compute of b; negative where b runs it less.
    """

    node: str
    a: int
    b: int
    compute: int | float


class Copied(NamedTuple):
    """A tensor that is copied to or from levels `a` times in one plan and `b` times in the other.

    `memory` is that of one copy.
    """

    tensor: str
    memory: int
    a: int
    b: int


@dataclass(frozen=True, eq=False)
class Difference:
    """What distinguishes plan b from plan a; every figure comes from a replay on paper.

    Attributes
    ----------
    a, b
        What each plan does to memory.
    """

    a: Trace
    b: Trace

    @cached_property
    def first_step(self) -> int | None:
        """The first step, from 0, at which the two do something else; None: they are the same.

        Where one is the beginning of the other it is the length of the shorter one.
        """
        shorter = min(len(self.a.codes), len(self.b.codes))
        other = np.flatnonzero(self.a.codes[:shorter] != self.b.codes[:shorter])
        if len(other):
            return int(other[0])
        return None if len(self.a.codes) == len(self.b.codes) else shorter

    @property
    def same(self) -> bool:
        """Whether both have the same steps."""
        return self.first_step is None

    @cached_property
    def kept_by_a(self) -> tuple[Kept, ...]:
        """Checkpoints of a that aren't any of b, in the graph's order."""
        return _only(self.a, self.b)

    @cached_property
    def kept_by_b(self) -> tuple[Kept, ...]:
        """Checkpoints of b that aren't any of a, in the graph's order."""
        return _only(self.b, self.a)

    @cached_property
    def reruns(self) -> tuple[Rerun, ...]:
        """Nodes that don't run equally often, what changes the compute most first.

        Their `compute` adds up to `compute_change`.
        """
        found = [
            Rerun(node.name, a, b, (b - a) * node.compute)
            for node, a, b in zip(self.a.graph.nodes, self.a.runs.tolist(), self.b.runs.tolist())
            if a != b
        ]
        return tuple(sorted(found, key=lambda rerun: -abs(rerun.compute)))  # stable

    @cached_property
    def moved(self) -> tuple[str, ...]:
        """The fewest nodes without which both run all others for the first time in one order.

        Of the nodes that run in both plans, in the graph's order. There may be
        other choices of as few; a and b exchanged give the same one.
        """
        firsts = sorted([_first_runs(self.a), _first_runs(self.b)])
        both = set(firsts[0]) & set(firsts[1])
        place = {v: at for at, v in enumerate(v for v in firsts[0] if v in both)}
        stay = _longest_increasing([place[v] for v in firsts[1] if v in both])
        names = self.a.graph.layout.node_names
        return tuple(names[v] for v in sorted(v for v in both if place[v] not in stay))

    @cached_property
    def copied(self) -> tuple[Copied, ...]:
        """Tensors that aren't copied equally often, what moves the most bytes first."""
        a, b = _copies(self.a), _copies(self.b)
        layout = self.a.graph.layout
        found = [
            Copied(layout.tensor_names[t], int(layout.memory[t]), int(a[t]), int(b[t]))
            for t in np.flatnonzero(a != b).tolist()
        ]
        return tuple(sorted(found, key=lambda each: -each.memory * abs(each.b - each.a)))  # stable

    @property
    def peak_change(self) -> int:
        """Peak of b minus that of a."""
        return self.b.peak - self.a.peak

    @property
    def compute_change(self) -> int | float:
        """Compute of b minus that of a."""
        return self.b.compute - self.a.compute

    @property
    def has_copies(self) -> bool:
        """Whether one of them copies anything."""
        return bool(self.a.copies or self.b.copies)

    def __repr__(self) -> str:
        return f"<Difference of two plans of {self.a.graph.name!r}: {self}>"

    def __str__(self) -> str:
        """One line: peak and compute of both, and makespan if any copies; or that they are one."""
        if self.same:
            return f"the same {len(self.a.codes)} steps"
        peaks = " → ".join(format_memories(self.a.peak, self.b.peak))
        overheads = " → ".join(format_share(trace.overhead) for trace in (self.a, self.b))
        line = f"peak {peaks}, compute {overheads}"
        if self.has_copies:
            whole = float(self.a.graph.compute) or 1.0
            above = [float(trace.makespan) / whole - 1 for trace in (self.a, self.b)]
            line += f", makespan {' → '.join(map(format_share, above))}"
        return line

    def to_json(self) -> dict[str, Any]:
        """The difference as plain data."""
        return {
            "graph": self.a.graph.name,
            "same": self.same,
            "first_step": self.first_step,
            "a": _figures(self.a),
            "b": _figures(self.b),
            "peak_change": self.peak_change,
            "compute_change": self.compute_change,
            "kept_by_a": [kept._asdict() for kept in self.kept_by_a],
            "kept_by_b": [kept._asdict() for kept in self.kept_by_b],
            "reruns": [rerun._asdict() for rerun in self.reruns],
            "moved": list(self.moved),
            "copied": [copied._asdict() for copied in self.copied],
        }


def diff(graph: Graph, a: AnySchedule, b: AnySchedule) -> Difference:
    """What distinguishes two plans of a graph, after both were verified.

    Parameters
    ----------
    graph
        The graph; plans know nodes and tensors only by name.
    a, b
        As for `schedule.verify`.

    Returns
    -------
    Difference
        What is kept, recomputed and moved, and what that changes.

    Raises
    ------
    WrongGraph, InvalidSchedule
        One of them isn't a schedule of this graph, or breaks the memory model.
    BadInput
        One of them has no schedule.

    Notes
    -----
    O(steps log steps).

    Examples
    --------
    >>> import schedule
    >>> graph = schedule.example("chain")
    >>> tight, wide = schedule.solve(graph, "40%"), schedule.solve(graph, "60%")
    >>> found = schedule.diff(graph, tight, wide)
    >>> found.compute_change, sum(rerun.compute for rerun in found.reruns)
    (-3, -3)
    """
    return Difference(verify(graph, a), verify(graph, b))


def _only(one: Trace, other: Trace) -> tuple[Kept, ...]:
    layout, there = one.graph.layout, set(other.checkpoints)
    return tuple(
        Kept(name, int(layout.memory[layout.storage[layout.tensor_id[name]]]))
        for name in one.held_checkpoints
        if name not in there
    )


def _copies(trace: Trace) -> Ints:
    """Shape (m,): how often each tensor is copied to a level or from one."""
    layout, found = trace.graph.layout, np.zeros(trace.graph.layout.n_tensors, np.int64)
    for code in trace.codes[trace.timeline.engine > 0].tolist():
        found[transfer_of(layout, code)[0]] += 1
    return found


def _first_runs(trace: Trace) -> list[int]:
    """Numbers of the nodes that run, in the order of their first runs."""
    return list(dict.fromkeys(trace.codes[trace.codes >= 0].tolist()))


def _longest_increasing(values: Sequence[int]) -> set[int]:
    """The members of a longest increasing subsequence of distinct integers.

    Fredman (1975), https://doi.org/10.1016/0012-365X(75)90103-X; O(n log n).
    """
    ends: list[int] = []  # ends[k]: the least end of an increasing subsequence of length k + 1
    before: dict[int, int | None] = {}
    for value in values:
        at = bisect_left(ends, value)
        before[value] = ends[at - 1] if at else None
        ends[at : at + 1] = [value]
    found, last = set(), ends[-1] if ends else None
    while last is not None:
        found.add(last)
        last = before[last]
    return found


def _figures(trace: Trace) -> dict[str, Any]:
    return {
        "peak": trace.peak,
        "compute": trace.compute,
        "overhead": trace.overhead,
        "runs": int(trace.runs.sum()),
        "steps": len(trace.codes),
        "makespan": trace.makespan,
        "copies": trace.copies,
        "checkpoints": len(trace.held_checkpoints),
    }
