"""Another order for the program as it is, with less memory in use on wide graphs."""

from __future__ import annotations

import numpy as np

from schedule.layout import Bools, Ints
from schedule.solvers.contract import Deadline
from schedule.solvers.kit.compiled import jit
from schedule.solvers.kit.queue import Queue, put, remove
from schedule.solvers.program.tensors import Tensors

#: Nodes chosen between two questions whether to stop: some milliseconds.
_PAUSE = 256


def backward_order(graph: Tensors, needed: Bools, deadline: Deadline) -> Ints | None:
    """The needed nodes, chosen from the last to the first: next the one that adds least memory.

    Seen backwards, a run frees what it writes, and what it reads has to be live
    from then on. O(edges · log nodes). None where the deadline ends it.
    """
    queue = Queue.of(len(needed))
    live = graph.stays | graph.is_output
    left = _count_readers(graph, needed)
    order = np.empty(needed.sum(), np.int64)
    _begin(graph, live, needed, left, queue)
    for end in range(len(order), 0, -_PAUSE):
        if deadline.passed:
            return None
        _choose(graph, live, left, queue, order, end, max(end - _PAUSE, 0))
    return order


@jit
def _begin(graph: Tensors, live: Bools, needed: Bools, left: Ints, queue: Queue) -> None:
    """Put the nodes that may run last into the queue."""
    last = len(needed) - 1  # the queue holds last − v: of equals, the latest goes first
    for v in range(len(needed)):
        if needed[v] and left[v] == 0:
            put(queue, last - v, _growth(graph, live, v))


@jit
def _choose(
    graph: Tensors, live: Bools, left: Ints, queue: Queue, order: Ints, end: int, start: int
) -> None:
    """Choose nodes for the positions from `end` − 1 down to `start`."""
    last = len(left) - 1
    for at in range(end - 1, start - 1, -1):
        v = last - queue.heap[0]
        remove(queue, last - v)
        order[at] = v
        # What v writes isn't marked as free: all its readers are chosen, so nobody asks again.
        for i in range(graph.first_read[v], graph.first_read[v + 1]):
            t = graph.reads[i]
            if not live[t]:
                live[t] = True
                _rate_readers(graph, live, queue, t)
            # A node may come before the chosen ones once all its readers are among them.
            u = graph.producer[t]
            if u >= 0:
                left[u] -= 1
                if left[u] == 0:
                    put(queue, last - u, _growth(graph, live, u))


@jit
def _count_readers(graph: Tensors, needed: Bools) -> Ints:
    """Shape (n,): reads of what each node writes, by needed nodes."""
    left = np.zeros(len(needed), np.int64)
    for v in range(len(needed)):
        if needed[v]:
            for i in range(graph.first_read[v], graph.first_read[v + 1]):
                u = graph.producer[graph.reads[i]]
                if u >= 0:
                    left[u] += 1
    return left


@jit
def _rate_readers(graph: Tensors, live: Bools, queue: Queue, t: int) -> None:
    """Tensor t is live now: those of its readers that are in the queue add less."""
    last = len(queue.position) - 1
    for i in range(graph.first_reader[t], graph.first_reader[t + 1]):
        w = graph.readers[i]
        if queue.position[last - w] >= 0:
            put(queue, last - w, _growth(graph, live, w))


@jit
def _growth(graph: Tensors, live: Bools, v: int) -> float:
    """What node v adds to the memory in use before it, less what it writes."""
    # Views count like owners: the sums needn't be exact to rank nodes, and this is cheap.
    growth = 0.0
    for i in range(graph.first_read[v], graph.first_read[v + 1]):
        t = graph.reads[i]
        if not live[t]:
            growth += graph.share[graph.storage[t]]
    for t in range(graph.first_output[v], graph.first_output[v + 1]):
        if live[t]:
            growth -= graph.share[graph.storage[t]]
    return growth
