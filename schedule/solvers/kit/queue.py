"""A heap of numbers by score, each in it at most once."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from schedule.layout import Floats, Ints
from schedule.solvers.kit.compiled import jit

#: The score of what has to be looked at again before anything else.
UNKNOWN = -1.0


class Queue(NamedTuple):
    """A binary heap; the least score first, then the least number.

    Attributes
    ----------
    heap, size
        What is in it is heap[: size[0]].
    place, score
        Where each number is in `heap` (−1: it isn't), and its score when it was last
        looked at.
    """

    heap: Ints
    size: Ints
    place: Ints
    score: Floats

    @classmethod
    def of(cls, n: int) -> Queue:
        """An empty queue for the numbers 0 … n − 1."""
        return cls(np.empty(n, np.int64), np.zeros(1, np.int64), np.full(n, -1), np.zeros(n))


@jit
def touch(queue: Queue, s: int) -> None:
    """Have s looked at again before anything else is chosen."""
    if queue.place[s] < 0 or queue.score[s] != UNKNOWN:
        put(queue, s, UNKNOWN)


@jit
def put(queue: Queue, s: int, score: float) -> None:
    """Give s that score; it need not be in the queue yet."""
    at = queue.place[s]
    if at < 0:
        at = queue.size[0]
        queue.heap[at] = s
        queue.place[s] = at
        queue.size[0] += 1
    queue.score[s] = score
    _rise(queue, at)
    _sink(queue, queue.place[s])


@jit
def remove(queue: Queue, s: int) -> None:
    """Take s out, if it is in."""
    at = queue.place[s]
    if at < 0:
        return
    queue.place[s] = -1
    queue.size[0] -= 1
    last = queue.heap[queue.size[0]]
    if last != s:
        queue.heap[at] = last
        queue.place[last] = at
        _rise(queue, at)
        _sink(queue, queue.place[last])


@jit
def _before(queue: Queue, a: int, b: int) -> bool:
    """Whether a goes before b."""
    first: float = queue.score[a]
    second: float = queue.score[b]
    return first < second or (first == second and a < b)


@jit
def _rise(queue: Queue, at: int) -> None:
    heap, place = queue.heap, queue.place
    s = heap[at]
    while at > 0:
        parent = (at - 1) >> 1
        if not _before(queue, s, heap[parent]):
            break
        heap[at] = heap[parent]
        place[heap[at]] = at
        at = parent
    heap[at] = s
    place[s] = at


@jit
def _sink(queue: Queue, at: int) -> None:
    heap, place, size = queue.heap, queue.place, queue.size[0]
    s = heap[at]
    while 2 * at + 1 < size:
        child = 2 * at + 1
        if child + 1 < size and _before(queue, heap[child + 1], heap[child]):
            child += 1
        if not _before(queue, heap[child], s):
            break
        heap[at] = heap[child]
        place[heap[at]] = at
        at = child
    heap[at] = s
    place[s] = at
