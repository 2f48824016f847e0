"""Training graphs: every gradient is there once, reads what it must, and no more."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import schedule
from schedule import GraphBuilder, gradient
from schedule.errors import BadOption
from tests.enough import enough, reached
from tests.strategies import graphs


def forward_chain(layers):
    g = GraphBuilder("chain")
    here = g.node("0", memory=1)
    for i in range(1, layers + 1):
        here = g.node(str(i), here, memory=1)
    return g.build()


def by_name(graph):
    return {node.name: node for node in graph.nodes}


@pytest.mark.parametrize("layers", [1, 2, 5, 12])
def test_a_chain_gives_the_literatures_training_chain(layers):
    """2L + 1 unit nodes 0 … 2L with exactly the edges i → i + 1 and i → 2L − i."""
    graph = gradient(forward_chain(layers), reads="inputs", compute=1, keep=())
    last = 2 * layers
    number = {node.name: at for at, node in enumerate(graph.nodes)}
    edges = {(number[u], number[v.name]) for v in graph.nodes for u in v.inputs}
    expected = {(i, i + 1) for i in range(last)} | {(i, last - i) for i in range(layers)}
    assert edges == expected
    assert [node.backward for node in graph.nodes] == [at > layers for at in range(last + 1)]
    assert {(n.compute, n.outputs[0].memory, n.workspace) for n in graph.nodes} == {(1, 1, 0)}
    assert graph.outputs == (graph.nodes[-1].name,)
    assert graph == gradient(forward_chain(layers), reads="inputs", compute=1, keep=())


def reaches(graph, sources):
    """Tensors that depend on `sources`."""
    found = set(sources)
    for node in graph.nodes:
        if found & set(node.inputs):
            found |= {out.name for out in node.outputs}
    return found


@enough(0.2)
@settings(deadline=None, max_examples=100)
@given(data=st.data())
def test_any_forward_graph_gets_one_backward_node_per_node_between(data):
    """Exactly the nodes between what is wanted and the loss, in reverse; sums come beside."""
    forward = data.draw(graphs(min_nodes=1, backward=False))
    wanted = [item.name for item in forward.inputs] or None
    sources = wanted or [o.name for n in forward.nodes if not n.inputs for o in n.outputs]
    down = reaches(forward, sources)
    if not down & set(forward.outputs):
        with pytest.raises(BadOption, match="no gradient: the loss"):
            gradient(forward, wrt=wanted)
        return
    reached()
    needed, between = set(forward.outputs), []
    for node in reversed(forward.nodes):
        if needed & {o.name for o in node.outputs} & down and down & set(node.inputs):
            between.append(node.name)
            needed |= down & set(node.inputs)
    graph = gradient(forward, wrt=wanted, compute=3)
    behind = graph.nodes[len(forward) :]
    assert graph.nodes[: len(forward)] == forward.nodes
    assert all(node.backward for node in behind)
    made = [node for node in behind if ".sum" not in node.name]
    assert [node.name for node in made] == [f"d_{name}" for name in between]
    parts = [
        name for v in between for name in dict.fromkeys(by_name(forward)[v].inputs) if name in down
    ]
    assert len(behind) - len(made) == len(parts) - len(set(parts))


@enough(0.2)
@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_gradients_are_as_large_as_their_tensors(data):
    """Without views, each wanted tensor's gradient has its size, and is an output."""
    forward = data.draw(graphs(min_nodes=1, backward=False, views=False))
    sources = [item.name for item in forward.inputs]
    if not reaches(forward, sources) & set(forward.outputs):
        return
    reached()
    graph = gradient(forward, wrt=sources, keep=())
    sizes = [graph.tensors[name].memory for name in graph.outputs]
    needed, read = set(forward.outputs), set()
    for node in reversed(forward.nodes):
        if needed & {o.name for o in node.outputs}:
            needed |= set(node.inputs)
            read |= set(node.inputs)
    assert sizes == [item.memory for item in forward.inputs if item.name in read]


def fork():
    g = GraphBuilder("fork")
    x = g.input("x", memory=6)
    a = g.node("a", x, memory=10, compute=5, workspace=3)
    g.node("y", [g.node(f"b{k}", a, memory=10, compute=k) for k in range(3)], memory=1)
    return g.build()


def test_gradients_of_several_readers_are_summed_as_they_arrive():
    """Three readers: two sums, each right behind the part that it takes in."""
    graph = gradient(fork(), reads="nothing", sum_compute=7)
    assert [node.name for node in graph.nodes[5:]] == [
        "d_y",
        "d_b2",
        "d_b1",
        "d_a.sum",
        "d_b0",
        "d_a.sum_2",
        "d_a",
    ]
    nodes = by_name(graph)
    assert nodes["d_a.sum"].inputs == ("d_b2", "d_b1")
    assert nodes["d_a.sum_2"].inputs == ("d_a.sum", "d_b0")
    assert nodes["d_a"].inputs == ("d_a.sum_2",)
    assert {nodes[name].compute for name in ("d_a.sum", "d_a.sum_2")} == {7}
    assert nodes["d_a"].workspace == 3
    assert [out.memory for out in nodes["d_y"].outputs] == [10, 10, 10]


@pytest.mark.parametrize(
    ("reads", "expected"),
    [
        ("both", ("d_a.sum_2", "x", "a")),
        ("inputs", ("d_a.sum_2", "x")),
        ("outputs", ("d_a.sum_2", "a")),
        ("nothing", ("d_a.sum_2",)),
        ({"a": "outputs"}, ("d_a.sum_2", "a")),
        ({"a": ["x"]}, ("d_a.sum_2", "x")),
        ({"y": "inputs"}, ("d_a.sum_2", "x", "a")),
    ],
)
def test_backward_nodes_read_what_they_are_told(reads, expected):
    """A choice for all, or per node, or tensors by name; both where nothing is said."""
    assert by_name(gradient(fork(), reads=reads))["d_a"].inputs == expected


@pytest.mark.parametrize(
    ("compute", "expected"),
    [
        (2, 10),
        (1.5, 7.5),
        (np.int8(100), 500),
        ({"a": 4}, 4),
        ({"y": 4}, 10),
        (lambda node: node.compute + 1, 6),
    ],
)
def test_backward_compute_is_twice_unless_given(compute, expected):
    """A factor, a mapping, or a function of the forward node."""
    assert by_name(gradient(fork(), compute=compute))["d_a"].compute == expected


def test_parameters_get_gradients_and_data_does_not():
    """By default resident inputs get a gradient, freeable ones don't; data-only nodes get none."""
    g = GraphBuilder()
    x, w = g.input("x", memory=4, freeable=True), g.input("w", memory=8)
    clean = g.node("clean", x, memory=4)
    g.node("y", [clean, w], memory=1)
    graph = gradient(g.build())
    assert [node.name for node in graph.nodes] == ["clean", "y", "d_y"]
    assert [out.memory for out in graph.nodes[-1].outputs] == [8]
    assert graph.outputs == ("y", "d_y")
    both = gradient(g.build(), wrt=["x", "w"])
    assert both.outputs == ("y", "d_clean", "d_y.w")


def test_views_hand_their_gradient_on():
    """A view's gradient is a view; so is a residual's; a split's gradients are joined."""
    g = GraphBuilder()
    w = g.input("w", memory=10)
    a = g.node("a", w, memory=9)
    left, right = g.views("split", a, ["left", "right"])
    turned = g.view("turned", left)
    y = g.node("add", [turned, right], memory=5)
    g.node("loss", y, memory=1)
    graph = gradient(g.build(), passes=["add"])
    nodes = by_name(graph)
    assert [out.view_of for out in nodes["d_add"].outputs] == ["d_loss", "d_loss"]
    assert nodes["d_add"].compute == 0
    assert nodes["d_turned"].outputs[0].view_of == "d_add.turned"
    assert nodes["d_split"].inputs[:2] == ("d_turned", "d_add.right")
    assert nodes["d_split"].outputs[0].memory == 9
    sizes = {out.name: out.memory for out in by_name(gradient(g.build()))["d_add"].outputs}
    assert sizes == {"d_add.turned": 5, "d_add.right": 5}  # half of 9, rounded up


def test_a_seed_comes_from_outside():
    """With `seed` the loss's gradient is a freeable input of the loss's size."""
    graph = gradient(fork(), reads="nothing", seed=True)
    assert graph.inputs[-1] == schedule.Input("d_y", 1, freeable=True)
    assert by_name(graph)["d_y_2"].inputs == ("d_y",)


def test_what_does_not_reach_the_loss_gets_nothing():
    """A second head that isn't in the loss stays forward only, and stays an output."""
    g = GraphBuilder()
    w = g.input("w", memory=8)
    h = g.node("h", w, memory=4)
    g.node("metric", h, memory=1)
    g.node("y", h, memory=1)
    graph = gradient(g.build(), loss="y")
    assert [node.name for node in graph.nodes[3:]] == ["d_y", "d_h"]
    assert graph.outputs == ("metric", "y", "d_h")


def test_names_that_are_taken_are_left_alone():
    """A forward node called d_y doesn't clash with the backward node of y."""
    g = GraphBuilder()
    g.node("y", g.node("d_y", g.input("w", memory=1), memory=1), memory=1)
    assert [node.name for node in gradient(g.build()).nodes] == ["d_y", "y", "d_y_2", "d_d_y"]


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"loss": "q"}, "loss names 'q', which is no tensor"),
        ({"wrt": ["q"]}, "wrt names 'q', which is no tensor"),
        ({"keep": ["q"]}, "keep names 'q', which is no tensor"),
        ({"reads": {"q": "both"}}, "reads names 'q', which is no node"),
        ({"reads": "all"}, "reads of node 'a' is 'all'; it is one of both, inputs"),
        ({"reads": {"a": ["y"]}}, "reads of node 'a' names 'y', which the node neither"),
        ({"passes": ["q"]}, "passes names 'q', which is no node"),
        ({"loss": "a", "wrt": "y"}, "no gradient: the loss .a. depends on none of y"),
        ({"compute": {"q": 1}}, "compute names 'q', which is no node"),
    ],
)
def test_wrong_options_are_named(options, match):
    """One message with the option and the value."""
    with pytest.raises(BadOption, match=match):
        gradient(fork(), **options)


def test_a_training_graph_is_not_differentiated_again():
    """Backward nodes in the forward graph are refused."""
    with pytest.raises(BadOption, match="node 'd_y' is a backward node"):
        gradient(gradient(fork()))


def test_options_of_another_kind_are_refused():
    """One name is itself, not its letters; a set has no order; each option is named."""
    g = GraphBuilder()
    x, w = g.input("x", memory=8, freeable=True), g.input("w", memory=8)
    h = g.node("h", [x, w], memory=8)
    y = g.node("sum", [x, h], memory=8)
    forward = g.build(outputs=[y])
    passed = gradient(forward, passes="sum", seed=True)
    assert passed == gradient(forward, passes=["sum"], seed=True) != gradient(forward, seed=True)
    for option, value in (("loss", 5), ("wrt", {"x", "w"}), ("keep", {"sum", "h"}), ("passes", 5)):
        with pytest.raises(BadOption, match=f"{option} is .*; give a"):
            gradient(forward, **{option: value})
    with pytest.raises(BadOption, match="reads is 5; it is a choice, or a mapping"):
        gradient(forward, reads=5)
    for choice in ({"x", "w"}, 5):
        with pytest.raises(BadOption, match=r"reads of node 'h' is .*; give a list of tensors"):
            gradient(forward, reads={"h": choice})
    with pytest.raises(BadOption, match="seed is 'no'; it has to be True or False"):
        gradient(forward, seed="no")
