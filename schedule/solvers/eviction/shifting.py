"""Runs shifted to where they hold less: later where they write more than they free."""

from __future__ import annotations

import numpy as np

from schedule.layout import Floats, Ints
from schedule.solvers.contract import Deadline
from schedule.solvers.kit.compiled import jit, part
from schedule.solvers.kit.sorting import sort_by
from schedule.solvers.kit.structs import Struct
from schedule.solvers.program.tensors import Tensors

#: Passes over all runs; later ones hardly change anything.
_PASSES = 4
#: Runs moved between two questions whether to stop: some milliseconds.
_PAUSE = 256
#: About the seconds that a run takes in each pass.
_SECONDS_A_RUN = 1e-6
#: Tensors with more readers count as held whatever one reader does.
_MANY = 64


class Line(Struct):
    """An order in which runs can be moved; n and n + 1 stand for its start and end.

    Attributes
    ----------
    key
        Shape (n + 2,): ascending along the line; NaN, which no comparison holds for,
        where a node isn't on it.
    after, before
        Shape (n + 2,): neighbours on the line.
    queue
        The runs, in the order in which they move.
    release, ends, ranked
        Space for what one run reads: the last other use of each, its key, and their order.
    """

    key: Floats
    after: Ints
    before: Ints
    queue: Ints
    release: Ints
    ends: Floats
    ranked: Ints

    @classmethod
    def of(cls, graph: Tensors, runs: Ints, queue: Ints) -> Line:
        """Those runs, in their order."""
        n = len(graph.may_repeat)
        most = int(np.diff(graph.first_read).max(initial=0))
        full = np.concatenate([[n], runs, [n + 1]])
        key = np.full(n + 2, np.nan)
        key[full] = np.arange(len(full))
        after, before = np.empty((2, n + 2), np.int64)
        after[full[:-1]] = full[1:]
        before[full[1:]] = full[:-1]
        space = np.empty(most, np.int64), np.empty(most), np.empty(most, np.int64)
        return cls(key, after, before, queue, *space)


def shifted(graph: Tensors, runs: Ints, deadline: Deadline) -> Ints:
    """The same runs, each once, in an order that holds less memory on average.

    One run after the other moves to where the sum over all positions of the memory in
    use is least, while the others stay: in every second pass the last one first, so that
    what moves later takes along what is only computed for it. Views count as nothing.
    O(edges · readers), readers bounded. Where the deadline ends it, the rest stays.
    """
    for number in range(_PASSES):
        line = Line.of(graph, runs, np.ascontiguousarray(runs if number % 2 else runs[::-1]))
        for start in range(0, len(runs), _PAUSE):
            if deadline.passed:
                break
            end = min(start + _PAUSE, len(runs))
            _shift(graph, line, start, end)
            deadline.spend(_SECONDS_A_RUN * (end - start))
        runs = runs[np.argsort(line.key[runs], kind="stable")]
    return runs


@jit
def _shift(graph: Tensors, line: Line, start: int, end: int) -> None:
    """Move each of these runs in the queue to its best position."""
    # A list that is linked both ways, with keys that ascend along it: a run moves in O(1), and
    # two runs are compared in O(1). The key of a moved run is halfway between its neighbours.
    for at in range(start, end):
        v = line.queue[at]
        low, high = _window(graph, line, v)
        here = _best_predecessor(graph, line, v, low, high)
        following = line.after[here]
        key = (line.key[here] + line.key[following]) / 2
        if here == v or following == v or not line.key[here] < key < line.key[following]:
            continue  # it is there, or there is no number between; the next pass renumbers
        line.after[line.before[v]] = line.after[v]
        line.before[line.after[v]] = line.before[v]
        line.after[here], line.before[v] = v, here
        line.after[v], line.before[following] = following, v
        line.key[v] = key


@part
def _window(graph: Tensors, line: Line, v: int) -> tuple[int, int]:
    """The last run that v reads from, and the first that reads from v."""
    n = len(graph.may_repeat)
    low, high = n, n + 1
    # Readers that aren't on the line have the key NaN, and so never compare as earlier.
    for i in range(graph.first_read[v], graph.first_read[v + 1]):
        u = graph.producer[graph.reads[i]]
        if u >= 0 and line.key[u] > line.key[low]:
            low = u
    for t in range(graph.first_output[v], graph.first_output[v + 1]):
        for i in range(graph.first_reader[t], graph.first_reader[t + 1]):
            if line.key[graph.readers[i]] < line.key[high]:
                high = graph.readers[i]
    return low, high


@part
def _best_predecessor(graph: Tensors, line: Line, v: int, low: int, high: int) -> int:
    """The run after which v holds least.

    The later v is, the shorter its outputs are held, and the longer the inputs whose
    other uses are over: the best position is where these take as much as the outputs.
    """
    # The sum over positions is convex in v's position, so the first one from which moving
    # later adds memory is the best: no position in between needs to be tried.
    start = graph.first_read[v]
    count = graph.first_read[v + 1] - start
    release, ends, ranked = line.release, line.ends, line.ranked
    for i in range(count):
        ranked[i] = i
        release[i] = _last_other_use(graph, line, graph.reads[start + i], v)
        ends[i] = line.key[release[i]] if release[i] >= 0 else np.inf
    written = 0
    for t in range(graph.first_output[v], graph.first_output[v + 1]):
        written += graph.memory[t]
    sort_by(ends, ranked, count)
    for at in range(count):
        i = ranked[at]
        if release[i] < 0:  # inputs that stay anyway, all at the end
            break
        # `written` is now what is gained by moving past the last other use of input i.
        written -= graph.memory[graph.reads[start + i]]
        if written < 0 or (written == 0 and ends[i] >= line.key[low]):
            if ends[i] >= line.key[high]:
                break
            return _later(line, release[i], low)
    last: int = line.before[high]
    return last


@part
def _later(line: Line, u: int, w: int) -> int:
    return u if line.key[u] > line.key[w] else w


@part
def _last_other_use(graph: Tensors, line: Line, t: int, v: int) -> int:
    """The last run before which t has to be live even without v; −1: it stays anyway."""
    # Where many read t, one of them hardly ever decides, and looking at all of them for each
    # would be quadratic.
    many = graph.first_reader[t + 1] - graph.first_reader[t] > _MANY
    if many or graph.stays[t] or graph.is_output[t]:
        return -1
    last: int = graph.producer[t]
    if last < 0:  # an input is live from the start, which has a number of its own
        last = len(graph.may_repeat)
    for i in range(graph.first_reader[t], graph.first_reader[t + 1]):
        w = graph.readers[i]
        if w != v and line.key[w] > line.key[last]:
            last = w
    return last
