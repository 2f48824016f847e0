"""PyTorch's activation memory budget: the knapsack, the plans, and what they really take."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schedule import Graph, Node, Tensor, example, solve, verify
from schedule.errors import BadOption, NotApplicable
from schedule.lowering import needed_in_order
from schedule.memory import keeps_order
from schedule.solvers.classics import knapsack
from schedule.solvers.classics.knapsack import Densest, Knapsack, Table
from tests.strategies import graphs

QUICK = settings(deadline=None, max_examples=40)
METHODS = ["dp", "greedy"]
ITEMS = st.lists(st.tuples(st.integers(1, 60), st.integers(0, 20)), min_size=1, max_size=8)
TRAINED = graphs(min_nodes=3, max_nodes=12).filter(lambda graph: graph.layout.backward.any())


def most_value(sizes, values, capacity):
    """Over all subsets that fit."""
    picks = np.array(list(product([0, 1], repeat=len(sizes))))
    return (picks @ values)[picks @ sizes <= capacity].max()


@QUICK
@given(ITEMS, st.integers(0, 200))
def test_the_table_picks_the_most_value_that_fits(items, most):
    """Brute force, at every capacity up to the largest."""
    sizes, values = np.array(items).T
    table = Table(sizes, values.astype(float), most)
    for capacity in range(most + 1):
        picked = table.pick(capacity)
        assert picked @ sizes <= capacity
        assert picked @ values == most_value(sizes, values, capacity)


@QUICK
@given(ITEMS, st.integers(50, 400), st.integers(2, 9))
def test_coarse_units_round_to_the_safe_side(items, most, units):
    """The most value for sizes rounded up and capacities rounded down: it always fits."""
    sizes, values = np.array(items).T
    sizes = sizes | 1  # some divisor in common would make the units finer
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(knapsack, "_UNITS", (1, units))
        table = Table(sizes, values.astype(float), most)
    common = math.gcd(*sizes.tolist())
    unit = max(1, math.ceil(most // common / units))
    rounded = np.array([math.ceil(size / common / unit) for size in sizes.tolist()])
    for capacity in range(0, most + 1, 7):
        picked = table.pick(capacity)
        assert picked @ sizes <= capacity
        assert picked @ values == most_value(rounded, values, capacity // common // unit)


@QUICK
@given(ITEMS, st.integers(0, 200))
def test_the_densest_items_go_first(items, capacity):
    """Against the definition: in order of value by size, each that still fits."""
    sizes, values = np.array(items).T
    room, expected = capacity, set()
    for item in sorted(range(len(items)), key=lambda at: (-items[at][1] / items[at][0], -at)):
        if items[item][1] and items[item][0] <= room:
            expected.add(item)
            room -= items[item][0]
    assert set(np.flatnonzero(Densest(sizes, values.astype(float), 200).pick(capacity))) == expected


def droppable(graph):
    """Memory by storage of what forward nodes may drop: neither outputs nor made but once."""
    layout, found = graph.layout, {}
    for node in graph.nodes[: layout.boundary]:
        if node.recomputable and layout.needed[layout.node_id[node.name]]:
            found.update((layout.tensor_id[out.name], out.memory) for out in node.outputs)
    for node in graph.nodes:
        for out in node.outputs:
            number = layout.tensor_id[out.name]
            if not node.recomputable or layout.is_output[number]:
                found.pop(int(layout.storage[number]), None)
    return found


def saved_at_the_turn(trace):
    """Memory of droppable storages that are live when the whole forward pass has run once."""
    layout, memory = trace.graph.layout, droppable(trace.graph)
    forward = np.flatnonzero(layout.needed[: layout.boundary])
    ran = np.flatnonzero(trace.codes >= 0)
    assert (trace.codes[ran[: len(forward)]] == forward).all()
    end = ran[len(forward)] if len(ran) > len(forward) else len(trace.codes)
    live = np.unique(layout.storage[trace.live_before(int(end))])
    return sum(memory.get(storage, 0) for storage in live.tolist())


@QUICK
@given(TRAINED, st.fractions(0, 1), st.sampled_from(METHODS))
def test_forward_nodes_run_at_most_twice_and_what_is_saved_fits_the_share(graph, ratio, method):
    """Any graph: at most one more run each, none of the rest; no more saved than asked for."""
    layout = graph.layout
    trace = verify(graph, solve(graph, solver=Knapsack(ratio=ratio, method=method)).schedule)
    assert (trace.runs[layout.needed] >= 1).all()
    assert (trace.runs <= 2).all()
    assert (trace.runs[layout.boundary :] <= 1).all()
    assert (trace.runs[~layout.recomputable] <= 1).all()
    assert (trace.runs[~layout.needed] == 0).all()
    assert keeps_order(trace)
    everything = saved_at_the_turn(verify(graph, solve(graph, solver=Knapsack(ratio=1)).schedule))
    assert saved_at_the_turn(trace) <= ratio * everything


@QUICK
@given(TRAINED)
def test_ratio_one_is_the_program_and_a_share_runs_again_no_more_than_none(graph):
    """Nothing runs again at 1; at 0 everything does that does at any other ratio."""
    keep, program = solve(graph, solver=Knapsack(ratio=1)), needed_in_order(graph)
    assert (keep.peak, keep.compute) == (program.peak, program.compute)
    none = verify(graph, solve(graph, solver=Knapsack(ratio=0)).schedule)
    half = verify(graph, solve(graph, solver=Knapsack(ratio=0.5)).schedule)
    assert (half.runs <= none.runs).all()


def test_what_stays_anyway_is_not_made_again():
    """At ratio 0: an output of the graph, a mask that can't be made again, and views on both."""
    nodes = [
        Node("mask", (), (Tensor("mask", 4),), 5, recomputable=False),
        Node("seen", ("mask",), (Tensor("seen", 0, "mask"),), 1),
        Node("hidden", ("seen",), (Tensor("hidden", 4),), 5),
        Node("loss", ("hidden",), (Tensor("loss", 4),), 5),
        Node("flat", ("loss",), (Tensor("flat", 0, "loss"),), 1),
        Node("d_loss", ("flat", "seen"), (Tensor("d_loss", 4),), 5, backward=True),
        Node("end", ("d_loss", "hidden"), (Tensor("end", 4),), 5, backward=True),
    ]
    graph = Graph(nodes, outputs=["loss", "end"])
    trace = verify(graph, solve(graph, solver=Knapsack(ratio=0)).schedule)
    assert trace.runs.tolist() == [1, 1, 2, 1, 1, 1, 1]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("name", "options"), [("chain", {"layers": 40}), ("unet", {}), ("transformer", {})]
)
def test_half_the_activations_save_memory(name, options, method):
    """Lower peak than keeping everything, for less than one more forward pass."""
    graph = example(name, **options)
    keep = solve(graph, solver="store_all")
    plan = solve(graph, solver=Knapsack(method=method))
    assert plan.peak < keep.peak
    forward = sum(node.compute for node in graph.nodes if not node.backward)
    assert keep.compute < plan.compute < keep.compute + forward


def test_the_peak_does_not_fall_with_the_ratio():
    """A chain, by hand: of 17 tensors the last are saved, the others made again in one go.

    So 12, 8 or 4 saved ones stand beside a gradient at the turn, and 5, 9 or 13 others
    beside two gradients later; at ratio 0 all 17 beside the first gradient.
    """
    graph = example("chain", layers=16)
    peaks = [solve(graph, solver=Knapsack(ratio=at / 4)).peak for at in (4, 3, 2, 1, 0)]
    assert peaks == [18, 13, 11, 15, 18]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("budget", ["82%", "87%", "90%"])
def test_under_a_budget_no_ratio_is_better(budget, method):
    """Against eighths, tried one by one: none that fits takes less compute."""
    graph = example("unet")
    plan = solve(graph, budget, Knapsack(method=method))
    every = [solve(graph, solver=Knapsack(ratio=at / 8, method=method)) for at in range(9)]
    fitting = [one.compute for one in every if one.peak <= plan.budget]
    assert fitting
    assert plan.peak <= plan.budget
    assert needed_in_order(graph).compute < plan.compute <= min(fitting)


def test_where_no_ratio_fits_it_says_the_least_peak():
    """Beyond reach: unknown, with a peak below the program's."""
    graph = example("chain", layers=40)
    plan = solve(graph, 5, "knapsack")
    assert plan.status == "unknown"
    assert 5 < plan.shortfall.least_peak < needed_in_order(graph).peak


def test_options_out_of_range_are_refused():
    """With what there is."""
    with pytest.raises(BadOption, match=r"the ratio is 1\.5; it has to be from 0 to 1"):
        Knapsack(ratio=1.5)
    with pytest.raises(BadOption, match="the ratio is nan"):
        Knapsack(ratio=math.nan)
    with pytest.raises(BadOption, match="method is 'ilp'; it is one of dp, greedy"):
        Knapsack(method="ilp")
    with pytest.raises(NotApplicable, match="no backward nodes"):
        solve(example("diamonds"), solver="knapsack")
