"""Which parts of a model to wrap, and what to keep in them: an integer program.

Whether a storage is there at some moment depends on few choices: it is if any of its
later readers runs, and each of them runs always, or where one part is wrapped, or where
it isn't. So the memory at each moment is a sum over such disjunctions, each of them one
column. Few moments matter: those at which a solution exceeds the budget become rows,
until it doesn't.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from schedule.layout import Bools, Floats, Ints
from schedule.solvers.contract import Deadline
from schedule.solvers.exact.highs import Outcome, Program, minimise
from schedule.torch.moments import Moments
from schedule.torch.regions import Anatomy

#: A call of an operator whose result may be kept: a module, and which call it is in eager PyTorch
#: and as it was captured.
Key = tuple[str, int, int]
#: By how much a solution may break a row, relative to the budget: by less than is looked at here.
_TOLERANCE = 1e-9


@dataclass(frozen=True)
class Choices:
    """What there is to choose from.

    Attributes
    ----------
    labels
        Of each region: those of one label are wrapped together, or not at all.
    keys
        Of nodes whose results may be kept: those of one key are kept together.
    """

    labels: tuple[str, ...]
    keys: Mapping[int, Key] = field(default_factory=dict)


@dataclass(frozen=True)
class Choice:
    """What is chosen.

    Attributes
    ----------
    wrapped
        Labels.
    kept
        Keys.
    is_best
        Whether it is proved that no choice is better.
    """

    wrapped: frozenset[str]
    kept: frozenset[Key]
    is_best: bool


class Chooser:
    """All choices for one step, as an integer program.

    Parameters
    ----------
    anatomy
        The step.
    choices
        What there is to choose from.

    Notes
    -----
    O(moments · (labels + keys + disjunctions)) in time and memory. The memory at each moment is
    exact where nothing is kept; with keys it is never too small.
    """

    def __init__(self, anatomy: Anatomy, choices: Choices) -> None:
        self._labels = sorted(set(choices.labels))
        self._keys = sorted(set(choices.keys.values()))
        named = {name: at + 1 for at, name in enumerate(self._labels)}
        self._n = 1 + len(self._labels) + len(self._keys)  # the first column is always 1
        kept = {key: 1 + len(named) + at for at, key in enumerate(self._keys)}
        wrap = [named[label] for label in choices.labels]
        keep = {at: kept[key] for at, key in choices.keys.items()}
        moments = Moments(anatomy, wrap, keep)
        self._either, self._table = moments.table(self._n)
        self._active = np.array(moments.active).reshape(-1, 2)
        self._cost = np.zeros(self._n)
        self._in: dict[int, int] = {}  # the column of what a result is kept in
        nodes = anatomy.program.graph.nodes
        for region, column in zip(anatomy.regions, wrap):
            for at in region.again:
                self._cost[column] += nodes[at].compute
                if at in keep:
                    self._cost[keep[at]] -= nodes[at].compute
                    self._in[keep[at]] = column

    def cheapest(self, budget: int, deadline: Deadline) -> Choice | None:
        """The choice of least compute whose peak is within the budget; None: none is known."""
        rows: set[int] = set()
        limit, is_best = budget, True
        while True:
            found, is_proved = self._solved(rows, limit, deadline)
            if found is None:
                return None
            is_best &= is_proved
            memory = self._memory(found)
            if memory.max() <= budget:
                return self._choice(found, is_best=is_best)
            worst = set(_worst(memory, budget))
            if worst <= rows:  # by HiGHS's tolerance
                limit, is_best = limit - max(1, int(_TOLERANCE * budget)), False
            rows |= worst

    def least(self, deadline: Deadline) -> tuple[int, Choice]:
        """The least peak that a choice has, and that choice: the best that was found in time."""
        rows: set[int] = set()
        best: tuple[int, Floats] | None = None
        while True:
            found, is_proved = self._solved(rows, None, deadline)
            if found is not None:
                memory = self._memory(found)
                if best is None or memory.max() < best[0]:
                    best = int(memory.max()), found
                worst = set(_worst(memory, int(0.999 * memory.max())))
            else:
                worst = set()
            if worst <= rows:
                peak, x = best or self._nothing()
                return peak, self._choice(x, is_best=found is not None and is_proved)
            rows |= worst

    def _nothing(self) -> tuple[int, Floats]:
        x = self._whole(np.zeros(self._n - 1))
        return int(self._memory(x).max()), x

    def _choice(self, x: Floats, *, is_best: bool) -> Choice:
        wrapped = [name for at, name in enumerate(self._labels) if x[at + 1]]
        first = 1 + len(self._labels)
        kept = [key for at, key in enumerate(self._keys) if x[first + at]]
        return Choice(frozenset(wrapped), frozenset(kept), is_best)

    def _memory(self, x: Floats) -> Ints:
        """At each moment; where nothing runs, that of no moment."""
        wrap, keep = self._active.T
        runs = np.where(wrap > 0, x[wrap], 1) - np.where(keep > 0, x[keep], 0)
        return np.where(runs > 0, self._table @ x.astype(np.int64), 0)

    def _whole(self, chosen: Floats) -> Floats:
        """All columns, where these are chosen."""
        x = np.concatenate([np.ones(1), np.round(chosen)])
        either = [any(_holds(literal, x) for literal in each) for each in self._either]
        return np.concatenate([x, np.array(either, float)])

    def _solved(
        self, rows: Iterable[int], limit: int | None, deadline: Deadline
    ) -> tuple[Floats | None, bool]:
        """The best choice that keeps these moments within a limit, or within the least peak.

        And whether that is proved.
        """
        n, size = self._n, self._table.shape[1]
        made = _Rows(size + 1)
        for key, column in self._in.items():
            made.at_most([(key, 1.0), (column, -1.0)], 0.0)
        for at, each in enumerate(self._either):
            for literal in each:
                sign = 1.0 if literal > 0 else -1.0
                made.at_most([(abs(literal), sign), (n + at, -1.0)], 0.0 if literal > 0 else -1.0)
        unit = float(max(1, limit or self._table[:, 0].max()))
        for at in sorted(rows):
            row = self._table[at] / unit
            most = max(0.0, float(np.maximum(row, 0).sum()))
            terms = [(int(column), float(row[column])) for column in np.flatnonzero(row[1:]) + 1]
            room = (limit or 0) / unit - row[0]
            wrap, keep = self._active[at].tolist()
            if wrap:  # the moment counts only where its node runs again
                room += most
                terms.append((wrap, most))
            if keep:
                terms.append((keep, -most))
            if limit is None:
                terms.append((size, -1.0))
            made.at_most(terms, room)
        cost = np.zeros(size + 1)
        cost[:n] = self._cost / max(1.0, float(np.abs(self._cost).max(initial=0)))
        if limit is None:
            cost[:] = 0
            cost[size] = 1
        upper = np.ones(size + 1)
        upper[size] = np.inf
        integer = np.arange(size + 1) < n
        answer = minimise(
            made.program(cost, upper, integer), deadline=deadline, tolerance=_TOLERANCE
        )
        if answer.x is None:
            return None, answer.outcome is Outcome.INFEASIBLE
        return self._whole(answer.x[1:n]), answer.outcome is Outcome.SOLVED


def _holds(literal: int, x: Floats) -> bool:
    return bool(x[abs(literal)]) == (literal > 0)


def _worst(memory: Ints, budget: int) -> list[int]:
    """The moments that exceed a budget most: the first highest of each stretch that does."""
    over = np.flatnonzero(memory > budget)
    stretches = np.split(over, np.flatnonzero(np.diff(over) > 1) + 1)
    return [int(each[memory[each].argmax()]) for each in stretches if len(each)]


class _Rows:
    """Rows of a program, one after another."""

    def __init__(self, columns: int) -> None:
        self._columns = columns
        self._starts: list[int] = [0]
        self._at: list[int] = []
        self._values: list[float] = []
        self._upper: list[float] = []

    def at_most(self, terms: Iterable[tuple[int, float]], upper: float) -> None:
        """A sum of columns times numbers, and what it may be."""
        row: dict[int, float] = defaultdict(float)
        for column, value in terms:
            row[column] += value
        self._at += row.keys()
        self._values += row.values()
        self._starts.append(len(self._at))
        self._upper.append(upper)

    def program(self, cost: Floats, upper: Floats, integer: Bools) -> Program:
        """With these columns."""
        lower = np.zeros(self._columns)
        lower[0] = 1  # the column that is always 1
        return Program(
            cost=cost,
            lower=lower,
            upper=upper,
            integer=integer,
            row_lower=np.full(len(self._upper), -np.inf),
            row_upper=np.array(self._upper),
            starts=np.array(self._starts),
            columns=np.array(self._at, np.int64),
            values=np.array(self._values),
        )
