"""The greedy solver: what it makes fits, saves memory, and is the same at every call."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schedule import Compute, Graph, GraphBuilder, Input, Node, Tensor, example, solve, verify
from schedule.lowering import free_early, in_order
from schedule.memory import simulate
from schedule.solvers.contract import Deadline, Incumbent, Problem
from schedule.solvers.eviction.fitting import RULES, Fitting, Rule, fit
from schedule.solvers.greedy import Greedy
from tests.enough import enough, reached
from tests.judging import Hears
from tests.oracles import least_compute
from tests.strategies import graphs

slow = settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
SMALL = graphs(min_nodes=1, max_nodes=6, sizes=st.integers(0, 6), costs=st.integers(0, 5))


def wide(layers, width, seed=0):
    """Layers that each read some of the layer before and one further back."""
    rng = random.Random(seed)
    nodes = [Node("0", (), (Tensor("0", 5),), 1)]
    before = ["0"]
    for layer in range(layers):
        here = []
        for at in range(width):
            reads = {rng.choice(before), rng.choice(before), rng.choice(nodes).name}
            out = (Tensor(f"{layer}.{at}", rng.randint(1, 50)),)
            here.append(Node(out[0].name, tuple(sorted(reads)), out, rng.randint(0, 9)))
        nodes += here
        before = [node.name for node in here]
    return Graph([*nodes, Node("end", tuple(before), (Tensor("end", 1),), 1)], outputs=["end"])


@pytest.mark.parametrize("order", ["free", "fixed"])
@enough(0.09)
@slow
@given(graph=graphs(min_nodes=1, max_nodes=14), share=st.integers(30, 100))
def test_it_fits_or_says_so(order, graph, share):
    """Any graph: a plan within the budget, or the least peak that it came to, above it."""
    plain = in_order(graph)
    budget = plain.peak * share // 100
    plan = solve(graph, budget, "greedy", order=order)
    if plan.schedule is not None:
        reached()
        assert verify(graph, plan.schedule, budget).compute == plan.compute
    elif plan.status == "unknown":
        assert budget < plan.shortfall.least_peak <= plain.peak


@enough(0.09)
@slow
@given(graph=SMALL, share=st.integers(40, 100))
def test_it_is_never_better_than_the_best(graph, share):
    """The oracle's least compute is a bound, and nothing is found where there is nothing."""
    budget = in_order(graph).peak * share // 100
    plan = solve(graph, budget, "greedy")
    truth = least_compute(graph, budget)
    if plan.schedule is not None:
        reached()
        assert truth is not None
        assert truth <= plan.compute


@enough(0.04)
@slow
@given(data=st.data(), graph=graphs(min_nodes=2, max_nodes=14), rule=st.sampled_from(RULES))
def test_following_again_never_costs_more(data, graph, rule):
    """A plan is followed again only for less compute, within the same budget."""
    runs = np.flatnonzero(graph.layout.needed)
    budget = data.draw(st.integers(0, simulate(graph, free_early(graph, runs)).peak))
    found = fit(graph, runs, budget, rule)
    if found is None:
        return
    again = fit(graph, found, budget, rule)
    if again is not None:
        reached()
        assert verify(graph, free_early(graph, again), budget).peak <= budget
    cost = graph.layout.compute
    assert again is None or cost[again].sum() <= cost[found].sum() * (1 + 1e-9)


@slow
@given(graph=graphs(min_nodes=1, max_nodes=14))
def test_other_orders_are_the_same_program(graph):
    """Every needed node once, and executable."""
    plain = np.flatnonzero(graph.layout.needed)
    for runs in Fitting(graph, "free", Deadline()).other_orders(plain):
        assert sorted(runs.tolist()) == plain.tolist()
        verify(graph, free_early(graph, runs))


def test_other_orders_hold_less_where_the_program_is_wasteful():
    """All large values first, then their small ones: the other way round is known to be best."""
    g = GraphBuilder("wide first")
    start = g.node("start", memory=1)
    large = [g.node(f"large{k}", start, memory=100) for k in range(20)]
    small = [g.node(f"small{k}", big, memory=1) for k, big in enumerate(large)]
    g.node("end", small, memory=1)
    graph = g.build()
    assert in_order(graph).peak > 2000
    plan = solve(graph, 130, "greedy")
    assert plan.overhead == 0
    assert solve(graph, 130, "greedy", order="fixed").overhead > 0


@pytest.mark.parametrize("share", [70, 50, 30])
def test_a_chain_is_recomputed_to_save_memory(share):
    """Lower peak, higher compute, and at half the memory the optimum of Griewank & Walther."""
    graph = example("chain", layers=100)
    keep = solve(graph, solver="store_all")
    plan = solve(graph, f"{share}%", "greedy")
    assert plan.peak <= keep.peak * share // 100
    assert keep.compute < plan.compute < 2 * keep.compute
    if share == 50:  # every second step is made once more
        assert plan.compute <= keep.compute + 52


@pytest.mark.parametrize("order", ["free", "fixed"])
@pytest.mark.parametrize("name", ["unet", "resnet", "transformer", "mlp"])
def test_training_graphs_lose_little(name, order):
    """Views, several outputs, workspace, nodes that run once: near the proved optimum."""
    graph = example(name)
    plan = solve(graph, "80%", "greedy", order=order)
    assert plan.peak <= in_order(graph).peak * 0.8
    best = solve(graph, "80%", "ilp", order=order)
    assert best.status == "optimal"
    assert 0 < best.overhead <= plan.overhead < 1.2 * best.overhead


@pytest.mark.parametrize("make", [lambda: wide(12, 20), lambda: example("transformer", layers=3)])
def test_it_is_the_same_at_every_call(make):
    """No clock and no chance in it, whatever the seed and the time limit."""
    graph = make()
    plans = [
        solve(graph, "85%", "greedy", seed=seed, time_limit=limit)
        for seed, limit in ((0, 60), (7, 200))
    ]
    assert plans[0].schedule == plans[1].schedule


def test_deep_and_wide_graphs_are_followed():
    """A chain of thousands at a small share of its peak, and one node that thousands read."""
    graph = example("chain", layers=3000)
    plan = solve(graph, "10%", "greedy")
    assert plan.schedule is not None
    assert plan.overhead < 1.5
    g = GraphBuilder("star")
    hub = g.node("hub", memory=10)
    g.node("end", [g.node(f"n{k}", hub, memory=1) for k in range(3000)], memory=1)
    assert solve(g.build(), "100%", "greedy").overhead == 0


def test_each_part_of_what_is_shared_is_made_once():
    """A ladder whose rungs have two ways down: remaking its end takes its length, not 2^length."""
    nodes = [Node("a0", (), (Tensor("a0", 8),), 1), Node("b0", (), (Tensor("b0", 8),), 1)]
    for k in range(1, 30):
        reads = (f"a{k - 1}", f"b{k - 1}")
        nodes += [Node(f"{side}{k}", reads, (Tensor(f"{side}{k}", 8),), 1) for side in "ab"]
    nodes.append(Node("large", ("a29",), (Tensor("large", 40),), 1))
    nodes.append(Node("small", ("large",), (Tensor("small", 1),), 1))
    nodes.append(Node("end", ("small", "b29"), (Tensor("end", 1),), 1))
    graph = Graph(nodes)
    budget = in_order(graph).peak - 8
    plan = solve(graph, budget, "greedy", order="fixed")
    assert plan.schedule is not None
    assert plan.compute <= 2 * 63


def test_long_skips_are_made_again_together():
    """Deep, with skips of any length: remaking one takes most of what ran before, all no more."""
    graph = example("layered", nodes=4000, layers=200)
    plan = solve(graph, "90%", "greedy")
    assert plan.peak <= in_order(graph).peak * 9 // 10
    assert 0 < plan.overhead < 1
    orders = Fitting(graph, "free", Deadline()).other_orders(np.arange(len(graph)))
    assert all(simulate(graph, free_early(graph, runs)).peak > plan.budget for runs in orders)


def test_what_is_gone_for_good_is_kept_for():
    """A freeable input and a random node: what follows from them goes only while they stay."""
    nodes = [
        Node("mask", ("x",), (Tensor("mask", 4),), 1, 0, False),
        Node("wide", ("mask",), (Tensor("wide", 10),), 1),
        Node("other", ("wide",), (Tensor("other", 10),), 1),
        Node("sum", ("other",), (Tensor("sum", 1),), 1),
        Node("end", ("sum", "wide", "mask"), (Tensor("end", 1),), 1),
    ]
    graph = Graph(nodes, [Input("x", 6, True)])
    assert in_order(graph).peak == 25  # while `sum` runs, `mask` and `wide` wait for `end`
    for budget in range(15, 25):
        plan = solve(graph, budget, "greedy")
        fits = budget >= 24  # `wide` is made with its input and `other` is; `other` needs `wide`
        assert (plan.schedule is not None) == fits
        if fits:
            assert plan.compute == 6
            assert sum(step == Compute("mask") for step in plan.steps) == 1


def test_no_time_left_is_an_honest_unknown():
    """It stops before the first pass; what it says is the program's own peak."""
    graph = example("unet")
    problem, judge = Problem(graph, in_order(graph).peak * 6 // 10), Hears(graph)
    Greedy().improve(problem, Incumbent(problem, judge), Deadline.after(0))
    assert judge.offers
    assert all(trace.peak > problem.budget for _, trace in judge.offers)


def test_asked_again_it_offers_nothing_new():
    """Where it came to its end, and only there."""
    graph = example("unet")
    problem, judge = Problem(graph, in_order(graph).peak * 6 // 10), Hears(graph)
    incumbent, heard = Incumbent(problem, judge), []
    for deadline in (Deadline.after(0), Deadline(), Deadline()):
        before = len(judge.offers)
        Greedy().improve(problem, incumbent, deadline)
        heard.append(len(judge.offers) - before)
    assert heard[1] > heard[0] == heard[2] == 1  # the program as it is


@pytest.mark.parametrize("rule", RULES)
def test_a_limit_on_the_work_ends_a_pass(rule):
    """No plan beyond it, and the work done is about the limit."""
    graph = wide(30, 30)
    fitting = Fitting(graph, "free", Deadline(work=1))
    runs = np.flatnonzero(graph.layout.needed)
    assert fitting.fit(runs, 10**9, Rule()) is not None  # the first 100,000 are free
    assert fitting.deadline.passed
    assert fitting.fit(runs, 10**9, rule) is None


@pytest.mark.parametrize("questions", [0, 1, 3, 6, 9])
def test_orders_that_are_stopped_are_still_orders(questions):
    """Whenever they are stopped: every node once, and executable; none where nothing is done."""
    graph = example("layered", nodes=600, layers=20)
    plain, asked = np.arange(len(graph)), iter(range(questions))
    deadline = Deadline().unless(lambda: next(asked, None) is None)
    fitting = Fitting(graph, "free", deadline)
    found = list(fitting.other_orders(plain))
    assert bool(found) == (questions > 2)  # three questions for the first of 600 nodes
    for runs in found:
        assert sorted(runs.tolist()) == plain.tolist()
        verify(graph, free_early(graph, runs))
