"""Free views in an order of runs: they run, and rerun, where their storage's value is new."""

from __future__ import annotations

import numpy as np

from schedule.graph import Graph
from schedule.layout import Ints
from schedule.solvers.program.contraction import Contraction


class FreeViews:
    """Which free views have to run before each run, one run after the other."""

    def __init__(self, graph: Graph, contraction: Contraction) -> None:
        c, layout = contraction, graph.layout
        self._reads, self._outputs = layout.reads_of, layout.outputs_of
        self._resource: list[int] = c.resource.tolist()
        self._writer: list[int] = layout.producer.tolist()
        self._wanted: list[int] = np.flatnonzero(layout.is_output).tolist()
        views = c.nodes[c.is_view].tolist()
        # The value of its storage that each free view was last computed from; −1: it hasn't run.
        self._made_from = dict.fromkeys(views, -1)
        self._value = [0] * (c.n_resources + 1)  # the last one is for resident inputs (−1)

    def before(self, node: int) -> list[int]:
        """Views to run so that the node reads the newest values."""
        return [view for t in self._reads[node] for view in self._stale(t)]

    def at_end(self) -> list[int]:
        """Views to run so that the outputs among them are of the newest values."""
        return [view for t in self._wanted for view in self._stale(t)]

    def ran(self, node: int) -> None:
        """Note that a node runs, all that it reads being live."""
        if node in self._made_from:
            self._made_from[node] = self._value[self._resource[self._outputs[node][0]]]
            return
        for t in self._outputs[node]:
            self._value[self._resource[t]] += 1

    def _stale(self, tensor: int) -> list[int]:
        """The chain of free views down to `tensor` that aren't of its storage's newest value."""
        value = self._value[self._resource[tensor]]
        chain = []
        view = self._writer[tensor]
        while view in self._made_from and self._made_from[view] != value:
            chain.append(view)
            self._made_from[view] = value
            view = self._writer[self._reads[view][0]]
        return chain[::-1]


def with_views(graph: Graph, contraction: Contraction, runs: Ints) -> Ints:
    """Node runs with free views inserted where they are read. O(runs · reads).

    Parameters
    ----------
    graph, contraction
        The graph and its contraction.
    runs
        Shape (p,): node numbers, in an order in which they can run once the
        free views that they read are live.
    """
    if not contraction.is_view.any():
        return runs
    views = FreeViews(graph, contraction)
    found: list[int] = []
    for node in runs.tolist():
        found += views.before(node)
        found.append(node)
        views.ran(node)
    return np.array(found + views.at_end(), np.int64)
