"""Where programs look first."""

from __future__ import annotations

import numpy as np
import pytest

from schedule import example
from schedule.lowering import needed_in_order
from schedule.solvers.contract import Deadline
from schedule.solvers.exact.cut_points import (
    boundary_cut,
    cut_candidates,
    excess_of,
    worst_cut,
)
from schedule.solvers.exact.model import StagedModel, fixed_windows, free_windows
from schedule.solvers.exact.relaxation import relax
from schedule.solvers.program.contraction import contract


@pytest.mark.parametrize(
    ("order", "windows_of"), [("free", free_windows), ("fixed", fixed_windows)]
)
@pytest.mark.parametrize("name", ["unet", "transformer", "resnet"])
def test_one_cut_point_proves_most_where_memory_is_worst(name, order, windows_of):
    """More than one at the boundary of the passes does, at every budget tried."""
    graph = example(name)
    plain, whole = needed_in_order(graph), contract(graph)
    for share in (60, 70, 80, 90):
        budget = plain.peak * share // 100
        excess = excess_of(whole, plain, budget)
        candidates = cut_candidates(whole, order, excess)
        cuts = boundary_cut(graph, whole, candidates, excess), worst_cut(candidates, excess)
        models = (
            StagedModel(graph, whole, windows_of(whole, np.array([cut])), budget) for cut in cuts
        )
        at_boundary, at_worst = (relax(model, Deadline.after(20)).bound for model in models)
        assert at_boundary < at_worst
        assert graph.compute < at_worst
