"""The search of all schedules on a device with a host, against one without a rule of its own."""

from __future__ import annotations

import math

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import schedule
from schedule import Level, example
from schedule.lowering import in_order
from schedule.makespan import level_floor
from schedule.solvers.contract import Deadline, Incumbent, Problem
from schedule.solvers.offloading.exhaustive import is_within_reach
from schedule.solvers.offloading.exhaustive.search import HostSearch, WholeSearch
from tests import oracles
from tests.enough import enough, reached
from tests.strategies import graphs, machines
from tests.test_makespan import SMALL, least, there_and_back


def searched(graph, budget, levels, order="free"):
    """The best makespan that is found, and what is proved."""
    problem = Problem(graph, budget, order, levels=tuple(levels))
    incumbent = Incumbent(problem)
    return incumbent, WholeSearch(problem).run(incumbent, Deadline())


@enough(0.1)
@settings(max_examples=12, deadline=None)
@given(st.data())
def test_it_finds_and_proves_the_least_makespan(data):
    """With views, inputs that stay, and a host that is full: then copies are dropped."""
    graph = data.draw(st.one_of(there_and_back(), graphs(min_nodes=3, **SMALL)))
    (host,) = data.draw(machines(1, capacities=st.sampled_from([0, 3, 6, 100, 100])))
    low, peak = level_floor(graph, (host,)).memory, in_order(graph).peak
    assume(low < peak)
    budget = data.draw(st.integers(low, peak - 1))
    wanted = least(graph, budget, host, 1000)
    incumbent, proof = searched(graph, budget, [host])
    reached()
    if wanted is None:
        assert incumbent.trace is None
        assert proof.needed == budget + 1
        return
    assert incumbent.compute == pytest.approx(wanted)
    assert proof.needed is None
    assert proof.bound == pytest.approx(wanted)


def both_ways():
    """Of `a`, `b` and `c` two fit, each is read again later, and the host has room for one."""
    g = schedule.GraphBuilder()
    free = {"memory": 4, "recomputable": False}
    a, b = g.node("a", compute=1, **free), g.node("b", compute=1, **free)
    x = g.node("x", b, memory=1, compute=9, workspace=3)
    y = g.node("y", [a, x], memory=1, compute=9, workspace=3)
    z = g.node("z", [b, y], memory=1, compute=9, workspace=3)
    g.node("w", [a, z], memory=1, compute=1)
    return g.build()


def test_one_place_on_the_host_serves_two_in_turn():
    """A copy is dropped for another one, which takes longer than room for both would."""
    graph, budget = both_ways(), 9
    wide, narrow = (Level("host", room, 4, 4) for room in (8, 4))
    roomy, tight = (searched(graph, budget, [host]) for host in (wide, narrow))
    for (incumbent, proof), host in ((roomy, wide), (tight, narrow)):
        assert incumbent.compute == pytest.approx(oracles.least_makespan(graph, budget, host))
        assert proof.bound == pytest.approx(incumbent.compute)
    assert tight[0].compute > roomy[0].compute
    steps = schedule.solve(graph, budget, levels=narrow).schedule
    kinds = [type(step).__name__ for step in steps]
    assert kinds.index("Offload") < kinds.index("Drop")
    assert "Offload" in kinds[kinds.index("Drop") :]


@pytest.mark.parametrize(
    ("layers", "budget", "rate"), [(2, 3, 2), (3, 3, 0.25), (3, 4, 1), (3, 5, 0.5)]
)
def test_small_chains_are_planned_best(layers, budget, rate):
    """Of all that recompute and copy, by `auto`; `benchmarks/offload_chains.py` has longer ones."""
    graph, host = example("chain", layers=layers), Level("host", 1000, rate, rate)
    searched(example("chain", layers=1), 3, [host])  # it is compiled
    plan = schedule.solve(graph, budget, levels=host)
    assert plan.status == "optimal"
    assert plan.makespan == oracles.least_makespan(graph, budget, host)


def test_ten_steps_are_proved():
    """No more memory and no faster link makes a schedule slower, and each takes what it proves."""
    graph, found = example("chain", layers=10), {}
    for budget, rate in ((5, 1), (6, 1), (6, 2)):
        incumbent, proof = searched(graph, budget, [Level("host", 1000, rate, rate)])
        assert proof.bound == pytest.approx(incumbent.compute)
        found[budget, rate] = incumbent.compute
    falling = [found[5, 1], found[6, 1], found[6, 2]]
    assert falling == sorted(falling, reverse=True)
    assert falling[0] < schedule.solve(graph, 5, "revolve").compute


def test_what_runs_first_may_be_given():
    """In the given order it takes longer: `b` first would free what both read."""
    g = schedule.GraphBuilder()
    a = g.node("a", memory=2, compute=1)
    b = g.node("b", a, memory=3, compute=1)
    c = g.node("c", a, memory=1, compute=1, workspace=2)
    g.node("y", [b, c], memory=1, compute=1)
    graph, host = g.build(), Level("host", 100, 0.1, 0.1)
    free, fixed = (searched(graph, 6, [host], order)[0] for order in ("free", "fixed"))
    assert free.compute == oracles.least_makespan(graph, 6, host) == 4
    assert fixed.compute > 4


def test_it_ends_where_its_space_is_full():
    """What it has looked at by then is a bound all the same."""
    graph, host = example("chain", layers=6), Level("host", 1000, 0.5, 0.5)
    problem = Problem(graph, 3, levels=(host,))
    incumbent = Incumbent(problem)
    proof = HostSearch(problem, states=300).run(incumbent, Deadline())
    assert graph.compute <= proof.bound < math.inf
    assert incumbent.trace is None
    assert not is_within_reach(example("chain", layers=40), 60)
