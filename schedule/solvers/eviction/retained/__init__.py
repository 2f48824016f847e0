"""Retain some results, recompute the others from them whenever they are read."""

from __future__ import annotations

from schedule.solvers.kit.loading import Loading


def _warm_up() -> None:
    import numpy as np

    from schedule.examples import example
    from schedule.lowering import in_order
    from schedule.solvers.contract import Deadline
    from schedule.solvers.eviction.retained.runs import runs_with_retained
    from schedule.solvers.program.operations import operations_of

    graph = example("chain", layers=6)
    operations, half = operations_of(graph, "free"), in_order(graph).peak // 2
    if runs_with_retained(operations, np.arange(len(graph)), half, Deadline()) is None:
        raise AssertionError("half its peak is enough for a chain")


#: The compiled code of this package.
RETAINED = Loading(_warm_up, rank=2)
