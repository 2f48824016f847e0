"""A sequence of runs as arrays: where each resource is used, and the memory in use in every slot.

A sequence lies in *slots*, with empty ones between, so that a run can be
inserted, removed or moved without shifting the others. Slot 0 stands for the
start. For every resource the slots that write and read it are known in order;
the memory in use in every slot is kept in blocks with their least and most, so
that most of a range can be priced or changed a block at a time.
"""

from __future__ import annotations

from schedule.layout import Floats, Ints
from schedule.solvers.kit.compiled import jit, part
from schedule.solvers.kit.randomness import Words
from schedule.solvers.kit.structs import Struct
from schedule.solvers.program.operations import Operations

#: Slots to a block.
BLOCK = 32
#: Positions in `State.numbers`: how many operations are repeated; the sum over all slots of
#: what exceeds the budget; moves tried and accepted; the budget.
REPEATED, EXCESS, TRIED, ACCEPTED, BUDGET = 0, 1, 2, 3, 4
#: Positions in `State.reals`: compute, that of the best sequence that fits, what excess
#: costs, and by which factor that rises or falls at a time; compute is in shares of every
#: node once, excess in budgets.
COST, BEST, WEIGHT, PACE = 0, 1, 2, 3

#: Costs that differ by less are the same: they are summed up move by move.
SAME = 1e-12


class State(Struct):
    """One sequence with S slots, and what follows from it.

    Attributes
    ----------
    run_at
        Shape (S,): the operation in each slot, −1 where there is none.
    first_use, n_uses, uses
        The uses of resource r are uses[first_use[r] : first_use[r] + n_uses[r]],
        ascending, each 2·slot + (1 where it is written); there is space up to
        first_use[r + 1].
    times, first_slot
        Shape (o,): how often each operation runs, and where it runs first (the
        latter only in a given order).
    repeated, position
        Operations that run more than once, in any order, and the position of
        each in that list (−1: not in it).
    memory, lazy, low, high
        Memory in use in each slot, less what `lazy` adds to its block; least
        and most of each block.
    best
        Shape (S,): `run_at` of the best sequence that fits.
    ranges, events, chain
        Space for what one move changes: see `schedule.solvers.annealing.moves`; and for
        the operations and slots of a chain of reruns.
    change
        Shape (S + 1,): space for changes of memory.
    numbers, reals, random
        Counters, costs, and the state of the generator.
    """

    run_at: Ints
    first_use: Ints
    n_uses: Ints
    uses: Ints
    times: Ints
    first_slot: Ints
    repeated: Ints
    position: Ints
    memory: Ints
    lazy: Ints
    low: Ints
    high: Ints
    best: Ints
    ranges: Ints
    events: Ints
    chain: Ints
    change: Ints
    numbers: Ints
    reals: Floats
    random: Words


@part
def uses_around(state: State, r: int, slot: int, skip: int) -> tuple[int, int]:
    """The uses of r just before and just after `slot`, without those in it and in `skip`."""
    uses = state.uses
    start = state.first_use[r]
    end = start + state.n_uses[r]
    # Bisection for the first use in `slot` or later. Most lists are short, but parameters and
    # the first activations are read everywhere, and each move asks several times.
    low, high = start, end
    while low < high:
        middle = (low + high) >> 1
        if uses[middle] < 2 * slot:
            low = middle + 1
        else:
            high = middle
    # A run uses a resource once, so one step leads past `skip`.
    before = low - 1
    if before >= start and uses[before] >> 1 == skip:
        before -= 1
    while low < end and (uses[low] >> 1 == slot or uses[low] >> 1 == skip):
        low += 1
    return (
        uses[before] if before >= start else -1,
        uses[low] if low < end else -1,
    )


@part
def _add(state: State, start: int, end: int, change: int) -> None:
    """Change the memory in use in the slots start … end."""
    memory, lazy, low, high = state.memory, state.lazy, state.low, state.high
    for block in range(start // BLOCK, end // BLOCK + 1):
        first, beyond = block * BLOCK, min(block * BLOCK + BLOCK, len(memory))
        a, b = max(start, first), min(end + 1, beyond)
        if a == first and b == beyond:
            # A whole block changes in three additions: `lazy` is owed to all its slots.
            lazy[block] += change
            low[block] += change
            high[block] += change
            continue
        for i in range(a, b):
            memory[i] += change
        # Its least and most can't be corrected by the change alone: the slot that had them
        # may be inside the range or outside.
        least = most = memory[first]
        for i in range(first + 1, beyond):
            least = min(least, memory[i])
            most = max(most, memory[i])
        low[block] = least + lazy[block]
        high[block] = most + lazy[block]


@part
def _remove_use(state: State, r: int, slot: int) -> None:
    """Take the use of r in `slot` out of its list."""
    uses = state.uses
    # Linear, as what follows has to move up anyway.
    start, end = state.first_use[r], state.first_use[r] + state.n_uses[r]
    at = start
    while uses[at] >> 1 != slot:
        at += 1
    for i in range(at, end - 1):
        uses[i] = uses[i + 1]
    state.n_uses[r] -= 1


@part
def _insert_use(state: State, r: int, code: int) -> None:
    """Insert a use of r in its list, which has space for it."""
    uses = state.uses
    # Insertion from the end keeps the list ascending, which `uses_around` relies on.
    at = state.first_use[r] + state.n_uses[r]
    while at > state.first_use[r] and uses[at - 1] > code:
        uses[at] = uses[at - 1]
        at -= 1
    uses[at] = code
    state.n_uses[r] += 1


@part
def has_space(operations: Operations, state: State, v: int) -> bool:
    """Whether the lists of uses of all that v reads and writes have space for one more."""
    for at in range(operations.first_read[v], operations.first_read[v + 1]):
        if _is_full(state, operations.reads[at]):
            return False
    for at in range(operations.first_write[v], operations.first_write[v + 1]):
        if _is_full(state, operations.writes[at]):
            return False
    return True


@part
def _is_full(state: State, r: int) -> bool:
    is_full: bool = state.first_use[r] + state.n_uses[r] >= state.first_use[r + 1]
    return is_full


@part
def _count(state: State, v: int, change: int) -> None:
    """Run v once more or once less, and keep the list of what is repeated.

    O(1): moves draw from this list, so it must not be searched for.
    """
    numbers = state.numbers
    state.times[v] += change
    if change > 0 and state.times[v] == 2:
        state.position[v] = numbers[REPEATED]
        state.repeated[numbers[REPEATED]] = v
        numbers[REPEATED] += 1
    elif change < 0 and state.times[v] == 1:
        # The last one of the list fills the gap, as its order doesn't matter.
        numbers[REPEATED] -= 1
        other = state.repeated[numbers[REPEATED]]
        state.repeated[state.position[v]] = other
        state.position[other] = state.position[v]
        state.position[v] = -1


@part
def do(operations: Operations, state: State, v: int, out: int, into: int, n: int) -> None:
    """Carry out the move of v whose n ranges were listed."""
    # The ranges were listed from the uses as they were: memory first, uses after.
    for i in range(n):
        _add(state, state.ranges[3 * i], state.ranges[3 * i + 1], state.ranges[3 * i + 2])
    if out >= 0:
        state.run_at[out] = -1
        for at in range(operations.first_read[v], operations.first_read[v + 1]):
            _remove_use(state, operations.reads[at], out)
        for at in range(operations.first_write[v], operations.first_write[v + 1]):
            _remove_use(state, operations.writes[at], out)
    # Removed before it is inserted: so a move within one sequence needs no space for more uses.
    if into >= 0:
        state.run_at[into] = v
        for at in range(operations.first_read[v], operations.first_read[v + 1]):
            _insert_use(state, operations.reads[at], 2 * into)
        for at in range(operations.first_write[v], operations.first_write[v + 1]):
            _insert_use(state, operations.writes[at], 2 * into + 1)
    # Only a move can change where v runs first: in a given order a first run is never removed,
    # and reruns are inserted behind it.
    if out < 0:
        _count(state, v, 1)
    elif into < 0:
        _count(state, v, -1)
    elif operations.in_order and state.first_slot[v] == out:
        state.first_slot[v] = into


@jit
def set_up(operations: Operations, state: State) -> None:
    """Derive everything in a state from `run_at`; lists need space for it. O(slots + uses)."""
    slots = len(state.run_at)
    for r in range(len(state.n_uses)):
        state.n_uses[r] = 0
    for v in range(len(state.times)):
        state.times[v] = 0
        state.position[v] = -1
    for slot in range(slots):
        state.memory[slot] = 0
    for block in range(len(state.lazy)):
        state.lazy[block] = 0
    state.numbers[REPEATED] = 0
    # What is live at the start counts as written in slot 0, so that its first read needs no
    # case of its own.
    for r in range(len(operations.producer)):
        if operations.producer[r] < 0:
            _append_use(state, r, 1)
    cost = 0.0
    for slot in range(1, slots):
        v = state.run_at[slot]
        if v < 0:
            continue
        if state.times[v] == 0:
            state.first_slot[v] = slot
        _count(state, v, 1)
        # `extra` is in use only in this slot; what is held over slots follows from the uses.
        cost += operations.cost[v]
        state.memory[slot] += operations.extra[v]
        # Slots ascend, so appending keeps every list ascending.
        for at in range(operations.first_read[v], operations.first_read[v + 1]):
            _append_use(state, operations.reads[at], 2 * slot)
        for at in range(operations.first_write[v], operations.first_write[v + 1]):
            _append_use(state, operations.writes[at], 2 * slot + 1)
    state.reals[COST] = cost
    _set_memory(operations, state)


@part
def _set_memory(operations: Operations, state: State) -> None:
    """Memory in use in every slot, from the uses. O(slots + uses)."""
    slots = len(state.run_at)
    # A resource is held from one use to the next where that one reads it, and to the end where
    # it is kept: what is written anew before it is read needn't be held. In the slot that
    # writes it `extra` counts it, so the range begins one slot later.
    change = state.change
    for slot in range(slots + 1):
        change[slot] = 0
    for r in range(len(operations.producer)):
        start, end = state.first_use[r], state.first_use[r] + state.n_uses[r]
        for at in range(start, end):
            until, held = slots - 1, operations.kept[r]
            if at + 1 < end:
                until, held = state.uses[at + 1] >> 1, state.uses[at + 1] & 1 == 0
            if held:
                change[(state.uses[at] >> 1) + 1] += operations.size[r]
                change[until + 1] -= operations.size[r]
    held_now = 0  # the running sum of the changes: each range costs two additions, not its length
    state.numbers[EXCESS] = 0
    for slot in range(slots):
        held_now += change[slot]
        state.memory[slot] += held_now
        state.numbers[EXCESS] += max(state.memory[slot] - state.numbers[BUDGET], 0)
    for block in range(len(state.low)):
        least = most = state.memory[block * BLOCK]
        for slot in range(block * BLOCK + 1, min(block * BLOCK + BLOCK, slots)):
            least = min(least, state.memory[slot])
            most = max(most, state.memory[slot])
        state.low[block] = least
        state.high[block] = most


@part
def _append_use(state: State, r: int, code: int) -> None:
    state.uses[state.first_use[r] + state.n_uses[r]] = code
    state.n_uses[r] += 1
