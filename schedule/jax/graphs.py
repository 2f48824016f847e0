"""A function's operations as a `schedule.Graph`, and what runs for each of its nodes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from schedule.graph import Graph, Input, Node, Tensor
from schedule.jax.costs import Meter
from schedule.jax.operations import Operation, Operations, operations_of, values_of
from schedule.jax.tracing import Traced, trace

#: The input that stands for memory in use beside the function.
DECLARED = "(declared resident)"


@dataclass(frozen=True)
class Program:
    """A function that any schedule of its graph can run.

    Attributes
    ----------
    traced
        The function.
    graph
        Memory in bytes, compute as `schedule.jax.costs` has it.
    found
        Its operations; node `n` of the graph runs operation `n`.
    tensors
        By value: its tensor's name.
    donated
        Arguments, by their numbers among the arrays, that may be freed.
    guessed
        Loops that count as one round, as nobody knows how many there are.
    """

    traced: Traced
    graph: Graph
    found: Operations
    tensors: dict[int, str]
    donated: frozenset[int]
    guessed: int


def program_of(
    function: Callable[..., Any],
    args: Sequence[Any],
    meter: Meter,
    *,
    resident: int = 0,
    donated: Callable[[Traced], Collection[int]] | None = None,
    merges: bool = True,
) -> Program:
    """Trace a function, and make a graph of it. O(equations) beside the tracing.

    Parameters
    ----------
    function, args
        As for `schedule.jax.plan`.
    meter
        Of costs and workspace.
    resident
        Bytes in use beside it.
    donated
        Says which of the arguments' arrays may be freed.
    merges
        As for `operations_of`.

    Raises
    ------
    BadInput, CannotCapture
        As `trace` and `operations_of`.
    """
    traced = trace(function, args)
    found = operations_of(traced.jaxpr, merges=merges)
    freeable = frozenset(donated(traced) if donated else ())
    names = Names(found, traced.names)
    inputs = [
        Input(names.tensors[value], found.bytes_of(value), freeable=at in freeable)
        for at, value in enumerate(found.arguments)
    ]
    inputs += [Input(names.tensors[value], found.bytes_of(value)) for value in found.constants]
    if resident:
        inputs.append(Input(DECLARED, resident))
    nodes, last = [], None
    for operation, name in zip(found.operations, names.nodes):
        reads = [names.tensors[value] for value in values_of(operation.reads)]
        writes = [Tensor(names.tensors[v], found.bytes_of(v)) for v in operation.writes]
        if operation.in_order:
            # What has effects is kept in order by tensors of no size, each read by the next.
            reads += [] if last is None else [last]
            last = f"{name}!done"
        if operation.in_order or not writes:
            writes.append(Tensor(last or f"{name}!done"))
        nodes.append(_node(name, reads, writes, operation, meter))
    outputs = [names.tensors[value] for value in values_of(found.results)]
    outputs += [] if last is None else [last]
    graph = Graph(nodes, inputs, dict.fromkeys(outputs), traced.name)
    return Program(traced, graph, found, names.tensors, freeable, meter.guessed)


def _node(
    name: str, reads: list[str], writes: list[Tensor], operation: Operation, meter: Meter
) -> Node:
    equation = operation.equation
    return Node(
        name,
        tuple(reads),
        tuple(writes),
        meter.cost(equation),
        meter.workspace(equation),
        recomputable=not operation.once,
        backward=operation.backward,
    )


class Names:
    """Names of nodes and tensors: each primitive's runs are counted."""

    def __init__(self, found: Operations, arguments: Sequence[str]) -> None:
        self.nodes: list[str] = []
        self.tensors: dict[int, str] = dict(zip(found.arguments, arguments))
        for at, value in enumerate(found.constants):
            self.tensors[value] = f"constant {at}"
        counts: Counter[str] = Counter()
        for operation in found.operations:
            kind = operation.equation.primitive.name
            name = f"{kind}_{counts[kind]}"
            counts[kind] += 1
            self.nodes.append(name)
            if len(operation.writes) == 1:
                self.tensors[operation.writes[0]] = name
            else:
                self.tensors.update((v, f"{name}.{at}") for at, v in enumerate(operation.writes))
