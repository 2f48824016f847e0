"""Rounds of annealing on the runs of sections, and the sequences of operations they stand for."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from schedule.layout import Ints
from schedule.solvers.annealing.laying import laid_out
from schedule.solvers.annealing.sections.model import Sections, expanded, sections_of
from schedule.solvers.annealing.sections.moves import (
    OF_BEST,
    PEAK,
    VALUE,
    SectionMoves,
    Walk,
    anneal,
)
from schedule.solvers.contract import Deadline
from schedule.solvers.kit.randomness import random_of
from schedule.solvers.program.operations import Operations
from schedule.solvers.program.waste import trimmed

_MOVES = SectionMoves()
#: About the seconds that a move takes.
_SECONDS_A_MOVE = 3e-6


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
        Temperatures, in budgets: at the start of a round from the program, at the start
        of one from the best runs, and at the end of both.
    lower
        After the first rounds, the share of the budget that seems to be necessary that
        is aimed at: some positions always stay a little above it.
    most_error
        The largest factor by which the peak of sections is taken to be wrong.
    bundles
        The most bundles that sections hand to each other: of more, a sample stands for
        all.
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
    """A search for what to recompute where single reruns cost much: whole sections.

    To recompute one tensor that is read late may take most of what ran before it. To
    recompute all of that takes little more, and then all of it can be evicted meanwhile:
    so stretches of sections are rerun, as one. What a section hands to others is known
    exactly up to a sample, but the memory in use inside one isn't. So every sequence is
    measured, and where it exceeds the budget, the next round aims lower.

    The same operations, sequence and budget give the same sequences, round by
    round, unless a round is stopped.

    Parameters
    ----------
    operations, sequence
        What runs, and shape (o,): an executable order of it, each once.
    budget
        Memory that must not be exceeded, resident inputs not counted.
    settings
        How sections are searched.
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
        """Begin with the program in `count` sections; measure how wrong their peak is."""
        aim = self._budget * self._error
        found = self._found(count, aim, None, seed, deadline)
        error = found.promised * aim / max(found.peak, 1)
        most = self._settings.most_error
        self._error = min(max(error, 1 / most), most)
        return found

    def _from_best(self, best: _Found, seed: int, deadline: Deadline) -> _Found:
        """Go on from the runs of least peak, aiming lower by as much as they exceed the budget."""
        best.aim *= self._settings.lower * min(self._budget / max(best.peak, 1), 1.0)
        return self._found(best.count, best.aim, best.runs, seed, deadline)

    def _found(
        self, count: int, aim: float, start: Ints | None, seed: int, deadline: Deadline
    ) -> _Found:
        """Anneal from `start`, or hotter from the program, and measure the sequence found."""
        sections = sections_of(self._operations, self._sequence, count, aim, self._settings.bundles)
        heat = self._settings.warm
        if start is None:
            start, heat = np.arange(len(sections.cost)), self._settings.hot
        runs = _annealed(sections, start, heat, seed, deadline, self._settings)
        sequence = expanded(sections, self._operations, self._sequence, runs)
        sequence = trimmed(self._operations, sequence)
        state = laid_out(self._operations, self._budget, random_of(0), sequence, 0.0)
        walk = Walk.of(sections, runs, random_of(0))
        anneal(sections, walk, 0, 1.0, 1.0, self._settings.how)
        promised = float(walk.reals[PEAK])
        return _Found(runs, count, aim, promised, sequence, int(state.high.max()))


@dataclass
class _Found:
    """Runs of sections, and the sequence of operations that they stand for.

    `count` is the number of sections asked for, `aim` the budget that was aimed at,
    `promised` the peak of the sections as a share of it, `peak` that of the sequence.
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
    walk = Walk.of(sections, start, random_of(seed), settings.how.longest)
    best, least = start, math.inf
    parts = settings.parts
    for part in range(parts):
        if deadline.passed:
            break
        hot, cold = (heat * (settings.cold / heat) ** ((part + k) / parts) for k in (0, 1))
        anneal(sections, walk, settings.moves // parts, hot, cold, settings.how)
        deadline.spend(_SECONDS_A_MOVE * (settings.moves // parts))
        if walk.reals[VALUE] < least:
            best = walk.best[: walk.numbers[OF_BEST]].copy()
            least = float(walk.reals[VALUE])
    return best
