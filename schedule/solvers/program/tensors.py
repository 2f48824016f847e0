"""The graph as it is, tensor by tensor: the arrays of what follows single tensors, compiled."""

from __future__ import annotations

import numpy as np

from schedule.graph import Graph, kept_with_graph
from schedule.layout import Bools, Floats, Ints, offsets
from schedule.solvers.kit.structs import Struct


class Tensors(Struct):
    """A graph with n nodes and m tensors.

    Attributes
    ----------
    first_read, reads, first_output, producer, storage, memory, is_output
        As in `schedule.layout.Layout`.
    first_reader, readers
        CSR: the nodes that read each tensor.
    first_on, on
        CSR: the tensors on each storage.
    extra
        Shape (n,): memory that a run needs beside what is live.
    share, compute
        Shapes (m,) and (n,): sizes and costs without a unit.
    may_repeat, stays
        Shapes (n,) and (m,): whether a node may run again; tensors that are never freed.
    """

    first_read: Ints
    reads: Ints
    first_output: Ints
    producer: Ints
    first_reader: Ints
    readers: Ints
    storage: Ints
    first_on: Ints
    on: Ints
    memory: Ints
    extra: Ints
    share: Floats
    compute: Floats
    may_repeat: Bools
    stays: Bools
    is_output: Bools


@kept_with_graph
def tensors_of(graph: Graph) -> Tensors:
    """The arrays of a graph, made once. O(nodes + edges), sorted."""
    layout = graph.layout
    owner = np.repeat(np.arange(layout.n_nodes), np.diff(layout.first_read))
    return Tensors(
        first_read=layout.first_read,
        reads=layout.reads,
        first_output=layout.first_output,
        producer=layout.producer,
        first_reader=offsets(np.bincount(layout.reads, minlength=layout.n_tensors)),
        readers=np.sort(layout.reads * layout.n_nodes + owner) % max(layout.n_nodes, 1),
        storage=layout.storage,
        first_on=offsets(np.bincount(layout.storage, minlength=layout.n_tensors)),
        on=np.argsort(layout.storage, kind="stable"),
        memory=layout.memory,
        extra=layout.run_memory,
        share=layout.memory / max(int(layout.memory.max(initial=0)), 1),
        compute=layout.compute / (float(layout.compute.sum()) or 1.0),
        may_repeat=layout.recomputable,
        stays=layout.resident,
        is_output=layout.is_output,
    )
