"""POET's integer program: rematerialization and paging, stage by stage.

Patil, Jain, Dutta, Stoica & Gonzalez 2022, "POET: Training neural networks on tiny devices
with integrated rematerialization and paging" (ICML, arXiv:2207.07697), which adds paging to
the program of Checkmate (Jain et al. 2020, arXiv:1910.02653). A schedule of n nodes has n
stages; stage t runs node t for the first time, and before that what it runs again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from schedule.graph import Graph
from schedule.layout import Bools, Ints
from schedule.levels import Level
from schedule.lowering import needed_in_order
from schedule.solvers.contract import Deadline, Incumbent, Problem, Proof
from schedule.solvers.exact.rows import Rows
from schedule.solvers.offloading.attempt import Attempt
from schedule.solvers.offloading.gaps import Gap, Runs
from schedule.solvers.offloading.programs import least

#: About the seconds that writing a program takes, for each two nodes and a tensor.
_SECONDS_A_PAIR = 1e-5


@dataclass(frozen=True)
class Solution:
    """What a program says, by stage.

    Attributes
    ----------
    runs
        Shape (n, n): whether a stage (row) runs a node (column).
    paged_in
        Shape (n, m): whether it copies a tensor up from the host.
    cost
        Of all runs and copies.
    """

    runs: Bools
    paged_in: Bools
    cost: float


class PoetProgram:
    """The program of a graph of n nodes and m tensors, each of them a storage.

    Columns, all binary: whether stage t runs node i, i ≤ t; whether tensor i is on the device,
    and on the host, as it begins; whether it is copied down, and up, in it. What is read is on
    the device, or was run before in the stage. What is on the device was there, or was run, or
    copied up from the host in the stage before; what is on the host was there, or was copied
    down from the device. Memory is counted at each node of a stage: what is held from its
    beginning and read later, or held at its end, and what was run in between.

    The cost is the time of all runs and copies, one after another. (POET minimises energy; a
    graph has none, and each unit of time counts as one of energy.)
    """

    def __init__(self, graph: Graph, budget: int, level: Level) -> None:
        self.graph, self.budget, self.level = graph, budget, level
        layout = graph.layout
        self.nodes: Ints = np.flatnonzero(layout.needed)
        self.count = len(self.nodes)
        stage = np.full(layout.n_nodes + 1, self.count, np.int64)
        stage[self.nodes] = np.arange(self.count)
        stage[-1] = -1
        #: The stage that first runs a tensor's node, −1 for inputs.
        self.born: Ints = stage[layout.producer]
        self.rows, self.columns = Rows(), 0
        self._number()
        for at in range(self.count):
            self._add_runs(at)
            self._add_stores(at)
            self._add_memory(at)

    def _number(self) -> None:
        """Number the columns; −1: constant 0."""
        n, layout = self.count, self.graph.layout
        stage, node = np.indices((n, n))
        may_run = (node == stage) | layout.recomputable[self.nodes]
        self.run = self._columns((node <= stage) & may_run)
        stage, tensor = np.indices((n, layout.n_tensors))
        there = self.born[tensor] < stage
        there[0] |= self.born < 0
        movable = there & ~layout.resident & (layout.memory > 0)
        self.hold = self._columns(there)
        self.host = self._columns(movable & (stage > 0))
        self.down = self._columns(movable & (stage < n - 1))
        self.up = self._columns(movable & (stage > 0) & (stage < n - 1))
        self.binaries = self.columns

    def _columns(self, there: Bools) -> Ints:
        found: Ints = np.full(there.shape, -1, np.int64)
        found[there] = self.columns + np.arange(int(there.sum()))
        self.columns += int(there.sum())
        return found

    def _row(self, at_most: float, *entries: tuple[Any, float]) -> None:
        """A sum of columns, each by its factor, is at most that."""
        row = self.rows.add(np.array([-np.inf]), np.array([at_most]))
        columns = np.array([column for column, _ in entries], np.int64)
        factors = np.array([factor for _, factor in entries], np.float64)
        self.rows.put(np.repeat(row, len(entries)), columns, factors)

    def _writer(self, stage: int, t: int) -> int:
        """The column of the run that writes a tensor in a stage; −1: none does."""
        return int(self.run[stage, self.born[t]]) if self.born[t] >= 0 else -1

    def _add_runs(self, stage: int) -> None:
        """What is read is held, or was run before."""
        for k in range(stage + 1):
            for t in self.graph.layout.reads_of[int(self.nodes[k])]:
                given = (self.hold[stage, t], -1), (self._writer(stage, t), -1)
                self._row(0, (self.run[stage, k], 1), *given)

    def _add_stores(self, stage: int) -> None:
        """What is held, and on the host, was there, or came there; the host has room."""
        before = stage - 1
        for t in np.flatnonzero(self.hold[stage] >= 0).tolist():
            self._row(0, (self.up[stage, t], 1), (self.host[stage, t], -1))
            self._row(0, (self.down[stage, t], 1), (self.hold[stage, t], -1))
            if stage:
                came = [(self.hold[before, t], -1), (self._writer(before, t), -1)]
                self._row(0, (self.hold[stage, t], 1), *came, (self.up[before, t], -1))
                kept = [(self.host[before, t], -1), (self.down[before, t], -1)]
                self._row(0, (self.host[stage, t], 1), *kept)
        unit = max(self.level.capacity, 1)
        size = self.graph.layout.memory / unit
        self._row(self.level.capacity / unit, *zip(self.host[stage].tolist(), size.tolist()))

    def _add_memory(self, stage: int) -> None:
        """At each node of a stage: what is there, and what a run allocates."""
        layout, unit = self.graph.layout, float(max(self.budget, 1))
        live = self._add_live(stage)
        for k in range(stage + 1):
            room = self.budget - layout.resident_memory
            entries = [(self.run[stage, k], layout.run_memory[self.nodes[k]] / unit)]
            for t in np.flatnonzero(layout.memory * ~layout.resident).tolist():
                column = live[k, t] if self.born[t] < k else self.hold[stage, t]
                entries.append((column, layout.memory[t] / unit))
            self._row(room / unit, *entries)

    def _add_live(self, stage: int) -> Ints:
        """Shape (stage + 1, m): columns of what is still there at each node, once it was made."""
        layout = self.graph.layout
        tensor, node = np.arange(layout.n_tensors), np.arange(stage + 1)[:, None]
        live = self._columns((self.born[tensor] < node) & ~layout.resident)
        for t in np.flatnonzero((live >= 0).any(axis=0)).tolist():
            for k in np.flatnonzero(live[:, t] >= 0).tolist():
                if t in layout.reads_of[int(self.nodes[k])]:
                    self._row(0, (self.run[stage, k], 1), (live[k, t], -1))
                if k < stage:
                    self._row(0, (live[k + 1, t], 1), (live[k, t], -1))
            if stage < self.count - 1:  # what is held at the end, but for what was copied up
                end = (self.hold[stage + 1, t], 1), (self.up[stage, t], -1)
                self._row(0, *end, (live[stage, t], -1))
            elif layout.is_output[t]:
                self._row(-1, (live[stage, t], -1))
        return live

    def solve(self, deadline: Deadline, gap: float, seed: int) -> Solution | None:
        """The best solution that is found by then; None: there is none."""
        layout = self.graph.layout
        for t in np.flatnonzero(layout.is_output).tolist():
            self._row(-1, (self.hold[-1, t], -1), (self._writer(self.count - 1, t), -1))
        compute = layout.compute[self.nodes]
        times = [
            self.level.latency + layout.memory / each for each in (self.level.down, self.level.up)
        ]
        cost, lower = np.zeros(self.columns), np.zeros(self.columns)
        for columns, each in ((self.run, compute), (self.down, times[0]), (self.up, times[1])):
            known = columns >= 0
            cost[columns[known]] = np.broadcast_to(each, columns.shape)[known]
        lower[self.run.diagonal()] = 1
        lower[self.hold[0, self.born < 0]] = 1
        resident = self.hold[:, layout.resident]
        lower[resident] = 1
        total = float(compute.sum()) or 1.0
        x = least(
            self.rows,
            cost / total,
            np.ones(self.columns),
            deadline,
            integer=np.arange(self.columns) < self.binaries,
            lower=lower,
            gap=gap,
            seed=seed,
        )
        if x is None:
            return None
        is_so = np.append(x > 0.5, False)
        return Solution(is_so[self.run], is_so[self.up], float(cost @ np.round(x)))


@dataclass(frozen=True, slots=True)
class Poet:
    """Rerun or page each tensor, by the integer program of POET, in its own cost model.

    The program has a stage for each node, and its copies take time like runs, one after
    another. What it says is laid out and simulated like all schedules with copies, which
    can only make it faster: they are made while nodes run. What it calls optimal is so in its
    own model, so that it proves no bound here (Patil et al. 2022, arXiv:2207.07697).

    Parameters
    ----------
    nodes
        Of more nodes than that a graph is refused.
    gap
        How close to its optimum the program is solved, as a share of every node once.

    Notes
    -----
    O(n · (n + m)) binaries, and O(n² · m) rows, for n nodes and m tensors.
    """

    nodes: int = 50
    gap: float = 1e-4
    knows_levels: bool = True
    name: str = "poet"
    summary: str = "POET's integer program for paging and reruns (Patil et al. 2022)"

    def supports(self, graph: Graph) -> str | None:
        """Graphs of up to 50 nodes without views, all of whose inputs may be copied."""
        layout = graph.layout
        count = int(layout.needed.sum())
        if count > self.nodes:
            return (
                f"it has {count} nodes that have to run, and POET's program, of a stage for each"
                f" of them, is for up to {self.nodes}"
            )
        if not np.array_equal(layout.storage, np.arange(layout.n_tensors)):
            return "it has views, of which POET's program knows nothing"
        if not layout.offloadable.all():
            return "it has inputs that stay on the device, of which POET's program knows nothing"
        return None

    def improve(self, problem: Problem, incumbent: Incumbent, deadline: Deadline) -> Proof:
        """The schedule that the program's solution says."""
        if incumbent.offer(needed_in_order(problem.graph)):
            return Proof()
        found = self.plan(problem, deadline)
        if found is not None:
            Attempt(problem, incumbent).offer(*found)
        return Proof()

    def plan(self, problem: Problem, deadline: Deadline) -> tuple[Runs, list[Gap]] | None:
        """Runs and what is copied, by the best solution found by then; None: there is none."""
        graph = problem.graph
        assert problem.budget is not None, "without a budget the program fits as it is"
        count, tensors = int(graph.layout.needed.sum()), graph.layout.n_tensors
        # The second: it would end before the program is written.
        if not count or deadline.seconds_left < _SECONDS_A_PAIR * count**2 * tensors:
            return None
        program = PoetProgram(graph, problem.budget, problem.levels[0])
        found = program.solve(deadline, self.gap, problem.seed)
        return None if found is None else runs_of(graph, program.nodes, found)


def runs_of(graph: Graph, nodes: Ints, found: Solution) -> tuple[Runs, list[Gap]]:
    """The runs of a solution, stage by stage, and in which gaps a storage is on the host alone."""
    stage, node = np.nonzero(found.runs)
    runs = Runs(graph, nodes[node])
    count = len(stage)
    paged = []
    for gap in runs.gaps():
        # Between the stages of its last and its next use it was copied up, from no device.
        first = stage[gap.last] if gap.last >= 0 else 0
        end = stage[gap.next] if gap.next < count else len(nodes) - 1
        if found.paged_in[first:end, gap.storage].any():
            paged.append(gap)
    return runs, paged
