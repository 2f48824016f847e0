"""Exact search of small graphs, from the last run back to the first: least compute, least peak.

A state is what has to be live at some time, and which nodes have to run before it.
The search starts at the end, where that is the outputs and every node, and each
move undoes a run: before it, what the run reads has to be live instead of what
it writes. No decision is left about frees, since what isn't asked for is free.

Why these are all the schedules that matter: freed early, a schedule has the
least memory in use that its runs allow (`schedule.lowering.free_early`), and
then has live what later runs read before they write it, or the outputs. That is
a state. A run that writes nothing of it can be left out, unless it is a node's
first in the given order.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import count
from typing import NamedTuple

import numpy as np

from schedule.graph import Graph
from schedule.layout import Ints
from schedule.lowering import free_early
from schedule.memory import simulate
from schedule.result import Order
from schedule.solvers.contract import Deadline
from schedule.solvers.exhaustive.crossings import Crossings
from schedule.solvers.exhaustive.masks import Masks, Node, State

#: Graphs of up to this many nodes that have to run, and this many tensors, count as small.
_NODES = 40
_TENSORS = 400
#: States after which a search gives up: half a second for graphs of that size.
MOST_STATES = 10_000
#: How often a search asks whether to stop, in states.
_OFTEN = 64
#: About the seconds that a state takes.
_SECONDS_A_STATE = 3e-5


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found, and what it proved.

    Attributes
    ----------
    codes
        Steps as codes (see `schedule.layout`); None: none found.
    decided
        True: the codes are proved to be best, or, without codes, that nothing
        is as good as was asked for. False: the search gave up.
    bound
        Compute that no schedule within the budget beats; None where none fits,
        or that wasn't the question.
    needed
        Every smaller budget is proved too small; None where nothing is proved.
    node
        A node whose run takes `needed`; None where no single run does.
    """

    codes: Ints | None
    decided: bool
    bound: int | float | None = None
    needed: int | None = None
    node: str | None = None


def is_small(graph: Graph) -> bool:
    """Whether a graph is so small that a search is likely to end before it gives up."""
    return int(graph.layout.needed.sum()) <= _NODES and graph.layout.n_tensors <= _TENSORS


def least_compute(
    graph: Graph,
    budget: int,
    order: Order,
    *,
    deadline: Deadline | None = None,
    below: int | float = math.inf,
) -> Found:
    """The schedule of least compute among those whose peak is within the budget.

    Parameters
    ----------
    graph
        Any graph; nodes that no output needs never run.
    budget
        In the graph's unit.
    order
        `fixed`: first runs in the graph's own order; `free`: in any order.
    deadline
        When to give up; its work are states to look at. None: after `MOST_STATES`.
    below
        Compute of a schedule that is known already. The search ends as soon as
        it is proved that none takes less; sums of costs are exact here, not
        rounded.

    Returns
    -------
    Found
        Decided without codes, where `bound` is set no schedule takes less than
        `below`; where `needed` is set, none fits at all.

    Notes
    -----
    A* (Hart, Nilsson, Raphael 1968, doi:10.1109/TSSC.1968.300136); exponential
    in how many tensors can be live together. Costs are scaled to integers, so
    that no sum is rounded. The estimate is the compute of all nodes that have
    to run yet, once each, and of reruns of what doesn't fit (`Crossings`).

    Examples
    --------
    >>> from schedule import example, simulate
    >>> graph = example("chain", layers=8)
    >>> simulate(graph, least_compute(graph, 4, "free").codes).compute
    26
    """
    return _Search(graph, order, budget, below).run(deadline or Deadline(work=MOST_STATES))


def least_peak(
    graph: Graph,
    order: Order,
    *,
    deadline: Deadline | None = None,
) -> Found:
    """The schedule of least peak, whatever it recomputes.

    Parameters are those of `least_compute`.

    Returns
    -------
    Found
        `needed` is the peak of the codes, or, where the search gave up, the
        least budget that it hadn't excluded.

    Notes
    -----
    Best-first search for the path whose largest memory is least, on the same
    states. Deciding which budgets are possible is PSPACE-complete.

    Examples
    --------
    >>> from schedule import example
    >>> least_peak(example("chain", layers=8), "free").needed
    3
    """
    return _Search(graph, order, None).run(deadline or Deadline(work=MOST_STATES))


class _Item(NamedTuple):
    """A state in the queue; the first four fields rank it.

    Attributes
    ----------
    estimate
        A price of the start that no way through the state beats.
    left, steps, serial
        How many nodes have to run before; runs after; a number of its own.
    state, memory, price
        The state, memory in use then, and its price.
    is_own
        Whether the estimate is the state's own, or still that of the one after.
    """

    estimate: int
    left: int
    steps: int
    serial: int
    state: State
    memory: int
    price: int
    is_own: bool


class _Move(NamedTuple):
    """A run that can be the last before a state.

    Attributes
    ----------
    node, again
        The node that runs, and whether it also runs before.
    before, left
        The state before, and memory in use then.
    use
        Memory in use meanwhile.
    """

    node: Node
    again: bool
    before: State
    left: int
    use: int


class _Search:
    """Best-first search from the end to the start.

    The price of a state is the cost of all runs after it that aren't their
    node's first; without a budget, the largest memory in use from there on.
    """

    def __init__(
        self, graph: Graph, order: Order, budget: int | None, below: int | float = math.inf
    ) -> None:
        self._masks = masks = Masks(graph, order)
        self._crossings = Crossings(masks, budget)
        self._budget = budget
        # The least price that isn't of interest.
        self._limit: int | float = math.inf
        if below != math.inf:
            self._limit = math.ceil((Fraction(below) - masks.all_once) / masks.unit)
        # The least memory that was too much, and the node that takes it.
        self._needed: tuple[int, str | None] | None = None
        self._prices: dict[State, int] = {}
        self._after: dict[State, tuple[State, Node]] = {}
        self._queue: list[_Item] = []
        self._serial = count()

    def run(self, deadline: Deadline) -> Found:
        """Expand the states that promise most; among equals, those nearest to the start."""
        self._begin()
        looked = 0
        while self._queue:
            item = heapq.heappop(self._queue)
            if item.price > self._prices[item.state]:
                continue  # reached for less since
            if item.estimate >= self._limit:
                return self._answer(None, True, item.estimate)
            looked += 1
            if deadline.work <= 0 or (looked % _OFTEN == 0 and deadline.passed):
                return self._answer(None, False, item.estimate)
            deadline.work -= 1
            deadline.spend(_SECONDS_A_STATE)
            if not item.is_own and self._is_put_off(item):
                continue
            if not item.state[1]:
                return self._answer(self._codes(item.state), True, item.price)
            self._expand(item)
        # A larger budget leads to the same states, while it is less than all that was too much.
        assert self._needed is not None, "without any budget, the program as it is fits"
        return Found(None, True, None, *self._needed)

    def _begin(self) -> None:
        masks = self._masks
        memory = masks.memory(masks.outputs)
        peak = max(memory, masks.start_memory)
        price = 0
        if self._budget is None:
            price = max([peak, *(node.least for node in masks.nodes)])
        elif peak > self._budget:
            self._needed = peak, None
            return
        end = (masks.outputs, masks.todo)
        self._prices[end] = price
        self._push(price, 0, end, memory, price)

    def _push(self, estimate: int, steps: int, state: State, memory: int, price: int) -> None:
        left = state[1].bit_count()
        item = _Item(estimate, left, steps, next(self._serial), state, memory, price, False)
        heapq.heappush(self._queue, item)

    def _is_put_off(self, item: _Item) -> bool:
        """Compute a state's own estimate, once it is first in the queue; True: it isn't any more.

        Only then, as most states never are first.
        """
        own = self._estimate(item.price, item.state)
        if own is not None and own > item.estimate:
            heapq.heappush(self._queue, item._replace(estimate=own, is_own=True))
        return own is None or own > item.estimate

    def _expand(self, item: _Item) -> None:
        """Put the states before this one into the queue."""
        price = item.price
        capacity = price if self._budget is None else self._budget
        for move in self._moves(item.state, item.memory, capacity):
            total = self._price(price, move)
            # A state may be reached for less even after it was expanded: not all estimates fall
            # by what a move costs (they are admissible, but not consistent).
            if total is not None and total < self._prices.get(move.before, math.inf):
                self._prices[move.before] = total
                self._after[move.before] = item.state, move.node
                estimate = max(item.estimate, total)
                self._push(estimate, item.steps + 1, move.before, move.left, total)

    def _moves(self, state: State, memory: int, capacity: int) -> list[_Move]:
        """The runs that can be the last before a state; only one where no other is better."""
        live, todo = state
        moves = []
        for node, again in self._candidates(live, todo):
            if again and not node.recomputable:
                continue
            rest = live & ~node.writes
            left = memory
            for tensors, size in node.owns:
                if tensors & live and not tensors & rest:
                    left -= size
            for tensors, size in node.read:
                if not tensors & live:
                    left += size
            use = left + node.run_memory
            before = (rest | node.reads, todo if again else todo ^ node.bit)
            move = _Move(node, again, before, left, use)
            if not again and use <= capacity and _is_best(node, live):
                return [move]
            moves.append(move)
        return moves

    def _candidates(self, live: int, todo: int) -> Iterator[tuple[Node, bool]]:
        """Nodes whose run can be the last, and whether they also run before."""
        masks = self._masks
        if masks.is_fixed:
            # The last of all first runs is that of the last node, asked for or not.
            yield masks.nodes[todo.bit_length() - 1], False
        asked = live & ~masks.inputs
        while asked:
            node = masks.writer[asked & -asked]
            asked &= ~node.writes
            # In any order, a node runs before where something else that is asked for needs it,
            # and only there.
            yield node, masks.is_fixed or bool(live & ~node.writes & node.results)

    def _price(self, price: int, move: _Move) -> int | None:
        """The price of the state before a move from one of this price; None: too much."""
        if self._budget is None:
            return max(price, move.use)
        if move.use > self._budget:
            self._block(move.use, move.node)
            return None
        return price + move.node.cost if move.again else price

    def _estimate(self, price: int, state: State) -> int | None:
        """The least price of the start by way of this state; None: too much."""
        peak, cost, node = self._crossings.least(state)
        if self._budget is None:
            return max(price, peak)
        if node is not None and peak > self._budget:
            self._block(peak, node)
            return None
        return price + cost

    def _block(self, memory: int, node: Node) -> None:
        if self._needed is None or memory < self._needed[0]:
            self._needed = memory, node.name

    def _codes(self, state: State) -> Ints:
        runs = []
        while state in self._after:
            state, node = self._after[state]
            runs.append(node.number)
        return free_early(self._masks.graph, np.array(runs, np.int64))

    def _answer(self, codes: Ints | None, decided: bool, price: int) -> Found:
        graph = self._masks.graph
        if self._budget is None:
            node = None
            if codes is not None and (trace := simulate(graph, codes)).peak_step >= 0:
                node = graph.layout.node_names[codes[trace.peak_step]]
            return Found(codes, decided, needed=price, node=node)
        exact = self._masks.all_once + price * self._masks.unit
        if exact.denominator == 1:
            return Found(codes, decided, int(exact))
        bound = float(exact)
        return Found(codes, decided, bound if bound <= exact else math.nextafter(bound, 0.0))


def _is_best(node: Node, live: int) -> bool:
    """Whether the first run of a node is the last run before a state, where it fits.

    It is, where what it reads takes no more memory than what it writes for the
    state. For take any schedule up to the state. From the node's last run on,
    what this writes for the state is live. Keep what it reads instead, which is
    live then, too; leave out all runs of the node, which no other needs, as
    this is its first; and run it at the end. That costs no more, and no step
    has more in use. What the state asks for itself, or what shares a storage
    with a view that the node writes for it, takes nothing more to keep. But
    what shares one with other tensors of the state does: they may be written later.
    """
    written, kept = live & node.writes, node.reads & ~live
    if not written or not kept:
        return not kept
    more = sum(size for tensors, size in node.read if tensors & kept and not tensors & written)
    return more <= sum(size for tensors, size in node.owns if tensors & written)
