"""Graphs from and to networkx: an edge u → v means that v reads what u writes.

A node of a networkx graph is one operation, with memory and compute as
attributes. What goes beyond one output a node stands in optional attributes:

- `workspace`, `recomputable`, `backward`: as in the file format;
- `writes`: a list of `{"name": …, "memory": …}` or `{"name": …, "view_of": …}`,
  where a node doesn't write exactly one tensor of its own name;
- `reads`: a list of tensors, where that isn't what the predecessors write,
  each once, in the order of the edges;
- `kind="input"` (and perhaps `freeable` or `offloadable`): not an operation but an input;
- on the graph: `name` and `outputs`.
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from schedule.errors import BadGraph
from schedule.graph import Graph, Input, Node, Tensor, require_graph
from schedule.values import in_json, listed, name_of, shown

if TYPE_CHECKING:
    import networkx as nx


def from_networkx(
    graph: nx.DiGraph,
    *,
    memory: str = "memory",
    compute: str = "compute",
    order: Iterable[Hashable] | None = None,
) -> Graph:
    """The computation graph that a directed networkx graph describes.

    Parameters
    ----------
    graph
        A `DiGraph` or `MultiDiGraph` (parallel edges are one read).
    memory, compute
        The node attributes that hold a node's memory and its compute.
    order
        All nodes in the order in which they run. By default the graph's own
        order where it is executable, else the topological order that is
        closest to it (of the nodes that can run, always the first).

    Raises
    ------
    BadGraph
        Names the node and the mistake; a cycle is shown as a cycle. Names that
        aren't text become text, and may not collide then.

    Notes
    -----
    O((nodes + edges) log nodes).

    Examples
    --------
    >>> import networkx as nx
    >>> from schedule import from_networkx
    >>> net = nx.DiGraph([("a", "b")])
    >>> nx.set_node_attributes(net, 8, "memory")
    >>> nx.set_node_attributes(net, 1, "compute")
    >>> from_networkx(net).nodes[1].inputs
    ('a',)
    """
    if isinstance(graph, type) or not callable(getattr(graph, "is_directed", None)):
        raise BadGraph(f"{shown(graph)} is no networkx graph")
    if not graph.is_directed():
        raise BadGraph("the networkx graph is undirected; a DiGraph says who reads whom")
    keys = list(graph)
    position = {key: at for at, key in enumerate(keys)}
    link = _Link([str(key) for key in keys], [graph.nodes[key] for key in keys])
    link.before = [dict.fromkeys(position[u] for u in graph.predecessors(key)) for key in keys]
    link.memory, link.compute = memory, compute
    if order is not None:
        link.order = _given(position, order)
    return link.graph(graph.graph)


def _given(position: Mapping[Hashable, int], order: Iterable[Hashable]) -> list[int]:
    listed = list(order)
    if len(listed) != len(position) or set(listed) != set(position):
        raise BadGraph("order has to name every node of the graph exactly once")
    return [position[key] for key in listed]


@in_json()
def from_node_link(
    data: Mapping[str, Any], *, memory: str = "memory", compute: str = "compute"
) -> Graph:
    """The computation graph in node-link JSON (`networkx.node_link_data`), parsed.

    As `from_networkx`; the edges stand under `edges` or `links`. Where both keys
    are there one is empty, or both list the same edges.
    """
    if data.get("directed", True) is not True:
        raise BadGraph("the node-link graph isn't directed; a directed one says who reads whom")
    nodes = data.get("nodes")
    if not isinstance(nodes, list):
        raise BadGraph(f"nodes is {shown(nodes)}; it has to be a list")
    edges = _edges(data)
    for at, item in enumerate(nodes):
        if not isinstance(item, dict) or "id" not in item:
            raise BadGraph(f"node {at} is {shown(item)}; it has to be an object with an 'id'")
    link = _Link([_id(item["id"], f"node {at}: id") for at, item in enumerate(nodes)], nodes)
    for source, target in edges:
        link.connect(source, target)
    link.memory, link.compute = memory, compute
    about = data.get("graph")
    return link.graph(about if isinstance(about, dict) else {})


def _edges(data: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Source and target of each edge, whichever key lists them."""
    found = [_ends(data[key], key) for key in ("edges", "links") if key in data]
    full = [edges for edges in found if edges]
    if len(full) == 2 and full[0] != full[1]:
        raise BadGraph(
            f"edges lists {len(full[0])} edges and links others ({len(full[1])});"
            f" which of them count is undefined, so remove one key"
        )
    return full[0] if full else []


def _ends(listed: Any, key: str) -> list[tuple[str, str]]:
    if not isinstance(listed, list):
        raise BadGraph(f"{key} is {shown(listed)}; it has to be a list")
    for at, item in enumerate(listed):
        if not isinstance(item, dict) or "source" not in item or "target" not in item:
            raise BadGraph(f"{key}: item {at} has to be an object with 'source' and 'target'")
    return [
        (
            _id(item["source"], f"{key}: source of item {at}"),
            _id(item["target"], f"{key}: target of item {at}"),
        )
        for at, item in enumerate(listed)
    ]


def _id(value: Any, what: str) -> str:
    """A node's name: networkx allows numbers, and tuples (which JSON has as lists)."""
    if isinstance(value, list) and all(isinstance(part, (str, int, float)) for part in value):
        return str(tuple(value))
    if isinstance(value, (str, int, float)):
        return str(value)
    raise BadGraph(f"{what} is {shown(value)}; a node is text, a number, or a list of those")


def _missing(what: str, item: Mapping[str, Any], attribute: str, means: str) -> BadGraph:
    """That an attribute isn't there, which others are, and how to name another one."""
    has = f"only {listed([str(key) for key in item])}" if item else "none at all"
    return BadGraph(
        f"{what} has no attribute {attribute!r} (its {means}), {has}; {means}="
        f" (--{means}-attribute) names another"
    )


class _Link:
    """A node-link graph: attributes by position, and who comes before whom."""

    memory: str
    compute: str
    order: list[int] | None = None

    def __init__(self, names: list[str], attributes: list[Mapping[str, Any]]) -> None:
        self.names, self.attributes = names, attributes
        self.before: list[dict[int, None]] = [{} for _ in names]  # ordered, each once
        self._position = {name: at for at, name in enumerate(names)}
        if len(self._position) < len(names):
            twice = next(name for at, name in enumerate(names) if self._position[name] != at)
            raise BadGraph(f"duplicate name: two nodes are called {twice!r} (as text)")

    def connect(self, source: str, target: str) -> None:
        """Add an edge, once."""
        for name in (source, target):
            if name not in self._position:
                raise BadGraph(
                    f"an edge leads from {source!r} to {target!r}, but {name!r} is no node"
                )
        self.before[self._position[target]][self._position[source]] = None

    def graph(self, about: Mapping[str, Any]) -> Graph:
        """The graph, in its order; `about` holds the attributes of the whole."""
        order = self._executable() if self.order is None else self.order
        is_input = [item.get("kind") == "input" for item in self.attributes]
        written = [self._written(at) for at in range(len(self.names))]
        inputs = [self._input(at) for at in order if is_input[at]]
        nodes = [self._node(at, written) for at in order if not is_input[at]]
        name = about.get("name") or "graph"
        outputs = about.get("outputs")
        return Graph(nodes, inputs, outputs, name if isinstance(name, str) else str(name))

    def _executable(self) -> list[int]:
        """The own order where it can run, else the closest that can; on a cycle the own."""
        own = list(range(len(self.names)))
        if all(u < v for v in own for u in self.before[v]):
            return own
        readers: list[list[int]] = [[] for _ in own]
        for v in own:
            for u in self.before[v]:
                readers[u].append(v)
        missing = [len(before) for before in self.before]
        ready = [v for v in own if not missing[v]]
        order = []
        while ready:
            order.append(heapq.heappop(ready))
            for v in readers[order[-1]]:
                missing[v] -= 1
                if not missing[v]:
                    heapq.heappush(ready, v)
        return order if len(order) == len(own) else own  # the graph then shows the cycle

    def _written(self, at: int) -> tuple[Tensor, ...]:
        name, item = self.names[at], self.attributes[at]
        if "writes" not in item:
            if self.memory not in item:
                raise _missing(f"node {name!r}", item, self.memory, "memory")
            return (Tensor(name, item[self.memory]),)
        if self.memory in item:
            raise BadGraph(
                f"node {name!r} has both {self.memory!r} and 'writes';"
                f" memory belongs to each tensor that it writes"
            )
        listed = item["writes"]
        if not isinstance(listed, (list, tuple)) or not all(isinstance(o, dict) for o in listed):
            raise BadGraph(f"node {name!r}: writes has to be a list of tensors")
        return tuple(
            self._tensor(out, f"node {name!r}: output {k}") for k, out in enumerate(listed)
        )

    def _tensor(self, out: dict[str, Any], what: str) -> Tensor:
        name, view_of = name_of(out.get("name"), f"{what}: name"), out.get("view_of")
        if view_of is not None and not isinstance(view_of, str):
            raise BadGraph(f"{what}: view_of is {shown(view_of)}; it is a tensor's name")
        if view_of is None and "memory" not in out:
            raise BadGraph(f"{what} ({name!r}) has neither 'memory' nor 'view_of'")
        return Tensor(name, out.get("memory", 0), view_of)

    def _input(self, at: int) -> Input:
        name, item = self.names[at], self.attributes[at]
        if self.before[at]:
            reads = self.names[next(iter(self.before[at]))]
            raise BadGraph(f"input {name!r} reads {reads!r}; inputs read nothing")
        if self.memory not in item:
            raise _missing(f"input {name!r}", item, self.memory, "memory")
        freeable, offloadable = item.get("freeable", False), item.get("offloadable", True)
        return Input(name, item[self.memory], freeable, offloadable)

    def _node(self, at: int, written: list[tuple[Tensor, ...]]) -> Node:
        name, item = self.names[at], self.attributes[at]
        if self.compute not in item:
            raise _missing(f"node {name!r}", item, self.compute, "compute")
        return Node(
            name,
            self._reads(at, written),
            written[at],
            item[self.compute],
            item.get("workspace", 0),
            item.get("recomputable", True),
            item.get("backward", False),
        )

    def _reads(self, at: int, written: list[tuple[Tensor, ...]]) -> tuple[str, ...]:
        offered = [[out.name for out in written[u]] for u in self.before[at]]
        item = self.attributes[at]
        if "reads" not in item:
            return tuple(name for names in offered for name in names)
        reads = item["reads"]
        if not isinstance(reads, (list, tuple)) or not all(isinstance(r, str) for r in reads):
            raise BadGraph(f"node {self.names[at]!r}: reads has to be a list of tensors' names")
        known = {name for names in offered for name in names}
        if not known.issuperset(reads) or any(set(reads).isdisjoint(names) for names in offered):
            raise BadGraph(f"node {self.names[at]!r}: its reads and its edges don't agree")
        return tuple(reads)


def to_networkx(graph: Graph) -> nx.DiGraph:
    """The graph for networkx, which `from_networkx` turns back into an equal one.

    Parameters
    ----------
    graph
        Any graph whose inputs and nodes have different names.

    Returns
    -------
    networkx.DiGraph
        Inputs first, then the nodes in order, with the attributes named above;
        those that have their default value are left out.

    Raises
    ------
    BadGraph
        An input and a node have the same name.
    """
    import networkx as nx

    require_graph(graph)
    net = nx.DiGraph(name=graph.name, outputs=list(graph.outputs))
    writer: dict[str, str] = {}
    for item in graph.inputs:
        flags = {"freeable": True} if item.freeable else {}
        flags |= {} if item.offloadable else {"offloadable": False}
        net.add_node(item.name, memory=item.memory, kind="input", **flags)
        writer[item.name] = item.name
    for node in graph.nodes:
        if node.name in net:
            raise BadGraph(f"node {node.name!r} and an input have the same name; rename one")
        net.add_node(node.name, compute=node.compute, **_extras(node))
        writer |= {out.name: node.name for out in node.outputs}
    position = {name: at for at, name in enumerate(net)}
    written = {node.name: [out.name for out in node.outputs] for node in graph.nodes}
    for node in graph.nodes:
        sources = sorted({writer[name] for name in node.inputs}, key=position.__getitem__)
        net.add_edges_from((source, node.name) for source in sources)
        plain = [name for source in sources for name in written.get(source, [source])]
        if list(node.inputs) != plain:
            net.nodes[node.name]["reads"] = list(node.inputs)
    return net


def _extras(node: Node) -> dict[str, Any]:
    """Attributes beside compute: memory, or what is written; flags that aren't the default."""
    return written_by(node, "writes") | flags_of(node)


def written_by(node: Node, key: str) -> dict[str, Any]:
    """Memory of a result that has the node's name, or by `key` all that a node writes."""
    first = node.outputs[0]
    if len(node.outputs) == 1 and first.name == node.name and first.view_of is None:
        return {"memory": first.memory}
    outputs = [
        {"name": out.name, "memory": out.memory}
        if out.view_of is None
        else {"name": out.name, "view_of": out.view_of}
        for out in node.outputs
    ]
    return {key: outputs}


def flags_of(node: Node) -> dict[str, Any]:
    """What isn't the default: workspace, whether it runs once, and of which pass it is."""
    found: dict[str, Any] = {}
    if node.workspace:
        found["workspace"] = node.workspace
    if not node.recomputable:
        found["recomputable"] = False
    if node.backward:
        found["backward"] = True
    return found
