"""What torchtitan's graph trainer decides: keep, recompute or offload, for each saved tensor.

From the descriptions of its pull requests 3881, 3943 and 4636 (pytorch/torchtitan, 2026,
`memory_policy=auto_perf_maxing`), in their own cost model. An outer linear program divides
the bytes that each block of the forward pass saves for the backward pass into parts that
are kept, recomputed and offloaded. Memory is constrained at every block of the backward
pass, and copies have to be hidden: in what is left of the forward pass, and in the
backward pass up to where they are read. An inner step turns a block's parts into tensors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from schedule.graph import Graph
from schedule.layout import Bools, Floats, Ints
from schedule.levels import Level
from schedule.solvers.contract import Deadline
from schedule.solvers.exact.rows import Rows
from schedule.solvers.offloading.gaps import Runs
from schedule.solvers.offloading.programs import least

#: Copies that take so many times the whole window are as good as any that take longer.
_ENOUGH = 1e6
KEEP, RECOMPUTE, OFFLOAD = range(3)


@dataclass(frozen=True)
class Saved:
    """What the forward pass saves, in blocks of about the same size.

    Attributes
    ----------
    storages
        Shape (s,): storages of the forward pass that the backward pass reads.
    block
        Shape (s,): the block that each is in, 0 … B − 1, in the order of their nodes.
    size
        Shape (s,): memory.
    cost
        Shape (s,): compute of the node that writes it; infinite where that must not run again.
    forward, backward
        Shape (B,): compute from a block's end to the end of the forward pass, and from the
        beginning of the backward pass to where it first reads the block.
    fixed
        Shape (B,): the largest memory, beside what is saved, while the backward pass reads
        a block.
    """

    storages: Ints
    block: Ints
    size: Ints
    cost: Floats
    forward: Floats
    backward: Floats
    fixed: Ints

    @property
    def bytes(self) -> Ints:
        """Shape (B,): of each block."""
        return np.bincount(self.block, self.size, len(self.fixed)).astype(np.int64)


def saved_by(runs: Runs, blocks: int) -> Saved | None:
    """What is saved in a program; None: nothing, or it has no backward pass."""
    layout, boundary = runs.graph.layout, runs.boundary
    last = np.full(layout.n_tensors, -1, np.int64)
    first = np.full(layout.n_tensors, len(runs.runs), np.int64)
    for at, v in enumerate(runs.runs.tolist()):
        read = layout.storage[layout.reads[slice(*layout.first_read[v : v + 2])]]
        last[read] = at
        if at >= boundary:
            first[read] = np.minimum(first[read], at)
    made = np.zeros(layout.n_tensors, dtype=bool)
    for v in runs.runs[:boundary].tolist():
        made[layout.outputs_of[v]] = True
    storages = np.flatnonzero(made & (last >= boundary) & (layout.memory > 0))
    if boundary >= len(runs.runs) or not len(storages):
        return None
    size, writer = layout.memory[storages], layout.producer[storages]
    bytes_before = np.cumsum(size) - size
    block = (bytes_before * blocks // max(int(size.sum()), 1)).astype(np.int64)
    block = np.unique(block, return_inverse=True)[1].astype(np.int64)
    position = np.full(layout.n_nodes, -1, np.int64)
    position[runs.runs] = np.arange(len(runs.runs))
    end = np.cumsum(layout.compute[runs.runs])
    half = float(end[boundary - 1])
    live = np.zeros(len(runs.runs) + 1, np.int64)
    for s, here in zip(storages.tolist(), size.tolist()):
        live[position[layout.producer[s]] : last[s] + 1] += here
    beside = runs.memory - live
    forward, backward, fixed = [], [], []
    for b in range(int(block.max()) + 1):
        of_it = storages[block == b]
        begin, until = int(first[of_it].min()), int(last[of_it].max())
        forward.append(half - float(end[position[layout.producer[of_it]].max()]))
        backward.append(float(end[begin - 1]) - half)
        fixed.append(int(beside[begin : until + 1].max()))
    may_rerun = layout.recomputable[writer]
    return Saved(
        storages,
        block,
        size,
        np.where(may_rerun, layout.compute[writer], np.inf),
        np.array(forward),
        np.array(backward),
        np.array(fixed, np.int64),
    )


def parts_of(saved: Saved, budget: int, level: Level, deadline: Deadline) -> Floats | None:
    """The outer program: shape (3, B), what part of each block is kept, rerun, offloaded."""
    count, bytes_ = len(saved.fixed), saved.bytes.astype(np.float64)
    fastest = np.where(np.isinf(saved.cost), 0.0, saved.cost)
    cost = np.bincount(saved.block, fastest, count)
    stuck = np.bincount(saved.block, saved.size * np.isinf(saved.cost), count)
    rows, column = Rows(), np.arange(3 * count).reshape(3, count)
    whole = rows.add(np.ones(count), np.ones(count))
    for way in range(3):
        rows.put(whole, column[way], 1.0)
    unit = float(max(budget, 1))
    for b in range(count):
        room = np.array([(budget - float(saved.fixed[b]) - bytes_[b]) / unit])
        row = rows.add(np.array([-np.inf]), room)
        rows.put(np.repeat(row, b), column[KEEP, :b], bytes_[:b] / unit)
        for windows, time, blocks in (
            (saved.forward, level.time_down, np.arange(b, count)),
            (saved.backward, level.time_up, np.arange(b, count)),
        ):
            scale = float(windows.max()) or 1.0
            row = rows.add(np.array([-np.inf]), np.array([windows[b] / scale]))
            taken = np.array([time(int(size)) for size in bytes_[blocks]]) / scale
            taken = np.minimum(taken, _ENOUGH)
            rows.put(np.repeat(row, len(blocks)), column[OFFLOAD, blocks], taken)
    upper = np.ones((3, count))
    upper[RECOMPUTE] = 1 - stuck / np.maximum(bytes_, 1.0)
    price = np.zeros((3, count))
    price[RECOMPUTE] = cost / (float(cost.sum()) or 1.0)
    price[OFFLOAD] = 1e-6  # what needn't be copied isn't
    x = least(rows, price.ravel(), upper.ravel(), deadline, integer=False)
    return None if x is None else x.reshape(3, count)


#: From a block's tensors and the bytes that may be kept and offloaded to a way for each.
Inner = Callable[[Ints, Floats, float, float, Deadline], Ints]


def by_rank(size: Ints, cost: Floats, keep: float, offload: float, _: Deadline) -> Ints:
    """What is most expensive to recompute for a byte is kept, the next offloaded."""
    ways = np.full(len(size), RECOMPUTE, np.int64)
    for at in np.argsort(-cost / np.maximum(size, 1), kind="stable").tolist():
        if size[at] <= keep:
            ways[at], keep = KEEP, keep - size[at]
        elif size[at] <= offload or np.isinf(cost[at]):
            ways[at], offload = OFFLOAD, offload - size[at]
    return ways


def by_program(size: Ints, cost: Floats, keep: float, offload: float, deadline: Deadline) -> Ints:
    """The ways that recompute least within these bytes; without a solution, by rank."""
    count, rows = len(size), Rows()
    stuck = np.isinf(cost)
    column = np.arange(2 * count).reshape(2, count)  # kept, offloaded
    each = rows.add(np.where(stuck, 1.0, 0.0), np.ones(count))
    unit = max(float(size.max()), 1.0)
    for way, most in ((0, keep), (1, offload)):
        rows.put(each, column[way], 1.0)
        row = rows.add(np.array([-np.inf]), np.array([most / unit]))
        rows.put(np.repeat(row, count), column[way], size / unit)
    worth = np.where(stuck, 0.0, cost)
    worth = worth / (float(worth.sum()) or 1.0)
    price = np.concatenate([-worth, -worth + 1e-6])
    x = least(rows, price, np.ones(2 * count), deadline, integer=True)
    if x is None:
        return by_rank(size, cost, keep, offload, deadline)
    kept, offloaded = x.reshape(2, count) > 0.5
    return np.where(kept, KEEP, np.where(offloaded, OFFLOAD, RECOMPUTE)).astype(np.int64)


def ways_of(saved: Saved, parts: Floats, inner: Inner, deadline: Deadline) -> Ints:
    """Shape (s,): what becomes of each saved storage."""
    ways = np.full(len(saved.storages), KEEP, np.int64)
    for b, size in enumerate(saved.bytes.tolist()):
        here = np.flatnonzero(saved.block == b)
        keep, offload = parts[KEEP, b] * size * (1 + 1e-9), parts[OFFLOAD, b] * size * (1 + 1e-9)
        ways[here] = inner(saved.size[here], saved.cost[here], keep, offload, deadline)
    return ways


def runs_with(graph: Graph, plain: Runs, rerun: Bools) -> Ints:
    """The program, with these storages (shape (m,)) computed again where they are next read.

    Each node of the forward pass runs again at most once; what must not run again, and what
    isn't among the storages but on what is kept, stays. O(nodes + reads).
    """
    layout, boundary = graph.layout, plain.boundary
    found = plain.runs[:boundary].tolist()
    forward, again = set(found), set[int]()
    stays = _stays(graph, plain, rerun)
    for v in plain.runs[boundary:].tolist():
        stack = [(v, False)]
        while stack:
            u, is_ready = stack.pop()
            if is_ready:
                found.append(u)
                continue
            stack.append((u, True))
            for t in reversed(layout.reads_of[u]):
                w = int(layout.producer[t])
                if w in forward and w not in again and not stays[t]:
                    again.add(w)
                    stack.append((w, False))
    return np.array(found, np.int64)


def _stays(graph: Graph, plain: Runs, rerun: Bools) -> Bools:
    """Shape (m,): tensors that are live in the backward pass, or need not be."""
    layout = graph.layout
    read_later = np.zeros(layout.n_tensors, dtype=bool)
    for v in plain.runs[plain.boundary :].tolist():
        read_later[layout.storage[layout.reads[slice(*layout.first_read[v : v + 2])]]] = True
    made = layout.producer >= 0
    stays = ~made | (read_later & ~rerun)[layout.storage] | layout.is_output
    stays[made] |= ~layout.recomputable[layout.producer[made]]
    return stays
