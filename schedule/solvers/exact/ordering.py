"""Memory rows that know the order of the runs inside one interval.

Between two consecutive first runs several operations may run again, and what
one of them leaves is live while the next ones run. For which of them depends on
their order, so the order becomes part of the model: for two
operations u and v, before[u, v] says that u's last run in the interval comes
before v's (or that u doesn't run there at all).

Only last runs are put in order, so every row holds for every schedule, however
often and in whatever order operations run in the interval. While v runs for the
last time, resource r, written by p, is live when

- p's last run came before (or p doesn't run and r was held all along), and
- r is held when the interval ends, or w, which reads r, has its last run still
  to come.

Where u writes what v reads, and u's last run comes after v's, u runs twice
unless its result was held at the start of the interval: the model pays for that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from schedule.solvers.exact.model import StagedModel

#: A linear expression: terms (column, coefficient), and a constant.
_Sum = tuple[list[tuple[int, float]], float]


def add_order(model: StagedModel, interval: int, operations: Sequence[int]) -> None:
    """Put the last runs of `operations` in `interval` in order, each with its memory row.

    O(s³) rows for s operations.
    """
    inside = [v for v in operations if model.run[interval, v] >= 0]
    _Order(model, interval, inside).add()


def _plus(*parts: _Sum) -> _Sum:
    return [term for terms, _ in parts for term in terms], sum(constant for _, constant in parts)


def _minus(part: _Sum) -> _Sum:
    return [(column, -factor) for column, factor in part[0]], -part[1]


class _Order:
    def __init__(self, model: StagedModel, interval: int, operations: Sequence[int]) -> None:
        self._model, self._k, self._operations = model, interval, operations
        c = model.contraction
        self._reads = {
            v: c.reads[c.first_read[v] : c.first_read[v + 1]].tolist() for v in operations
        }
        self._writes = {v: np.flatnonzero(c.producer == v).tolist() for v in operations}
        self._readers: dict[int, list[int]] = {}
        for v, reads in self._reads.items():
            for r in reads:
                self._readers.setdefault(r, []).append(v)
        self._pair: dict[tuple[int, int], int] = {}
        self._again: dict[int, int] = {}

    def add(self) -> None:
        """All columns and rows."""
        model, operations = self._model, self._operations
        pairs = [(u, v) for at, u in enumerate(operations) for v in operations[at + 1 :]]
        columns = model.new_columns(len(pairs), binary=True).tolist()
        self._pair = dict(zip(pairs, columns))
        for u, v in pairs:  # what doesn't run comes before what does
            self._at_least(self._before(u, v), _plus(self._run(v), _minus(self._run(u))))
            self._at_least(self._before(v, u), _plus(self._run(u), _minus(self._run(v))))
        for v in operations:
            self._add_memory(v)
            for r in self._reads[v]:
                self._add_second_run(v, r)

    def _run(self, v: int) -> _Sum:
        return self._column(int(self._model.run[self._k, v]))

    @staticmethod
    def _column(number: int) -> _Sum:
        """A column, or the constant that −1 and −2 stand for."""
        return ([(number, 1.0)], 0.0) if number >= 0 else ([], 1.0 if number == -2 else 0.0)

    def _before(self, u: int, v: int) -> _Sum:
        if (u, v) in self._pair:
            return [(self._pair[u, v], 1.0)], 0.0
        return [(self._pair[v, u], -1.0)], 1.0

    def _start(self, r: int) -> _Sum:
        model = self._model
        if self._k == 0:
            return [], float(model.contraction.producer[r] < 0)
        return self._column(int(model.hold[self._k, r]))

    def _end(self, r: int) -> _Sum:
        model = self._model
        if self._k + 1 < model.intervals:
            return self._column(int(model.hold[self._k + 1, r]))
        return [], float(model.contraction.is_output[r])

    def _second_run(self, v: int) -> _Sum:
        """A column that pays for one more run of v in the interval."""
        model = self._model
        node = model.contraction.nodes[v]
        if not model.graph.layout.recomputable[node]:
            return [], 0.0
        if v not in self._again:
            column = model.new_columns(1)
            model.charge(column, model.graph.layout.compute[[node]])
            self._again[v] = int(column[0])
        return [(self._again[v], 1.0)], 0.0

    def _at_least(self, column: _Sum, whole: _Sum) -> None:
        """Column ≥ whole, unless that always holds."""
        terms, constant = whole
        if constant + sum(max(factor, 0.0) for _, factor in terms) <= 0:
            return
        left, shift = column
        row = self._model.rows.add(np.array([constant - shift]), np.array([np.inf]))
        for number, factor in _merged([*left, *((n, -f) for n, f in terms)]):
            self._model.rows.put(row, np.array([number]), factor)

    def _add_second_run(self, v: int, r: int) -> None:
        """Where u writes what v reads after v's last run: it ran before, too, or r was held."""
        u = int(self._model.contraction.producer[r])
        if u not in self._writes or u == v:
            return
        late = _plus(self._run(v), self._run(u), _minus(self._before(u, v)))
        self._at_least(self._second_run(u), _plus(late, _minus(self._start(r)), ([], -1.0)))

    def _add_memory(self, v: int) -> None:
        """While v runs for the last time, what it needs and what is live fits."""
        model, c, layout = self._model, self._model.contraction, self._model.graph.layout
        through = model.through(self._k)
        unit = float(max(model.budget, 1))
        needed = {*self._reads[v], *(int(c.base[r]) for r in self._reads[v])} - {-1}
        node = c.nodes[v]
        need = sum(int(c.size[r]) for r in needed)
        need += int(layout.run_memory[node])
        row = model.rows.add(
            np.array([-np.inf]), np.array([(model.budget - layout.resident_memory) / unit])
        )
        model.is_memory(row, v)
        skip = {*needed, *self._writes[v]}
        live = self._live_columns(v, skip)
        plain = np.flatnonzero((through >= 0) & (c.size > 0))
        plain = plain[~np.isin(plain, [*live, *needed])]
        model.rows.put(row, model.run[self._k, [v]], need / unit)
        model.rows.put(np.repeat(row, len(plain)), through[plain], c.size[plain] / unit)
        for r, column in live.items():
            model.rows.put(row, np.array([column]), float(c.size[r]) / unit)

    def _live_columns(self, v: int, skip: set[int]) -> dict[int, int]:
        """For resources that the set touches, the column that says they are live while v runs."""
        model, c = self._model, self._model.contraction
        through = model.through(self._k)
        cut = int(model.windows.cuts[self._k - 1]) if self._k else -1
        made = [r for u in self._operations for r in self._writes[u]]
        made += np.flatnonzero(c.producer == cut).tolist() if cut >= 0 else []
        found: dict[int, int] = {}
        for r in sorted({*made, *self._readers} - skip):
            if c.size[r]:
                found[r] = column = int(model.new_columns(1)[0])
                self._at_least(self._column(column), self._column(int(through[r])))
                self._add_live(v, r, cut, self._column(column))
        return found

    def _add_live(self, v: int, r: int, cut: int, column: _Sum) -> None:
        p = int(self._model.contraction.producer[r])
        if p in self._writes:
            earlier = self._before(p, v)
        elif p >= 0 and p == cut:  # it ran first, and not again unless that is paid for
            earlier = _plus(([], 1.0), _minus(self._second_run(p)))
        else:
            run: _Sum = self._run(p) if p >= 0 else ([], 0.0)
            earlier = _plus(([], 1.0), _minus(run))
        if p in self._writes or p == cut:
            both = _plus(earlier, self._end(r), self._run(v), ([], -2.0))
            self._at_least(column, both)
        for w in self._readers.get(r, ()):
            if w != v:
                both = _plus(earlier, self._run(w), self._before(v, w), self._run(v), ([], -3.0))
                self._at_least(column, both)


def _merged(terms: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """Terms with each column once."""
    found: dict[int, float] = {}
    for column, factor in terms:
        found[column] = found.get(column, 0.0) + factor
    return [(column, factor) for column, factor in sorted(found.items()) if factor]
