"""When each storage of a step is there, by which parts are wrapped and what is kept in them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from schedule.layout import Ints
from schedule.torch.regions import Anatomy

#: What always runs; other literals are a column's number, or its negative: not that column.
_ALWAYS = 0


class Moments:
    """When each storage is there, by what is chosen.

    Moments are the nodes of the step in their order, with every region's second run
    before the node that asks for it.
    """

    def __init__(self, anatomy: Anatomy, wrap: Sequence[int], keep: Mapping[int, int]) -> None:
        self._anatomy, self._wrap, self._keep = anatomy, wrap, keep
        graph = anatomy.program.graph
        self._nodes, self._layout = graph.nodes, graph.layout
        self._given = sum(item.memory for item in graph.inputs)
        self._uses: dict[int, list[tuple[int, int]]] = defaultdict(list)
        self._born: dict[int, int] = {}
        self._copies: dict[tuple[int, int], list[int]] = {}  # first and last moment
        self._views: dict[str, int] = {}  # of the backward pass: the region on whose copies
        self._again = [set(region.again) for region in anatomy.regions]
        self._noted: list[tuple[int, int, int, int]] = []  # from, to, column, memory
        self._workspace: list[int] = []
        self.active: list[tuple[int, int]] = []
        self._run()

    def _run(self) -> None:
        """Note all that is read and written, moment by moment."""
        regions = self._anatomy.regions
        begins: dict[int, list[int]] = defaultdict(list)
        ends: dict[int, list[int]] = defaultdict(list)
        of: list[int] = []  # each node's moment
        for number, region in enumerate(regions):
            begins[region.first].append(number)
            ends[region.last].append(number)
        for at in range(len(self._nodes)):
            for number in begins.get(at, ()):
                start = len(self.active)
                for again in regions[number].again:
                    self._second(number, again)
                self._note(number, start, len(self.active) - 1)
            moment = self._first(at)
            of.append(moment)
            for number in ends.get(at, ()):
                self._note(number, of[regions[number].members[0]], moment)
                for name in regions[number].inputs:
                    self._use(name, moment, self._wrap[number])
        for name in self._anatomy.program.graph.outputs:
            self._use(name, len(self.active) - 1, _ALWAYS)
        for (_, storage), (_, last) in self._copies.items():
            producer = int(self._layout.producer[storage])
            if producer in self._keep:
                self._uses[storage].append((last, self._keep[producer]))

    def _note(self, number: int, first: int, last: int) -> None:
        """A region's buffers are noted from one moment to another, if it is wrapped."""
        if memory := self._anatomy.noted.get(number, 0):
            self._noted.append((first, last, self._wrap[number], memory))

    def _first(self, at: int) -> int:
        """A node of the step runs."""
        node, moment = self._nodes[at], self._moment(at, 0, 0)
        inside = self._anatomy.inside.get(at, -1) if at > self._anatomy.turn else -1
        for name in (*node.inputs, *self._anatomy.held.get(at, ())):
            self._read(name, moment, inside)
        for out in node.outputs:
            if out.view_of is None:
                self._born[self._storage(out.name)] = moment
                self._use(out.name, moment, _ALWAYS)
            else:
                self._views[out.name] = self._copied_in(out.view_of, inside)
        return moment

    def _moment(self, at: int, wrap: int, keep: int) -> int:
        self._workspace.append(self._nodes[at].workspace)
        self.active.append((wrap, keep))
        return len(self.active) - 1

    def _second(self, number: int, at: int) -> None:
        """A node of a region runs again."""
        moment = self._moment(at, self._wrap[number], self._keep.get(at, 0))
        for name in self._anatomy.reads(at):
            if self._anatomy.made.get(name, -1) in self._again[number]:
                self._use_copy(number, name, moment)
            else:
                self._use(name, moment, self._wrap[number])
        for _, name in self._anatomy.program.calls[self._nodes[at].name].writes:
            storage = self._storage(name)
            if int(self._layout.producer[storage]) in self._again[number]:
                self._copies.setdefault((number, storage), [moment, moment])
            else:
                self._use(name, moment, self._wrap[number])
        for name in self._anatomy.named.get(at, ()):
            self._use_copy(number, name, moment)

    def _read(self, name: str, moment: int, inside: int) -> None:
        """A node reads a tensor: one of a wrapped region's backward pass reads its copy."""
        number = self._copied_in(name, inside)
        if number < 0:
            self._use(name, moment, _ALWAYS)
            return
        self._use(name, moment, -self._wrap[number])
        self._use_copy(number, name, moment)

    def _copied_in(self, name: str, inside: int) -> int:
        """The region whose copy of a tensor is read by a node that is inside of one; −1: none."""
        made = self._anatomy.made.get(name, -1)
        if made > self._anatomy.turn:
            return self._views.get(name, -1)
        return inside if inside >= 0 and made in self._again[inside] else -1

    def _use_copy(self, number: int, name: str, moment: int) -> None:
        storage = self._storage(name)
        if (number, storage) in self._copies:
            self._copies[number, storage][1] = moment
        else:  # a view of what lies outside
            self._use(name, moment, self._wrap[number])

    def _use(self, name: str, moment: int, literal: int) -> None:
        self._uses[self._storage(name)].append((moment, literal))

    def _storage(self, name: str) -> int:
        return int(self._layout.storage[self._layout.tensor_id[name]])

    def table(self, n: int) -> tuple[list[frozenset[int]], Ints]:
        """The disjunctions, and at each moment how much memory depends on each column.

        Columns are one that is always 1, those that are chosen, n together, and one for
        each disjunction.
        """
        number: dict[frozenset[int], int] = {}
        changes = list(self._noted)
        for storage, born in self._born.items():
            memory = int(self._layout.memory[storage])
            if not memory:
                continue
            later: set[int] = set()
            uses = sorted(self._uses[storage], reverse=True)
            for at, (moment, literal) in enumerate(uses):
                later.add(literal)
                before = uses[at + 1][0] if at + 1 < len(uses) else born - 1
                if before < moment:
                    for column, sign in _columns(later, number, n):
                        changes.append((before + 1, moment, column, sign * memory))
        for (region, storage), (first, last) in self._copies.items():
            memory = int(self._layout.memory[storage])
            changes.append((first, last, self._wrap[region], memory))
            keep = self._keep.get(int(self._layout.producer[storage]))
            if keep is not None:
                changes.append((first, last, keep, -memory))
        table = np.zeros((len(self.active) + 1, n + len(number)), np.int64)
        for first, last, column, memory in changes:
            table[first, column] += memory
            table[last + 1, column] -= memory
        table = table.cumsum(axis=0)[:-1]
        table[:, 0] += np.array(self._workspace) + self._given
        return list(number), table


def _columns(later: set[int], number: dict[frozenset[int], int], n: int) -> list[tuple[int, int]]:
    """The columns, with signs, whose sum says whether any of these literals holds."""
    if _ALWAYS in later or any(-literal in later for literal in later):
        return [(0, 1)]
    if len(later) > 1:
        return [(number.setdefault(frozenset(later), n + len(number)), 1)]
    (literal,) = later
    return [(literal, 1)] if literal > 0 else [(0, 1), (-literal, -1)]
