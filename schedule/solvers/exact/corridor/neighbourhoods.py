"""Large neighbourhoods of the best schedule in the given order, each searched to its end.

What some operations do is open in a span of the schedule: when they run again, and what they
write is held. All else is held and runs again as it does, or less. A search from the end of the
span finds the best of it, however many runs that changes at once: large neighbourhood search
(Shaw 1998, doi:10.1007/3-540-49481-2_30).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from schedule.layout import Ints
from schedule.memory import keeps_order
from schedule.solvers.contract import Deadline, Incumbent, Problem
from schedule.solvers.exact.corridor.ground import NO_WORDS, Effort, Ground
from schedule.solvers.exact.corridor.known import Known
from schedule.solvers.exact.corridor.potentials import Potentials, no_potentials
from schedule.solvers.program.operations import operations_of


@dataclass(frozen=True, slots=True)
class NeighbourhoodSettings:
    """How large neighbourhoods are, and how long they are searched.

    Attributes
    ----------
    most
        The most operations of a graph.
    moves, each
        The most moves of one search, and moves for each state that there is space for.
    often
        How often a search asks whether to stop, in states that were expanded.
    first, least, greatest
        How many operations, or first runs, are open at first, at least and at most.
    less, more
        By what that is multiplied where a search wasn't, and was, finished.
    patience
        Searches in a row that find nothing before the best is left alone.
    """

    most: int = 2_000
    moves: int = 200_000
    each: int = 4
    often: int = 2_000
    first: float = 10.0
    least: float = 4.0
    greatest: float = 60.0
    less: float = 0.93
    more: float = 1.02
    patience: int = 400


#: The default.
NEIGHBOURHOODS = NeighbourhoodSettings()

#: Which operations are open, in turn: some in a row, some that read each other's results, some
#: that compete for memory, some that run again, and all of a span.
_IN_A_ROW, _READING, _COMPETING, _RERUN, _SPAN = range(5)
#: How often a walk begins elsewhere; its steps for each operation; how near runs compete.
_ELSEWHERE, _STEPS, _NEAR = 0.02, 20, 15


class Neighbourhoods:
    """Searches of neighbourhoods of the incumbent, until none of many has a better schedule.

    Parameters
    ----------
    problem, incumbent
        What is solved, in the given order, and who knows the best and takes what is found.
    settings
        How large neighbourhoods are.

    Notes
    -----
    A search takes O(words · reads) for a state and each of its moves; up to 2^k states a first
    run where k operations are open, of which few fit and promise something better.
    """

    def __init__(
        self,
        problem: Problem,
        incumbent: Incumbent,
        settings: NeighbourhoodSettings = NEIGHBOURHOODS,
    ) -> None:
        self._settings, self._incumbent, self._problem = settings, incumbent, problem
        self._random = np.random.Generator(np.random.PCG64(problem.seed))
        self._sizes, self._turn, self._vain = [settings.first] * 5, 0, 0
        self._known: Known | None = None

    @property
    def is_over(self) -> bool:
        """Whether none of many has anything better."""
        return self._known is not None and self._vain >= self._settings.patience

    def go_to(self, incumbent: Incumbent) -> None:
        """From now on, those of the best of another."""
        self._incumbent = incumbent

    def improve(self, deadline: Deadline) -> None:
        """Search neighbourhoods until the deadline; a deadline's work is moves, times words."""
        incumbent, settings = self._incumbent, self._settings
        if not 0 < len(operations_of(self._problem.graph, "fixed").nodes) <= settings.most:
            return
        while not (deadline.passed or incumbent.is_good_enough):
            trace = incumbent.trace
            if trace is None or not keeps_order(trace):
                return
            if self._known is None or self._known.trace is not trace:
                self._known, self._vain = Known(self._ground, trace, self._neighbours), 0
            if self._vain >= settings.patience:
                return
            before = incumbent.compute
            found = self._search(self._known, deadline)
            if found is not None:
                incumbent.offer(self._ground.trace(found))
            self._vain = 0 if incumbent.compute < before else self._vain + 1

    def _search(self, known: Known, deadline: Deadline) -> Ints | None:
        """A better sequence in the next neighbourhood; None: there is none, or none was found."""
        ground, settings = self._ground, self._settings
        kind, self._turn = self._turn, (self._turn + 1) % len(self._sizes)
        size = int(self._sizes[kind] * self._random.uniform(0.6, 1.4)) + 1
        count = len(ground.operations.nodes)
        if kind == _SPAN:
            start = int(self._random.integers(0, max(count - size, 1)))
            span, opened = (start, min(start + size, count)), None
        else:
            span, opened = (0, count), self._chosen(known, kind, size)
        allowed, fence = known.around(opened, span)
        forced, lasting = known.forced(span[0]) if span[0] else (NO_WORDS, NO_WORDS)
        moves = int(min(settings.moves, deadline.work / ground.words))
        end, first = known.before(span[1]), known.first_at[span[0]]
        guide = ground.guide(self._nothing, allowed, known.live[end], fence, forced, lasting)
        effort = Effort(moves, max(moves // settings.each, 1), moves, settings.often, True)
        limit = known.price(first, end) - ground.step
        found = ground.search(guide, *span, limit, effort, deadline)
        grown = self._sizes[kind] * (settings.less if found.was_cut else settings.more)
        self._sizes[kind] = min(max(grown, settings.least), settings.greatest)
        if found.runs is None:
            return None
        sequence: Ints = np.concatenate([known.runs[:first], found.runs, known.runs[end:]])
        return sequence

    def _chosen(self, known: Known, kind: int, size: int) -> Ints:
        """Operations whose runs are open."""
        if kind == _RERUN:
            return self._some(known.rerun, size)
        if kind == _COMPETING:
            at = int(self._random.integers(0, len(known.runs)))
            live = known.written(at)
            near = known.runs[max(0, at - _NEAR) : at + _NEAR]
            return self._some(np.unique(np.concatenate([live, near])), size)
        count = len(self._ground.operations.nodes)
        chosen = {int(self._random.integers(0, count))}
        for _ in range(_STEPS * size):
            if len(chosen) >= min(size, count):
                break
            v = sorted(chosen)[int(self._random.integers(0, len(chosen)))]
            if self._random.random() < _ELSEWHERE:
                chosen.add(int(self._random.integers(0, count)))
            elif kind == _IN_A_ROW:
                v += int(self._random.integers(-2, 3))
                chosen.add(min(max(v, 0), count - 1))
            elif others := self._neighbours[v]:
                chosen.add(others[int(self._random.integers(0, len(others)))])
        return np.array(sorted(chosen), np.int64)

    def _some(self, among: Ints, size: int) -> Ints:
        """Some of these, sorted."""
        chosen: Ints = np.sort(self._random.permutation(among)[:size])
        return chosen

    @cached_property
    def _ground(self) -> Ground:
        """Masks of all resources for each operation: only of graphs that aren't left alone."""
        return Ground.of(self._problem.graph, self._problem.budget or 0)

    @cached_property
    def _nothing(self) -> Potentials:
        """No potentials: a table as large as the graph is deep and wide, which all share."""
        operations = self._ground.operations
        return no_potentials(len(operations.nodes), len(operations.size))

    @cached_property
    def _neighbours(self) -> list[list[int]]:
        """Of each operation: those whose results it reads, and those that read its own."""
        o = self._ground.operations
        found: list[list[int]] = [[] for _ in o.nodes]
        for v in range(len(o.nodes)):
            for u in o.producer[o.reads[o.first_read[v] : o.first_read[v + 1]]].tolist():
                if u >= 0:
                    found[v].append(u)
                    found[u].append(v)
        return found
