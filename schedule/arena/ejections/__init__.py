"""The ejection search: what goes on while other searches are compiled, and then in turns with them.

It takes as long to compile as all that fits one buffer after the other, which is often enough.
"""

from __future__ import annotations

from schedule.solvers.kit.loading import Loading


def _warm_up() -> None:
    import numpy as np

    from schedule.arena.part import Part
    from schedule.solvers.contract import Deadline

    first, last = np.array([0, 0, 1]), np.array([1, 2, 2])
    part = Part(first, last, np.array([2, 1, 2]), np.full(3, -1), last - first, 1, 0)
    part.offer(np.array([0, 2, 3]), "")
    part.eject(3, 1, Deadline())


#: The compiled code of this package.
EJECTIONS = Loading(_warm_up, rank=10)
