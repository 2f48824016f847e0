"""A schedule as a trace: what Perfetto and chrome://tracing show.

The format is the Trace Event Format, as JSON. Time is compute: a node's run is
as long as its compute, and nothing else takes time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from schedule.files import AnyPath, write_json
from schedule.layout import Floats
from schedule.memory import Trace
from schedule.report.lifetimes import lifetimes
from schedule.sizes import parse_memory

#: Compute of a whole schedule that is taken as microseconds, as it is: a viewer counts
#: nanoseconds in 64 bits, and shows little of what is much shorter.
_SHORTEST, _LONGEST = 1e3, 1e12
#: Processes of the trace, which are its groups of tracks.
_STEPS, _TENSORS = 1, 2


def trace_events(trace: Trace, budget: int | None = None) -> dict[str, Any]:
    """The schedule as plain data in the Trace Event Format.

    Parameters
    ----------
    trace
        What `schedule.verify` returns.
    budget
        In the graph's unit; a second counter beside that of memory.

    Returns
    -------
    dict
        `traceEvents`: a slice for every run, an instant for every free, a
        counter of memory in use, and an asynchronous slice for every stay of a
        storage in memory, ordered by time; `otherData`: the figures, and how
        much compute is a microsecond.

    Notes
    -----
    Source: the Trace Event Format (Google, "Trace Event Format", the document
    that chrome://tracing links to). O(steps + tensors written).

    Examples
    --------
    >>> import schedule
    >>> from schedule.report.tracefile import trace_events
    >>> graph = schedule.example("chain")
    >>> plan = schedule.solve(graph, "50%")
    >>> found = trace_events(schedule.verify(graph, plan.schedule), plan.budget)
    >>> slices = [event for event in found["traceEvents"] if event["ph"] == "X"]
    >>> len(slices) == sum(isinstance(step, schedule.Compute) for step in plan.steps)
    True
    """
    costs = _costs(trace)
    scale = _scale(float(costs.sum()))
    times = np.round(np.concatenate([[0.0], np.cumsum(costs / scale)]), 3)
    if budget is not None:
        budget = parse_memory(budget, "budget")
    timed = [*_steps(trace, times), *_memory(trace, times, budget), *_stays(trace, times)]
    timed.sort(key=lambda event: event["ts"])  # stable: what begins before it ends stays so
    return {
        "traceEvents": [*_names(trace), *timed],
        "displayTimeUnit": "ms",
        "otherData": {
            "graph": trace.graph.name,
            "sha256": trace.graph.digest,
            "budget": budget,
            "peak": trace.peak,
            "compute": trace.compute,
            "compute of a microsecond": scale,
        },
    }


def write_trace(trace: Trace, path: AnyPath, budget: int | None = None) -> None:
    """Write `trace_events` to a file, gzipped where the name ends in `.gz`.

    Raises
    ------
    BadOutput
        The file can't be written; what was there before is still there.
    """
    write_json(path, trace_events(trace, budget))


def _costs(trace: Trace) -> Floats:
    """Shape (steps,): compute of every step, 0 for a free."""
    runs, costs = trace.codes >= 0, np.zeros(len(trace.codes))
    costs[runs] = trace.graph.layout.compute[trace.codes[runs]]
    return costs


def _scale(compute: float) -> float:
    """How much compute is shown as a microsecond: 1, or a power of ten that viewers can show."""
    if not compute or _SHORTEST <= compute <= _LONGEST:
        return 1.0
    return float(10.0 ** (math.floor(math.log10(compute)) - 6))


def _names(trace: Trace) -> Iterator[dict[str, Any]]:
    """What viewers call the groups of tracks, and the track of the steps."""
    for group, name in ((_STEPS, trace.graph.name), (_TENSORS, "tensors in memory")):
        yield _named("process_name", group, {"name": name})
        yield _named("process_sort_index", group, {"sort_index": group})
    yield _named("thread_name", _STEPS, {"name": "steps"})


def _named(what: str, group: int, said: dict[str, Any]) -> dict[str, Any]:
    return {"ph": "M", "name": what, "pid": group, "tid": 1, "ts": 0, "args": said}


def _steps(trace: Trace, times: Floats) -> Iterator[dict[str, Any]]:
    layout = trace.graph.layout
    backward, ran = layout.backward.tolist(), [False] * layout.n_nodes
    starts, lengths = times.tolist(), np.round(np.diff(times), 3).tolist()
    during = trace.during.tolist()
    for step, code in enumerate(trace.codes.tolist()):
        where = {"pid": _STEPS, "tid": 1, "ts": starts[step]}
        if code < 0:
            name = f"free {layout.tensor_names[~code]}"
            yield {"ph": "i", "name": name, "cat": "free", "s": "t", "args": {"step": step}} | where
            continue
        kind = "backward" if backward[code] else "forward"
        said = {"step": step, "compute": trace.graph.nodes[code].compute, "memory": during[step]}
        yield {
            "ph": "X",
            "name": layout.node_names[code],
            "cat": f"{kind},again" if ran[code] else kind,
            "dur": lengths[step],
            "args": said,
        } | where
        ran[code] = True


def _memory(trace: Trace, times: Floats, budget: int | None) -> Iterator[dict[str, Any]]:
    """A value while a run takes place, and one after every step."""
    starts, during, after = times.tolist(), trace.during.tolist(), trace.after.tolist()
    if budget is not None:
        for at in (starts[0], starts[-1]):
            yield _count("budget", at, budget)
    yield _count("memory", starts[0], trace.start)
    for step in range(len(after)):
        if trace.codes[step] >= 0:
            yield _count("memory", starts[step], during[step])
        yield _count("memory", starts[step + 1], after[step])


def _count(name: str, at: float, value: int) -> dict[str, Any]:
    return {"ph": "C", "name": name, "pid": _STEPS, "ts": at, "args": {"in use": value}}


def _stays(trace: Trace, times: Floats) -> Iterator[dict[str, Any]]:
    """An asynchronous slice for each stay in memory; those of a storage share a track."""
    layout, starts = trace.graph.layout, times.tolist()
    for storage, start, end in lifetimes(trace):
        size = int(layout.memory[storage])
        if not size:
            continue
        said = {"name": layout.tensor_names[storage], "cat": "tensor", "id": hex(storage)}
        where = {"pid": _TENSORS, "tid": 1}
        first = {"ph": "b", "ts": starts[max(start, 0)], "args": {"memory": size, "step": start}}
        yield said | where | first
        yield said | where | {"ph": "e", "ts": starts[end], "args": {"step": end}}
