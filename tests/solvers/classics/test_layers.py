"""Chains of layers: where they are found in a graph."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from schedule import Graph, Node, Tensor, example, solve
from schedule.errors import NotApplicable
from schedule.graph import Input
from schedule.solvers.classics.chain import Chain
from schedule.solvers.classics.layers.detection import find_layers
from schedule.solvers.classics.revolve import Revolve
from tests.enough import enough, reached

slow = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])


def node(name, reads, size, cost=1, **more):
    """A node with one output of its own name."""
    return Node(name, tuple(reads), (Tensor(name, size),), cost, **more)


@st.composite
def training(draw):
    """A training graph of random blocks with whatever a graph can have.

    Views, several results, workspace, inputs of both kinds, nodes that must not run
    twice, outputs anywhere, results read far away, on either side.
    """
    rng = random.Random(draw(st.integers(0, 10**9)))
    inputs = [
        Input(f"i{k}", rng.randint(0, 5), rng.random() < 0.5) for k in range(rng.randint(1, 3))
    ]
    nodes: list[Node] = []
    made, home, block = [], {}, "i0"
    for j in range(rng.randint(2, 6)):
        own = [block]
        for k in range(rng.randint(1, 3)):
            reads = [own[-1], rng.choice(own)]
            reads += rng.sample(made, k=bool(made) and rng.random() < 0.08)
            reads += [rng.choice(inputs).name] * (rng.random() < 0.2)
            nodes.append(_anything(rng, f"f{j}.{k}", reads))
            own += [out.name for out in nodes[-1].outputs]
        made += own[1:]
        home[j] = own
        block = rng.choice(own[1:])
    incoming = []
    for j in sorted(home, reverse=True):
        for k in range(rng.randint(0 if incoming else 1, 2)):
            reads = incoming[-1:] + [t for t in home[j] if rng.random() < 0.4]
            reads += [rng.choice(made)] * (rng.random() < 0.05)
            reads += rng.sample(incoming, k=bool(incoming) and rng.random() < 0.2)
            nodes.append(_anything(rng, f"b{j}.{k}", reads, not incoming or rng.random() < 0.9))
            incoming += [out.name for out in nodes[-1].outputs]
    every = [out.name for item in nodes for out in item.outputs]
    wanted = None if rng.random() < 0.5 else [*rng.sample(every, 3), nodes[-1].outputs[0].name]
    return Graph(nodes, inputs, None if wanted is None else dict.fromkeys(wanted))


def _anything(rng, name, reads, backward=None):
    reads = list(dict.fromkeys(reads))
    outputs = []
    for k in range(rng.choice([1, 1, 1, 2])):
        view_of = rng.choice(reads) if reads and rng.random() < 0.15 else None
        size = rng.choice([0, 1, 2, 3, 5, 8]) if view_of is None else 0
        outputs.append(Tensor(f"{name}.{k}", size, view_of))
    space, again = rng.choice([0, 0, 0, 3]), rng.random() < 0.88
    cost = rng.randint(0, 5)
    return Node(name, tuple(reads), tuple(outputs), cost, space, again, bool(backward))


@pytest.mark.parametrize("order", ["free", "fixed"])
@enough(0.31)
@slow
@given(graph=training())
def test_layers_are_what_they_are_said_to_be(order, graph):
    """Each needed node in one layer; every read of another layer's results is allowed for."""
    assume(Chain().supports(graph) is None)
    chain = find_layers(graph, order)
    assume(chain is not None)
    reached()
    layout, producer = graph.layout, graph.layout.producer
    ahead = [v for layer in chain.layers for v in layer.forward]
    back = [v for layer in reversed(chain.layers) for v in layer.backward]
    assert [*ahead, *sorted(back)] == np.flatnonzero(layout.needed).tolist()
    assert order == "free" or back == sorted(back)
    done = set(ahead)
    for j, layer in enumerate(chain.layers):
        before = chain.layers[j - 1].output if j else []
        assert len({int(layout.storage[t]) for t in layer.output}) <= 1
        inside = {t for v in layer.forward for t in layout.outputs_of[v]}
        allowed = inside.union(before)
        for v in (*layer.forward, *layer.backward):
            for t in layout.reads_of[v]:
                made_ahead = 0 <= producer[t] < layout.boundary
                assert not made_ahead or chain.kept[t] or t in allowed
    for v in back:
        assert {u for t in layout.reads_of[v] if (u := int(producer[t])) >= 0} <= done
        done.add(v)


def layers_of(graph, order="free"):
    """The names of each layer's nodes, ahead and back."""
    names = graph.layout.node_names
    chain = find_layers(graph, order)
    return [
        (" ".join(names[v] for v in layer.forward), " ".join(names[v] for v in layer.backward))
        for layer in chain.layers
    ]


def four(**more):
    """Four nodes ahead, and four back that read their node's input and result."""
    nodes = [
        node(f"a{i}", [f"a{i - 1}"] if i else [], 10, **more.get(f"a{i}", {})) for i in range(4)
    ]
    for i in reversed(range(4)):
        reads = [f"a{i - 1}"] * (i > 0) + [f"a{i}"] + [f"b{i + 1}"] * (i < 3)
        nodes.append(node(f"b{i}", reads, 10, backward=True))
    return Graph(nodes)


def test_a_chain_has_a_layer_for_each_node():
    """What reads only the first result has no layer's input to read: it goes with the second."""
    assert layers_of(four()) == [("a0", ""), ("a1", "b1 b0"), ("a2", "b2"), ("a3", "b3")]


def test_there_is_no_cut_where_the_result_cannot_be_made_again():
    """A node that must not run twice has the next one in its layer."""
    graph = four(a1={"recomputable": False})
    assert layers_of(graph) == [("a0", ""), ("a1 a2", "b2 b1 b0"), ("a3", "b3")]


def test_what_small_tensors_cross_is_still_cut():
    """A mask that all layers read is kept; were it large, there would be no cut."""

    def masked(size):
        mask = node("mask", [], size)
        nodes = [node("a0", ["mask"], 1000)]
        nodes += [node(f"a{i}", [f"a{i - 1}", "mask"], 1000) for i in range(1, 4)]
        nodes += [
            node(f"b{i}", [f"a{i - 1}", "mask", f"b{i + 1}" if i < 3 else "a3"], 1, backward=True)
            for i in (3, 2, 1)
        ]
        return Graph([mask, *nodes])

    small = find_layers(masked(20), "free")
    assert [layer.kept for layer in small.layers] == [[0], [], [], []]
    assert len(layers_of(masked(2000))) == 2  # the mask alone, and what reads it


def test_layers_that_share_a_backward_node_are_one():
    """A backward node that reads inner results of two layers merges them and all between."""
    graph = four()
    at = [item.name for item in graph.nodes].index("b3") + 1
    odd = node("odd", ["a0", "b3"], 1, backward=True)
    last = node("late", ["a3", "odd"], 1, backward=True)
    nodes = [*graph.nodes[:at], odd, last, *graph.nodes[at:]]
    assert layers_of(Graph(nodes)) == [("a0", ""), ("a1 a2 a3", "b3 odd late b2 b1 b0")]


def test_a_fixed_order_may_merge_what_a_free_one_sorts():
    """A gradient that the program makes late stands between those of earlier layers."""
    nodes = [node(f"a{i}", [f"a{i - 1}"] if i else [], 5) for i in range(4)]
    nodes += [
        node("b3", ["a2", "a3"], 5, backward=True),
        node("b2", ["a1", "b3"], 5, backward=True),
        node("w3", ["a2", "a3"], 1, backward=True),
        node("b1", ["a0", "b2"], 5, backward=True),
    ]
    graph = Graph(nodes)
    assert layers_of(graph) == [("a0", ""), ("a1", "b1"), ("a2", "b2"), ("a3", "b3 w3")]
    assert layers_of(graph, "fixed") == [("a0", ""), ("a1", "b1"), ("a2 a3", "b3 b2 w3")]
    for order in ("free", "fixed"):
        assert solve(graph, "95%", Chain(), order=order).schedule is not None


@pytest.mark.parametrize(
    ("graph", "reason"),
    [
        (example("diamonds"), "no backward nodes"),
        (Graph([node("a", [], 1), node("b", ["a"], 1, backward=True)]), "one layer"),
        (four(**{f"a{i}": {"recomputable": False} for i in range(4)}), "one layer"),
    ],
)
def test_what_is_no_chain_of_layers_is_refused(graph, reason):
    """With the reason, by both solvers."""
    for solver in (Chain(), Revolve()):
        with pytest.raises(NotApplicable, match=reason):
            solve(graph, solver=solver)
