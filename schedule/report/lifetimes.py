"""When the storages of a schedule are there: from a write to a free."""

from __future__ import annotations

from typing import NamedTuple

from schedule.memory import Trace
from schedule.stays import copies_of, stays_of


class Lifetime(NamedTuple):
    """One stay of a storage in memory.

    Attributes
    ----------
    storage
        The tensor that owns it.
    start
        The step that writes it, or fetches it from a level below; −1 for an input of
        the graph.
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
    As `schedule.stays.stays_of`.
    """
    stays = zip(*(each.tolist() for each in stays_of(trace)))
    return [Lifetime(*stay) for stay in stays]


def copies(trace: Trace, level: int) -> list[Lifetime]:
    """The same of copies on a level below the device, counted from 1."""
    return [Lifetime(*stay) for stay in zip(*(each.tolist() for each in copies_of(trace, level)))]
