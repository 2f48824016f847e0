"""Cover inequalities: what doesn't fit together isn't all held, not even in fractions.

Where resources together exceed the capacity of a cut point, at least one of them
isn't held: a row that every schedule satisfies, and that cuts off fractions that
the memory row allows. Others that are as large are lifted into it (Balas 1975,
doi:10.1007/BF01580440).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from schedule.layout import Floats, Ints
from schedule.solvers.exact.highs import Program
from schedule.solvers.exact.model import StagedModel

#: By how much a solution has to break an inequality.
_BROKEN = 1e-3
#: Sums of shares of the budget are rounded: what exceeds the capacity by less counts as fitting.
_EXCESS = 1e-9


@dataclass(frozen=True)
class Covers:
    """Inequalities values · x[columns] ≤ most, as rows of a CSR matrix.

    `row`, shape (c,), is the number of the cut point that each belongs to.
    """

    row: Ints
    most: Floats
    counts: Ints
    columns: Ints
    values: Floats


def covers_of(model: StagedModel, x: Floats) -> Covers:
    """Those that a solution of the linear relaxation breaks, at most one per cut point."""
    program, found = model.program, []
    for number, row in enumerate(model.memory_rows):
        inside = slice(program.starts[row], program.starts[row + 1])
        columns, sizes = program.columns[inside], program.values[inside]
        broken = cover(np.minimum(x[columns], 1.0), sizes, float(program.row_upper[row]))
        if broken is not None:
            found.append((number, columns, *broken))
    kept = [values > 0 for _, _, values, _ in found]
    return Covers(
        row=np.array([number for number, _, _, _ in found], np.int64),
        most=np.array([most for _, _, _, most in found], float),
        counts=np.array([keep.sum() for keep in kept], np.int64),
        columns=np.concatenate(
            [np.zeros(0, np.int64), *(each[1][keep] for each, keep in zip(found, kept))]
        ),
        values=np.concatenate([np.zeros(0), *(each[2][keep] for each, keep in zip(found, kept))]),
    )


def cover(x: Floats, sizes: Floats, capacity: float) -> tuple[Floats, float] | None:
    """Coefficients, and the largest sum of them over what is held; None: no inequality is broken.

    `x`, shape (c,), says how much of each is held, from 0 to 1; `sizes`, shape (c,), are above 0.
    """
    order = np.lexsort((-sizes, (1.0 - x) / sizes))
    total = np.cumsum(sizes[order])
    count = int(np.searchsorted(total, capacity + _EXCESS, side="right")) + 1
    if count > len(order):
        return None
    inside, excess = order[:count].tolist(), float(total[count - 1]) - capacity
    for at in sorted(inside, key=lambda at: x[at]):
        if excess - sizes[at] > _EXCESS:  # it isn't needed
            inside.remove(at)
            excess -= sizes[at]
    if x[inside].sum() <= len(inside) - 1 + _BROKEN:
        return None
    # Lifting: a resource as large as the n largest of the cover together gets the coefficient n.
    largest = np.concatenate([[0.0], np.cumsum(np.sort(sizes[inside])[::-1])])
    values = (np.searchsorted(largest, sizes + _EXCESS / 1e3, side="right") - 1).astype(float)
    values[inside] = 1.0
    return values, float(len(inside) - 1)


def with_covers(program: Program, covers: Covers) -> Program:
    """The program with these rows after its own."""
    count = len(covers.row)
    return replace(
        program,
        row_lower=np.append(program.row_lower, np.full(count, -np.inf)),
        row_upper=np.append(program.row_upper, covers.most),
        starts=np.append(program.starts, program.starts[-1] + np.cumsum(covers.counts)),
        columns=np.append(program.columns, covers.columns),
        values=np.append(program.values, covers.values),
    )
