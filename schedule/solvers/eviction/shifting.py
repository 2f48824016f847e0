"""Runs shifted to where they hold less: later where they write more than they let go of."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from schedule.layout import Floats, Ints
from schedule.solvers.contract import Deadline
from schedule.solvers.eviction.state import Tables
from schedule.solvers.kit.compiled import jit

#: Times that all runs are gone through; later ones hardly change anything.
_SWEEPS = 4
#: Runs moved between two questions whether to stop: some milliseconds.
_PAUSE = 256
#: Tensors with more readers count as held whatever one reader does.
_MANY = 64


class Line(NamedTuple):
    """An order in which runs can be moved; n and n + 1 stand for its start and end.

    Attributes
    ----------
    key
        Shape (n + 2,): ascending along the line; NaN, which no comparison holds for,
        where a node isn't on it.
    after, before
        Shape (n + 2,): neighbours on the line.
    """

    key: Floats
    after: Ints
    before: Ints

    @classmethod
    def of(cls, runs: Ints, n: int) -> Line:
        """Those runs, in their order."""
        full = np.concatenate([[n], runs, [n + 1]])
        key = np.full(n + 2, np.nan)
        key[full] = np.arange(len(full))
        after, before = np.empty((2, n + 2), np.int64)
        after[full[:-1]] = full[1:]
        before[full[1:]] = full[:-1]
        return cls(key, after, before)


def shifted(tables: Tables, runs: Ints, deadline: Deadline) -> Ints:
    """The same runs, each once, in an order that holds less memory on average.

    Every run in turn goes to where the sum over all places of the memory in use is
    least, the others staying where they are: in every second sweep the last first,
    so that what goes later takes along what is only made for it. Views count as
    nothing. O(edges · readers), readers bounded. Where the deadline ends it,
    the rest stays where it is.
    """
    for sweep in range(_SWEEPS):
        line = Line.of(runs, len(tables.may_repeat))
        turns = runs if sweep % 2 else runs[::-1].copy()
        for at in range(0, len(turns), _PAUSE):
            if deadline.passed:
                break
            _sweep(tables, line, turns[at : at + _PAUSE])
        runs = runs[np.argsort(line.key[runs], kind="stable")]
    return runs


@jit
def _sweep(tables: Tables, line: Line, runs: Ints) -> None:
    for v in runs:
        low, high = _window(tables, line, v)
        here = _best_place(tables, line, v, low, high)
        following = line.after[here]
        key = (line.key[here] + line.key[following]) / 2
        if here == v or following == v or not line.key[here] < key < line.key[following]:
            continue  # it is there, or there is no room for a number between
        line.after[line.before[v]] = line.after[v]
        line.before[line.after[v]] = line.before[v]
        line.after[here], line.before[v] = v, here
        line.after[v], line.before[following] = following, v
        line.key[v] = key


@jit
def _window(tables: Tables, line: Line, v: int) -> tuple[int, int]:
    """The last run that v reads from, and the first that reads from v."""
    n = len(tables.may_repeat)
    low, high = n, n + 1
    for i in range(tables.first_read[v], tables.first_read[v + 1]):
        u = tables.producer[tables.reads[i]]
        if u >= 0 and line.key[u] > line.key[low]:
            low = u
    for t in range(tables.first_output[v], tables.first_output[v + 1]):
        for i in range(tables.first_reader[t], tables.first_reader[t + 1]):
            if line.key[tables.readers[i]] < line.key[high]:
                high = tables.readers[i]
    return low, high


@jit
def _best_place(tables: Tables, line: Line, v: int, low: int, high: int) -> int:
    """The run after which v holds least.

    The later v is, the shorter its outputs are held, and the longer the inputs whose
    other uses are over: the best place is where these come to as much as the outputs.
    """
    start = tables.first_read[v]
    count = tables.first_read[v + 1] - start
    release, ends = np.empty(count, np.int64), np.empty(count)
    for i in range(count):
        release[i] = _last_other_use(tables, line, tables.reads[start + i], v)
        ends[i] = line.key[release[i]] if release[i] >= 0 else np.inf
    written = 0
    for t in range(tables.first_output[v], tables.first_output[v + 1]):
        written += tables.memory[t]
    for i in np.argsort(ends):
        if release[i] < 0:
            break
        written -= tables.memory[tables.reads[start + i]]
        if written < 0 or (written == 0 and ends[i] >= line.key[low]):
            if ends[i] >= line.key[high]:
                break
            return _later(line, release[i], low)
    last: int = line.before[high]
    return last


@jit
def _later(line: Line, u: int, w: int) -> int:
    return u if line.key[u] > line.key[w] else w


@jit
def _last_other_use(tables: Tables, line: Line, t: int, v: int) -> int:
    """The last run before which t has to be there even without v; −1: it stays anyway."""
    many = tables.first_reader[t + 1] - tables.first_reader[t] > _MANY
    if many or tables.stays[t] or tables.is_output[t]:
        return -1
    last: int = tables.producer[t]
    if last < 0:
        last = len(tables.may_repeat)
    for i in range(tables.first_reader[t], tables.first_reader[t + 1]):
        w = tables.readers[i]
        if w != v and line.key[w] > line.key[last]:
            last = w
    return last
