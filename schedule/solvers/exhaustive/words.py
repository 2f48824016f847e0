"""A small graph as masks of one machine word each: what compiled code can search."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from schedule.layout import Bools, Ints, offsets
from schedule.solvers.exhaustive.crossings import Crossings
from schedule.solvers.exhaustive.masks import Masks, bits
from schedule.solvers.kit.structs import Struct

#: Tensors and nodes up to which a mask is a word with a sign, and numbers that stay below it.
_BITS = 62
_MOST = 1 << _BITS
#: Schedules of more runs than this aren't reached: their sums of costs would overflow.
_RUNS = 1 << 20


class Words(Struct):
    """What `Masks` and `Crossings` say: of n nodes, t tensors (resident ones aside), c crowds.

    Attributes
    ----------
    is_fixed, has_budget, budget
        Whether first runs keep the order, whether there is a budget, and which.
    lasting, inputs, outputs
        Masks of tensors: what can't be live again, inputs, and what is live at the end.
    cost, recomputable, later, reads, writes, results, run_memory
        Shape (n,): see `masks.Node`.
    writer
        Shape (t,): the node that writes a tensor; −1: it is an input.
    first_read, read_on, read_size
        Shapes (n + 1,), and the rest as long as that says: the storages that each node
        reads, as masks of their tensors, and their memory.
    first_own, own_on, own_size
        The same of those that it allocates.
    crowd, crowd_tensors, crowd_least
        Shape (c,): of each crowd the node, the tensors, and the node's `least`.
    first_storage, storage_on, storage_size, storage_cost, storage_owned
        Its storages, the cheapest to write again first: see `crossings`.
    """

    is_fixed: bool
    has_budget: bool
    budget: int
    lasting: int
    inputs: int
    outputs: int
    cost: Ints
    recomputable: Bools
    later: Ints
    reads: Ints
    writes: Ints
    results: Ints
    run_memory: Ints
    writer: Ints
    first_read: Ints
    read_on: Ints
    read_size: Ints
    first_own: Ints
    own_on: Ints
    own_size: Ints
    crowd: Ints
    crowd_tensors: Ints
    crowd_least: Ints
    first_storage: Ints
    storage_on: Ints
    storage_size: Ints
    storage_cost: Ints
    storage_owned: Ints


@dataclass(frozen=True, slots=True)
class _Numbering:
    """New numbers for the tensors that aren't resident, so that more graphs fit a word."""

    bit: dict[int, int]

    def of(self, mask: int) -> int:
        """The same tensors by their new numbers; resident ones are left out."""
        bit, found = self.bit, 0
        while mask:
            low = mask & -mask
            found |= bit.get(low, 0)
            mask ^= low
        return found


def words_of(masks: Masks, crossings: Crossings, budget: int | None) -> Words | None:
    """The graph as words; None: it has too many tensors, or numbers that are too large."""
    layout, nodes = masks.graph.layout, masks.nodes
    stay = np.flatnonzero(~layout.resident).tolist()
    if len(stay) > _BITS or len(nodes) > _BITS or not _is_exact(masks, budget):
        return None
    new = _Numbering({1 << t: 1 << i for i, t in enumerate(stay)})
    writer = np.full(len(stay), -1)
    for i, node in enumerate(nodes):
        for t in bits(new.of(node.writes)):
            writer[t] = i
    number = {node.number: i for i, node in enumerate(nodes)}
    read = [[(new.of(on), size) for on, size in node.read] for node in nodes]
    own = [[(new.of(on), size) for on, size in node.owns] for node in nodes]
    crowds = crossings.crowds
    held = [[(new.of(on), *priced) for on, *priced in crowd.storages] for crowd in crowds]
    read_on, read_size = _columns(read, 2)
    own_on, own_size = _columns(own, 2)
    storage_on, storage_size, storage_cost, storage_owned = _columns(held, 4)
    return Words(
        is_fixed=masks.is_fixed,
        has_budget=budget is not None,
        budget=budget or 0,
        lasting=new.of(crossings.lasting),
        inputs=new.of(masks.inputs),
        outputs=new.of(masks.outputs),
        cost=_whole(node.cost for node in nodes),
        recomputable=np.array([node.recomputable for node in nodes], np.bool_),
        later=_whole(node.later for node in nodes),
        reads=_whole(new.of(node.reads) for node in nodes),
        writes=_whole(new.of(node.writes) for node in nodes),
        results=_whole(new.of(node.results) for node in nodes),
        run_memory=_whole(node.run_memory for node in nodes),
        writer=writer,
        first_read=offsets(_whole(map(len, read))),
        read_on=read_on,
        read_size=read_size,
        first_own=offsets(_whole(map(len, own))),
        own_on=own_on,
        own_size=own_size,
        crowd=_whole(number[crowd.node.number] for crowd in crowds),
        crowd_tensors=_whole(new.of(crowd.tensors) for crowd in crowds),
        crowd_least=_whole(crowd.node.least for crowd in crowds),
        first_storage=offsets(_whole(map(len, held))),
        storage_on=storage_on,
        storage_size=storage_size,
        storage_cost=storage_cost,
        storage_owned=storage_owned,
    )


def _is_exact(masks: Masks, budget: int | None) -> bool:
    """Whether no sum or product of costs and memory leaves a word."""
    layout = masks.graph.layout
    costs = [node.cost for node in masks.nodes]
    memory = int(layout.memory.sum(dtype=object)) + max(
        (node.run_memory for node in masks.nodes), default=0
    )
    most = max(memory, budget or 0)
    return most < _MOST and max(costs, default=0) * memory < _MOST and sum(costs) * _RUNS < _MOST


def _whole(numbers: Iterable[int]) -> Ints:
    return np.array(list(numbers), np.int64)


def _columns(lists: Iterable[Iterable[tuple[int, ...]]], count: int) -> list[Ints]:
    """What all lists hold one after the other, each place of their tuples by itself."""
    rows = np.array([row for each in lists for row in each], np.int64).reshape(-1, count)
    return [np.ascontiguousarray(column) for column in rows.T]
