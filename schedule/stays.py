"""Stays: from which step until which a storage is in memory, or a copy on a level below."""

from __future__ import annotations

import numpy as np

from schedule.events import DROP, OFFLOAD, PREFETCH, Events, transfers
from schedule.layout import Bools, Ints
from schedule.memory import Trace


def stays_of(trace: Trace) -> tuple[Ints, Ints, Ints]:
    """Every stay of every storage in memory, in the order in which they begin.

    Returns
    -------
    storages, starts, ends
        Shape (stays,): the tensor that owns the storage; the step that writes or fetches
        it, −1 for an input of the graph; and the step that frees the last tensor on it, the number
        of steps where it is there at the end.

    Notes
    -----
    O(events log events) for writes and frees together, vectorised.
    """
    layout = trace.graph.layout
    storage, step, sign = Events(layout, trace.codes).crossings()
    inputs = np.arange(layout.n_inputs)
    storage = np.concatenate([inputs, storage])
    step = np.concatenate([np.full(len(inputs), -1), step])
    begins = np.concatenate([np.ones(len(inputs), bool), sign > 0])
    return _in_turns(storage, step, begins, len(trace.codes))


def copies_of(trace: Trace, level: int) -> tuple[Ints, Ints, Ints]:
    """Every stay of a copy on a level below the device, in the order in which they begin.

    Parameters
    ----------
    trace
        What a schedule does.
    level
        Which, counted from 1, the one below the device.

    Returns
    -------
    tensors, starts, ends
        Shape (stays,): what is copied; the step that begins the copy to the level; and
        the step that drops it, the number of steps where it is there at the end.
    """
    layout, codes = trace.graph.layout, trace.codes
    from_above, offloaded_at = transfers(layout, codes, level, OFFLOAD)
    from_below, fetched_at = transfers(layout, codes, level + 1, PREFETCH)
    dropped, dropped_at = transfers(layout, codes, level, DROP)
    tensor = np.concatenate([from_above, from_below, dropped])
    step = np.concatenate([offloaded_at, fetched_at, dropped_at])
    begins = np.arange(len(tensor)) < len(tensor) - len(dropped)
    return _in_turns(tensor, step, begins, len(codes))


def _in_turns(owner: Ints, step: Ints, begins: Bools, end: int) -> tuple[Ints, Ints, Ints]:
    """Stays made of beginnings and ends: of what, from and until when, as they begin."""
    order = np.lexsort((step, owner))
    owner, step, begins = owner[order], step[order], begins[order]
    # Each comes and goes in turns: what follows a beginning is its end.
    ends = np.full(len(step), end)
    ends[:-1] = np.where(owner[1:] == owner[:-1], step[1:], end)
    owner, starts, ends = owner[begins], step[begins], ends[begins]
    order = np.lexsort((owner, starts))
    return owner[order], starts[order], ends[order]
