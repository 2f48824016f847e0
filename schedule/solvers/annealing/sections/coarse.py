"""Rounds of annealing on the runs of sections, and the sequences of operations they stand for."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from schedule.layout import Ints
from schedule.solvers.annealing.rounds import laid_out
from schedule.solvers.annealing.sections.model import Sections, expanded, sections_of
from schedule.solvers.annealing.sections.moves import anneal, measure
from schedule.solvers.contract import Deadline
from schedule.solvers.kit.randomness import random_of
from schedule.solvers.program.operations import Operations
from schedule.solvers.program.waste import trimmed

#: Into how many sections the sequence is cut, round by round: few are quick, many are exact.
#: After these rounds it goes on with what came nearest.
_COUNTS = (30, 60, 120)
#: Moves of a round, and into how many parts it is cut: between them the clock is
#: looked at.
_MOVES = 48_000
_PARTS = 24
#: Temperatures, in budgets: at first, where it goes on from the best, and in the end.
_HOT, _WARM, _COLD = 0.02, 0.005, 0.0005
#: What every node once costs, in budgets of excess.
_PRICE = 0.01
#: How much lower than it seems to have to be is what is aimed at after the first rounds: some
#: places always stay a little above it.
_LOWER = 0.99
#: By which factor the peak of sections is taken to be wrong at most.
_MOST_ERROR = 1.2


class Coarse:
    """A search for what to run again where it takes much: whole sections of a sequence.

    To make one tensor that is read late again may take most of what ran before it. To
    make all of it takes little more, and then all of it can go meanwhile: so stretches of
    sections run again, as one. What a section hands to others is known exactly up to a
    sample, and what goes on inside one is left out: so every sequence is measured, and
    where it exceeds the budget, less is aimed at in the next round.

    The same operations, sequence and budget give the same sequences, round by
    round, unless a round is stopped.

    Parameters
    ----------
    operations, sequence
        What runs, and shape (o,): an executable order of it, each once.
    budget
        Memory that must not be exceeded, resident inputs not counted.
    """

    def __init__(self, operations: Operations, sequence: Ints, budget: int) -> None:
        self._operations, self._sequence, self._budget = operations, sequence, budget
        self._rounds, self._error = 0, 1.0
        self._best: _Found | None = None

    @property
    def least_peak(self) -> float:
        """Of what the rounds found, resident inputs not counted; infinite before the first."""
        return math.inf if self._best is None else self._best.peak

    def round(self, deadline: Deadline) -> Ints:
        """One more round; shape (r,): the operations of the best runs of sections."""
        at, self._rounds = self._rounds, self._rounds + 1
        if self._best is None or at < len(_COUNTS):
            found = self._from_start(_COUNTS[at], at, deadline)
        else:
            found = self._from_best(self._best, at, deadline)
        if found.peak < self.least_peak:
            self._best = found
        return found.sequence

    def _from_start(self, count: int, seed: int, deadline: Deadline) -> _Found:
        """Begin with the program in so many sections; learn how wrong their peak is."""
        aim = self._budget * self._error
        found = self._found(count, aim, None, seed, deadline)
        error = found.promised * aim / max(found.peak, 1)
        self._error = min(max(error, 1 / _MOST_ERROR), _MOST_ERROR)
        return found

    def _from_best(self, best: _Found, seed: int, deadline: Deadline) -> _Found:
        """Go on from what came nearest; what is aimed at is lower by what that exceeds."""
        best.aim *= _LOWER * min(self._budget / max(best.peak, 1), 1.0)
        return self._found(best.count, best.aim, best.runs, seed, deadline)

    def _found(
        self, count: int, aim: float, start: Ints | None, seed: int, deadline: Deadline
    ) -> _Found:
        """Anneal from `start`, or hotter from the program, and measure what comes of it."""
        sections = sections_of(self._operations, self._sequence, count, aim)
        heat = _WARM
        if start is None:
            start, heat = np.arange(len(sections.cost)), _HOT
        runs = _annealed(sections, start, heat, seed, deadline)
        sequence = expanded(sections, self._operations, self._sequence, runs)
        sequence = trimmed(self._operations, sequence)
        state = laid_out(self._operations, self._budget, random_of(0), sequence, 0.0)
        promised = measure(sections, runs)[3]
        return _Found(runs, count, aim, promised, sequence, int(state.high.max()))


@dataclass
class _Found:
    """Runs of sections, and the sequence of operations that they stand for.

    `count` is into how many it was to be cut, `aim` the budget that was aimed at,
    `promised` their own peak as a share of it, `peak` that of the sequence.
    """

    runs: Ints
    count: int
    aim: float
    promised: float
    sequence: Ints
    peak: int


def _annealed(sections: Sections, start: Ints, heat: float, seed: int, deadline: Deadline) -> Ints:
    """The best runs met while it cools, part by part."""
    current = best = start
    least, random = math.inf, random_of(seed)
    for part in range(_PARTS):
        if deadline.passed:
            break
        hot, cold = (heat * (_COLD / heat) ** ((part + k) / _PARTS) for k in (0, 1))
        current, found, value = anneal(
            sections, current, _MOVES // _PARTS, hot, cold, _PRICE, random
        )
        if value < least:
            best, least = found, value
    return best
