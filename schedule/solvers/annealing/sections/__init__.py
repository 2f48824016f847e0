"""Whole sections of the program, rerun as one: where little fits, single reruns don't help."""

from __future__ import annotations

from schedule.solvers.kit.loading import Loading


def _warm_up() -> None:
    import numpy as np

    from schedule.examples import example
    from schedule.lowering import in_order
    from schedule.solvers.annealing.sections.coarse import Coarse, SectionSettings
    from schedule.solvers.contract import Deadline
    from schedule.solvers.program.operations import operations_of

    graph = example("chain", layers=6)
    operations = operations_of(graph, "free")
    half = in_order(graph).peak // 2
    Coarse(operations, np.arange(len(operations.nodes)), half, SectionSettings()).round(Deadline())


#: The compiled code of this package.
SECTIONS = Loading(_warm_up, rank=2)
