"""POET's program: optimal in its own cost model, and what comes of it on a machine."""

from __future__ import annotations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import schedule
from schedule import Level, example
from schedule.errors import NotApplicable
from schedule.lowering import in_order
from schedule.makespan import level_floor
from schedule.solvers.contract import Deadline
from schedule.solvers.offloading.poet import Poet, PoetProgram
from tests.enough import enough, reached
from tests.strategies import graphs, machines
from tests.test_makespan import SMALL, least, there_and_back

PEER = Poet()


def solved(graph, budget, host):
    """The program's solution."""
    return PoetProgram(graph, budget, host).solve(Deadline(), 0.0, 0)


@enough(0.15)
@settings(max_examples=20, deadline=None)
@given(st.data())
def test_its_schedules_take_no_longer_than_it_says(data):
    """One copy after another is the worst that can happen, and no schedule beats the search."""
    plain = graphs(min_nodes=3, views=False, **SMALL | {"max_inputs": 0})
    graph = data.draw(st.one_of(there_and_back(), there_and_back(), plain))
    assume(PEER.supports(graph) is None and graph.layout.needed.any())
    (host,) = data.draw(machines(1, capacities=st.integers(1, 30)))
    low, peak = level_floor(graph, (host,)).memory, in_order(graph).peak
    assume(low < peak)
    budget = data.draw(st.integers(low, peak - 1))
    found = solved(graph, budget, host)
    if found is None:
        return
    reached()
    plan = schedule.solve(graph, budget, "poet", levels=host)
    assert plan.makespan <= found.cost * (1 + 1e-6)
    wanted = least(graph, budget, host, 800)
    assert wanted is not None
    assert wanted <= plan.makespan * (1 + 1e-9)


@pytest.mark.parametrize(("layers", "budget"), [(3, 3), (4, 3), (5, 4)])
def test_over_a_slow_link_it_is_the_program_of_checkmate(layers, budget):
    """A chain's least number of runs is known in closed form; over a fast link none runs twice."""
    graph = example("chain", layers=layers)
    slow, fast = (solved(graph, budget, Level("host", 99, *[rate] * 2)) for rate in (0.01, 1000))
    assert slow.cost == schedule.solve(graph, budget, "revolve").compute
    assert not slow.paged_in.any()
    assert fast.cost < slow.cost
    assert fast.paged_in.any()


def test_a_copy_costs_what_it_takes():
    """By hand: `a` is away while `b` runs, 4 down and 2 up; without room on the host it can't."""
    g = schedule.GraphBuilder()
    big = g.node("a", memory=8, compute=1, recomputable=False)
    first = g.node("s", memory=1, compute=1)
    b = g.node("b", first, memory=1, compute=10, workspace=9)
    g.node("y", [big, b], memory=1, compute=2)
    graph = g.build()
    assert solved(graph, 11, Level("host", 8, 2, 4)).cost == pytest.approx(14 + 4 + 2)
    assert solved(graph, 11, Level("host", 7, 2, 4)) is None


def test_what_is_too_large_for_it_is_refused():
    """And what has views; the message says how large a graph may be."""
    host = Level("host", 10, 1, 1)
    with pytest.raises(NotApplicable, match=r"'poet'.* 81 nodes.* up to 50"):
        schedule.solve(example("chain", layers=40), "50%", "poet", levels=host)
    g = schedule.GraphBuilder()
    a = g.node("a", memory=2, compute=1)
    g.node("y", g.view("v", a), memory=1, compute=1)
    with pytest.raises(NotApplicable, match="it has views"):
        schedule.solve(g.build(), "50%", "poet", levels=host)


def test_its_copies_are_made_when_the_host_has_room():
    """Its stages take turns on a host with room for one; copies that begin early wouldn't."""
    graph, host = example("chain", layers=4), Level("host", 1, 4, 4)
    found = solved(graph, 3, host)
    assert found.paged_in.any()
    plan = schedule.solve(graph, 3, "poet", levels=host)
    assert plan.schedule is None or plan.level_peaks <= (1,)
    assert schedule.solve(graph, 3, levels=host, time_limit=1).makespan is not None
