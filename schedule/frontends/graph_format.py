"""Graphs as JSON: the format `schedule-graph/1`, and what else JSON may hold a graph as.

Keys that the format doesn't know are ignored, so newer files stay readable.
"""

from __future__ import annotations

from typing import Any

from schedule.consistency import unread
from schedule.errors import BadGraph
from schedule.frontends.exchange import edges_of_adjacency
from schedule.frontends.networkx import flags_of, from_node_link, written_by
from schedule.graph import Graph, Input, Node, Tensor
from schedule.result import SCHEDULE_FORMAT
from schedule.values import in_json, name_of, shown

GRAPH_FORMAT = "schedule-graph/1"


@in_json()
def graph_from_json(data: Any, *, memory: str = "memory", compute: str = "compute") -> Graph:
    """The graph that parsed JSON describes.

    Parameters
    ----------
    data
        An object of the format, or as `networkx.node_link_data` or `adjacency_data` give it.
    memory, compute
        Of these two, the attributes that hold a node's memory and its compute.

    Raises
    ------
    BadGraph
        Names the node and the mistake.
    """
    if not isinstance(data, dict):
        raise BadGraph(f"a graph is a JSON object, not {shown(data)}")
    if data.get("format") == GRAPH_FORMAT:
        return _graph(data)
    if data.get("format") == SCHEDULE_FORMAT:
        raise BadGraph("this is a schedule, not a graph; give the graph's file")
    if "format" in data:
        raise BadGraph(f"format is {shown(data['format'])}; this version reads {GRAPH_FORMAT!r}")
    if "nodes" in data and ("edges" in data or "links" in data):
        return from_node_link(data, memory=memory, compute=compute)
    if "nodes" in data and "adjacency" in data:
        link = edges_of_adjacency(data)
        return from_node_link(link, memory=memory, compute=compute)
    raise BadGraph(
        f'no graph: it has neither "format": "{GRAPH_FORMAT}" nor a node-link graph\'s'
        f" 'nodes' and 'edges', as networkx.node_link_data gives them"
    )


def graph_to_json(graph: Graph) -> dict[str, Any]:
    """The graph as plain data; what has its default value is left out."""
    data: dict[str, Any] = {"format": GRAPH_FORMAT, "name": graph.name}
    if graph.inputs:
        data["inputs"] = [
            {"name": item.name, "memory": item.memory}
            | ({"freeable": True} if item.freeable else {})
            | ({} if item.offloadable else {"offloadable": False})
            for item in graph.inputs
        ]
    data["nodes"] = [_node_to_json(node) for node in graph.nodes]
    if graph.outputs != unread(graph.inputs, graph.nodes):
        data["outputs"] = list(graph.outputs)
    return data


def _node_to_json(node: Node) -> dict[str, Any]:
    data = {"name": node.name, "inputs": list(node.inputs)} | written_by(node, "outputs")
    return data | {"compute": node.compute} | flags_of(node)


def _graph(data: dict[str, Any]) -> Graph:
    nodes = [_node(item, at) for at, item in enumerate(_list(data, "nodes", "the graph"))]
    listed = _list(data, "inputs", "the graph") if "inputs" in data else []
    inputs = [_input(item, at) for at, item in enumerate(listed)]
    outputs = _list(data, "outputs", "the graph") if "outputs" in data else None
    return Graph(nodes, inputs, outputs, data.get("name", "graph"))


def _list(data: dict[str, Any], key: str, owner: str) -> list[Any]:
    if key not in data:
        raise BadGraph(f"{owner} has no {key!r}")
    value = data[key]
    if type(value) is not list:
        raise BadGraph(f"{owner}: {key} is {shown(value)}; it has to be a list")
    return value


def _named(item: Any, what: str) -> str:
    """The name of a JSON object; `what` says which it is until that is known."""
    if type(item) is not dict:
        raise BadGraph(f"{what} is {shown(item)}; it has to be an object")
    if "name" not in item:
        raise BadGraph(f"{what} has no 'name'")
    return name_of(item["name"], f"{what}: its name")


def _input(item: Any, at: int) -> Input:
    name = _named(item, f"input {at}")
    if "memory" not in item:
        raise BadGraph(f"input {name!r} has no 'memory'")
    return Input(name, item["memory"], item.get("freeable", False), item.get("offloadable", True))


def _node(item: Any, at: int) -> Node:
    name = _named(item, f"node {at}")
    inputs = item.get("inputs")
    if type(inputs) is not list:
        if "inputs" not in item:
            raise BadGraph(f"node {name!r} has no 'inputs'; write [] where it reads nothing")
        raise BadGraph(f"node {name!r}: inputs is {shown(inputs)}; it has to be a list")
    if "compute" not in item:
        raise BadGraph(f"node {name!r} has no 'compute'")
    return Node(
        name,
        tuple(inputs),
        _outputs(item, name),
        item["compute"],
        item.get("workspace", 0),
        item.get("recomputable", True),
        item.get("backward", False),
    )


def _outputs(item: dict[str, Any], node: str) -> tuple[Tensor, ...]:
    if "outputs" not in item:
        if "memory" not in item:
            raise BadGraph(f"node {node!r} has neither 'memory' nor 'outputs'")
        return (Tensor(node, item["memory"]),)
    if "memory" in item:
        raise BadGraph(
            f"node {node!r} has both 'memory' and 'outputs'; memory belongs to each output"
        )
    listed = _list(item, "outputs", f"node {node!r}")
    return tuple(_tensor(out, f"node {node!r}: output {at}") for at, out in enumerate(listed))


def _tensor(out: Any, what: str) -> Tensor:
    name = _named(out, what)
    view_of = out.get("view_of")
    if view_of is None and "memory" not in out:
        raise BadGraph(f"{what} ({name!r}) has neither 'memory' nor 'view_of'")
    if view_of is not None and type(view_of) is not str:
        raise BadGraph(f"{what} ({name!r}): view_of is {shown(view_of)}; it is a tensor's name")
    return Tensor(name, out.get("memory", 0), view_of)
