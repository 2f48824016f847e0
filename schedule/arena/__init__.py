"""Addresses: one arena for all allocations, packed and searched.

buffers → fitting, laying, sweeping, crowds, stretching, `ejections`, `searches` → cooling, restarts
→ part → nonoverlap, quick → searching → placing.
"""

from __future__ import annotations

from schedule.solvers.kit.loading import Loading


def _warm_up() -> None:
    import numpy as np

    from schedule.arena.part import Part
    from schedule.arena.sweeping import Sweep, sweep
    from schedule.solvers.contract import Deadline

    first, last = np.array([0, 0, 1]), np.array([1, 2, 2])
    size, deadline = np.array([2, 1, 2]), Deadline()
    part = Part(first, last, size, np.full(3, -1), last - first, 1, 0)
    order = np.arange(3)
    for found in (part.fit(order, True, deadline), part.lay(order, deadline)):
        assert found is not None, "there is no deadline"
        part.offer(found, "")
    if part.size != 3:
        raise AssertionError("three are enough")
    part.fit_crowd(order, deadline)
    sweep(Sweep(first, last, size, order, order.copy(), np.zeros(1, np.int64)), 0, 3, True)


#: The compiled code of this package, but for its searches and ejections.
PACKING = Loading(_warm_up, rank=9)
