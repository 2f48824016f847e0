"""The optimal persistent schedule of a chain of layers."""

from __future__ import annotations

from dataclasses import dataclass

from schedule.graph import Graph
from schedule.layout import Ints
from schedule.lowering import free_early, needed_in_order
from schedule.solvers.classics.layers.detection import LayerChain, find_layers, reason_against
from schedule.solvers.classics.layers.measuring import Demands
from schedule.solvers.classics.layers.runs import layer_runs
from schedule.solvers.classics.layers.table import LeastCompute, LeastMemory
from schedule.solvers.contract import Problem, Proposal


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
    layers: int = 100
    name: str = "chain"
    summary: str = "the best persistent plan for a chain of layers (rotor; Beaumont et al. 2019)"

    def supports(self, graph: Graph) -> str | None:
        """Graphs with a backward pass whose forward pass can be cut into layers."""
        return reason_against(graph)

    def propose(self, problem: Problem) -> Proposal:
        """The plan of least compute that fits, or the one of least memory."""
        graph = problem.graph
        plain = needed_in_order(graph)
        if problem.budget is None or problem.fits(plain.peak):
            return Proposal(plain.codes)
        problem.offer(Proposal(plain.codes))
        chain = find_layers(graph, problem.order, max(self.layers, 2))
        if chain is None:
            return Proposal()
        runs = self._plan(chain, problem, problem.budget)
        return Proposal() if runs is None else Proposal(free_early(graph, runs))

    def _plan(self, chain: LayerChain, problem: Problem, budget: int) -> Ints | None:
        demands = Demands(chain)
        memory = LeastMemory(demands)
        least = layer_runs(chain, memory.choose, budget, problem.most_runs)
        if memory.budget > budget:
            return least
        if least is not None:  # it is there where the time ends
            problem.offer(Proposal(free_early(problem.graph, least)))
        slots = max(self.slots, 1)
        table = LeastCompute(demands, budget, slots, lambda: problem.seconds_left <= 0)
        if not table.fits:
            return least
        return layer_runs(chain, table.choose, table.budget, problem.most_runs)
