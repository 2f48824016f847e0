"""Simulated annealing on the runs of sections, compiled."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from schedule.layout import Bools, Floats, Ints
from schedule.solvers.annealing.sections.model import Sections
from schedule.solvers.kit.compiled import jit
from schedule.solvers.kit.randomness import Words, below, draw

#: Probability that a stretch that is inserted begins with the first section.
_FROM_START = 0.3
#: Reruns are moved by up to half as many positions, or more, up to half its square.
_FAR = 10.0


class SectionMoves(NamedTuple):
    """How moves on sections are chosen and what they are worth.

    Attributes
    ----------
    insert, remove
        Shares of the moves that insert a stretch of sections and that remove one; the
        rest move one.
    price
        What every node once costs, in budgets of excess.
    squares
        What the squares of the excess cost, in the mean over all sections, beside the
        peak's excess: they leave no position far above the budget where not all can be
        within it.
    longest
        The most runs, for each section.
    """

    insert: float = 0.4
    remove: float = 0.35
    price: float = 0.01
    squares: float = 30.0
    longest: int = 60


@jit
def measure(sections: Sections, runs: Ints) -> tuple[Ints, float, float, float]:
    """Of runs: those with a use, their compute, sum of squared excess, and peak.

    The budget is 1, and the excess at a position is the memory in use there above it.
    """
    used, change = _change(sections, runs)
    compute = held = peak = excess = 0.0
    for p in range(len(runs)):
        held += change[p]
        if used[p]:  # a run without a use isn't kept, so nothing is in use while it runs
            compute += sections.cost[runs[p]]
            peak = max(peak, held)
            excess += max(held - 1.0, 0.0) ** 2
    return runs[used], compute, excess, peak


@jit
def _change(sections: Sections, runs: Ints) -> tuple[Bools, Floats]:
    """Shape (r,): whether each run has a use; shape (r + 1,): how memory changes with each.

    From the end to the start: a run has a use where something behind it that has one reads
    what it writes, so uses have to be known from behind. O(runs · bundles of a section).
    """
    n = len(runs)
    # Last use of the value that is current on the way back; −1: nobody behind reads it.
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
        # First runs stay: every operation has to run once.
        used[p] = is_first
        for k in range(sections.first_write[s], sections.first_write[s + 1]):
            b = sections.writes[k]
            if last_use[b] >= 0 and (is_first or sections.again[b]):
                used[p] = True
                change[p] += sections.size[b]
                change[last_use[b] + 1] -= sections.size[b]
                last_use[b] = -1  # runs before this one can only read an earlier value
        if used[p]:  # what a run without a use reads isn't held for it
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
    """Try `moves` moves from `runs` on: the runs at the end, the best met, its objective.

    The objective is the peak's excess in budgets, the squares of the excess at all
    positions, and compute at a price. Temperatures are in the same unit.
    O(moves · uses of bundles).
    """
    # Every move is measured from scratch: sections are few, so keeping lists of uses up to
    # date, as the search on operations does, wouldn't be worth its code.
    count = len(sections.cost)
    current, compute, excess, peak = measure(sections, runs)
    value = _value(count, compute, excess, peak, how)
    best, best_value = current, value
    for move in range(moves):
        heat = hot * (cold / hot) ** (move / moves)
        drawn = draw(random)
        if drawn < how.insert:
            changed = _with_more(current, random)
        elif drawn < how.insert + how.remove:
            changed = _with_fewer(current, count, random)
        else:
            changed = _moved(current, count, random)
        # `_moved` gives no runs where it can't; ever longer sequences would take ever longer.
        if len(changed) > how.longest * count or len(changed) == 0:
            continue
        # Goes on with what is left without useless runs: they would cost nothing, and pile up.
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
    """A stretch of sections rerun somewhere behind their first runs."""
    at = 1 + below(random, len(runs))
    # First runs are in order, so up to a position exactly the sections below this have run.
    known = runs[:at].max() + 1
    length = min(_length(known, random), known)
    start = 0  # now and then from the inputs on: what is live beside them can then be evicted
    if draw(random) >= _FROM_START:
        start = below(random, known - length + 1)
    changed = np.empty(len(runs) + length, np.int64)
    changed[:at] = runs[:at]
    changed[at : at + length] = np.arange(start, start + length)
    changed[at + length :] = runs[at:]
    return changed


@jit
def _reruns(runs: Ints, count: int, start: int, length: int) -> Bools:
    """Shape (r,): which of the `length` runs from position `start` on are reruns."""
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
    """The reruns of a stretch somewhere else; no runs where they would be too early."""
    start = below(random, len(runs))
    chosen = _reruns(runs, count, start, _length(count, random))
    left, reruns = runs[~chosen], runs[chosen]
    if len(reruns) == 0:
        return reruns
    # An exponent drawn from 1 to 2 makes short moves more frequent than long ones.
    away = int((draw(random) - 0.5) * _FAR ** (1 + draw(random)))
    at = min(max(start + away, 1), len(left))
    if left[:at].max() < reruns.max():  # a rerun may not come before its section's first run
        return reruns[:0]
    return np.concatenate((left[:at], reruns, left[at:]))
