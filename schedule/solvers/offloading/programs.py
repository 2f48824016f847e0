"""Programs of rows, solved by HiGHS."""

from __future__ import annotations

import numpy as np

from schedule.layout import Bools, Floats
from schedule.solvers.contract import Deadline
from schedule.solvers.exact.rows import Rows


def least(
    rows: Rows,
    cost: Floats,
    upper: Floats,
    deadline: Deadline,
    *,
    integer: bool | Bools,
    lower: Floats | None = None,
    gap: float = 0.0,
    seed: int = 0,
) -> Floats | None:
    """The solution of least cost with columns from `lower` (0) to `upper`; None: none was found."""
    from schedule.solvers.exact.highs import Program, minimise  # it loads HiGHS

    program = Program(
        cost,
        np.zeros(len(cost)) if lower is None else lower,
        upper,
        np.array(np.broadcast_to(integer, len(cost))),
        np.concatenate(rows.lower),
        np.concatenate(rows.upper),
        *rows.by_row(),
    )
    return minimise(program, deadline=deadline, gap=gap, seed=seed).x
