"""Which nodes of a captured step are which of the operators that eager PyTorch calls."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from schedule.torch.choosing import Key
from schedule.torch.eager import Called, calls_in, matched
from schedule.torch.program import MASK
from schedule.torch.regions import Anatomy, Region
from schedule.torch.wrapping import Table


class Matching:
    """Which nodes are which of the operators that eager PyTorch calls in a module."""

    def __init__(self, planned: Any, anatomy: Anatomy) -> None:
        self._anatomy = anatomy
        regions: dict[str, list[Region]] = {}
        for region in anatomy.regions:
            regions.setdefault(region.module, []).append(region)
        keeper = planned._keeper
        found, self.given_changed = calls_in(keeper.model, list(regions), keeper.like_last)
        self._eager: dict[str, list[str]] = {}
        self._captured: dict[str, list[str]] = {}
        self._keys: dict[int, Key] = {}
        self._returned: dict[str, set[int]] = {}
        self._may_keep: dict[Key, bool] = {}
        self._until: dict[Key, int | None] = {}
        for module, calls in regions.items():
            theirs = [_names(call) for call in found.get(module, ())]
            ours = [[at for at in region.members if self._is_call(at)] for region in calls]
            captured = [[self._operator(at) for at in members] for members in ours]
            if len(theirs) != len(ours) or any(
                each[0] != other for each in (theirs, captured) for other in each
            ):
                continue  # calls that differ can't have one policy
            self._eager[module], self._captured[module] = theirs[0], captured[0]
            returned = (self._returns(region.members, each) for region, each in zip(calls, ours))
            self._returned[module] = set[int]().union(*returned)
            for mine, its in matched(captured[0], theirs[0]).items():
                key = module, its, mine
                same = [call[its] for call in found[module]]
                self._keys.update((members[mine], key) for members in ours)
                self._may_keep[key] = all(call.may_keep for call in same)
                ends = [call.until for call in same if call.until is not None]
                self._until[key] = max(ends) if len(ends) == len(same) else None

    def _is_call(self, at: int) -> bool:
        """Whether a node is a whole operator that counts; a dropout is two nodes."""
        node = self._anatomy.program.graph.nodes[at]
        return not node.name.endswith(MASK) and self._operator(at) != "aten.detach.default"

    def _operator(self, at: int) -> str:
        program = self._anatomy.program
        return program.origins[program.graph.nodes[at].name].operator

    def keys(self) -> dict[int, Key]:
        """Of nodes that may be kept, where they would run again, and take time or memory."""
        nodes, found = self._anatomy.program.graph.nodes, {}
        for region in self._anatomy.regions:
            for at in region.again:
                owns = any(out.memory for out in nodes[at].outputs)
                if owns and at in self._keys and self._may_keep[self._keys[at]]:
                    found[at] = self._keys[at]
        return found

    def named(self) -> dict[int, tuple[str, ...]]:
        """What variables and autocast hold, by the last node that runs again meanwhile."""
        nodes = self._anatomy.program.graph.nodes
        found: dict[int, list[str]] = {}
        for region in self._anatomy.regions:
            known = [(at, self._keys[at][1]) for at in region.again if at in self._keys]
            for at, _ in known:
                until = self._until[self._keys[at]]
                later = [w for w, call in known if w > at and (until is None or call < until)]
                owned = [out.name for out in nodes[at].outputs if out.memory]
                if later and owned:
                    found.setdefault(later[-1], []).extend(owned)
            cast = [at for at in region.again if at in self._anatomy.casts]
            if cast:
                owned = [out.name for at in cast for out in nodes[at].outputs]
                found.setdefault(region.again[-1], []).extend(owned)
        return {at: tuple(names) for at, names in found.items()}

    def saved(self) -> dict[int, tuple[str, ...]]:
        """What derivatives hold of which they read the shape at most, by the last of a region.

        As that of `gather` holds what was gathered from.
        """
        anatomy = self._anatomy
        graph, layout = anatomy.program.graph, anatomy.program.graph.layout
        read: dict[int, set[int]] = {}  # storages, by region
        for at in range(anatomy.turn + 1, len(graph.nodes)):
            if at in anatomy.inside:
                storages = (layout.storage[layout.tensor_id[t]] for t in graph.nodes[at].inputs)
                read.setdefault(anatomy.inside[at], set()).update(map(int, storages))
        found = dict(anatomy.held)
        for number, region in enumerate(anatomy.regions):
            lasting = [a for a in region.again if a in self._keys and self._lasts(region, a)]
            names = [out.name for at in lasting for out in graph.nodes[at].outputs if out.memory]
            unread = [t for t in names if layout.tensor_id[t] not in read.get(number, ())]
            found[region.last] = (*found.get(region.last, ()), *unread)
        return found

    def _lasts(self, region: Region, at: int) -> bool:
        """Whether what a node makes outlives its module's call, though that doesn't return it.

        What is changed in place is another's result in the end.
        """
        key = self._keys[at]
        if self._until[key] is not None or not self._may_keep[key]:
            return False
        place = [a for a in region.members if self._is_call(a)].index(at)
        return place not in self._returned[region.module]

    def tables(self, module: str, kept: Collection[Key]) -> tuple[Table, Table]:
        """What is kept in a module: in eager PyTorch, and compiled.

        Compiled, what a module returns is kept, too, as it is in eager PyTorch anyway:
        `torch.compile` would run it again for those that read it later.
        """
        chosen = [(its, mine) for name, its, mine in kept if name == module]
        return (
            _table(self._eager.get(module, ()), {its for its, _ in chosen}),
            _table(
                self._captured.get(module, ()),
                {mine for _, mine in chosen} | self._returned.get(module, set()),
            ),
        )

    def _returns(self, members: Sequence[int], calls: Sequence[int]) -> set[int]:
        """Which of a region's operators make what is read outside of it, by their order."""
        graph, inside = self._anatomy.program.graph, set(members)
        layout, late = graph.layout, self._anatomy.turn
        number = self._anatomy.inside[members[0]]
        makers: set[int] = set()
        for at, node in enumerate(graph.nodes):
            if at in inside or (at > late and self._anatomy.inside.get(at) == number):
                continue
            owners = (layout.storage[layout.tensor_id[name]] for name in node.inputs)
            makers.update(int(layout.producer[owner]) for owner in owners)
        return {place for place, at in enumerate(calls) if at in makers}


def _names(calls: Sequence[Called]) -> list[str]:
    return [call.operator for call in calls]


def _table(operators: Sequence[str], kept: Collection[int]) -> Table:
    """How often each operator is called of which something is kept, and which calls those are."""
    found: dict[str, tuple[int, tuple[int, ...]]] = {}
    for operator in dict.fromkeys(operators[at] for at in sorted(kept)):
        places = [at for at, name in enumerate(operators) if name == operator]
        keep = tuple(number for number, at in enumerate(places) if at in kept)
        found[operator] = len(places), keep
    return found
