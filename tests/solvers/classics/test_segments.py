"""Segments of the forward pass: how they are laid out, and who chooses them."""

from __future__ import annotations

import math

import networkx as nx
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from schedule import SOLVERS, Compute, GraphBuilder, example, gradient, solve, verify
from schedule.errors import NotApplicable
from schedule.memory import keeps_order
from schedule.solvers.classics.articulation import Articulation, separators
from schedule.solvers.classics.chen_greedy import ChenGreedy, close_when_full
from schedule.solvers.classics.segments import Forward
from tests.enough import enough, reached
from tests.strategies import graphs

QUICK = settings(deadline=None, max_examples=40)
FAMILY = ["chen_greedy", "articulation", "lower_sets"]


@st.composite
def networks(draw, blocks=4):
    """A training graph of blocks in a row: branches, skips, views, statistics, randomness."""
    g = GraphBuilder()
    sizes, costs = st.integers(0, 9), st.integers(0, 9)
    w = g.input("w", memory=draw(sizes))
    last = g.node("start", [g.input("x", 1, freeable=draw(st.booleans())), w], memory=1)
    for at in range(draw(st.integers(1, blocks))):
        reads = [last]
        for branch in range(draw(st.integers(1, 3))):
            name, kind = f"b{at}.{branch}", draw(st.sampled_from(["", "several", "view", "once"]))
            memory = draw(st.lists(sizes, min_size=2, max_size=2)) if kind == "several" else [3]
            free = {"compute": draw(costs), "workspace": draw(sizes), "memory": memory}
            made = g.node(name, [last, w], recomputable=kind != "once", **free)[0]
            reads.append(g.view(f"{name}.v", made) if kind == "view" else made)
        reads = reads[draw(st.integers(0, 1)) :]
        last = g.node(f"end{at}", reads, memory=draw(sizes), compute=draw(costs))
    return gradient(g.build(), wrt="w")


def run_counts(plan):
    """How often each node runs, by name."""
    ran = [step.node for step in plan.steps if isinstance(step, Compute)]
    return {name: ran.count(name) for name in ran}


def check_runs(graph, plan):
    """Backward nodes and those that must not run twice do not; no other runs more than twice."""
    boundary = graph.layout.boundary
    counts = run_counts(plan)
    for at, node in enumerate(graph.nodes):
        most = 2 if node.recomputable and at < boundary else 1
        assert counts.get(node.name, 0) <= most


@pytest.mark.parametrize("order", ["free", "fixed"])
@pytest.mark.parametrize("name", FAMILY)
@enough(0.21)
@QUICK
@given(graph=networks(), share=st.integers(40, 100))
def test_each_forward_node_runs_at_most_twice(name, order, graph, share):
    """With and without a budget, in both orders; and the plan is valid."""
    assume(SOLVERS[name].supports(graph) is None)
    budget = solve(graph, solver="store_all").peak * share // 100
    for plan in (solve(graph, solver=name, order=order), solve(graph, budget, name, order=order)):
        if plan.schedule is not None:
            reached()
            check_runs(graph, plan)
            trace = verify(graph, plan.schedule)
            assert order == "free" or keeps_order(trace)


@pytest.mark.parametrize("name", ["chen_greedy", "lower_sets"])
@enough(0.07)
@QUICK
@given(graph=graphs(min_nodes=2, max_nodes=12), share=st.integers(30, 110))
def test_no_more_memory_than_keeping_everything(name, graph, share):
    """Any graph, under any budget: a peak of at most store_all's, or one that fits."""
    assume(SOLVERS[name].supports(graph) is None)
    keep = solve(graph, solver="store_all")
    budget = keep.peak * share // 100
    plan = solve(graph, budget, name)
    if plan.schedule is not None:
        reached()
        assert plan.peak <= budget
        check_runs(graph, plan)
    elif plan.status == "unknown":
        assert plan.shortfall.least_peak <= keep.peak


@enough(0.09)
@QUICK
@given(graph=networks(), share=st.integers(40, 80))
def test_articulation_takes_no_more_memory_than_keeping_everything(graph, share):
    """The same where there is a place to cut at."""
    assume(SOLVERS["articulation"].supports(graph) is None)
    keep = solve(graph, solver="store_all")
    plan = solve(graph, keep.peak * share // 100, "articulation")
    if plan.status == "unknown":
        reached()
        assert plan.shortfall.least_peak <= keep.peak


@enough(0.05)
@QUICK
@given(st.one_of(networks(), graphs(min_nodes=2, max_nodes=12)), st.booleans(), st.data())
def test_what_crosses_is_kept_and_the_last_segment_stays(graph, whole, data):
    """Any segments: a second run is of an earlier one, and for a result that none later reads.

    Where nodes are kept whole, none of its results is read later, nor a view of one.
    """
    assume(graph.layout.backward.any())
    forward, layout = Forward(graph), graph.layout
    label = []
    for at in range(len(forward.nodes)):
        before = [label[u] for u, v in forward.edges.T.tolist() if v == at]
        label.append(data.draw(st.integers(max(before, default=0), 4)))
    trace = forward.plan(np.array(label, np.int64), whole=whole)
    verify(graph, trace.codes)
    home = dict(zip(forward.nodes.tolist(), label))
    kept = read_later(layout, home)
    kept |= {int(layout.storage[t]) for t in kept} if whole else set()
    for v in np.flatnonzero(trace.runs > 1).tolist():
        reached()
        assert trace.runs[v] == 2
        assert layout.recomputable[v]
        assert home[v] < max(label)
        own = set(layout.outputs_of[v])
        assert not own & kept if whole else not own <= kept


def read_later(layout, home):
    """Tensors that a later segment than their own reads, by the segment of each node."""
    made = ((t, home[v]) for t, v in enumerate(layout.producer.tolist()) if v in home)
    return {t for t, own in made if any(home.get(v, -1) > own for v in layout.readers_of[t])}


@pytest.mark.parametrize("layers", [16, 64, 256, 1024])
@pytest.mark.parametrize("solver", [ChenGreedy(), Articulation("sqrt"), Articulation("greedy")])
def test_root_memory_for_less_than_one_more_forward_pass(solver, layers):
    """On a training chain: about 2 √n tensors."""
    plan = solve(example("chain", layers=layers), solver=solver)
    assert plan.peak <= 2.5 * math.sqrt(layers) + 4
    assert 2 * layers + 1 < plan.compute < 3 * layers + 1


@pytest.mark.parametrize("layers", [9, 25, 64, 100])
def test_the_search_finds_the_best_limit_on_chains(layers):
    """Against every limit in turn: the least peak of all."""
    graph = example("chain", layers=layers)
    every = [solve(graph, solver=ChenGreedy(limit)).peak for limit in range(layers + 2)]
    assert solve(graph, solver="chen_greedy").peak == min(every)


@QUICK
@given(st.data(), st.integers(0, 40))
def test_segments_close_as_in_the_published_algorithm(data, limit):
    """Against Algorithm 3 word for word, on any sizes and any candidates."""
    sizes = data.draw(st.lists(st.integers(0, 9), min_size=1, max_size=12))
    places = sorted(data.draw(st.sets(st.integers(0, len(sizes) - 1))))
    g = GraphBuilder()
    last = ()
    for v, size in enumerate(sizes):
        last = g.node(str(v), last, memory=size)
    g.node("back", last, backward=True)
    forward = Forward(g.build())
    held, closed = 0, []
    for v, size in enumerate(sizes[:-1]):
        held += size
        if v in places and held > limit:
            closed.append(v)
            held = 0
    starts = close_when_full(forward, np.array(places, np.int64), limit)
    assert starts.tolist() == [v + 1 for v in closed]


@QUICK
@given(st.one_of(networks(), graphs(min_nodes=2, max_nodes=12)))
def test_separators_are_where_the_graph_falls_apart(graph):
    """Against removing every node in turn: no piece holds both a reader and a read one."""
    forward = Forward(graph)
    directed = nx.DiGraph(forward.edges.T.tolist())
    expected = []
    for v in sorted(directed):
        rest = directed.to_undirected()
        rest.remove_node(v)
        before, after = set(directed.predecessors(v)), set(directed.successors(v))
        pieces = nx.connected_components(rest)
        if before and after and not any(before & piece and after & piece for piece in pieces):
            expected.append(v)
    assert separators(forward).tolist() == expected


@QUICK
@given(networks())
def test_only_a_separator_crosses_where_it_cuts(graph):
    """In blocks in a row, what later nodes read of earlier ones is the separator's own result."""
    forward, layout = Forward(graph), graph.layout
    for place in separators(forward).tolist():
        node, later = forward.nodes[place], set(forward.nodes[place + 1 :].tolist())
        read = [t for v in later for t in layout.reads_of[v] if layout.producer[t] >= 0]
        assert {int(layout.producer[t]) for t in read} - later <= {int(node)}


def test_a_mask_that_all_layers_read_leaves_no_place_to_cut_at():
    """Refused with the reason; so are graphs without a backward pass."""
    g = GraphBuilder()
    h = mask = g.node("mask", g.input("x", 1), memory=1)
    for at in range(6):
        h = g.node(f"h{at}", [h, mask], memory=1)
    graph = gradient(g.build(), wrt="x")
    with pytest.raises(NotApplicable, match="no articulation point"):
        solve(graph, solver="articulation")
    for name in FAMILY:
        with pytest.raises(NotApplicable, match="no backward nodes"):
            solve(example("diamonds"), solver=name)


@pytest.mark.parametrize("share", [75, 90])
def test_under_a_budget_the_cheapest_that_fits_counts(share):
    """Both kinds of cuts together are as good as the better one alone."""
    graph = example("resnet")
    budget = solve(graph, solver="store_all").peak * share // 100
    plans = [solve(graph, budget, Articulation(cuts)) for cuts in ("sqrt", "greedy", None)]
    found = [plan.compute for plan in plans if plan.schedule is not None]
    assert found, "some plan fits"
    assert plans[2].compute == min(found)
