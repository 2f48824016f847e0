"""Independent oracles: the memory model step by step, and exhaustive search.

Written from the rules of docs/formats.md, on names, on purpose without a line
of `schedule.memory` or of a solver.
"""

from __future__ import annotations

import heapq
import math
from fractions import Fraction
from functools import cache, cached_property
from itertools import count
from typing import NamedTuple

import numpy as np

from schedule import errors
from schedule.graph import Graph, Tensor
from schedule.steps import Compute, Drop, Free, Offload, Prefetch


class Broken(Exception):
    """A rule is broken: which kind, and at which step."""

    def __init__(self, kind, step):
        super().__init__(kind.__name__, step)
        self.kind, self.step = kind, step


class Memory(NamedTuple):
    start: int
    during: list
    after: list


class Model:
    """What the rules need to know of a graph, by name."""

    def __init__(self, graph: Graph):
        self.graph = graph
        self.nodes = {node.name: node for node in graph.nodes}
        self.memory = {name: tensor.memory for name, tensor in graph.tensors.items()}
        self.root = {}
        for name, tensor in graph.tensors.items():
            view_of = tensor.view_of if isinstance(tensor, Tensor) else None
            self.root[name] = name if view_of is None else self.root[view_of]
        self.inputs = {item.name: item for item in graph.inputs}

    def stored(self, live):
        """Rule 3: a storage is there while any tensor on it is live."""
        return sum(self.memory[root] for root in {self.root[name] for name in live})


def walk(graph: Graph, steps) -> tuple[Memory, set]:
    """Memory at the start, during and after each step, and what is live at the end."""
    model = Model(graph)
    live = set(model.inputs)
    ran: set[str] = set()
    start = model.stored(live)
    during, after = [], []
    for at, step in enumerate(steps):
        before = model.stored(live)
        if isinstance(step, Compute):
            node = model.nodes[step.node]
            if not set(node.inputs) <= live:
                raise Broken(errors.InputNotLive, at)
            if node.name in ran and not node.recomputable:
                raise Broken(errors.RunTwice, at)
            if all(out.name in live for out in node.outputs):
                raise Broken(errors.NothingToCompute, at)
            ran.add(node.name)
            during.append(before + sum(out.memory for out in node.outputs) + node.workspace)
            live |= {out.name for out in node.outputs}
        else:
            item = model.inputs.get(step.tensor)
            if item is not None and not item.freeable:
                raise Broken(errors.ResidentFreed, at)
            if step.tensor not in live:
                raise Broken(errors.NotLive, at)
            during.append(before)
            live.discard(step.tensor)
        after.append(model.stored(live))
    return Memory(start, during, after), live


class Machine(NamedTuple):
    """What steps do to a device and the levels below it."""

    start: int
    during: list
    after: list
    below: list  # of each step: the memory of every level after it
    times: list  # of each step that takes time: begin and end; None for others
    makespan: Fraction
    live: set


def on_machine(graph: Graph, steps, levels) -> Machine:
    """The rules for levels below the device, in exact numbers.

    Memory as in `walk`. Time as the longest way through the work that each piece of work
    comes after: the one before it on its engine, what brought all that it reads, and copies
    from and to what was let go earlier.
    """
    found = _OnMachine(graph, levels)
    start = found.model.stored(found.places[0])
    during, after, below = [], [], []
    kinds = {Compute: found.compute, Free: found.free, Drop: found.drop}
    kinds |= {Offload: found.offload, Prefetch: found.prefetch}
    for at, step in enumerate(steps):
        before = found.model.stored(found.places[0])
        found.at = at
        extra = kinds[type(step)](step)
        after.append(found.model.stored(found.places[0]))
        during.append(before + extra)
        below.append([sum(found.model.memory[t] for t in place) for place in found.places[1:]])
    times: list = [None] * len(during)
    for at, (time, waits_for) in found.works.items():
        begin = max((times[other][1] for other in waits_for), default=Fraction(0))
        times[at] = (begin, begin + time)
    makespan = max((each[1] for each in times if each), default=Fraction(0))
    return Machine(start, during, after, below, times, makespan, set(found.places[0]))


class _OnMachine:
    """What is where, and all work with what it comes after.

    `places` are the device and the levels: for each tensor the step that brought it there.
    Each kind of step returns the memory of the device beyond what was in use before it.
    """

    def __init__(self, graph, levels):
        self.model, self.levels, self.at = Model(graph), levels, 0
        self.places = [dict.fromkeys(self.model.inputs), *({} for _ in levels)]
        self.touched = [{} for _ in self.places]  # copies from and to what is there
        self.ran, self.let_go, self.last, self.works = set(), set(), {}, {}

    def compute(self, step):
        node, live = self.model.nodes[step.node], self.places[0]
        self._require(set(node.inputs) <= set(live), errors.InputNotLive)
        self._require(node.recomputable or node.name not in self.ran, errors.RunTwice)
        new = [out.name for out in node.outputs if out.name not in live]
        self._require(new, errors.NothingToCompute)
        self._work("compute", node.compute, {live[name] for name in node.inputs})
        self.ran.add(node.name)
        live.update(dict.fromkeys(new, self.at))
        return sum(out.memory for out in node.outputs) + node.workspace

    def free(self, step):
        if step.tensor in self.places[0]:
            self._require_other(step.tensor, 0, errors.ResidentFreed)
        self._require(step.tensor in self.places[0], errors.NotLive)
        return self._gone(step.tensor, 0)

    def offload(self, step):
        link, high, low = self._link(step)
        missing = errors.NotLive if step.level == 1 else errors.NoCopy
        item = self.model.inputs.get(step.tensor)
        self._require(item is None or item.offloadable, errors.NotOffloadable)
        self._require(step.tensor in high, missing)
        self._require(step.tensor not in low, errors.AlreadyCopied)
        self._copy(step, "down", Fraction(link.down), {high[step.tensor]})
        low[step.tensor] = self.at
        return 0

    def prefetch(self, step):
        link, high, low = self._link(step)
        there = errors.AlreadyLive if step.level == 1 else errors.AlreadyCopied
        self._require(step.tensor in low, errors.NoCopy)
        self._require(step.tensor not in high, there)
        room = {self.last.get("compute")} if step.level == 1 else set()
        self._copy(step, "up", Fraction(link.up), {low[step.tensor], *room})
        before = self.model.stored(self.places[0])
        high[step.tensor] = self.at
        return self.model.stored(self.places[0]) - before

    def drop(self, step):
        self._require(step.tensor in self._link(step)[2], errors.NoCopy)
        self._require_other(step.tensor, step.level, errors.OnlyCopyDropped)
        return self._gone(step.tensor, step.level)

    def _link(self, step):
        self._require(step.level <= len(self.levels), errors.NoSuchLevel)
        self._require(self.model.root[step.tensor] == step.tensor, errors.ViewCopied)
        high, low = self.places[step.level - 1 : step.level + 1]
        return self.levels[step.level - 1], high, low

    def _copy(self, step, way, rate, before):
        latency = Fraction(self.levels[step.level - 1].latency)
        time = latency + self.model.memory[step.tensor] / rate
        self._work((step.level, way), time, before)
        for place in (step.level, step.level - 1):
            self.touched[place].setdefault(step.tensor, set()).add(self.at)

    def _work(self, engine, time, before):
        before = {*before, *self.let_go, self.last.get(engine)} - {None}
        self.works[self.at] = (Fraction(time), before)
        self.last[engine] = self.at

    def _gone(self, name, place):
        del self.places[place][name]
        self.let_go.update(self.touched[place].pop(name, ()))
        return 0

    def _require_other(self, name, place, kind):
        """A resident input is never lost."""
        item = self.model.inputs.get(name)
        others = [other for at, other in enumerate(self.places) if at != place]
        free = item is None or item.freeable
        self._require(free or any(name in other for other in others), kind)

    def _require(self, holds, kind):
        if not holds:
            raise Broken(kind, self.at)


def needed_nodes(graph: Graph) -> list[str]:
    """Nodes without which some output can't be computed, in the graph's order."""
    wanted, needed = set(graph.outputs), []
    for node in reversed(graph.nodes):
        if wanted & {out.name for out in node.outputs}:
            needed.append(node.name)
            wanted |= set(node.inputs)
    return needed[::-1]


class States:
    """What may follow what. A set of tensors is a number here, with a bit for each of them.

    A state is what is live, which run-once nodes have run and, in a fixed order,
    how many first runs there have been.
    """

    def __init__(self, graph: Graph, order: str = "free"):
        self.model, self.fixed = Model(graph), order == "fixed"
        self.bit = {name: 1 << at for at, name in enumerate(self.model.root)}
        self.begin = (self._set(self.model.inputs), 0, 0)
        self.wanted = self._set(graph.outputs)
        resident = {item.name for item in graph.inputs if not item.freeable}
        self.freeable = [bit for name, bit in self.bit.items() if name not in resident]
        self.runs = [self._run(self.model.nodes[name]) for name in needed_nodes(graph)]
        self._stored: dict[int, int] = {}

    def _set(self, names) -> int:
        return sum(self.bit[name] for name in set(names))

    def _run(self, node):
        """What it reads, writes and takes, its compute, and its mark if it must not run twice."""
        writes = self._set(out.name for out in node.outputs)
        takes = sum(out.memory for out in node.outputs) + node.workspace
        return self._set(node.inputs), writes, takes, node.compute, writes * (not node.recomputable)

    def stored(self, live: int) -> int:
        """Memory in use while these are live, counted once for each set."""
        if live not in self._stored:
            names = [name for name, bit in self.bit.items() if live & bit]
            self._stored[live] = self.model.stored(names)
        return self._stored[live]

    def moves(self, state):
        """Compute, memory in use meanwhile, and the state that follows."""
        live, once, done = state
        stored = self.stored(live)
        for bit in self.freeable:
            if live & bit:
                yield 0, stored, (live ^ bit, once, done)
        for place, (reads, writes, takes, compute, mark) in enumerate(self.runs):
            if self.fixed and place > done:
                break
            if writes & ~live and not reads & ~live and not once & mark:
                first = done + (self.fixed and place == done)
                yield compute, stored + takes, (live | writes, once | mark, first)


def least_compute(graph: Graph, budget: int, order: str = "free"):
    """The least compute of any schedule within the budget; None: there is none.

    Dijkstra over states. Exponential: for graphs of about ten nodes.
    """
    states = States(graph, order)
    if states.stored(states.begin[0]) > budget:
        return None
    cheapest = {states.begin: 0}
    queue = [(0, states.begin)]
    while queue:
        spent, state = heapq.heappop(queue)
        if spent > cheapest[state]:
            continue
        if not states.wanted & ~state[0]:
            return spent
        for price, used, following in states.moves(state):
            total = spent + price
            if used <= budget and total < cheapest.get(following, math.inf):
                cheapest[following] = total
                heapq.heappush(queue, (total, following))
    return None


def least_budget(graph: Graph) -> int:
    """The least budget within which some schedule exists: Dijkstra over peaks."""
    states = States(graph)
    start = states.stored(states.begin[0])
    least = {states.begin: start}
    queue = [(start, states.begin)]
    while queue:
        peak, state = heapq.heappop(queue)
        if not states.wanted & ~state[0]:
            return peak
        if peak > least[state]:
            continue
        for _, used, following in states.moves(state):
            higher = max(peak, used)
            if higher < least.get(following, math.inf):
                least[following] = higher
                heapq.heappush(queue, (higher, following))
    raise AssertionError("the graph's own order is a schedule")


class Sets:
    """The least compute to get to every set of live tensors, for graphs of a dozen nodes.

    The same rules as in `least_compute` once more, over arrays: position `live`
    of an array is the set of that number, by its bits, so that all sets move at
    once. Up to about 18 bits: one for each tensor that is read or asked for and
    is no resident input, and one for each node that must not run twice (set
    once it ran). Repeated until nothing gets cheaper.
    """

    def __init__(self, graph: Graph, order: str = "free"):
        model = Model(graph)
        self.model, self.order = model, order
        self.nodes = [model.nodes[name] for name in needed_nodes(graph)]
        used = {name for node in self.nodes for name in node.inputs} | set(graph.outputs)
        self.resident = {item.name for item in graph.inputs if not item.freeable}
        # What nothing reads is freed at once; what can't be freed is always live.
        self.bit = {name: 1 << at for at, name in enumerate(sorted(used - self.resident))}
        self.tensors = len(self.bit)
        once = [node for node in self.nodes if not node.recomputable]
        self.ran = {node.name: 1 << self.tensors + at for at, node in enumerate(once)}
        self.bits = self.tensors + len(once)
        self.inputs, self.wanted = self._mask(model.inputs), self._mask(graph.outputs)

    @cached_property
    def sets(self):
        """All of them, by number."""
        return np.arange(1 << self.bits)

    @cached_property
    def stored(self):
        """Memory of what is live in each set: rule 3."""
        stored = np.full(1 << self.bits, self.model.stored(self.resident))
        for root in sorted({self.model.root[name] for name in self.bit} - self.resident):
            held = self._mask(name for name in self.bit if self.model.root[name] == root)
            stored[self.sets & held != 0] += self.model.memory[root]
        return stored

    def _mask(self, names) -> int:
        return sum(self.bit.get(name, 0) for name in names)

    def least_compute(self, budget: int):
        """Of any schedule within the budget; None: there is none."""
        if self.model.stored(self.model.inputs) > budget:
            return None
        spent = np.full(1 << self.bits, np.inf)
        spent[self.inputs] = 0
        if self.order == "free":
            self._settle(spent, self.nodes, budget)
        else:
            for at, node in enumerate(self.nodes):
                self._settle(spent, self.nodes[:at], budget)
                before, after = self._run(node, budget)
                following = np.full(1 << self.bits, np.inf)
                following[after] = spent[before] + node.compute
                spent = following
            self._settle(spent, self.nodes, budget)
        least = spent[self.sets & self.wanted == self.wanted].min()
        return None if np.isinf(least) else least

    def _run(self, node, budget):
        """Sets before and after a run, those where all that it writes was freed before.

        The others get to the same sets, and have no less memory in use.
        """
        reads, writes = self._mask(node.inputs), self._mask(out.name for out in node.outputs)
        ran = self.ran.get(node.name, 0)
        use = self.stored + sum(out.memory for out in node.outputs) + node.workspace
        before = np.flatnonzero(
            (self.sets & reads == reads) & (self.sets & (writes | ran) == 0) & (use <= budget)
        )
        return before, before | writes | ran

    def _settle(self, spent, nodes, budget):
        """Run these nodes, and free, until nothing gets cheaper."""
        runs = [(*self._run(node, budget), node.compute) for node in nodes]
        total = None
        while total is None or not np.array_equal(total, spent):
            total = spent.copy()
            for before, after, cost in runs:
                spent[after] = np.minimum(spent[after], spent[before] + cost)
            for at in range(self.tensors):
                without, live = np.moveaxis(spent.reshape(-1, 2, 1 << at), 1, 0)
                np.minimum(without, live, out=without)


def least_makespan(graph: Graph, budget: int, host, most=200_000):
    """The least makespan of any schedule within budget and capacity; None: there is none.

    A* over what is live and what the host has, with the times at which everything is there
    and every engine free; of two that are in the same place, the one that is later in
    everything is left out. What is nowhere and has to be there again bounds what is left.
    Exponential: for graphs of about seven nodes. With more than `most` places that are looked
    at it gives up: `Exhausted`.
    """
    search = _Clocks(graph, budget, host)
    if search.model.stored(search.begin[0]) > budget:
        return None
    tie = count()
    queue = [(0, next(tie), search.begin, search.clocks)]
    known = {search.begin: [search.clocks]}
    for _ in range(most):
        if not queue:
            return None
        spent, _, place, clocks = heapq.heappop(queue)
        if clocks not in known[place]:
            continue  # another was earlier in everything
        if set(graph.outputs) <= place[0]:
            return spent
        for following, times in search.moves(place, clocks):
            others = known.setdefault(following, [])
            if any(_no_later(other, times) for other in others):
                continue
            others[:] = [other for other in others if not _no_later(times, other)]
            others.append(times)
            least = max(*times[:3], max(times[0], times[3]) + search.left(following))
            heapq.heappush(queue, (least, next(tie), following, times))
    raise Exhausted


class Exhausted(Exception):
    """There is more to search than anybody waits for."""


def _no_later(one, other):
    return all(a <= b for a, b in zip(one, other))


class _Clocks:
    """Where a schedule can go from a place: a set of live tensors and one of host copies.

    The clocks: when compute and the channels down and up are free; until when all wait; for
    each tensor when it can be read on the device, and on the host, and until when a copy
    reads or writes it there.
    """

    def __init__(self, graph, budget, host):
        self.model, self.budget, self.host = Model(graph), budget, host
        self.names, self.outputs = sorted(self.model.memory), graph.outputs
        self.nodes = [self.model.nodes[name] for name in needed_nodes(graph)]
        self.begin = (frozenset(self.model.inputs), frozenset(), frozenset())
        self.clocks = (0,) * (4 + 4 * len(self.names))

    def _slot(self, name, what):
        return 4 + 4 * self.names.index(name) + what

    def _resident(self, name):
        return name in self.model.inputs and not self.model.inputs[name].freeable

    @cache  # noqa: B019 - the search is gone with its cache
    def left(self, place):
        """Compute of the nodes that have to run, as what they write is nowhere."""
        live, below, _ = place
        wanted, found = set(self.outputs), 0
        for node in reversed(self.nodes):
            if any(out.name in wanted - live - below for out in node.outputs):
                wanted |= set(node.inputs)
                found += node.compute
        return found

    def _is_offloadable(self, name):
        return name not in self.model.inputs or self.model.inputs[name].offloadable

    def moves(self, place, clocks):
        """Every place that one step leads to, and the clocks there."""
        live, below, once = place
        for node in self.nodes:
            yield from self._compute(node, place, clocks)
        for name in sorted(live):
            if not self._resident(name) or name in below:
                times = self._wait(clocks, self._slot(name, 2), (0, 2), name)
                yield (live - {name}, below, once), times
        for name in sorted(below):
            if not self._resident(name) or name in live:
                times = self._wait(clocks, self._slot(name, 3), (1, 3), name)
                yield (live, below - {name}, once), times
        for name in self.names:
            may_leave = self.model.root[name] == name and self._is_offloadable(name)
            if may_leave and name in live and name not in below:
                yield from self._down(name, place, clocks)
            if name in below and name not in live:
                yield from self._up(name, place, clocks)

    def _compute(self, node, place, clocks):
        live, below, once = place
        new = {out.name for out in node.outputs} - live
        memory = self.model.stored(live) + sum(out.memory for out in node.outputs)
        if not new or not set(node.inputs) <= live or node.name in once:
            return
        if memory + node.workspace > self.budget:
            return
        times = list(clocks)
        ready = [clocks[self._slot(name, 0)] for name in node.inputs]
        times[0] = max([clocks[0], clocks[3], *ready]) + node.compute
        for name in new:
            times[self._slot(name, 0)] = times[0]
        ran = once if node.recomputable else once | {node.name}
        yield (live | new, below, ran), self._settled(times)

    def _down(self, name, place, clocks):
        live, below, once = place
        if sum(self.model.memory[each] for each in below | {name}) > self.host.capacity:
            return
        time = self.host.latency + self.model.memory[name] / self.host.down
        end = max(clocks[1], clocks[3], clocks[self._slot(name, 0)]) + time
        yield (live, below | {name}, once), self._copied(clocks, 1, end, name, (1, 2, 3))

    def _up(self, name, place, clocks):
        live, below, once = place
        if self.model.stored(live | {name}) > self.budget:
            return
        time = self.host.latency + self.model.memory[name] / self.host.up
        end = max(clocks[0], clocks[2], clocks[3], clocks[self._slot(name, 1)]) + time
        yield (live | {name}, below, once), self._copied(clocks, 2, end, name, (0, 2, 3))

    def _copied(self, clocks, engine, end, name, slots):
        times = list(clocks)
        times[engine] = end
        for what in slots:
            times[self._slot(name, what)] = max(times[self._slot(name, what)], end)
        return self._settled(times)

    def _wait(self, clocks, until, slots, name):
        times = list(clocks)
        times[3] = max(clocks[3], clocks[until])
        for what in slots:
            times[self._slot(name, what)] = 0
        return self._settled(times)

    def _settled(self, times):
        """What is over before anything later can begin doesn't distinguish places."""
        return (*times[:4], *(0 if time <= times[3] else time for time in times[4:]))
