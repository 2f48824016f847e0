"""Some results retained, the others recomputed for each reader: it fits, whatever it costs."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from schedule import Graph, Input, Node, Tensor, solve
from schedule.layout import first_of
from schedule.lowering import free_early, needed_in_order
from schedule.memory import simulate
from schedule.solvers.contract import Deadline
from schedule.solvers.eviction.retained.runs import runs_with_retained
from schedule.solvers.greedy import Greedy, GreedySettings
from schedule.solvers.program.operations import node_runs, operations_of
from tests.enough import enough, reached
from tests.oracles import least_compute
from tests.strategies import graphs


def retained(graph, budget, order="free"):
    """Node runs, or None."""
    operations = operations_of(graph, order)
    sequence = operations.sequence(np.flatnonzero(graph.layout.needed))
    capacity = budget - graph.layout.resident_memory
    found = runs_with_retained(operations, sequence, capacity, Deadline())
    return None if found is None else node_runs(graph, operations, found)


def random_dag(nodes, reads, seed=0):
    """Each node reads others from anywhere before it, all of one unit."""
    rng = random.Random(seed)
    found = []
    for at in range(nodes):
        before = rng.sample(range(at), min(at, rng.randint(1, 2 * reads)))
        found.append(Node(f"n{at}", tuple(f"n{v}" for v in before), (Tensor(f"n{at}", 1),), 1))
    return Graph(found)


@pytest.mark.parametrize("order", ["free", "fixed"])
@enough(0.03)
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(graph=graphs(min_nodes=2, max_nodes=14), share=st.integers(50, 110) | st.just(110))
def test_what_it_finds_fits(order, graph, share):
    """Any graph: it fits, runs everything, and keeps the order of first runs that it was given."""
    assume(graph.layout.needed.any())
    budget = needed_in_order(graph).peak * share // 100
    runs = retained(graph, budget, order)
    if runs is None:
        return
    reached()
    trace = simulate(graph, free_early(graph, runs))
    assert trace.peak <= budget
    ran = runs[first_of(runs)]
    if order == "fixed":
        assert np.array_equal(ran, np.flatnonzero(graph.layout.needed))
    else:
        assert set(np.flatnonzero(graph.layout.needed & (graph.layout.new_memory > 0))) <= set(ran)


@enough(0.05)
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(graph=graphs(min_nodes=2, max_nodes=6, sizes=st.integers(1, 4)), share=st.integers(50, 120))
def test_it_is_never_better_than_the_best(graph, share):
    """The oracle's least compute is a bound; at the whole peak it is met."""
    assume(graph.layout.needed.any())
    budget = needed_in_order(graph).peak * share // 100
    runs = retained(graph, budget)
    if runs is None:
        assert share < 100
        return
    reached()
    compute, truth = graph.layout.compute[runs].sum(), least_compute(graph, budget)
    assert truth is not None
    assert compute >= truth * (1 - 1e-9) - 1e-9
    assert share < 100 or compute <= truth * (1 + 1e-9) + 1e-9


def test_views_of_an_input_alone_have_a_plan():
    """Nothing takes memory, and nothing has to run at any time: there is nothing to retain."""
    view = Node("view", ("x",), (Tensor("view", 0, view_of="x"),), 0)
    graph = Graph([view], [Input("x", 1)], outputs=["view"])
    assert not len(operations_of(graph, "free").nodes)
    assert simulate(graph, free_early(graph, retained(graph, 1))).peak == 1


@pytest.mark.parametrize("n", [3, 4, 9, 16])
def test_a_chain_read_from_its_end(n):
    """With room for a step, its input and what reads them: at most n(n + 1)/2 steps."""
    steps = [Node(f"s{i}", (f"s{i - 1}",) if i else (), (Tensor(f"s{i}", 1),), 1) for i in range(n)]
    back = [
        Node(f"b{i}", (f"s{i}",) + ((f"b{i + 1}",) if i < n - 1 else ()), (Tensor(f"b{i}", 1),), 0)
        for i in reversed(range(n))
    ]
    graph = Graph([*steps, *back], outputs=["b0"])
    runs = retained(graph, 3)
    assert simulate(graph, free_early(graph, runs)).peak == 3
    assert n < graph.layout.compute[runs].sum() <= n * (n + 1) / 2
    assert graph.layout.compute[retained(graph, n + 2)].sum() == n


@pytest.mark.parametrize("seed", range(3))
def test_where_evictions_never_end(seed):
    """In a random graph every rerun asks for what is gone, too: no other plan is found."""
    graph = random_dag(300, 12, seed)
    budget = needed_in_order(graph).peak * 55 // 100
    without = Greedy(GreedySettings(rounds=0, more_rounds=0, patient=0, retains=False))
    assert solve(graph, budget, without).schedule is None
    found = solve(graph, budget, "greedy")
    assert found.schedule is not None
    assert found.peak <= budget
