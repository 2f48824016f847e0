"""What the program still reads, what may have to be recomputed, and what that needs."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from schedule.layout import Layout


class Needs:
    """Counts of who may still read each tensor, kept up to date as the program goes on.

    A node is finished when it never runs again: none of its outputs is needed
    any more, or it must not run twice, or what it reads was freed for good.
    A tensor is needed while it is an output of the graph or a node that isn't
    finished reads it.

    Parameters
    ----------
    layout
        The graph as arrays; only the nodes that some output needs take part.

    Attributes
    ----------
    tensors_on
        The tensors on each storage, by the number of the storage.
    readers
        The needed nodes that read each tensor.
    reads_left
        For each storage: reads by nodes that have not run yet, and outputs.
    needed_on
        For each storage: how many tensors on it are needed.
    fixed
        For each storage: how many needed tensors on it can't be recomputed.
    unneeded
        Storages that hold nothing needed any more; who frees them empties the list.
    changed
        Storages whose `fixed` has changed; the same.
    """

    def __init__(self, layout: Layout) -> None:
        self._reads, self._outputs = layout.reads_of, layout.outputs_of
        self._storage: list[int] = layout.storage.tolist()
        self._producer: list[int] = layout.producer.tolist()
        self._recomputable: list[bool] = layout.recomputable.tolist()
        needed: list[bool] = layout.needed.tolist()
        self.readers = [[v for v in readers if needed[v]] for readers in layout.readers_of]
        self.tensors_on: list[list[int]] = [[] for _ in range(layout.n_tensors)]
        for t, s in enumerate(self._storage):
            if self._producer[t] < 0 or needed[self._producer[t]]:
                self.tensors_on[s].append(t)
        #: By tensor: reads by nodes that have not run yet; and by ones that aren't finished.
        self._pending = [len(readers) for readers in self.readers]
        for t in np.flatnonzero(layout.is_output).tolist():
            self._pending[t] += 1
        self._uses = list(self._pending)
        self._ran = [False] * layout.n_nodes
        self._finished = [not flag for flag in needed]
        self._needed_outputs = [sum(map(self.is_needed, outs)) for outs in self._outputs]
        self.reads_left = [sum(self._pending[t] for t in on) for on in self.tensors_on]
        self.needed_on = [sum(map(self.is_needed, on)) for on in self.tensors_on]
        self.fixed = [0] * layout.n_tensors
        for t in range(layout.n_inputs):
            self.fixed[t] = int(self.is_needed(t))
        self.unneeded = [t for t in range(layout.n_inputs) if not self.needed_on[t]]
        self.changed: list[int] = []

    def is_needed(self, tensor: int) -> bool:
        """Whether it is an output, or a node that isn't finished reads it."""
        return self._uses[tensor] > 0

    def has_run(self, v: int) -> bool:
        """Whether the program has run a node."""
        return self._ran[v]

    def run_first(self, v: int) -> None:
        """Note that the program runs a node; from now on it runs only to recompute something."""
        self._ran[v] = True
        for t in self._reads[v]:
            self._pending[t] -= 1
            self.reads_left[self._storage[t]] -= 1
        if not self._recomputable[v] or not self._needed_outputs[v]:
            self.finish([v])

    def finish(self, nodes: Iterable[int]) -> None:
        """Note that these nodes never run again, and what follows from that."""
        stack = list(nodes)
        while stack:
            v = stack.pop()
            if self._finished[v]:
                continue
            self._finished[v] = True
            for t in self._outputs[v]:
                if self.is_needed(t):
                    self._fix(self._storage[t], 1)
            for t in self._reads[v]:
                self._uses[t] -= 1
                if not self._uses[t]:
                    stack += self._drop(t)

    def _drop(self, tensor: int) -> list[int]:
        """Note that a tensor isn't needed any more; returns its node where that is finished now."""
        s, v = self._storage[tensor], self._producer[tensor]
        self.needed_on[s] -= 1
        if not self.needed_on[s]:
            self.unneeded.append(s)
        if v < 0 or self._finished[v]:
            self._fix(s, -1)
            return []
        self._needed_outputs[v] -= 1
        return [] if self._needed_outputs[v] else [v]

    def _fix(self, storage: int, by: int) -> None:
        self.fixed[storage] += by
        self.changed.append(storage)

    def lost_with(self, storage: int, live: list[bool]) -> list[int] | None:
        """Nodes that can't run again once a storage that the program has read is gone for good.

        None where something that the program still reads isn't live and needs
        one of them. So what is being recomputed is safe: the program reads its
        results.
        """
        seen: set[int] = set()
        stack = [v for t in self.tensors_on[storage] for v in self.readers[t]]
        while stack:
            v = stack.pop()
            if v in seen or self._finished[v]:
                continue
            seen.add(v)
            for t in self._outputs[v]:
                if self.is_needed(t) and not live[t]:
                    if self._pending[t]:
                        return None
                    stack += self.readers[t]
        return sorted(seen)
