"""What plans over a chain of layers take: compute and memory of each layer, run on its own."""

from __future__ import annotations

from itertools import accumulate
from typing import NamedTuple

import numpy as np

from schedule.layout import Floats, Ints, offsets
from schedule.solvers.classics.layers.detection import LayerChain
from schedule.solvers.classics.layers.runs import Task
from schedule.values import total


class Figures(NamedTuple):
    """What one kind of run of each of n layers takes: again, and for the first time.

    Memory counts from what is live before a run: the layer's input, and all that
    is live for other layers. It has the shape (2, 2, n): again or first; whether
    the input is needed longer by something else, or owned and freed after its
    last use.

    Attributes
    ----------
    compute
        Shape (2, n).
    ahead, back
        The most in use during its forward nodes, and during the backward nodes after them.
    left
        What is more in use between them than before, the output included.
    """

    compute: Floats
    ahead: Ints
    left: Ints
    back: Ints


class Demands:
    """The least memory with which each step of each task can be taken.

    A task either *advances* to a later layer, finishes from there on, and
    begins again; or it *keeps* what the backward nodes of its first layer read,
    finishes the others, and goes back.

    Memory is the budget less what earlier layers hold for their own backward
    nodes: the input of the task's first layer is part of it. What has to stay of
    an earlier layer's first run in case it runs again counts as part of it, too,
    so that it needn't be taken off at every advance.

    Attributes
    ----------
    size
        Memory of each layer's input, and 0 for what the last hands on.
    advance_compute, all_compute, last_compute
        Shape (2, n): compute of a run again, and of a first one, for the output, for
        that and what is saved, and for what is saved alone.
    """

    def __init__(self, chain: LayerChain) -> None:
        layers, layout = chain.layers, chain.graph.layout
        self.n_layers = len(layers)
        self.size: list[int] = [0] + [layer.size for layer in layers]
        self._is_pinned = [False] + [layer.is_pinned for layer in layers]
        memory, owner = layout.memory, layout.storage
        # Of what is kept, only what lies on storages of its own: not on the graph's inputs.
        kept = np.array([sum(memory[t] for t in x.kept if owner[t] == t) for x in layers], np.int64)
        once = np.array([memory[list({*owner[x.once]})].sum() for x in layers], np.int64)
        bench = _Bench(chain)
        advance, every, last = (bench.figures(kind, kept) for kind in ("advance", "all", "last"))
        self.advance_compute, self.all_compute = advance.compute, every.compute
        self.last_compute = last.compute
        self._left: list[list[list[int]]] = every.left.tolist()
        # While going ahead and while coming back: of a layer before others, and of the last.
        self._keeps: list[tuple[list[list[list[int]]], list[list[list[int]]]]] = [
            (kind.ahead.tolist(), kind.back.tolist()) for kind in (every, last)
        ]
        given, waiting = _surroundings(chain)
        staying = offsets(once)
        self._once: list[int] = once.tolist()
        before = given + offsets(kept)[:-1] + staying[:-1]
        self._before: list[int] = before.tolist()
        self._waiting: list[int] = (waiting + staying[1:]).tolist()
        self._coming: list[int] = (waiting + staying[:-1]).tolist()
        around = [np.zeros_like(before), before]
        self._advances = [self._most_of_advances(advance.ahead[way], around[way]) for way in (0, 1)]

    def _most_of_advances(self, ahead: Ints, around: Ints) -> list[Ints]:
        """For each first layer, what advancing over it and each later one takes."""
        size = np.array(self.size[:-1])
        first, later = around + ahead + size  # it stays, the others' inputs go
        return [
            np.maximum.accumulate([first[s], *(later[s + 1 :] + size[s])])
            for s in range(self.n_layers)
        ]

    def is_first(self, task: Task) -> bool:
        """Whether the layers of a task run for the first time."""
        return task.end == self.n_layers - 1

    def advance(self, task: Task) -> Ints:
        """Shape (end − start,): to advance to the layers start + 1 … end."""
        s, t, _ = task
        first = self.is_first(task)
        return self._advances[first][s][: t - s] + (0 if first else self._waiting[t])

    def keep(self, task: Task) -> int:
        """To run the first layer, keeping what its backward nodes read, and to go back."""
        (s, t, owned), first = task, self.is_first(task)
        ahead, back = self._keeps[s == t]
        going, coming = self._waiting[t], self._waiting[s]
        if first:
            going, coming = self._before[s], self._coming[s]
        return self.size[s] + max(going + ahead[first][owned][s], coming + back[first][owned][s])

    def held(self, task: Task) -> int:
        """What the first layer keeps then while later ones run, their input apart."""
        (s, _, owned), first = task, self.is_first(task)
        held = self.size[s] + self._left[first][owned][s] - self.size[s + 1]
        return held - first * self._once[s]

    def inner(self, task: Task) -> Task:
        """What is to be done between keeping and going back."""
        return Task(task.start + 1, task.end, not self._is_pinned[task.start + 1])

    def tasks(self) -> list[Task]:
        """All possible tasks, each after those that it may lead to."""
        return [
            Task(s, t, owned)
            for t in range(self.n_layers)
            for s in range(t, -1, -1)
            for owned in (True, False)[: 1 + self._is_pinned[s]]
        ]


class _Bench:
    """Layers, each of which is run on its own: what is live for other layers takes nothing."""

    def __init__(self, chain: LayerChain) -> None:
        self._chain, self._layout = chain, chain.graph.layout
        self._storage: list[int] = self._layout.storage.tolist()
        self._memory: list[int] = self._layout.memory.tolist()
        self._workspace: list[int] = self._layout.workspace.tolist()
        # For each storage, the layers that read a tensor on it; −1 for the end.
        self._readers: list[set[int]] = [set() for _ in self._storage]
        of_node = chain.of_node.tolist()
        for t, s in enumerate(self._storage):
            self._readers[s].update(of_node[v] for v in self._layout.readers_of[t])
            self._readers[s].discard(-1)  # of nodes that aren't needed
        for t in np.flatnonzero(self._layout.is_output).tolist():
            self._readers[self._storage[t]].add(-1)

    def figures(self, kind: str, kept: Ints) -> Figures:
        """What each layer's runs of a kind take: `advance`, `all` or `last`."""
        nodes, runs = self._chain.graph.nodes, [getattr(x, kind) for x in self._chain.layers]
        found = np.zeros((3, 2, 2, len(runs)), np.int64)
        for j, first, owned in np.ndindex(len(runs), 2, 2):
            found[:, first, owned, j] = self._run(j, kind, bool(first), bool(owned))
        found[1:, 1] -= kept  # what stays for good counts apart
        compute = [[float(total(nodes[v].compute for v in each)) for each in x] for x in runs]
        return Figures(np.array(compute).T, *found)

    def _run(self, j: int, kind: str, first: bool, owned: bool) -> tuple[int, int, int]:
        """The most in use ahead, what is in use between, and the most in use back.

        Positions are the forward nodes, the boundary, the backward nodes, and the end;
        memory counts from what is live at first.
        """
        layout, layer, storage = self._layout, self._chain.layers[j], self._storage
        ahead, back = getattr(layer, kind)[first], [] if kind == "advance" else layer.backward
        boundary, end = len(ahead), len(ahead) + len(back) + 1
        live = set() if first else {*layer.once, *layer.kept}
        source, given = self._source(j), self._given(j, first)
        extra = [0] * (end + 1)
        made: dict[int, int] = {}  # where a storage is written, and where it is used last
        last = dict.fromkeys([*source, *given], -1)
        fresh: set[int] = set()
        for at, v in enumerate([*ahead, -1, *back]):
            if v < 0:
                last |= dict.fromkeys(self._at_boundary(j, kind, first, fresh, given), at)
                continue
            extra[at] = self._workspace[v]
            for t in layout.reads_of[v]:
                if t in fresh or storage[t] not in made:
                    last[storage[t]] = at
            for t in layout.outputs_of[v]:
                if t in live:  # a second copy
                    extra[at] += self._memory[t]
                    continue
                fresh.add(t)
                last[storage[t]] = at
                if storage[t] == t:
                    made[t] = at
        results = {storage[t] for v in back for t in layout.outputs_of[v]}
        results = {s for s in results if min(self._readers[s], default=j) < j}
        stay = [storage[t] for t in layer.kept] if first else []
        last |= dict.fromkeys([*results, *stay, *([] if owned else source)], end)
        change = [0] * (end + 2)
        for s, at in last.items():
            if s in made:
                change[made[s]] += self._memory[s]
            if s in made or self._is_own(j, s):
                change[at + 1] -= self._memory[s]
        use = [sum(each) for each in zip(accumulate(change), extra)]
        return max(0, *use[: boundary + 1]), use[boundary], max(use[boundary + 1 :])

    def _at_boundary(
        self, j: int, kind: str, first: bool, fresh: set[int], given: list[int]
    ) -> list[int]:
        """The storages that have to be live when the forward nodes are done."""
        layer = self._chain.layers[j]
        if kind == "last" and not first:  # no later layer reads the output any more
            return []
        wanted = [t for t in layer.output if t in fresh]
        if first:
            wanted += layer.kept + (layer.once if kind == "advance" else [])
        return [self._storage[t] for t in wanted] + (given if kind == "advance" else [])

    def _source(self, j: int) -> list[int]:
        """The storage of the layer's input, if it has one."""
        return [self._storage[t] for t in self._chain.layers[j - 1].output[:1]] if j else []

    def _given(self, j: int, first: bool) -> list[int]:
        """Freeable inputs of the graph that only this layer reads, and its forward nodes do."""
        reads, producer = self._layout.reads_of, self._layout.producer
        read = {self._storage[t] for v in self._chain.layers[j].all[first] for t in reads[v]}
        return [s for s in sorted(read) if producer[s] < 0 and self._is_own(j, s)]

    def _is_own(self, j: int, storage: int) -> bool:
        """Whether a storage from outside is live for this layer alone."""
        layout, readers = self._layout, self._readers[storage]
        if layout.resident[storage]:
            return False
        if layout.producer[storage] < 0:
            return readers == {j}
        return storage in self._source(j) or (
            bool(layout.producer[storage] >= layout.boundary) and min(readers) == j
        )


def _surroundings(chain: LayerChain) -> tuple[int, Ints]:
    """Memory in use before all first runs, and while each layer is the next to go back.

    The latter: resident inputs, what is kept as long as the layers that read it
    wait, and what backward nodes of later layers have left for this one, earlier
    ones, or the end.
    """
    layout, n = chain.graph.layout, len(chain.layers)
    reader = chain.of_node[np.repeat(np.arange(layout.n_nodes), np.diff(layout.first_read))]
    needed = reader >= 0
    # The lowest layer that reads each tensor: 0 for an output, n for what none reads.
    lowest = np.full(layout.n_tensors, n)
    np.minimum.at(lowest, layout.reads[needed], reader[needed])
    lowest[layout.is_output] = 0
    until = np.full(layout.n_tensors, n)  # the same of each storage
    np.minimum.at(until, layout.storage, lowest)
    until[layout.resident] = 0
    stays = (layout.resident | chain.kept) & (layout.storage == np.arange(layout.n_tensors))
    given = layout.memory[stays & (layout.producer < 0) & (until < n)].sum()
    change = np.zeros(n + 1, np.int64)
    np.add.at(change, until[stays], layout.memory[stays])
    # Of what the forward pass makes, only what backward nodes make on it.
    made = np.flatnonzero((layout.producer >= layout.boundary) & ~chain.kept)
    maker, owner = chain.of_node[layout.producer[made]], layout.storage[made]
    start, end = np.full(layout.n_tensors, n), np.zeros(layout.n_tensors, np.int64)
    np.minimum.at(start, owner, lowest[made])
    passed = lowest[made] < maker
    np.maximum.at(end, owner[passed], maker[passed])
    left = np.flatnonzero(start < end)
    np.add.at(change, start[left], layout.memory[left])
    np.add.at(change, end[left], -layout.memory[left])
    return int(given), np.cumsum(change)[:-1]
