"""A small graph as bit masks: what a search over states looks up."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from schedule.graph import Graph
from schedule.layout import Layout, mask_of
from schedule.result import Order

#: Tensors that have to be live, and nodes that have to run before, as masks.
State = tuple[int, int]
#: The tensors on a storage, as a mask, and its memory.
Storage = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Node:
    """A node that has to run.

    Attributes
    ----------
    name, number, cost, recomputable
        As in the graph and its layout; the cost in units of `Masks.unit`.
    bit, later
        Masks of nodes: itself, and those whose first run comes after its first.
    reads, writes, results, earlier
        Masks of tensors: what it reads (without resident inputs), what it
        writes, what can't be computed without it, and what was written or an
        input before its first run.
    read, owns
        Of the storages that take memory and aren't resident, those on which it
        reads something, and those it allocates.
    owned, run_memory, least
        Memory that a run allocates; with its workspace; with all it reads and
        the resident inputs, too.
    """

    name: str
    number: int
    cost: int
    recomputable: bool
    bit: int
    later: int
    reads: int
    writes: int
    results: int
    earlier: int
    read: tuple[Storage, ...]
    owns: tuple[Storage, ...]
    owned: int
    run_memory: int
    least: int


def bits(mask: int) -> Iterator[int]:
    """The numbers of the bits that are set, ascending."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


def union(masks: list[int], picked: int) -> int:
    """The union of the picked masks."""
    found = 0
    for number in bits(picked):
        found |= masks[number]
    return found


class Masks:
    """The graph as masks: tensors by the layout's numbers, needed nodes by their own.

    Attributes
    ----------
    graph, is_fixed
        The graph, and whether first runs keep its order.
    inputs, outputs
        Masks of tensors: inputs that may be freed, and outputs other than resident inputs.
    resident, start_memory
        Mask of the inputs that are never freed; memory of all inputs.
    storage
        By tensor, the storage it lies on; a resident one as if it took no memory.
    unit, all_once
        Costs are multiples of `unit`; every needed node once takes `all_once`.
    nodes, todo
        The nodes that have to run, in the graph's order, and the mask of all of them.
    writer
        The node that writes a tensor, by its bit; inputs have none.
    """

    def __init__(self, graph: Graph, order: Order) -> None:
        layout = graph.layout
        self.graph, self.is_fixed = graph, order == "fixed"
        self.resident = mask_of(np.flatnonzero(layout.resident))
        self.inputs = mask_of(range(layout.n_inputs)) & ~self.resident
        self.outputs = mask_of(np.flatnonzero(layout.is_output)) & ~self.resident
        self.start_memory = int(layout.memory[: layout.n_inputs].sum())
        self.storage = _storage_of(layout)
        numbers = np.flatnonzero(layout.needed).tolist()
        costs = [Fraction(graph.nodes[v].compute) for v in numbers]
        self.all_once = sum(costs, Fraction(0))
        self.unit = _unit(costs)
        self.nodes = self._nodes(numbers, [int(cost / self.unit) for cost in costs])
        self.todo = (1 << len(self.nodes)) - 1
        self.writer = {1 << t: node for node in self.nodes for t in bits(node.writes)}

    def storages(self, tensors: int) -> tuple[Storage, ...]:
        """The storages of `tensors` that take memory and aren't resident."""
        return tuple(sorted({self.storage[t] for t in bits(tensors) if self.storage[t][1]}))

    def memory(self, live: int) -> int:
        """Memory in use while `live` and the resident inputs are live."""
        return self.graph.layout.resident_memory + sum(size for _, size in self.storages(live))

    def _nodes(self, numbers: list[int], costs: list[int]) -> list[Node]:
        layout = self.graph.layout
        writes = [mask_of(layout.outputs_of[v]) for v in numbers]
        before, after = _precedence(layout, numbers)
        nodes = []
        for i, v in enumerate(numbers):
            reads = mask_of(layout.reads_of[v]) & ~self.resident
            results = union(writes, after[i] | 1 << i)
            if self.is_fixed:
                before[i] = (1 << i) - 1
                after[i] = (1 << len(numbers)) - (2 << i)
            owned = int(layout.new_memory[v])
            run_memory = int(layout.run_memory[v])
            node = Node(
                name=layout.node_names[v],
                number=v,
                cost=costs[i],
                recomputable=bool(layout.recomputable[v]),
                bit=1 << i,
                later=after[i],
                reads=reads,
                writes=writes[i],
                results=results,
                earlier=union(writes, before[i]) | self.inputs,
                read=self.storages(reads),
                owns=tuple(s for s in self.storages(writes[i]) if s[0] & -s[0] & writes[i]),
                owned=owned,
                run_memory=run_memory,
                least=self.memory(reads) + run_memory,
            )
            nodes.append(node)
        return nodes


def _storage_of(layout: Layout) -> list[Storage]:
    """The storage that each tensor lies on; resident ones as if they took no memory."""
    owner = layout.storage.tolist()
    tensors = [0] * layout.n_tensors
    for t, s in enumerate(owner):
        tensors[s] |= 1 << t
    memory = np.where(layout.resident, 0, layout.memory).tolist()
    return [(tensors[s], memory[s]) for s in owner]


def _unit(costs: list[Fraction]) -> Fraction:
    """The largest number that all costs are multiples of; 1 where all are 0."""
    over = math.lcm(*(cost.denominator for cost in costs))
    return Fraction(math.gcd(*(int(cost * over) for cost in costs)) or over, over)


def _precedence(layout: Layout, numbers: list[int]) -> tuple[list[int], list[int]]:
    """For each needed node, masks of those that it depends on and of those that depend on it."""
    index = {v: i for i, v in enumerate(numbers)}
    before, after = [0] * len(numbers), [0] * len(numbers)
    for i, v in enumerate(numbers):
        for writer in {int(layout.producer[t]) for t in layout.reads_of[v]} - {-1}:
            before[i] |= before[index[writer]] | 1 << index[writer]
        for j in bits(before[i]):
            after[j] |= 1 << i
    return before, after
