"""Examples: what each one promises, at its usual size and at small ones."""

import pytest

import schedule
from schedule.errors import BadOption
from schedule.examples import EXAMPLES
from schedule.lowering import in_order


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_small_and_always_the_same(name):
    """Two calls give equal graphs; a real replay takes less than 200 MB."""
    graph = schedule.example(name)
    assert graph == schedule.example(name)
    assert graph.name == name
    assert in_order(graph).peak < 200 * 10**6
    assert len(graph) < 200
    assert EXAMPLES[name].endswith(".")


@pytest.mark.parametrize("name", ["chain", "mlp", "resnet", "unet", "transformer"])
def test_training_graphs_leave_something_to_save(name):
    """Most of the peak is activations: a floor below 60 % of it; everything is needed."""
    graph = schedule.example(name)
    assert schedule.memory_floor(graph).memory < 0.6 * in_order(graph).peak
    assert graph.layout.needed.all()
    assert 0 < graph.layout.turn < len(graph)


def test_the_examples_cover_the_format():
    """Between them: views, several outputs, workspace, both kinds of inputs, no second run."""
    graphs = [schedule.example(name) for name in EXAMPLES]
    nodes = [node for graph in graphs for node in graph.nodes]
    assert any(len(node.outputs) > 1 for node in nodes)
    assert any(out.view_of for node in nodes for out in node.outputs)
    assert any(node.workspace for node in nodes)
    assert any(not node.recomputable for node in nodes)
    assert {item.freeable for graph in graphs for item in graph.inputs} == {False, True}


@pytest.mark.parametrize("layers", [1, 2, 8])
def test_the_chain_is_the_literatures(layers):
    """Nodes 0 … 2L with the edges i → i + 1 and i → 2L − i, all units."""
    graph = schedule.example("chain", layers=layers)
    number = {node.name: at for at, node in enumerate(graph.nodes)}
    edges = {(number[u], number[v.name]) for v in graph.nodes for u in v.inputs}
    last = 2 * layers
    assert edges == {(i, i + 1) for i in range(last)} | {(i, last - i) for i in range(layers)}
    assert {(node.compute, node.outputs[0].memory) for node in graph.nodes} == {(1, 1)}


@pytest.mark.parametrize("name", EXAMPLES)
def test_sizes_may_be_one(name):
    """The smallest of everything is still a graph."""
    for key in ("layers", "count", "blocks", "depth"):
        try:
            assert len(schedule.example(name, **{key: 1})) > 1
        except BadOption as error:
            message = str(error)
        else:
            continue
        assert f"has no size '{key}'" in message


@pytest.mark.parametrize(
    ("name", "sizes", "match"),
    [
        ("alexnet", {}, "no example is called 'alexnet'; there are chain, diamonds, mlp"),
        (["mlp"], {}, "no example is called a list"),
        ("chain", {"depth": 3}, "example 'chain' has no size 'depth'; it has layers"),
        ("chain", {"layers": 0}, "example 'chain': layers is 0; it is an integer ≥ 1"),
        ("chain", {"layers": 2.5}, "layers is 2.5"),
        ("chain", {"layers": True}, "layers is true"),
    ],
)
def test_wrong_names_and_sizes_are_named(name, sizes, match):
    """The message lists what there is."""
    with pytest.raises(BadOption, match=match):
        schedule.example(name, **sizes)
