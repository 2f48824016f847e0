"""Another order of the same runs: the least peak without recomputation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from schedule.bounds import reordering_floor
from schedule.graph import Graph
from schedule.layout import Ints
from schedule.lowering import needed_in_order, replayed
from schedule.solvers.annealing import SEQUENCES
from schedule.solvers.contract import Deadline, Incumbent, Problem, Proof
from schedule.solvers.eviction import EVICTION
from schedule.solvers.eviction.fitting import Fitting
from schedule.solvers.exhaustive import downsets
from schedule.solvers.kit.loading import Loading
from schedule.solvers.program.contraction import contract
from schedule.solvers.program.views import with_views
from schedule.values import require_kind

if TYPE_CHECKING:
    from schedule.solvers.annealing.flattening import FlatteningSettings


@dataclass(frozen=True, slots=True)
class Reorder:
    """Every needed node once, in the order of least peak that is found.

    The question of OLLA (Steiner et al. 2022, arXiv:2210.12924) and of the
    reordering in PyTorch's Inductor: how little memory does the program take if
    only its order changes? Graphs with few independent nodes are solved
    exactly; for others, orders chosen from the last node to the first and
    orders with every run shifted to where it holds least are annealed. See
    `Reordering`.

    In the given order there is nothing to choose: it is the program as it is,
    without the nodes that no output needs.

    Parameters
    ----------
    settings
        How orders are annealed; None: `FlatteningSettings()`.
    """

    settings: FlatteningSettings | None = None
    counts_work: ClassVar[bool] = True
    compiled: ClassVar[tuple[Loading, ...]] = (EVICTION, SEQUENCES)
    name: str = "reorder"
    summary: str = "every node once, in another order: the least peak without recomputation"

    def __post_init__(self) -> None:
        if self.settings is not None:
            from schedule.solvers.annealing.flattening import FlatteningSettings

            require_kind(self.settings, FlatteningSettings, "settings of 'reorder'")

    def supports(self, graph: Graph) -> str | None:
        """Any graph."""
        return None

    def improve(self, problem: Problem, incumbent: Incumbent, deadline: Deadline) -> Proof:
        """Under a budget the first order that fits, else that of the least peak; all offered."""
        reordering = Reordering(problem, incumbent, deadline, self.settings)
        incumbent.offer(reordering.trace)
        reordering.run()
        return Proof()


class Reordering:
    """A search for the order of least peak in which every needed node runs once.

    Parameters
    ----------
    problem
        With a budget, the first order that fits is enough.
    incumbent, deadline
        Takes the orders that are found; when to stop.

    Attributes
    ----------
    trace
        The order of least peak so far, replayed; each but the program's own was offered.
    needed
        Proved: no order has a lower peak.
    """

    def __init__(
        self,
        problem: Problem,
        incumbent: Incumbent,
        deadline: Deadline,
        settings: FlatteningSettings | None = None,
    ) -> None:
        self._settings = settings
        self._problem, self._graph = problem, problem.graph
        self._incumbent, self._deadline = incumbent, deadline
        self._runs = np.flatnonzero(problem.graph.layout.needed)
        self.trace = needed_in_order(self._graph)
        self.needed = self.trace.peak if problem.order == "fixed" else 0

    def run(self) -> None:
        """Search until the peak is low enough, no search lowers it, or the time is up."""
        self.search()
        for attempt in (self._take_other_orders, self._anneal):
            if self._is_low_enough or self._is_late():
                return
            attempt()

    def search(self) -> None:
        """Search exhaustively, up to a number of states: the quick part, a second or so."""
        if self._is_low_enough:
            return
        self.prove_floor()
        if not (self._is_low_enough or self._is_late()):
            self._search()

    def prove_floor(self) -> int:
        """What any order needs, before anything is searched for."""
        self.needed = self.needed or reordering_floor(self._graph, self._is_late)
        return self.needed

    @property
    def _enough(self) -> int:
        """A peak that ends the search, as no lower one is possible or of use."""
        return max(self.needed, self._problem.budget or 0)

    @property
    def _is_low_enough(self) -> bool:
        return self.trace.peak <= self._enough

    def _is_late(self) -> bool:
        return self._deadline.passed

    def _take(self, runs: Ints) -> None:
        trace = replayed(self._graph, runs)
        if trace.peak < self.trace.peak:
            self.trace = trace
            self._runs = runs
            self._incumbent.offer(trace)

    def _search(self) -> None:
        enough = self._enough
        found = downsets.least_peak(self._graph, enough, self._deadline)
        if found.runs is not None:
            self._take(found.runs)
        # At `enough` it proves nothing: it began there.
        if found.needed > enough:
            self.needed = found.needed

    def _take_other_orders(self) -> None:
        if EVICTION.wait(self._incumbent, self._deadline):
            fitting = Fitting(self._graph, "free", self._deadline)
            for runs in fitting.other_orders(self._runs):
                self._take(runs)

    def _anneal(self) -> None:
        if not SEQUENCES.wait(self._incumbent, self._deadline):
            return
        # Numba is loaded only when it is needed.
        from schedule.solvers.annealing.flattening import Flattening, FlatteningSettings
        from schedule.solvers.program.operations import operations_of

        graph, contraction = self._graph, contract(self._graph)
        operations = operations_of(graph, "free")
        flattening = Flattening(
            operations,
            operations.sequence(self._runs),
            self._enough - graph.layout.resident_memory,
            self._problem.seed,
            self._settings or FlatteningSettings(),
        )
        while not flattening.settled and not self._is_late():
            if flattening.round(self._deadline):
                self._take(with_views(graph, contraction, operations.nodes[flattening.best]))
