"""What has to be held besides, so that runs can be laid out from any choice of what to hold."""

from __future__ import annotations

import numpy as np

from schedule.graph import Graph
from schedule.layout import Bools
from schedule.solvers.exact.model import Windows
from schedule.solvers.program.contraction import Contraction


def complete(graph: Graph, contraction: Contraction, windows: Windows, hold: Bools) -> Bools:
    """The least that has to be held, given this, for `lay_out` to give executable runs.

    What can't be recomputed (a freeable input, a result of a node that must not
    run twice) is held from where it was written to where it is read last, by a
    first run or by a rerun; and a view is held together with its storage.

    Parameters
    ----------
    graph, contraction
        The graph and its contraction.
    windows
        Cut points, and intervals that are all known (the given order).
    hold
        Shape (K + 1, r): what is to be held when each interval begins, only
        what has been written by then. Row 0 isn't used.

    Returns
    -------
    numpy.ndarray
        The same with more of it held.

    Notes
    -----
    From the last interval to the first: what one needs at its start has to be held
    when the one before it ends. O(K · (operations + reads)).
    """
    c = contraction
    flat, first = c.reads.tolist(), c.first_read.tolist()
    reads = [flat[first[v] : first[v + 1]] for v in range(c.n_operations)]
    again = (graph.layout.recomputable[c.nodes] & ~c.is_view).tolist()
    producer, interval = c.producer.tolist(), windows.earliest.tolist()
    held = hold.copy()
    left = c.is_output
    for k in reversed(range(1, len(windows.cuts) + 1)):
        _hold_storages(c, held[k])
        is_held = held[k].tolist()
        wanted = np.flatnonzero(left).tolist()
        for v in np.flatnonzero(windows.earliest == k).tolist():
            wanted += reads[v]
        seen: set[int] = set()
        while wanted:
            r = wanted.pop()
            u = producer[r]
            if r in seen or is_held[r] or (u >= 0 and interval[u] == k):
                continue
            seen.add(r)
            if u >= 0 and again[u]:
                wanted += reads[u]
            else:
                held[k, r] = True
        _hold_storages(c, held[k])
        left = held[k]
    return held


def _hold_storages(contraction: Contraction, held: Bools) -> None:
    """Hold the storage of every view that is held."""
    base = contraction.base[held]
    held[base[base >= 0]] = True
