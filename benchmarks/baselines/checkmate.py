"""Checkmate's full-stage integer program (Jain et al., MLSys 2020, arXiv:1910.02653).

Stage t runs some of the nodes 0 … t − 1 again, ascending, and then node t for
the first time. Stage n is the end: the outputs are held, and nothing runs again.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from baselines.contract import Answer, Plain
from schedule.bounds import TOLERANCE, cost_step
from schedule.errors import NotApplicable
from schedule.graph import Graph
from schedule.layout import Floats, Ints, offsets, spread
from schedule.lowering import free_early
from schedule.solvers.contract import Deadline
from schedule.solvers.exact.highs import Program, minimise

#: What the budget and every node once are in the program: it suits HiGHS's tolerances.
_SCALE = 1e3

#: Nodes. With twice as many, the program alone has some 50 million entries.
_MOST = 500

#: Rows, columns and the coefficient of some entries.
_Term = tuple[Ints, Ints, float | Floats]


def solve(graph: Graph, budget: int, time_limit: float) -> Answer:
    """The least compute with at most one run of every node in each stage."""
    started = time.monotonic()
    plain = Plain.of(graph, budget)
    if plain.n_nodes > _MOST:
        raise NotApplicable(f"graph {graph.name!r} has {plain.n_nodes} nodes: at most {_MOST}")
    price = _SCALE / max(1, int(plain.compute.sum()))
    found = minimise(
        _program(plain, price),
        deadline=Deadline.after(started + time_limit - time.monotonic()),
        gap=max(0.9 * cost_step(graph) * price, 0.5 * TOLERANCE * _SCALE),
    )
    codes = None
    if found.x is not None:
        _, node = np.tril_indices(plain.n_nodes)
        codes = free_early(graph, node[found.x[: len(node)] > 0.5])
    return Answer(codes, found.bound / price, time.monotonic() - started)


@dataclass(frozen=True)
class _Columns:
    """Numbers of the variables; the tensor of node `tensor[p]` may go after node `last[p]`."""

    n: int
    tensor: Ints
    last: Ints

    @property
    def triangle(self) -> int:
        """How many pairs of a stage and a node that may run in it there are."""
        return self.n * (self.n + 1) // 2

    @property
    def count(self) -> int:
        """How many columns there are."""
        return 3 * self.triangle + int((self.n - 1 - self.last).sum())

    def run(self, stage: Ints, node: Ints | int) -> Ints:
        """R: `node` ≤ `stage` runs in it."""
        return stage * (stage + 1) // 2 + node

    def used(self, stage: Ints, node: Ints | int) -> Ints:
        """U: memory in use when `node` ≤ `stage` is next in it."""
        return self.triangle + self.run(stage, node)

    def held(self, stage: Ints, node: Ints | int) -> Ints:
        """S: what `node` < `stage` writes is there when the stage starts."""
        return 2 * self.triangle + self.run(stage - 1, node)

    def freed(self, stage: Ints, pair: Ints) -> Ints:
        """FREE: the pair's tensor goes in `stage` > last[pair], right after that node."""
        first = offsets(self.n - 1 - self.last)[:-1] - self.last - 1
        return 3 * self.triangle + first[pair] + stage


class _Block(NamedTuple):
    """Some rows: their bounds, and their entries."""

    lower: Floats
    upper: Floats
    rows: Ints
    columns: Ints
    values: Floats


def _block(count: int, lower: float, upper: float | Floats, *terms: _Term) -> _Block:
    rows, columns = (np.concatenate([term[at] for term in terms]) for at in (0, 1))
    values = np.concatenate([np.full(len(row), value, float) for row, _, value in terms])
    return _Block(np.full(count, lower), np.full(count, upper, float), rows, columns, values)


def _from(first: Ints, end: int) -> tuple[Ints, Ints]:
    """Every k with each of the stages first[k] … end − 1, k by k."""
    which, stage = np.nonzero(np.arange(end) >= first[:, None])
    return which, stage


def _reads(plain: Plain, columns: _Columns) -> _Block:
    """What a run reads runs in the same stage or is held when it starts."""
    edge, stage = _from(plain.head, columns.n)
    row, reader, read = np.arange(len(edge)), plain.head[edge], plain.tail[edge]
    runs, there = columns.run(stage, read), columns.held(stage, read)
    return _block(
        len(row),
        -np.inf,
        0,
        (row, columns.run(stage, reader), 1),
        (row, runs, -1),
        (row, there, -1),
    )


def _holds(columns: _Columns) -> _Block:
    """What is held when a stage starts was held or ran in the stage before."""
    node, stage = _from(np.arange(columns.n) + 2, columns.n + 1)
    row, before = np.arange(len(node)), stage - 1
    ran, there = columns.run(before, node), columns.held(before, node)
    return _block(
        len(row), -np.inf, 0, (row, columns.held(stage, node), 1), (row, ran, -1), (row, there, -1)
    )


def _memory(columns: _Columns, weight: Floats) -> list[_Block]:
    """Memory in use: when a stage starts, and how every node and free changes it."""
    n, run, used = columns.n, columns.run, columns.used
    every = np.arange(n)
    node, held_in = _from(every + 1, n)
    held = (held_in, columns.held(held_in, node), -weight[node])
    start = (every, used(every, 0), 1), (every, run(every, 0), -weight[0]), held
    k, stage = _from(every + 1, n)
    row = run(stage - 1, k)
    pair, free_in = _from(columns.last + 1, n)
    frees = (
        run(free_in - 1, columns.last[pair]),
        columns.freed(free_in, pair),
        weight[columns.tensor[pair]],
    )
    grows = (row, used(stage, k + 1), 1), (row, used(stage, k), -1)
    writes = (row, run(stage, k + 1), -weight[k + 1])
    return [_block(n, 0, 0, *start), _block(len(row), 0, 0, *grows, writes, frees)]


def _workspaces(plain: Plain, columns: _Columns, scale: float) -> _Block:
    """A node's workspace has room beside what is in use while it runs."""
    k, stage = _from(np.where(plain.workspace > 0, np.arange(columns.n), columns.n), columns.n)
    row, space = np.arange(len(k)), plain.workspace[k] * scale
    terms = (row, columns.used(stage, k), 1), (row, columns.run(stage, k), space)
    return _block(len(row), -np.inf, plain.capacity * scale, *terms)


def _frees(plain: Plain, columns: _Columns) -> list[_Block]:
    """A tensor goes after a node that runs, where nothing later needs it: FREE ⇔ no hazard.

    Hazards: the node doesn't run, the next stage holds the tensor, a later
    node of this stage runs and reads it.
    """
    pair, stage = _from(columns.last + 1, columns.n)
    row = np.arange(len(pair))
    by_tail = np.argsort(plain.tail, kind="stable")
    readers = offsets(np.bincount(plain.tail, minlength=columns.n))
    flat, owner = spread(readers, columns.tensor)
    reader = plain.head[by_tail][flat]
    later = reader > columns.last[owner]
    at, read_in = _from(reader[later], columns.n)
    freed = columns.freed(read_in, owner[later][at])
    read = (freed - 3 * columns.triangle, columns.run(read_in, reader[later][at]), 1)
    held = (row, columns.held(stage + 1, columns.tensor[pair]), 1)
    runs = (row, columns.run(stage, columns.last[pair]), -1)
    most = 2.0 + np.bincount(read[0], minlength=len(row))
    free = columns.freed(stage, pair)
    return [
        _block(len(row), 0, np.inf, (row, free, 1), runs, held, read),
        _block(len(row), -np.inf, most - 1, (row, free, most), runs, held, read),
    ]


def _program(plain: Plain, price: float) -> Program:
    """The whole program; `price` is a unit of compute in its objective."""
    n, nodes = plain.n_nodes, np.arange(plain.n_nodes)
    columns = _Columns(n, np.append(plain.tail, nodes), np.append(plain.head, nodes))
    scale = _SCALE / max(1, plain.capacity)
    stage, node = np.tril_indices(n)
    lower, upper, cost = np.zeros(columns.count), np.ones(columns.count), np.zeros(columns.count)
    cost[columns.run(stage, node)] = plain.compute[node] * price
    lower[columns.run(nodes, nodes)] = 1
    upper[columns.run(stage, node)[(node < stage) & ~plain.recomputable[node]]] = 0
    end = columns.held(np.full(n, n), nodes)
    lower[end] = upper[end] = plain.is_output
    upper[columns.used(stage, node)] = plain.capacity * scale
    integer = np.ones(columns.count, dtype=bool)
    integer[columns.used(stage, node)] = False
    blocks = [_reads(plain, columns), _holds(columns)]
    blocks += _memory(columns, plain.memory * scale)
    blocks += [_workspaces(plain, columns, scale), *_frees(plain, columns)]
    return Program(cost, lower, upper, integer, *_stacked(blocks))


def _stacked(blocks: list[_Block]) -> tuple[Floats, Floats, Ints, Ints, Floats]:
    """Bounds and the matrix of all blocks, row by row."""
    first = offsets(np.array([len(block.lower) for block in blocks]))
    rows = np.concatenate([block.rows + at for block, at in zip(blocks, first)])
    lower, upper, _, columns, values = map(np.concatenate, zip(*blocks))
    order = np.argsort(rows, kind="stable")
    starts = offsets(np.bincount(rows, minlength=len(lower)))
    return lower, upper, starts, columns[order], values[order]
