"""Annealing of copies for one order of runs; compiled."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from schedule.layout import Ints
from schedule.levels import Level
from schedule.solvers.contract import Deadline
from schedule.solvers.kit.randomness import random_of
from schedule.solvers.offloading.annealing.loop import CHOSEN, Gaps, search, state_of

#: Moves between two looks at the deadline, and about the seconds that one takes for each run.
_SLICE = 2_000
_SECONDS_A_RUN = 4e-9
#: The first and the last temperature, as shares of all compute.
_HOT, _COLD = 3e-3, 1e-6


@dataclass(frozen=True)
class Copies:
    """An order of r runs and its g gaps.

    Attributes
    ----------
    memory
        Shape (r + 1,): see `Runs`.
    gaps
        What may be copied.
    """

    memory: Ints
    gaps: Gaps


def anneal(
    copies: Copies,
    budget: int,
    level: Level,
    start: Ints,
    *,
    seed: int,
    moves: int,
    deadline: Deadline,
) -> tuple[Ints, float]:
    """The best positions of copies that were found, and their makespan without views.

    Parameters
    ----------
    copies, budget, level
        What is searched.
    start
        Shape (4, g): positions that fit (see `loop`).
    seed, moves
        Of the random choices; how many moves are tried.
    deadline
        Looked at every few thousand moves.

    Notes
    -----
    O(r + g) for a move.
    """
    gaps, size = copies.gaps, copies.gaps.size
    positions = start.copy()
    slack = budget - copies.memory
    for g in np.flatnonzero(positions[CHOSEN]).tolist():
        slack[positions[2, g] + 1 : positions[3, g]] += size[g]
    state = state_of(positions, slack, random_of(seed))
    best, least = positions.copy(), np.inf
    total, rounds = float(gaps.compute.sum()), -(-moves // _SLICE)
    hot = max(total, 1e-300) * _HOT
    factor = (_COLD / _HOT) ** (1 / rounds)
    for _ in range(rounds):
        room = level.capacity - int(size[positions[CHOSEN] > 0].sum())
        value = search(gaps, state, room, hot, hot * factor, _SLICE)
        deadline.spend(_SECONDS_A_RUN * _SLICE * len(copies.memory))
        if value < least:
            least = value
            best[:] = state.best
        hot *= factor
        if deadline.passed:
            break
    return best, least
