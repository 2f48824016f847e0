"""Simulated annealing on the runs of sections, compiled."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from schedule.layout import Bools, Floats, Ints
from schedule.solvers.annealing.sections.model import Sections
from schedule.solvers.kit.compiled import jit
from schedule.solvers.kit.randomness import Words, below, draw

#: How often a stretch that is put in begins with the first section.
_FROM_START = 0.3
#: Reruns are moved by up to half of it, or more, up to half its square; in places.
_FAR = 10.0


class SectionMoves(NamedTuple):
    """How moves on sections are chosen and what they are worth.

    Attributes
    ----------
    come, go
        Shares of the moves that put a stretch of sections in and that take one out; the
        rest move one.
    price
        What every node once costs, in budgets of excess.
    squares
        What the squares of the excess cost, in the mean over all sections, beside the
        peak's excess: they leave no place far above the budget where not all can be
        within it.
    longest
        The most runs, for each section.
    """

    come: float = 0.4
    go: float = 0.35
    price: float = 0.01
    squares: float = 30.0
    longest: int = 60


@jit
def measure(sections: Sections, runs: Ints) -> tuple[Ints, float, float, float]:
    """Of runs: those with a use, their compute, sum of the squared excess of places, and peak.

    The budget is 1, and the excess in a place is what is in memory there above it.
    """
    used, change = _change(sections, runs)
    compute = held = peak = excess = 0.0
    for p in range(len(runs)):
        held += change[p]
        if used[p]:
            compute += sections.cost[runs[p]]
            peak = max(peak, held)
            excess += max(held - 1.0, 0.0) ** 2
    return runs[used], compute, excess, peak


@jit
def _change(sections: Sections, runs: Ints) -> tuple[Bools, Floats]:
    """Shape (r,): whether each run has a use; shape (r + 1,): how memory changes with each.

    Seen from the end, so that what a run writes is known to be read, or not.
    """
    n = len(runs)
    last_use = np.where(sections.kept, n - 1, -1)
    change = np.zeros(n + 1)
    times = np.zeros(len(sections.cost), np.int64)
    for s in runs:
        times[s] += 1
    used = np.zeros(n, np.bool_)
    for p in range(n - 1, -1, -1):
        s = runs[p]
        times[s] -= 1
        is_first = times[s] == 0
        used[p] = is_first
        for k in range(sections.first_write[s], sections.first_write[s + 1]):
            b = sections.writes[k]
            if last_use[b] >= 0 and (is_first or sections.again[b]):
                used[p] = True
                change[p] += sections.size[b]
                change[last_use[b] + 1] -= sections.size[b]
                last_use[b] = -1
        if used[p]:
            for k in range(sections.first_read[s], sections.first_read[s + 1]):
                b = sections.reads[k]
                if last_use[b] < 0:
                    last_use[b] = p
    for b in range(len(sections.size)):
        if last_use[b] >= 0:  # an input
            change[0] += sections.size[b]
            change[last_use[b] + 1] -= sections.size[b]
    return used, change


@jit
def anneal(
    sections: Sections,
    runs: Ints,
    moves: int,
    hot: float,
    cold: float,
    how: SectionMoves,
    random: Words,
) -> tuple[Ints, Ints, float]:
    """So many moves from `runs` on: the runs that they end with, the best met, its objective.

    The objective is the peak's excess in budgets, the squares of the excess of all
    places, and compute at a price. Temperatures are in the same unit. O(moves · uses of bundles).
    """
    count = len(sections.cost)
    current, compute, excess, peak = measure(sections, runs)
    value = _value(count, compute, excess, peak, how)
    best, best_value = current, value
    for move in range(moves):
        heat = hot * (cold / hot) ** (move / moves)
        drawn = draw(random)
        if drawn < how.come:
            changed = _with_more(current, random)
        elif drawn < how.come + how.go:
            changed = _with_fewer(current, count, random)
        else:
            changed = _moved(current, count, random)
        if len(changed) > how.longest * count or len(changed) == 0:
            continue
        kept, compute, excess, peak = measure(sections, changed)
        new = _value(count, compute, excess, peak, how)
        if new <= value or draw(random) < np.exp((value - new) / heat):
            current, value = kept, new
            if value < best_value:
                best, best_value = current, value
    return current, best, best_value


@jit
def _value(count: int, compute: float, excess: float, peak: float, how: SectionMoves) -> float:
    value: float = max(peak - 1.0, 0.0) + how.squares * excess / count + how.price * compute
    return value


@jit
def _length(most: int, random: Words) -> int:
    """From 1 to `most`, short ones more often: as likely from 1 to 2 as from 2 to 4."""
    return int(np.exp(draw(random) * np.log(most + 1.0)))


@jit
def _with_more(runs: Ints, random: Words) -> Ints:
    """A stretch of sections run again somewhere behind their first runs."""
    at = 1 + below(random, len(runs))
    known = runs[:at].max() + 1
    length = min(_length(known, random), known)
    start = 0
    if draw(random) >= _FROM_START:
        start = below(random, known - length + 1)
    changed = np.empty(len(runs) + length, np.int64)
    changed[:at] = runs[:at]
    changed[at : at + length] = np.arange(start, start + length)
    changed[at + length :] = runs[at:]
    return changed


@jit
def _reruns(runs: Ints, count: int, start: int, length: int) -> Bools:
    """Shape (r,): which runs from place `start` on are reruns, `length` places long."""
    seen = np.zeros(count, np.bool_)
    found = np.zeros(len(runs), np.bool_)
    for p in range(len(runs)):
        found[p] = seen[runs[p]] and start <= p < start + length
        seen[runs[p]] = True
    return found


@jit
def _with_fewer(runs: Ints, count: int, random: Words) -> Ints:
    """Without the reruns of a stretch."""
    start = below(random, len(runs))
    return runs[~_reruns(runs, count, start, _length(count, random))]


@jit
def _moved(runs: Ints, count: int, random: Words) -> Ints:
    """The reruns of a stretch somewhere else; nothing where they would come too early."""
    start = below(random, len(runs))
    chosen = _reruns(runs, count, start, _length(count, random))
    left, reruns = runs[~chosen], runs[chosen]
    if len(reruns) == 0:
        return reruns
    away = int((draw(random) - 0.5) * _FAR ** (1 + draw(random)))
    at = min(max(start + away, 1), len(left))
    if left[:at].max() < reruns.max():
        return reruns[:0]
    return np.concatenate((left[:at], reruns, left[at:]))
