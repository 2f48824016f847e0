"""The chain of layers in a training graph: forward nodes between cuts, and their backward nodes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from schedule.graph import Graph
from schedule.layout import Bools, Ints
from schedule.result import Order
from schedule.solvers.classics.layers.cuts import Cuts, find_cuts

#: No layer: of a backward node that reads nothing of the forward pass.
_ANY = 1 << 40


@dataclass(frozen=True)
class Layer:
    """One layer of a chain: its nodes, and what they hand on.

    Attributes
    ----------
    forward, backward
        Its nodes, ascending.
    output
        The tensors that the next layer reads, all on one storage.
    size
        Memory of that storage; 0 where the next layer reads only what is kept.
    is_pinned
        Whether its own backward nodes need that storage, too.
    kept
        Tensors made here that are kept from their first run on, until nothing
        reads them any more.
    once
        Tensors that have to be kept if the layer is to run again, because what
        made them must not.
    saved
        Tensors made here that its own backward nodes read, and that aren't kept.
    first_sweep, first_all
        Forward nodes of a first run that leaves `output` and `kept`, and of one
        that leaves `saved` too.
    sweep, all, last
        The same when it runs again: for `output`, for both, and for `saved`
        alone (there is no later layer any more that reads `output`).
    """

    forward: list[int]
    backward: list[int]
    output: list[int]
    size: int
    is_pinned: bool
    kept: list[int]
    once: list[int]
    saved: list[int]
    first_sweep: list[int]
    first_all: list[int]
    sweep: list[int]
    all: list[int]
    last: list[int]


@dataclass(frozen=True)
class LayerChain:
    """A graph as a chain of layers.

    Attributes
    ----------
    graph
        The graph.
    layers
        From the first to the last.
    of_node
        Shape (n,): the layer of each node, −1 for those that no output needs.
    kept
        Shape (m,): tensors that are kept from their first run on.
    """

    graph: Graph
    layers: list[Layer]
    of_node: Ints
    kept: Bools


def find_layers(graph: Graph, order: Order, most: int | None = None) -> LayerChain | None:
    """The graph's chain of layers; None where it has fewer than two.

    Parameters
    ----------
    graph
        A graph with a backward pass.
    order
        Where it is `fixed`, the backward nodes have to come layer by layer in
        the graph's own order; where it is `free`, they are put in that order.
    most
        Beyond so many layers, neighbours are merged.

    Notes
    -----
    Layers are what lies between two cuts (`schedule.solvers.classics.layers.cuts`). A
    backward node belongs to the layer whose results it reads; one that reads
    only what crosses a cut, to the later of the two layers; one that reads
    nothing of the forward pass, to the layer of the backward nodes that it
    reads. Where a node reads results of several layers, or would have to run
    before what it reads, the layers between are merged. O(nodes + edges) for
    each round of merging.
    """
    assignment = _Assignment(graph, order, find_cuts(graph))
    assignment.settle()
    if most is not None and assignment.n_layers > most:
        assignment.thin_out(most)
        assignment.settle()
    return None if assignment.n_layers < 2 else _make_layers(graph, order, assignment)


def reason_against(graph: Graph) -> str | None:
    """Why a graph is no chain of layers in any order; None: it is one."""
    if not graph.layout.backward.any():
        return "it has no backward nodes, so there are no layers to bring forward and back"
    if not len(find_cuts(graph).places):
        return (
            "its forward pass is one layer: there is no place in it that only one tensor crosses,"
            " and that tensor may be computed again"
        )
    if find_layers(graph, "free") is None:
        return (
            "its forward pass is one layer: wherever only one tensor crosses it, a backward node"
            " reads from both sides"
        )
    return None


class _Assignment:
    """Which layer each node belongs to, as far as cuts are left."""

    def __init__(self, graph: Graph, order: Order, cuts: Cuts) -> None:
        self._graph, self._order = graph, order
        layout = graph.layout
        needed = np.flatnonzero(layout.needed)
        self._rest: list[int] = needed[needed >= layout.boundary].tolist()
        self._producer: list[int] = layout.producer.tolist()
        self._storage: list[int] = layout.storage.tolist()
        self.cuts = cuts
        self._set_forward()

    @property
    def n_layers(self) -> int:
        """How many layers there are."""
        return len(self.cuts.places) + 1

    def _set_forward(self) -> None:
        places = np.arange(len(self.cuts.nodes))
        found = np.full(self._graph.layout.n_nodes, -1, np.int64)
        found[self.cuts.nodes] = np.searchsorted(self.cuts.places, places, side="left")
        self.of_node: list[int] = found.tolist()

    def settle(self) -> None:
        """Assign backward nodes; merge layers until that goes without a conflict."""
        while True:
            self._set_forward()
            merged = self._assign()
            if not merged.any():
                return
            self.cuts = self.cuts.only(~merged)

    def thin_out(self, layers: int) -> None:
        """Keep the cut of least memory in each of `layers` − 1 equal stretches."""
        size = self._graph.layout.memory[self.cuts.storages]
        size[self.cuts.storages < 0] = 0
        ends = np.linspace(0, len(size), layers, dtype=np.int64)
        keep = np.zeros(len(size), dtype=bool)
        for start, end in zip(ends[:-1].tolist(), ends[1:].tolist()):
            keep[start + int(size[start:end].argmin())] = True
        self.cuts = self.cuts.only(keep)

    def _assign(self) -> Bools:
        """Give each backward node its layer; return the cuts that are in the way."""
        reads = self._graph.layout.reads_of
        merged = np.zeros(len(self.cuts.places), dtype=bool)
        before = _ANY if self._order == "free" else self.n_layers - 1
        for v in self._rest:
            lowest, highest = self._span(reads[v])
            makers = (self._producer[t] for t in reads[v])
            done = (self.of_node[u] for u in makers if u >= self._graph.layout.boundary)
            latest = min([before, *done])
            layer = min(highest, latest)
            if lowest > layer:
                merged[layer:lowest] = True
                layer = lowest
            self.of_node[v] = layer
            if self._order == "fixed":  # no later node may come back to a later layer
                before = layer
        self._place_free_ones()
        return merged

    def _span(self, reads: Iterable[int]) -> tuple[int, int]:
        """The lowest and the highest layer that what is read of the forward pass allows."""
        lowest, highest = -1, _ANY
        storages, kept = self.cuts.storages, self.cuts.kept
        for t in reads:
            maker = self._producer[t]
            if 0 <= maker < self._graph.layout.boundary and not kept[t]:
                layer = self.of_node[maker]
                lowest = max(lowest, layer)
                crosses = layer < len(storages) and storages[layer] == self._storage[t]
                highest = min(highest, layer + 1 if crosses else layer)
        return lowest, highest

    def _place_free_ones(self) -> None:
        """What reads nothing of any layer runs right before the first node that reads it."""
        layout = self._graph.layout
        for v in reversed(self._rest):
            if self.of_node[v] == _ANY:
                readers = (w for t in layout.outputs_of[v] for w in layout.readers_of[t])
                later = [self.of_node[w] for w in readers if self.of_node[w] >= 0]
                self.of_node[v] = max(later, default=0)


def _make_layers(graph: Graph, order: Order, assignment: _Assignment) -> LayerChain:
    layout, cuts = graph.layout, assignment.cuts
    forward: list[list[int]] = [[] for _ in range(assignment.n_layers)]
    backward: list[list[int]] = [[] for _ in range(assignment.n_layers)]
    for v, layer in enumerate(assignment.of_node):
        if layer >= 0:
            (forward if v < layout.boundary else backward)[layer].append(v)
    storages = [*cuts.storages.tolist(), -1]
    make = _Maker(graph, order, assignment.of_node, cuts.kept)
    layers = [
        make.layer(j, ahead, back, storage)
        for j, (ahead, back, storage) in enumerate(zip(forward, backward, storages))
    ]
    return LayerChain(graph, layers, np.array(assignment.of_node, np.int64), cuts.kept)


class _Maker:
    """Makes layers of their nodes."""

    def __init__(self, graph: Graph, order: Order, of_node: list[int], kept: Bools) -> None:
        self._layout, self._order = graph.layout, order
        self._of_node = of_node
        self._kept: list[bool] = kept.tolist()

    def layer(self, j: int, forward: list[int], backward: list[int], storage: int) -> Layer:
        """Layer j, whose last cut `storage` crosses."""
        layout, kept = self._layout, self._kept
        made = [t for v in forward for t in layout.outputs_of[v]]
        there = set(made)
        read_back = {t for v in backward for t in layout.reads_of[v]}
        saved = [t for t in made if t in read_back and not kept[t]]
        output = [
            t
            for t in made
            if layout.storage[t] == storage and any(self._later(j, w) for w in layout.readers_of[t])
        ]
        lasting = [t for t in made if kept[t] and self._wanted(t)]
        first_sweep = self._back_from(forward, [*output, *lasting], set())
        first_all = self._back_from(forward, [*output, *lasting, *saved], set())
        if self._order == "fixed":
            first_sweep = first_all = forward
        read = read_back.union(t for v in first_all for t in layout.reads_of[v])
        once = self._once(first_sweep, read)
        left = {t for t in there if kept[t]}.union(once)
        return Layer(
            forward=forward,
            backward=backward,
            output=output,
            size=int(layout.memory[storage]) if output else 0,
            is_pinned=bool(output) and any(layout.storage[t] == storage for t in saved),
            kept=lasting,
            once=once,
            saved=saved,
            first_sweep=first_sweep,
            first_all=first_all,
            sweep=self._back_from(forward, output, left),
            all=self._back_from(forward, [*output, *saved], left),
            last=self._back_from(forward, saved, left),
        )

    def _later(self, j: int, reader: int) -> bool:
        """Whether a node reads what layer j hands on: in a later layer."""
        return self._of_node[reader] > j

    def _wanted(self, tensor: int) -> bool:
        layout = self._layout
        readers = layout.readers_of[tensor]
        return bool(layout.is_output[tensor]) or any(self._of_node[w] >= 0 for w in readers)

    def _once(self, runs: list[int], read: set[int]) -> list[int]:
        """What has to stay of a first run if the layer is to run again."""
        layout = self._layout
        return [
            t
            for v in runs
            if not layout.recomputable[v]
            for t in layout.outputs_of[v]
            if t in read and not self._kept[t]
        ]

    def _back_from(self, nodes: list[int], wanted: Iterable[int], left: set[int]) -> list[int]:
        """Those of the nodes that have to run for what is wanted, where `left` is there."""
        layout = self._layout
        want = set(wanted) - left
        found = []
        for v in reversed(nodes):
            if not want.isdisjoint(layout.outputs_of[v]):
                found.append(v)
                want.update(t for t in layout.reads_of[v] if t not in left)
        return found[::-1]
