"""The best persistent plan for a chain of layers."""

from __future__ import annotations

import random
from itertools import product

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from schedule import Compute, Graph, Node, Tensor, example, solve, verify
from schedule.graph import Input
from schedule.lowering import in_order, needed_in_order, replayed
from schedule.solvers.classics.chain import Chain
from schedule.solvers.classics.layers.detection import find_layers
from schedule.solvers.classics.layers.measuring import Demands
from schedule.solvers.classics.layers.runs import layer_runs
from schedule.solvers.classics.layers.table import LeastCompute, LeastMemory
from schedule.solvers.classics.revolve import Revolve, least_steps
from schedule.solvers.contract import Deadline
from tests.enough import enough, reached
from tests.solvers.classics.test_layers import node, slow, training

#: More slots than any budget here has units: nothing is rounded.
FINE = 10**6


def blocks(seed, length):
    """A random chain of blocks, and for each what its backward node reads of the forward pass.

    A block is one node, or two of which the second reads the block's input (or, in the
    first block, a second result) again, so that there is no cut between them. Its backward
    node reads the block's input or inner result, perhaps its output, and may leave a
    parameter's gradient.
    """
    rng = random.Random(seed)
    nodes, reads_back = [], []
    before = "x"
    for i in range(length):
        inner, beside = [before], before if i else "e0"
        if rng.random() < 0.5:
            outputs = [Tensor(name, rng.randint(1, 9)) for name in (f"f{i}", beside)[: 2 - (i > 0)]]
            # What has to stay for a rerun stays until its backward node: here that reads it.
            again = i == 0 or rng.random() < 0.8
            cost, space = rng.randint(1, 9), rng.choice([0, 0, 20])
            nodes.append(Node(f"f{i}", (before,), tuple(outputs), cost, space, again))
            inner = rng.choice([[f"f{i}"], [before, f"f{i}"]])
            ahead = [f"f{i}", beside]
        else:
            ahead = [before]
        nodes.append(node(f"a{i}", ahead, rng.randint(1, 9), rng.randint(1, 9)))
        output = [f"a{i}"] if i == length - 1 or (i and rng.random() < 0.5) else []
        reads_back.append([*inner, *output])
        before = f"a{i}"
    for i in reversed(range(length)):
        reads = [*reads_back[i], f"b{i + 1}"] if i < length - 1 else reads_back[i]
        outputs = [Tensor(name, rng.randint(1, 9)) for name in (f"b{i}", f"w{i}")]
        outputs = outputs[: rng.choice([1, 1, 2])]
        space = rng.choice([0, 0, 4])
        nodes.append(Node(f"b{i}", tuple(reads), tuple(outputs), 1, space, backward=True))
    return Graph(nodes, [Input("x", rng.randint(1, 9), rng.random() < 0.5)]), reads_back


def persistent_plans(graph, backs):
    """Every persistent plan for a chain of blocks, as numbers of nodes: by recursion."""
    names = {item.name for item in graph.nodes}
    once = {item.name for item in graph.nodes if not item.recomputable}
    last = len(backs) - 1

    def ahead(i):
        return [name for name in (f"f{i}", f"a{i}") if name in names]

    def finish(i):
        if i == last or f"a{i}" in backs[i]:
            return ahead(i)
        return [name for name in (f"f{i}",) if name in backs[i]]

    def plans(s, t):
        if s == t:
            yield [*finish(s), f"b{s}"]
            return
        for inner in plans(s + 1, t):
            yield [*ahead(s), *inner, f"b{s}"]
        for split in range(s + 1, t + 1):
            swept = [name for i in range(s, split) for name in ahead(i)]
            for inner, rest in product(list(plans(split, t)), list(plans(s, split - 1))):
                yield [*swept, *inner, *rest]

    number = graph.layout.node_id
    for plan in plans(0, last):
        seen: set[str] = set()
        # What must not run twice is left out where it would, and its result stays.
        runs = [name for name in plan if not (name in once & seen or seen.add(name))]
        yield np.array([number[name] for name in runs])


@pytest.mark.parametrize("length", [2, 3, 4, 5])
def test_no_persistent_plan_is_better(length):
    """Against every plan of the class, each replayed, at every budget at which one fits."""
    for seed in range(24 if length < 5 else 6):
        graph, reads_back = blocks(seed, length)
        found = {}
        for plan in persistent_plans(graph, reads_back):
            trace = replayed(graph, plan)
            found[trace.peak] = min(trace.compute, found.get(trace.peak, trace.compute))
        for order in ("free", "fixed"):
            chain = find_layers(graph, order)
            assert len(chain.layers) == length
            demands = Demands(chain)
            assert LeastMemory(demands).budget == min(found)
            for budget in range(min(found), in_order(graph).peak + 1):
                best = min(compute for peak, compute in found.items() if peak <= budget)
                table = LeastCompute(demands, budget, 500, Deadline())
                trace = replayed(graph, layer_runs(chain, table.choose, table.budget))
                assert (trace.peak <= budget, trace.compute) == (True, best)


def planned(graph, order="free", budget=None, slots=FINE):
    """The plan of the dynamic program as a replay; without a budget, that of least memory."""
    chain = find_layers(graph, order)
    demands = Demands(chain)
    if budget is None:
        return replayed(graph, layer_runs(chain, LeastMemory(demands).choose, 0))
    table = LeastCompute(demands, budget, slots, Deadline())
    return replayed(graph, layer_runs(chain, table.choose, table.budget)) if table.fits else None


def most_in_a_run(trace):
    """The most memory in use while a node runs: not at the start, which no plan can help."""
    return int(trace.during[trace.codes >= 0].max(initial=0))


@pytest.mark.parametrize("length", [1, 2, 5, 12, 20])
def test_uniform_chains_take_what_the_closed_form_says(length):
    """(L + 1) + T(L + 1, B − 2) for every budget B, and as much as `revolve`."""
    graph = example("chain", layers=length)
    for budget in range(3, length + 4):
        plan = solve(graph, budget, Chain())
        assert plan.compute == length + 1 + least_steps(length + 1, min(budget - 2, length + 1))
        assert plan.compute == solve(graph, budget, Revolve()).compute


def random_chain(seed, length):
    """One node ahead and one back for each layer; back, it reads the layer's input."""
    rng = random.Random(seed)
    nodes = []
    for i in range(length):
        reads = [f"a{i - 1}"] if i else []
        nodes.append(node(f"a{i}", reads, rng.randint(1, 9), rng.randint(1, 9)))
    for i in reversed(range(length)):
        reads = [f"a{i - 1}"] if i else ["a0"]
        reads.append(f"b{i + 1}" if i < length - 1 else f"a{i}")
        size, cost = rng.randint(1, 9), rng.randint(1, 9)
        nodes.append(node(f"b{i}", dict.fromkeys(reads), size, cost, backward=True))
    return Graph(nodes)


def test_on_heterogeneous_chains_the_best_plan_is_nearly_always_persistent():
    """Never below the optimum that `ilp` proves, equal to it in at least nine of ten cases."""
    decided = equal = 0
    for seed in range(30):
        graph = random_chain(seed, 4 + seed % 9)
        for share in (85, 70, 60):
            best = solve(graph, f"{share}%", "ilp", time_limit=20)
            if best.status != "optimal":
                continue
            plan = solve(graph, f"{share}%", Chain())
            assert plan.compute is None or plan.compute >= best.compute
            decided += 1
            equal += plan.compute == best.compute
    assert decided >= 60
    assert equal >= 0.9 * decided


def test_more_memory_never_costs_more():
    """Where nothing is rounded; and never more than `revolve`, which takes layers as equal."""
    for seed in range(6):
        graph, _ = blocks(seed, 8)
        before = None
        for budget in range(in_order(graph).peak // 2, in_order(graph).peak + 1, 3):
            plan = solve(graph, budget, Chain(slots=FINE))
            if plan.compute is None:
                assert before is None
                continue
            assert before is None or plan.compute <= before
            before = plan.compute
            equal = solve(graph, budget, Revolve())
            assert equal.compute is None or plan.compute <= equal.compute


@pytest.mark.parametrize("slots", [1, 3, 10, 100])
def test_rounding_to_slots_never_overruns_the_budget(slots):
    """Large sizes without a common unit: what fits in slots fits, at no less than exact compute."""
    rng = random.Random(slots)
    for seed in range(4):
        plain = random_chain(seed, 8)
        sizes = [rng.randint(10**5, 10**6) for _ in plain.nodes]
        graph = Graph(
            Node(item.name, item.inputs, (Tensor(item.name, size),), item.compute, backward=back)
            for item, size in zip(plain.nodes, sizes)
            for back in [item.backward]
        )
        for share in (60, 75, 90):
            budget = in_order(graph).peak * share // 100
            coarse = planned(graph, budget=budget, slots=slots)
            if coarse is not None:
                exact = planned(graph, budget=budget, slots=10**4)
                assert coarse.peak <= budget
                assert coarse.compute >= exact.compute
            plan = solve(graph, budget, Chain(slots=slots))
            assert (plan.compute is None) == (planned(graph).peak > budget)


@pytest.mark.parametrize("order", ["free", "fixed"])
@enough(0.3)
@slow
@given(graph=training(), share=st.integers(0, 100))
def test_on_any_graph_a_plan_takes_no_more_than_the_measures_say(order, graph, share):
    """Any graph of layers: within the budget wherever that is promised, exact or in three slots."""
    assume(Chain().supports(graph) is None)
    chain = find_layers(graph, order)
    assume(chain is not None)
    reached()
    least = LeastMemory(Demands(chain)).budget
    assert most_in_a_run(planned(graph, order)) <= least
    budget = least + (max(in_order(graph).peak - least, 0)) * share // 100
    exact = planned(graph, order, budget)
    assert exact is not None
    assert most_in_a_run(exact) <= budget
    coarse = planned(graph, order, budget, slots=3)
    if coarse is not None:
        assert most_in_a_run(coarse) <= budget
        assert coarse.compute >= exact.compute
    for solver in (Chain(), Revolve(), Revolve(checkpoints=2)):
        plan = solve(graph, max(budget, in_order(graph).start), solver, order=order)
        if plan.schedule is not None:
            verify(graph, plan.schedule, plan.budget)
    assert solve(graph, max(budget, in_order(graph).start), Chain(), order=order).schedule


def test_without_a_budget_everything_is_kept():
    """Each node once, in the graph's order."""
    graph = example("transformer")
    plan = solve(graph, solver=Chain())
    assert plan.overhead == 0
    assert plan.peak == needed_in_order(graph).peak


def test_what_must_not_run_twice_stays_for_the_rerun():
    """A dropout inside a layer runs once, and the layer still runs again without it."""
    nodes, before = [], "x"
    for i in range(6):
        nodes.append(node(f"h{i}", [before], 10, 5))
        nodes.append(node(f"m{i}", [f"h{i}"], 1, 1, recomputable=False))
        nodes.append(node(f"a{i}", [f"h{i}", f"m{i}", before], 10, 5))
        before = f"a{i}"
    for i in reversed(range(6)):
        reads = [f"h{i}", f"m{i}", f"a{i - 1}" if i else "x", f"b{i + 1}" if i < 5 else "a5"]
        nodes.append(node(f"b{i}", reads, 10, 5, backward=True))
    graph = Graph(nodes, [Input("x", 10)])
    plan = solve(graph, "60%", Chain())
    runs = [step.node for step in plan.steps if isinstance(step, Compute)]
    assert all(runs.count(f"m{i}") == 1 for i in range(6))
    assert any(runs.count(f"h{i}") > 1 for i in range(6))


def test_many_layers_are_merged_to_what_is_asked_for():
    """Still a chain, and still within the budget."""
    graph = example("chain", layers=60)
    assert len(find_layers(graph, "free", 10).layers) == 10
    coarse, exact = (solve(graph, 20, Chain(layers=layers)) for layers in (10, 100))
    assert exact.compute <= coarse.compute < 3 * 60


@pytest.mark.parametrize("name", ["mlp", "resnet", "transformer"])
def test_real_networks_take_less_than_with_equal_layers(name):
    """At 80 %: the plan fits, and takes less compute than `revolve`'s."""
    graph = example(name)
    plan, equal = (solve(graph, "80%", solver) for solver in (Chain(), Revolve()))
    assert 0 < plan.overhead < equal.overhead
