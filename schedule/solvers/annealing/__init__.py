"""Search over sequences of runs, and over whole sections of them."""

from __future__ import annotations

from schedule.solvers.kit.loading import Loading


def _warm_up() -> None:
    import numpy as np

    from schedule.examples import example
    from schedule.solvers.annealing.rounds import Annealing, AnnealingSettings
    from schedule.solvers.program.operations import operations_of

    graph = example("chain", layers=6)
    operations = operations_of(graph, "free")
    Annealing(operations, np.arange(len(operations.nodes)), 1, 0, AnnealingSettings()).load()


#: The compiled code of this package, but that of `sections`.
SEQUENCES = Loading(_warm_up, rank=1)
