"""When the storages of a schedule are there: from a write to a free."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from schedule.memory import Trace


class Lifetime(NamedTuple):
    """One stay of a storage in memory.

    Attributes
    ----------
    storage
        The tensor that owns it.
    start
        The step that writes it; −1 for an input of the graph.
    end
        The step that frees the last tensor on it; the number of steps where it
        is live at the end.
    """

    storage: int
    start: int
    end: int


def lifetimes(trace: Trace) -> list[Lifetime]:
    """Every stay of every storage, in the order in which they begin.

    Examples
    --------
    >>> import schedule
    >>> from schedule.report.lifetimes import lifetimes
    >>> g = schedule.GraphBuilder()
    >>> b = g.node("b", g.node("a", memory=1), memory=1)
    >>> steps = [schedule.Compute("a"), schedule.Compute("b"), schedule.Free("a")]
    >>> [tuple(stay) for stay in lifetimes(schedule.verify(g.build(), steps))]
    [(0, 0, 2), (1, 1, 3)]

    Notes
    -----
    O(steps + tensors written).
    """
    layout = trace.require_no_copies("a report").graph.layout
    storage, outputs = layout.storage.tolist(), layout.outputs_of
    live = (layout.producer < 0).tolist()
    held = [1 if there else 0 for there in live]  # live tensors on each storage
    since = dict.fromkeys(np.flatnonzero(live).tolist(), -1)
    found: list[Lifetime] = []
    for step, code in enumerate(trace.codes.tolist()):
        if code < 0:
            live[~code] = False
            owner = storage[~code]
            held[owner] -= 1
            if not held[owner]:
                found.append(Lifetime(owner, since.pop(owner), step))
            continue
        for tensor in outputs[code]:
            if not live[tensor]:
                live[tensor] = True
                held[storage[tensor]] += 1
                since.setdefault(storage[tensor], step)
    end = len(trace.codes)
    found += [Lifetime(owner, start, end) for owner, start in since.items()]
    return sorted(found, key=lambda stay: (stay.start, stay.storage))
