"""What runs, what it reads and writes, at what cost: the arrays of all compiled searches."""

from __future__ import annotations

import numpy as np

from schedule.graph import Graph, kept_with_graph
from schedule.layout import Bools, Floats, Ints, first_of, spread
from schedule.result import Order
from schedule.solvers.kit.structs import Struct
from schedule.solvers.program.contraction import as_rows, contract
from schedule.solvers.program.views import with_views


class Operations(Struct):
    """What can be put in order, as arrays: o operations, r resources.

    Free views are no operations in a free order: they run where they are read. In
    a given order they are operations that only read, so that they keep their
    position.

    Attributes
    ----------
    nodes
        Shape (o,): the node of each operation, ascending.
    first_read, reads, first_write, writes
        CSR: the resources that each operation reads and writes, each once.
    extra, compute, cost, may_repeat
        Shape (o,): memory that a run needs beside what is held; its compute, in the
        graph's unit and as a share of every node once; whether it may run again (never
        what writes a storage with views on it that aren't free).
    producer, size, kept
        Shape (r,): the operation that writes a resource (−1: it is live from the
        start), its memory, whether it has to be live at the end.
    in_order
        Whether first runs stay in the order of the operations.
    """

    nodes: Ints
    first_read: Ints
    reads: Ints
    first_write: Ints
    writes: Ints
    extra: Ints
    compute: Floats
    cost: Floats
    may_repeat: Bools
    producer: Ints
    size: Ints
    kept: Bools
    in_order: bool

    def sequence(self, runs: Ints) -> Ints:
        """The operations of node runs; what must not repeat counts where it first runs."""
        number: Ints = np.full(
            int(max(self.nodes.max(initial=-1), runs.max(initial=-1))) + 1, -1, np.int64
        )
        number[self.nodes] = np.arange(len(self.nodes))
        found: Ints = number[runs]
        found = found[found >= 0]
        kept: Ints = found[first_of(found) | self.may_repeat[found]]
        return kept


def operations_of(graph: Graph, order: Order) -> Operations:
    """The operations of a graph, made once. O(nodes + edges)."""
    return _in_order(graph) if order == "fixed" else _in_any_order(graph)


@kept_with_graph
def _in_order(graph: Graph) -> Operations:
    return _operations(graph, "fixed")


@kept_with_graph
def _in_any_order(graph: Graph) -> Operations:
    return _operations(graph, "free")


def _operations(graph: Graph, order: Order) -> Operations:
    c, layout = contract(graph), graph.layout
    chosen = np.flatnonzero(~c.is_view) if order == "free" else np.arange(c.n_operations)
    number = np.full(c.n_operations, -1, np.int64)
    number[chosen] = np.arange(len(chosen))
    at, reader = spread(c.first_read, chosen)
    read = c.reads[at]
    is_on = c.base[read] >= 0  # a view that isn't free needs its storage, too
    first_read, reads = as_rows(
        np.concatenate([reader, reader[is_on]]),
        np.concatenate([read, c.base[read[is_on]]]),
        len(chosen),
    )
    written = np.flatnonzero(c.producer >= 0)
    first_write, writes = as_rows(number[c.producer[written]], written, len(chosen))
    nodes = c.nodes[chosen]
    is_view = c.is_view[chosen]
    kept = c.is_output.copy()
    kept[c.base[c.is_output & (c.base >= 0)]] = True
    # A view that isn't free stays on its storage when that is written anew, and so would keep
    # the old copy: memory that isn't counted here.
    viewed = np.zeros(len(chosen), dtype=bool)
    writers = c.producer[c.base[c.base >= 0]]
    viewed[number[writers[writers >= 0]]] = True
    compute = np.where(is_view, 0.0, layout.compute[nodes])
    return Operations(
        nodes=nodes,
        first_read=first_read,
        reads=reads,
        first_write=first_write,
        writes=writes,
        extra=layout.run_memory[nodes],
        compute=compute,
        cost=compute / max(float(graph.compute), 1e-300),
        may_repeat=layout.recomputable[nodes] & ~is_view & ~viewed,
        producer=np.append(number, -1)[c.producer],  # −1 stays −1
        size=c.size,
        kept=kept,
        in_order=order == "fixed",
    )


def recomputable(graph: Graph, operations: Operations) -> Bools:
    """Shape (o,): what a schedule may run again; models leave out some (`may_repeat`)."""
    c = contract(graph)
    is_view = np.isin(operations.nodes, c.nodes[c.is_view])
    found: Bools = graph.layout.recomputable[operations.nodes] & ~is_view
    return found


def node_runs(graph: Graph, operations: Operations, sequence: Ints) -> Ints:
    """The node runs that a sequence of operations stands for, with views and without waste."""
    from schedule.solvers.program.waste import without_waste  # compiles: only when needed

    runs = with_views(graph, contract(graph), operations.nodes[sequence])
    return without_waste(graph.layout, runs, "fixed" if operations.in_order else "free")
