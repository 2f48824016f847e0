"""A solver, a reader of graph files, and an executor, for `schedule` to find by name."""

from array import array
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np

from schedule import Graph, GraphBuilder
from schedule.errors import BadGraph, BadOption
from schedule.executors.machine import available_memory
from schedule.lowering import free_early
from schedule.solvers import Deadline, Incumbent, Problem, Proof


@dataclass(frozen=True, slots=True)
class Cheap:
    """Recompute what costs least, right before each backward node that reads it."""

    share: float = 0.75
    name: str = "cheap"
    summary: str = "recomputes the cheapest three quarters of the forward nodes (an example)"

    def supports(self, graph: Graph) -> str | None:
        """Graphs with a backward pass."""
        return None if graph.layout.backward.any() else "it has no backward nodes"

    def improve(self, problem: Problem, incumbent: Incumbent, deadline: Deadline) -> Proof:
        """One extra run of each cheap node before each backward node that reads it."""
        layout = problem.graph.layout
        cheap = layout.recomputable & ~layout.backward
        cheap &= layout.compute <= np.quantile(layout.compute, self.share)
        runs = []
        for v in np.flatnonzero(layout.needed).tolist():
            if layout.backward[v]:
                makers = {int(layout.producer[t]) for t in layout.reads_of[v]}
                runs += sorted(u for u in makers if u >= 0 and cheap[u])
            runs.append(v)
        incumbent.offer(free_early(problem.graph, runs))
        return Proof()


def read_ops(path: str) -> Graph:
    """A graph of lines `NAME MEMORY COMPUTE READS…`; a backward node's name ends in `'`.

    A node reads nothing that stands below it. What is wrong with a file is said
    without its name, which is put in front.
    """
    builder = GraphBuilder(Path(path).stem)
    for number, line in enumerate(Path(path).read_text("utf-8").splitlines(), 1):
        match line.split():
            case [name, memory, compute, *reads] if memory.isdecimal() and compute.isdecimal():
                backward = name.endswith("'")
                size, cost = int(memory), int(compute)
                builder.node(name, reads, memory=size, compute=cost, backward=backward)
            case []:
                pass
            case _:
                raise BadGraph(f"line {number} isn't of the form NAME MEMORY COMPUTE READS…")
    return builder.build()


class Buffers:
    """Replays on memoryviews of `array.array`, with nothing but Python itself.

    Where there are kernels, they take and return memoryviews. The last five
    methods are only for replays without kernels.
    """

    name = "buffers"
    kind = "memoryview of an array.array"

    def __init__(self, device: str | None = None) -> None:
        if device not in (None, "cpu"):
            raise BadOption(f"device is {device!r}; buffers are in main memory, on 'cpu'")

    def array(self, value: object) -> memoryview | None:
        if isinstance(value, array):
            value = memoryview(value)
        own = isinstance(value, memoryview) and isinstance(value.obj, array)
        return value if own else None

    def storage(self, array: memoryview) -> object:
        return array.obj

    def array_bytes(self, array: memoryview) -> int:
        return array.nbytes

    def storage_bytes(self, storage: array) -> int:
        return len(storage) * storage.itemsize

    def describe(self, array: memoryview) -> str:
        return f"{len(array)} items of type {array.format!r}"

    def running(self) -> nullcontext:
        return nullcontext()

    def available(self) -> int:
        return available_memory()

    def allocate(self, size: int) -> memoryview:
        return memoryview(array("B", bytes(size)))

    def view(self, array: memoryview) -> memoryview:
        return array[:]

    def fill(self, array: memoryview, seed: bytes) -> None:
        array[:] = Random(seed).randbytes(len(array))

    def host(self, array: memoryview) -> memoryview:
        return array
