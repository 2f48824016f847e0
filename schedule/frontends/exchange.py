"""GraphML, GML and adjacency JSON, as networkx writes and reads them.

What they hold stands in attributes of nodes, as `schedule.frontends.networkx` says. GML has
neither truth values nor integers beyond 32 bits: it writes 1 and 0, and text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from schedule.errors import BadGraph, BadInput
from schedule.frontends.networkx import from_networkx
from schedule.graph import Graph
from schedule.values import shown

if TYPE_CHECKING:
    import networkx as nx

#: What is read here, by the endings of the files.
FORMATS = {"graphml": "GraphML", "gml": "GML"}
_FLAGS = ("recomputable", "backward", "freeable", "offloadable")
_INTEGER = re.compile(r"-?[0-9]{1,30}")


def from_text(text: str, kind: str, *, memory: str = "memory", compute: str = "compute") -> Graph:
    """The graph in text of one of `FORMATS`, as `from_networkx`; the parsers are networkx's.

    Raises
    ------
    BadGraph
        It isn't of that format, or holds no computation graph.
    """
    net = _parsed(text, kind)
    for item in net.nodes.values():
        for key in (memory, compute, "workspace"):
            if isinstance(item.get(key), str) and _INTEGER.fullmatch(item[key]):
                item[key] = int(item[key])
        for key in _FLAGS:
            if key in item and item[key] in (0, 1):
                item[key] = bool(item[key])
    return from_networkx(net, memory=memory, compute=compute)


def _parsed(text: str, kind: str) -> nx.DiGraph:
    import networkx as nx

    try:
        if kind == "graphml":
            return nx.parse_graphml(text)
        # The names of nodes are their labels, where all have one.
        labelled = len(re.findall(r"^\s*label\s", text, re.MULTILINE)) > 0
        return nx.parse_gml(text, label="label" if labelled else "id")
    except BadInput:
        raise
    except Exception as error:  # a parser given anything may raise anything
        said = " ".join(str(error).split())[:200] or type(error).__name__
        raise BadGraph(f"not {FORMATS[kind]} that networkx can read: {said}") from error


def edges_of_adjacency(data: Mapping[str, Any]) -> dict[str, Any]:
    """Adjacency JSON (`networkx.adjacency_data`), parsed, as node-link JSON."""
    nodes, rows = data["nodes"], data["adjacency"]
    if not isinstance(nodes, list) or not isinstance(rows, list) or len(nodes) != len(rows):
        raise BadGraph("nodes and adjacency have to be lists, and of one length")
    edges = []
    for at, (node, row) in enumerate(zip(nodes, rows)):
        if not isinstance(node, dict) or "id" not in node:
            raise BadGraph(f"node {at} is {shown(node)}; it has to be an object with an 'id'")
        if not isinstance(row, list) or not all(isinstance(to, dict) and "id" in to for to in row):
            raise BadGraph(f"adjacency: item {at} has to be a list of objects with an 'id'")
        edges += [{"source": node["id"], "target": to["id"]} for to in row]
    about = data.get("graph")
    if isinstance(about, list) and all(isinstance(pair, list) and len(pair) == 2 for pair in about):
        about = {str(key): value for key, value in about}
    return {"directed": data.get("directed", True), "graph": about, "nodes": nodes, "edges": edges}
