"""Buffers laid on one another from below, compiled: always the one that can lie lowest."""

from __future__ import annotations

from schedule.arena.buffers import NONE, Buffers
from schedule.layout import Ints
from schedule.solvers.kit.compiled import jit, part
from schedule.solvers.kit.queue import Queue, put, remove
from schedule.solvers.kit.structs import Struct


class Pile(Struct):
    """What lies already, and what can lie where.

    Attributes
    ----------
    offset, least
        Shape (n,): where each lies (−1: not yet), and the lowest that it can.
    order, place
        Shape (n,): the buffers by rank, and the rank of each: of two that can lie equally
        low the lower rank is first.
    queue
        Ranks of what is left, by the offset that they can have.
    """

    offset: Ints
    least: Ints
    order: Ints
    place: Ints
    queue: Queue


@jit
def lay(buffers: Buffers, pile: Pile, count: int) -> None:
    """Lay the next `count` buffers. O(pairs log n) for all together."""
    queue = pile.queue
    for _ in range(count):
        if queue.size[0] == 0:
            return
        rank = queue.heap[0]
        remove(queue, rank)
        u = pile.order[rank]
        pile.offset[u] = pile.least[u]
        top = pile.offset[u] + buffers.size[u]
        for at in range(buffers.first_earlier[u], buffers.first_earlier[u + 1]):
            _lift(pile, buffers.earlier[at], top)
        for j in range(u + 1, buffers.later[u]):
            _lift(pile, j, top)


@part
def _lift(pile: Pile, j: int, top: int) -> None:
    """Let a buffer that isn't laid yet lie no lower than `top`."""
    if pile.offset[j] == NONE and pile.least[j] < top:
        pile.least[j] = top
        put(pile.queue, pile.place[j], float(top))
