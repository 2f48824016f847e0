"""The exact search from the end to the start, against one from the start written from the rules."""

from __future__ import annotations

import random
from collections import Counter
from fractions import Fraction
from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schedule import Graph, Node, Tensor, example, solve, verify
from schedule.graph import Input
from schedule.lowering import free_early, in_order
from schedule.memory import keeps_order
from schedule.solvers.contract import Deadline
from schedule.solvers.exhaustive.states import least_compute, least_peak
from tests import oracles
from tests.strategies import graphs

ORDERS = ["free", "fixed"]
SMALL = graphs(
    min_nodes=1, max_nodes=6, max_inputs=2, sizes=st.integers(0, 6), costs=st.integers(0, 5)
)
slow = settings(deadline=None, max_examples=80, suppress_health_check=list(HealthCheck))
each_order = pytest.mark.parametrize("order", ORDERS)


def some_graph(seed: int, fewest: int = 5, most_tensors: float = float("inf")) -> Graph:
    """Up to 12 nodes: several outputs, views, workspaces, freeable inputs, nodes that run once."""
    rng = random.Random(seed)
    is_freeable, is_view, is_once = rng.choice([0, 0.5, 1]), rng.choice([0, 0.15]), rng.random() / 4
    several = rng.choice([[1], [1, 1, 1, 2, 3]])
    inputs = [
        Input(f"i{k}", rng.randint(0, 4), rng.random() < is_freeable)
        for k in range(rng.randint(0, 2))
    ]
    tensors = [item.name for item in inputs]
    nodes: list[Node] = []
    for at in range(rng.randint(fewest, 12)):
        recent = tensors[-5:]
        reads = {
            rng.choice(recent if rng.random() < 0.7 else tensors)
            for _ in range(rng.randint(1, 3) if tensors else 0)
        }
        outputs = []
        for k in range(rng.choice(several)):
            root = rng.choice(sorted(reads)) if reads and rng.random() < is_view else None
            outputs.append(Tensor(f"n{at}.{k}", 0 if root else rng.randint(1, 9), root))
        if len(tensors) + len(outputs) > most_tensors:
            break
        cost, space = rng.randint(0, 24) / 4, rng.choice([0, 0, 0, 3])
        again = rng.random() >= is_once
        nodes.append(Node(f"n{at}", tuple(sorted(reads)), tuple(outputs), cost, space, again))
        tensors += [out.name for out in outputs]
    wanted = rng.sample(tensors, min(3, len(tensors))) if rng.random() < 0.5 else None
    return Graph(nodes, inputs, wanted)


def relabelled(graph: Graph, rng: random.Random) -> Graph:
    """The same graph with its nodes in another executable order, and other names for them."""
    left, there, nodes = list(graph.nodes), {item.name for item in graph.inputs}, []
    while left:
        node = rng.choice([node for node in left if set(node.inputs) <= there])
        left.remove(node)
        there |= {out.name for out in node.outputs}
        name = f"other {node.name}"
        nodes.append(
            Node(name, node.inputs, node.outputs, node.compute, node.workspace, node.recomputable)
        )
    return Graph(nodes, graph.inputs[::-1], graph.outputs[::-1])


def checked(graph, found, budget, order):
    """The trace of what was found: valid, within the budget, in order, and freed early."""
    trace = verify(graph, found.codes, budget)
    assert order == "free" or keeps_order(trace)
    assert found.codes.tolist() == free_early(graph, found.codes[found.codes >= 0]).tolist()
    return trace


def agrees(graph, budget, order):
    """Compute or infeasible, as the oracle has it; True where it is feasible."""
    truth = oracles.least_compute(graph, budget, order)
    found = least_compute(graph, budget, order)
    assert found.decided
    if truth is None:
        assert found.codes is None
        assert found.needed > budget
        return False
    assert checked(graph, found, budget, order).compute == pytest.approx(truth)
    assert found.bound == pytest.approx(truth)
    return True


@each_order
@slow
@given(graph=SMALL, share=st.integers(40, 100))
def test_it_finds_the_least_compute_or_that_nothing_fits(order, graph, share):
    """Whatever the graph, in both orders."""
    agrees(graph, in_order(graph).peak * share // 100, order)


@slow
@given(graph=graphs(min_nodes=1, max_nodes=5, max_inputs=2), share=st.integers(60, 100))
def test_any_sizes_and_costs(graph, share):
    """Costs of a tenth and of a billion beside each other, nodes that cost nothing, large sizes."""
    for order in ORDERS:
        agrees(graph, in_order(graph).peak * share // 100, order)


@each_order
@slow
@given(graph=SMALL)
def test_it_finds_the_least_peak(order, graph):
    """With less, there is no schedule."""
    found = least_peak(graph, order)
    assert found.decided
    assert checked(graph, found, found.needed, order).peak == found.needed
    assert oracles.least_compute(graph, found.needed, order) is not None
    assert oracles.least_compute(graph, found.needed - 1, order) is None
    if order == "free":
        assert found.needed == oracles.least_budget(graph)


def dozens(order: str, bits: int = 16) -> list[tuple[int, Graph, oracles.Sets]]:
    """100 graphs that the oracle decides in milliseconds; 11 or 12 nodes have to run in half."""
    found: list[tuple[int, Graph, oracles.Sets]] = []
    seeds = count()
    while len(found) < 100:
        seed = next(seeds)
        graph = some_graph(seed, fewest=5 if seed % 2 else 11)
        sets = oracles.Sets(graph, order)
        if sets.bits <= bits and len(sets.nodes) >= (11 if len(found) < 50 else 5):
            found.append((seed, graph, sets))
    return found


def test_the_100_graphs_have_all_there_is():
    """No feature is rare."""
    found = Counter()
    for _, graph, sets in dozens("free"):
        nodes = sets.nodes
        found["large"] += len(nodes) in (11, 12)
        found["several"] += any(len(node.outputs) > 1 for node in nodes)
        found["views"] += any(out.view_of for node in nodes for out in node.outputs)
        found["workspace"] += any(node.workspace for node in nodes)
        found["freeable"] += any(graph.layout.freeable)
        found["once"] += not all(node.recomputable for node in nodes)
        assert len(nodes) <= 12
    assert found["large"] >= 50
    assert len(found) == 6
    assert min(found.values()) >= 15, found


@each_order
def test_100_graphs_are_decided(order):
    """As the oracle decides them: just below the least budget, there, and with more.

    By the search itself, and by the exact method that uses it: never `unknown`.
    """
    recomputes = 0
    for seed, graph, sets in dozens(order):
        peak = least_peak(graph, order)
        assert checked(graph, peak, peak.needed, order).peak == peak.needed
        more = random.Random(seed).randint(peak.needed, in_order(graph).peak)
        for budget in {peak.needed - 1, peak.needed, more}:
            truth = sets.least_compute(budget)
            assert (truth is None) == (budget < peak.needed), seed
            found = least_compute(graph, budget, order)
            assert found.decided
            assert found.bound == truth, seed
            plan = solve(graph, budget, "ilp", order=order)
            assert plan.status == ("infeasible" if truth is None else "optimal"), seed
            assert plan.compute == truth
            if truth is None:
                assert budget < found.needed <= plan.shortfall.needed == peak.needed
            else:
                assert checked(graph, found, budget, order).compute == truth
                recomputes += plan.overhead > 0
    assert recomputes > 30


@slow
@given(graph=SMALL)
def test_needs_lead_to_the_least_budget(graph):
    """Going up from one answer to the next leads to the oracle's least budget, never past it."""
    truth, budget = oracles.least_budget(graph), 0
    for _ in range(200):
        found = least_compute(graph, budget, "free")
        if found.codes is not None:
            break
        assert found.needed is not None
        assert budget < found.needed <= truth
        budget = found.needed
    assert budget == truth


@each_order
def test_what_is_said_to_be_needed_is_needed(order):
    """Going up from one answer to the next leads to the least peak, never past it."""
    for seed in range(60):
        graph = some_graph(seed, fewest=12)
        truth, budget, steps = least_peak(graph, order).needed, 0, 0
        while (found := least_compute(graph, budget, order)).codes is None:
            assert budget < found.needed <= truth
            assert found.node is None or found.node in graph.layout.node_names
            budget, steps = found.needed, steps + 1
        assert budget == truth
        assert steps > 0


@each_order
def test_compute_falls_with_the_budget(order):
    """Down to every needed node once, at the peak of the program as it is."""
    for seed in range(20):
        graph = some_graph(seed, fewest=12)
        last, needed = float("inf"), graph.layout.needed
        once = sum(node.compute for node, is_needed in zip(graph.nodes, needed) if is_needed)
        for budget in range(least_peak(graph, order).needed, in_order(graph).peak + 1):
            found = least_compute(graph, budget, order)
            assert checked(graph, found, budget, order).compute == found.bound
            assert once <= found.bound <= last
            last = found.bound
        assert last == once


def test_the_given_order_is_one_of_all():
    """It takes no less compute and no less memory than any order, and at times more."""
    more = 0
    for seed in range(60):
        graph = some_graph(seed, fewest=12)
        free, fixed = least_peak(graph, "free").needed, least_peak(graph, "fixed").needed
        assert free <= fixed
        bounds = [least_compute(graph, fixed, order).bound for order in ORDERS]
        assert bounds[0] <= bounds[1]
        more += free < fixed or bounds[0] < bounds[1]
    assert more > 5


def test_names_and_numbers_do_not_matter():
    """Another numbering of the same graph has the same least compute and peak, in any order."""
    for seed in range(60):
        graph = some_graph(seed, fewest=12)
        other = relabelled(graph, random.Random(seed))
        needed = least_peak(graph, "free").needed
        assert least_peak(other, "free").needed == needed
        for budget in (needed - 1, needed, needed + 3):
            one, two = (least_compute(each, budget, "free") for each in (graph, other))
            assert (one.bound, one.needed) == (two.bound, two.needed)


@each_order
def test_what_shares_a_storage_may_come_later(order):
    """`w` is a view of `a`, but what keeps `a` for `w` may be freed between.

    At the end `a` is live, so to keep `w` for `c` seems to take nothing; but
    while `n0` runs again for `a` and `b`, there is room only for `c`.
    """
    nodes = [
        Node("n0", (), (Tensor("a", 3), Tensor("b", 1)), 1),
        Node("n1", ("a",), (Tensor("w", 0, "a"),), 1, workspace=3),
        Node("n2", ("w",), (Tensor("c", 2),), 1),
    ]
    graph = Graph(nodes, outputs=("a", "b", "c"))
    assert least_peak(graph, order).needed == 6
    assert least_compute(graph, 6, order).bound == 4
    assert least_compute(graph, 7, order).bound == 3


@each_order
def test_a_node_that_is_not_asked_for_again_still_runs_in_its_turn(order):
    """In the given order, `big` has to run before `late`, which needs room and only reads `x`."""
    nodes = [
        Node("x", (), (Tensor("x", 1),), 1),
        Node("big", ("x",), (Tensor("big", 5),), 3),
        Node("late", ("x",), (Tensor("late", 1),), 1, workspace=5),
    ]
    graph = Graph(nodes)
    assert least_peak(graph, order).needed == 7
    assert least_compute(graph, 7, order).bound == {"free": 5, "fixed": 8}[order]


@each_order
def test_a_schedule_that_is_known_ends_the_search(order):
    """None takes less than the optimum, and that is all that is said; one takes less than more."""
    for seed in range(60):
        graph = some_graph(seed, fewest=12)
        budget = least_peak(graph, order).needed
        best = least_compute(graph, budget, order).bound
        for below in (best, best - 0.25):
            found = least_compute(graph, budget, order, below=below)
            assert (found.codes, found.decided, found.needed) == (None, True, None)
            assert below <= found.bound <= best
        found = least_compute(graph, budget, order, below=best + 0.25)
        assert verify(graph, found.codes, budget).compute == found.bound == best
        found = least_compute(graph, budget - 1, order, below=best)
        assert found.decided
        assert found.codes is None
        assert found.bound is None or found.bound >= best


def test_sums_of_costs_are_exact():
    """Three tenths are more than 0.3: their sum isn't rounded. Neither are large integers."""
    graph = Graph([Node(name, (), (Tensor(name, 1),), 0.1) for name in "abc"])
    assert least_compute(graph, 3, "free", below=0.3).codes is None
    found = least_compute(graph, 3, "free", below=0.1 + 0.1 + 0.1)
    assert verify(graph, found.codes).compute == pytest.approx(0.3)
    assert found.bound <= sum(map(Fraction, [0.1] * 3))
    costs = {"a": 2**60, "b": 1, "c": 2**59 + 1}
    graph = Graph([Node(name, (), (Tensor(name, 1),), cost) for name, cost in costs.items()])
    assert least_compute(graph, 3, "free").bound == 2**60 + 2**59 + 2
    graph = Graph([Node("least", (), (Tensor("least", 1),), 5e-324)])
    assert least_compute(graph, 1, "free").bound == 5e-324


@each_order
def test_giving_up_is_honest(order):
    """Whenever it stops, what it says holds: bounds from below, and nothing decided."""
    gave_up = 0
    for seed in range(40):
        graph = some_graph(seed, fewest=12)
        peak = least_peak(graph, order)
        best = least_compute(graph, peak.needed, order)
        for most in (0, 1, 2, 5, 10, 20):
            found = least_compute(graph, peak.needed, order, deadline=Deadline(work=most))
            assert found.bound <= best.bound
            assert found.decided == (found.codes is not None)
            gave_up += not found.decided
            found = least_peak(graph, order, deadline=Deadline(work=most))
            assert found.needed <= peak.needed
            assert found.decided == (found.codes is not None)
    assert gave_up > 100


def test_it_stops_when_it_is_told_to():
    """Long before it would give up, and with a bound."""
    chain = example("chain", layers=12)
    for deadline in (Deadline(work=10), Deadline(work=10**6).unless(lambda: True)):
        found = least_compute(chain, 5, "free", deadline=deadline)
        assert found.codes is None
        assert not found.decided
    graph = example("resnet", blocks=4)
    budget, deadline = in_order(graph).peak * 2 // 3, Deadline(work=10**9).unless(lambda: True)
    found = least_compute(graph, budget, "free", deadline=deadline)
    assert not found.decided
    assert found.codes is None
    assert found.bound > graph.compute
    found = least_peak(graph, "free", deadline=deadline)
    assert not found.decided
    assert found.codes is None
    assert found.needed > 0


@each_order
def test_published_chains(order):
    """L = 8: 45, 26, 22, 21, 20, 19, 18, 17 for budgets 3 … 10."""
    graph = example("chain", layers=8)
    assert least_peak(graph, order).needed == 3
    for budget, want in zip(range(3, 11), (45, 26, 22, 21, 20, 19, 18, 17)):
        found = least_compute(graph, budget, order)
        assert checked(graph, found, budget, order).compute == found.bound == want


@each_order
def test_more_tensors_than_a_machine_word_has_bits(order):
    """No limit but time: where there is room, the search goes straight to the start."""
    graph = example("diamonds", count=10, width=12)
    assert len(graph.layout.tensor_names) > 128
    found = least_compute(graph, in_order(graph).peak, order)
    assert verify(graph, found.codes).compute == graph.compute
    assert least_compute(graph, 1, order).needed > 1


@each_order
def test_graphs_with_nothing_to_run(order):
    """No node, or none that an output needs: only inputs have to fit."""
    for nodes in ([], [Node("n", ("x",), (Tensor("n", 5),), 1)]):
        graph = Graph(nodes, [Input("x", 3, True), Input("y", 2)], outputs=("x",))
        assert least_peak(graph, order).needed == 5
        assert least_compute(graph, 5, order).bound == 0
        found = least_compute(graph, 4, order)
        assert (found.codes, found.decided, found.needed, found.node) == (None, True, 5, None)
