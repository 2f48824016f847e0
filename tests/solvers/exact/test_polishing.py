"""Relaxed plans, annealed until they fit."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schedule import example
from schedule.lowering import needed_in_order
from schedule.memory import keeps_order
from schedule.solvers.annealing import SEQUENCES
from schedule.solvers.contract import Deadline, Incumbent, Problem
from schedule.solvers.exact.polishing import Polishing
from schedule.solvers.exact.refinement import Refinement
from schedule.solvers.exhaustive import states
from tests.enough import enough, reached
from tests.strategies import graphs, tight, training_chains

MANY = 1_000_000


@pytest.fixture(autouse=True, scope="module")
def _compiled():
    """What isn't there within two seconds is done without."""
    assert SEQUENCES.wait(Incumbent(Problem(example("chain"), 5)), Deadline.after(600))


@pytest.mark.parametrize("order", ["free", "fixed"])
@enough(0.03)
@settings(deadline=None, max_examples=80, suppress_health_check=list(HealthCheck))
@given(tight(st.one_of(graphs(min_nodes=3, max_nodes=7), training_chains())))
def test_what_it_finds_fits_and_costs_no_less_than_the_optimum(order, case):
    """From a plan that costs too little: every node once, which doesn't fit."""
    graph, budget = case
    incumbent = Incumbent(problem := Problem(graph, budget, order))
    plan = needed_in_order(graph)
    Polishing(problem, incumbent).polish(plan.codes[plan.codes >= 0], MANY, Deadline.after(60))
    if incumbent.trace is not None:
        reached()
        assert incumbent.trace.peak <= budget
        assert order == "free" or keeps_order(incumbent.trace)
        assert incumbent.compute >= states.least_compute(graph, budget, order).bound


def test_plans_that_miss_the_budget_lead_to_the_optimum():
    """Laid out, no plan of these programs fits: they prove the least compute by themselves."""
    graph = example("layered", nodes=40, seed=1)
    incumbent = Incumbent(problem := Problem(graph, int(0.7 * needed_in_order(graph).peak)))
    proof = Refinement(problem, "free", incumbent).run(Deadline.after(60))
    assert incumbent.compute == proof.bound
