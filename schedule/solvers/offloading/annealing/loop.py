"""The compiled part: copies move, come and go, and three engines are simulated each time."""

from __future__ import annotations

import math

import numpy as np

from schedule.layout import Floats, Ints
from schedule.solvers.kit.compiled import jit, part
from schedule.solvers.kit.randomness import Words, below, draw
from schedule.solvers.kit.structs import Struct

#: Rows of a position: whether a gap is on the host; the run after which its copy down is
#: asked for, and after which it is freed (−1: at the start); the run before which it is
#: fetched.
CHOSEN, ISSUED, FREED, FETCHED = 0, 1, 2, 3

#: How often a gap is drawn at random until a chosen one is met.
_TRIES = 20


class Gaps(Struct):
    """What is searched: r runs and g gaps, those of one life in the order of time.

    Attributes
    ----------
    compute
        Shape (r,).
    size, written, last, next
        Shape (g,): see `Gap`; at most r is next.
    life
        Shape (g,): the number of each gap's life, below g.
    down, up
        Shape (g,): what copies take.
    """

    compute: Floats
    size: Ints
    life: Ints
    written: Ints
    last: Ints
    next: Ints
    down: Floats
    up: Floats


class State(Struct):
    """Where copies are, and space to search and to simulate.

    Attributes
    ----------
    positions, undone, best
        Shape (4, g), see `CHOSEN` and the others: now, before the move, of the least makespan.
    slack, left
        Shape (r + 1,): memory that is left during each run, and at the end; before the move.
    lists, chains
        Shapes (4, r + 2) and (4, g): copies down, frees, fetches and reads by position, and
        what follows in each.
    leads
        Shape (g,): the gap that each life is copied down for.
    ready, copied
        Shape (g,): when a gap is back, and when a life is on the host.
    end
        Shape (r,): when each run ends.
    random
        State of the random numbers.
    """

    positions: Ints
    undone: Ints
    best: Ints
    slack: Ints
    left: Ints
    lists: Ints
    chains: Ints
    leads: Ints
    ready: Floats
    copied: Floats
    end: Floats
    random: Words


def state_of(positions: Ints, slack: Ints, random: Words) -> State:
    """A search that begins at positions that fit."""
    gaps, runs = positions.shape[1], len(slack) - 1
    return State(
        positions=positions,
        undone=positions.copy(),
        best=positions.copy(),
        slack=slack,
        left=slack.copy(),
        lists=np.full((4, runs + 2), -1),
        chains=np.full((4, gaps), -1),
        leads=np.full(gaps, -1),
        ready=np.zeros(gaps),
        copied=np.zeros(gaps),
        end=np.zeros(runs),
        random=random,
    )


@part
def _copy(there: Ints, here: Ints) -> None:
    for at in range(len(here)):
        there[at] = here[at]


@part
def _copy_rows(there: Ints, here: Ints) -> None:
    for row in range(len(here)):
        _copy(there[row], here[row])


@part
def _list_by(gaps: Gaps, state: State, row: int, shift: int, to: int) -> None:
    """Lists of gaps by position, each in the order of the gaps."""
    chosen, position = state.positions[CHOSEN], state.positions[row]
    first, after = state.lists[to], state.chains[to]
    for at in range(len(first)):
        first[at] = -1
    for g in range(len(gaps.size) - 1, -1, -1):
        if chosen[g]:
            at = position[g] + shift
            after[g] = first[at]
            first[at] = g


@part
def _list_all(gaps: Gaps, state: State) -> None:
    """What happens at each position; see `State`."""
    chosen, life, next_ = state.positions[CHOSEN], gaps.life, gaps.next
    leads, first, after = state.leads, state.lists[3], state.chains[3]
    count = len(life)
    for g in range(count):
        leads[life[g]] = -1
    for g in range(count - 1, -1, -1):  # gaps of a life are in the order of time
        if chosen[g]:
            leads[life[g]] = g
    _list_by(gaps, state, ISSUED, 1, 0)
    _list_by(gaps, state, FREED, 1, 1)
    _list_by(gaps, state, FETCHED, 0, 2)
    for at in range(len(first)):
        first[at] = -1
    for g in range(count):
        if chosen[g]:
            after[g] = first[next_[g]]
            first[next_[g]] = g


@part
def _makespan(gaps: Gaps, state: State) -> float:
    """When the last compute or copy ends; see `schedule.engines`."""
    lists, chains = state.lists, state.chains
    life, written = gaps.life, gaps.written
    ready, copied, end = state.ready, state.copied, state.end
    runs = len(gaps.compute)
    _list_all(gaps, state)
    now = pending = free_down = free_up = 0.0
    for at in range(runs + 1):  # what comes before run `at`, after the one before it
        g = lists[0, at]
        while g >= 0:
            if state.leads[life[g]] == g:
                begin = max(free_down, pending)
                if written[g] >= 0:
                    begin = max(begin, end[written[g]])
                free_down = begin + gaps.down[g]
                copied[life[g]] = free_down
            g = chains[0, g]
        g = lists[1, at]
        while g >= 0:
            pending = max(pending, copied[life[g]])
            g = chains[1, g]
        g = lists[2, at]
        while g >= 0:
            free_up = max(max(now, free_up), max(pending, copied[life[g]])) + gaps.up[g]
            ready[g] = free_up
            g = chains[2, g]
        if at == runs:
            break
        begin = max(now, pending)
        g = lists[3, at]
        while g >= 0:
            begin = max(begin, ready[g])
            g = chains[3, g]
        now = begin + gaps.compute[at]
        end[at] = now
    return max(now, max(free_down, free_up))


@part
def _shift(slack: Ints, first: int, last: int, size: int) -> None:
    """Change what is left in these runs, the last not included."""
    for at in range(first, last):
        slack[at] += size


@part
def _has(slack: Ints, first: int, last: int, size: int) -> bool:
    for at in range(first, last):  # noqa: SIM110 - Numba compiles no generators
        if slack[at] < size:
            return False
    return True


@part
def _move_end(state: State, size: int, g: int, row: int, to: int) -> bool:
    """Free later or earlier, or fetch so; False: there is no memory for it."""
    old, slack = state.positions[row, g], state.slack
    shift = 1 if row == FREED else 0
    # It is there for longer where it is freed later, or fetched earlier.
    if (to > old) == (row == FREED):
        first, last = min(old, to) + shift, max(old, to) + shift
        if not _has(slack, first, last, size):
            return False
        _shift(slack, first, last, -size)
    else:
        _shift(slack, min(old, to) + shift, max(old, to) + shift, size)
    state.positions[row, g] = to
    return True


@part
def _toggle(gaps: Gaps, state: State, g: int) -> bool:
    """Copy a gap that isn't copied, or no longer; False: there is no memory for it."""
    positions, slack, size = state.positions, state.slack, gaps.size[g]
    first, last = positions[FREED, g] + 1, positions[FETCHED, g]
    if positions[CHOSEN, g]:
        if not _has(slack, first, last, size):
            return False
        _shift(slack, first, last, -size)
        positions[CHOSEN, g] = 0
    else:
        _shift(slack, first, last, size)
        positions[CHOSEN, g] = 1
    return True


@part
def _step(random: Words, reach: int) -> int:
    """A distance of at least 1: most are short."""
    share = draw(random)
    return 1 + int(share * share * share * reach)


@part
def _chosen(gaps: Gaps, state: State, but: int) -> int:
    """One that is chosen, most gaps aren't; −1: none was met."""
    for _ in range(_TRIES):
        g = below(state.random, len(gaps.size))
        if state.positions[CHOSEN, g] and g != but:
            return g
    return -1


@part
def _exchange(gaps: Gaps, state: State, g: int, other: int, room: int) -> int:
    """Toggle a gap, and another one where that allows for it; the host's room, −1: no memory."""
    was_chosen = state.positions[CHOSEN, g]
    if _toggle(gaps, state, g):
        room += gaps.size[g] if was_chosen else -gaps.size[g]
        if not was_chosen and other >= 0 and _toggle(gaps, state, other):
            room += gaps.size[other]
        return room
    return -1


@part
def _move(gaps: Gaps, state: State, g: int, row: int, step: int) -> bool:
    """Move a copy down, a free or a fetch; False: there is no memory for it."""
    positions = state.positions
    if row == ISSUED:
        to = min(max(positions[ISSUED, g] + step, gaps.written[g]), positions[FREED, g])
        positions[ISSUED, g] = to
        return True
    if row == FREED:
        low = max(gaps.last[g], positions[ISSUED, g])
        to = min(max(positions[FREED, g] + step, low), positions[FETCHED, g] - 1)
    else:
        if gaps.next[g] > len(gaps.compute):  # it need not come back
            return False
        to = min(max(positions[FETCHED, g] + step, positions[FREED, g] + 1), gaps.next[g])
    return _move_end(state, gaps.size[g], g, row, to)


@jit
def search(gaps: Gaps, state: State, room: int, hot: float, cold: float, moves: int) -> float:
    """Anneal positions, which have to fit, for so many moves; the best of them go to `best`.

    Parameters
    ----------
    gaps, state
        What is searched, and where it is.
    room
        What the host has left, each life counted as long as it is chosen.
    hot, cold
        Temperatures, in units of compute.
    moves
        How many.

    Returns
    -------
    float
        The best makespan.
    """
    count, random = len(gaps.size), state.random
    now = _makespan(gaps, state)
    least = now
    _copy_rows(state.best, state.positions)
    _copy_rows(state.undone, state.positions)
    _copy(state.left, state.slack)
    reach = max(len(gaps.compute) // 8, 2)
    cooling = math.log(cold / hot) / moves
    for move in range(moves):
        room_before = room
        g = below(random, count)
        kind = below(random, 4)
        if kind < 3:
            g = _chosen(gaps, state, -1)
            kind = 3 if g < 0 else kind
            g = max(g, 0)
        if kind == 3:
            room = _exchange(gaps, state, g, _chosen(gaps, state, g), room)
            fits = room >= 0
        else:
            step = _step(random, reach) * (1 - 2 * below(random, 2))
            fits = _move(gaps, state, g, kind + 1, step)
        if fits:
            found = _makespan(gaps, state)
            heat = hot * math.exp(cooling * move)
            if found <= now or draw(random) < math.exp((now - found) / heat):
                now = found
                _copy_rows(state.undone, state.positions)
                _copy(state.left, state.slack)
                if now < least:
                    least = now
                    _copy_rows(state.best, state.positions)
                continue
        _copy_rows(state.positions, state.undone)
        _copy(state.slack, state.left)
        room = room_before
    return least
