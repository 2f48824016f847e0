"""What every solver promises, walked over the table of solvers."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from schedule import SOLVERS, Compute, Graph, Node, Tensor, example, solve, verify
from schedule.bounds import least_compute as every_needed_node_once
from schedule.errors import BadOption
from schedule.graph import Input
from schedule.lowering import in_order
from tests.enough import enough, reached
from tests.oracles import least_compute
from tests.strategies import adjoint_chains, budget_at, graphs, training_chains

NAMES = list(SOLVERS)
EXACT = ["ilp", "auto"]
SMALL = graphs(
    min_nodes=1, max_nodes=6, max_inputs=2, sizes=st.integers(0, 6), costs=st.integers(0, 5)
)
#: Of budgets, from what nothing fits to what everything does: at each second one, something fits.
SHARES = st.integers(-30, 99) | st.integers(100, 120)
#: Solvers of which few random graphs are a home.
AT_HOME = dict.fromkeys(["articulation", "revolve", "chain"], training_chains())
AT_HOME["mixed"] = adjoint_chains()
#: Solving takes milliseconds, but now and then a hundred of them.
slow = settings(deadline=None, max_examples=28, suppress_health_check=list(HealthCheck))


def drawn(data, name):
    """A graph that a solver handles."""
    graph = data.draw(AT_HOME.get(name, SMALL))
    assume(SOLVERS[name].supports(graph) is None)
    return graph


def changed(graph, *, rename=lambda name: name, memory=1, compute=1):
    """The same graph with other names, sizes or costs."""

    def tensor(out):
        return Tensor(rename(out.name), out.memory * memory, out.view_of and rename(out.view_of))

    return Graph(
        [
            Node(
                rename(node.name),
                tuple(rename(name) for name in node.inputs),
                tuple(tensor(out) for out in node.outputs),
                node.compute * compute,
                node.workspace * memory,
                node.recomputable,
                node.backward,
            )
            for node in graph.nodes
        ],
        [Input(rename(item.name), item.memory * memory, item.freeable) for item in graph.inputs],
        [rename(name) for name in graph.outputs],
    )


@pytest.mark.parametrize("order", ["free", "fixed"])
@pytest.mark.parametrize("name", NAMES)
@enough(0.02)
@slow
@given(data=st.data(), share=SHARES)
def test_an_answer_is_verified_and_true(name, order, data, share):
    """Within budget and bound; `optimal` and `infeasible` only where exhaustive search agrees."""
    graph = drawn(data, name)
    budget = budget_at(graph, share)
    plan = solve(graph, budget, name, order=order, time_limit=20)
    truth = least_compute(graph, budget, order)
    if plan.schedule is None:
        assert plan.status in ("infeasible", "unknown")
        assert plan.shortfall.reason
        assert plan.status == "unknown" or truth is None
        if truth is not None:
            assert plan.shortfall.needed <= budget
        return
    reached()
    trace = verify(graph, plan.schedule, budget)
    assert (trace.peak, trace.compute) == (plan.peak, plan.compute)
    assert trace.checkpoints == plan.checkpoints
    assert every_needed_node_once(graph) <= plan.lower_bound <= plan.compute
    assert truth is not None
    assert plan.lower_bound <= truth <= plan.compute
    if order == "fixed":
        first = [step.node for step in plan.steps if isinstance(step, Compute)]
        first = [graph.layout.node_id[name] for name in dict.fromkeys(first)]
        assert first == sorted(first)
    if plan.status == "optimal":
        assert plan.compute == truth


@pytest.mark.parametrize("name", NAMES)
@enough(0.1)
@slow
@given(data=st.data())
def test_without_a_budget_every_solver_has_an_answer(name, data):
    """No limit: each does what it does by nature, and all of it is valid."""
    graph = drawn(data, name)
    reached()
    plan = solve(graph, solver=name)
    assert verify(graph, plan.schedule).peak == plan.peak


@pytest.mark.parametrize("name", NAMES)
@enough(0.02)
@slow
@given(data=st.data(), share=SHARES, seed=st.integers(0, 3))
def test_names_and_units_do_not_matter(name, data, share, seed):
    """Relabelled, or with all sizes or all costs scaled, the answer is the same."""
    graph = drawn(data, name)
    budget = budget_at(graph, share)
    plan = solve(graph, budget, name, time_limit=20, seed=seed)
    assert solve(graph, budget, name, time_limit=20, seed=seed).schedule == plan.schedule
    for other, factor in [
        (changed(graph, rename=lambda text: f"{text[::-1]}'"), 1),
        (changed(graph, memory=1000), 1000),
        (changed(graph, compute=1000), 1),
    ]:
        again = solve(other, budget * factor, name, time_limit=20, seed=seed)
        assert again.status == plan.status
        if plan.schedule is not None:
            reached()
            assert again.overhead == pytest.approx(plan.overhead)


@pytest.mark.parametrize("name", EXACT)
@enough(0.16)
@slow
@given(graph=SMALL)
def test_more_memory_never_costs_more(name, graph):
    """Over all budgets, what is proved optimal falls, and what is proved to fit stays so."""
    peak = in_order(graph).peak
    before = None
    for budget in range(peak // 2, peak + 1, max(1, peak // 8)):
        plan = solve(graph, budget, name, order="fixed", time_limit=20)
        if before is not None:
            assert plan.status != "infeasible"
        if plan.status == "optimal":
            if before is not None:
                reached()
                assert plan.compute <= before
            before = plan.compute


@pytest.mark.parametrize("name", EXACT)
def test_the_exact_method_decides_most_small_graphs(name):
    """On a fixed set of random chains with skips, given order: no more than a few stay open."""
    decided = solved = 0
    for seed in range(40):
        rng = random.Random(seed)
        nodes = [Node("0", (), (Tensor("0", rng.randint(1, 6)),), 1)]
        for at in range(1, 9):
            reads = {str(at - 1), str(rng.randrange(at)), str(rng.randrange(at))}
            out = (Tensor(str(at), rng.randint(1, 6)),)
            nodes.append(Node(str(at), tuple(sorted(reads)), out, rng.randint(1, 5)))
        graph = Graph(nodes)
        budget = in_order(graph).peak * 85 // 100
        plan = solve(graph, budget, name, order="fixed", time_limit=20)
        truth = least_compute(graph, budget, "fixed")
        decided += plan.status in ("optimal", "infeasible")
        solved += plan.compute == truth
    assert solved >= 36
    assert decided >= 36


@pytest.mark.parametrize("length", [16, 40])
def test_strategies_known_for_saving_memory_save_it(length):
    """On the training chain: lower peak and higher compute than keeping everything."""
    graph = example("chain", layers=length)
    keep = solve(graph, solver="store_all")
    assert keep.overhead == 0
    for name in ("sqrt", "recompute_all", "chen_greedy", "articulation", "lower_sets"):
        plan = solve(graph, solver=name)
        assert plan.peak < keep.peak
        assert plan.compute > keep.compute
    for name in ("ilp", "greedy", "search", "revolve", "chain", "lp_rounding", "dtr", "knapsack"):
        plan = solve(graph, "60%", name, time_limit=20)
        assert plan.peak <= plan.budget < keep.peak
        assert plan.compute > keep.compute


@pytest.mark.parametrize("name", ["greedy", "ilp", "reorder", "search"])
def test_settings_of_another_kind_are_refused(name):
    """Where they are given, not inside a solve."""
    with pytest.raises(
        BadOption, match=rf"settings of '{name}' is 3; it has to be \w+Settings\(…\)"
    ):
        replace(SOLVERS[name], settings=3)
    assert replace(SOLVERS[name], settings=SOLVERS[name].settings) == SOLVERS[name]
