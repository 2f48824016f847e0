"""The canonical search, compiled: does anything pack below a given height?

Moffitt 2023 (MiniMalloc, doi:10.1145/3623278.3624752). Any packing can be pushed down
until each buffer lies on the ground or on another one, and be made by placing buffers from
the lowest offset up, each where the ones placed before let it lie. The search tries these
orders depth first, and gives up where

- a section's floor, and what is left to be placed in it, are more than the height. The
  floor is no lower than the last offset, nor than what any buffer left there can have;
- the last buffer was placed above one that comes before it by offset, or, at the same
  offset, by rank: that order was tried already;
- a buffer would leave a gap below itself into which another one fits whole;
- nothing left can lie on a buffer: then no other buffer in its place is better.

Where no buffer left spans the border of two sections, both sides are searched apart.
"""

from __future__ import annotations

from schedule.arena.buffers import NONE, Buffers
from schedule.arena.fitting import ENDLESS
from schedule.layout import Ints
from schedule.solvers.kit.compiled import jit, part
from schedule.solvers.kit.sorting import sort_range
from schedule.solvers.kit.structs import Struct

#: How a search ended: it may go on; there is a packing, or there is none.
ONGOING, FOUND, NOTHING = 0, 1, 2
#: Positions in `Canonical.numbers`: frames, entries of `pool` and changes in use; states
#: looked at, those that don't fit, too; how it ended; what the last frame that ended says.
FRAMES, POOL, CHANGES, STATES, ENDED, ANSWER = 0, 1, 2, 3, 4, 5
#: Fields of a frame: what it waits for; its buffers pool[from : to]; sections from, to; the
#: last offset and rank; the candidate that is tried; changes before it; whether no other
#: candidate does better than that one.
KIND, FROM, TO, LOW, HIGH, OFFSET, RANK, NEXT, MARK, HATLESS = 0, 1, 2, 3, 4, 5, 6, 7, 8, 9
FIELDS = 10
#: Kinds of frames: one of its buffers is placed next; all parts of it have to be packed.
CHOICE, PARTS = 0, 1


class Canonical(Struct):
    """A search, and where it stands: n buffers, s sections.

    Attributes
    ----------
    value
        Shape (3 n + 3 s,): of each buffer the lowest offset that it can have yet, its
        offset, and its rank: of two that can have the same offset the lower one is tried
        first; of each section its floor, the sizes that are left, and how many buffers
        left go on into the next.
    order
        Shape (n,): the buffers by what their ranks come from.
    place_in_order
        Shape (n,): where each is in `order`.
    by_total
        Whether ranks are by the largest sum of sizes that a buffer is part of, and only
        then by `order`.
    key
        Shape (n,): space to sort.
    first_member, member
        CSR: the buffers of each section.
    frame
        Shape (frames, FIELDS).
    pool
        Buffers of frames, for `PARTS` the frame's parts as (from, to, low, high).
    place, before
        What has changed: positions in `value`, and what was there.
    touched
        Shape (s,): whether a section's floor has to be looked at again.
    numbers
        See above.
    """

    value: Ints
    order: Ints
    place_in_order: Ints
    by_total: bool
    key: Ints
    first_member: Ints
    member: Ints
    frame: Ints
    pool: Ints
    place: Ints
    before: Ints
    touched: Ints
    numbers: Ints


@jit
def search(buffers: Buffers, state: Canonical, height: int, states: int) -> int:
    """Go on for so many states; how it ended.

    O(n log n + pairs of a buffer + members of its sections) a state.
    """
    numbers, frame = state.numbers, state.frame
    until = numbers[STATES] + states
    while numbers[STATES] < until and numbers[ENDED] == ONGOING:
        f = numbers[FRAMES] - 1
        if frame[f, KIND] == PARTS:
            numbers[ANSWER] = _next_part(buffers, state, f, numbers[ANSWER])
        else:
            numbers[ANSWER] = _next_choice(buffers, state, height, f, numbers[ANSWER])
        if numbers[FRAMES] == 0:
            numbers[ENDED] = numbers[ANSWER]
    return int(numbers[ENDED])


@part
def _push(state: Canonical, kind: int, begin: int, low: int, high: int) -> None:
    """A new frame, whose buffers or parts are pool[begin:]."""
    numbers, frame = state.numbers, state.frame
    f = numbers[FRAMES]
    numbers[FRAMES] += 1
    frame[f, KIND] = kind
    frame[f, FROM] = begin
    frame[f, TO] = numbers[POOL]
    frame[f, LOW] = low
    frame[f, HIGH] = high
    frame[f, NEXT] = frame[f, FROM] - 1
    frame[f, MARK] = numbers[CHANGES]
    frame[f, HATLESS] = 0


@part
def _return(state: Canonical, f: int, answer: int) -> int:
    """End a frame."""
    state.numbers[FRAMES] = f
    state.numbers[POOL] = state.frame[f, FROM]
    return answer


@part
def _set(state: Canonical, at: int, value: int) -> None:
    """Change a value, so that it can be undone."""
    numbers = state.numbers
    state.place[numbers[CHANGES]] = at
    state.before[numbers[CHANGES]] = state.value[at]
    numbers[CHANGES] += 1
    state.value[at] = value


@part
def _undo(state: Canonical, mark: int) -> None:
    numbers = state.numbers
    while numbers[CHANGES] > mark:
        numbers[CHANGES] -= 1
        state.value[state.place[numbers[CHANGES]]] = state.before[numbers[CHANGES]]


@part
def _next_part(buffers: Buffers, state: Canonical, f: int, returned: int) -> int:
    """Search the next part of a frame, or end it."""
    frame, pool = state.frame, state.pool
    if returned == NOTHING:
        return _return(state, f, NOTHING)
    frame[f, NEXT] += 1
    at = frame[f, FROM] + 4 * frame[f, NEXT]
    if at >= frame[f, TO]:
        return _return(state, f, FOUND)
    begin = state.numbers[POOL]
    for k in range(pool[at], pool[at + 1]):
        pool[state.numbers[POOL]] = pool[k]
        state.numbers[POOL] += 1
    _rank(buffers, state, begin)
    _push(state, CHOICE, begin, pool[at + 2], pool[at + 3])
    child = state.numbers[FRAMES] - 1
    frame[child, OFFSET] = frame[f, OFFSET]
    frame[child, RANK] = NONE  # ranks are others now
    return ONGOING


@part
def _rank(buffers: Buffers, state: Canonical, begin: int) -> None:
    """Give the buffers pool[begin:] ranks, and put them in that order."""
    n, sections = _sizes(buffers, state)
    left, pool, value, end = 3 * n + sections, state.pool, state.value, state.numbers[POOL]
    for at in range(begin, end):
        u, total = pool[at], 0
        if state.by_total:
            for s in range(buffers.first[u], buffers.last[u]):
                total = max(total, value[left + s])
        pool[at] = state.place_in_order[u]
        state.key[pool[at]] = -total
    sort_range(state.key, pool, begin, end)
    for at in range(begin, end):
        pool[at] = state.order[pool[at]]
        _set(state, 2 * n + pool[at], at - begin)


@part
def _sizes(buffers: Buffers, state: Canonical) -> tuple[int, int]:
    """How many buffers and sections there are."""
    n = len(buffers.first)
    return n, (len(state.value) - 3 * n) // 3


@part
def _next_choice(buffers: Buffers, state: Canonical, height: int, f: int, returned: int) -> int:
    """Place the next candidate of a frame, or end it."""
    frame, numbers = state.frame, state.numbers
    begin, end = frame[f, FROM], frame[f, TO]
    if frame[f, NEXT] < begin:  # it is new
        if begin == end:
            return _return(state, f, FOUND)
        _sort(state, 2 * len(buffers.first), begin, end)
        frame[f, NEXT] = begin
    else:
        if returned == FOUND:
            return _return(state, f, FOUND)
        _undo(state, frame[f, MARK])
        if frame[f, HATLESS]:
            return _return(state, f, NOTHING)
        frame[f, NEXT] += 1
    roof = _roof(buffers, state, begin, end)
    while frame[f, NEXT] < end:
        u = state.pool[frame[f, NEXT]]
        offset = state.value[u]
        if offset >= roof:
            break  # so are all that follow
        rank = state.value[2 * len(buffers.first) + u]
        if offset > frame[f, OFFSET] or (offset == frame[f, OFFSET] and rank > frame[f, RANK]):
            numbers[STATES] += 1
            if _place(buffers, state, height, f, u):
                _descend(buffers, state, f, u)
                return ONGOING
            _undo(state, frame[f, MARK])
            if frame[f, HATLESS]:
                break
        frame[f, NEXT] += 1
    return _return(state, f, NOTHING)


@part
def _sort(state: Canonical, ranks: int, begin: int, end: int) -> None:
    """Have the buffers of a frame ascend by the offset they can have, then by rank."""
    pool = state.pool
    for at in range(begin + 1, end):  # they were in order one buffer ago
        u, to = pool[at], at
        while to > begin and _comes_before(state, ranks, u, pool[to - 1]):
            pool[to] = pool[to - 1]
            to -= 1
        pool[to] = u


@part
def _comes_before(state: Canonical, ranks: int, a: int, b: int) -> bool:
    value = state.value
    if value[a] != value[b]:
        return bool(value[a] < value[b])
    return bool(value[ranks + a] < value[ranks + b])


@part
def _roof(buffers: Buffers, state: Canonical, begin: int, end: int) -> int:
    """The lowest offset at which a buffer would leave room for another one below it."""
    roof = ENDLESS
    for at in range(begin, end):
        u = state.pool[at]
        roof = min(roof, state.value[u] + buffers.size[u])
    return roof


@part
def _place(buffers: Buffers, state: Canonical, height: int, f: int, u: int) -> bool:
    """Place u; whether everything left may still fit."""
    frame, value, touched = state.frame, state.value, state.touched
    n, sections = _sizes(buffers, state)
    offset = value[u]
    top = offset + buffers.size[u]
    if top - buffers.slack[u] > height:
        frame[f, HATLESS] = 1  # it can only have higher ones yet
        return False
    floor, left, across = 3 * n, 3 * n + sections, 3 * n + 2 * sections
    _set(state, n + u, offset)
    for s in range(buffers.first[u], buffers.last[u]):
        _set(state, floor + s, top)
        _set(state, left + s, value[left + s] - buffers.size[u])
        if s + 1 < buffers.last[u]:
            _set(state, across + s, value[across + s] - 1)
        touched[s] = 1
    frame[f, HATLESS] = 1
    for at in range(frame[f, FROM], frame[f, TO]):
        j = state.pool[at]
        if j == u or buffers.first[j] >= buffers.last[u] or buffers.last[j] <= buffers.first[u]:
            continue
        frame[f, HATLESS] = 0
        _push_up(buffers, state, j, top)
    fits = True
    for s in range(frame[f, LOW], frame[f, HIGH]):
        if touched[s]:
            touched[s] = 0
            if fits:
                _lift(buffers, state, s, floor)
        least = max(offset, value[floor + s]) + value[left + s]
        # Sizes are rounded up; that of the highest buffer doesn't count so.
        if value[left + s] and least > height + buffers.alignment - 1:
            fits = False
    return fits


@part
def _push_up(buffers: Buffers, state: Canonical, j: int, top: int) -> None:
    """Let a buffer lie no lower than `top`; note where it may have been the lowest."""
    lowest, (n, _) = state.value[j], _sizes(buffers, state)
    if lowest < top:
        _set(state, j, top)
        for s in range(buffers.first[j], buffers.last[j]):
            if lowest <= state.value[3 * n + s]:
                state.touched[s] = 1


@part
def _lift(buffers: Buffers, state: Canonical, s: int, floor: int) -> None:
    """A section's floor is no lower than the lowest offset of what is left in it."""
    n, value, least = len(buffers.first), state.value, ENDLESS
    for at in range(state.first_member[s], state.first_member[s + 1]):
        j = state.member[at]
        if value[n + j] == NONE:
            least = min(least, value[j])
    if least != ENDLESS and value[floor + s] < least:
        _set(state, floor + s, least)


@part
def _descend(buffers: Buffers, state: Canonical, f: int, u: int) -> None:
    """Go on with what is left without u: as one, or in parts that share no section."""
    frame, pool, numbers = state.frame, state.pool, state.numbers
    n, sections = _sizes(buffers, state)
    across = 3 * n + 2 * sections
    begin, offset, rank = numbers[POOL], state.value[u], state.value[2 * n + u]
    splits = False
    for s in range(buffers.first[u], buffers.last[u] - 1):
        splits = splits or state.value[across + s] == 0
    if not splits:
        for at in range(frame[f, FROM], frame[f, TO]):
            if pool[at] != u:
                pool[numbers[POOL]] = pool[at]
                numbers[POOL] += 1
        _push(state, CHOICE, begin, frame[f, LOW], frame[f, HIGH])
    else:
        _split(buffers, state, f, u, across)
    child = numbers[FRAMES] - 1
    frame[child, OFFSET] = offset
    frame[child, RANK] = rank


@part
def _split(buffers: Buffers, state: Canonical, f: int, u: int, across: int) -> None:
    """A frame for all parts: first the buffers of each, then where these are."""
    frame, pool, numbers = state.frame, state.pool, state.numbers
    begin, low, parts = numbers[POOL], frame[f, LOW], 0
    # Space for the list of parts, of which there are no more than borders, and then one.
    listed = begin
    for s in range(buffers.first[u], buffers.last[u]):
        if s == buffers.last[u] - 1 or state.value[across + s] == 0:
            parts += 1
    numbers[POOL] = begin + 4 * parts
    for s in range(buffers.first[u], buffers.last[u]):
        if s < buffers.last[u] - 1 and state.value[across + s]:
            continue
        high = frame[f, HIGH] if s == buffers.last[u] - 1 else s + 1
        pool[listed] = numbers[POOL]
        for at in range(frame[f, FROM], frame[f, TO]):
            j = pool[at]
            if j != u and low <= buffers.first[j] < high:
                pool[numbers[POOL]] = j
                numbers[POOL] += 1
        pool[listed + 1] = numbers[POOL]
        pool[listed + 2] = low
        pool[listed + 3] = high
        listed += 4
        low = high
    _push(state, PARTS, begin, frame[f, LOW], frame[f, HIGH])
    frame[numbers[FRAMES] - 1, TO] = listed
    frame[numbers[FRAMES] - 1, NEXT] = -1
