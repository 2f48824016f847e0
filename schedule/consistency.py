"""Whether inputs and nodes, each right by itself, make a graph together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NoReturn

from schedule.errors import BadGraph
from schedule.values import LARGEST_MEMORY, is_listed, shown

if TYPE_CHECKING:
    from schedule.graph import Input, Node


def require_consistent(inputs: tuple[Input, ...], nodes: tuple[Node, ...]) -> None:
    """Check that names are unique, nodes can run in their order, and sizes can be added.

    Raises
    ------
    BadGraph
        The first mistake: a duplicate name; a node that reads what nothing writes, what is
        computed only later, or what is behind a cycle, which is shown; sizes of which sums
        don't fit into 64 bits.

    Notes
    -----
    O(nodes + edges).
    """
    _check_names(inputs, nodes)
    _check_order(inputs, nodes)
    _check_total(inputs, nodes)


def checked_outputs(
    inputs: tuple[Input, ...], nodes: tuple[Node, ...], outputs: Iterable[str] | None
) -> tuple[str, ...]:
    """Names of the tensors that have to be live after the last step.

    By default (None) those that are `unread`.

    Raises
    ------
    BadGraph
        It is no list; one is no tensor of the graph, or is listed twice.
    """
    if outputs is None:
        return unread(inputs, nodes)
    if not is_listed(outputs):
        raise BadGraph(f"outputs is {shown(outputs)}; it has to be a list of tensors' names")
    wanted = tuple(outputs)
    known = set(_tensors(inputs, nodes))
    seen: set[str] = set()
    for name in wanted:
        if not isinstance(name, str) or name not in known:
            raise BadGraph(f"output {shown(name)} is not a tensor of the graph")
        if name in seen:
            raise BadGraph(f"duplicate name: output {name!r} is listed twice")
        seen.add(name)
    return wanted


def unread(inputs: tuple[Input, ...], nodes: tuple[Node, ...]) -> tuple[str, ...]:
    """Names of the tensors that no node reads, in the order of inputs and nodes."""
    read = {reading for node in nodes for reading in node.inputs}
    return tuple(name for name in _tensors(inputs, nodes) if name not in read)


def _tensors(inputs: tuple[Input, ...], nodes: tuple[Node, ...]) -> list[str]:
    return [item.name for item in inputs] + [out.name for node in nodes for out in node.outputs]


def _check_names(inputs: tuple[Input, ...], nodes: tuple[Node, ...]) -> None:
    nodes_seen: set[str] = set()
    tensors: dict[str, str] = {}
    for item in inputs:
        if item.name in tensors:
            raise BadGraph(f"duplicate name: two inputs are called {item.name!r}")
        tensors[item.name] = "an input"
    for node in nodes:
        if node.name in nodes_seen:
            raise BadGraph(f"duplicate name: two nodes are called {node.name!r}")
        nodes_seen.add(node.name)
        for out in node.outputs:
            if out.name in tensors:
                raise BadGraph(
                    f"duplicate name: node {node.name!r} writes {out.name!r},"
                    f" which {tensors[out.name]} is called already"
                )
            tensors[out.name] = f"an output of node {node.name!r}"


def _check_order(inputs: tuple[Input, ...], nodes: tuple[Node, ...]) -> None:
    """Every node reads only what is live when it runs."""
    there = {item.name for item in inputs}
    for node in nodes:
        for reading in node.inputs:
            if reading not in there:
                _explain_order(node, reading, nodes)
        there.update([out.name for out in node.outputs])


def _explain_order(node: Node, reading: str, nodes: tuple[Node, ...]) -> NoReturn:
    """Raise with the reason why `reading` isn't there when `node` runs."""
    writer = {out.name: other for other in nodes for out in other.outputs}
    if reading not in writer:
        raise BadGraph(f"node {node.name!r} reads {shown(reading)}, which nothing writes")
    cycle = _cycle(nodes, writer)
    if cycle:
        way = " → ".join(repr(name) for name in cycle)
        raise BadGraph(f"the graph has a cycle: {way} (each reads the one before it)")
    raise BadGraph(
        f"node {node.name!r} reads {reading!r}, which node {writer[reading].name!r} computes"
        f" only later; list the nodes in an order in which they can run"
    )


def _cycle(nodes: tuple[Node, ...], writer: Mapping[str, Node]) -> list[str] | None:
    """Names of nodes round one cycle (the first again at the end), or None.

    From any node that can never run, walking to a writer that can't either must come round.
    """
    waits = {
        node.name: {writer[reading].name for reading in node.inputs if reading in writer}
        for node in nodes
    }
    stuck = _never_run(waits)
    if not stuck:
        return None
    place: dict[str, int] = {}
    walk: list[str] = []
    here = next(name for name in waits if name in stuck)
    while here not in place:
        place[here] = len(walk)
        walk.append(here)
        here = min(before for before in waits[here] if before in stuck)
    round_trip = walk[place[here] :][::-1]
    return [*round_trip, round_trip[0]]


def _never_run(waits: Mapping[str, set[str]]) -> set[str]:
    """Nodes on a cycle or behind one, given for each those that it waits for.

    Kahn's elimination (doi:10.1145/368996.369025) takes away all others.
    """
    readers: dict[str, list[str]] = {}
    for name, before in waits.items():
        for earlier in before:
            readers.setdefault(earlier, []).append(name)
    missing = {name: len(before) for name, before in waits.items()}
    ready = [name for name, count in missing.items() if not count]
    while ready:
        done = ready.pop()
        del missing[done]
        for reader in readers.get(done, ()):
            missing[reader] -= 1
            if not missing[reader]:
                ready.append(reader)
    return set(missing)


def _check_total(inputs: tuple[Input, ...], nodes: tuple[Node, ...]) -> None:
    memory = sum(item.memory for item in inputs)
    # Twice the outputs: while a node runs again, a second copy may be there.
    memory += 2 * sum(out.memory for node in nodes for out in node.outputs)
    memory += max((node.workspace for node in nodes), default=0)
    if memory >= LARGEST_MEMORY:
        raise BadGraph(f"the sizes add up to {memory}; their sum has to stay below 2**61")
