"""When a storage is in memory and idle: what could be on the host meanwhile."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from schedule.graph import Graph
from schedule.layout import Bools, Ints, Layout
from schedule.lowering import free_early
from schedule.memory import simulate


@dataclass(frozen=True, slots=True)
class Gap:
    """Runs between which a storage is idle; positions count from 0, −1 is the start.

    Attributes
    ----------
    storage
        The tensor that owns it.
    size
        Its memory.
    written
        The run that wrote it; −1 for an input.
    last, next
        The runs that use it before and after; `next` is the number of runs where it only
        has to be there at the end, and one more where it need not come back.
    views
        Nodes to run again before `next`, in order: the views on it that are read later.
    """

    storage: int
    size: int
    written: int
    last: int
    next: int
    views: tuple[int, ...]

    @property
    def life(self) -> tuple[int, int]:
        """What was written, and by which run: one copy on the host serves all its gaps."""
        return self.storage, self.written


class Runs:
    """An order of r runs, with its memory and its gaps.

    Attributes
    ----------
    runs
        Shape (r,): node numbers.
    codes
        The same with frees as early as they can be (see `schedule.lowering`).
    memory
        Shape (r + 1,): of the device during each run, and at the end.
    """

    def __init__(self, graph: Graph, runs: Ints) -> None:
        self.graph, self.runs = graph, runs
        trace = simulate(graph, free_early(graph, runs))
        self.codes, self.peak = trace.codes, trace.peak
        at_end = trace.after[-1] if len(trace.codes) else trace.start
        self.memory: Ints = np.append(trace.during[trace.codes >= 0], at_end)

    @property
    def boundary(self) -> int:
        """The first run of a backward node; the number of runs where there is none."""
        backward = np.flatnonzero(self.graph.layout.backward[self.runs])
        return int(backward[0]) if len(backward) else len(self.runs)

    def gaps(self) -> list[Gap]:
        """All of them, by storage, then by time; storages of size 0 have none."""
        layout = self.graph.layout
        uses = _uses(layout, self.runs.tolist())
        found: list[Gap] = []
        for s in np.flatnonzero(layout.memory).tolist():
            if layout.storage[s] == s and uses[s] and layout.offloadable[s]:
                found += _gaps_of(layout, s, uses[s], len(self.runs))
        return found


#: A use of a storage: the run, the tensors on it that it reads, and those that it writes.
_Use = tuple[int, set[int], set[int]]


def _uses(layout: Layout, runs: list[int]) -> list[list[_Use]]:
    """The uses of each storage, in order; by start and end of the program, too."""
    owner: list[int] = layout.storage.tolist()
    uses: list[list[_Use]] = [[] for _ in range(layout.n_tensors)]
    for t in range(layout.n_inputs):
        uses[t].append((-1, set(), {t}))
    for at, v in enumerate(runs):
        here: dict[int, _Use] = {}
        for t in layout.reads_of[v]:
            here.setdefault(owner[t], (at, set(), set()))[1].add(t)
        for t in layout.outputs_of[v]:
            here.setdefault(owner[t], (at, set(), set()))[2].add(t)
        for s, use in here.items():
            uses[s].append(use)
    wanted: Bools = layout.is_output | layout.resident
    for t in np.flatnonzero(wanted).tolist():
        end = len(runs) if layout.is_output[t] else len(runs) + 1
        uses[owner[t]].append((end, {t}, set()))
    return uses


def _gaps_of(layout: Layout, s: int, uses: list[_Use], runs: int) -> list[Gap]:
    """The gaps of one storage."""
    found, written = [], -1
    uses = sorted(uses, key=lambda use: use[0])
    reads_later = _reads_later(uses)
    for before, after, later in zip(uses, uses[1:], reads_later[1:]):
        if s in before[2]:
            written = before[0]
        if after[0] - before[0] < 2 or not after[1] or before[0] >= runs:
            continue
        views = _views(layout, s, later)
        if views is not None:
            size = int(layout.memory[s])
            found.append(Gap(s, size, written, before[0], after[0], views))
    return found


def _reads_later(uses: list[_Use]) -> list[set[int]]:
    """Tensors that are read from each use on before they are written again."""
    later: set[int] = set()
    found = []
    for _, reads, writes in reversed(uses):
        later = (later - writes) | reads
        found.append(set(later))
    return found[::-1]


def _views(layout: Layout, s: int, tensors: set[int]) -> tuple[int, ...] | None:
    """Nodes that write these views of a storage, and nothing else; None: some writes more."""
    wanted, nodes = [t for t in tensors if t != s], set()
    while wanted:
        t = wanted.pop()
        v = int(layout.producer[t])
        if v in nodes:
            continue
        alone = all(layout.storage[out] == s != out for out in layout.outputs_of[v])
        if not alone or not layout.recomputable[v]:
            return None
        if any(layout.storage[read] != s for read in layout.reads_of[v]):
            return None
        nodes.add(v)
        wanted += [read for read in layout.reads_of[v] if read != s]
    return tuple(sorted(nodes))
