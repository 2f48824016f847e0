"""The staged model: which resources to hold past a few cut points, what to rerun between them.

Cut points d₁ < … < d_K are operations. What runs before d₁ belongs to
interval 0, what runs from d_k on to interval k. Binaries:

- hold[k, r]: resource r is live while d_k runs for the first time;
- run[k, v]: operation v runs inside interval k (a constant where the order
  fixes the interval of its first run).

The model is a relaxation: every schedule that fits the budget satisfies it at
no more compute, whatever the cut points, so its optimum bounds them all. The
textbook model (Jain et al., Checkmate, MLSys 2020, arXiv:1910.02653) is the one with
every node a cut point; choosing them as they are needed is dynamic
discretization discovery (Boland et al. 2017, doi:10.1287/opre.2017.1624).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from schedule.graph import Graph
from schedule.layout import Bools, Floats, Ints
from schedule.solvers.exact.highs import Program
from schedule.solvers.exact.ordering import add_order
from schedule.solvers.exact.rows import Rows
from schedule.solvers.program.contraction import Contraction, predecessors


@dataclass(frozen=True)
class Windows:
    """Cut points, and the interval in which each operation may first run.

    Attributes
    ----------
    cuts
        Shape (K,): operations, in the order of their first runs.
    earliest, latest
        Shape (o,): the first and the last interval (0 … K) in which the first
        run of each operation may lie. A cut point's own is known.
    """

    cuts: Ints
    earliest: Ints
    latest: Ints


def fixed_windows(contraction: Contraction, cuts: Ints) -> Windows:
    """First runs in the graph's own order: every interval is known."""
    at = np.searchsorted(cuts, np.arange(contraction.n_operations), side="right")
    return Windows(cuts, at, at)


def free_windows(contraction: Contraction, cuts: Ints) -> Windows:
    """Any order: what lies before or after a cut point in the graph runs before or after it.

    The cut points have to lie on one directed path. O(operations + reads).
    """
    c, last = contraction, len(cuts)
    number = np.zeros(c.n_operations, np.int64)
    number[cuts] = 1 + np.arange(last)
    before = [sorted(set(writers)) for writers in predecessors(c)]
    cut, earliest = number.tolist(), number.tolist()
    for v, writers in enumerate(before):
        earliest[v] = max([cut[v], *(earliest[u] for u in writers)])
    latest = [last] * c.n_operations
    for v in reversed(range(c.n_operations)):
        limit = cut[v] - 1 if cut[v] else latest[v]
        for u in before[v]:
            latest[u] = min(latest[u], limit)
    at = np.array(latest, np.int64)
    at[cuts] = number[cuts]
    return Windows(cuts, np.array(earliest, np.int64), at)


@dataclass(frozen=True)
class Reads:
    """What the rows of reads say, see `StagedModel._imply`.

    Attributes
    ----------
    wanted, made
        Columns of each row: what reads, and the producer's run in the same interval.
    at_cut
        Whether it is read as the interval begins.
    """

    wanted: Ints
    made: Ints
    at_cut: Bools


class StagedModel:
    """The model of one graph for given windows and budget, as arrays.

    Parameters
    ----------
    graph, contraction
        The graph and its contraction.
    windows
        Cut points and intervals.
    budget
        Memory for everything, resident inputs included.
    inner
        Pairs (interval, operation) whose run gets a memory row of its own.
    orders
        By interval, operations whose last runs in it the model puts in order.
    reserve
        Memory kept back at cut points, by operation: with any, the model is no
        relaxation any more, but its solutions leave space for what it doesn't see.

    Attributes
    ----------
    hold
        Shape (K + 1, r): the column of hold[k, r]; −1: constant 0. Row 0 isn't used.
    run
        Shape (K + 1, o): the column of run[k, v]; −1: constant 0, −2: constant 1.
    program
        The model; its objective is compute beyond the constants, in units of `scale`.
    memory_rows, memory_of
        The memory rows, those of the cut points first, and the operation of each.
    needs
        Shape (rows, 4): a row that has a resource live in an interval for an operation:
        the row, the interval, the resource, the operation. That is one whose first run
        reads it, the cut point at the interval's end that it is held at, or beyond the
        last for what is an output.
    """

    def __init__(
        self,
        graph: Graph,
        contraction: Contraction,
        windows: Windows,
        budget: int,
        inner: Iterable[tuple[int, int]] = (),
        orders: Mapping[int, Iterable[int]] | None = None,
        reserve: Mapping[int, int] | None = None,
    ) -> None:
        self.graph, self.contraction, self.windows = graph, contraction, windows
        self.budget = budget
        self.rows = Rows()
        self._through_of: dict[int, Ints] = {}
        self._extra_cost: list[tuple[Ints, Floats]] = []
        self._binary: list[Ints] = []
        self._needs: list[Ints] = []
        self._number_columns()
        self.add_columns()
        self._add_reads()
        self._add_holds()
        self._add_memory(reserve or {})
        self._add_inner_memory(sorted(inner))
        for interval, operations in sorted((orders or {}).items()):
            add_order(self, interval, sorted(operations))
        if not (windows.earliest == windows.latest).all():
            self._add_first_runs()
        self._add_single_runs()
        self.add_rows()
        self._make_program()

    def add_columns(self) -> None:
        """Columns that a model with more than one level of memory has; here there are none."""

    def add_rows(self) -> None:
        """And its rows."""

    @property
    def intervals(self) -> int:
        """K + 1."""
        return len(self.windows.cuts) + 1

    def _number_columns(self) -> None:
        c, w, k = self.contraction, self.windows, self.intervals
        stage = np.arange(k)[:, None]
        again = self.graph.layout.recomputable[c.nodes] & ~c.is_view
        known = w.earliest == w.latest
        may_run = (stage >= w.earliest) & (again | (stage <= w.latest))
        may_run &= ~c.is_view | (stage == w.earliest)
        fixed = known & (stage == w.earliest)
        # A free view whose interval isn't known is left out: that only relaxes the model.
        may_run &= known | ~c.is_view
        born = np.where(c.producer >= 0, w.earliest[c.producer], -1)
        may_hold = stage > born
        may_hold[0] = False
        self.hold = np.full(may_hold.shape, -1, np.int64)
        self.run = np.full(may_run.shape, -1, np.int64)
        free_runs = may_run & ~fixed
        n_runs = int(free_runs.sum())
        self.run[free_runs] = np.arange(n_runs)
        self.run[fixed] = -2
        self.hold[may_hold] = n_runs + np.arange(int(may_hold.sum()))
        self.n_binaries = self.n_columns = n_runs + int(may_hold.sum())

    def _made(self, k: Ints, r: Ints) -> tuple[Ints, Ints]:
        """Columns that make r live inside interval k: hold[k, r] and its producer's run.

        A constant 1 is −2; a freeable input is live in interval 0.
        """
        producer = self.contraction.producer[r]
        run = np.where(producer >= 0, self.run[k, np.maximum(producer, 0)], -1)
        held = np.where((k == 0) & (producer < 0), -2, self.hold[k, r])
        return held, run

    def _add_reads(self) -> None:
        """run[k, v] ≤ hold[k, r] + run[k, producer of r] for every r that v reads."""
        c = self.contraction
        counts = np.diff(c.first_read)
        reader = np.repeat(np.arange(c.n_operations), counts)
        stages, at = np.nonzero(self.run[:, reader] != -1)
        v, r = reader[at], c.reads[at]
        is_cut = np.zeros(c.n_operations, np.int64)
        is_cut[self.windows.cuts] = 1 + np.arange(len(self.windows.cuts))
        at_cut = (is_cut[v] == stages) & (stages > 0)
        held, made = self._made(stages, r)
        made = np.where(at_cut, -1, made)  # d_k's inputs are held when its interval begins
        open_ = (held != -2) & (made != -2)
        wanted, made = self.run[stages, v][open_], made[open_]
        rows = self._imply(wanted, held[open_], made)
        self.fetch(rows, stages[open_], r[open_], Reads(wanted, made, at_cut[open_]))
        first = self.run[stages, v][open_] == -2
        self._need(rows[first], stages[open_][first], r[open_][first], v[open_][first])

    def fetch(self, rows: Ints, stages: Ints, r: Ints, reads: Reads) -> None:
        """Where rows have r live in an interval, or as it begins, it may come from elsewhere.

        There is nothing else here; a model with levels below the device adds to the rows.
        """

    def _need(self, rows: Ints, stages: Ints, r: Ints, v: Ints) -> None:
        """Note what rows are for."""
        self._needs.append(np.stack([rows, stages, r, v], axis=1))

    @property
    def needs(self) -> Ints:
        """See the class."""
        return np.concatenate(self._needs)

    def _imply(self, wanted: Ints, held: Ints, made: Ints) -> Ints:
        """Wanted ≤ held + made, where wanted may be the constant 1 (−2); the new rows."""
        constant = wanted == -2
        rows = self.rows.add(np.where(constant, 1.0, 0.0), np.full(len(wanted), np.inf))
        self.rows.put(rows, np.where(constant, -1, wanted), -1.0)
        self.rows.put(rows, held, 1.0)
        self.rows.put(rows, made, 1.0)
        return rows

    def _add_holds(self) -> None:
        """What is held at a cut point was held at the one before, or ran between them."""
        c = self.contraction
        stages, r = np.nonzero(self.hold >= 0)
        held, made = self._made(stages - 1, r)
        open_ = (held != -2) & (made != -2)
        rows = self._imply(self.hold[stages, r][open_], held[open_], made[open_])
        stages = stages[open_]
        self._need(rows, stages - 1, r[open_], self.windows.cuts[stages - 1])
        viewed = np.flatnonzero(c.base >= 0)
        stages, at = np.nonzero(self.hold[:, viewed] >= 0)
        view = viewed[at]
        none = np.full(len(view), -1)
        wanted = self.hold[stages, view]
        rows = self._imply(wanted, self.hold[stages, c.base[view]], none)
        begins = np.ones(len(view), dtype=bool)
        self.fetch(rows, stages, c.base[view], Reads(wanted, none, begins))
        last = self.intervals - 1
        out = np.flatnonzero(c.is_output)
        held, made = self._made(np.full(len(out), last), out)
        open_ = (held != -2) & (made != -2)
        count = int(open_.sum())
        wanted, made = np.full(count, -2), made[open_]
        rows = self._imply(wanted, held[open_], made)
        inside = np.zeros(count, dtype=bool)
        self.fetch(rows, np.full(count, last), out[open_], Reads(wanted, made, inside))
        self._need(rows, np.full(count, last), out[open_], np.full(count, c.n_operations))

    def _add_memory(self, reserve: Mapping[int, int]) -> None:
        """One row per cut point: what is held, and what d_k needs beside its inputs."""
        layout, c, cuts = self.graph.layout, self.contraction, self.windows.cuts
        node = c.nodes[cuts]
        need = layout.run_memory[node] + layout.resident_memory
        need += np.array([reserve.get(v, 0) for v in cuts.tolist()], np.int64)
        capacity = (self.budget - need).astype(float)
        # In units of the budget, so that a solver's tolerance means the same for every graph.
        unit = float(max(self.budget, 1))
        rows = self.rows.add(np.full(len(cuts), -np.inf), capacity / unit)
        self.memory_rows: list[int] = rows.tolist()
        self.memory_of: list[int] = cuts.tolist()
        stages, r = np.nonzero((self.hold >= 0) & (c.size > 0))
        self.rows.put(rows[stages - 1], self.hold[stages, r], c.size[r] / unit)

    def _add_inner_memory(self, inner: list[tuple[int, int]]) -> None:
        """Rows for runs inside an interval.

        While v runs in interval k, what it needs is live, and so is every resource
        that is held when the interval begins and when it ends and isn't written in
        between, however often and in whatever order operations run.
        """
        c, layout = self.contraction, self.graph.layout
        unit = float(max(self.budget, 1))
        capacity = (self.budget - layout.resident_memory) / unit
        for k, v in inner:
            if self.run[k, v] == -1:
                continue
            read = c.reads[c.first_read[v] : c.first_read[v + 1]]
            there = np.unique(np.concatenate([read, c.base[read]]))
            there = there[there >= 0]
            node, through = c.nodes[v], self.through(k)
            need = float(c.size[there].sum() + layout.run_memory[node])
            need /= unit
            sure = self.run[k, v] == -2
            row = self.rows.add(np.array([-np.inf]), np.array([capacity - need * sure]))
            self.is_memory(row, v)
            r = np.flatnonzero((through >= 0) & (c.size > 0))
            r = np.setdiff1d(r, there)
            self.rows.put(np.repeat(row, len(r)), through[r], c.size[r] / unit)
            if not sure:
                self.rows.put(row, self.run[k, v : v + 1], need)

    def is_memory(self, row: Ints, operation: int) -> None:
        """Note that `row` is the memory row of `operation`."""
        self.memory_rows += row.tolist()
        self.memory_of.append(operation)

    def new_columns(self, count: int, *, binary: bool = False) -> Ints:
        """Numbers for `count` new columns, each from 0 to 1."""
        numbers = self.n_columns + np.arange(count)
        self.n_columns += count
        if binary:
            self._binary.append(numbers)
        return numbers

    def charge(self, columns: Ints, compute: Floats) -> None:
        """Add the columns' compute to the objective."""
        self._extra_cost.append((columns, compute))

    def through(self, k: int) -> Ints:
        """Shape (r,): columns that are at least 1 where a resource is live all through k."""
        if k not in self._through_of:
            self._through_of[k] = self._add_through(k)
        return self._through_of[k]

    def _add_through(self, k: int) -> Ints:
        c = self.contraction
        end = k + 1 == self.intervals
        first: Ints = np.where(c.producer < 0, -2, -1) if k == 0 else self.hold[k]
        last: Ints = np.where(c.is_output, -2, -1) if end else self.hold[k + 1]
        run = np.where(c.producer >= 0, self.run[k, np.maximum(c.producer, 0)], -1)
        r = np.flatnonzero((first != -1) & (last != -1) & (run != -2))
        columns = np.full(c.n_resources, -1, np.int64)
        columns[r] = self.new_columns(len(r))
        constants = (first[r] == -2).astype(float) + (last[r] == -2)
        rows = self.rows.add(constants - 1.0, np.full(len(r), np.inf))
        self.rows.put(rows, columns[r], 1.0)
        self.rows.put(rows, np.where(first[r] >= 0, first[r], -1), -1.0)
        self.rows.put(rows, np.where(last[r] >= 0, last[r], -1), -1.0)
        self.rows.put(rows, np.where(run[r] >= 0, run[r], -1), 1.0)
        return columns

    def _add_first_runs(self) -> None:
        """Every operation runs in its window."""
        w, c = self.windows, self.contraction
        stage = np.arange(self.intervals)[:, None]
        open_ = (w.earliest != w.latest) & ~c.is_view
        window = (stage >= w.earliest) & (stage <= w.latest) & open_
        rows = np.full(c.n_operations, -1)
        rows[open_] = self.rows.add(np.ones(int(open_.sum())), np.full(int(open_.sum()), np.inf))
        stages, v = np.nonzero(window)
        self.rows.put(rows[v], self.run[stages, v], 1.0)

    def _add_single_runs(self) -> None:
        """A node that must not run again runs in one interval."""
        w, c = self.windows, self.contraction
        once = ~self.graph.layout.recomputable[c.nodes] & (w.earliest != w.latest) & ~c.is_view
        rows = np.full(c.n_operations, -1)
        rows[once] = self.rows.add(np.zeros(int(once.sum())), np.ones(int(once.sum())))
        stages, v = np.nonzero((self.run >= 0) & once)
        self.rows.put(rows[v], self.run[stages, v], 1.0)

    def _make_program(self) -> None:
        compute = self.graph.layout.compute[self.contraction.nodes]
        # A thousand units for every node once: well above a solver's absolute tolerances.
        self.scale = float(compute.sum()) / 1e3 or 1.0
        cost = np.zeros(self.n_columns)
        stages, v = np.nonzero(self.run >= 0)
        cost[self.run[stages, v]] = compute[v] / self.scale
        self.constant = float(compute[(self.run == -2).any(axis=0)].sum())
        for columns, price in self._extra_cost:
            cost[columns] += price / self.scale
        integer = np.arange(self.n_columns) < self.n_binaries
        for columns in self._binary:
            integer[columns] = True
        starts, entries, values = self.rows.by_row()
        self.program = Program(
            cost=cost,
            lower=np.zeros(self.n_columns),
            upper=np.ones(self.n_columns),
            integer=integer,
            row_lower=np.concatenate(self.rows.lower),
            row_upper=np.concatenate(self.rows.upper),
            starts=starts,
            columns=entries,
            values=values,
        )

    def compute(self, objective: float) -> float:
        """The objective (or a bound on it) as compute of a whole schedule."""
        return self.constant + objective * self.scale

    def relaxed(self, allowance: float = 0.0) -> Program:
        """The linear relaxation, with a share of the budget kept back in every memory row."""
        program = self.program.relaxed()
        capacity = program.row_upper.copy()
        capacity[self.memory_rows] -= allowance
        return replace(program, row_upper=capacity)

    def holds_and_runs(self, x: Floats) -> tuple[Bools, Bools]:
        """A solution as flags: hold, shape (K + 1, r), and run, shape (K + 1, o)."""
        padded = np.concatenate([x > 0.5, [True, False]])  # −2 and −1 index from the end
        return padded[self.hold], padded[self.run]
