"""The compiled part: copies move, come and go, and three engines are simulated each time."""

from __future__ import annotations

import math

import numpy as np

from schedule.layout import Floats, Ints
from schedule.solvers.kit.compiled import jit, part
from schedule.solvers.kit.randomness import Words, below, draw

#: Rows of a position: whether a gap is on the host; the run after which its copy down is
#: asked for, and after which it is freed (−1: at the start); the run before which it is
#: fetched.
CHOSEN, ISSUED, FREED, FETCHED = 0, 1, 2, 3

#: How often a gap is drawn at random until a chosen one is met.
_TRIES = 20


@part
def _listed(positions: Ints, chosen: Ints, row: int, shift: int, first: Ints, after: Ints) -> None:
    """Lists of gaps by position, each in the order of the gaps."""
    for at in range(len(first)):
        first[at] = -1
    for g in range(len(chosen) - 1, -1, -1):
        if chosen[g]:
            at = positions[row, g] + shift
            after[g] = first[at]
            first[at] = g


@part
def _list_all(
    positions: Ints, life: Ints, next_: Ints, lists: Ints, chains: Ints, leads: Ints
) -> None:
    """What happens at each position; see `_makespan`."""
    gaps = len(life)
    for g in range(gaps):
        leads[life[g]] = -1
    for g in range(gaps - 1, -1, -1):  # gaps of a life are in the order of time
        if positions[CHOSEN, g]:
            leads[life[g]] = g
    _listed(positions, positions[CHOSEN], ISSUED, 1, lists[0], chains[0])
    _listed(positions, positions[CHOSEN], FREED, 1, lists[1], chains[1])
    _listed(positions, positions[CHOSEN], FETCHED, 0, lists[2], chains[2])
    for at in range(lists.shape[1]):
        lists[3, at] = -1
    for g in range(gaps):
        if positions[CHOSEN, g]:
            chains[3, g] = lists[3, next_[g]]
            lists[3, next_[g]] = g


@part
def _makespan(
    positions: Ints,
    compute: Floats,
    life: Ints,
    written: Ints,
    next_: Ints,
    down: Floats,
    up: Floats,
    lists: Ints,
    chains: Ints,
    leads: Ints,
    ready: Floats,
    copied: Floats,
    end: Floats,
) -> float:
    """When the last compute or copy ends; see `schedule.engines`.

    `lists` has a row for copies down, frees, fetches and reads by position, `chains` what
    follows in each; `leads` is the gap that each life is copied down for.
    """
    runs = len(compute)
    _list_all(positions, life, next_, lists, chains, leads)
    now = pending = free_down = free_up = 0.0
    for at in range(runs + 1):  # what comes before run `at`, after the one before it
        g = lists[0, at]
        while g >= 0:
            if leads[life[g]] == g:
                begin = max(free_down, pending)
                if written[g] >= 0:
                    begin = max(begin, end[written[g]])
                free_down = begin + down[g]
                copied[life[g]] = free_down
            g = chains[0, g]
        g = lists[1, at]
        while g >= 0:
            pending = max(pending, copied[life[g]])
            g = chains[1, g]
        g = lists[2, at]
        while g >= 0:
            free_up = max(max(now, free_up), max(pending, copied[life[g]])) + up[g]
            ready[g] = free_up
            g = chains[2, g]
        if at == runs:
            break
        begin = max(now, pending)
        g = lists[3, at]
        while g >= 0:
            begin = max(begin, ready[g])
            g = chains[3, g]
        now = begin + compute[at]
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
def _move_end(positions: Ints, slack: Ints, size: Ints, g: int, row: int, to: int) -> bool:
    """Free later or earlier, or fetch so; False: there is no memory for it."""
    old = positions[row, g]
    if row == FREED:
        if to > old:
            if not _has(slack, old + 1, to + 1, size[g]):
                return False
            _shift(slack, old + 1, to + 1, -size[g])
        else:
            _shift(slack, to + 1, old + 1, size[g])
    else:
        if to < old:
            if not _has(slack, to, old, size[g]):
                return False
            _shift(slack, to, old, -size[g])
        else:
            _shift(slack, old, to, size[g])
    positions[row, g] = to
    return True


@part
def _toggle(positions: Ints, slack: Ints, size: Ints, g: int) -> bool:
    """Copy a gap that isn't copied, or no longer; False: there is no memory for it."""
    first, last = positions[FREED, g] + 1, positions[FETCHED, g]
    if positions[CHOSEN, g]:
        if not _has(slack, first, last, size[g]):
            return False
        _shift(slack, first, last, -size[g])
        positions[CHOSEN, g] = 0
    else:
        _shift(slack, first, last, size[g])
        positions[CHOSEN, g] = 1
    return True


@part
def _step(random: Words, reach: int) -> int:
    """A distance of at least 1: most are short."""
    return 1 + int(draw(random) ** 3 * reach)


@part
def _chosen(positions: Ints, but: int, random: Words) -> int:
    """One that is chosen, most gaps aren't; −1: none was met."""
    for _ in range(_TRIES):
        g = below(random, positions.shape[1])
        if positions[CHOSEN, g] and g != but:
            return g
    return -1


@part
def _exchange(positions: Ints, slack: Ints, size: Ints, g: int, other: int, room: int) -> int:
    """Toggle a gap, and another one where that allows for it; the host's room, −1: no memory."""
    was_chosen = positions[CHOSEN, g]
    if _toggle(positions, slack, size, g):
        room += size[g] if was_chosen else -size[g]
        if not was_chosen and other >= 0 and _toggle(positions, slack, size, other):
            room += size[other]
        return room
    return -1


@part
def _move(
    positions: Ints,
    slack: Ints,
    size: Ints,
    written: Ints,
    last: Ints,
    next_: Ints,
    runs: int,
    g: int,
    row: int,
    step: int,
) -> bool:
    """Move a copy down, a free or a fetch; False: there is no memory for it."""
    if row == 0:
        to = min(max(positions[ISSUED, g] + step, written[g]), positions[FREED, g])
        positions[ISSUED, g] = to
        return True
    if row == 1:
        low = max(last[g], positions[ISSUED, g])
        to = min(max(positions[FREED, g] + step, low), positions[FETCHED, g] - 1)
        return _move_end(positions, slack, size, g, FREED, to)
    if next_[g] > runs:  # it need not come back
        return False
    to = min(max(positions[FETCHED, g] + step, positions[FREED, g] + 1), next_[g])
    return _move_end(positions, slack, size, g, FETCHED, to)


@jit
def search(
    positions: Ints,
    best: Ints,
    slack: Ints,
    compute: Floats,
    size: Ints,
    life: Ints,
    written: Ints,
    last: Ints,
    next_: Ints,
    down: Floats,
    up: Floats,
    room: int,
    hot: float,
    cold: float,
    moves: int,
    random: Words,
) -> float:
    """Anneal positions, which have to fit, for so many moves; the best go to `best`.

    Parameters
    ----------
    positions, best
        Shape (4, g), see `CHOSEN` and the others.
    slack
        Shape (r + 1,): memory that is left during each run, and at the end.
    compute
        Shape (r,).
    size, life, written, last, next_, down, up
        Shape (g,): see `Gap`; what copies take.
    room
        What the host has left, each life counted as long as it is chosen.
    hot, cold
        Temperatures, in units of compute.

    Returns
    -------
    float
        The best makespan.
    """
    gaps, runs = len(size), len(compute)
    lists = np.full((4, runs + 3), -1, np.int64)
    chains = np.full((4, gaps), -1, np.int64)
    leads = np.full(gaps, -1, np.int64)
    ready, copied = np.zeros(gaps), np.zeros(gaps)
    end = np.zeros(runs)
    now = _makespan(
        positions, compute, life, written, next_, down, up, lists, chains, leads, ready, copied, end
    )
    least = now
    best[:] = positions
    undone = positions.copy()
    left = slack.copy()
    reach = max(runs // 8, 2)
    for move in range(moves):
        heat = hot * math.exp(math.log(cold / hot) * move / moves)
        undone[:] = positions
        left[:] = slack
        room_before = room
        g = below(random, gaps)
        kind = below(random, 4)
        if kind < 3:
            g = _chosen(positions, -1, random)
            kind = 3 if g < 0 else kind
            g = max(g, 0)
        if kind == 3:
            room = _exchange(positions, slack, size, g, _chosen(positions, g, random), room)
            fits = room >= 0
        else:
            step = _step(random, reach) * (1 - 2 * below(random, 2))
            fits = _move(positions, slack, size, written, last, next_, runs, g, kind, step)
        if fits:
            found = _makespan(
                positions,
                compute,
                life,
                written,
                next_,
                down,
                up,
                lists,
                chains,
                leads,
                ready,
                copied,
                end,
            )
            if found <= now or draw(random) < math.exp((now - found) / heat):
                now = found
                if now < least:
                    least = now
                    best[:] = positions
                continue
        positions[:] = undone
        slack[:] = left
        room = room_before
    return least
