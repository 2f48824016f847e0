"""What a schedule states about itself, held against its replay from Python."""

from dataclasses import replace

import numpy as np
import pytest

import schedule
from schedule.errors import BadInput, BadOption, FalseClaim, NotEqual, OverBudget, WrongGraph
from schedule.executors import replay_compared
from tests.formats import FILES_ARE_CHECKED

pytestmark = FILES_ARE_CHECKED

GRAPH = schedule.example("chain", layers=4)
PLAN = schedule.solve(GRAPH, solver="sqrt")


@pytest.mark.parametrize(
    ("figure", "value", "said"),
    [
        ("peak", 1, "states a peak of 1"),
        ("compute", 1, "states a compute of 1"),
        ("overhead", 9.0, "states an overhead of 9.0"),
        ("graph_compute", 1, "states a graph with compute of 1"),
        ("checkpoints", ("h1", "h2", "h3"), "states 3 checkpoints|'h. |'h"),
        ("lower_bound", 10**6, "states the lower bound 1000000"),
    ],
)
def test_a_false_figure_is_a_false_claim(figure, value, said):
    """Each figure by itself; without it the same schedule is good."""
    assert schedule.verify_claims(GRAPH, PLAN).peak == PLAN.peak
    with pytest.raises(FalseClaim, match=said):
        schedule.verify_claims(GRAPH, replace(PLAN, **{figure: value}))


def test_what_is_not_stated_is_no_claim():
    """A file need not state any figure."""
    bare = replace(PLAN, peak=None, compute=None, overhead=None, checkpoints=(), lower_bound=None)
    assert schedule.verify_claims(GRAPH, replace(bare, status=schedule.Status.FEASIBLE))


def test_both_budgets_count():
    """The stated one, and the one that is asked for, in any form that `solve` takes."""
    with pytest.raises(OverBudget, match="the file's own budget 1"):
        schedule.verify_claims(GRAPH, replace(PLAN, budget=1))
    assert schedule.verify_claims(GRAPH, PLAN, "100%").peak == PLAN.peak
    with pytest.raises(OverBudget, match="more than the budget"):
        schedule.verify_claims(GRAPH, PLAN, "10%")


def test_a_schedule_file_is_read_for_a_graph(tmp_path):
    """It names the file where it belongs to another; without a graph nothing is asked."""
    PLAN.save(tmp_path / "plan.json")
    assert schedule.read_schedule(tmp_path / "plan.json", GRAPH) == PLAN
    other = schedule.example("chain", layers=5)
    assert schedule.read_schedule(tmp_path / "plan.json") == PLAN
    with pytest.raises(WrongGraph, match=r"plan.json: the schedule was made for graph"):
        schedule.read_schedule(tmp_path / "plan.json", other)


def test_a_report_of_a_result_keeps_its_word(tmp_path):
    """Steps alone state nothing; a result whose figures are wrong has no report."""
    false = replace(PLAN, peak=1)
    with pytest.raises(FalseClaim, match="states a peak of 1"):
        schedule.write_report(GRAPH, false, tmp_path / "out.html")
    assert not list(tmp_path.iterdir())
    assert schedule.write_report(GRAPH, false.schedule, tmp_path / "out.html") == "html"


def test_a_report_is_of_the_kind_that_is_asked_for(tmp_path):
    """By the ending, or in words; of a sweep there is a page alone."""
    assert schedule.write_report(GRAPH, PLAN, tmp_path / "out.dot") == "dot"
    assert schedule.write_report(GRAPH, PLAN, tmp_path / "out", "trace") == "trace"
    with pytest.raises(BadOption, match=r"ends in none of \.html"):
        schedule.write_report(GRAPH, PLAN, tmp_path / "out.txt")
    with pytest.raises(BadOption, match="kind is 'page'; it is one of html, trace, dot, gantt"):
        schedule.write_report(GRAPH, PLAN, tmp_path / "out.html", "page")
    curve = schedule.sweep(GRAPH, ["100%"], "sqrt")
    assert schedule.write_report(GRAPH, curve, tmp_path / "sweep.html") == "html"
    with pytest.raises(BadOption, match="of a sweep there is only a page"):
        schedule.write_report(GRAPH, curve, tmp_path / "sweep.dot")


def doubling():
    """A graph that doubles its input, and a plan."""
    g = schedule.GraphBuilder("doubling")
    g.node("double", g.input("x", memory=32), memory=32)
    graph = g.build()
    return graph, schedule.solve(graph, solver="store_all")


def test_a_replay_is_compared_with_the_plain_run():
    """Equal to the last bit, or refused with the output's name; each run has inputs of its own."""
    graph, plan = doubling()
    calls = []

    def made(graph):
        calls.append(graph)
        return {"double": lambda x: 2 * x}, {"x": np.arange(4.0)}

    found = replay_compared(graph, plan, made)
    assert found.planned.exact
    assert calls == [graph, graph]
    assert found.to_json()["planned"]["runs"] == 1

    def moody(graph):
        calls.append(graph)
        return {"double": lambda x: 2 * x}, {"x": np.full(4, float(len(calls)))}

    by_node = replay_compared(
        graph, plan, lambda graph: (lambda node: np.negative, {"x": np.ones(4)})
    )
    assert (by_node.planned.outputs["double"] == -1).all()
    with pytest.raises(NotEqual, match="output 'double' of graph 'doubling' differs"):
        replay_compared(graph, plan, moody)


@pytest.mark.parametrize("wrong", [5, lambda graph: {}, lambda graph: ({}, None)])
def test_kernels_that_are_none_are_refused(wrong):
    """With what they have to be."""
    graph, plan = doubling()
    with pytest.raises(BadOption, match="kernels has to be a mapping from nodes' names"):
        replay_compared(graph, plan, wrong)


def test_nothing_runs_before_the_schedule_is_verified():
    """A result without one is refused before any kernel is asked for."""
    graph, _ = doubling()
    with pytest.raises(BadInput, match="there is no schedule: infeasible"):
        replay_compared(graph, schedule.solve(graph, 1), lambda _: pytest.fail("it was asked"))


def moved():
    """A plan of a graph with a host below the device, and what it does."""
    g = schedule.GraphBuilder()
    a = g.node("a", memory=4, compute=1)
    b = g.node("b", a, memory=4, compute=1)
    g.node("y", [a, b], memory=4, compute=1)
    graph, host = g.build(), schedule.Level("host", 10, down=2, up=2)
    steps = [schedule.Compute("a"), schedule.Offload("a"), schedule.Compute("b")]
    steps += [schedule.Free("a"), schedule.Prefetch("a"), schedule.Compute("y")]
    trace = schedule.verify(graph, steps, levels=host)
    plan = replace(
        PLAN,
        schedule=schedule.Schedule.of(graph, steps),
        digest=graph.digest,
        graph_name=graph.name,
        graph_compute=graph.compute,
        levels=(host,),
        level_peaks=(4,),
        peak=trace.peak,
        makespan=trace.makespan,
        compute=trace.compute,
        overhead=trace.overhead,
        checkpoints=(),
        lower_bound=5,
    )
    return graph, plan


def test_a_schedule_that_copies_is_read_back_and_holds(tmp_path):
    """With its levels: what was below the device is part of what it says."""
    graph, plan = moved()
    plan.save(tmp_path / "plan.json")
    found = schedule.read_schedule(tmp_path / "plan.json", graph)
    assert found == plan
    assert schedule.verify_claims(graph, found, 12).makespan == 6
    assert found.gap == pytest.approx(1 / 3)
    assert ("makespan", "6 (+100.00 %)") in list(found.rows())
    assert found.steps == plan.steps


@pytest.mark.parametrize(
    ("figure", "value", "said"),
    [
        ("makespan", 3, "states a makespan of 3, but its steps give 6"),
        ("level_peaks", (5,), "states a peak of 5 on 'host', but its steps give 4"),
        ("lower_bound", 7, "states the lower bound 7, but its steps take 6"),
        ("status", schedule.Status.OPTIMAL, "its bound is 5 and its steps take 6"),
    ],
)
def test_a_false_figure_of_levels_is_a_false_claim(figure, value, said):
    """Bounds are held against the makespan."""
    graph, plan = moved()
    plan = replace(plan, status=schedule.Status.FEASIBLE)
    assert schedule.verify_claims(graph, plan).peaks_below == (4,)
    with pytest.raises(FalseClaim, match=said):
        schedule.verify_claims(graph, replace(plan, **{figure: value}))


def test_what_knows_one_level_refuses_a_schedule_that_copies(tmp_path):
    """One message that names the step, before anything has run."""
    graph, plan = moved()
    said = r"copies between levels of memory, as in step 1 \(offload 'a'\)"
    for attempt in (
        lambda: schedule.executors.replay_synthetic(graph, plan, arena=True),
        lambda: schedule.write_report(graph, plan, tmp_path / "plan.dot"),
    ):
        with pytest.raises(BadInput, match=said):
            attempt()
    assert list(tmp_path.iterdir()) == []
