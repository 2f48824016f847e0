"""Schedules: what to run and what to free, in order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from schedule.errors import UnknownName, WrongGraph

if TYPE_CHECKING:
    from schedule.graph import Graph
    from schedule.layout import Ints


@dataclass(frozen=True, slots=True)
class Compute:
    """Run `node`; its outputs are live afterwards."""

    node: str


@dataclass(frozen=True, slots=True)
class Free:
    """Let go of `tensor`; its storage goes with the last tensor on it."""

    tensor: str


Step = Compute | Free


@dataclass(frozen=True, slots=True)
class Schedule:
    """Steps for one graph, which is known by name and digest.

    Parameters
    ----------
    steps
        What to do, in order.
    graph_name, digest
        The graph that the steps belong to (`Graph.name`, `Graph.digest`).
    """

    steps: tuple[Step, ...]
    graph_name: str
    digest: str

    @classmethod
    def of(cls, graph: Graph, steps: Iterable[Step]) -> Schedule:
        """These steps as a schedule of `graph`; nothing is checked yet."""
        return cls(tuple(steps), graph.name, graph.digest)

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[Step]:
        return iter(self.steps)

    def require(self, graph: Graph) -> None:
        """Raise WrongGraph unless this is a schedule of `graph`."""
        if self.digest != graph.digest:
            raise WrongGraph(
                f"the schedule was made for graph {self.graph_name!r} with digest"
                f" {self.digest[:12]}…, but graph {graph.name!r} has digest"
                f" {graph.digest[:12]}…; solve this graph, or use the one it was made for"
            )


def encode(graph: Graph, steps: Iterable[Step]) -> Ints:
    """Steps as codes (see `layout`), shape (steps,).

    Raises
    ------
    UnknownName
        A step names a node or a tensor that the graph doesn't have.
    """
    import numpy as np

    nodes, tensors = graph.layout.node_id, graph.layout.tensor_id
    listed = steps if isinstance(steps, (tuple, list)) else tuple(steps)
    try:
        codes = [
            nodes[step.node] if type(step) is Compute else ~tensors[step.tensor]  # type: ignore[union-attr]
            for step in listed
        ]
    except (KeyError, AttributeError, TypeError):
        _explain_name(graph, listed)
        raise
    return np.array(codes, dtype=np.int64)


def _explain_name(graph: Graph, steps: Iterable[Step]) -> None:
    for at, step in enumerate(steps):
        if isinstance(step, Compute):
            if step.node not in graph.layout.node_id:
                raise UnknownName(
                    f"step {at} runs {step.node!r}, which is no node of graph {graph.name!r}", at
                )
        elif isinstance(step, Free):
            if step.tensor not in graph.layout.tensor_id:
                raise UnknownName(
                    f"step {at} frees {step.tensor!r}, which is no tensor of graph {graph.name!r}",
                    at,
                )
        else:
            raise UnknownName(f"step {at} is {step!r}; a step is a Compute or a Free", at)


def decode(graph: Graph, codes: Ints) -> tuple[Step, ...]:
    """Codes as steps: the inverse of `encode`."""
    layout = graph.layout
    runs = [Compute(name) for name in layout.node_names]
    frees = [Free(name) for name in layout.tensor_names]
    return tuple(runs[code] if code >= 0 else frees[~code] for code in codes.tolist())
