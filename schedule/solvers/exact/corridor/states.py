"""States of a schedule in the given order, from its end: what has to be live; compiled.

A state (j, X) says that the operations 0 … j − 1 have first run, and that the
resources X are live, as what runs from there on reads them or they are outputs.
Resources are bits of 64-bit words. A move undoes a run: before it, what the run
reads has to be live instead of what it writes.
"""

from __future__ import annotations

import numpy as np

from schedule.layout import Bools, Floats
from schedule.solvers.kit.compiled import part
from schedule.solvers.kit.states import FIRST_OWN, Words, lowest
from schedule.solvers.kit.structs import Struct
from schedule.solvers.program.operations import Operations


class Guide(Struct):
    """What a search is given beside the operations; o of them, r resources in w words.

    Attributes
    ----------
    reads, writes
        Shape (o, w): masks of the resources that each operation reads and writes.
    outputs
        Shape (w,): the mask of what has to be live at the end.
    budget
        Memory beside resident inputs.
    base, price
        Shapes (o + 1,) and (o + 1, r): see `Potentials`.
    allowed
        Shape (o + 1, o): by the number of first runs before, whether an operation may
        run again there.
    fence
        Shape (o + 1, w): the mask of what may be live right before each operation first
        runs; no rows: everything.
    forced, lasting
        Shapes (r, words) and (o + 1, words): masks of operations of which it is known that
        they have run again before a state: where a resource is live in it, and in any case.
        No rows: of none.
    forces
        Shape (words,): space for such a mask.
    """

    reads: Words
    writes: Words
    outputs: Words
    budget: int
    base: Floats
    price: Floats
    allowed: Bools
    fence: Words
    forced: Words
    lasting: Words
    forces: Words


#: Positions in `States.number`: the number of moves looked at, of the states met in the stage
#: before, which `States.own` lists, and of those that the last step expanded.
MOVES, MET, EXPANDED = FIRST_OWN, FIRST_OWN + 1, FIRST_OWN + 2


@part
def weigh(operations: Operations, guide: Guide, stage: int, live: Words) -> tuple[int, float]:
    """Memory of what is live, and a lower bound on the cost of reruns before a state."""
    memory, cost = 0, guide.base[stage]
    price, forces, knows = guide.price[stage], guide.forces, len(guide.lasting) > 0
    if knows:
        for k in range(len(forces)):
            forces[k] = guide.lasting[stage, k]
    for w in range(len(live)):
        word = live[w]
        while word:
            r = 64 * w + lowest(word)
            memory += operations.size[r]
            cost += price[r]
            if knows:
                for k in range(len(forces)):
                    forces[k] |= guide.forced[r, k]
            word &= word - np.uint64(1)  # clears that bit: as many rounds as bits are set
    if knows:
        cost = max(cost, _cost_of(operations, forces))
    return memory, max(cost, 0.0)  # the potentials may fall below 0, which no cost does


@part
def _cost_of(operations: Operations, mask: Words) -> float:
    """The compute of the operations of a mask."""
    cost = 0.0
    for w in range(len(mask)):
        word = mask[w]
        while word:
            cost += operations.compute[64 * w + lowest(word)]
            word &= word - np.uint64(1)
    return cost


@part
def is_fenced(guide: Guide, stage: int, live: Words) -> bool:
    """Whether something is live that may not be right before an operation first runs."""
    outside = np.uint64(0)
    if len(guide.fence) > 0:
        for w in range(len(live)):
            outside |= live[w] & ~guide.fence[stage, w]
    return bool(outside)


@part
def undo(guide: Guide, live: Words, v: int, before: Words) -> None:
    """What has to be live before a run of v, for `live` to be so after it."""
    for w in range(len(live)):
        before[w] = (live[w] & ~guide.writes[v, w]) | guide.reads[v, w]
