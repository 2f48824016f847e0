"""What it costs to evict a storage: the heuristics of DTR."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from schedule.layout import Bools, Floats, Ints, Layout
from schedule.solvers.classics.dtr.needs import Needs

Heuristic = Literal["dtr", "dtr_eq", "dtr_local", "e_star", "lru", "largest"]
HEURISTICS: tuple[Heuristic, ...] = get_args(Heuristic)


class Costs:
    """The cost of recomputing each storage by itself: the compute of the nodes that write it.

    Subclasses add what else has to run. `value` is the cost where `is_exact`,
    else a lower bound: most storages are far from being the next to be evicted,
    so their cost is never worked out.

    Attributes
    ----------
    value
        Shape (m,), by the number of the storage.
    is_exact
        Whether it is more than a bound.
    """

    def __init__(self, layout: Layout, needs: Needs) -> None:
        writers = [
            sorted({v for t in on if (v := int(layout.producer[t])) >= 0})
            for on in needs.tensors_on
        ]
        compute = layout.compute.tolist()
        self.own: list[float] = [sum(compute[v] for v in nodes) for nodes in writers]
        self.value: Floats = np.array(self.own, np.float64)
        self.is_exact = [True] * layout.n_tensors
        storage = layout.storage.tolist()
        self.above: list[list[int]] = [[] for _ in writers]
        self.below: list[list[int]] = [[] for _ in writers]
        for s, nodes in enumerate(writers):
            read = {storage[t] for v in nodes for t in layout.reads_of[v]} - {s}
            self.above[s] = sorted(read)
            for r in self.above[s]:
                self.below[r].append(s)
        self.evicted = [False] * layout.n_tensors

    def evict(self, storage: int) -> None:
        """Note that a storage is evicted, and may have to be recomputed."""
        self.evicted[storage] = True

    def restore(self, storage: int) -> None:
        """Note that it is live again, or not needed any more."""
        self.evicted[storage] = False

    def measure(self, storage: int) -> None:
        """Work out the exact cost of a storage."""

    def rest(self) -> None:
        """Look at no neighbours any more: no cost will be asked for."""
        self.above = self.below = [[]] * len(self.own)


class Neighbourhood(Costs):
    """With the evicted neighbourhood e*: what would have to be recomputed, too, before or after.

    That is, all evicted storages from which a path of evicted ones leads to the
    storage, and all to which one leads from it.
    """

    def evict(self, storage: int) -> None:
        """Note that a storage is evicted: those next to its neighbourhood cost more."""
        super().evict(storage)
        for near in self._around(storage)[1]:
            self.is_exact[near] = False

    def restore(self, storage: int) -> None:
        """Note that it is live again or unneeded: those next to its neighbourhood cost less."""
        super().restore(storage)
        for near in (storage, *self._around(storage)[1]):
            self.is_exact[near] = False
            self.value[near] = self.own[near]

    def measure(self, storage: int) -> None:
        """Work out the exact cost. O(edges of the neighbourhood)."""
        around, _ = self._around(storage)
        self.value[storage] = self.own[storage] + sum(self.own[u] for u in sorted(around))
        self.is_exact[storage] = True

    def _around(self, storage: int) -> tuple[set[int], set[int]]:
        """The evicted neighbourhood, and the storages on its edge."""
        evicted = self.evicted
        around: set[int] = set()
        edge: set[int] = set()
        for towards in (self.above, self.below):
            stack = [storage]
            seen = {storage}
            while stack:
                for u in towards[stack.pop()]:
                    if u in seen:
                        continue
                    seen.add(u)
                    if evicted[u]:
                        around.add(u)
                        stack.append(u)
                    else:
                        edge.add(u)
        return around, edge


class Classes(Costs):
    """With the evicted neighbourhood as the paper approximates it: by union and find.

    Evicted storages that touch are in one class, whichever way the edge runs.
    A class knows the sum of the compute of its members; one that is recomputed
    takes its share away, but what it held together stays one class.
    """

    def __init__(self, layout: Layout, needs: Needs) -> None:
        super().__init__(layout, needs)
        self._own: Floats = np.array(self.own, np.float64)
        self.is_exact = [False] * layout.n_tensors
        self._measured: list[int] = []
        #: The forest of all evictions so far: the class of each, and at its root the sum.
        self._parent: list[int] = []
        self._sum: list[float] = []
        #: The position of each evicted storage in the forest: a new one at each eviction.
        self._position = [-1] * layout.n_tensors

    def evict(self, storage: int) -> None:
        """Note that a storage is evicted: the classes that it touches become one."""
        super().evict(storage)
        self._forget()
        root = self._position[storage] = len(self._parent)
        self._parent.append(root)
        self._sum.append(self.own[storage])
        for other in self._touched(storage):
            self._parent[other] = root
            self._sum[root] += self._sum[other]

    def restore(self, storage: int) -> None:
        """Note that it is live again or unneeded: its class costs less by its compute."""
        if not self.evicted[storage]:
            return
        super().restore(storage)
        self._forget()
        self._sum[self._root(self._position[storage])] -= self.own[storage]
        np.maximum(self.value - self.own[storage], self._own, out=self.value)
        for near in (storage, *self.above[storage], *self.below[storage]):
            self.value[near] = self.own[near]  # it may have touched the class only here

    def measure(self, storage: int) -> None:
        """Its own compute, and that of each class it touches. O(neighbours)."""
        others = sum(self._sum[root] for root in self._touched(storage))
        self.value[storage] = self.own[storage] + max(others, 0.0)
        self.is_exact[storage] = True
        self._measured.append(storage)

    def _forget(self) -> None:
        """Take what was measured for a bound."""
        for s in self._measured:
            self.is_exact[s] = False
        self._measured.clear()

    def _touched(self, storage: int) -> list[int]:
        """The roots of the classes next to a storage."""
        near = (*self.above[storage], *self.below[storage])
        return sorted({self._root(self._position[u]) for u in near if self.evicted[u]})

    def _root(self, position: int) -> int:
        while self._parent[position] != position:
            self._parent[position] = self._parent[self._parent[position]]
            position = self._parent[position]
        return position


class Scores:
    """Which storage is evicted first: the one of the least score, ties by number.

    Parameters
    ----------
    layout, needs
        The graph as arrays, and its counts.
    heuristic
        ``dtr``: cost of the storage and its evicted neighbourhood / (size · staleness);
        ``dtr_eq``: the same with the neighbourhood approximated by union and find;
        ``dtr_local``: its own cost / (size · staleness); ``e_star``: the cost of the
        storage and its neighbourhood alone; ``lru``: what was used longest ago;
        ``largest``: what takes most memory.
    """

    def __init__(self, layout: Layout, needs: Needs, heuristic: Heuristic) -> None:
        kind = {"dtr": Neighbourhood, "e_star": Neighbourhood, "dtr_eq": Classes}
        self.costs: Costs = kind.get(heuristic, Costs)(layout, needs)
        self._heuristic = heuristic
        self._size = layout.memory.astype(np.float64)

    def least(self, candidates: Bools, used_at: Floats, clock: float) -> int:
        """The candidate that is evicted first.

        Parameters
        ----------
        candidates
            Shape (m,): storages that may be evicted; at least one.
        used_at, clock
            Shape (m,): when each was last used, and what time it is.
        """
        found: Ints = np.flatnonzero(candidates)
        if self._heuristic == "lru":
            return int(found[used_at[found].argmin()])
        if self._heuristic == "largest":
            return int(found[self._size[found].argmax()])
        weight = np.ones(len(found))
        if self._heuristic != "e_star":
            weight = self._size[found] * (clock - used_at[found])
        costs = self.costs
        score = np.full(len(found), np.inf)
        np.divide(costs.value[found], weight, out=score, where=weight > 0)
        while True:
            at = int(score.argmin())
            s = int(found[at])
            if costs.is_exact[s]:
                return s
            costs.measure(s)
            if weight[at] > 0:
                score[at] = costs.value[s] / weight[at]
