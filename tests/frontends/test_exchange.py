"""GraphML, GML and adjacency JSON: what networkx writes is the graph that it was written from."""

from __future__ import annotations

import gzip
import json

import networkx as nx
import pytest
from hypothesis import given

import schedule
from schedule import from_networkx, to_networkx
from schedule.errors import BadGraph
from tests.formats import FILES_ARE_CHECKED
from tests.strategies import graphs

pytestmark = FILES_ARE_CHECKED


def plain(graph):
    """The graph for networkx, without what these formats can't hold: lists and their like."""
    net = to_networkx(graph)
    net.graph.clear()
    for item in net.nodes.values():
        item["memory"] = item.get(
            "memory", sum(out.get("memory", 0) for out in item.get("writes", []))
        )
        for key in ("writes", "reads"):
            item.pop(key, None)
        if item.get("kind") != "input":
            item.setdefault("compute", 1)
    return net


WRITERS = {
    "graphml": nx.write_graphml,
    "graphml.gz": nx.write_graphml,
    "gml": nx.write_gml,
    "gml.gz": nx.write_gml,
    "json": lambda net, path: path.write_text(json.dumps(nx.adjacency_data(net))),
}


@pytest.mark.parametrize("ending", WRITERS)
@given(graph=graphs(min_nodes=1))
def test_what_networkx_writes_is_read_as_the_same_graph(tmp_path_factory, ending, graph):
    """Names, order, sizes, flags and edges."""
    net = plain(graph)
    path = tmp_path_factory.mktemp("exchange") / f"net.{ending}"
    WRITERS[ending](net, path)
    assert schedule.read(path) == from_networkx(net)


def test_sizes_beyond_32_bits_and_flags(tmp_path):
    """GML writes such integers as text and truth values as numbers."""
    net = nx.DiGraph([("a", "b")])
    nx.set_node_attributes(net, {"a": 2**40, "b": 8}, "memory")
    nx.set_node_attributes(net, 1.5, "compute")
    nx.set_node_attributes(net, {"a": False, "b": True}, "recomputable")
    nx.write_gml(net, tmp_path / "net.gml")
    graph = schedule.read(tmp_path / "net.gml")
    assert [node.outputs[0].memory for node in graph.nodes] == [2**40, 8]
    assert [node.recomputable for node in graph.nodes] == [False, True]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.graphml", b"<graphml", "not GraphML that networkx can read"),
        ("a.graphml", b"", "not GraphML"),
        ("a.gml", b"graph [ node [ id ] ]", "not GML that networkx can read"),
        ("a.gml", b"graph [ node [ id 0 ] ]", "undirected"),
        ("a.gml", b"graph [ directed 1 node [ id 0 ] ]", "no attribute 'memory'"),
        ("a.gml.gz", gzip.compress(b"graph [", mtime=0)[:9], "gzip"),
        ("a.xml", b"<graphml/>", r"not JSON.*GraphML \(.graphml\) or GML"),
        ("a.json", b'{"nodes": [{"id": 1}], "adjacency": []}', "of one length"),
        ("a.json", b'{"nodes": [1], "adjacency": [[]]}', "node 0 is 1"),
        ("a.json", b'{"nodes": [{"id": 1}], "adjacency": [[2]]}', "adjacency: item 0"),
        ("a.json", b'{"elements": {"nodes": []}}', "networkx.node_link_data"),
    ],
)
def test_what_is_none(tmp_path, name, content, said):
    """One message that names the file and the mistake."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadGraph, match=said) as caught:
        schedule.read(tmp_path / name)
    assert str(caught.value).startswith(str(tmp_path / name))


def test_the_ending_may_be_said(tmp_path):
    """A reader by name, whatever the file is called."""
    net = nx.DiGraph()
    net.add_node("a", memory=1, compute=1)
    nx.write_gml(net, tmp_path / "graph")
    assert schedule.read(tmp_path / "graph", reader="gml") == from_networkx(net)
