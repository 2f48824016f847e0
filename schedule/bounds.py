"""What no schedule can beat."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from schedule.graph import Graph
from schedule.layout import offsets
from schedule.values import listed, total

#: Compute and bound count as equal when they differ by less than this share of
#: the compute of every node once: 0.00001 percentage points of overhead.
TOLERANCE = 1e-7


@dataclass(frozen=True, slots=True)
class Floor:
    """A budget below which no schedule exists, and what sets it.

    Attributes
    ----------
    memory
        The least budget that isn't excluded.
    node
        The node that needs it; None where the inputs alone or the outputs
        together do.
    tensors
        What has to be in memory at once then, beside `node`'s workspace.
    """

    memory: int
    node: str | None
    tensors: tuple[str, ...]

    def __str__(self) -> str:
        if self.node is None:
            return f"{self.memory} for {listed(self.tensors)} at once"
        return f"{self.memory} while node {self.node!r} runs"


def memory_floor(graph: Graph) -> Floor:
    """The least memory that any schedule in any order has in use at some step.

    The largest of: all inputs (they are there at the start), all outputs and
    resident inputs (they are there at the end), and, for each node that has to
    run, the resident inputs, what it reads, what it writes and its workspace.
    O(nodes + edges).
    """
    layout = graph.layout
    owner = layout.storage
    resident = layout.resident
    names = layout.tensor_names
    start = np.arange(layout.n_inputs)
    end = np.unique(owner[layout.is_output | resident])
    reader = np.repeat(np.arange(layout.n_nodes), np.diff(layout.first_read))
    pairs = np.unique(np.stack([reader, owner[layout.reads]]), axis=1)
    extra = ~resident[pairs[1]]
    reads = np.bincount(pairs[0][extra], minlength=layout.n_nodes)  # how many, for the slices below
    sums = offsets(layout.memory[pairs[1][extra]])
    slices = offsets(reads)
    need = sums[slices[1:]] - sums[slices[:-1]]
    need += layout.new_memory + layout.workspace + layout.resident_memory
    need[~layout.needed] = 0
    found = [
        Floor(int(layout.memory[start].sum()), None, tuple(names[t] for t in start)),
        Floor(int(layout.memory[end].sum()), None, tuple(names[t] for t in end)),
    ]
    if layout.n_nodes:
        v = int(need.argmax())
        together = np.unique(
            np.concatenate([np.flatnonzero(resident), owner[layout.reads_of[v]]]).astype(np.int64)
        )
        tensors = [names[t] for t in together] + [names[t] for t in layout.outputs_of[v]]
        found.append(Floor(int(need[v]), layout.node_names[v], tuple(tensors)))
    return max(reversed(found), key=lambda floor: floor.memory)


def least_compute(graph: Graph) -> int | float:
    """Compute of every node that has to run, once: no schedule takes less."""
    return total(node.compute for node, needed in zip(graph.nodes, graph.layout.needed) if needed)


def round_up(graph: Graph, bound: float) -> int | float:
    """The least compute ≥ `bound` that a schedule of `graph` can have.

    Where all costs are integers, every schedule takes the least compute plus a
    multiple of the costs' greatest common divisor, so a fractional bound from
    a floating-point solver can be rounded up to the next such value (after a
    billionth is taken off for that solver's own rounding).
    """
    least = least_compute(graph)
    safe = bound - 1e-9 * max(abs(bound), float(graph.compute))
    if safe <= least:
        return least
    step = cost_step(graph)
    return int(least) + step * math.ceil((safe - least) / step) if step else safe


def cost_step(graph: Graph) -> int:
    """The greatest common divisor of all costs; 0 where some cost is no integer.

    The computes of two schedules of one graph differ by a multiple of it.
    """
    costs = [node.compute for node in graph.nodes]
    if not all(isinstance(cost, int) for cost in costs):
        return 0
    return math.gcd(*(int(cost) for cost in costs))
