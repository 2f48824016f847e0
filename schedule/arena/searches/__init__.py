"""Searches of packings that are asked where what fits one buffer after the other isn't enough.

canonical, beam, recreation: none of them needs another one.
"""

from __future__ import annotations

from schedule.solvers.kit.loading import Loading


def _warm_up() -> None:
    import numpy as np

    from schedule.arena.part import Part
    from schedule.solvers.contract import Deadline

    first, last = np.array([0, 0, 1]), np.array([1, 2, 2])
    part = Part(first, last, np.array([2, 1, 2]), np.full(3, -1), last - first, 1, 0)
    deadline = Deadline()
    part.offer(np.array([0, 2, 3]), "")
    if not part.search(2, True, deadline) or part.bound != 3:
        raise AssertionError("three are needed")
    part.beam_search(3, 1, deadline)
    part.recreate(2, deadline)


#: The compiled code of this package.
SEARCHES = Loading(_warm_up, rank=11)
