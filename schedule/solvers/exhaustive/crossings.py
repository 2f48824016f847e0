"""What has to be live while a node first runs, and the least cost of evicting it instead."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from schedule.solvers.exhaustive.masks import Masks, Node, State, union

#: A storage's tensors and its memory; the cost of the node that owns it, and all this node owns.
_Priced = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class _Crowd:
    """What may have to be live while `node` first runs: `tensors`, and what they lie on.

    The storages are sorted, the cheapest to write again first. `known` are answers.
    """

    node: Node
    tensors: int
    storages: list[_Priced]
    known: dict[int, tuple[int, int]]


class Crossings:
    """What has to be live while a node first runs, and what it costs to evict it instead.

    What was written before that run and is asked for after it (by the state, or by
    later first runs) is either live meanwhile, or its storage is free and the node
    that owns it runs again. So what doesn't fit costs at least the optimum of a
    knapsack, here of its linear relaxation (Dantzig 1957,
    doi:10.1287/opre.5.2.266). What can't be recomputed has to be live.

    Parameters
    ----------
    masks
        The graph.
    budget
        Memory that all has to fit; None: only what has to be live is of interest.
    """

    def __init__(self, masks: Masks, budget: int | None) -> None:
        self._budget = budget
        self._reads = [node.reads for node in masks.nodes]
        self._read_by = {0: 0}
        self._lasting = _lasting(masks)
        asked = union(self._reads, masks.todo) | masks.outputs
        self._crowds = []
        priced = _priced(masks)
        for node in masks.nodes:
            crossing = node.earlier & asked & (self._lasting if budget is None else -1)
            storages = [
                storage
                for storage in priced
                if storage[0] & crossing and not storage[0] & node.reads
            ]
            held = sum(memory for _, memory, _, _ in storages)
            if node.least + held > (node.least if budget is None else budget):
                crossing &= sum(tensors for tensors, _, _, _ in storages)
                self._crowds.append(_Crowd(node, crossing, storages, {}))

    def least(self, state: State) -> tuple[int, int, Node | None]:
        """Least peak and least cost of further runs on any way to here; the peak's node."""
        live, todo = state
        peak, cost, at = 0, 0, None
        for crowd in self._crowds:
            if not crowd.node.bit & todo:
                continue
            later = crowd.node.later & todo
            reads = self._read_by.get(later)
            if reads is None:
                reads = self._all_reads(later)
            crossing = crowd.tensors & (live | reads)
            found = crowd.known.get(crossing)
            if found is None:
                found = crowd.known[crossing] = self._of(crowd, crossing)
            if found[0] > peak:
                peak, at = found[0], crowd.node
            if found[1] > cost:
                cost = found[1]
        return peak, cost, at

    def _all_reads(self, nodes: int) -> int:
        """What any of these nodes reads; kept also for those without the last ones, asked next."""
        known, added = self._read_by, []
        while nodes not in known:
            added.append(nodes.bit_length() - 1)
            nodes ^= 1 << added[-1]
        reads = known[nodes]
        for last in reversed(added):
            nodes |= 1 << last
            reads |= self._reads[last]
            known[nodes] = reads
        return reads

    def _of(self, crowd: _Crowd, crossing: int) -> tuple[int, int]:
        lasting = crossing & self._lasting
        across = [storage for storage in crowd.storages if storage[0] & crossing]
        peak = crowd.node.least + sum(size for tensors, size, _, _ in across if tensors & lasting)
        if self._budget is None:
            return peak, 0
        across = [storage for storage in across if not storage[0] & lasting]
        excess = peak + sum(memory for _, memory, _, _ in across) - self._budget
        cost = 0
        for _, memory, again, owned in across:
            if excess <= 0:
                break
            # Each storage pays its share of its node's run. The sum is an integer, so the
            # shares may be rounded down, and the last part up.
            cost += again * memory // owned if memory <= excess else -(-again * excess // owned)
            excess -= memory
        return peak, cost


def _lasting(masks: Masks) -> int:
    """Tensors that can't be live again once their storage is free."""
    lasting = 0
    for t, (tensors, _) in enumerate(masks.storage):
        # The owner has the lowest number on a storage; what has no writer is an input.
        writers = masks.writer.get(tensors & -tensors), masks.writer.get(1 << t)
        if not all(writer is not None and writer.recomputable for writer in writers):
            lasting |= 1 << t
    return lasting


def _priced(masks: Masks) -> list[_Priced]:
    """All storages, the cheapest to write again first."""
    found = []
    for mask, memory in masks.storages((1 << len(masks.storage)) - 1):
        owner = masks.writer.get(mask & -mask)
        cost, owned = (owner.cost, owner.owned) if owner else (0, memory)  # inputs never run
        found.append((mask, memory, cost, owned))
    return sorted(found, key=lambda storage: (Fraction(storage[2], storage[3]), storage))
