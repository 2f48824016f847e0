"""A graph as integer arrays: what the memory model and the solvers work on.

Tensors are numbered: the inputs first, then every node's outputs in the order
of the nodes, so the outputs of node v are one contiguous range. A storage has
the number of the tensor that owns it. Sequences of steps are arrays of codes:
v ≥ 0 computes node v, and ~t < 0 frees tensor t. With m tensors, ~(t + q · m)
is a step for a level below the device: q = 3 (level − 1) + 1 offloads tensor t to
it, one more fetches it from there (`prefetch`), and two more drop it.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from schedule.graph import Graph

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


class Layout:
    """The arrays of one graph with n nodes, i inputs and m tensors.

    Attributes
    ----------
    node_names, tensor_names
        Names by number, lists of length n and m.
    node_id, tensor_id
        Numbers by name.
    first_output
        Shape (n + 1,): node v writes the tensors first_output[v] … first_output[v + 1] − 1.
    first_read, reads
        Shape (n + 1,) and (edges,): node v reads the tensors
        reads[first_read[v] : first_read[v + 1]], each named once, ascending.
    producer
        Shape (m,): the node that writes a tensor, −1 for an input.
    storage
        Shape (m,): the tensor that owns the storage a tensor lies on.
    memory
        Shape (m,): size of the storage that a tensor owns, 0 for a view.
    new_memory, workspace, run_memory
        Shape (n,): memory of the storages that a run of the node allocates, its
        workspace, and both: what a run needs beside what is live before it.
    recomputable, backward
        Shape (n,), flags.
    resident, freeable, offloadable, is_output
        Shape (m,), flags; all but some inputs are offloadable.
    """

    def __init__(self, graph: Graph) -> None:
        nodes, inputs = graph.nodes, graph.inputs
        self.n_nodes = len(nodes)
        self.n_inputs = len(inputs)
        written = [out for node in nodes for out in node.outputs]
        self.node_names: list[str] = [node.name for node in nodes]
        self.tensor_names: list[str] = [item.name for item in inputs] + [
            out.name for out in written
        ]
        self.n_tensors = len(self.tensor_names)
        self.node_id = {name: number for number, name in enumerate(self.node_names)}
        self.tensor_id = {name: number for number, name in enumerate(self.tensor_names)}
        counts = np.array([len(node.outputs) for node in nodes], dtype=np.int64)
        self.first_output: Ints = self.n_inputs + offsets(counts)
        self.producer: Ints = np.concatenate(
            [np.full(self.n_inputs, -1, np.int64), np.repeat(np.arange(self.n_nodes), counts)]
        )
        self._set_reads(graph)
        self.memory: Ints = np.array(
            [item.memory for item in inputs] + [out.memory for out in written], dtype=np.int64
        )
        storage = list(range(self.n_tensors))
        for number, out in enumerate(written, start=self.n_inputs):
            if out.view_of is not None:
                storage[number] = storage[self.tensor_id[out.view_of]]
        self.storage: Ints = np.array(storage, dtype=np.int64)
        cumulated = offsets(self.memory)
        self.new_memory: Ints = cumulated[self.first_output[1:]] - cumulated[self.first_output[:-1]]
        self.workspace: Ints = np.array([node.workspace for node in nodes], dtype=np.int64)
        self.run_memory: Ints = self.new_memory + self.workspace
        self.recomputable: Bools = np.array([node.recomputable for node in nodes], dtype=bool)
        self.backward: Bools = np.array([node.backward for node in nodes], dtype=bool)
        self.freeable: Bools = np.zeros(self.n_tensors, dtype=bool)
        self.freeable[: self.n_inputs] = [item.freeable for item in inputs]
        self.resident: Bools = ~self.freeable & (self.producer < 0)
        self.offloadable: Bools = np.ones(self.n_tensors, dtype=bool)
        self.offloadable[: self.n_inputs] = [item.offloadable for item in inputs]
        self.is_output: Bools = np.zeros(self.n_tensors, dtype=bool)
        self.is_output[[self.tensor_id[name] for name in graph.outputs]] = True
        #: Costs of one run each; exact Python numbers are in `graph.nodes`.
        self.compute: Floats = np.array([node.compute for node in nodes], dtype=np.float64)

    def _set_reads(self, graph: Graph) -> None:
        number = self.tensor_id
        reads: list[int] = []
        first = [0]
        for node in graph.nodes:
            if len(node.inputs) == 1:
                reads.append(number[node.inputs[0]])
            else:
                reads.extend(sorted({number[name] for name in node.inputs}))
            first.append(len(reads))
        self.reads: Ints = np.array(reads, dtype=np.int64)
        self.first_read: Ints = np.array(first, dtype=np.int64)

    @cached_property
    def reads_of(self) -> list[list[int]]:
        """Tensors that each node reads, as lists: for loops in plain Python."""
        flat, first = self.reads.tolist(), self.first_read.tolist()
        return [flat[first[v] : first[v + 1]] for v in range(self.n_nodes)]

    @cached_property
    def outputs_of(self) -> list[range]:
        """Tensors that each node writes, as ranges."""
        first = self.first_output.tolist()
        return [range(first[v], first[v + 1]) for v in range(self.n_nodes)]

    @cached_property
    def readers_of(self) -> list[list[int]]:
        """Nodes that read each tensor, ascending."""
        readers: list[list[int]] = [[] for _ in range(self.n_tensors)]
        for v, reads in enumerate(self.reads_of):
            for tensor in reads:
                readers[tensor].append(v)
        return readers

    @cached_property
    def needed(self) -> Bools:
        """Shape (n,): nodes without which some output can't be computed.

        All but those whose results nothing reads, and, without these, again.
        """
        maker = self.producer[self.reads]
        uses = np.bincount(maker[maker >= 0], minlength=self.n_nodes)
        uses += np.bincount(
            self.producer[self.is_output & (self.producer >= 0)], minlength=self.n_nodes
        )
        needed = uses > 0
        gone = np.flatnonzero(~needed).tolist()
        while gone:
            v = gone.pop()
            for u in maker[self.first_read[v] : self.first_read[v + 1]].tolist():
                if u < 0:
                    continue
                uses[u] -= 1
                if not uses[u]:
                    needed[u] = False
                    gone.append(u)
        return needed

    @cached_property
    def boundary(self) -> int:
        """The first backward node's number; n where there is none."""
        found = np.flatnonzero(self.backward)
        return int(found[0]) if len(found) else self.n_nodes

    @cached_property
    def resident_memory(self) -> int:
        """Memory of the inputs that are never freed."""
        return int(self.memory[self.resident].sum())


def offsets(counts: Ints) -> Ints:
    """Where each of several runs of the given lengths starts, and the end: shape (n + 1,)."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)])


def distinct(values: Ints) -> Ints:
    """The values, each once, ascending: sorted, where `numpy.unique` hashes, 80 times slower."""
    ordered = np.sort(values)
    first = np.ones(len(ordered), dtype=bool)
    first[1:] = ordered[1:] != ordered[:-1]
    return ordered[first]


def first_of(values: Ints) -> Bools:
    """Shape (n,): whether each value is the first of its kind."""
    first = np.zeros(len(values), dtype=bool)
    first[np.unique(values, return_index=True)[1]] = True
    return first


def mask_of(numbers: Iterable[int]) -> int:
    """The integer with these bits set."""
    found = 0
    for number in numbers:
        found |= 1 << int(number)
    return found


def spread(first: Ints, picked: Ints) -> tuple[Ints, Ints]:
    """The ranges first[p] … first[p + 1] of all `picked`, end to end.

    Returns the flat indices, and for each the position in `picked` it belongs to.
    """
    counts = first[picked + 1] - first[picked]
    owner = np.repeat(np.arange(len(picked)), counts)
    start = offsets(counts)[:-1]
    flat = np.arange(len(owner)) - np.repeat(start - first[picked], counts)
    return flat, owner
