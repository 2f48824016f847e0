"""The search of states on a device with a host, as a part of a solve."""

from __future__ import annotations

import math

import numpy as np

from schedule.graph import Graph
from schedule.layout import Bools, Ints
from schedule.levels import Level
from schedule.solvers.contract import Deadline, Incumbent, Problem, Proof
from schedule.solvers.offloading.exhaustive.expansion import (
    EMPTY,
    FOUND,
    ONGOING,
    advance,
    begin,
)
from schedule.solvers.offloading.exhaustive.states import (
    DROPPED,
    LAST,
    LOOKED,
    WIDTH,
    Rules,
    Space,
    space_for,
)
from schedule.solvers.offloading.spilling import spilled

#: Looks at states between two looks at the deadline, and about the seconds that one takes.
_OFTEN, _SECONDS_A_LOOK = 500_000, 2e-8
#: Bytes of all states, and of each of them beside what it knows of its tensors.
_MEMORY, _STATE_BYTES = 1 << 29, 200
#: Of the time that is left, for the search without drops where there may be need of any.
_WITHOUT_DROPS = 0.5
#: What sums of floating-point numbers may be wrong by, as a share.
_ROUNDING = 1e-12


class HostSearch:
    """Best-first search (A*, doi:10.1109/TSSC.1968.300136) over two levels and three clocks.

    Parameters
    ----------
    problem
        One with a budget and levels, and a graph that nothing speaks against.
    has_room
        Whether to take the host to have room for everything: what is proved holds for any
        capacity, and what is found may need more than there is. Otherwise copies are dropped
        where it has none, and made again.
    states
        How many there is space for, where it ends; None: as many as half a gigabyte holds.

    Attributes
    ----------
    ended
        How it ended: see `expansion`.

    Notes
    -----
    Exponential in what can be live and on the host. What states are, and why their moves are
    all that matter, is said in `expansion`.
    """

    def __init__(self, problem: Problem, has_room: bool = True, states: int | None = None) -> None:
        self._problem, self._graph, layout = problem, problem.graph, problem.graph.layout
        self._level: Level = problem.levels[0]
        self._nodes: Ints = np.flatnonzero(layout.needed)
        self._tensors: Ints = np.argsort(-layout.memory, kind="stable")
        memory, self._has_room = int(layout.memory.sum()), has_room
        capacity = memory if has_room else min(memory, self._level.capacity)
        self._rules = self._rules_of(problem.budget or 0, capacity)
        count = max(layout.n_tensors, 1)
        self._space: Space = space_for(states or _MEMORY // (_STATE_BYTES + 8 * count), count)
        self._least = 0.0
        self.ended = ONGOING
        begin(self._rules, self._space)

    def _rules_of(self, budget: int, capacity: int) -> Rules:
        layout, nodes, tensors = self._graph.layout, self._nodes, self._tensors
        place = np.argsort(tensors)
        reads = [_bits(place[layout.reads_of[v]]) for v in nodes.tolist()]
        writes = [_bits(place[list(layout.outputs_of[v])]) for v in nodes.tolist()]
        in_order, repeats = self._problem.order == "fixed", layout.recomputable[nodes]
        every, owner = np.arange(len(nodes)), layout.storage[tensors]
        group = [_flagged(owner == t) if layout.storage[t] == t else 0 for t in tensors.tolist()]
        return Rules(
            reads=np.array(reads, np.int64),
            writes=np.array(writes, np.int64),
            first=np.where(in_order, (1 << every) - 1, 0).astype(np.int64),
            cost=layout.compute[nodes],
            memory=layout.run_memory[nodes],
            is_alone=np.array([len(layout.outputs_of[v]) == 1 for v in nodes.tolist()], bool),
            may_repeat=repeats,
            size=layout.memory[tensors],
            group=np.array(group, np.int64),
            down=self._level.latency + layout.memory[tensors] / self._level.down,
            up=self._level.latency + layout.memory[tensors] / self._level.up,
            inputs=_flagged(layout.producer[tensors] < 0),
            resident=_flagged(layout.resident[tensors]),
            outputs=_flagged(layout.is_output[tensors]),
            movable=_flagged(layout.offloadable[tensors] & (owner == tensors)),
            tracked=_bits(every if in_order else np.flatnonzero(~repeats)),
            budget=budget,
            capacity=capacity,
            is_full=capacity < int(layout.memory.sum()),
        )

    def run(self, incumbent: Incumbent, deadline: Deadline) -> Proof:
        """Search for what is better than the incumbent; what is proved of all schedules."""
        is_new = self.ended == ONGOING
        while self.ended == ONGOING and not deadline.passed:
            limit = self._problem.asked(incumbent.compute) * (1 - _ROUNDING)
            before = int(self._space.number[LOOKED])
            self.ended = advance(self._rules, self._space, limit, _OFTEN)
            deadline.spend(_SECONDS_A_LOOK * (int(self._space.number[LOOKED]) - before))
            if self.ended == EMPTY:
                return self._exhausted(limit)
            last = float(self._space.bound[self._space.number[LAST]])
            self._least = max(self._least, last * (1 - _ROUNDING))
        if self.ended == FOUND and is_new:
            self._offer(incumbent)
        return Proof(bound=self._least)

    def _exhausted(self, limit: float) -> Proof:
        """Nothing is below the limit; without one, nothing fits."""
        budget = self._problem.budget or 0
        return Proof(needed=budget + 1) if math.isinf(limit) else Proof(bound=limit)

    def _offer(self, incumbent: Incumbent) -> None:
        """Offer what was found, with drops or further down where the host has no room for all."""
        codes, levels = self._codes(int(self._space.number[LAST])), self._problem.levels
        drops = (_with_drops(self._graph, codes),) if self._has_room else ()
        for steps in (codes, *drops):
            found = spilled(self._graph, steps, levels)
            if found is not None:
                incumbent.offer(found)
                break

    def _codes(self, s: int) -> Ints:
        """The steps that led to a state."""
        space, m = self._space, self._graph.layout.n_tensors
        moves = []
        while space.before[s] >= 0:
            moves.append((int(space.move[s]), int(space.freed[s]), int(space.copied[s])))
            s = int(space.before[s])
        found: list[int] = []
        for move, freed, copied in reversed(moves):
            order = []
            while copied:
                order.append((copied & ((1 << WIDTH) - 1)) - 1)
                copied >>= WIDTH
            for t in reversed(order):
                dropped = t >= DROPPED
                found.append(~(int(self._tensors[t - DROPPED * dropped]) + (1 + 2 * dropped) * m))
            found += [~int(t) for at, t in enumerate(self._tensors) if freed >> at & 1]
            fetched = ~(int(self._tensors[~move]) + 2 * m) if move < 0 else 0
            found.append(int(self._nodes[move]) if move >= 0 else fetched)
        return np.array(found, np.int64)


def _with_drops(graph: Graph, codes: Ints) -> Ints:
    """The same steps, and drops after whoever reads what was fetched for the last time."""
    layout, m = graph.layout, graph.layout.n_tensors
    last = {~code - 2 * m: at for at, code in enumerate(codes.tolist()) if 2 * m <= ~code < 3 * m}
    found: list[int] = []
    waiting: set[int] = set()
    for at, code in enumerate(codes.tolist()):
        found.append(code)
        if code < 0:
            # An input that stays may be freed once more, if the host has it.
            waiting |= {t for t, where in last.items() if where == at and not layout.resident[t]}
            continue
        over = waiting.intersection(layout.reads_of[code])
        found += [~(t + 3 * m) for t in sorted(over)]
        waiting -= over
    return np.array(found, np.int64)


class WholeSearch:
    """The search, and where the host has no room for what is best, one that drops copies.

    It may be asked again, when a better schedule is known: it goes on where it stopped.
    """

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._first = HostSearch(problem)
        self._second: HostSearch | None = None

    def run(self, incumbent: Incumbent, deadline: Deadline) -> Proof:
        """Search on for the best there is; what is proved of all schedules."""
        memory = int(self._problem.graph.layout.memory.sum())
        if memory <= self._problem.levels[0].capacity:
            return self._first.run(incumbent, deadline)
        proof = self._first.run(incumbent, deadline.share(_WITHOUT_DROPS))
        incumbent.prove(proof)
        if proof.ends or incumbent.is_good_enough:
            return proof
        self._second = self._second or HostSearch(self._problem, has_room=False)
        with_drops = self._second.run(incumbent, deadline)
        # What moves further down is no schedule of that.
        return proof if len(self._problem.levels) > 1 else with_drops


def _bits(numbers: Ints) -> int:
    return sum(1 << int(each) for each in numbers)


def _flagged(flags: Bools) -> int:
    return _bits(np.flatnonzero(flags))
