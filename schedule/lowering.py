"""From runs to steps: given the order in which nodes run, when to free what."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from schedule.graph import Graph, kept_with_graph
from schedule.layout import Ints, spread
from schedule.memory import Trace, simulate


def free_early(graph: Graph, runs: Ints | Sequence[int]) -> Ints:
    """The steps of least memory that run these nodes in this order.

    Every value is freed right after its last read before it is written again
    (or for good); outputs stay after their last write. No other choice of
    frees has less memory in use at any step.

    Parameters
    ----------
    graph
        The graph.
    runs
        Shape (r,): numbers of the nodes to run, with repetitions. Every input
        of a run must have been written by an earlier one, or be an input of
        the graph.

    Returns
    -------
    numpy.ndarray
        Codes (see `schedule.layout`): the runs with the frees between them.

    Notes
    -----
    O(events log events) for reads and writes together, vectorised.
    """
    layout = graph.layout
    runs = np.asarray(runs, np.int64)  # an empty list makes an array of floats
    size = len(runs) + 1  # position 0 is the start, position p + 1 is run p
    written, write_owner = spread(layout.first_output, runs)
    at, read_owner = spread(layout.first_read, runs)
    inputs = np.flatnonzero(layout.freeable)
    keys = np.concatenate(
        [
            (inputs * size) * 2 + 1,
            (written * size + write_owner + 1) * 2 + 1,
            (layout.reads[at] * size + read_owner + 1) * 2,
        ]
    )
    keys.sort()
    is_write = (keys & 1).astype(bool)
    tensor, position = np.divmod(keys >> 1, size)
    # The last use of each value: the event before the tensor's next write, or its last event.
    last = np.ones(len(keys), dtype=bool)
    last[:-1] = (tensor[1:] != tensor[:-1]) | is_write[1:]
    final = np.ones(len(keys), dtype=bool)
    final[:-1] = tensor[1:] != tensor[:-1]
    free = last & ~layout.resident[tensor] & ~(final & layout.is_output[tensor])
    freed, where = tensor[free], position[free]
    order = np.lexsort((freed, where))
    freed, where = freed[order], where[order]
    codes = np.empty(len(runs) + len(freed), dtype=np.int64)
    slot = where + np.arange(len(freed))
    is_free = np.zeros(len(codes), dtype=bool)
    is_free[slot] = True
    codes[slot] = ~freed
    codes[~is_free] = runs
    return codes


@kept_with_graph
def in_order(graph: Graph) -> Trace:
    """The program as it is: every node once, in the graph's own order, freed early."""
    return replayed(graph, np.arange(graph.layout.n_nodes))


@kept_with_graph
def needed_in_order(graph: Graph) -> Trace:
    """The same without the nodes that no output needs."""
    if graph.layout.needed.all():
        return in_order(graph)
    return replayed(graph, np.flatnonzero(graph.layout.needed))


def replayed(graph: Graph, runs: Ints) -> Trace:
    """What the steps of least memory that run these nodes in this order do (`free_early`)."""
    return simulate(graph, free_early(graph, runs))
