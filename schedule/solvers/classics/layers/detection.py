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
        Tensors written here that are kept from their first run on, until nothing
        reads them any more.
    once
        Tensors that have to be kept if the layer is to run again, because what
        wrote them must not.
    advance, all, last
        Forward nodes that run again, and of a first run: for `output`, for that and
        what backward nodes read, and for the latter alone (there is no later layer
        any more that reads `output`). A first run leaves `kept`, too.
    """

    forward: list[int]
    backward: list[int]
    output: list[int]
    size: int
    is_pinned: bool
    kept: list[int]
    once: list[int]
    advance: tuple[list[int], list[int]]
    all: tuple[list[int], list[int]]
    last: tuple[list[int], list[int]]


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
        Of more layers than that, adjacent ones are merged.

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
    cuts, of_node = _settled(graph, order, find_cuts(graph))
    if most is not None and len(cuts.positions) >= most:
        cuts, of_node = _settled(graph, order, cuts.thinned(graph.layout, most))
    if not len(cuts.positions):
        return None
    make = _Maker(graph, order, of_node, cuts)
    layers = [make.layer(j) for j in range(len(cuts.positions) + 1)]
    return LayerChain(graph, layers, np.array(of_node, np.int64), cuts.kept)


def reason_against(graph: Graph) -> str | None:
    """Why a graph is no chain of layers in any order; None: it is one."""
    if not graph.layout.backward.any():
        return "it has no backward nodes, so there are no layers to bring forward and back"
    if find_layers(graph, "free") is None:
        return (
            "its forward pass is one layer: there is no point in it that only one tensor crosses,"
            " which may be computed again, and that no backward node reads across"
        )
    return None


def _settled(graph: Graph, order: Order, cuts: Cuts) -> tuple[Cuts, list[int]]:
    """The cuts that no node is in the way of, and the layer of each node, −1 for none."""
    while True:
        of_node, merged = _assigned(graph, order, cuts)
        if not merged.any():
            return cuts, of_node
        cuts = cuts.only(~merged)


def _assigned(graph: Graph, order: Order, cuts: Cuts) -> tuple[list[int], Bools]:
    """Give each node its layer; say which cuts are in the way."""
    layout, positions = graph.layout, np.arange(len(cuts.nodes))
    found = np.full(layout.n_nodes, -1, np.int64)
    found[cuts.nodes] = np.searchsorted(cuts.positions, positions, side="left")
    of_node: list[int] = found.tolist()
    producer, storage = layout.producer.tolist(), layout.storage.tolist()
    crossing: list[int] = [*cuts.storages.tolist(), -1]
    merged = np.zeros(len(cuts.positions), dtype=bool)
    rest = (np.flatnonzero(layout.needed[layout.boundary :]) + layout.boundary).tolist()
    before = _ANY if order == "free" else len(cuts.positions)
    for v in rest:
        # The lowest and the highest layer that what it reads allows.
        lowest, highest = -1, before
        for t in layout.reads_of[v]:
            if producer[t] >= layout.boundary:
                highest = min(highest, of_node[producer[t]])
            elif producer[t] >= 0 and not cuts.kept[t]:
                layer = of_node[producer[t]]
                lowest = max(lowest, layer)
                highest = min(highest, layer + (crossing[layer] == storage[t]))
        if lowest > highest:
            merged[highest:lowest] = True
            highest = lowest
        of_node[v] = highest
        if order == "fixed":  # no later node may belong to a later layer
            before = highest
    for v in reversed(rest):
        if of_node[v] == _ANY:  # it reads nothing of any layer: right before its first reader
            readers = (w for t in layout.outputs_of[v] for w in layout.readers_of[t])
            of_node[v] = max((of_node[w] for w in readers if of_node[w] >= 0), default=0)
    return of_node, merged


class _Maker:
    """Makes the layers from their nodes."""

    def __init__(self, graph: Graph, order: Order, of_node: list[int], cuts: Cuts) -> None:
        self._layout, self._order = graph.layout, order
        self._of_node, self._kept = of_node, cuts.kept.tolist()
        self._storages = [*cuts.storages.tolist(), -1]
        nodes: list[list[list[int]]] = [[[], []] for _ in self._storages]
        for v, layer in enumerate(of_node):
            if layer >= 0:
                nodes[layer][v >= self._layout.boundary].append(v)
        self._nodes = nodes

    def layer(self, j: int) -> Layer:
        """Layer j."""
        layout, kept, storage = self._layout, self._kept, self._storages[j]
        forward, backward = self._nodes[j]
        made = [t for v in forward for t in layout.outputs_of[v]]
        read = {t for v in backward for t in layout.reads_of[v]}
        saved = [t for t in made if t in read and not kept[t]]
        output = [t for t in made if layout.storage[t] == storage and self._last_reader(t) > j]
        lasting = [
            t for t in made if kept[t] and (layout.is_output[t] or self._last_reader(t) >= 0)
        ]
        first_advance = first_all = forward
        if self._order == "free":
            first_advance = self._back_from(forward, [*output, *lasting], set())
            first_all = self._back_from(forward, [*output, *lasting, *saved], set())
        # What has to stay of a first run if the layer is to run again.
        read.update(t for v in first_all for t in layout.reads_of[v])
        single = [
            t for v in first_advance if not layout.recomputable[v] for t in layout.outputs_of[v]
        ]
        once = [t for t in single if t in read and not kept[t]]
        left = {t for t in made if kept[t]}.union(once)
        return Layer(
            forward=forward,
            backward=backward,
            output=output,
            size=int(layout.memory[storage]) if output else 0,
            is_pinned=bool(output) and any(layout.storage[t] == storage for t in saved),
            kept=lasting,
            once=once,
            advance=(self._back_from(forward, output, left), first_advance),
            all=(self._back_from(forward, [*output, *saved], left), first_all),
            last=(self._back_from(forward, saved, left), first_all),
        )

    def _last_reader(self, tensor: int) -> int:
        """The latest layer of a node that reads a tensor; −1 for none."""
        return max((self._of_node[v] for v in self._layout.readers_of[tensor]), default=-1)

    def _back_from(self, nodes: list[int], wanted: Iterable[int], left: set[int]) -> list[int]:
        """Those of the nodes that have to run for what is wanted, where `left` is live."""
        layout = self._layout
        want = set(wanted) - left
        found = []
        for v in reversed(nodes):
            if not want.isdisjoint(layout.outputs_of[v]):
                found.append(v)
                want.update(t for t in layout.reads_of[v] if t not in left)
        return found[::-1]
