"""Beam search, compiled: packings below a height, many at once, laid from below.

Every packing is one that buffers are laid for in order of offsets (see `canonical`). Of all
ways to lay the next buffer of every partial packing some are kept: those that leave the
sections most room for what is still to be laid there. Beam search for packing: Libralesso and
Fontan 2020 (arXiv:2004.00963), who weigh wasted area; here the room of the
narrowest sections counts most.
"""

from __future__ import annotations

import numpy as np

from schedule.arena.buffers import Buffers, counts
from schedule.arena.fitting import ENDLESS
from schedule.layout import Floats, Ints, offsets
from schedule.solvers.kit.compiled import jit, part
from schedule.solvers.kit.sorting import sort_by
from schedule.solvers.kit.structs import Struct

#: Positions in `Beam.numbers`: buffers laid; how many packings there are; where their rows
#: begin; how many children are listed.
LAID, COUNT, ROW, LISTED = 0, 1, 2, 3
#: Children of one packing that are listed.
CHILDREN = 20
#: The keys of buffers, and marks made of them, are below this prime.
PRIME = 2**31 - 1
#: More than any cost.
_MOST = 1e300


class Beam(Struct):
    """Partial packings of n buffers over s sections, w of a generation, and space for the next.

    Attributes
    ----------
    offset
        Shape (2 w, n): ~offset of a buffer that lies, else the lowest offset that it can have.
    floor, left
        Shape (2 w, s): what is left begins no lower in a section, and its sizes there.
    front, mark
        Shape (2 w,): the last offset; a number that differs between different packings, but
        by chance.
    key
        Shape (n,): random, below `PRIME`.
    first_member, member
        CSR: the buffers of each section.
    cost, parent, buffer, order
        Shape (w · CHILDREN,): the children that are listed: what laying a buffer on a packing
        costs; space to sort.
    candidate, lowest, price
        Shape (n,): the buffers that can be laid next on one packing; by buffer, their offsets
        and what they cost.
    before
        Shape (s + 1,): costs of the sections before each.
    touched
        Shape (s,): whether a section's floor has to be looked at again.
    numbers
        See above.
    spare
        Room that all sections have besides: the more, the less the narrowest count.
    """

    offset: Ints
    floor: Ints
    left: Ints
    front: Ints
    mark: Ints
    key: Ints
    first_member: Ints
    member: Ints
    cost: Floats
    parent: Ints
    buffer: Ints
    order: Ints
    candidate: Ints
    lowest: Ints
    price: Floats
    before: Floats
    touched: Ints
    numbers: Ints
    spare: float


def beam_of(
    buffers: Buffers, section: Ints, member: Ints, width: int, spare: float, key: Ints
) -> Beam:
    """A beam of one packing, in which nothing lies yet.

    Parameters
    ----------
    buffers
        n of them.
    section, member
        Each section of each buffer, by section, and the buffer.
    width
        Packings that a generation has at most.
    spare
        Room that all sections have besides, in loads.
    key
        Shape (n,): see `Beam`.
    """
    n, sections = len(buffers.first), int(buffers.last.max())
    total = counts(buffers.first, buffers.last, buffers.size, sections)
    offset, floor, left = (
        np.zeros((2 * width, columns), np.int64) for columns in (n, sections, sections)
    )
    left[0] = total
    listed = width * CHILDREN
    return Beam(
        offset,
        floor,
        left,
        np.zeros(2 * width, np.int64),
        np.zeros(2 * width, np.int64),
        key,
        offsets(np.bincount(section, minlength=sections)),
        member,
        np.empty(listed),
        np.empty(listed, np.int64),
        np.empty(listed, np.int64),
        np.empty(listed, np.int64),
        np.empty(n, np.int64),
        np.empty(n, np.int64),
        np.empty(n),
        np.zeros(sections + 1),
        np.zeros(sections, np.int64),
        np.array([0, 1, 0, 0]),
        spare * float(total.max()),
    )


@jit
def advance(buffers: Buffers, beam: Beam, height: int) -> bool:
    """Lay one more buffer in every packing; False: none goes on below the height.

    O(n + s · candidates) for each.
    """
    numbers, width = beam.numbers, len(beam.front) // 2
    numbers[LISTED] = 0
    for row in range(numbers[ROW], numbers[ROW] + numbers[COUNT]):
        _list_children(buffers, beam, height, row)
    for k in range(numbers[LISTED]):
        beam.order[k] = k
    sort_by(beam.cost, beam.order, numbers[LISTED])
    begin, count = width - numbers[ROW], 0
    for k in range(numbers[LISTED]):
        if count == width:
            break
        if _bear(buffers, beam, height, beam.order[k], begin, begin + count):
            count += 1
    numbers[ROW] = begin
    numbers[COUNT] = count
    numbers[LAID] += 1
    return bool(count > 0)


@part
def _list_children(buffers: Buffers, beam: Beam, height: int, row: int) -> None:
    """List the cheapest children of a packing."""
    candidate, lowest, numbers = beam.candidate, beam.lowest, beam.numbers
    count = _list_candidates(buffers, beam, height, row)
    sort_by(lowest, candidate, count)
    ground = -1
    for k in range(count):
        j = candidate[k]
        if lowest[j] != ground:
            ground = lowest[j]
            _weigh(buffers, beam, height, row, ground)
        beam.price[j] = _price(buffers, beam, height, row, j)
    sort_by(beam.price, candidate, count)
    for k in range(min(count, CHILDREN)):
        j, at = candidate[k], numbers[LISTED]
        if beam.price[j] < _MOST:
            beam.cost[at] = beam.price[j]
            beam.parent[at] = row
            beam.buffer[at] = j
            numbers[LISTED] += 1


@part
def _list_candidates(buffers: Buffers, beam: Beam, height: int, row: int) -> int:
    """The buffers that leave no room below themselves for another one; how many."""
    offset, lowest, front = beam.offset, beam.lowest, beam.front[row]
    roof, count = ENDLESS, 0
    for j in range(len(buffers.first)):
        if offset[row, j] >= 0:
            lowest[j] = max(offset[row, j], front)
            roof = min(roof, lowest[j] + buffers.size[j])
    for j in range(len(buffers.first)):
        top = lowest[j] + buffers.size[j] - buffers.slack[j]
        if offset[row, j] >= 0 and lowest[j] < roof and top <= height:
            beam.candidate[count] = j
            count += 1
    return count


@part
def _weigh(buffers: Buffers, beam: Beam, height: int, row: int, ground: int) -> None:
    """Costs of all sections where nothing more is laid below the ground."""
    floor, left, before = beam.floor, beam.left, beam.before
    top, sections = height + buffers.alignment - 1, len(beam.touched)
    total = 0.0
    for s in range(sections):
        amount = left[row, s]
        if amount > 0:
            room = top - max(floor[row, s], ground) - amount
            if room < 0:
                total += _MOST
            else:
                share = amount / (room + beam.spare)
                total += share * share
        before[s + 1] = total


@part
def _price(buffers: Buffers, beam: Beam, height: int, row: int, j: int) -> float:
    """The same with a buffer on the ground: there is as much room, and less to be laid."""
    before, left = beam.before, beam.left
    first, last, size = buffers.first[j], buffers.last[j], buffers.size[j]
    total = before[first] + before[len(beam.touched)] - before[last]
    if before[len(beam.touched)] >= _MOST:
        return _MOST
    top, ground = height + buffers.alignment - 1, beam.lowest[j]
    for s in range(first, last):
        amount = left[row, s] - size
        if amount > 0:
            room = top - max(beam.floor[row, s], ground) - left[row, s]
            share = amount / (room + beam.spare)
            total += share * share
    return float(total)


@part
def _bear(buffers: Buffers, beam: Beam, height: int, k: int, begin: int, row: int) -> bool:
    """Make a child in a row of its own, unless it is there already; whether it may go on."""
    parent, u, sections = beam.parent[k], beam.buffer[k], len(beam.touched)
    offset, floor, left = beam.offset, beam.floor, beam.left
    ground = max(offset[parent, u], beam.front[parent])
    mark = (beam.mark[parent] + beam.key[u] * (ground % PRIME + 1)) % PRIME
    for other in range(begin, row):
        if beam.mark[other] == mark:
            return False
    for j in range(len(buffers.first)):
        offset[row, j] = offset[parent, j]
    for s in range(sections):
        floor[row, s] = floor[parent, s]
        left[row, s] = left[parent, s]
    offset[row, u] = ~ground
    beam.front[row] = ground
    beam.mark[row] = mark
    top = ground + buffers.size[u]
    for s in range(buffers.first[u], buffers.last[u]):
        floor[row, s] = top
        left[row, s] -= buffers.size[u]
        beam.touched[s] = 1
    for at in range(buffers.first_earlier[u], buffers.first_earlier[u + 1]):
        _push_up(buffers, beam, row, buffers.earlier[at], top)
    for j in range(u + 1, buffers.later[u]):
        _push_up(buffers, beam, row, j, top)
    fits = True
    for s in range(sections):
        if beam.touched[s]:
            beam.touched[s] = 0
            _lift(beam, row, s)
            least = max(ground, floor[row, s]) + left[row, s]
            if left[row, s] and least > height + buffers.alignment - 1:
                fits = False
    return fits


@part
def _push_up(buffers: Buffers, beam: Beam, row: int, j: int, top: int) -> None:
    """Let a buffer lie no lower than `top`; note where it may have been the lowest."""
    lowest = beam.offset[row, j]
    if 0 <= lowest < top:
        beam.offset[row, j] = top
        for s in range(buffers.first[j], buffers.last[j]):
            if lowest <= beam.floor[row, s]:
                beam.touched[s] = 1


@part
def _lift(beam: Beam, row: int, s: int) -> None:
    """A section's floor is no lower than the lowest offset of what is left in it."""
    least = ENDLESS
    for at in range(beam.first_member[s], beam.first_member[s + 1]):
        lowest = beam.offset[row, beam.member[at]]
        if 0 <= lowest < least:
            least = lowest
    if least != ENDLESS and beam.floor[row, s] < least:
        beam.floor[row, s] = least
