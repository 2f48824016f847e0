"""The trace file follows the Trace Event Format, and says what the memory model says."""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from itertools import pairwise

import jsonschema
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import schedule
from schedule.errors import BadOutput
from schedule.lowering import in_order, replayed
from schedule.report.lifetimes import lifetimes
from schedule.report.tracefile import trace_events, write_trace
from tests import strategies
from tests.formats import FILES_ARE_CHECKED

pytestmark = FILES_ARE_CHECKED

NUMBER = {"type": "number", "minimum": 0}
TEXT = {"type": "string"}


def event(phase, required=(), **properties):
    """The schema of one kind of event; what each of them has is the same."""
    common = {"ph": {"const": phase}, "pid": {"type": "integer"}, "ts": NUMBER, "name": TEXT}
    return {
        "properties": common
        | {"tid": {"type": "integer"}, "args": {"type": "object"}}
        | properties,
        "required": ["ph", "pid", "ts", "name", *required],
        "additionalProperties": False,
    }


#: The kinds of events that are used, as "Trace Event Format" (Google) describes them: complete,
#: instant, counter, nestable asynchronous and metadata events, in its JSON object form.
SCHEMA = {
    "type": "object",
    "required": ["traceEvents"],
    "properties": {
        "displayTimeUnit": {"enum": ["ms", "ns"]},
        "otherData": {"type": "object"},
        "traceEvents": {
            "type": "array",
            "items": {
                "oneOf": [
                    event("X", ["tid", "dur"], dur=NUMBER, cat=TEXT),
                    event("i", ["tid", "s"], s={"enum": ["g", "p", "t"]}, cat=TEXT),
                    event(
                        "C",
                        ["args"],
                        args={"type": "object", "additionalProperties": {"type": "number"}},
                    ),
                    event("b", ["cat", "id"], cat=TEXT, id=TEXT),
                    event("e", ["cat", "id"], cat=TEXT, id=TEXT),
                    event(
                        "M",
                        ["args"],
                        name={"enum": ["process_name", "process_sort_index", "thread_name"]},
                    ),
                ]
            },
        },
    },
}


def of_kind(found, *phases):
    return [event for event in found["traceEvents"] if event["ph"] in phases]


@st.composite
def traces(draw):
    """Of any schedule; some of them copy to levels below the device, and needn't be complete."""
    graph = draw(strategies.graphs())
    if draw(st.booleans()):
        levels = draw(strategies.machines())
        return schedule.simulate(graph, draw(strategies.machine_steps(graph, levels)), levels)
    return replayed(graph, np.array(draw(strategies.runs(graph)), np.int64))


@given(traces())
def test_format(trace):
    """Valid by the schema, ordered by time, and plain JSON."""
    found = trace_events(trace, trace.peak)
    jsonschema.Draft202012Validator(SCHEMA).validate(json.loads(json.dumps(found, allow_nan=False)))
    times = [event["ts"] for event in found["traceEvents"]]
    assert times == sorted(times)


def test_schema_refuses():
    """The schema isn't one that takes anything."""
    for wrong in (
        {"traceEvents": [{"ph": "X", "pid": 1, "tid": 1, "ts": 0, "name": "no duration"}]},
        {"traceEvents": [{"ph": "C", "pid": 1, "ts": 0, "name": "m", "args": {"in use": "1"}}]},
        {"events": []},
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, SCHEMA)


@given(traces())
def test_runs_and_frees(trace):
    """A slice for each run and copy, on its engine's track; an instant for what takes no time."""
    found = trace_events(trace)
    layout = trace.graph.layout
    names = [layout.node_names[code] for code in trace.codes.tolist() if code >= 0]
    tracks = defaultdict(list)
    for event in of_kind(found, "X"):
        tracks[event["tid"]].append(event)
    slices = tracks[1]
    assert [event["name"] for event in slices] == names
    takes_time = trace.timeline.engine >= 0
    assert len(of_kind(found, "i")) == int((~takes_time).sum())
    scale = found["otherData"]["compute of a microsecond"]
    for at, name in enumerate(trace.timeline.engines, start=1):
        for one, two in pairwise(tracks[at]):
            assert one["ts"] + one["dur"] <= two["ts"] + 2e-3  # times are rounded to nanoseconds
        busy = scale * sum(event["dur"] for event in tracks[at])
        slack = scale * 2e-3 * (len(tracks[at]) + 1)
        assert busy == pytest.approx(trace.timeline.busy[name], rel=1e-9, abs=slack)
    assert [event["args"]["compute"] for event in slices] == [
        trace.graph.nodes[layout.node_id[name]].compute for name in names
    ]


@given(traces())
def test_counter_reaches_the_peak(trace):
    """The largest value of the counter is the peak, its last one what is left at the end."""
    counts = defaultdict(list)
    for event in of_kind(trace_events(trace), "C"):
        counts[event["name"]].append(event["args"]["in use"])
    assert max(counts["memory"]) == trace.peak
    assert counts["memory"][-1] == (trace.after[-1] if len(trace.after) else trace.start)
    for level, peak in zip(trace.levels, trace.peaks_below):
        assert max(counts[f"memory of {level.name}"]) == peak


@given(traces())
def test_stays_are_nested_and_add_up(trace):
    """Begins and ends alternate on each track; memory before any step is that of its stays."""
    open_, seen = {}, defaultdict(int)
    for event in of_kind(trace_events(trace), "b", "e"):
        track = event["pid"], event["id"]
        if event["ph"] == "b":
            assert track not in open_
            open_[track] = event
        else:
            begin = open_.pop(track)
            assert begin["name"] == event["name"]
            first, last = begin["args"]["step"], event["args"]["step"]
            for step in range(first + 1, min(last, len(trace.codes) - 1) + 1):
                seen[event["pid"], step] += begin["args"]["memory"]
    assert not open_
    starts = [trace.start, *[0] * len(trace.levels)]
    for group, (start, after) in enumerate(zip(starts, [trace.after, *trace.below]), start=2):
        before = [start, *after.tolist()][: len(trace.codes)]
        assert [seen[group, step] for step in range(len(trace.codes))] == before


@given(traces())
def test_lifetimes_are_those_of_the_storages(trace):
    """Just before each step, the storages that stay are those of the live tensors."""
    layout, stays = trace.graph.layout, lifetimes(trace)
    for step in range(len(trace.codes) + 1):
        there = {stay.storage for stay in stays if stay.start < step <= stay.end}
        assert there == set(layout.storage[trace.live_before(step)].tolist())


def test_times_are_as_long_as_viewers_take():
    """Compute in any unit is shown as less than a month; the scale is stated."""
    for factor in (1e-9, 1, 10**12):
        g = schedule.GraphBuilder()
        g.node("b", g.node("a", memory=1, compute=3 * factor), memory=1, compute=factor)
        found = trace_events(in_order(g.build()))
        scale = found["otherData"]["compute of a microsecond"]
        lengths = [event["dur"] for event in of_kind(found, "X")]
        assert sum(lengths) <= 2.6e12
        assert lengths == pytest.approx([3 * factor / scale, factor / scale], rel=1e-2)
        assert lengths[1] > 0


def test_budget_is_a_counter_of_its_own():
    """From the beginning to the end."""
    found = json.loads(json.dumps(trace_events(in_order(schedule.example("chain")), np.int64(10))))
    values = [event["args"] for event in of_kind(found, "C") if event["name"] == "budget"]
    assert values == [{"in use": 10}] * 2


def test_written_gzipped(tmp_path):
    """Both viewers read gzip; the content is the same."""
    trace = in_order(schedule.example("chain"))
    write_trace(trace, tmp_path / "trace.json.gz")
    content = json.loads(gzip.decompress((tmp_path / "trace.json.gz").read_bytes()))
    assert content == trace_events(trace)


def test_trace_that_cannot_be_written(tmp_path):
    """The path is named, and nothing is left behind."""
    with pytest.raises(BadOutput, match=r"trace\.json: can't be written"):
        write_trace(in_order(schedule.example("chain")), tmp_path / "missing" / "trace.json")
    assert not list(tmp_path.iterdir())
