"""The search over what is where and when engines are free, compiled.

A state is what is live on the device, what the host has, and three clocks: when the next
compute, the next copy down and the next copy up may begin. Beside them stands when each
live tensor can be read, or copied down. A move runs a node, or fetches a tensor; before it
stand the frees that it needs, and before these the copies down that they need, and the drops
that those need where the host is full.

These are all the moves that matter. Each step of a schedule may be put off as long as no
step after it begins later:

- A free, until the next step that needs its memory: it costs nothing but waits. So what is
  freed before a step is enough for it, and less isn't.
- A copy down, until its tensor is freed: when it begins depends on when the tensor was
  computed and on the channel, not on the steps in between. It stands earlier only where
  another one that stands there has to follow it in the channel, or where a wait would put
  it off. Of two that could both begin, what is freed first goes first.
- A drop, until the next copy down that needs its memory.

What was fetched and not read isn't freed, but where the host let go of it meanwhile, nor what
was computed, neither read nor copied.
"""

from __future__ import annotations

from schedule.solvers.kit.compiled import jit, part
from schedule.solvers.kit.queue import put, remove
from schedule.solvers.offloading.exhaustive.states import (
    COUNT,
    DEVICE,
    DOWN,
    DROPPED,
    LAST,
    LOOKED,
    MADE,
    MOST_COPIES,
    UP,
    WIDTH,
    Rules,
    Space,
    enter,
    is_in,
    left,
    memory,
)

#: How a search ended: it may go on; the end is reached; nothing is left below the limit;
#: there is no space for another state.
ONGOING, FOUND, EMPTY, FULL = 0, 1, 2, 3


@part
def _waits(space: Space, s: int, freed: int, level: int) -> float:
    """When the last copy from or to what is freed or dropped ends; 0: there is none."""
    found = float(space.wait[level])
    for t in range(len(space.candidates)):
        if is_in(freed & space.host[s], t):
            found = max(found, space.ready[s, t])
            if t == space.tail[s]:
                found = max(found, space.clock[s, DOWN])
    for at in range(level):
        if space.sequence[at] < DROPPED and is_in(freed, space.sequence[at]):
            found = max(found, space.end[at + 1])
    return found


@part
def _apply(
    rules: Rules, space: Space, s: int, move: int, freed: int, level: int, limit: float
) -> bool:
    """Enter what a move leads to, after `level` copies down and these frees; False: no space."""
    copied, dropped, packed = 0, 0, 0
    space.number[LOOKED] += MADE
    for at in range(level):
        t = space.sequence[at]
        copied |= 1 << t if t < DROPPED else 0
        dropped |= 1 << (t - DROPPED) if t >= DROPPED else 0
        packed = (packed << WIDTH) + t + 1
    host, new = space.held[level], space.number[COUNT]
    wait = _waits(space, s, freed, level)
    if not _is_of_use(rules, space, s, freed, host, wait, level):
        return True
    if new == len(space.tail):
        return False
    tail = space.sequence[level - 1] if level else space.tail[s]
    if tail >= 0 and (is_in(freed, tail) or space.end[level] <= wait):
        tail = -1
    space.tail[new], space.host[new] = tail, host
    space.before[new], space.move[new] = s, move
    space.freed[new], space.copied[new] = freed, packed
    device, clock = space.device[s] & ~freed, space.clock
    space.ran[new], space.fetched[new] = space.ran[s], space.fetched[s] & ~freed
    space.fresh[new] = space.fresh[s] & ~(freed | dropped)
    clock[new, DEVICE] = max(clock[s, DEVICE], wait)
    clock[new, DOWN], clock[new, UP] = max(space.end[level], wait), clock[s, UP]
    for t in range(len(rules.size)):
        stays = is_in(device & ~copied, t)
        space.ready[new, t] = space.ready[s, t] if stays else 0.0
    if move >= 0:
        space.device[new] = device | rules.writes[move]
        _run(rules, space, new, move, rules.writes[move] & ~device)
    else:
        space.device[new] = device | (1 << ~move)
        _fetch(rules, space, new, ~move)
    clock[new, UP] = max(clock[new, UP], clock[new, DEVICE])
    rest = left(rules, space.device[new] | host, space.ran[new])
    # What an output waits for at the end is its copy up.
    bound = max(clock[new, DEVICE] + rest, max(clock[new, DOWN], clock[new, UP]))
    space.bound[new] = bound
    if bound < limit:
        _settle(rules, space, new)
        if enter(rules, space, new):
            space.number[COUNT] += 1
            put(space.queue, len(space.tail) - 1 - new, bound)
    return True


@part
def _is_of_use(
    rules: Rules, space: Space, s: int, freed: int, host: int, wait: float, level: int
) -> bool:
    """Whether nothing is lost, and the last copy can't be put off."""
    if freed & ~host & (rules.resident | space.fresh[s]):
        return False
    if level == 0:
        return True
    return is_in(freed, space.sequence[level - 1]) or space.begin[level - 1] < wait


@part
def _run(rules: Rules, space: Space, new: int, v: int, made: int) -> None:
    """Run a node in a new state."""
    clock = space.clock[new, DEVICE]
    for t in range(len(rules.size)):
        if is_in(rules.reads[v] & space.fetched[new], t):
            clock = max(clock, space.ready[new, t])
    clock += rules.cost[v]
    for t in range(len(rules.size)):
        if is_in(made & ~space.host[new], t):
            space.ready[new, t] = clock
    space.fresh[new] &= ~rules.reads[v]
    if rules.is_alone[v]:
        space.fresh[new] |= made & ~rules.outputs
    space.ran[new] |= (1 << v) & rules.tracked
    space.clock[new, DEVICE] = clock


@part
def _fetch(rules: Rules, space: Space, new: int, t: int) -> None:
    """Copy a tensor up in a new state."""
    up = max(space.clock[new, DEVICE], space.clock[new, UP]) + rules.up[t]
    space.clock[new, UP] = space.ready[new, t] = up
    space.fetched[new] |= 1 << t
    space.fresh[new] |= 1 << t


@part
def _settle(rules: Rules, space: Space, s: int) -> None:
    """Forget times that are over before anything could begin."""
    clock, down = space.clock[s, DEVICE], space.clock[s, DOWN]
    for t in range(len(rules.size)):
        over = min(clock, down) if is_in(space.host[s], t) else down
        if space.ready[s, t] <= over:
            space.ready[s, t] = 0.0
    if down <= clock:
        space.tail[s] = -1


@part
def _is_worth_it(
    rules: Rules, space: Space, s: int, freed: int, copied: int, t: int, begin: float
) -> bool:
    """Whether to copy what isn't freed now: it would begin later if it were put off."""
    if is_in(freed, t):
        return True
    for other in range(len(space.candidates)):
        if rules.is_full and is_in(space.host[s], other) and space.ready[s, other] > begin:
            return True  # a drop would wait for that
        if is_in(freed & ~copied, other):
            if space.ready[s, other] > begin:
                return True
            if other == space.tail[s] and space.clock[s, DOWN] > begin:
                return True
    return False


@part
def _is_needed(rules: Rules, space: Space, level: int, t: int) -> bool:
    """Whether there is room for a copy, and wouldn't be without any of the drops right before."""
    left = rules.capacity - memory(rules, space.held[level]) - rules.size[t]
    if left < 0:
        return False
    while level and space.sequence[level - 1] >= DROPPED:
        level -= 1
        if rules.size[space.sequence[level] - DROPPED] <= left:
            return False
    return True


@part
def _may_change_places(rules: Rules, space: Space, s: int, freed: int, t: int, level: int) -> bool:
    """Whether a copy could begin before the last one, and by its number should."""
    if level == 0 or rules.is_full or space.begin[level - 1] < space.ready[s, t]:
        return False
    other = space.sequence[level - 1]
    kept, was_kept = not is_in(freed, t), not is_in(freed, other)
    return was_kept > kept or (was_kept == kept and other > t)


@part
def _put_copy(
    rules: Rules, space: Space, s: int, freed: int, level: int, t: int, limit: float
) -> bool:
    """Copy a tensor down next; False: that makes no sense."""
    host = space.held[level]
    if not is_in(space.device[s] & rules.movable & ~host, t) or rules.size[t] == 0:
        return False
    copied = host & ~space.host[s]
    if is_in(space.host[s], t) or not _is_needed(rules, space, level, t):
        return False
    begin = max(space.ready[s, t], space.end[level], space.wait[level])
    if begin + rules.down[t] >= limit:
        return False
    if not _is_worth_it(rules, space, s, freed, copied, t, begin):
        return False
    if _may_change_places(rules, space, s, freed, t, level):
        return False
    space.sequence[level], space.begin[level] = t, begin
    space.end[level + 1], space.wait[level + 1] = begin + rules.down[t], space.wait[level]
    space.held[level + 1] = host | (1 << t)
    return True


@part
def _lacks_room(rules: Rules, space: Space, s: int, level: int) -> bool:
    """Whether the host has no room for something that could be copied down."""
    host = space.held[level]
    left = rules.capacity - memory(rules, host)
    for t in range(len(rules.size)):  # the largest first
        if rules.size[t] <= left:
            return False
        if is_in(space.device[s] & rules.movable & ~host, t):
            return True
    return False


@part
def _put_drop(rules: Rules, space: Space, s: int, move: int, level: int, t: int) -> bool:
    """Let go of a copy next; False: that makes no sense."""
    host = space.held[level]
    if not rules.is_full or not is_in(host & space.host[s], t) or rules.size[t] == 0:
        return False
    if move == ~t:  # it is fetched
        return False
    if is_in(rules.resident & ~space.device[s], t) or not _lacks_room(rules, space, s, level):
        return False
    if level and space.sequence[level - 1] > DROPPED + t:  # in any order, so in one
        return False
    wait = max(space.wait[level], space.ready[s, t])
    if t == space.tail[s]:
        wait = max(wait, space.clock[s, DOWN])
    space.sequence[level], space.begin[level] = DROPPED + t, wait
    space.end[level + 1], space.wait[level + 1] = space.end[level], wait
    space.held[level + 1] = host & ~(1 << t)
    return True


@part
def _copy(rules: Rules, space: Space, s: int, move: int, freed: int, limit: float) -> bool:
    """Enter what a move and these frees lead to, after any copies down; False: no space."""
    level, count = 0, len(rules.size)
    space.position[0], space.end[0], space.wait[0] = 0, space.clock[s, DOWN], 0.0
    space.held[0] = space.host[s]
    if not _apply(rules, space, s, move, freed, 0, limit):
        return False
    if not freed:
        return True
    while level >= 0:
        at = space.position[level]
        if at == 2 * count:
            level -= 1
            continue
        space.position[level] += 1
        if level == MOST_COPIES:
            return False
        if at >= count:
            if not _put_drop(rules, space, s, move, level, at - count):
                continue
        elif not _put_copy(rules, space, s, freed, level, at, limit):
            continue
        level += 1
        space.position[level] = 0
        if at < count and not _apply(rules, space, s, move, freed, level, limit):
            return False
    return True


@part
def _free(
    rules: Rules, space: Space, s: int, move: int, kept: int, need: int, limit: float
) -> bool:
    """Enter what a move leads to that needs so much memory more; False: no space."""
    if need <= 0:
        return _copy(rules, space, s, move, 0, limit)
    may = space.device[s] & ~kept & ~(space.fresh[s] & space.fetched[s])
    count = 0
    for t in range(len(rules.size)):
        here = rules.group[t] & space.device[s]
        if here and here & ~may == 0 and rules.size[t] > 0:
            space.candidates[count] = t
            count += 1
    # From the largest to the smallest: what is enough with its last is not without any.
    depth, at, total, freed = 0, 0, 0, 0
    while True:
        if at < count:
            t = space.candidates[at]
            space.chosen[depth] = at
            total, depth = total + rules.size[t], depth + 1
            freed |= rules.group[t] & space.device[s]
            at += 1
            if total < need:
                continue
            if not _copy(rules, space, s, move, freed, limit):
                return False
        elif depth == 0:
            return True
        depth -= 1
        at = space.chosen[depth] + 1
        t = space.candidates[at - 1]
        total, freed = total - rules.size[t], freed & ~rules.group[t]


@part
def _expand(rules: Rules, space: Space, s: int, limit: float) -> bool:
    """Enter all states that one move leads to; False: no space."""
    device = space.device[s]
    used = memory(rules, device)
    for v in range(len(rules.cost)):
        if rules.reads[v] & ~device or rules.writes[v] & ~device == 0:
            continue
        has_run = is_in(space.ran[s], v)
        if (has_run and not rules.may_repeat[v]) or (
            not has_run and rules.first[v] & ~space.ran[s]
        ):
            continue
        need = used + rules.memory[v] - rules.budget
        if not _free(rules, space, s, v, rules.reads[v], need, limit):
            return False
    for t in range(len(rules.size)):
        if is_in(space.host[s] & ~device, t):
            need = used + rules.size[t] - rules.budget
            if not _free(rules, space, s, ~t, 0, need, limit):
                return False
    return True


@jit
def begin(rules: Rules, space: Space) -> None:
    """Begin at the start, where the inputs are live."""
    space.device[0], space.tail[0], space.before[0] = rules.inputs, -1, -1
    space.bound[0] = left(rules, rules.inputs, 0)
    if enter(rules, space, 0):
        space.number[COUNT] = 1
        put(space.queue, len(space.tail) - 1, space.bound[0])


@jit
def advance(rules: Rules, space: Space, limit: float, most: int) -> int:
    """Expand states, those of the least bound first, below `limit`: how that ended.

    It stops after the one with which states were looked at `most` times.
    """
    enough = space.number[LOOKED] + most
    while space.number[LOOKED] < enough:
        space.number[LOOKED] += MADE
        if space.queue.size[0] == 0:
            return EMPTY
        number = space.queue.heap[0]
        s = len(space.tail) - 1 - number
        space.number[LAST] = s
        if space.bound[s] >= limit:
            return EMPTY
        remove(space.queue, number)
        if rules.outputs & ~space.device[s] == 0:
            return FOUND
        if not _expand(rules, space, s, limit):
            return FULL
    return ONGOING
