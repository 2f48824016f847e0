"""Simulated annealing on a sequence: the loop, compiled."""

from __future__ import annotations

import math

from schedule.solvers.annealing.moves import (
    MoveShares,
    keeps_order,
    list_changes,
    pick,
    pick_lacking,
    pick_repeat,
    pick_run,
    price,
)
from schedule.solvers.annealing.state import (
    ACCEPTED,
    BEST,
    BUDGET,
    COST,
    EXCESS,
    PACE,
    SAME,
    TRIED,
    WEIGHT,
    State,
    do,
    has_space,
)
from schedule.solvers.kit.compiled import jit, part
from schedule.solvers.kit.randomness import draw
from schedule.solvers.program.operations import Operations

#: Moves between two looks at the temperature and the price of excess, and the most that
#: price becomes.
_BETWEEN = 256
MOST_PRICE = 300.0


@jit
def anneal(
    operations: Operations,
    state: State,
    moves: int,
    hot: float,
    cold: float,
    chains: float,
    shares: MoveShares,
) -> None:
    """Try `moves` moves, cooling from `hot` to `cold` on the way.

    Temperatures are shares of the compute of every node once, as all costs here.
    `chains` is the share of moves that insert several reruns at once.
    Ends early where a list of uses has no space left: `TRIED` says when. The caller
    lays the sequence out anew and goes on.
    """
    numbers, reals = state.numbers, state.reals
    numbers[TRIED] = numbers[ACCEPTED] = 0
    while numbers[TRIED] < moves:
        if numbers[TRIED] % _BETWEEN == 0:  # from one move to the next they hardly change
            heat = hot * (cold / hot) ** (numbers[TRIED] / moves)
            # The price follows the sequence: it rises until that fits, and falls until it no
            # longer does. So the search stays near the border, where the best ones are.
            if numbers[EXCESS] > 0:
                reals[WEIGHT] = min(reals[WEIGHT] * reals[PACE], MOST_PRICE)
            else:
                reals[WEIGHT] /= reals[PACE]
        numbers[TRIED] += 1
        if chains > 0 and draw(state.random) < chains:
            if not _try_chain(operations, state, heat, shares):
                break
            continue
        # What can't be done counts as tried, too: a sequence in which nothing can ends as well.
        v, out, into = pick(operations, state, shares)
        if v < 0 or (operations.in_order and not keeps_order(operations, state, v, out, into)):
            continue
        n = list_changes(operations, state, v, out, into)
        if n < 0:
            continue
        # Only an insertion adds uses; a move frees the space that it needs.
        if out < 0 and not has_space(operations, state, v):
            break
        # Priced before it is carried out: most moves are refused, and then nothing was changed.
        excess = price(state, n)
        cost = operations.cost[v] * (int(out < 0) - int(into < 0))
        if not _is_accepted(state, cost, excess, heat):
            continue
        # A copy takes as long as the sequence is. So the best is copied when it is left, not at
        # every improvement on the way to it.
        if excess > 0 or cost > 0:
            _save_better(state)
        do(operations, state, v, out, into, n)
        numbers[EXCESS] += excess
        reals[COST] += cost
        numbers[ACCEPTED] += 1
    _save_better(state)


@part
def _is_accepted(state: State, cost: float, excess: int, heat: float) -> bool:
    """Whether to go on from a sequence with `cost` and `excess` more (Metropolis)."""
    worse = cost + state.reals[WEIGHT] / max(state.numbers[BUDGET], 1) * excess
    is_accepted: bool = worse <= 0 or draw(state.random) < math.exp(-worse / heat)
    return is_accepted


@part
def _try_chain(operations: Operations, state: State, heat: float, shares: MoveShares) -> bool:
    """Rerun what some run reads, and before it what that reads, as one move.

    Each alone may save nothing: what the first reads would have to be held for it.
    False: a list of uses has no space left.
    """
    # Each link is carried out at once, as the price of the next depends on it; they are taken
    # back where the whole isn't accepted. So the best has to be saved before.
    _save_better(state)
    top = reader = pick_run(state)
    is_whole = shares.whole > 0 and draw(state.random) < shares.whole
    # Some chains hold nothing, however long they are; on others something is held half the time.
    held = shares.held * draw(state.random) if is_whole else 0.0
    chain, longest = state.chain, len(state.chain) >> 1
    most = longest if is_whole else min(shares.chain, longest)
    length, before, cost, excess, is_accepted = 0, len(operations.nodes), 0.0, 0, True
    while True:
        if length == 0 or not is_whole:
            v, slot = pick_repeat(operations, state, reader, shares.late)
            top = max(top, slot)
        else:
            v, slot = pick_lacking(operations, state, length, top, before)
        # Where a link isn't possible the chain ends there; what it has so far may be worth it.
        if slot < 0 or (operations.in_order and slot < state.first_slot[v]):
            break
        before = v
        if length and is_whole and draw(state.random) < held:
            continue
        if length == most:
            is_accepted = not is_whole  # half of one holds the most
            break
        n = list_changes(operations, state, v, -1, slot)
        if n < 0:
            break
        if not has_space(operations, state, v):
            _take_back(operations, state, length)
            return False
        # Excess and compute are booked only with the whole chain, so that refusing it changes no
        # counter.
        excess += price(state, n)
        cost += operations.cost[v]
        do(operations, state, v, -1, slot, n)
        chain[2 * length], chain[2 * length + 1] = v, slot
        length += 1
        if not is_whole:
            if length == most or (length > 1 and draw(state.random) < shares.chain_ends):
                break
            # Any link may be the next reader, so that chains branch.
            reader = chain[2 * int(draw(state.random) * length) + 1]
    if length and is_accepted and _is_accepted(state, cost, excess, heat):
        state.numbers[EXCESS] += excess
        state.reals[COST] += cost
        state.numbers[ACCEPTED] += 1
    else:
        _take_back(operations, state, length)
    return True


@part
def _take_back(operations: Operations, state: State, length: int) -> None:
    """Remove the links of a chain, the last first: only then is all on the way executable."""
    for k in range(length - 1, -1, -1):
        v, slot = state.chain[2 * k], state.chain[2 * k + 1]
        do(operations, state, v, slot, -1, list_changes(operations, state, v, slot, -1))


@part
def _save_better(state: State) -> None:
    """Keep the sequence where it fits and costs less than the best that does."""
    if state.numbers[EXCESS] == 0 and state.reals[COST] < state.reals[BEST] - SAME:
        for slot in range(len(state.run_at)):
            state.best[slot] = state.run_at[slot]
        state.reals[BEST] = state.reals[COST]
