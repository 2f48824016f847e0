"""The exact search of small graphs, compiled: that of `states`, step for step, on words."""

from __future__ import annotations

from dataclasses import dataclass

from schedule.solvers.contract import Deadline
from schedule.solvers.exhaustive.frontier import (
    ENTRIES,
    FIRST,
    KNOWN,
    LOOKED,
    NEEDED,
    NEVER,
    NODE,
    QUEUED,
    START,
    STATES,
    Frontier,
    lowest,
    mixed,
    pop,
    put,
    slot_of,
)
from schedule.solvers.exhaustive.words import Words
from schedule.solvers.kit.compiled import jit, part

#: Why `advance` stops: it has looked at as many states as it may; there is no space for more;
#: nothing is left; nothing as good as was asked for is left; the start is reached.
PAUSED, FULL, EMPTY, BEYOND, REACHED = range(5)
#: How often a search asks whether to stop, in states: about a millisecond.
_OFTEN = 1024


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a search ended.

    Attributes
    ----------
    why
        One of `PAUSED`, `EMPTY`, `BEYOND` and `REACHED`.
    price
        Of the start, or a price that no way to the start beats.
    runs
        The nodes that run, where the start was reached.
    needed, node
        The least memory that was too much, and the node that takes it (−1: none does).
    """

    why: int
    price: int
    runs: list[int]
    needed: int
    node: int


def search(
    words: Words, todo: int, memory: int, price: int, limit: float, deadline: Deadline
) -> Outcome:
    """Look at states from the end, which has these nodes, memory and price, to the start."""
    front = Frontier.of(words, int(min(limit, NEVER)))
    front.begin(words.outputs, todo, memory, price)
    number = front.number
    while True:
        most = 0 if deadline.passed else int(min(deadline.work, _OFTEN))
        number[LOOKED] = 0
        why = advance(words, front, most)
        deadline.work -= int(number[LOOKED])
        if why == FULL:
            front = front.doubled()
        elif why != PAUSED or most == 0:
            runs = front.runs() if why == REACHED else []
            return Outcome(why, int(number[FIRST]), runs, int(number[NEEDED]), int(number[NODE]))


@part
def _block(front: Frontier, memory: int, node: int) -> None:
    """Note that so much was too much."""
    if memory < front.number[NEEDED]:
        front.number[NEEDED] = memory
        front.number[NODE] = node


@part
def _later_reads(words: Words, front: Frontier, c: int, later: int) -> int:
    """What any of these nodes reads."""
    place = mixed(later, 0) & (KNOWN - 1)
    if front.known_later[c, place] != later:
        found, left = 0, later
        while left:
            found |= words.reads[lowest(left)]
            left &= left - 1
        front.known_later[c, place] = later
        front.known_reads[c, place] = found
    reads: int = front.known_reads[c, place]
    return reads


@part
def _known_crossing(words: Words, front: Frontier, c: int, crossing: int) -> int:
    """Where a crowd's peak and cost for a crossing are kept: see `Crossings._of`."""
    place = mixed(crossing, 0) & (KNOWN - 1)
    if front.known_crossing[c, place] == crossing:
        return place
    lasting = crossing & words.lasting
    peak, other = words.crowd_least[c], 0
    first, end = words.first_storage[c], words.first_storage[c + 1]
    for i in range(first, end):
        if words.storage_on[i] & lasting:
            peak += words.storage_size[i]
        elif words.storage_on[i] & crossing:
            other += words.storage_size[i]
    cost = 0
    excess = peak + other - words.budget if words.has_budget else 0
    for i in range(first, end):
        if excess <= 0:
            break
        if words.storage_on[i] & crossing and not words.storage_on[i] & lasting:
            size, again = words.storage_size[i], words.storage_cost[i]
            if size <= excess:
                cost += again * size // words.storage_owned[i]
            else:
                cost += -(-again * excess // words.storage_owned[i])
            excess -= size
    front.known_crossing[c, place] = crossing
    front.known_peak[c, place] = peak
    front.known_cost[c, place] = cost
    return place


@part
def _estimate(words: Words, front: Frontier, s: int, price: int) -> int:
    """The least price of the start by way of a state; `NEVER`: too much memory."""
    peak, cost, at = 0, 0, -1
    live, todo = front.live[s], front.todo[s]
    for c in range(len(words.crowd)):
        v = words.crowd[c]
        if not todo >> v & 1:
            continue
        reads = _later_reads(words, front, c, words.later[v] & todo)
        place = _known_crossing(words, front, c, words.crowd_tensors[c] & (live | reads))
        if front.known_peak[c, place] > peak:
            peak, at = front.known_peak[c, place], v
        cost = max(cost, front.known_cost[c, place])
    if not words.has_budget:
        return max(price, peak)
    if at >= 0 and peak > words.budget:
        _block(front, peak, at)
        return NEVER
    return price + cost


@part
def _is_best(words: Words, v: int, live: int) -> bool:
    """Whether the first run of a node is the last before a state, where it fits: see `states`."""
    written, kept = live & words.writes[v], words.reads[v] & ~live
    if written == 0 or kept == 0:
        return not kept
    more = 0
    for i in range(words.first_read[v], words.first_read[v + 1]):
        if words.read_on[i] & kept and not words.read_on[i] & written:
            more += words.read_size[i]
    for i in range(words.first_own[v], words.first_own[v + 1]):
        if words.own_on[i] & written:
            more -= words.own_size[i]
    return more <= 0


@part
def _move(words: Words, front: Frontier, s: int, at: int, v: int, again: bool) -> None:
    """Note in place `at` what undoing a run of v leads to."""
    live = front.live[s]
    rest, left = live & ~words.writes[v], front.memory[s]
    for i in range(words.first_own[v], words.first_own[v + 1]):
        if words.own_on[i] & live and not words.own_on[i] & rest:
            left -= words.own_size[i]
    for i in range(words.first_read[v], words.first_read[v + 1]):
        if not words.read_on[i] & live:
            left += words.read_size[i]
    front.move_node[at] = v
    front.move_again[at] = again
    front.move_live[at] = rest | words.reads[v]
    front.move_left[at] = left
    front.move_use[at] = left + words.run_memory[v]


@part
def _moves(words: Words, front: Frontier, s: int, capacity: int) -> tuple[int, int]:
    """Note the runs that can be the last before a state; from where to where they are."""
    live, todo = front.live[s], front.todo[s]
    count, asked = 0, live & ~words.inputs
    first = words.is_fixed  # the last of all first runs is that of the last node
    while first or asked:
        if first:
            first, again, left, v = False, False, todo, 0
            while left > 1:
                left >>= 1
                v += 1
        else:
            v = words.writer[lowest(asked)]
            asked &= ~words.writes[v]
            again = words.is_fixed or (live & ~words.writes[v] & words.results[v]) != 0
        if again and not words.recomputable[v]:
            continue
        _move(words, front, s, count, v, again)
        count += 1
        if not again and front.move_use[count - 1] <= capacity and _is_best(words, v, live):
            return count - 1, count
    return 0, count


@part
def _reach(front: Frontier, entry: int, move: int, total: int) -> None:
    """Put the state before a move into the queue, where this way there is the best so far."""
    s, v, again = front.state[entry], front.move_node[move], front.move_again[move]
    live = front.move_live[move]
    todo = front.todo[s] if again else front.todo[s] ^ (1 << v)
    slot = slot_of(front, live, todo)
    before = front.slots[slot] - 1
    if before < 0:
        before = front.number[STATES]
        front.number[STATES] += 1
        front.slots[slot] = before + 1
        front.live[before] = live
        front.todo[before] = todo
        front.memory[before] = front.move_left[move]
    elif front.price[before] <= total:
        return
    front.price[before] = total
    front.after[before] = s
    front.run[before] = v
    new = front.number[ENTRIES]
    front.number[ENTRIES] += 1
    front.estimate[new] = max(front.estimate[entry], total)
    front.left[new] = front.left[entry] if again else front.left[entry] - 1
    front.steps[new] = front.steps[entry] + 1
    front.state[new] = before
    front.paid[new] = total
    front.is_own[new] = False
    put(front, new)


@part
def _expand(words: Words, front: Frontier, entry: int) -> None:
    """Put the states before one into the queue."""
    price = front.paid[entry]
    capacity = words.budget if words.has_budget else price
    first, end = _moves(words, front, front.state[entry], capacity)
    for move in range(first, end):
        use, v = front.move_use[move], front.move_node[move]
        if not words.has_budget:
            _reach(front, entry, move, max(price, use))
        elif use > words.budget:
            _block(front, use, v)
        else:
            _reach(front, entry, move, price + words.cost[v] * front.move_again[move])


@jit
def advance(words: Words, front: Frontier, most: int) -> int:
    """Look at the states that promise most, at most so many; why it stops."""
    number, looked = front.number, 0
    while number[QUEUED] > 0:
        entry = front.heap[0]
        s = front.state[entry]
        if front.paid[entry] > front.price[s]:
            pop(front)  # reached for less since
            continue
        number[FIRST] = front.estimate[entry]
        if number[FIRST] >= front.limit:
            return BEYOND
        if looked == most:
            return PAUSED
        if number[ENTRIES] + len(front.move_node) > len(front.heap):
            return FULL
        looked += 1
        number[LOOKED] += 1
        pop(front)
        if not front.is_own[entry]:
            own = _estimate(words, front, s, front.paid[entry])
            if own > front.estimate[entry]:
                if own != NEVER:
                    front.estimate[entry] = own
                    front.is_own[entry] = True
                    put(front, entry)
                continue
        if front.todo[s] == 0:
            number[START] = s
            return REACHED
        _expand(words, front, entry)
    return EMPTY
