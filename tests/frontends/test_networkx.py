"""networkx: a graph goes there and back unchanged, also through node-link JSON."""

import json

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import schedule
from schedule.errors import BadGraph
from schedule.graph import Graph, Input, Node, Tensor
from tests.formats import FILES_ARE_CHECKED
from tests.strategies import graphs

pytestmark = FILES_ARE_CHECKED


def net(edges, order=(), make=nx.DiGraph, **attributes):
    """A networkx graph whose every node has memory 1 and compute 1, or as given."""
    made = make()
    made.add_nodes_from(order)
    made.add_edges_from(edges)
    for key in made:
        made.nodes[key].update({"memory": 1, "compute": 1} | attributes)
    return made


def unsized(**attributes):
    """Two nodes, one after the other, that don't say how much memory they take."""
    made = net([("a", "b")], **attributes)
    for node in made:
        del made.nodes[node]["memory"]
    return made


def names(graph):
    return [node.name for node in graph.nodes]


@settings(deadline=None, max_examples=100)
@given(graph=graphs())
def test_any_graph_comes_back_equal(graph):
    """Views, several outputs, inputs, flags, outputs and the order of reads included."""
    back = schedule.from_networkx(schedule.to_networkx(graph))
    assert back == graph
    assert back.name == graph.name


@pytest.mark.parametrize("key", ["edges", "links"])
@settings(deadline=None, max_examples=60)
@given(graph=graphs())
def test_any_graph_comes_back_equal_from_node_link_json(graph, key, tmp_path_factory):
    """Written by networkx itself, under either name for the edges."""
    data = nx.node_link_data(schedule.to_networkx(graph), edges=key)
    path = tmp_path_factory.mktemp("nx") / "g.json"
    path.write_text(json.dumps(data))
    assert schedule.read(path) == graph


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_an_executable_order_is_kept_and_any_other_repaired(data):
    """Nodes listed in any order: the result runs, keeps what could stay, loses no edge."""
    count = data.draw(st.integers(1, 8))
    pairs = [(u, v) for v in range(count) for u in range(v)]
    edges = data.draw(st.lists(st.sampled_from(pairs), unique=True)) if pairs else []
    order = data.draw(st.permutations(range(count)))
    graph = schedule.from_networkx(net(edges, order))
    assert {(int(u), int(v.name)) for v in graph.nodes for u in v.inputs} == set(edges)
    place = {v: at for at, v in enumerate(order)}
    if all(place[u] < place[v] for u, v in edges):
        assert names(graph) == [str(v) for v in order]
    else:
        expected = nx.lexicographical_topological_sort(net(edges, order), key=place.get)
        assert names(graph) == [str(v) for v in expected]


def test_attributes_are_named_by_option(tmp_path):
    """Other attribute names, from an object and from a file."""
    made = net([("a", "b")], mem=7, ms=0.5)
    path = tmp_path / "g.json"
    path.write_text(json.dumps(nx.node_link_data(made, edges="links")))
    for graph in (
        schedule.from_networkx(made, memory="mem", compute="ms"),
        schedule.read(path, memory="mem", compute="ms"),
    ):
        assert [(node.outputs[0].memory, node.compute) for node in graph.nodes] == [(7, 0.5)] * 2


def test_attributes_of_numpys_types_are_plain_ones():
    """As pandas and NumPy leave them on the nodes; the graph is the same."""

    def made(number, flag):
        return net(
            [("x", "a"), ("a", "b")],
            memory=number(4),
            compute=number(2),
            workspace=number(1),
            recomputable=flag(False),
            backward=flag(True),
        )

    plain, found = made(int, bool), made(np.float32, np.bool_)
    for one, flag in ((plain, bool), (found, np.bool_)):
        one.nodes["x"].update(kind="input", freeable=flag(True))
    assert schedule.from_networkx(found).digest == schedule.from_networkx(plain).digest
    assert schedule.from_networkx(found).inputs[0].freeable is True


def test_an_order_can_be_given():
    """The order named is the order of the nodes."""
    made = net([("a", "c"), ("b", "c")])
    assert names(schedule.from_networkx(made, order=["b", "a", "c"])) == ["b", "a", "c"]
    with pytest.raises(BadGraph, match="order has to name every node"):
        schedule.from_networkx(made, order=["b", "a"])
    with pytest.raises(BadGraph, match="reads 'a', which node 'a' computes only later"):
        schedule.from_networkx(made, order=["b", "c", "a"])


def test_parallel_edges_are_one_read():
    """A MultiDiGraph's second edge changes nothing."""
    graph = schedule.from_networkx(net([("a", "b"), ("a", "b")], make=nx.MultiDiGraph))
    assert graph.nodes[1].inputs == ("a",)


def test_names_become_text():
    """Numbers and tuples name nodes as text."""
    graph = schedule.from_networkx(net([(1, (2, "x"))]))
    assert names(graph) == ["1", "(2, 'x')"]
    with pytest.raises(BadGraph, match="two nodes are called '1' "):
        schedule.from_networkx(net([(1, "1")]))


@pytest.mark.parametrize(
    ("made", "match"),
    [
        (net([("a", "b")], make=nx.Graph), "undirected"),
        (net([("a", "b"), ("b", "c"), ("c", "b")]), "cycle: '(b|c)' → '(c|b)' → '(b|c)'"),
        (net([("a", "a")]), "cycle: 'a' → 'a'"),
        (net([("a", "b")], memory=-1), "node 'a': memory of 'a' is -1"),
        (net([("a", "b")], compute=float("nan")), "node 'a': compute is nan"),
        (
            nx.DiGraph([("a", "b")]),
            r"node 'a' has no attribute 'memory' \(its memory\), none at all",
        ),
        (unsized(bytes=8, ns=1), r"'bytes', 'ns'.*; memory= \(--memory-attribute\) names another"),
        (net([("a", "b")], reads=["c"]), "node 'a': its reads and its edges don't agree"),
        (net([("a", "b")], reads="a"), "node 'a': reads has to be a list"),
        (unsized(writes=[5]), "node 'a': writes has to be a list of tensors"),
        (net([("a", "b")], writes=[]), "node 'a' has both 'memory' and 'writes'"),
        (net([("a", "b")], kind="input"), "input 'b' reads 'a'; inputs read nothing"),
        ("a graph", "'a graph' is no networkx graph"),
        (nx.DiGraph, "DiGraph'> is no networkx graph"),
    ],
)
def test_wrong_graphs_are_refused(made, match):
    """One message that names the node and the mistake."""
    with pytest.raises(BadGraph, match=match):
        schedule.from_networkx(made)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"directed": False}, "isn't directed"),
        ({"nodes": 5}, "nodes is 5; it has to be a list"),
        ({"edges": {}}, "edges is an object"),
        ({"nodes": [{"name": "a"}]}, "node 0 is an object; it has to be an object with an 'id'"),
        ({"nodes": [{"id": None}]}, "node 0: id is null"),
        ({"edges": [["a", "b"]]}, "edges: item 0 has to be an object with 'source'"),
        ({"edges": [{"source": "a", "target": "q"}]}, "'a' to 'q', but 'q' is no node"),
    ],
)
def test_wrong_node_link_files_are_refused(change, match, tmp_path):
    """One message that names the file and the mistake."""
    data = nx.node_link_data(net([("a", "b")]), edges="edges") | change
    path = tmp_path / "g.json"
    path.write_text(json.dumps(data))
    with pytest.raises(BadGraph, match=rf"g\.json: .*{match}"):
        schedule.read(path)


#: One edge, as node-link files have it; and others.
A_TO_B = [{"source": "a", "target": "b"}]
TWICE = [*A_TO_B, {"source": "b", "target": "c"}]


@pytest.mark.parametrize(
    ("edges", "links"),
    [([], A_TO_B), (A_TO_B, []), (A_TO_B, A_TO_B), ([{**A_TO_B[0], "key": 0}], A_TO_B)],
)
def test_an_empty_list_of_edges_beside_a_full_one_is_no_list(edges, links, tmp_path):
    """Whichever key is full says what the edges are; two that say the same agree."""
    data = nx.node_link_data(net([("a", "b")]), edges="edges") | {"edges": edges, "links": links}
    path = tmp_path / "g.json"
    path.write_text(json.dumps(data))
    assert schedule.read(path) == schedule.from_networkx(net([("a", "b")]))


@pytest.mark.parametrize(("edges", "links"), [(A_TO_B, TWICE), (TWICE, TWICE[::-1])])
def test_two_lists_of_edges_that_differ_are_refused(edges, links, tmp_path):
    """Neither list is dropped silently; nor is the order in which a node reads."""
    made = net([("a", "b"), ("b", "c")])
    data = nx.node_link_data(made, edges="edges") | {"edges": edges, "links": links}
    path = tmp_path / "g.json"
    path.write_text(json.dumps(data))
    with pytest.raises(BadGraph, match=r"g\.json: edges lists \d edges and links others"):
        schedule.read(path)


@pytest.mark.parametrize(("edges", "links"), [(None, A_TO_B), ([], 5), (A_TO_B, ["ab"])])
def test_what_is_no_list_of_edges_is_refused_beside_one(edges, links, tmp_path):
    """A broken key isn't taken for an empty one."""
    data = nx.node_link_data(net([("a", "b")]), edges="edges") | {"edges": edges, "links": links}
    path = tmp_path / "g.json"
    path.write_text(json.dumps(data))
    with pytest.raises(BadGraph, match=r"g\.json: (edges|links)\b.* has to be"):
        schedule.read(path)


def test_an_input_with_a_nodes_name_is_refused():
    """networkx has one name for both."""
    node = Node("x", ("x",), (Tensor("y", 1),), 1)
    with pytest.raises(BadGraph, match="node 'x' and an input have the same name"):
        schedule.to_networkx(Graph([node], [Input("x", 1)]))
