"""The three strategies that it all comes from."""

from __future__ import annotations

import math

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from schedule import SOLVERS, Compute, example, solve, verify
from schedule.errors import NotApplicable
from schedule.lowering import in_order
from schedule.solvers.classics.sqrt import Sqrt
from tests.enough import enough, reached
from tests.strategies import graphs

QUICK = settings(deadline=None, max_examples=60)


@pytest.mark.parametrize("layers", [2, 16, 50, 128])
def test_keeping_everything_is_linear_in_memory_and_runs_nothing_twice(layers):
    """n + 2 tensors at the turn: all forward ones, and the first gradient beside its result."""
    plan = solve(example("chain", layers=layers), solver="store_all")
    assert plan.compute == 2 * layers + 1
    assert plan.peak == layers + 2


@pytest.mark.parametrize("layers", [3, 16, 50, 128])
def test_keeping_nothing_takes_constant_memory_and_quadratic_compute(layers):
    """Three tensors, and n (n − 1) / 2 runs more: Revolve's T(n, 1) with a single checkpoint."""
    plan = solve(example("chain", layers=layers), solver="recompute_all")
    assert plan.peak == 3
    assert plan.compute == (2 * layers + 1) + layers * (layers - 1) // 2


@pytest.mark.parametrize("layers", [16, 64, 256, 1024])
def test_square_root_checkpoints_take_root_memory_and_one_more_forward_pass(layers):
    """About 2 √n tensors; every forward node runs at most twice."""
    graph = example("chain", layers=layers)
    plan = solve(graph, solver="sqrt")
    assert plan.peak <= 2 * math.sqrt(layers) + math.sqrt(layers) / 2 + 4
    assert 2 * layers + 1 < plan.compute <= 3 * layers + 2
    runs = [step.node for step in plan.steps if isinstance(step, Compute)]
    assert max(runs.count(name) for name in set(runs)) == 2


@pytest.mark.parametrize("share", [40, 60, 80, 99])
def test_under_a_budget_it_takes_the_fewest_segments_that_fit(share):
    """Against every number of segments in turn, on a graph with skips."""
    graph = example("unet")
    budget = in_order(graph).peak * share // 100
    plan = solve(graph, budget, "sqrt")
    every = [solve(graph, solver=Sqrt(segments=count)) for count in range(1, 14)]
    fitting = [one for one in every if one.peak <= budget]
    if fitting:
        assert plan.schedule == fitting[0].schedule
    elif plan.status == "unknown":
        assert plan.shortfall.least_peak == min(one.peak for one in every)
    else:
        assert plan.status == "infeasible"


@enough(0.13)
@QUICK
@given(graphs(min_nodes=2, max_nodes=12))
def test_checkpoints_never_take_more_memory_than_keeping_everything(graph):
    """Under any budget its peak is at most store_all's."""
    assume(SOLVERS["sqrt"].supports(graph) is None)
    keep = solve(graph, solver="store_all")
    plan = solve(graph, max(keep.peak - 1, 0), "sqrt")
    peak = plan.peak if plan.schedule is not None else plan.shortfall.least_peak
    if peak is not None:
        reached()
        assert peak <= keep.peak


@pytest.mark.parametrize("name", ["mlp", "unet", "resnet", "transformer"])
def test_real_networks_need_less_memory_with_checkpoints(name):
    """Lower peak, more compute, each node at most twice."""
    graph = example(name)
    keep, plan = solve(graph, solver="store_all"), solve(graph, solver="sqrt")
    assert plan.peak < keep.peak
    assert plan.compute > keep.compute
    runs = [step.node for step in plan.steps if isinstance(step, Compute)]
    assert max(runs.count(node) for node in set(runs)) <= 2


@enough(0.05)
@settings(QUICK, max_examples=140)
@given(graphs(min_nodes=3, max_nodes=10), st.sampled_from(["recompute_all", "sqrt"]))
def test_what_must_not_run_twice_does_not(graph, name):
    """Any graph, no budget: valid, and single runs where they are asked for."""
    assume(SOLVERS[name].supports(graph) is None)
    plan = solve(graph, solver=name)
    verify(graph, plan.schedule)
    runs = [step.node for step in plan.steps if isinstance(step, Compute)]
    once = [node.name for node in graph.nodes if not node.recomputable]
    if once and len(set(runs)) < len(runs):
        reached()
    assert all(runs.count(node) <= 1 for node in once)


def test_checkpoints_need_a_backward_pass():
    """A graph without one is refused with the reason."""
    with pytest.raises(NotApplicable, match="no backward nodes"):
        solve(example("diamonds"), solver="sqrt")


def test_too_long_a_plan_is_given_up():
    """The quadratic strategy says that it found nothing, instead of running on."""
    graph = example("chain", layers=4000)
    plan = solve(graph, 3000, "recompute_all", time_limit=1)
    assert plan.status == "unknown"
    assert plan.shortfall.least_peak is None
