"""Sequences of runs laid out in slots, with empty ones between, as annealing takes them."""

from __future__ import annotations

import math

import numpy as np

from schedule.layout import Ints, offsets
from schedule.solvers.annealing.moves import MOST_LINKS
from schedule.solvers.annealing.state import BLOCK, State, set_up
from schedule.solvers.kit.randomness import Words
from schedule.solvers.program.operations import Operations

#: Runs between two places with room for a whole chain, about.
_APART = 32


def laid_out(
    operations: Operations,
    budget: int,
    random: Words,
    runs: Ints,
    price: float,
    rise: float = 1.0,
    clearings: bool = False,
) -> State:
    """A state for a sequence, with an empty slot after each run.

    With `clearings` there are more of them here and there, elsewhere each time: room for whole
    chains.
    """
    o = operations
    times = np.bincount(runs, minlength=len(o.nodes))
    counts = np.bincount(
        np.concatenate([o.reads, o.writes]),
        np.concatenate(
            [np.repeat(times, np.diff(o.first_read)), np.repeat(times, np.diff(o.first_write))]
        ),
        len(o.size),
    ).astype(np.int64)
    first_use = offsets(2 * counts + 32)
    space = np.ones(len(runs), np.int64)  # empty slots after each
    if clearings and len(runs):
        drawn = np.random.Generator(np.random.PCG64(int(random[0])))
        space[drawn.integers(0, len(runs), -(-len(runs) // _APART))] += MOST_LINKS
    slots = len(runs) + int(space.sum()) + 2
    run_at = np.full(slots, -1, np.int64)
    run_at[0] = -2  # the start
    run_at[1 + np.arange(len(runs)) + np.cumsum(space) - space] = runs
    blocks = -(-slots // BLOCK)
    widest = int((np.diff(o.first_read) + np.diff(o.first_write)).max(initial=0))
    n_ranges = 2 * widest + 2
    n_operations, n_resources = len(o.nodes), len(o.size)

    def zeros(count: int) -> Ints:
        return np.zeros(count, np.int64)

    state = State(
        run_at=run_at,
        first_use=first_use,
        n_uses=zeros(n_resources),
        uses=zeros(int(first_use[-1])),
        times=zeros(n_operations),
        first_slot=zeros(n_operations),
        repeated=zeros(n_operations),
        position=zeros(n_operations),
        memory=zeros(slots),
        lazy=zeros(blocks),
        low=zeros(blocks),
        high=zeros(blocks),
        best=run_at.copy(),
        ranges=zeros(3 * n_ranges),
        events=zeros(4 * n_ranges + 2),
        chain=zeros(2 * MOST_LINKS),
        change=zeros(slots + 1),
        numbers=np.array([0, 0, 0, 0, budget]),
        reals=np.array([0.0, math.inf, price, rise]),
        random=random,
    )
    set_up(operations, state)
    return state
