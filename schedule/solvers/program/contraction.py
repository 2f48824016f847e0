"""The graph as integer models and searches see it: what can be held, and what can run.

A *resource* is what a schedule holds or doesn't: a storage together with the views
on it that cost nothing to recompute. Any other view is a resource of no size
that needs its storage held. An *operation* is a node that has to run; a free
view (no compute, no workspace, one input, may run again) stays an operation
only in that it reads its storage when it first runs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from schedule.graph import Graph, kept_with_graph
from schedule.layout import Bools, Floats, Ints, distinct, offsets, spread


@dataclass(frozen=True)
class Contraction:
    """Operations and resources of a graph, as arrays.

    Attributes
    ----------
    nodes
        Shape (o,): the node of each operation, ascending.
    operation
        Shape (n,): the operation of each node, −1 where there is none.
    is_view
        Shape (o,): operations that only write free views. No model reruns them;
        `schedule.solvers.program.views` inserts their reruns where they are read.
    resource
        Shape (m,): the resource of each tensor, −1 for resident inputs and
        tensors on them, which are always live.
    size, producer, base, is_output
        Shape (r,): memory; the operation that writes it (−1: a freeable input);
        the resource whose storage a view needs (−1: none); whether it must be
        held after the last step.
    first_read, reads
        CSR: the resources that each operation reads.
    """

    nodes: Ints
    operation: Ints
    is_view: Bools
    resource: Ints
    size: Ints
    producer: Ints
    base: Ints
    is_output: Bools
    first_read: Ints
    reads: Ints

    @property
    def n_operations(self) -> int:
        """How many operations there are."""
        return len(self.nodes)

    @property
    def n_resources(self) -> int:
        """How many resources there are."""
        return len(self.size)


@kept_with_graph
def contract(graph: Graph) -> Contraction:
    """Fold free views into their storages; drop what no output needs. O(nodes + edges)."""
    layout = graph.layout
    nodes = np.flatnonzero(layout.needed)
    operation = np.full(layout.n_nodes, -1, np.int64)
    operation[nodes] = np.arange(len(nodes))
    is_view = _free_views(graph)
    resource, owners = _resources(graph, is_view)
    producer = layout.producer[owners]
    root = layout.storage[owners]
    output = np.zeros(len(owners), dtype=bool)
    held = resource[layout.is_output]
    output[held[held >= 0]] = True
    first, reads = _reads(graph, nodes, resource)
    return Contraction(
        nodes=nodes,
        operation=operation,
        is_view=is_view[nodes],
        resource=resource,
        size=layout.memory[owners],
        producer=np.where(producer >= 0, operation[producer], -1),
        base=np.where(root == owners, -1, resource[root]),
        is_output=output,
        first_read=first,
        reads=reads,
    )


def _resources(graph: Graph, is_view: Bools) -> tuple[Ints, Ints]:
    """The resource of each tensor, and the tensor that each resource is known by."""
    layout = graph.layout
    is_input, writer = layout.producer < 0, layout.producer
    is_free = ~is_input & is_view[writer]
    owned = np.where(is_input, layout.freeable, layout.needed[writer] & ~is_free)
    # The tensor that a chain of free views begins with: twice as far at each step.
    source = np.arange(layout.n_tensors)
    source[is_free] = layout.reads[layout.first_read[writer[is_free]]]
    while not np.array_equal(farther := source[source], source):
        source = farther
    owners = np.flatnonzero(owned)
    resource = np.full(layout.n_tensors, -1, np.int64)
    resource[owners] = np.arange(len(owners))
    return resource[source], owners


def _free_views(graph: Graph) -> Bools:
    layout = graph.layout
    owns = layout.storage == np.arange(layout.n_tensors)
    owned = np.bincount(layout.producer[owns & (layout.producer >= 0)], minlength=layout.n_nodes)
    costs_nothing = (layout.compute == 0) & (layout.workspace == 0)
    is_view: Bools = costs_nothing & (np.diff(layout.first_read) == 1) & (owned == 0)
    return is_view & layout.recomputable


def _reads(graph: Graph, nodes: Ints, resource: Ints) -> tuple[Ints, Ints]:
    layout = graph.layout
    at, owner = spread(layout.first_read, nodes)
    read = resource[layout.reads[at]]
    return as_rows(owner[read >= 0], read[read >= 0], len(nodes))


def as_rows(row: Ints, value: Ints, rows: int) -> tuple[Ints, Ints]:
    """CSR: where each row starts, and what it holds, each value ≥ 0 once, ascending."""
    width = int(value.max(initial=0)) + 1
    row, value = np.divmod(distinct(row * width + value), width)
    return offsets(np.bincount(row, minlength=rows)), value


def predecessors(contraction: Contraction) -> list[list[int]]:
    """The operations that write what each operation reads."""
    c = contraction
    writers, first = c.producer[c.reads].tolist(), c.first_read.tolist()
    return [[u for u in writers[first[v] : first[v + 1]] if u >= 0] for v in range(c.n_operations)]


def heaviest_path(contraction: Contraction, weight: Floats) -> list[int]:
    """Operations on the directed path of the largest weight, the longest of those. O(edges)."""
    tie = 1e-9 / max(contraction.n_operations, 1)
    total: list[float] = (weight + tie).tolist()
    before = [-1] * contraction.n_operations
    for v, writers in enumerate(predecessors(contraction)):
        if writers:
            before[v] = max(writers, key=total.__getitem__)  # of equals the first: they ascend
            total[v] += total[before[v]]
    path = []
    v = max(range(len(total)), key=total.__getitem__, default=-1)
    while v >= 0:
        path.append(v)
        v = before[v]
    return path[::-1]
