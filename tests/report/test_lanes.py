"""The lanes show what every engine does and when, each thing once."""

from __future__ import annotations

import re
from collections import defaultdict
from itertools import pairwise

import pytest
from hypothesis import given

import schedule
from schedule.report.gantt import gantt_picture
from schedule.report.lanes import AGAIN, DOWN, UP, WAIT, lanes_section, slices
from schedule.report.page import page
from tests.report.test_tracefile import traces


@given(traces())
def test_lanes_are_the_engines(trace):
    """Nothing overlaps on a lane, waits included; each is as busy as its engine."""
    lanes, waited = defaultdict(list), 0.0
    for each in slices(trace):
        lanes[each.lane].append(each)
        waited += each.end - each.begin if each.colour == WAIT else 0.0
    for lane, name in enumerate(trace.timeline.engines):
        parts = sorted(lanes[lane], key=lambda each: (each.begin, each.end))
        for one, two in pairwise(parts):
            assert one.end <= two.begin + 1e-9 * max(1.0, float(trace.makespan))
        busy = sum(each.end - each.begin for each in parts if each.colour != WAIT)
        assert busy == pytest.approx(trace.timeline.busy[name])
    assert waited == pytest.approx(trace.timeline.waited)
    assert max((each.end for parts in lanes.values() for each in parts), default=0) == (
        pytest.approx(float(trace.makespan))
    )


@pytest.fixture(scope="module")
def planned():
    graph = schedule.example("unet")
    host = schedule.Level("host", 2**30, down=0.5, up=0.5)
    plan = schedule.solve(graph, "48%", "offload_largest", levels=host)
    return plan, schedule.verify(graph, plan)


def test_page_and_picture_have_them(planned):
    """The page has a part for each slice; the picture a lane for each engine."""
    plan, trace = planned
    html = lanes_section(trace)
    assert html in page(trace, plan)
    assert len(re.findall("<rect", html)) == len(list(slices(trace)))
    assert {DOWN, UP} <= {each.colour for each in slices(trace)}
    assert AGAIN not in html, "nothing is recomputed"
    figure = gantt_picture(trace, plan.budget)
    labels = [label.get_text() for label in figure.axes[1].get_yticklabels()]
    assert labels == ["compute", "host down", "host up"]
    said, count = figure.axes[2].get_title(loc="right"), len(figure.axes[2].get_yticks())
    assert said.startswith(f"the {count} largest of "), "what has no row is counted"
    assert said.endswith("; thin: a copy on host")
    whole = gantt_picture(trace, plan.budget, most=10**6)
    assert whole.axes[2].get_title(loc="right") == "thin: a copy on host"


def test_what_copies_nothing_has_none():
    """A schedule on one level has the page and the picture that it had."""
    graph = schedule.example("chain")
    host = schedule.Level("host", 100, down=1, up=1)
    plan = schedule.solve(graph, "100%", levels=host)
    trace = schedule.verify(graph, plan)
    assert "lanes-title" not in page(trace, plan)
    assert len(gantt_picture(trace).axes) == 2


@pytest.mark.parametrize(
    ("unit", "tick"), [(1, "20e6"), (1e-9, "0.02"), (1e-14, "200e-9"), (10**6, "20e12")]
)
def test_each_tick_of_the_time_has_its_power(unit, tick):
    """None stands in the corner for all of them; 0 is 0."""
    pytest.importorskip("matplotlib")
    unet = schedule.example("unet")
    nodes = [
        schedule.Node(
            n.name, n.inputs, n.outputs, n.compute * unit, n.workspace, backward=n.backward
        )
        for n in unet.nodes
    ]
    graph = schedule.Graph(nodes, unet.inputs, unet.outputs)
    host = schedule.Level("host", 2**30, down=1 / unit, up=1 / unit)
    plan = schedule.solve(graph, "60%", "offload_largest", levels=host)
    figure = gantt_picture(schedule.verify(graph, plan))
    figure.draw_without_rendering()
    axis = figure.axes[2].xaxis
    assert axis.get_offset_text().get_text() == ""
    said = [label.get_text() for label in axis.get_ticklabels()]
    assert said[0] == "0"
    assert tick in said
