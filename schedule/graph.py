"""Computation graphs: what each node reads and writes, and what that costs.

A `Graph` is immutable and validated once, when it is made. Solvers and the
memory model don't walk its objects; they use `Graph.layout`, the same graph as
integer arrays.
"""

from __future__ import annotations

import hashlib
import json
import operator
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, wraps
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from schedule.consistency import checked_outputs, require_consistent
from schedule.display import Shown
from schedule.errors import BadGraph
from schedule.values import (
    LARGEST_MEMORY,
    LONGEST_NAME,
    cost,
    flag,
    is_listed,
    name_of,
    shown,
    size,
    total,
)

if TYPE_CHECKING:
    from schedule.layout import Layout

Fact = TypeVar("Fact")
How = ParamSpec("How")


def kept_with_graph(
    function: Callable[Concatenate[Graph, How], Fact],
) -> Callable[Concatenate[Graph, How], Fact]:
    """Have a function answer once for each graph, and keep its answer with the graph.

    A graph never changes, and one solve asks the same of it in many places: its floor, its
    program as it is. Other arguments must not matter to the answer: they may say when to give
    up, by an exception. The answer is shared: nobody may write into its arrays.
    """
    key = f"{function.__module__}.{function.__qualname__}"

    @wraps(function)
    def kept(graph: Graph, /, *args: How.args, **kwargs: How.kwargs) -> Fact:
        require_graph(graph)
        known = graph.__dict__
        if key not in known:
            known[key] = function(graph, *args, **kwargs)
        found: Fact = known[key]
        return found

    return kept


@dataclass(frozen=True, slots=True)
class Tensor:
    """What a node writes: `memory` units of its own, or a view of another tensor.

    Parameters
    ----------
    name
        Unique among the graph's tensors, its inputs included.
    memory
        Size of its storage, an integer ≥ 0 in the caller's unit; 0 for a view.
    view_of
        The input of the same node whose storage this tensor shares.
    """

    name: str
    memory: int = 0
    view_of: str | None = None


@dataclass(frozen=True, slots=True)
class Input:
    """A tensor that is live before the first step.

    It is resident (never freed, always counted) unless `freeable`: then it may
    be freed after its last use, and can't come back. Where there are levels of memory
    below the device it may be copied there, unless it isn't `offloadable`.
    """

    name: str
    memory: int
    freeable: bool = False
    offloadable: bool = True


@dataclass(frozen=True, slots=True)
class Node:
    """One operation: reads the tensors `inputs`, writes the tensors `outputs`.

    Parameters
    ----------
    name
        Unique among the graph's nodes.
    inputs
        Names of the tensors it reads, in the order of its callable's arguments;
        a name may stand there twice.
    outputs
        The tensors it writes, at least one.
    compute
        Cost of one run, a finite number ≥ 0 in the caller's unit.
    workspace
        Memory in use only while the node runs, an integer ≥ 0.
    recomputable
        False: the node runs at most once.
    backward
        True for a node of the backward pass.
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[Tensor, ...]
    compute: int | float
    workspace: int = 0
    recomputable: bool = True
    backward: bool = False


class Graph(Shown):
    """A computation graph, validated and immutable.

    Parameters
    ----------
    nodes
        The operations, in the order in which the program runs them today.
    inputs
        The tensors that are live before the first step.
    outputs
        Names of the tensors that must be live after the last step; by default
        every tensor that no node reads.
    name
        What to call the graph in messages and files.

    Raises
    ------
    BadGraph
        For any mistake, with the node and the value: an unknown or duplicate
        name, a cycle, a node that reads what is computed only later, a size
        that is no integer ≥ 0, a view of something the node doesn't read.

    Notes
    -----
    Validation takes O(nodes + edges).

    Examples
    --------
    >>> from schedule import Graph, Node, Tensor
    >>> graph = Graph([
    ...     Node("a", (), (Tensor("a", 8),), compute=3),
    ...     Node("b", ("a",), (Tensor("b", 8),), compute=1),
    ... ])
    >>> graph.outputs
    ('b',)
    """

    __slots__ = ("__dict__", "inputs", "name", "nodes", "outputs")

    name: str
    inputs: tuple[Input, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[str, ...]

    def __init__(
        self,
        nodes: Iterable[Node],
        inputs: Iterable[Input] = (),
        outputs: Iterable[str] | None = None,
        name: str = "graph",
    ) -> None:
        for what, given in (("nodes", nodes), ("inputs", inputs)):
            if not is_listed(given):
                raise BadGraph(f"the graph's {what} are {shown(given)}; give a list of them")
        checked_inputs = tuple(_checked_input(item) for item in inputs)
        checked_nodes = tuple(_checked_node(node) for node in nodes)
        if name != "":
            name_of(name, "the graph's name")
        require_consistent(checked_inputs, checked_nodes)
        put = object.__setattr__
        put(self, "name", name)
        put(self, "inputs", checked_inputs)
        put(self, "nodes", checked_nodes)
        put(self, "outputs", checked_outputs(checked_inputs, checked_nodes, outputs))

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a Graph is immutable: {name!r} can't be set")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"a Graph is immutable: {name!r} can't be deleted")

    def __reduce__(self) -> tuple[Any, ...]:
        return (Graph, (self.nodes, self.inputs, self.outputs, self.name))

    def __eq__(self, other: object) -> bool:
        """Equal in all that matters to a schedule; the graph's name doesn't."""
        if not isinstance(other, Graph):
            return NotImplemented
        return (self.inputs, self.nodes, self.outputs) == (
            other.inputs,
            other.nodes,
            other.outputs,
        )

    def __hash__(self) -> int:
        return hash(self.digest)

    def __len__(self) -> int:
        return len(self.nodes)

    def __repr__(self) -> str:
        return f"<Graph {self.name!r}: {len(self.nodes)} nodes, {len(self.inputs)} inputs>"

    @cached_property
    def layout(self) -> Layout:
        """The graph as integer arrays, made at first use and kept."""
        from schedule.layout import Layout  # NumPy is loaded only when it is needed

        return Layout(self)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over all that matters to a schedule, as 64 hexadecimal digits.

        Whether an input is offloadable isn't in it: that says which steps a schedule may
        have, and not what they do. Defaults are filled in and the graph's name is left out,
        so two files that describe the same graph have the same digest.
        """
        content = [
            [[item.name, item.memory, item.freeable] for item in self.inputs],
            [
                [
                    node.name,
                    node.inputs,
                    [[out.name, out.memory, out.view_of] for out in node.outputs],
                    node.compute,
                    node.workspace,
                    node.recomputable,
                    node.backward,
                ]
                for node in self.nodes
            ],
            self.outputs,
        ]
        text = json.dumps(content, ensure_ascii=True, separators=(",", ":"))
        return hashlib.sha256(text.encode("ascii")).hexdigest()

    @cached_property
    def compute(self) -> int | float:
        """Compute of every node once: exact where all costs are integers."""
        return total(node.compute for node in self.nodes)

    @property
    def tensors(self) -> Mapping[str, Input | Tensor]:
        """Every tensor by name: the inputs first, then what each node writes."""
        found: dict[str, Input | Tensor] = {item.name: item for item in self.inputs}
        found.update((out.name, out) for node in self.nodes for out in node.outputs)
        return found


def require_graph(given: object) -> None:
    """Refuse what is no graph, in the caller's terms: for where one is given first of all.

    Raises
    ------
    BadGraph
        It is something else; says what makes a graph of it.
    """
    if isinstance(given, Graph):
        return
    if isinstance(given, (str, bytes, os.PathLike)):
        way = "schedule.read reads a file"
    elif isinstance(given, type):
        way = "that is a class"
    elif hasattr(given, "build"):
        way = "a builder's build() makes one"
    elif hasattr(given, "nodes") and hasattr(given, "edges"):
        way = "schedule.from_networkx makes one of networkx's"
    else:
        way = "give a schedule.Graph"
    raise BadGraph(f"{shown(given)} is no graph: {way}")


def renamed(graph: Graph, name: str) -> Graph:
    """The same graph under another name; it needn't be validated again."""
    made = Graph.__new__(Graph)
    put = object.__setattr__
    put(made, "name", name_of(name, "the graph's name"))
    put(made, "inputs", graph.inputs)
    put(made, "nodes", graph.nodes)
    put(made, "outputs", graph.outputs)
    return made


def _checked_input(item: Input) -> Input:
    if not isinstance(item, Input):
        raise BadGraph(f"an input is a schedule.Input, not {shown(item)}")
    name = name_of(item.name, "an input's name")
    memory = size(item.memory, f"input {name!r}: memory")
    freeable = flag(item.freeable, f"input {name!r}: freeable")
    offloadable = flag(item.offloadable, f"input {name!r}: offloadable")
    same = memory is item.memory and freeable is item.freeable and offloadable is item.offloadable
    return item if same else Input(name, memory, freeable, offloadable)


def _checked_node(node: Node) -> Node:
    """The node itself where nothing had to be converted, else its plain form."""
    if _is_plain(node):
        return node
    if not isinstance(node, Node):
        raise BadGraph(f"a node is a schedule.Node, not {shown(node)}")
    name = name_of(node.name, "a node's name")
    inputs = _tuple(node.inputs, f"node {name!r}: inputs")
    for reading in inputs:
        if not isinstance(reading, str):
            several = "; where several are listed, unpack them" if type(reading) is tuple else ""
            raise BadGraph(
                f"node {name!r} reads {shown(reading)}; an input is a tensor's name{several}"
            )
    outputs = _tuple(node.outputs, f"node {name!r}: outputs")
    if not outputs:
        raise BadGraph(f"node {name!r} writes nothing; a node has at least one output")
    checked = tuple(_checked_tensor(out, name, inputs) for out in outputs)
    compute = cost(node.compute, f"node {name!r}: compute")
    workspace = size(node.workspace, f"node {name!r}: workspace")
    recomputable = flag(node.recomputable, f"node {name!r}: recomputable")
    backward = flag(node.backward, f"node {name!r}: backward")
    same = (
        inputs is node.inputs
        and workspace is node.workspace
        and compute is node.compute
        and recomputable is node.recomputable
        and backward is node.backward
        and all(map(operator.is_, checked, outputs))
    )
    if same and outputs is node.outputs:
        return node
    return Node(name, inputs, checked, compute, workspace, recomputable, backward)


def _is_plain(node: object) -> bool:
    """Whether a node is as nearly all are, so that nothing has to be said or converted.

    What follows it makes a message for each value before it looks at it, which takes ten times
    as long: seconds for a million nodes.
    """
    return (
        type(node) is Node
        and _is_plain_name(node.name)
        and type(node.inputs) is tuple
        and set(map(type, node.inputs)) <= {str}
        and type(node.outputs) is tuple
        and len(node.outputs) > 0
        and all(_is_plain_tensor(out, node.inputs) for out in node.outputs)
        and type(node.compute) is int
        and 0 <= node.compute < LARGEST_MEMORY
        and type(node.workspace) is int
        and 0 <= node.workspace < LARGEST_MEMORY
        and type(node.recomputable) is bool
        and type(node.backward) is bool
    )


def _is_plain_tensor(out: object, inputs: tuple[str, ...]) -> bool:
    return (
        type(out) is Tensor
        and _is_plain_name(out.name)
        and type(out.memory) is int
        and 0 <= out.memory < LARGEST_MEMORY
        and (out.view_of is None or (out.view_of in inputs and not out.memory))
    )


def _is_plain_name(name: object) -> bool:
    return type(name) is str and 0 < len(name) <= LONGEST_NAME and name.isascii()


def _tuple(value: object, what: str) -> tuple[Any, ...]:
    if isinstance(value, tuple):
        return value
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise BadGraph(f"{what} is {shown(value)}; it has to be a list")
    return tuple(value)


def _checked_tensor(out: Tensor, node: str, inputs: tuple[str, ...]) -> Tensor:
    if not isinstance(out, Tensor):
        raise BadGraph(f"node {node!r}: an output is a schedule.Tensor, not {shown(out)}")
    name = name_of(out.name, f"node {node!r}: an output's name")
    memory = size(out.memory, f"node {node!r}: memory of {name!r}")
    if out.view_of is not None:
        if out.view_of not in inputs:
            raise BadGraph(
                f"node {node!r}: {name!r} is a view of {shown(out.view_of)},"
                f" which is not among the node's inputs"
            )
        if memory:
            raise BadGraph(
                f"node {node!r}: {name!r} is a view and has memory {memory};"
                f" a view has no memory of its own"
            )
    return out if memory is out.memory else Tensor(name, memory, out.view_of)
