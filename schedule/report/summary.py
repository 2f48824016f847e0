"""What there is to say about a graph before anything is planned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from schedule.bounds import Floor, memory_floor
from schedule.budget import parse_budget
from schedule.graph import Graph
from schedule.lowering import in_order
from schedule.memory import Trace

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
    """

    graph: Graph
    plain: Trace
    floor: Floor

    @classmethod
    def of(cls, graph: Graph) -> Summary:
        """The summary of `graph`; O((nodes + edges) log nodes)."""
        return cls(graph, in_order(graph), memory_floor(graph))

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
        return {
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
        }
