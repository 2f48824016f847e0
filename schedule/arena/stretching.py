"""Buffers that hold a part together, taken to be there as long as the part: it falls apart."""

from __future__ import annotations

import numpy as np

from schedule.arena.buffers import counts, rounded_up
from schedule.layout import Ints

#: The shares of a part's sections, from where on a buffer is one of them, and of its buffers, that
#: may be left together.
_LONG, _LEFT = 0.7, 0.9


def stretched(
    first: Ints, last: Ints, size: Ints, alignment: int, height: int
) -> tuple[Ints, Ints] | None:
    """First and last sections, with long buffers in all sections where that leaves it in a height.

    Where a packing lets each buffer be there for longer, it is one of those that aren't. So what is
    stretched can lie at the bottom, and the rest, which nothing holds together, be packed apart.
    A bound of the rest is none of the part.

    Parameters
    ----------
    first, last, size
        Shape (n,): as in `Part`.
    alignment, height
        Of offsets; what the loads have to stay within.

    Returns
    -------
    None: the rest doesn't fall apart. O(long buffers · sections + n log n).
    """
    sections = int(last.max())
    rounded = rounded_up(size, alignment)
    load = counts(first, last, rounded, sections)
    begin, end, spans = first.copy(), last.copy(), last - first
    long = np.flatnonzero((spans >= _LONG * sections) & (rounded == size))
    for u in long[np.argsort(-spans[long], kind="stable")].tolist():
        room = height - size[u]
        if max(load[: first[u]].max(initial=0), load[last[u] :].max(initial=0)) > room:
            continue
        load[: first[u]] += size[u]
        load[last[u] :] += size[u]
        begin[u], end[u] = 0, sections
    rest = np.flatnonzero(end - begin < sections)
    # The others come by where they begin: a stretch ends where all before have.
    reach = np.maximum.accumulate(last[rest])
    cuts = np.flatnonzero(first[rest][1:] >= reach[:-1]) + 1
    lengths = np.diff(np.concatenate([[0], cuts, [len(rest)]]))
    return (begin, end) if len(cuts) and lengths.max() <= _LEFT * len(first) else None
