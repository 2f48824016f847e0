"""Simulate and evict ahead of time: what makes an order of runs fit a budget."""

from __future__ import annotations

from schedule.solvers.kit.loading import Loading


def _warm_up() -> None:
    import numpy as np

    from schedule.examples import example
    from schedule.lowering import in_order
    from schedule.solvers.contract import Deadline
    from schedule.solvers.eviction.fitting import Fitting, Rule

    graph = example("chain", layers=6)
    runs = np.arange(len(graph))
    fitting = Fitting(graph, "free", Deadline())
    list(fitting.other_orders(runs))
    if fitting.fit(runs, in_order(graph).peak // 2, Rule()) is None:
        raise AssertionError("half its peak is enough for a chain")


#: The compiled code of this package.
EVICTION = Loading(_warm_up)
