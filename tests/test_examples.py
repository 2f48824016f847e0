"""Examples: what each one promises, at its usual size and at small ones."""

import math
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

import schedule
from schedule.errors import BadOption
from schedule.examples import EXAMPLES
from schedule.lowering import in_order
from tests.formats import FILES_ARE_CHECKED

pytestmark = FILES_ARE_CHECKED


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
    assert 0 < graph.layout.boundary < len(graph)


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


def places(graph):
    """Layer and place of each node, and edges, by the names that the docstring promises."""
    at = {node.name: tuple(map(int, node.name.split("."))) for node in graph.nodes}
    edges = [(at[u], at[v.name]) for v in graph.nodes for u in v.inputs]
    return at, edges


LAYERED = [
    {"nodes": 3},
    {"nodes": 4, "layers": 9},
    {"nodes": 50, "layers": 1, "density": 100},
    {"nodes": 250, "density": 1, "skips": 60, "seed": 2},
    {"nodes": 1000, "layers": 48, "seed": 3},
]


@pytest.mark.parametrize("sizes", LAYERED)
def test_layers_go_from_a_source_to_a_sink(sizes):
    """So many nodes; one has no reads, one no readers; edges go to later layers."""
    graph = schedule.example("layered", **sizes)
    at, edges = places(graph)
    assert len(graph) == len(set(at.values())) == sizes["nodes"]
    last = max(at.values())
    assert [v for v in at.values() if v not in {v for _, v in edges}] == [(0, 0)]
    assert [u for u in at.values() if u not in {u for u, _ in edges}] == [last]
    assert all(u[0] < v[0] for u, v in edges)
    assert len(set(edges)) == len(edges)
    assert graph.outputs == (f"{last[0]}.0",)


@pytest.mark.parametrize("sizes", LAYERED[2:])
def test_layers_are_as_wide_and_as_joined_as_the_recipe_says(sizes):
    """Against the formulas of Gagrani et al., appendix A, over the layers that there are."""
    graph = schedule.example("layered", **sizes)
    at, edges = places(graph)
    widths = list(Counter(layer for layer, _ in sorted(at.values())).values())
    depth = sizes.get("layers") or math.ceil(math.sqrt(len(graph) * (1 / 0.35 - 1)))
    mean = len(graph) / depth
    assert all(0.25 * mean <= width <= 1.75 * mean for width in widths[1:-2])
    assert widths[-2] <= 1.75 * mean
    density = sizes.get("density", 20) / 100
    joined = Counter(u[0] for u, v in edges if v[0] == u[0] + 1)
    for layer, (a, b) in enumerate(pairwise(widths)):
        assert joined[layer] == round(density * a * b + (1 - density) * max(a, b))
    share = sizes.get("skips", 14) / 100
    skips = [(u, v) for u, v in edges if v[0] > u[0] + 1]
    drawn = math.ceil(joined.total() * share / (1 - share)) if depth > 2 else 0
    assert 0.7 * drawn <= len(skips) <= drawn  # those that are drawn alike count once
    for (start, u), (end, v) in skips:
        assert 0 < start < end < len(widths) - 1
        low, high = v / widths[end] - (u + 1) / widths[start], (v + 1) / widths[end]
        assert low <= 0.2
        assert high >= min(u / widths[start], 1)


@pytest.mark.parametrize(
    ("nodes", "layers", "edges"),
    [(100, 17, 236), (250, 19, 944), (500, 30, 2461), (1000, 48, 5875)],
)
def test_layered_graphs_are_like_the_published_ones(nodes, layers, edges):
    """Edges as in table 1 of Moccasin, whose names tell the layers; sizes and computes too."""
    graphs = [
        schedule.example("layered", nodes=nodes, layers=layers, seed=seed) for seed in range(1, 11)
    ]
    counts = [sum(len(node.inputs) for node in graph.nodes) for graph in graphs]
    assert 0.8 * edges < np.mean(counts) < 1.2 * edges
    made = [node for graph in graphs for node in graph.nodes]
    sizes = np.array([node.outputs[0].memory for node in made])
    assert abs(sizes.mean() - 1988) < 6 * 1606 / len(sizes) ** 0.5  # mean and deviation of theirs
    assert not (sizes % 10).any()
    computes = np.array([node.compute for node in made])
    assert abs(computes.mean() - 500) < 6 * 289 / len(computes) ** 0.5 + 1000 * 2 / nodes
    assert set(computes) <= set(range(1000))


def test_layered_graphs_differ_by_seed_and_survive_a_file(tmp_path):
    """Another seed, another graph; what was written is what is read."""
    graphs = [schedule.example("layered", seed=seed) for seed in (1, 2)]
    assert graphs[0] != graphs[1]
    schedule.write(graphs[0], tmp_path / "graph.json.gz")
    assert schedule.read(tmp_path / "graph.json.gz") == graphs[0]


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
        ("alexnet", {}, "no example is called 'alexnet'; there are chain, diamonds, layered"),
        (["mlp"], {}, "no example is called a list"),
        ("chain", {"depth": 3}, "example 'chain' has no size 'depth'; it has layers"),
        ("chain", {"layers": 0}, "example 'chain': layers is 0; it is an integer ≥ 1"),
        ("chain", {"layers": 2.5}, "layers is 2.5"),
        ("chain", {"layers": True}, "layers is True"),
        ("layered", {"nodes": 2}, "'layered': nodes is 2, .* nodes are ≥ 3"),
        ("layered", {"density": 101}, "density is 1 … 100"),
        ("layered", {"skips": 100}, "skips are 1 … 99"),
    ],
)
def test_wrong_names_and_sizes_are_named(name, sizes, match):
    """The message lists what there is."""
    with pytest.raises(BadOption, match=match):
        schedule.example(name, **sizes)
