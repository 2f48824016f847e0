"""Where to cut a function, and what to save, so that its gradient fits: simulated and searched."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from functools import cached_property, partial
from itertools import accumulate

import numpy as np

from schedule.jax.graphs import Program
from schedule.jax.operations import values_of
from schedule.jax.segments import GRADIENT, Choice, Forward
from schedule.lowering import replayed
from schedule.memory import Trace

#: Segments hold about the whole's memory divided by these.
_PARTS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64)
#: Simulations for each way to cut, of what segments can do without, and of what can be saved.
_TRIES = 24


class Choices:
    """Ways to cut a function, each simulated on the graph of its value and gradient.

    Parameters
    ----------
    forward
        The function.
    program
        Of the value and gradient of `forward.named`.

    Notes
    -----
    A simulation takes O(n log n) for n equations, and a search some hundred simulations.
    """

    def __init__(self, forward: Forward, program: Program) -> None:
        self._forward, self._graph = forward, program.graph
        self._operations = program.found.operations
        own = {name: value for value, name in forward.names.items()}
        #: Values of the gradient's graph, each with what it is in the function itself.
        self._own = [
            (value, own[label])
            for label, value in program.found.labels
            if label in own and isinstance(value, int)
        ]
        self._maker = {v: n for n, each in enumerate(self._operations) for v in each.writes}
        self._place = self._places(program)
        self._primal = self._primal_nodes()
        #: Forward values that the backward pass reads.
        self._read_back = {
            v
            for n, each in enumerate(self._operations)
            if each.backward
            for v in values_of(each.reads)
            if v in self._maker and not self._operations[self._maker[v]].backward
        }
        self._bytes = program.found.bytes_of

    @cached_property
    def self_reading(self) -> frozenset[int]:
        """Values of the function that the derivatives of what writes them read."""
        own: dict[int, list[int]] = {}
        for value, mine in self._own:
            own.setdefault(value, []).append(mine)
        return frozenset(
            mine
            for n, each in enumerate(self._operations)
            if n not in self._primal
            for value in values_of(each.reads)
            if value in own and self._place[self._maker.get(value, n)] == self._place[n]
            for mine in own[value]
        )

    def _places(self, program: Program) -> list[int]:
        """By node of the graph: the operation of the function that it belongs to."""
        maker = {v: at for at, each in enumerate(self._forward.operations) for v in each.writes}
        names = {self._forward.names[v]: at for v, at in maker.items()}
        last = max(len(self._forward.operations) - 1, 0)
        labels = [label for label, _ in program.found.labels]
        ahead, after = last, [last] * (len(labels) + 1)  # whose name comes next
        for at in range(len(labels) - 1, -1, -1):
            ahead = names.get(labels[at], ahead)
            after[at] = ahead
        behind, before = last, [last]  # whose gradient came last
        for label in labels:
            if label.startswith(GRADIENT):
                behind = int(label.removeprefix(GRADIENT))
            before.append(behind)
        return [
            before[each.part] if each.backward else after[each.part]
            for each in program.found.operations
        ]

    def _primal_nodes(self) -> set[int]:
        """Forward nodes that run without any differentiation, too."""
        wanted = {value for value, _ in self._own}
        found = set()
        for n in range(len(self._operations) - 1, -1, -1):
            each = self._operations[n]
            if not each.backward and (each.in_order or not wanted.isdisjoint(each.writes)):
                found.add(n)
                wanted.update(values_of(each.reads))
        return found

    def simulated(self, choice: Choice) -> Trace:
        """What will run, on the graph."""
        segment = [bisect_right(choice.cuts, place) for place in self._place]
        saved = {
            value
            for value, own in self._own
            if own in choice.saved or self._crosses(value, own, choice, segment)
        }
        runs, back = [], []
        inside: dict[int, list[int]] = {}
        reads: dict[int, set[int]] = {}
        for n, each in enumerate(self._operations):
            if each.backward:
                back.append(n)
                reads.setdefault(segment[n], set()).update(values_of(each.reads))
            else:
                inside.setdefault(segment[n], []).append(n)
                if n in self._primal or segment[n] not in choice.again:
                    runs.append(n)
        done = set()
        for n in back:
            if segment[n] in choice.again and segment[n] not in done:
                done.add(segment[n])
                runs += self._again(inside.get(segment[n], []), reads[segment[n]], saved)
            runs.append(n)
        return replayed(self._graph, np.array(runs, np.int64))

    def _crosses(self, value: int, own: int, choice: Choice, segment: list[int]) -> bool:
        part = segment[self._maker[value]] if value in self._maker else len(choice.cuts)
        return part < len(choice.cuts) and self._forward.crosses(own, choice.cuts[part])

    def _again(self, nodes: list[int], wanted: set[int], saved: set[int]) -> list[int]:
        """Of a segment's nodes those that make what is wanted from what is saved, in order."""
        wanted, found = wanted - saved, []
        for n in reversed(nodes):
            if not wanted.isdisjoint(self._operations[n].writes):
                found.append(n)
                wanted.update(set(values_of(self._operations[n].reads)) - saved)
        return found[::-1]

    def search(self, limit: int | None) -> Iterator[tuple[Trace, Choice]]:
        """The best choice for each way to cut: least compute within the limit, else least peak."""
        plain = Choice((), frozenset())
        yield self.simulated(plain), plain
        if limit is None:
            return
        seen = set()
        for parts in _PARTS:
            cuts = self._cuts(parts)
            if cuts in seen:
                continue
            seen.add(cuts)
            ends = [0, *cuts, len(self._forward.operations)]
            once = {at for at, each in enumerate(self._forward.operations) if each.once}
            again = frozenset(
                at for at in range(len(cuts) + 1) if once.isdisjoint(range(ends[at], ends[at + 1]))
            )
            yield self._improved(Choice(cuts, again), limit)

    def _improved(self, choice: Choice, limit: int) -> tuple[Trace, Choice]:
        """With whatever more can be saved within the limit: segments first, or values first."""
        trace = self.simulated(choice)
        if trace.peak > limit:
            return trace, choice
        segments = [Choice((), frozenset([at])) for at in sorted(choice.again, reverse=True)]
        kinds = [segments, self._values]
        found = [self._widened(choice, trace, order, limit) for order in (kinds, kinds[::-1])]
        return min(found, key=lambda each: (each[0].compute, each[0].peak))

    def _widened(
        self, choice: Choice, trace: Trace, kinds: list[list[Choice]], limit: int
    ) -> tuple[Trace, Choice]:
        """Save all of a kind, or of its halves those that fit, and so on."""
        for kind in kinds:
            pending, tries = [kind], _TRIES
            while pending and tries:
                group, tries = pending.pop(), tries - 1
                wider = Choice(
                    choice.cuts,
                    choice.again.difference(*(each.again for each in group)),
                    choice.saved.union(*(each.saved for each in group)),
                )
                found = self.simulated(wider)
                if found.peak <= limit and found.compute <= trace.compute:
                    trace, choice = found, wider
                elif len(group) > 1:
                    half = len(group) // 2
                    pending += [group[half:], group[:half]]
        return trace, choice

    @cached_property
    def _values(self) -> list[Choice]:
        """What may be saved beside what crosses, the costliest a byte first."""
        worth = []
        for value, own in self._own:
            if value in self._maker and self._bytes(value):
                cost = self._graph.nodes[self._maker[value]].compute
                worth.append((-cost / self._bytes(value), own))
        return [Choice((), frozenset(), frozenset([own])) for _, own in sorted(worth)]

    def _cuts(self, parts: int) -> tuple[int, ...]:
        """Cuts around what runs once, and so that each segment holds a part of the whole.

        Each is where least crosses, as late as may be.
        """
        operations = self._forward.operations
        held = [0] * len(operations)
        for value in self._read_back:
            held[self._place[self._maker[value]]] += self._bytes(value)
        most = sum(held) / parts
        cuts = [
            at for at in range(1, len(operations)) if operations[at].once or operations[at - 1].once
        ]
        start, inside = 0, 0
        for at, size in enumerate(held):
            inside += size
            if parts > 1 and inside > most and at > start:
                start = min(range(start + 1, at + 1), key=lambda p: (self._crossing[p], -p))
                cuts.append(start)
                inside = sum(held[start : at + 1])
        return tuple(sorted(set(cuts)))

    @cached_property
    def _crossing(self) -> list[int]:
        """Bytes of the values that cross before each operation."""
        forward = self._forward
        changes = [0] * (len(forward.operations) + 1)
        for at, operation in enumerate(forward.operations):
            for value in filter(partial(forward.crosses, end=at + 1), operation.writes):
                changes[at + 1] += forward.found.bytes_of(value)
                changes[forward.last_read[value] + 1] -= forward.found.bytes_of(value)
        return list(accumulate(changes))
