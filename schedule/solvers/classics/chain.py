"""The optimal persistent schedule of a chain of layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from schedule.graph import Graph
from schedule.lowering import free_early, needed_in_order
from schedule.solvers.classics.layers.detection import LayerChain, find_layers, reason_against
from schedule.solvers.classics.layers.measuring import Demands
from schedule.solvers.classics.layers.runs import layer_runs
from schedule.solvers.classics.layers.table import LeastCompute, LeastMemory
from schedule.solvers.contract import Deadline, Incumbent, Problem, Proof


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
        Of more layers than that, adjacent ones are merged.

    Notes
    -----
    O(n³ · slots) time and O(n² · slots) memory for n layers.
    """

    slots: int = 500
    layers: int = 100
    counts_work: ClassVar[bool] = True
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
        if chain is not None:
            self._improve(chain, problem, incumbent, deadline)
        return Proof()

    def _improve(
        self, chain: LayerChain, problem: Problem, incumbent: Incumbent, deadline: Deadline
    ) -> None:
        """Offer the plan of least memory, and that of least compute where anything fits."""
        graph, budget, demands = problem.graph, problem.budget or 0, Demands(chain)
        memory = LeastMemory(demands)
        runs = layer_runs(chain, memory.choose, budget, deadline.most_runs)
        if runs is not None:  # it is there where the time ends
            incumbent.offer(free_early(graph, runs))
        if memory.budget > budget:
            return
        table = LeastCompute(demands, budget, max(self.slots, 1), deadline)
        if table.fits:
            runs = layer_runs(chain, table.choose, table.budget, deadline.most_runs)
            if runs is not None:
                incumbent.offer(free_early(graph, runs))
