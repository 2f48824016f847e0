"""The states of a small graph that were met, and the queue of those to look at; compiled."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from schedule.layout import Bools, Ints
from schedule.solvers.exhaustive.words import Words
from schedule.solvers.kit.compiled import jit, part
from schedule.solvers.kit.structs import Struct

#: Positions in `Frontier.number`: states, entries, the length of the heap; the least memory
#: that was too much and the node that takes it; the estimate that is first in the queue;
#: the state at the start; and states looked at.
STATES, ENTRIES, QUEUED, NEEDED, NODE, FIRST, START, LOOKED = range(8)
#: More than any price or memory.
NEVER = 1 << 62
#: What is known of each crowd: so many answers, a power of 2.
KNOWN = 64
#: States that there is space for at first.
_SPACE = 1 << 12


class Frontier(Struct):
    """Of s states, e entries of the queue and c crowds.

    Attributes
    ----------
    limit
        The least price that isn't of interest.
    live, todo, price, memory, after, run
        Shape (s,): the state; its price; memory in use then; the state after it, and the
        run between them (−1 at the end).
    estimate, left, steps, state, paid, is_own
        Shape (e,): see `states._Item`; an entry's number is its serial.
    heap
        Shape (e,): the entries that are in the queue.
    slots
        A hash table of the states' numbers plus 1 (0: empty), twice as long as these.
    known_later, known_reads, known_crossing, known_peak, known_cost
        Shape (c, k): what a crowd's later nodes read, and what a crossing takes and costs.
    move_node, move_again, move_live, move_left, move_use
        Shape (n + 1,): space for moves.
    number
        Counters: see `STATES` and others.
    """

    limit: int
    live: Ints
    todo: Ints
    price: Ints
    memory: Ints
    after: Ints
    run: Ints
    estimate: Ints
    left: Ints
    steps: Ints
    state: Ints
    paid: Ints
    is_own: Bools
    heap: Ints
    slots: Ints
    known_later: Ints
    known_reads: Ints
    known_crossing: Ints
    known_peak: Ints
    known_cost: Ints
    move_node: Ints
    move_again: Bools
    move_live: Ints
    move_left: Ints
    move_use: Ints
    number: Ints

    @classmethod
    def of(cls, words: Words, limit: int) -> Frontier:
        """Space, and nothing in it."""
        size, crowds, nodes = _SPACE, len(words.crowd), len(words.cost)
        by_state = {name: np.zeros(size, np.int64) for name in _BY_STATE}
        known = {
            name: np.full((crowds, KNOWN), -1)
            for name in ("later", "reads", "crossing", "peak", "cost")
        }
        number = np.zeros(8, np.int64)
        number[NEEDED], number[NODE] = NEVER, -1
        return cls(
            limit=limit,
            **by_state,
            is_own=np.zeros(size, np.bool_),
            slots=np.zeros(2 * size, np.int64),
            **{f"known_{name}": array for name, array in known.items()},
            **{
                f"move_{name}": np.zeros(nodes + 1, np.int64)
                for name in ("node", "live", "left", "use")
            },
            move_again=np.zeros(nodes + 1, np.bool_),
            number=number,
        )

    def begin(self, live: int, todo: int, memory: int, price: int) -> None:
        """Put the end into the queue."""
        for name, value in {"live": live, "todo": todo, "price": price, "memory": memory}.items():
            getattr(self, name)[0] = value
        self.after[0] = self.run[0] = -1
        self.estimate[0] = self.paid[0] = price
        self.left[0] = todo.bit_count()
        self.number[[STATES, ENTRIES, QUEUED]] = 1
        enter_all(self)

    def doubled(self) -> Frontier:
        """The same with twice the space."""
        more: dict[str, Any] = {
            name: np.concatenate([array := getattr(self, name), np.zeros_like(array)])
            for name in (*_BY_STATE, "is_own")
        }
        found = replace(self, **more, slots=np.zeros(2 * len(self.slots), np.int64))
        enter_all(found)
        return found

    def runs(self) -> list[int]:
        """The nodes that run, from the start that was reached to the end."""
        found, s = [], int(self.number[START])
        while self.after[s] >= 0:
            found.append(int(self.run[s]))
            s = int(self.after[s])
        return found


_BY_STATE = (
    "live", "todo", "price", "memory", "after", "run",
    "estimate", "left", "steps", "state", "paid", "heap",
)  # fmt: skip


@part
def lowest(word: int) -> int:
    """The number of the lowest bit that is set; the word must not be 0."""
    number = 0
    for width in (32, 16, 8, 4, 2, 1):
        if word & ((1 << width) - 1) == 0:
            word >>= width
            number += width
    return number


@part
def mixed(a: int, b: int) -> int:
    """A number ≥ 0 that looks random."""
    mixed = a * 0x1E3779B97F4A7C15 + b * 0x3F58476D1CE4E5B9
    mixed ^= mixed >> 31
    mixed *= 0x14D049BB133111EB
    return (mixed ^ (mixed >> 29)) & 0x3FFFFFFFFFFFFFFF


@part
def slot_of(front: Frontier, live: int, todo: int) -> int:
    """Where a state's number is in `slots`, or would be."""
    last = len(front.slots) - 1
    at = mixed(live, todo) & last
    while front.slots[at] != 0:
        s = front.slots[at] - 1
        if front.live[s] == live and front.todo[s] == todo:
            break
        at = (at + 1) & last
    return at


@jit
def enter_all(front: Frontier) -> None:
    """Put the states into empty `slots`."""
    for s in range(front.number[STATES]):
        front.slots[slot_of(front, front.live[s], front.todo[s])] = s + 1


@part
def _is_before(front: Frontier, a: int, b: int) -> bool:
    """Whether entry a is before b: by estimate, nodes left, steps, and number."""
    by: int = front.estimate[a] - front.estimate[b]
    if by == 0:
        by = front.left[a] - front.left[b]
    if by == 0:
        by = front.steps[a] - front.steps[b]
    return by < 0 or (by == 0 and a < b)


@part
def put(front: Frontier, entry: int) -> None:
    """Put an entry in. O(log n)."""
    heap, at = front.heap, front.number[QUEUED]
    front.number[QUEUED] += 1
    while at > 0:
        parent = (at - 1) >> 1
        if not _is_before(front, entry, heap[parent]):
            break
        heap[at] = heap[parent]
        at = parent
    heap[at] = entry


@part
def pop(front: Frontier) -> None:
    """Take the first entry out."""
    heap = front.heap
    front.number[QUEUED] -= 1
    size = front.number[QUEUED]
    entry, at = heap[size], 0
    while 2 * at + 1 < size:
        child = 2 * at + 1
        if child + 1 < size and _is_before(front, heap[child + 1], heap[child]):
            child += 1
        if not _is_before(front, heap[child], entry):
            break
        heap[at] = heap[child]
        at = child
    heap[at] = entry
