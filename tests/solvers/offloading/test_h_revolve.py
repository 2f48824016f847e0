"""Chains on several levels: valid, within budget and capacities, and what the levels are worth."""

from __future__ import annotations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import schedule
from schedule import Level, example
from schedule.errors import NotApplicable
from schedule.solvers.offloading.h_revolve import HRevolve, steps_of
from tests.enough import enough, reached
from tests.solvers.classics.test_mixed import units
from tests.strategies import adjoint_chains, budget_at, machines


@enough(0.05)
@settings(max_examples=20, deadline=None)
@given(st.data())
def test_adjoint_chains_with_all_that_may_be_with_them(data):
    """What is proposed is replayed: within the budget, and within each level's capacity."""
    graph = data.draw(adjoint_chains(longest=6))
    assume(budget_at(graph, 0) < budget_at(graph, 100))
    levels = data.draw(machines(2, capacities=st.sampled_from([4, 20, 100])))
    budget = data.draw(st.integers(budget_at(graph, 0), budget_at(graph, 100) - 1))
    plan = schedule.solve(graph, budget, "h_revolve", levels=levels)
    if plan.schedule is not None:
        trace = schedule.verify(graph, plan, budget)
        assert plan.makespan == trace.makespan
        reached()


@pytest.mark.parametrize("graph", [example("chain", layers=20), units(16)], ids=["chain", "units"])
def test_a_host_takes_the_place_of_reruns(graph):
    """Faster with a faster link, and with more room; with a fast one each state is kept."""
    states = len(steps_of(graph).states)
    found = [
        schedule.solve(graph, 8, "h_revolve", levels=Level("host", *free)).makespan
        for free in ((0, 4, 4), (4, 4, 4), (1000, 0.5, 0.5), (1000, 4, 4))
    ]
    assert found[0] > found[1] > found[3] < found[2] <= found[0]
    # Each step runs at most once more, to be turned.
    assert found[3] <= graph.compute + states


def test_copies_that_count_in_full_are_no_better():
    """They are made while steps run: a plan in which they cost less may be faster."""
    graph, host = example("chain", layers=30), Level("host", 1000, 0.5, 0.5)
    full = schedule.solve(graph, 6, HRevolve(shares=(1.0,)), levels=host)
    assert schedule.solve(graph, 6, "h_revolve", levels=host).makespan < full.makespan


def test_other_graphs_are_refused():
    """With the reason."""
    with pytest.raises(NotApplicable, match=r"'h_revolve' doesn't handle graph 'unet'"):
        schedule.solve(example("unet"), "50%", "h_revolve", levels=Level("host", 10, 1, 1))
