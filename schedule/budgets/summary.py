"""What there is to say about a graph before anything is planned."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from schedule.bounds import Floor, memory_floor
from schedule.budgets.limits import BudgetLimits, bounded, limited
from schedule.graph import Graph
from schedule.levels import Level, levels_of
from schedule.lowering import in_order
from schedule.makespan import level_floor, makespan_bound
from schedule.memory import Trace, overhead_of
from schedule.options import SolveOptions
from schedule.result import Order
from schedule.sizes import parse_budget

#: Budgets that a summary shows, as shares of the unplanned peak.
SHARES = ("90%", "70%", "50%")


@dataclass(frozen=True, slots=True)
class Summary:
    """A graph in figures.

    Attributes
    ----------
    graph
        The graph.
    plain
        The program as it is: the graph's own order, nothing recomputed.
    floor
        The memory below which no schedule exists.
    limits
        What is known of the least budget in the given order and in any.
    reordered
        The same in any order, nothing recomputed.
    bounds
        By share of the unplanned peak: the bound on compute there, in any order,
        as an overhead; None: no schedule fits. They never rise with the budget.
    interrupted
        True where Ctrl-C ended the search for limits and bounds early; what is
        there is true.
    levels
        What is below the device.
    level_floor
        The memory of the device below which no schedule exists with these levels.
    makespan_bounds
        By share of the unplanned peak: the bound on the makespan there, in any order,
        as an overhead; None: no schedule fits.
    """

    graph: Graph
    plain: Trace
    floor: Floor
    limits: tuple[BudgetLimits, ...] = ()
    reordered: BudgetLimits | None = None
    bounds: dict[str, float | None] = field(default_factory=dict)
    interrupted: bool = False
    levels: tuple[Level, ...] = ()
    level_floor: Floor | None = None
    makespan_bounds: dict[str, float | None] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"<Summary of {self.graph.name!r}: {self.plain!r}, {self.floor}>"

    @classmethod
    def of(
        cls, graph: Graph, time_limit: float = 0.0, levels: Iterable[Level] | Level | None = None
    ) -> Summary:
        """The summary of `graph`, with limits and bounds where there is time for them.

        The limits without recomputation, in the given order and in any take a sixth, a quarter
        and a third of `time_limit`, all bounds the rest; where one takes longer, what follows
        gets less. Bounds with levels below the device are made besides, in
        O(nodes · tensors · log tensors).

        Raises
        ------
        BadOption
            `time_limit` is neither 0 nor a finite number of seconds above it.
        """
        if time_limit != 0:
            time_limit = SolveOptions(time_limit=time_limit).time_limit
        found, below = cls._on_device(graph, time_limit), levels_of(levels)
        if not below:
            return found
        return replace(
            found,
            levels=below,
            level_floor=level_floor(graph, below),
            makespan_bounds=_makespan_bounds(graph, below),
        )

    @classmethod
    def _on_device(cls, graph: Graph, time_limit: float) -> Summary:
        plain, floor = in_order(graph), memory_floor(graph)
        if not time_limit:
            return cls(graph, plain, floor)
        parts = _Parts(graph, time_limit)
        reordered = parts.limits(1 / 6, "free", recompute=False)
        fixed = parts.limits(5 / 12, "fixed")
        free = parts.limits(0.75, "free", known=min(reordered.known, fixed.known))
        bounds, needed = _bounds(graph, free.needed, parts)
        if needed > free.needed:
            free = replace(free, needed=needed, node=None)
        # What every schedule needs, those of each kind need.
        fixed, reordered = _needing(fixed, free), _needing(reordered, free)
        return cls(graph, plain, floor, (free, fixed), reordered, bounds, parts.interrupted)

    @property
    def peak_node(self) -> str | None:
        """The node during which memory is at its peak; None: before any runs."""
        step = self.plain.peak_step
        return None if step < 0 else self.graph.layout.node_names[int(self.plain.codes[step])]

    def budgets(self) -> dict[str, int]:
        """Some budgets that may be asked for, in the graph's unit."""
        found = {share: parse_budget(share, self.graph) for share in SHARES}
        return {share: budget for share, budget in found.items() if budget >= self.floor.memory}

    def to_json(self, largest: int = 5) -> dict[str, Any]:
        """The summary as plain data, with the `largest` parts of the peak."""
        layout, graph = self.graph.layout, self.graph
        views = sum(out.view_of is not None for node in graph.nodes for out in node.outputs)
        shares = self.plain.peak_shares[:largest]
        found: dict[str, Any] = {
            "name": graph.name,
            "sha256": graph.digest,
            "nodes": layout.n_nodes,
            "forward_nodes": layout.n_nodes - int(layout.backward.sum()),
            "backward_nodes": int(layout.backward.sum()),
            "not_recomputable": int((~layout.recomputable).sum()),
            "not_needed": int((~layout.needed).sum()),
            "tensors": layout.n_tensors,
            "views": views,
            "inputs": layout.n_inputs,
            "resident_memory": layout.resident_memory,
            "outputs": len(graph.outputs),
            "compute": graph.compute,
            "peak": self.plain.peak,
            "peak_node": self.peak_node,
            "at_peak": [
                {"name": part.name, "memory": part.memory, "role": part.role} for part in shares
            ],
            "floor": {"memory": self.floor.memory, "node": self.floor.node},
            "budgets": self.budgets(),
            "least_budget": {found.order: _plain(found) for found in self.limits},
            "reordered": None if self.reordered is None else _plain(self.reordered),
            "bound_overhead": self.bounds,
        } | ({"interrupted": True} if self.interrupted else {})
        if self.level_floor is not None:
            floor = {"memory": self.level_floor.memory, "node": self.level_floor.node}
            found["levels"] = [level.to_json() for level in self.levels]
            found["with_levels"] = {"floor": floor, "bound_overhead": self.makespan_bounds}
        return found


class _Parts:
    """What a summary asks in turn, and until when; after Ctrl-C there is no time for more."""

    def __init__(self, graph: Graph, seconds: float) -> None:
        self.interrupted = False
        self._graph, self._seconds = graph, seconds
        self._end = time.monotonic() + seconds

    def until(self, share: float) -> float:
        """Seconds until this share of the time is over, at least a thousandth."""
        return max(self._end - (1 - share) * self._seconds - time.monotonic(), 1e-3)

    def limits(
        self, share: float, order: Order, *, recompute: bool = True, known: int | None = None
    ) -> BudgetLimits:
        """What is known of the least budget when this share of the time is over."""
        asked = SolveOptions(order=order, time_limit=self.until(share))
        found = limited(self._graph, asked, recompute=recompute, known=known)
        self._hear(found.interrupted)
        return found

    def bound(self, budget: int, share: float) -> int | float | None:
        """What no schedule can beat at a budget, by then; None: none fits."""
        found = bounded(self._graph, budget, SolveOptions(time_limit=self.until(share)))
        self._hear(found.interrupted)
        return found.lower_bound

    def _hear(self, interrupted: bool) -> None:
        if interrupted:
            self.interrupted, self._end = True, time.monotonic()


def _makespan_bounds(graph: Graph, levels: tuple[Level, ...]) -> dict[str, float | None]:
    """What the makespan is at least at some budgets, as an overhead; None: nothing fits."""
    floor, found = level_floor(graph, levels).memory, {}
    for share in SHARES:
        budget = parse_budget(share, graph)
        bound = makespan_bound(graph, budget, levels).makespan if budget >= floor else math.inf
        found[share] = overhead_of(graph, bound) if math.isfinite(bound) else None
    return found


def _bounds(graph: Graph, needed: int, parts: _Parts) -> tuple[dict[str, float | None], int]:
    """The bounds at some budgets, and what is proved to be needed by then.

    A search that the time ends may prove less at a smaller budget; but what no
    schedule can beat with more memory, none can with less.
    """
    bounds: dict[str, float | None] = {}
    best: int | float = 0
    for count, share in enumerate(SHARES, start=1):  # from the largest
        budget, until = parse_budget(share, graph), 0.75 + 0.25 * count / len(SHARES)
        found = parts.bound(budget, until) if budget >= needed else None
        if found is None:
            needed = max(needed, budget + 1)
            bounds[share] = None
        else:
            best = max(best, found)
            bounds[share] = overhead_of(graph, best)
    return bounds, needed


def _needing(limits: BudgetLimits, more: BudgetLimits) -> BudgetLimits:
    """The limits, where what `more` proves to be needed is needed, too."""
    stronger = more if more.needed > limits.needed else limits
    return replace(limits, needed=stronger.needed, node=stronger.node)


def _plain(limits: BudgetLimits) -> dict[str, Any]:
    return {"known": limits.known, "needed": limits.needed, "node": limits.node}
