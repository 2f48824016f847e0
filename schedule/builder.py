"""A small builder: a graph written down line by line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import overload

from schedule.errors import BadGraph
from schedule.graph import Graph, Input, Node, Tensor
from schedule.values import is_listed, shown


class GraphBuilder:
    """Builds a graph line by line; every call returns the names it made.

    Parameters
    ----------
    name
        What to call the graph.

    Examples
    --------
    >>> from schedule import GraphBuilder
    >>> g = GraphBuilder("mlp")
    >>> x = g.input("x", memory=4096)
    >>> h = g.node("h", x, memory=4096, compute=12)
    >>> left, right = g.node("split", h, memory=(2048, 2048), compute=2)
    >>> y = g.node("y", [left, right], memory=4096, compute=1, workspace=256)
    >>> graph = g.build()
    >>> graph.outputs
    ('y',)
    """

    def __init__(self, name: str = "graph") -> None:
        self._name = name
        self._inputs: list[Input] = []
        self._nodes: list[Node] = []

    def input(
        self, name: str, memory: int, *, freeable: bool = False, offloadable: bool = True
    ) -> str:
        """Add an input of `memory` units; returns its name."""
        self._inputs.append(Input(name, memory, freeable, offloadable))
        return name

    @overload
    def node(
        self,
        name: str,
        inputs: str | Iterable[str] = (),
        *,
        memory: int = 0,
        compute: int | float = 1,
        workspace: int = 0,
        recomputable: bool = True,
        backward: bool = False,
    ) -> str: ...

    @overload
    def node(
        self,
        name: str,
        inputs: str | Iterable[str] = (),
        *,
        memory: Sequence[int] | Mapping[str, int],
        compute: int | float = 1,
        workspace: int = 0,
        recomputable: bool = True,
        backward: bool = False,
    ) -> tuple[str, ...]: ...

    def node(
        self,
        name: str,
        inputs: str | Iterable[str] = (),
        *,
        memory: int | Sequence[int] | Mapping[str, int] = 0,
        compute: int | float = 1,
        workspace: int = 0,
        recomputable: bool = True,
        backward: bool = False,
    ) -> str | tuple[str, ...]:
        """Add a node that reads `inputs` (one name or several).

        `memory` is the size of its one output, which has the node's name; or a
        list of sizes, for outputs called `name.0`, `name.1`, …; or a mapping
        from output names to sizes. Returns the output's name, or a tuple of
        them.
        """
        if isinstance(memory, Mapping):
            outputs = tuple(Tensor(out, amount) for out, amount in memory.items())
        elif isinstance(memory, Sequence) and not isinstance(memory, str):
            outputs = tuple(Tensor(f"{name}.{i}", amount) for i, amount in enumerate(memory))
        else:
            outputs = (Tensor(name, memory),)
        if not isinstance(inputs, str) and not is_listed(inputs):
            raise BadGraph(
                f"node {name!r}: inputs is {shown(inputs)}; give a name, or several in a list"
            )
        reads = (inputs,) if isinstance(inputs, str) else tuple(inputs)
        self._nodes.append(Node(name, reads, outputs, compute, workspace, recomputable, backward))
        names = tuple(out.name for out in outputs)
        is_one = isinstance(memory, str) or not isinstance(memory, (Mapping, Sequence))
        return names[0] if is_one else names

    def views(
        self, name: str, of: str, parts: Iterable[str], *, backward: bool = False
    ) -> tuple[str, ...]:
        """Add a node whose outputs `parts` all share `of`'s storage, as a split does."""
        if isinstance(parts, str) or not isinstance(parts, Iterable):
            raise BadGraph(f"node {name!r}: parts is {shown(parts)}; give several names")
        outputs = tuple(Tensor(part, 0, view_of=of) for part in parts)
        self._nodes.append(Node(name, (of,), outputs, compute=0, backward=backward))
        return tuple(out.name for out in outputs)

    def view(self, name: str, of: str, *, backward: bool = False) -> str:
        """Add a node without memory or compute whose output shares `of`'s storage."""
        self._nodes.append(
            Node(name, (of,), (Tensor(name, 0, view_of=of),), compute=0, backward=backward)
        )
        return name

    def build(self, outputs: Iterable[str] | None = None) -> Graph:
        """The graph, validated; `outputs` as in `Graph`."""
        return Graph(self._nodes, self._inputs, outputs, self._name)
