"""Rounds of annealing on the runs of sections, and the sequences of operations they stand for."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from schedule.layout import Ints
from schedule.solvers.annealing.rounds import laid_out
from schedule.solvers.annealing.sections.model import Sections, expanded, sections_of
from schedule.solvers.annealing.sections.moves import SectionMoves, anneal, measure
from schedule.solvers.contract import Deadline
from schedule.solvers.kit.randomness import random_of
from schedule.solvers.program.operations import Operations
from schedule.solvers.program.waste import trimmed

_MOVES = SectionMoves()


@dataclass(frozen=True, slots=True)
class SectionSettings:
    """How whole sections are searched.

    Attributes
    ----------
    counts
        Into how many sections the sequence is cut, round by round: few are quick, many
        are exact. After these rounds it goes on with what came nearest.
    moves, parts
        Moves of a round, and into how many parts it is cut: between them the clock is
        looked at.
    hot, warm, cold
        Temperatures, in budgets: at first, where it goes on from the best, and in the
        end.
    lower
        How much lower than it seems to have to be is what is aimed at after the first
        rounds: some places always stay a little above it.
    most_error
        By which factor the peak of sections is taken to be wrong at most.
    bundles
        The most of what sections hand to each other: beyond, a sample stands for all.
    how
        How moves are chosen.
    """

    counts: tuple[int, ...] = (30, 60, 120)
    moves: int = 48_000
    parts: int = 24
    hot: float = 0.02
    warm: float = 0.005
    cold: float = 0.0005
    lower: float = 0.99
    most_error: float = 1.2
    bundles: int = 1_500
    how: SectionMoves = _MOVES


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
    settings
        How it is done.
    """

    def __init__(
        self, operations: Operations, sequence: Ints, budget: int, settings: SectionSettings
    ) -> None:
        self._operations, self._sequence, self._budget = operations, sequence, budget
        self._settings = settings
        self._rounds, self._error = 0, 1.0
        self._best: _Found | None = None

    @property
    def least_peak(self) -> float:
        """Of what the rounds found, resident inputs not counted; infinite before the first."""
        return math.inf if self._best is None else self._best.peak

    def round(self, deadline: Deadline) -> Ints:
        """One more round; shape (r,): the operations of the best runs of sections."""
        at, self._rounds = self._rounds, self._rounds + 1
        if self._best is None or at < len(self._settings.counts):
            found = self._from_start(self._settings.counts[at], at, deadline)
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
        most = self._settings.most_error
        self._error = min(max(error, 1 / most), most)
        return found

    def _from_best(self, best: _Found, seed: int, deadline: Deadline) -> _Found:
        """Go on from what came nearest; what is aimed at is lower by what that exceeds."""
        best.aim *= self._settings.lower * min(self._budget / max(best.peak, 1), 1.0)
        return self._found(best.count, best.aim, best.runs, seed, deadline)

    def _found(
        self, count: int, aim: float, start: Ints | None, seed: int, deadline: Deadline
    ) -> _Found:
        """Anneal from `start`, or hotter from the program, and measure what comes of it."""
        sections = sections_of(self._operations, self._sequence, count, aim, self._settings.bundles)
        heat = self._settings.warm
        if start is None:
            start, heat = np.arange(len(sections.cost)), self._settings.hot
        runs = _annealed(sections, start, heat, seed, deadline, self._settings)
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


def _annealed(
    sections: Sections,
    start: Ints,
    heat: float,
    seed: int,
    deadline: Deadline,
    settings: SectionSettings,
) -> Ints:
    """The best runs met while it cools, part by part."""
    current = best = start
    least, random = math.inf, random_of(seed)
    parts = settings.parts
    for part in range(parts):
        if deadline.passed:
            break
        hot, cold = (heat * (settings.cold / heat) ** ((part + k) / parts) for k in (0, 1))
        current, found, value = anneal(
            sections, current, settings.moves // parts, hot, cold, settings.how, random
        )
        if value < least:
            best, least = found, value
    return best
