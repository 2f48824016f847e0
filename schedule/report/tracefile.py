"""A schedule as a trace: what Perfetto and chrome://tracing show.

The format is the Trace Event Format, as JSON. Time is compute: a node's run is
as long as its compute, a copy between levels of memory as long as its link takes, and
nothing else takes time. Each engine has a track.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from schedule.files import AnyPath, write_json
from schedule.layout import Floats
from schedule.memory import Trace
from schedule.report.lifetimes import Lifetime, copies, lifetimes
from schedule.sizes import parse_memory
from schedule.steps import TRANSFER_WORDS, transfer_of

#: Compute of a whole schedule that is taken as microseconds, as it is: a viewer counts
#: nanoseconds in 64 bits, and shows little of what is much shorter.
_SHORTEST, _LONGEST = 1e3, 1e12
#: Processes of the trace, which are its groups of tracks; those of levels follow.
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
        `traceEvents`: a slice for every run and every copy, on a track of its
        engine, an instant for every free and drop, a counter of memory in use, and an
        asynchronous slice for every stay of a storage in memory, ordered by time; the
        same for each level below the device; `otherData`: the figures, and how much
        compute is a microsecond.

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
    scale = _scale(float(trace.makespan))
    times = np.round(trace.timeline.clock / scale, 3)
    if budget is not None:
        budget = parse_memory(budget, "budget")
    timed = [*_steps(trace, scale), *_memory(trace, times, budget)]
    timed += _stays(trace, times, lifetimes(trace), _TENSORS)
    for level in range(1, len(trace.levels) + 1):
        timed += _stays(trace, times, copies(trace, level), _TENSORS + level)
    timed.sort(key=lambda event: event["ts"])  # stable: what begins before it ends stays so
    machine = {"makespan": trace.makespan, "levels": [one.to_json() for one in trace.levels]}
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
            **(machine if trace.levels else {}),
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


def _scale(compute: float) -> float:
    """How much compute is shown as a microsecond: 1, or a power of ten that viewers can show."""
    if not compute or _SHORTEST <= compute <= _LONGEST:
        return 1.0
    return float(10.0 ** (math.floor(math.log10(compute)) - 6))


def _names(trace: Trace) -> Iterator[dict[str, Any]]:
    """What viewers call the groups of tracks, and the tracks of the engines."""
    groups = [trace.graph.name, "tensors in memory"]
    groups += [f"copies on {level.name}" for level in trace.levels]
    for group, name in enumerate(groups, start=_STEPS):
        yield _named("process_name", group, {"name": name})
        yield _named("process_sort_index", group, {"sort_index": group})
    engines = trace.timeline.engines if trace.levels else ("steps",)
    for at, name in enumerate(engines, start=1):
        yield _named("thread_name", _STEPS, {"name": name}, at)


def _named(what: str, group: int, said: dict[str, Any], track: int = 1) -> dict[str, Any]:
    return {"ph": "M", "name": what, "pid": group, "tid": track, "ts": 0, "args": said}


def _steps(trace: Trace, scale: float) -> Iterator[dict[str, Any]]:
    layout, line = trace.graph.layout, trace.timeline
    backward, ran = layout.backward.tolist(), [False] * layout.n_nodes
    begins, ends = np.round(line.begin / scale, 3), np.round(line.end / scale, 3)
    starts, lengths = begins.tolist(), np.round(ends - begins, 3).tolist()
    during, engine = trace.during.tolist(), line.engine.tolist()
    for step, code in enumerate(trace.codes.tolist()):
        where = {"pid": _STEPS, "tid": max(engine[step], 0) + 1, "ts": starts[step]}
        if code < 0:
            yield _moved(trace, step, code, lengths[step]) | where
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


def _moved(trace: Trace, step: int, code: int, length: float) -> dict[str, Any]:
    """What a free, a drop or a copy shows as, but for where and when."""
    layout = trace.graph.layout
    tensor, level, kind = transfer_of(layout, code)
    word = "free" if level == 0 else TRANSFER_WORDS[kind]
    name, said = f"{word} {layout.tensor_names[tensor]}", {"step": step}
    if level:
        said["level"] = level
    if trace.timeline.engine[step] < 0:
        return {"ph": "i", "name": name, "cat": word, "s": "t", "args": said}
    said["memory"] = int(layout.memory[tensor])
    return {"ph": "X", "name": name, "cat": word, "dur": length, "args": said}


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
    for level, used in zip(trace.levels, trace.below.tolist()):
        yield _count(f"memory of {level.name}", starts[0], 0)
        for step, value in enumerate(used):
            yield _count(f"memory of {level.name}", starts[step], value)


def _count(name: str, at: float, value: int) -> dict[str, Any]:
    return {"ph": "C", "name": name, "pid": _STEPS, "ts": at, "args": {"in use": value}}


def _stays(
    trace: Trace, times: Floats, stays: list[Lifetime], group: int
) -> Iterator[dict[str, Any]]:
    """An asynchronous slice for each stay in memory; those of a storage share a track."""
    layout, starts = trace.graph.layout, times.tolist()
    for storage, start, end in stays:
        size = int(layout.memory[storage])
        if not size:
            continue
        said = {"name": layout.tensor_names[storage], "cat": "tensor", "id": hex(storage)}
        where = {"pid": group, "tid": 1}
        first = {"ph": "b", "ts": starts[max(start, 0)], "args": {"memory": size, "step": start}}
        yield said | where | first
        yield said | where | {"ph": "e", "ts": starts[end], "args": {"step": end}}
