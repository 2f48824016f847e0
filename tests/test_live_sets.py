"""The exhaustive search of small graphs, against another one written from the rules."""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schedule import Graph, Node, Tensor, example, solve, verify
from schedule.graph import Input
from schedule.lowering import in_order
from schedule.memory import keeps_order
from schedule.solvers.live_sets import search
from tests.oracles import least_budget, least_compute
from tests.strategies import graphs

ORDERS = ["free", "fixed"]
SMALL = graphs(
    min_nodes=1, max_nodes=6, max_inputs=2, sizes=st.integers(0, 6), costs=st.integers(0, 5)
)
slow = settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.too_slow])


def some_graph(seed: int) -> Graph:
    """Up to 12 nodes: several outputs, views, workspaces, freeable inputs, nodes that run once."""
    rng = random.Random(seed)
    inputs = [
        Input(f"i{k}", rng.randint(0, 4), rng.random() < 0.5) for k in range(rng.randint(0, 2))
    ]
    tensors = [item.name for item in inputs]
    nodes: list[Node] = []
    for at in range(rng.randint(5, 12)):
        recent = tensors[-5:]
        count = rng.randint(1, 3) if tensors else 0
        reads = {rng.choice(recent if rng.random() < 0.7 else tensors) for _ in range(count)}
        outputs = []
        for k in range(rng.choice([1, 1, 1, 2])):
            view = reads and rng.random() < 0.12
            root = rng.choice(sorted(reads)) if view else None
            outputs.append(Tensor(f"n{at}.{k}", 0 if view else rng.randint(1, 9), root))
        space, again = rng.choice([0, 0, 0, 3]), rng.random() > 0.1
        nodes.append(
            Node(f"n{at}", tuple(sorted(reads)), tuple(outputs), rng.randint(0, 6), space, again)
        )
        tensors += [out.name for out in outputs]
    return Graph(nodes, inputs)


def agrees(graph, budget, order, truth):
    found = search(graph, budget, order, most=50_000)
    assert found.decided
    if found.codes is None:
        assert truth is None
        return
    trace = verify(graph, found.codes, budget)
    assert trace.compute == pytest.approx(truth)
    assert order == "free" or keeps_order(trace)


@pytest.mark.parametrize("order", ORDERS)
@slow
@given(graph=SMALL, share=st.integers(40, 100))
def test_it_finds_the_optimum_or_that_there_is_none(order, graph, share):
    """Whatever the graph, in both orders."""
    budget = in_order(graph).peak * share // 100
    agrees(graph, budget, order, least_compute(graph, budget, order))


@pytest.mark.parametrize("order", ORDERS)
def test_the_exact_method_decides_graphs_of_few_tensors(order):
    """300 graphs, most of at most 10 tensors: decided as exhaustive search decides them."""
    solved = feasible = 0
    for seed in range(684):
        graph = some_graph(seed)
        if len(graph.tensors) > 10 and seed % 15:  # the oracle's time is exponential in them
            continue
        budget = in_order(graph).peak * random.Random(seed).randint(60, 99) // 100
        truth = least_compute(graph, budget, order)
        plan = solve(graph, budget, "ilp", order=order)
        assert plan.status == ("infeasible" if truth is None else "optimal"), seed
        assert plan.compute == truth
        solved += 1
        feasible += truth is not None
    assert solved == 300
    assert feasible > 20


@slow
@given(graph=SMALL)
def test_what_is_said_to_be_needed_is_needed(graph):
    """Going up from one answer to the next leads to the least budget, never past it."""
    truth = least_budget(graph)
    budget = 0
    for _ in range(200):
        found = search(graph, budget, "free", most=50_000)
        if found.codes is not None:
            break
        assert found.needed is not None
        assert budget < found.needed <= truth
        budget = found.needed
    assert budget == truth


def test_it_gives_up_when_it_is_told_to():
    """Nothing is claimed then."""
    graph = example("chain", layers=12)
    for found in (
        search(graph, 5, "free", most=10),
        search(graph, 5, "free", most=10**6, stop=lambda: True),
    ):
        assert found.codes is None
        assert not found.decided


def test_published_chains():
    """L = 8: 45, 26, 22, 21, 20, 19, 18, 17 for budgets 3 … 10."""
    graph = example("chain", layers=8)
    for budget, want in zip(range(3, 11), (45, 26, 22, 21, 20, 19, 18, 17)):
        assert verify(graph, search(graph, budget, "free", most=10**5).codes).compute == want
