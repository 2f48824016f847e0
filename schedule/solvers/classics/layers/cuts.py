"""Where the forward pass of a graph can be cut: positions that one storage crosses."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from schedule.graph import Graph
from schedule.layout import Bools, Ints, Layout

#: What is read far from where it is written, as masks are, may be kept instead of counted as
#: crossing: the smallest such storages, up to this share of the forward pass's memory.
_KEPT = 100


@dataclass(frozen=True)
class Cuts:
    """Positions in the forward pass after which a single storage is read again.

    Attributes
    ----------
    nodes
        Shape (f,): the needed nodes before the first backward one, ascending.
    positions
        Shape (b,): cut k lies after the node nodes[positions[k]]; ascending.
    storages
        Shape (b,): the storage that crosses each.
    kept
        Shape (m,): whether a tensor is kept from its first run on, whatever is
        run again: it lies on an input or an output, or on a small storage that
        crosses many positions.
    """

    nodes: Ints
    positions: Ints
    storages: Ints
    kept: Bools

    def only(self, keep: Bools) -> Cuts:
        """The same with some of the cuts."""
        return Cuts(self.nodes, self.positions[keep], self.storages[keep], self.kept)

    def thinned(self, layout: Layout, layers: int) -> Cuts:
        """The cut of least memory in each of `layers` − 1 equal stretches."""
        size = layout.memory[self.storages]
        keep = np.zeros(len(size), dtype=bool)
        for start, end in pairwise(np.linspace(0, len(size), layers, dtype=np.int64).tolist()):
            keep[start + int(size[start:end].argmin())] = True
        return self.only(keep)


def find_cuts(graph: Graph) -> Cuts:
    """All cuts of the forward pass, in the graph's order. O(nodes + edges + tensors log tensors).

    A storage that crosses several positions as the only one makes one cut, at the
    last of them: what is computed from it alone, as views of it are, belongs to
    the layer that writes it. What a node that must not run twice has written is
    no cut, because it couldn't be recomputed from the cut before.
    """
    layout = graph.layout
    nodes = np.flatnonzero(layout.needed[: layout.boundary])
    # Each storage crosses the positions first … last − 1.
    position = np.full(layout.n_nodes + 1, -1, np.int64)  # the last: inputs (−1)
    position[nodes] = np.arange(len(nodes))
    first = np.maximum(position[layout.producer], 0)
    reader = np.repeat(np.arange(layout.n_nodes), np.diff(layout.first_read))
    last = first.copy()
    np.maximum.at(last, layout.storage[layout.reads], position[reader])

    def crossing(which: Bools, value: Ints) -> Ints:
        """Shape (f,): the sum of the values of these storages that cross each position."""
        change = np.zeros(len(nodes) + 1, np.int64)
        np.add.at(change, first[which], value[which])
        np.add.at(change, last[which], -value[which])
        return np.cumsum(change)[:-1]

    one, crosses = np.ones_like(first), last > first
    # Inputs, and storages of the forward pass that outputs lie on, are live anyway.
    given = layout.producer < 0
    given[layout.storage[layout.is_output]] = True
    given &= layout.producer < layout.boundary
    small = np.zeros_like(given)
    smallest = np.flatnonzero(crosses & ~given)
    smallest = smallest[np.argsort(layout.memory[smallest], kind="stable")]
    most = int(layout.new_memory[nodes].sum()) // _KEPT
    small[smallest[np.cumsum(layout.memory[smallest]) <= most]] = True
    # Of the small ones, those are kept that would cross a cut beside another.
    is_crowded = (crossing(~given & ~small, one) <= 1) & (crossing(~given, one) > 1)
    crowded = np.concatenate([[0], np.cumsum(is_crowded)])
    kept = given | (small & (crowded[last] > crowded[first]))
    positions = np.flatnonzero(crossing(~kept, one) == 1)
    storages = crossing(~kept, np.arange(layout.n_tensors))[positions]
    # Storages on which something lies that must not be written twice.
    single = np.zeros_like(given)
    made = np.flatnonzero(layout.producer >= 0)
    single[layout.storage[made[~layout.recomputable[layout.producer[made]]]]] = True
    is_last = np.append(storages[1:] != storages[:-1], True)[: len(storages)]
    return Cuts(nodes, positions, storages, kept[layout.storage]).only(is_last & ~single[storages])
