"""Another order for the program as it is, with less memory in use on wide graphs."""

from __future__ import annotations

import numpy as np

from schedule.layout import Bools, Ints, spread
from schedule.solvers.contract import Deadline
from schedule.solvers.kit.compiled import jit, part
from schedule.solvers.kit.queue import Queue, put, remove
from schedule.solvers.kit.structs import Struct
from schedule.solvers.program.tensors import Tensors

#: Nodes chosen between two questions whether to stop: some milliseconds.
_PAUSE = 256
#: About the seconds that a run takes.
_SECONDS_A_RUN = 2e-7


class Choice(Struct):
    """Nodes chosen from the last to the first.

    Attributes
    ----------
    live, needed, left
        Shapes (m,), (n,) and (n,): whether a tensor is live before what is chosen; whether
        a node has to run; how many reads of what it writes aren't chosen yet.
    queue
        last − v of the nodes v that may be next, by what they add: of equals the latest.
    order
        What is chosen, from its end.
    """

    live: Bools
    needed: Bools
    left: Ints
    queue: Queue
    order: Ints


def backward_order(graph: Tensors, needed: Bools, deadline: Deadline) -> Ints | None:
    """The needed nodes, chosen from the last to the first: next the one that adds least memory.

    Seen backwards, a run frees what it writes, and what it reads has to be live
    from then on. O(edges · log nodes). None where the deadline ends it.
    """
    read, _ = spread(graph.first_read, np.flatnonzero(needed))
    producer = graph.producer[graph.reads[read]]
    choice = Choice(
        live=graph.stays | graph.is_output,
        needed=needed,
        left=np.bincount(producer[producer >= 0], minlength=len(needed)),
        queue=Queue.of(len(needed)),
        order=np.empty(needed.sum(), np.int64),
    )
    for end in range(len(choice.order), 0, -_PAUSE):
        if deadline.passed:
            return None
        _choose(graph, choice, end, max(end - _PAUSE, 0))
        deadline.spend(_SECONDS_A_RUN * min(end, _PAUSE))
    return choice.order


@part
def _begin(graph: Tensors, choice: Choice) -> None:
    """Put the nodes that may run last into the queue."""
    last = len(choice.needed) - 1
    for v in range(len(choice.needed)):
        if choice.needed[v] and choice.left[v] == 0:
            put(choice.queue, last - v, _growth(graph, choice.live, v))


@jit
def _choose(graph: Tensors, choice: Choice, end: int, start: int) -> None:
    """Choose nodes for the positions from `end` − 1 down to `start`."""
    live, left, queue = choice.live, choice.left, choice.queue
    last = len(left) - 1
    if end == len(choice.order):
        _begin(graph, choice)
    for at in range(end - 1, start - 1, -1):
        v = last - queue.heap[0]
        remove(queue, last - v)
        choice.order[at] = v
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


@part
def _rate_readers(graph: Tensors, live: Bools, queue: Queue, t: int) -> None:
    """Tensor t is live now: those of its readers that are in the queue add less."""
    last = len(queue.position) - 1
    for i in range(graph.first_reader[t], graph.first_reader[t + 1]):
        w = graph.readers[i]
        if queue.position[last - w] >= 0:
            put(queue, last - w, _growth(graph, live, w))


@part
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
