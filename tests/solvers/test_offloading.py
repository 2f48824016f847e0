"""Copies to a host, planned: valid within budget and capacity, and what they are worth."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import schedule
from schedule import Level, example
from schedule.errors import BadOption, NotApplicable
from schedule.lowering import in_order
from schedule.makespan import level_floor
from schedule.solvers.contract import Deadline, Incumbent, Problem
from schedule.solvers.offloading.annealing.searcher import anneal
from schedule.solvers.offloading.attempt import Attempt, program_of
from schedule.solvers.offloading.away import without
from schedule.solvers.offloading.placing import Placement
from schedule.solvers.offloading.solvers import OFFLOADERS
from tests import oracles
from tests.enough import enough, reached
from tests.strategies import graphs, machines
from tests.test_makespan import between, there_and_back


@enough(0.15)
@settings(max_examples=20, deadline=None)
@given(st.data())
def test_any_graph_is_planned_within_budget_and_capacity(data):
    """The planner replays all that is offered; bounds, peaks and makespan agree."""
    graph = data.draw(graphs(min_nodes=2, max_nodes=9))
    levels = data.draw(machines(2, capacities=st.integers(0, 200)))
    low, peak = level_floor(graph, levels).memory, in_order(graph).peak
    budget = data.draw(st.integers(max(0, low - 2), max(low, peak)))
    for name, solver in OFFLOADERS.items():
        if solver.supports(graph) is not None:
            continue
        plan = schedule.solve(graph, budget, name, levels=levels, time_limit=0.3)
        if budget < low:
            assert plan.status == "infeasible"
        if plan.schedule is None:
            continue
        trace = schedule.verify(graph, plan, budget)
        assert plan.makespan == trace.makespan >= plan.lower_bound * (1 - 1e-9)
        assert plan.level_peaks == trace.peaks_below
        assert schedule.verify_claims(graph, plan).codes.tolist() == trace.codes.tolist()
        if trace.copies:
            reached()


@enough(0.15)
@settings(max_examples=8, deadline=None)
@given(st.data())
def test_no_plan_beats_the_search_over_everything(data):
    """Its makespan is never less than the least there is, and what it calls optimal is that."""
    graph = data.draw(there_and_back())
    (host,) = data.draw(machines(1, capacities=st.integers(0, 20)))
    low, peak = level_floor(graph, (host,)).memory, in_order(graph).peak
    budget = data.draw(st.integers(low, max(low, peak - 1)))
    plan = schedule.solve(graph, budget, levels=host, time_limit=0.3)
    assume(plan.schedule is not None and budget < peak)
    try:
        least = oracles.least_makespan(graph, budget, host, 5000)
    except oracles.Exhausted:
        assume(False)
    reached()
    assert plan.makespan >= least * (1 - 1e-9)
    assert plan.lower_bound <= least * (1 + 1e-9)


@pytest.mark.parametrize("name", ["unet", "chain", "transformer"])
def test_a_host_is_worth_something(name):
    """A fast link hides every copy; a slow one is no worse than recomputation by `greedy`."""
    graph = example(name)
    peak = in_order(graph).peak
    rate = peak / graph.compute
    alone = schedule.solve(graph, "70%", "greedy")
    fast, slow = (
        schedule.solve(
            graph, "70%", levels=Level("host", 2 * peak, rate * by, rate * by), work_limit=1.0
        )
        for by in (1000, 0.001)
    )
    assert fast.makespan < graph.compute * 1.02
    assert fast.trace.copies > 0
    assert slow.makespan <= alone.compute
    assert fast.makespan < slow.makespan


def test_budgets_are_reached_that_recomputation_alone_does_not():
    """What must not run again has to stay, or to go to the host: here at the bound."""
    graph, budget, levels = between(2, 4)
    assert schedule.solve(graph, budget).status == "infeasible"
    plan = schedule.solve(graph, budget, levels=levels)
    assert (plan.status, plan.peak, plan.level_peaks) == ("optimal", 11, (8,))
    assert plan.makespan == pytest.approx(19)
    graph, budget, too_small = between(2, 4, capacity=7)
    nothing = schedule.solve(graph, budget, levels=too_small)
    assert (nothing.status, nothing.shortfall.node) == ("infeasible", "b")


def test_the_same_work_gives_the_same_plan(monkeypatch):
    """However fast the machine is, and whatever it was asked before."""
    graph, host = example("unet"), Level("host", 10**9, 0.1, 0.1)
    asked = {"levels": host, "seed": 3, "work_limit": 0.3}
    first = schedule.solve(graph, "60%", **asked)
    now = iter(range(10**9))
    monkeypatch.setattr(time, "monotonic", lambda: next(now) * 1e-3)
    again = schedule.solve(graph, "60%", workers=2, **asked)
    assert first.schedule == again.schedule
    assert first.lower_bound == again.lower_bound
    assert first.makespan <= schedule.solve(graph, "60%", "greedy").compute


@given(graphs(min_nodes=2, max_nodes=8), st.data())
@settings(max_examples=20, deadline=None)
def test_what_is_on_the_host_takes_no_memory(graph, data):
    """The same nodes and tensors, so that runs of the one are runs of the other."""
    owners = np.flatnonzero(graph.layout.storage == np.arange(graph.layout.n_tensors)).tolist()
    away = data.draw(st.sets(st.sampled_from(owners)))
    lighter = without(graph, away)
    assert lighter.layout.tensor_names == graph.layout.tensor_names
    assert [node.name for node in lighter.nodes] == [node.name for node in graph.nodes]
    size = graph.layout.memory.copy()
    size[list(away)] = 0
    assert lighter.layout.memory.tolist() == size.tolist()
    codes = in_order(graph).codes
    assert in_order(lighter).codes.tolist() == codes.tolist()


def test_solvers_for_one_level_are_refused():
    """The message names those that know of several."""
    graph, host = example("chain"), Level("host", 10, 1, 1)
    with pytest.raises(NotApplicable, match=r"'ilp' plans for one level.*auto, offload"):
        schedule.solve(graph, "50%", "ilp", levels=host)
    with pytest.raises(NotApplicable, match=r"'greedy' plans for one level"):
        schedule.solve(graph, "50%", schedule.SOLVERS["greedy"], levels=host)
    as_object = schedule.solve(graph, "50%", OFFLOADERS["offload"], levels=host)
    assert as_object.schedule is not None
    with pytest.raises(BadOption, match="unknown solver 'none'"):
        schedule.solve(graph, "50%", "none", levels=host)
    with pytest.raises(BadOption, match="levels is 'host'"):
        schedule.solve(graph, "50%", levels="host")


@pytest.mark.parametrize(("name", "share"), [("unet", 0.6), ("chain", 0.5), ("unet", 0.8)])
def test_annealing_counts_as_the_machine_does(name, share):
    """What it promises is what the steps take, within the budget, and no more than before."""
    graph = example(name)
    budget, rate = int(in_order(graph).peak * share), in_order(graph).peak / graph.compute
    host = Level("host", 10**12, rate, 2 * rate, 0.5)
    problem = Problem(graph, budget, levels=(host,))
    attempt = Attempt(problem, Incumbent(problem))
    attempt.try_all(program_of(graph))
    before = min(tried.makespan for tried in attempt.tried)
    attempt.tried.sort(key=lambda tried: tried.makespan)
    best = attempt.tried[0]
    gaps = sorted(best.gaps, key=lambda gap: gap.next)
    assert not any(gap.views for gap in gaps)  # it counts none
    chosen = np.array([gap in set(best.chosen) for gap in gaps])
    start = np.array([[on, g.written, g.last, g.next] for on, g in zip(chosen, gaps)]).T.copy()
    copies = attempt.copies(best.runs, gaps)
    found, promised = anneal(copies, budget, host, start, seed=1, moves=4000, deadline=Deadline())
    where = np.flatnonzero(found[0])
    placement = Placement(graph, host, best.runs, [gaps[at] for at in where], budget)
    placement.put(found[1:, where])
    trace = schedule.verify(graph, placement.codes(), budget, levels=host)
    assert trace.makespan == pytest.approx(promised)
    attempt.anneal(best, Deadline())
    assert best.makespan <= before


def test_past_its_end_an_attempt_replays_no_more_than_finds_something():
    """A replay of a large graph takes long: a limit of 10 ms was past by eight seconds."""
    graph = example("unet")
    host = Level("host", 10**12, in_order(graph).peak / graph.compute, 1e6)
    problem = Problem(graph, int(in_order(graph).peak * 0.6), levels=(host,))
    replays = {}
    for until in (Deadline(), Deadline.after(0.0)):
        attempt = Attempt(problem, incumbent := Incumbent(problem), until=until)
        replayed, seen = incumbent.replay, []
        incumbent.replay = lambda codes, replayed=replayed, seen=seen: (
            seen.append(replayed(codes)) or seen[-1]
        )
        attempt.try_all(program_of(graph))
        replays[until.passed] = [trace for trace in seen if problem.fits(trace.peak)]
    assert len(replays[True]) == 1 < len(replays[False])


def test_torchtitan_plans_training_steps():
    """A policy for what the forward pass saves: refused where there is no backward pass."""
    graph, host = example("unet"), Level("host", 10**12, 1, 1)
    for name in ("torchtitan_greedy", "torchtitan_ilp"):
        plan = schedule.solve(graph, "80%", name, levels=host)
        assert plan.peak <= plan.budget
        assert plan.compute > graph.compute or plan.trace.copies
        forward = schedule.GraphBuilder()
        forward.node("a", memory=1, compute=1)
        with pytest.raises(NotApplicable, match="no backward pass"):
            schedule.solve(forward.build(), 1, name, levels=host)


def test_nodes_that_take_no_time_are_planned_without_overflow():
    """However long a copy takes: no warning of NumPy's reaches anybody."""
    graph, budget, _ = between(2, 4)
    nodes = [replace(node, compute=0) for node in graph.nodes]
    free = schedule.Graph(nodes, graph.inputs, outputs=graph.outputs)
    slow = Level("host", 10**9, 1e-9, 1e-9, 1e12)
    with np.errstate(all="raise"):
        plan = schedule.solve(free, budget, "offload_largest", levels=slow)
    assert plan.makespan >= 2e12


@pytest.mark.parametrize(("name", "share"), [("unet", "80%"), ("chain", "70%")])
def test_a_host_without_room_for_anything_is_none(name, share):
    """The plan, the bound and the status are those of recomputation alone, with the same work."""
    graph = example(name)
    smallest = min(t.memory for node in graph.nodes for t in node.outputs if t.memory)
    alone = schedule.solve(graph, share, work_limit=2)
    plan = schedule.solve(graph, share, levels=Level("host", smallest - 1, 1, 1), work_limit=2)
    assert plan.trace.copies == 0
    assert (plan.makespan, plan.status) == (alone.compute, alone.status)
    assert plan.lower_bound == alone.lower_bound


def test_a_scarce_host_is_no_worse_than_none_and_a_larger_one_no_worse_than_that():
    """A chain of 25 nodes, on which a search of all schedules used all the work there was."""
    graph = example("chain", layers=12)
    alone = schedule.solve(graph, "70%", work_limit=0.5)
    found = [alone.compute]
    for capacity in (2, 4, 100):
        plan = schedule.solve(
            graph, "70%", levels=Level("host", capacity, 0.5, 0.5), work_limit=0.5
        )
        assert plan.lower_bound <= plan.makespan
        found.append(plan.makespan)
    assert found == sorted(found, reverse=True)
    assert found[-1] < found[0]
