"""Where the forward pass of a graph can be cut: places that one storage crosses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from schedule.graph import Graph
from schedule.layout import Bools, Ints

#: What is read far from where it is made, as masks are, may be kept instead of counted as
#: crossing: the smallest such storages, up to this share of the forward pass's memory.
_KEPT = 100


@dataclass(frozen=True)
class Cuts:
    """Places in the forward pass after which at most one storage is read again.

    Attributes
    ----------
    nodes
        Shape (f,): the needed nodes before the first backward one, ascending.
    places
        Shape (b,): cut k lies after the node nodes[places[k]]; ascending.
    storages
        Shape (b,): the storage that crosses each, −1 for none.
    kept
        Shape (m,): whether a tensor is kept from its first run on, whatever is
        run again: it lies on an input or an output, or on a small storage that
        crosses many places.
    """

    nodes: Ints
    places: Ints
    storages: Ints
    kept: Bools

    def only(self, keep: Bools) -> Cuts:
        """The same with some of the cuts."""
        return Cuts(self.nodes, self.places[keep], self.storages[keep], self.kept)


def find_cuts(graph: Graph) -> Cuts:
    """All cuts of the forward pass, in the graph's order. O(nodes + edges + tensors log tensors).

    A storage that crosses several places as the only one makes one cut, at the
    last of them: what is computed from it alone, as views of it are, belongs to
    the layer that makes it. What a node that must not run twice has made is no
    cut, because it couldn't be made again from the cut before.
    """
    layout = graph.layout
    nodes = np.flatnonzero(layout.needed[: layout.boundary])
    if not len(nodes):
        none = np.zeros(0, np.int64)
        return Cuts(nodes, none, none, np.zeros(layout.n_tensors, dtype=bool))
    crossing = _Crossing(graph, nodes)
    kept = _given(graph)
    small = crossing.smallest(~kept, int(layout.new_memory[nodes].sum()) // _KEPT)
    is_cut = crossing.count(~kept & ~small) <= 1
    # Of the small ones, those are kept that would cross a cut beside another.
    crowded = np.concatenate([[0], np.cumsum(is_cut & (crossing.count(~kept) > 1))])
    kept = kept | (small & (crowded[crossing.last] > crowded[crossing.first]))
    count, storage = crossing.count(~kept), crossing.sum_of_numbers(~kept)
    places = np.flatnonzero(count[:-1] <= 1)
    storages = np.where(count[places] == 1, storage[places], -1)
    cuts = Cuts(nodes, places, storages, kept[layout.storage])
    cuts = cuts.only(_is_last(storages) & _can_be_made_again(graph, storages))
    return cuts.only(_has_results(graph, cuts))


def _given(graph: Graph) -> Bools:
    """Shape (m,): inputs, and storages of the forward pass that outputs lie on."""
    layout = graph.layout
    given = layout.producer < 0
    given[layout.storage[layout.is_output]] = True
    return given & (layout.producer < layout.boundary)


def _is_last(storages: Ints) -> Bools:
    """Whether no later cut has the same storage."""
    last = np.ones(len(storages), dtype=bool)
    later: set[int] = set()
    for at, storage in reversed(list(enumerate(storages.tolist()))):
        last[at] = storage < 0 or storage not in later
        later.add(storage)
    return last


def _can_be_made_again(graph: Graph, storages: Ints) -> Bools:
    """Whether no tensor on the storage comes from a node that must not run twice."""
    layout = graph.layout
    once = np.zeros(layout.n_tensors, dtype=bool)
    made = np.flatnonzero(layout.producer >= 0)
    single = made[~layout.recomputable[layout.producer[made]]]
    once[layout.storage[single]] = True
    return (storages < 0) | ~once[storages]


def _has_results(graph: Graph, cuts: Cuts) -> Bools:
    """Whether the layer before each cut reads from the one before it or makes what isn't kept."""
    layout = graph.layout
    passing = np.zeros(layout.n_nodes, np.int64)
    made = np.flatnonzero(layout.producer >= 0)
    np.add.at(passing, layout.producer[made], ~cuts.kept[made])
    total = np.cumsum(passing[cuts.nodes])[cuts.places]
    is_new = np.diff(total, prepend=0) > 0
    is_open = cuts.storages >= 0
    has_input = np.roll(is_open, 1)
    has_input[:1] = False
    found: Bools = is_new | is_open | has_input
    return found


class _Crossing:
    """For each storage, the places after which it is read again: first … last − 1."""

    def __init__(self, graph: Graph, nodes: Ints) -> None:
        layout = graph.layout
        self._size = layout.memory
        self._places = len(nodes)
        place = np.full(layout.n_nodes + 1, -1, np.int64)  # the last: inputs (−1)
        place[nodes] = np.arange(len(nodes))
        self.first = np.maximum(place[layout.producer], 0)
        reader = np.repeat(np.arange(layout.n_nodes), np.diff(layout.first_read))
        self.last = self.first.copy()
        np.maximum.at(self.last, layout.storage[layout.reads], place[reader])

    def count(self, which: Bools) -> Ints:
        """Shape (f,): how many of these storages cross each place."""
        return self._sum(which, np.ones(len(which), np.int64))

    def sum_of_numbers(self, which: Bools) -> Ints:
        """Shape (f,): the number of the storage where only one crosses."""
        return self._sum(which, np.arange(len(which)))

    def _sum(self, which: Bools, value: Ints) -> Ints:
        picked = np.flatnonzero(which & (self.last > self.first))
        change = np.zeros(self._places + 1, np.int64)
        np.add.at(change, self.first[picked], value[picked])
        np.add.at(change, self.last[picked], -value[picked])
        return np.cumsum(change)[:-1]

    def smallest(self, which: Bools, memory: int) -> Bools:
        """Shape (m,): the smallest of those that cross, as far as they add up to `memory`."""
        found = np.zeros(len(which), dtype=bool)
        picked = np.flatnonzero(which & (self.last > self.first))
        picked = picked[np.argsort(self._size[picked], kind="stable")]
        found[picked[np.cumsum(self._size[picked]) <= memory]] = True
        return found
