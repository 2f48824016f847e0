"""The optimal persistent schedule of a chain of layers."""

from __future__ import annotations

from dataclasses import dataclass

from schedule.graph import Graph
from schedule.layout import Ints
from schedule.lowering import free_early, needed_in_order
from schedule.solvers.classics.layers.demands import Demands
from schedule.solvers.classics.layers.detection import LayerChain, find_layers, reason_against
from schedule.solvers.classics.layers.measuring import measure
from schedule.solvers.classics.layers.runs import layer_runs
from schedule.solvers.classics.layers.table import LeastCompute, LeastMemory
from schedule.solvers.contract import Deadline, Incumbent, Problem, Proof

#: Where nothing fits in that many slots, and something would, so many times more are tried,
#: as long as their number times that of pairs of layers stays below this (a gigabyte).
_FINER = 4
_MOST_ENTRIES = 50_000_000


@dataclass(frozen=True, slots=True)
class Chain:
    """See the graph as a chain of layers, and plan that with the least compute.

    Each layer runs forward in one of three ways: leaving nothing but its output,
    keeping its input as well to begin again from there, or keeping all that its
    backward nodes read. Of all plans of that kind in which what is kept stays
    until it is used (*persistent* plans), dynamic programming finds the one of
    least compute within the budget (Beaumont, Eyraud-Dubois, Herrmann, Joly,
    Shilova 2019, arXiv:1911.13214; known as rotor).

    Layers are found in any graph with a backward pass
    (`schedule.solvers.classics.layers.detection`); what they take is measured by running
    each of them on its own. Without a budget everything is kept. Where the
    least memory of any such plan exceeds the budget, that plan is proposed.

    Parameters
    ----------
    slots
        Into how many equal slots the budget is divided at most. Sizes are
        rounded up to them; where all have a common unit and the budget has no
        more of those, nothing is rounded.
    layers
        Beyond so many layers, neighbours are merged.

    Notes
    -----
    O(n³ · slots) time and O(n² · slots) memory for n layers.
    """

    slots: int = 500
    layers: int = 200
    name: str = "chain"
    summary: str = "the best persistent plan for a chain of layers (rotor; Beaumont et al. 2019)"

    def supports(self, graph: Graph) -> str | None:
        """Graphs with a backward pass whose forward pass can be cut into layers."""
        return reason_against(graph)

    def improve(self, problem: Problem, incumbent: Incumbent, deadline: Deadline) -> Proof:
        """The plan of least compute that fits, or the one of least memory."""
        graph = problem.graph
        plain = needed_in_order(graph)
        incumbent.offer(plain)
        if problem.budget is None or problem.fits(plain.peak):
            return Proof()
        chain = find_layers(graph, problem.order, max(self.layers, 2))
        runs = None if chain is None else self._plan(chain, problem.budget, deadline)
        if runs is not None:
            incumbent.offer(free_early(graph, runs))
        return Proof()

    def _plan(self, chain: LayerChain, budget: int, deadline: Deadline) -> Ints | None:
        demands = Demands(measure(chain))
        memory = LeastMemory(demands)
        slots = max(self.slots, 1)
        finer = slots * _FINER * demands.n_layers**2 <= _MOST_ENTRIES
        for count in (slots, slots * _FINER)[: 1 + finer] if memory.budget <= budget else ():
            table = LeastCompute(demands, budget, count, lambda: deadline.passed)
            if table.fits:
                return layer_runs(chain, table.choose, table.budget, deadline.most_runs)
        return layer_runs(chain, memory.choose, budget, deadline.most_runs)
