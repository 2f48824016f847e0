"""What a baseline gets and gives: a plain graph as arrays, and a plan with a bound."""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd
from typing import NamedTuple

import numpy as np

from schedule.errors import NotApplicable
from schedule.graph import Graph
from schedule.layout import Bools, Ints
from schedule.lowering import in_order


class Answer(NamedTuple):
    """`codes` are the best plan's steps (None: none found), to be verified.

    No plan of the baseline's own model takes less compute than `bound`
    (infinite: it has none within the budget). `seconds` is the wall time.
    """

    codes: Ints | None
    bound: float
    seconds: float


@dataclass(frozen=True)
class Plain:
    """A graph of n nodes that write one tensor each, every one of them needed.

    Attributes
    ----------
    memory, workspace
        Shape (n,): of each node's tensor, and of its run, in units of their
        greatest common divisor.
    compute
        Shape (n,): of each node's run.
    recomputable, is_output
        Shape (n,), flags.
    tail, head
        Shape (edges,): node head[e] reads what node tail[e] writes.
    capacity, peak
        What the resident inputs leave of the budget, and of the peak of every
        node once in the graph's own order, in whole units.
    """

    memory: Ints
    workspace: Ints
    compute: Ints
    recomputable: Bools
    is_output: Bools
    tail: Ints
    head: Ints
    capacity: int
    peak: int

    @property
    def n_nodes(self) -> int:
        """How many nodes there are."""
        return len(self.memory)

    @classmethod
    def of(cls, graph: Graph, budget: int) -> Plain:
        """The arrays of `graph`; raises NotApplicable where the models don't know it."""
        _require_plain(graph)
        layout = graph.layout
        own = slice(layout.n_inputs, None)
        tail = layout.reads - layout.n_inputs
        head = np.repeat(np.arange(layout.n_nodes), np.diff(layout.first_read))
        unit = gcd(*layout.memory[own].tolist(), *layout.workspace.tolist()) or 1
        return cls(
            memory=layout.memory[own] // unit,
            workspace=layout.workspace // unit,
            compute=np.array([node.compute for node in graph.nodes], dtype=np.int64),
            recomputable=layout.recomputable,
            is_output=layout.is_output[own],
            tail=tail[tail >= 0],
            head=head[tail >= 0],
            capacity=(budget - layout.resident_memory) // unit,
            peak=(in_order(graph).peak - layout.resident_memory) // unit,
        )


def _require_plain(graph: Graph) -> None:
    """Raise NotApplicable for what the textbook models leave out."""
    layout = graph.layout
    reasons = {
        "it has no nodes": not layout.n_nodes,
        "a node writes several tensors": bool((np.diff(layout.first_output) > 1).any()),
        "a tensor is a view": bool((layout.storage != np.arange(layout.n_tensors)).any()),
        "an input is freeable": bool(layout.freeable.any()),
        "a node is not needed": not layout.needed.all(),
        "a cost is no integer": not all(isinstance(node.compute, int) for node in graph.nodes),
    }
    for reason, applies in reasons.items():
        if applies:
            raise NotApplicable(f"the textbook models don't know graph {graph.name!r}: {reason}")
