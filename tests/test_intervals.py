"""Retention intervals on CP-SAT: what they find, and what they prove, against oracles."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schedule import solve, verify
from schedule.bounds import least_compute as every_needed_node_once
from schedule.lowering import in_order
from schedule.solvers.exact.intervals import Intervals
from tests.oracles import least_budget, least_compute
from tests.strategies import graphs

SMALL = graphs(
    min_nodes=2, max_nodes=7, max_inputs=2, sizes=st.integers(0, 6), costs=st.integers(0, 5)
)
slow = settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("order", ["free", "fixed"])
@pytest.mark.parametrize("runs", [1, 2, 3])
@slow
@given(graph=SMALL, share=st.integers(40, 99))
def test_small_graphs_are_decided_as_exhaustive_search_decides_them(runs, order, graph, share):
    """Optimal, or infeasible with no more said to be needed than is, whatever C begins with."""
    budget = in_order(graph).peak * share // 100
    plan = solve(graph, budget, Intervals(runs), order=order, workers=1)
    truth = least_compute(graph, budget, order)
    if truth is None:
        assert plan.status == "infeasible"
        assert order == "fixed" or plan.shortfall.needed <= least_budget(graph)
        return
    verify(graph, plan.schedule, budget)
    assert every_needed_node_once(graph) <= plan.lower_bound <= truth
    assert plan.status == "optimal"
    assert plan.compute == truth
