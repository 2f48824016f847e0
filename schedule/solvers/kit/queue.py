"""A heap of numbers by score, each in it at most once."""

from __future__ import annotations

import numpy as np

from schedule.layout import Floats, Ints
from schedule.solvers.kit.compiled import part
from schedule.solvers.kit.structs import Struct

#: The score of what has to be looked at again before anything else.
UNKNOWN = -1.0


class Queue(Struct):
    """A binary heap; the least score first, then the least number.

    Attributes
    ----------
    heap, size
        What is in it is heap[: size[0]].
    position, score
        Where each number is in `heap` (−1: it isn't), and its score when it was last
        looked at.
    """

    heap: Ints
    size: Ints
    position: Ints
    score: Floats

    @classmethod
    def of(cls, n: int) -> Queue:
        """An empty queue for the numbers 0 … n − 1."""
        return cls(np.empty(n, np.int64), np.zeros(1, np.int64), np.full(n, -1), np.zeros(n))


@part
def touch(queue: Queue, s: int) -> None:
    """Have s scored again before anything else is chosen."""
    # Where its score is unknown already, nothing in the heap would move.
    if queue.position[s] < 0 or queue.score[s] != UNKNOWN:
        put(queue, s, UNKNOWN)


@part
def put(queue: Queue, s: int, score: float) -> None:
    """Give s that score; it need not be in the queue yet."""
    at = queue.position[s]
    if at < 0:
        at = queue.size[0]
        queue.heap[at] = s
        queue.position[s] = at
        queue.size[0] += 1
    queue.score[s] = score
    # One of the two changes nothing. Which one depends on the old score; asking costs as much.
    _rise(queue, at)
    _sink(queue, queue.position[s])


@part
def remove(queue: Queue, s: int) -> None:
    """Take s out, if it is in."""
    at = queue.position[s]
    if at < 0:
        return
    queue.position[s] = -1
    queue.size[0] -= 1
    # The last one fills the gap. It comes from another branch, so it may have to move up or down.
    last = queue.heap[queue.size[0]]
    if last != s:
        queue.heap[at] = last
        queue.position[last] = at
        _rise(queue, at)
        _sink(queue, queue.position[last])


@part
def _before(queue: Queue, a: int, b: int) -> bool:
    """Whether a is before b: by score, then by number, so that no order depends on history."""
    first: float = queue.score[a]
    second: float = queue.score[b]
    return first < second or (first == second and a < b)


@part
def _rise(queue: Queue, at: int) -> None:
    """Move the number at a position up to where it belongs. O(log n)."""
    heap, position = queue.heap, queue.position
    s = heap[at]  # written once, at the end: those that it passes move down by one
    while at > 0:
        parent = (at - 1) >> 1
        if not _before(queue, s, heap[parent]):
            break
        heap[at] = heap[parent]
        position[heap[at]] = at
        at = parent
    heap[at] = s
    position[s] = at


@part
def _sink(queue: Queue, at: int) -> None:
    """Move the number at a position down to where it belongs. O(log n)."""
    heap, position, size = queue.heap, queue.position, queue.size[0]
    s = heap[at]
    while 2 * at + 1 < size:
        child = 2 * at + 1
        # The lesser child moves up: only it may be above the other one.
        if child + 1 < size and _before(queue, heap[child + 1], heap[child]):
            child += 1
        if not _before(queue, heap[child], s):
            break
        heap[at] = heap[child]
        position[heap[at]] = at
        at = child
    heap[at] = s
    position[s] = at
