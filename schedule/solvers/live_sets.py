"""Best-first search over what is live: exact on small graphs, in any order or the given one.

A state is the set of live tensors, with the nodes that must not run twice and
have run, and, in the given order, how many first runs there have been. Its
moves are runs. Frees are put off until a run needs the room: having more live
at the same compute is never worse, so before a run only those sets of storages
have to be tried of which none can be left out.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from schedule.graph import Graph
from schedule.layout import Ints
from schedule.lowering import free_early
from schedule.result import Order

#: How often the caller is asked whether to go on, in expansions.
_OFTEN = 64

_State = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Found:
    """Steps as codes (None: none found), and whether the question is decided.

    Decided, `codes` are proved to be of least compute, or it is proved that
    nothing fits: then every schedule needs at least the budget `needed`, and
    where more than one unit is missing, `node` is what takes it.
    """

    codes: Ints | None
    decided: bool
    needed: int | None = None
    node: str | None = None


def search(
    graph: Graph,
    budget: int,
    order: Order,
    most: int,
    stop: Callable[[], bool] = lambda: False,
) -> Found:
    """The schedule of least compute within the budget, by A* over what is live.

    Parameters
    ----------
    graph
        The graph; views, several outputs, workspace, freeable inputs and nodes
        that must not run twice are all exact.
    budget
        Memory that must not be exceeded.
    order
        `fixed`: first runs in the graph's own order.
    most
        Expansions after which it gives up.
    stop
        Asked now and then; True gives up.

    Notes
    -----
    Exponential in the number of tensors. The estimate is the compute of all
    nodes that have to run yet: those that missing outputs depend on, up to what
    is live. It is consistent, so a state's first expansion is its best (Hart,
    Nilsson, Raphael 1968, doi:10.1109/TSSC.1968.300136).
    """
    return _Search(graph, budget, order).run(most, stop)


def _bits(mask: int) -> Iterator[int]:
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


def _mask(numbers: Iterable[int]) -> int:
    return sum(1 << int(number) for number in numbers)


class _Search:
    def __init__(self, graph: Graph, budget: int, order: Order) -> None:
        layout = graph.layout
        self._graph, self._budget, self._is_fixed = graph, budget, order == "fixed"
        self._nodes = np.flatnonzero(layout.needed).tolist()
        place = {v: i for i, v in enumerate(self._nodes)}
        self._maker = [place.get(v, -1) for v in layout.producer.tolist()]
        self._reads = [_mask(layout.reads_of[v]) for v in self._nodes]
        self._writes = [_mask(layout.outputs_of[v]) for v in self._nodes]
        self._cost = [graph.nodes[v].compute for v in self._nodes]
        self._extra = [int(layout.new_memory[v] + layout.workspace[v]) for v in self._nodes]
        self._once = [not layout.recomputable[v] for v in self._nodes]
        self._goal = _mask(np.flatnonzero(layout.is_output))
        self._resident = _mask(np.flatnonzero(layout.resident))
        read = 0
        for mask in self._reads:
            read |= mask
        self._useful = read | self._goal | self._resident  # nothing wants the others
        self._storages = [
            (_mask(np.flatnonzero(layout.storage == s)), int(layout.memory[s]))
            for s in np.unique(layout.storage).tolist()
        ]
        self._start = _mask(range(layout.n_inputs))
        self._sizes: dict[int, int] = {}
        self._has_lost = False
        self._blocked: tuple[int, int] | None = None  # the least room that a run didn't find

    def run(self, most: int, stop: Callable[[], bool]) -> Found:
        """Expand states, the most promising first."""
        begin: _State = (self._start, 0, 0)
        if self._memory(self._start) > self._budget:
            return Found(None, True, self._memory(self._start))
        spent: dict[_State, int | float] = {begin: 0}
        before: dict[_State, tuple[_State, int]] = {}
        closed: set[_State] = set()
        queue = [(self._to_go(begin), 0, 0, begin)]
        count = 0
        while queue:
            _, steps, _, state = heapq.heappop(queue)
            if state in closed:
                continue
            closed.add(state)
            if not self._goal & ~state[0] and (not self._is_fixed or self._is_done(state)):
                return Found(self._codes(before, state), True)
            if len(closed) > most or (len(closed) % _OFTEN == 0 and stop()):
                return Found(None, False)
            for v, following in self._moves(state):
                total = spent[state] + self._cost[v]
                if following not in closed and total < spent.get(following, math.inf):
                    estimate = self._to_go(following)
                    if estimate == math.inf:
                        continue
                    spent[following], before[following] = total, (state, v)
                    count += 1
                    heapq.heappush(queue, (total + estimate, steps + 1, count, following))
        # With a larger budget some schedule leaves what was reached here: by a run that found
        # no room, or by one that needn't have lost as much.
        if self._has_lost or self._blocked is None:
            return Found(None, True, self._budget + 1)
        needed, v = self._blocked
        return Found(None, True, needed, self._graph.layout.node_names[self._nodes[v]])

    def _is_done(self, state: _State) -> bool:
        return state[2] == len(self._nodes)

    def _memory(self, live: int) -> int:
        found = self._sizes.get(live)
        if found is None:
            found = sum(memory for mask, memory in self._storages if mask & live)
            self._sizes[live] = found
        return found

    def _to_go(self, state: _State) -> int | float:
        """Compute that is needed at least from here on; infinite: there is no way."""
        live, once, done = state
        wanted = self._goal & ~live
        need = 0
        if self._is_fixed:
            for v in range(done, len(self._nodes)):
                need |= 1 << v
                wanted |= self._reads[v] & ~live
        while wanted:
            t = (wanted & -wanted).bit_length() - 1
            wanted &= wanted - 1
            v = self._maker[t]
            if v < 0:
                return math.inf
            if not need >> v & 1:
                need |= 1 << v
                wanted |= self._reads[v] & ~live
        if need & once:
            return math.inf
        return sum(self._cost[v] for v in _bits(need))

    def _moves(self, state: _State) -> Iterator[tuple[int, _State]]:
        live, once, done = state
        for v, reads in enumerate(self._reads):
            if reads & ~live or not self._writes[v] & ~live or once >> v & 1:
                continue
            if self._is_fixed and v > done:
                break
            excess = self._memory(live) + self._extra[v] - self._budget
            ran = once | 1 << v if self._once[v] else once
            first = done + (self._is_fixed and v == done)
            kept = reads | self._resident
            if excess > 0:
                need = self._extra[v] + sum(
                    memory for mask, memory in self._storages if mask & live and mask & kept
                )
                if need > self._budget:
                    self._blocked = min(self._blocked or (need, v), (need, v))
                    continue
                self._has_lost = True
            for freed in self._frees(live, kept, excess):
                left = (live & ~freed | self._writes[v]) & self._useful
                yield v, (left, ran, first)

    def _frees(self, live: int, kept: int, excess: int) -> Iterator[int]:
        """Sets of storages that make that much room, none of them more than is needed."""
        if excess <= 0:
            yield 0
            return
        candidates = sorted(
            (
                (memory, mask & live)
                for mask, memory in self._storages
                if memory and mask & live and not mask & kept
            ),
            reverse=True,
        )
        rest = [0]
        for memory, _ in reversed(candidates):
            rest.append(rest[-1] + memory)
        rest.reverse()
        # Each entry: next candidate, room made, the set.
        stack = [(0, 0, 0)]
        while stack:
            at, room, freed = stack.pop()
            if room >= excess:
                yield freed  # largest first: without its last, smallest one it was too little
                continue
            if room + rest[at] < excess:
                continue
            memory, mask = candidates[at]
            stack.append((at + 1, room, freed))
            stack.append((at + 1, room + memory, freed | mask))

    def _codes(self, before: dict[_State, tuple[_State, int]], state: _State) -> Ints:
        runs = []
        while state in before:
            state, v = before[state]
            runs.append(self._nodes[v])
        return free_early(self._graph, np.array(runs[::-1], np.int64))
