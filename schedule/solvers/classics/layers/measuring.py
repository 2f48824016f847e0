"""What the layers of a chain take: compute and memory, measured with the memory model."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from schedule.graph import Graph
from schedule.layout import Bools, Floats, Ints, offsets
from schedule.solvers.classics.layers.bench import Bench
from schedule.solvers.classics.layers.detection import LayerChain
from schedule.values import total


@dataclass(frozen=True)
class Figures:
    """What the runs of each of n layers take, for first runs or for those again.

    Memory counts from what is there before a run: the layer's input, and all
    that is there for other layers. Where the input is `owned`, it is freed after
    its last use; otherwise something else needs it longer. These arrays have the
    shape (2, n): not owned, owned.

    Attributes
    ----------
    sweep_compute, all_compute, last_compute
        Shape (n,): compute of a run for the output, for that and what is saved,
        and for what is saved alone.
    sweep, all, last
        The most in use during each of these.
    left
        What is more in use after `all` than before, the output included.
    back
        The most in use during the backward nodes after `all`.
    back_last
        The same after `last`.
    """

    sweep_compute: Floats
    all_compute: Floats
    last_compute: Floats
    sweep: Ints
    all: Ints
    last: Ints
    left: Ints
    back: Ints
    back_last: Ints


@dataclass(frozen=True)
class Measures:
    """All that a plan over n layers has to know.

    Attributes
    ----------
    first, again
        Of first runs and of those again.
    size
        Shape (n + 1,): memory of each layer's input, and 0 for what the last hands on.
    kept, once
        Shape (n,): memory of what a first run of a layer leaves for good, and of
        what has to stay beside that until the layer runs again.
    is_pinned
        Shape (n + 1,): whether each layer's input is saved by the layer before it.
    before
        Shape (n,): memory in use apart from layers' inputs and what they save,
        before the layer's first run.
    waiting
        Shape (n,): the same while the layer and those before it wait for their
        backward nodes, and those after it are done.
    """

    first: Figures
    again: Figures
    size: Ints
    kept: Ints
    once: Ints
    is_pinned: Bools
    before: Ints
    waiting: Ints


def measure(chain: LayerChain) -> Measures:
    """Run each layer on its own, in all the ways in which a plan may run it.

    All layers stand side by side in one graph, so that each way is one replay.
    O(nodes log nodes + edges).
    """
    layout, layers = chain.graph.layout, chain.layers
    storage = layout.storage

    def memory(tensors: Iterable[int]) -> int:
        return sum(int(layout.memory[s]) for s in {int(storage[t]) for t in tensors})

    kept = np.array([_kept_memory(chain, layer.kept) for layer in layers], np.int64)
    size = np.array([0] + [layer.size for layer in layers], np.int64)
    given, waiting = _surroundings(chain)
    return Measures(
        first=_figures(chain, kept, again=False),
        again=_figures(chain, kept, again=True),
        size=size,
        kept=kept,
        once=np.array([memory(layer.once) for layer in layers], np.int64),
        is_pinned=np.array([False] + [layer.is_pinned for layer in layers]),
        before=given + offsets(kept)[:-1],
        waiting=waiting,
    )


def _kept_memory(chain: LayerChain, tensors: Iterable[int]) -> int:
    """Memory of the storages that these kept tensors own: not that of the graph's inputs."""
    layout = chain.graph.layout
    return sum(int(layout.memory[t]) for t in tensors if layout.storage[t] == t)


def _surroundings(chain: LayerChain) -> tuple[int, Ints]:
    """Memory that is there before all first runs, and while each layer is the next to go back.

    The latter: resident inputs, what is kept as long as the layers that read it
    wait, and what backward nodes of later layers have left for this one, earlier
    ones, or the end.
    """
    graph, layout = chain.graph, chain.graph.layout
    n = len(chain.layers)
    lowest = _lowest_reader(chain)
    given, change = 0, np.zeros(n + 1, np.int64)
    for s, tensors in _storages(graph).items():
        memory = int(layout.memory[s])
        readers = min(lowest[t] for t in tensors)
        if layout.resident[s]:
            given += memory
            change[0] += memory
        elif all(chain.kept[t] for t in tensors):
            if layout.producer[s] < 0 and readers < n:
                given += memory
            change[min(readers, n)] += memory
        else:  # of what the forward pass makes, only what backward nodes make on it
            made = [t for t in tensors if layout.producer[t] >= layout.boundary]
            spans = [(lowest[t], int(chain.of_node[layout.producer[t]])) for t in made]
            start = min((low for low, _ in spans), default=n)
            end = max((high for low, high in spans if low < high), default=0)
            if start < end:
                change[start] += memory
                change[end] -= memory
    return given, np.cumsum(change)[:-1]


def _storages(graph: Graph) -> dict[int, list[int]]:
    """The tensors on each storage."""
    found: dict[int, list[int]] = {}
    for t, s in enumerate(graph.layout.storage.tolist()):
        found.setdefault(s, []).append(t)
    return found


def _lowest_reader(chain: LayerChain) -> list[int]:
    """For each tensor, the lowest layer that reads it: 0 for an output, n for what none reads."""
    layout, of_node = chain.graph.layout, chain.of_node.tolist()
    n = len(chain.layers)
    lowest = [
        min((of_node[v] for v in readers if of_node[v] >= 0), default=n)
        for readers in layout.readers_of
    ]
    for t in np.flatnonzero(layout.is_output).tolist():
        lowest[t] = 0
    return lowest


def _figures(chain: LayerChain, kept: Ints, *, again: bool) -> Figures:
    layers, nodes = chain.layers, chain.graph.nodes
    sweeps = [layer.sweep if again else layer.first_sweep for layer in layers]
    alls = [layer.all if again else layer.first_all for layer in layers]

    def compute(runs: list[list[int]]) -> Floats:
        return np.array([float(total(nodes[v].compute for v in each)) for each in runs])

    bench = Bench(chain, alls, again=again)
    sweep = np.stack([bench.sweep(sweeps, owned=owned) for owned in (False, True)])
    ahead, left, back = np.stack([bench.turn(alls, owned=owned) for owned in (False, True)], axis=1)
    lasts, last, back_last = alls, ahead, back
    if again:
        lasts = [layer.last for layer in layers]
        last, back_last = np.stack(
            [bench.last(lasts, owned=owned) for owned in (False, True)], axis=1
        )
    stay = np.zeros_like(kept) if again else kept
    return Figures(
        sweep_compute=compute(sweeps),
        all_compute=compute(alls),
        last_compute=compute(lasts),
        sweep=sweep,
        all=ahead,
        last=last,
        left=left - stay,
        back=back - stay,
        back_last=back_last - stay,
    )
