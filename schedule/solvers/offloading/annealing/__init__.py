"""Which gaps of an order of runs are on the host, and when each is copied, freed and fetched."""

from __future__ import annotations

from schedule.solvers.kit.loading import Loading


def _warm_up() -> None:
    import numpy as np

    from schedule.levels import Level
    from schedule.solvers.contract import Deadline
    from schedule.solvers.offloading.annealing.loop import Gaps
    from schedule.solvers.offloading.annealing.searcher import Copies, anneal

    gaps = Gaps(
        compute=np.ones(3),
        size=np.ones(1, np.int64),
        life=np.zeros(1, np.int64),
        written=np.zeros(1, np.int64),
        last=np.zeros(1, np.int64),
        next=np.full(1, 2, np.int64),
        down=np.full(1, 2.0),
        up=np.full(1, 2.0),
    )
    copies = Copies(np.array([1, 2, 1, 1], np.int64), gaps)
    level = Level("host", 1, 1, 1)
    start = np.array([[1], [0], [0], [2]], np.int64)
    if anneal(copies, 1, level, start, seed=0, moves=10, deadline=Deadline())[1] < 3:
        raise AssertionError("three runs take no less than their compute")


#: The compiled code of this package.
COPIES = Loading(_warm_up, rank=2)
