"""Simulated annealing on the runs of sections, compiled."""

from __future__ import annotations

import math

import numpy as np

from schedule.layout import Bools, Floats, Ints
from schedule.solvers.annealing.sections.model import Sections
from schedule.solvers.kit.compiled import jit, part
from schedule.solvers.kit.randomness import Words, below, draw
from schedule.solvers.kit.structs import Struct

#: Probability that a stretch that is inserted begins with the first section.
_FROM_START = 0.3
#: Reruns are moved by up to half as many positions, or more, up to half its square.
_FAR = 10.0


class SectionMoves(Struct):
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


#: Positions in `Walk.numbers`: how many runs there are now, of the best, and of what a move makes.
NOW, OF_BEST, CHANGED = 0, 1, 2
#: Positions in `Walk.reals`: compute, sum of squared excess, and peak of what was measured
#: last, and the objective of the best.
COMPUTE, SQUARES, PEAK, VALUE = 0, 1, 2, 3


class Walk(Struct):
    """Runs of sections while they change, with space for `most` of them.

    Attributes
    ----------
    runs, best, changed
        Runs now, the best of the last call of `anneal`, and what a move makes of the first.
    used, change, last_use, times, chosen, seen
        Space: for each run whether it has a use, and by how much memory changes with it;
        for each bundle and section what is read and run later; runs that a move takes.
    numbers, reals, random
        Counters, what was measured, and the state of the generator.
    """

    runs: Ints
    best: Ints
    changed: Ints
    used: Bools
    change: Floats
    last_use: Ints
    times: Ints
    chosen: Bools
    seen: Bools
    numbers: Ints
    reals: Floats
    random: Words

    @classmethod
    def of(cls, sections: Sections, runs: Ints, random: Words, longest: int = 1) -> Walk:
        """Those runs, which may become up to `longest` for each section."""
        count, bundles = len(sections.cost), len(sections.size)
        most = max(len(runs), longest * count) + count
        walk = cls(
            runs=np.empty(most, np.int64),
            best=np.empty(most, np.int64),
            changed=np.empty(most, np.int64),
            used=np.empty(most, np.bool_),
            change=np.empty(most + 1),
            last_use=np.empty(bundles, np.int64),
            times=np.empty(count, np.int64),
            chosen=np.empty(most, np.bool_),
            seen=np.empty(count, np.bool_),
            numbers=np.array([len(runs), 0, 0]),
            reals=np.zeros(4),
            random=random,
        )
        walk.runs[: len(runs)] = runs
        return walk


@part
def _measure(sections: Sections, walk: Walk, runs: Ints, n: int) -> int:
    """Take out those of the first n runs that have no use, and measure the others; how many.

    The budget is 1, and the excess at a position is the memory in use there above it.
    """
    _set_change(sections, walk, runs, n)
    compute = held = peak = excess = 0.0
    left = 0
    for p in range(n):
        held += walk.change[p]
        if walk.used[p]:  # a run without a use isn't kept, so nothing is in use while it runs
            compute += sections.cost[runs[p]]
            peak = max(peak, held)
            excess += max(held - 1.0, 0.0) ** 2
            runs[left] = runs[p]
            left += 1
    walk.reals[COMPUTE], walk.reals[SQUARES], walk.reals[PEAK] = compute, excess, peak
    return left


@part
def _set_change(sections: Sections, walk: Walk, runs: Ints, n: int) -> None:
    """Whether each run has a use, and how memory changes with each.

    From the end to the start: a run has a use where something behind it that has one reads
    what it writes, so uses have to be known from behind. O(runs · bundles of a section).
    """
    used, change, times = walk.used, walk.change, walk.times
    # Last use of the value that is current on the way back; −1: nobody behind reads it.
    last_use = walk.last_use
    for b in range(len(last_use)):
        last_use[b] = n - 1 if sections.kept[b] else -1
    for s in range(len(times)):
        times[s] = 0
    for p in range(n):
        times[runs[p]] += 1
        change[p] = 0.0
    change[n] = 0.0
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


@jit
def anneal(
    sections: Sections, walk: Walk, moves: int, hot: float, cold: float, how: SectionMoves
) -> None:
    """Try `moves` moves; the best runs met are `walk.best`, with their objective.

    Without moves, the runs are only measured.

    The objective is the peak's excess in budgets, the squares of the excess at all
    positions, and compute at a price. Temperatures are in the same unit.
    O(moves · uses of bundles).
    """
    # Every move is measured from scratch: sections are few, so keeping lists of uses up to
    # date, as the search on operations does, wouldn't be worth its code.
    numbers, random, count = walk.numbers, walk.random, len(sections.cost)
    numbers[NOW] = _measure(sections, walk, walk.runs, numbers[NOW])
    value = _value(walk, count, how)
    _keep(walk, value)
    for move in range(moves):
        heat = hot * (cold / hot) ** (move / moves)
        drawn = draw(random)
        if drawn < how.insert:
            _insert(walk)
        elif drawn < how.insert + how.remove:
            _remove(walk, count)
        else:
            _move(walk, count)
        # `_move` gives no runs where it can't; ever longer sequences would take ever longer.
        if numbers[CHANGED] > how.longest * count or numbers[CHANGED] == 0:
            continue
        # Goes on with what is left without useless runs: they would cost nothing, and pile up.
        n = _measure(sections, walk, walk.changed, numbers[CHANGED])
        new = _value(walk, count, how)
        if new <= value or draw(random) < math.exp((value - new) / heat):
            value = new
            numbers[NOW] = n
            for p in range(n):
                walk.runs[p] = walk.changed[p]
            if value < walk.reals[VALUE]:
                _keep(walk, value)


@part
def _keep(walk: Walk, value: float) -> None:
    """The runs are the best so far."""
    walk.reals[VALUE] = value
    walk.numbers[OF_BEST] = walk.numbers[NOW]
    for p in range(walk.numbers[NOW]):
        walk.best[p] = walk.runs[p]


@part
def _value(walk: Walk, count: int, how: SectionMoves) -> float:
    """The objective of what was measured last."""
    over, squares = max(walk.reals[PEAK] - 1.0, 0.0), how.squares * walk.reals[SQUARES] / count
    value: float = over + squares + how.price * walk.reals[COMPUTE]
    return value


@part
def _length(most: int, random: Words) -> int:
    """From 1 to `most`, short ones more often: as likely from 1 to 2 as from 2 to 4."""
    return int(math.exp(draw(random) * math.log(most + 1.0)))


@part
def _insert(walk: Walk) -> None:
    """A stretch of sections rerun somewhere behind their first runs."""
    runs, changed, random, n = walk.runs, walk.changed, walk.random, walk.numbers[NOW]
    at = 1 + below(random, n)
    # First runs are in order, so up to a position exactly the sections below this have run.
    known = 0
    for p in range(at):
        changed[p] = runs[p]
        known = max(known, runs[p] + 1)
    length = min(_length(known, random), known)
    start = 0  # now and then from the inputs on: what is live beside them can then be evicted
    if draw(random) >= _FROM_START:
        start = below(random, known - length + 1)
    for k in range(length):
        changed[at + k] = start + k
    for p in range(at, n):
        changed[p + length] = runs[p]
    walk.numbers[CHANGED] = n + length


@part
def _choose(walk: Walk, count: int, start: int) -> None:
    """Choose the reruns of a stretch of some length, from position `start` on."""
    end = start + _length(count, walk.random)
    for s in range(count):
        walk.seen[s] = False
    for p in range(walk.numbers[NOW]):
        s = walk.runs[p]
        walk.chosen[p] = walk.seen[s] and start <= p < end
        walk.seen[s] = True


@part
def _remove(walk: Walk, count: int) -> None:
    """Without the reruns of a stretch."""
    _choose(walk, count, below(walk.random, walk.numbers[NOW]))
    left = 0
    for p in range(walk.numbers[NOW]):
        if not walk.chosen[p]:
            walk.changed[left] = walk.runs[p]
            left += 1
    walk.numbers[CHANGED] = left


@part
def _move(walk: Walk, count: int) -> None:
    """The reruns of a stretch somewhere else; no runs where they would be too early."""
    runs, changed, random, n = walk.runs, walk.changed, walk.random, walk.numbers[NOW]
    walk.numbers[CHANGED] = 0
    start = below(random, n)
    _choose(walk, count, start)
    reruns, latest = 0, -1
    for p in range(n):
        if walk.chosen[p]:
            reruns += 1
            latest = max(latest, runs[p])
    if reruns == 0:
        return
    # An exponent drawn from 1 to 2 makes short moves more frequent than long ones.
    away = int((draw(random) - 0.5) * _FAR ** (1 + draw(random)))
    at = min(max(start + away, 1), n - reruns)
    # What stays goes before and behind them, at the positions that are left.
    left, moved, known = 0, at, -1
    for p in range(n):
        if walk.chosen[p]:
            changed[moved] = runs[p]
            moved += 1
        else:
            changed[left if left < at else left + reruns] = runs[p]
            known = max(known, runs[p]) if left < at else known
            left += 1
    if known >= latest:  # a rerun may not come before its section's first run
        walk.numbers[CHANGED] = n
