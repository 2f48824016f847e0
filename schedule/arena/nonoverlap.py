"""Rectangles that don't overlap, on CP-SAT: the least size of a part, or a bound."""

from __future__ import annotations

import numpy as np
from ortools.sat.python import cp_model

from schedule.arena.buffers import NONE
from schedule.arena.part import Part
from schedule.solvers.contract import Deadline
from schedule.solvers.exact.cpsat import Value, minimise


def improve(part: Part, deadline: Deadline, seed: int) -> None:
    """Pack a part in less, or prove more, until the deadline.

    Each buffer is a rectangle of time and addresses; at any time their sizes together are
    within the arena (`AddNoOverlap2D` and `AddCumulative`). O(n) intervals.
    """
    assert part.size is not None, "something is packed first"
    assert part.offset is not None, "so it has offsets"
    unit, align = part.unit, part.alignment // part.unit
    model = cp_model.CpModel()
    height = model.new_int_var(part.bound // unit, part.size // unit, "size")
    places, spans, rows = [], [], []
    sizes = (part.true_size // unit).tolist()
    times = zip(part.first.tolist(), part.last.tolist())
    for at, (size, (first, last)) in enumerate(zip(sizes, times)):
        if part.fixed[at] == NONE:
            most = (part.size // unit - size) // align
            step = model.new_int_var(0, most, "")
            model.add_hint(step, int(part.offset[at]) // part.alignment)
            place: cp_model.LinearExprT = step * align
        else:
            place = int(part.fixed[at]) // unit
        model.add(place + size <= height)
        places.append(place)
        rows.append(model.new_fixed_size_interval_var(place, size, ""))
        spans.append(model.new_fixed_size_interval_var(first, last - first, ""))
    model.add_no_overlap_2d(spans, rows)
    model.add_cumulative(spans, sizes, height)
    model.minimize(height)

    def take(value: Value) -> None:
        found = [p if isinstance(p, int) else value(p) for p in places]  # type: ignore[arg-type]
        part.offer(np.array(found, np.int64) * unit, "CP-SAT")

    answer = minimise(model, deadline=deadline, seed=seed, workers=1, on_solution=take)
    if np.isfinite(answer.bound):
        proved = int(np.ceil(answer.bound - 1e-6)) * unit
        part.bound = max(part.bound, min(proved, part.size))
