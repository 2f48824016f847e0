"""Schedule and addresses together: the arena is within the budget, and the bound is one."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import schedule
from schedule import Status, solve
from schedule.addresses import verify_addresses
from schedule.arena import PACKING
from schedule.errors import BadOption
from schedule.joint import Joint
from schedule.judging import Judge
from schedule.sizes import parse_budget
from schedule.solvers.contract import Clock, Deadline, Problem
from tests import oracles
from tests.cli.test_cli import run
from tests.formats import FILES_ARE_CHECKED
from tests.strategies import graphs

pytestmark = FILES_ARE_CHECKED


@pytest.fixture(autouse=True, scope="module")
def compiled():
    """No search waits for the compiler."""
    PACKING.begin().done.wait()


@settings(max_examples=25, deadline=None)
@given(graphs(max_nodes=6), st.integers(0, 6), st.sampled_from([1, 1, 4]))
def test_answer_fits_and_keeps_to_the_oracle(graph, more, alignment):
    """The arena is within the budget; compute is the oracle's where it is said to be optimal."""
    budget = oracles.least_budget(graph) + more
    least = oracles.least_compute(graph, budget)
    found = solve(graph, budget, addresses=True, alignment=alignment, time_limit=0.4, workers=1)
    assert found.budget == budget
    assert found.lower_bound <= least * (1 + 1e-9)
    assert found.status != Status.INFEASIBLE
    if found.schedule is None:
        assert "no arena was found" in found.shortfall.reason or found.interrupted
        assert found.addresses is None
        return
    trace = schedule.verify(graph, found, budget)
    verify_addresses(trace, found.addresses)
    assert found.addresses.size <= budget
    assert found.addresses.alignment == alignment
    assert trace.compute >= least * (1 - 1e-9)
    if found.status == Status.OPTIMAL:
        assert trace.compute == pytest.approx(least)


def odd():
    """Six tensors of five bytes, each read once, later."""
    graph = schedule.GraphBuilder("odd")
    x = graph.input("x", memory=0)
    kept = [graph.node(f"f{at}", x, memory=5, compute=1) for at in range(6)]
    for at in range(6):
        x = graph.node(f"b{at}", [x, kept[at]], memory=0, compute=1)
    return graph.build()


def test_inner_budget_shrinks_until_the_arena_fits():
    """Sizes that a coarse alignment rounds up: only a smaller budget inside leaves room."""
    built = odd()
    without = solve(built, 30, order="fixed")
    found = solve(built, 30, addresses=True, alignment=8, order="fixed", time_limit=5)
    assert without.compute == 12
    # Six of five bytes take 45 with gaps of three between; 30 has room for three, the last short.
    assert found.addresses is not None
    assert found.addresses.size <= 30
    assert found.peak <= 20
    assert found.compute > without.compute
    assert found.lower_bound == without.lower_bound
    assert found.status == Status.FEASIBLE


def test_proof_that_nothing_fits_is_the_schedules_own():
    """Below the floor it is infeasible at once; what can't be placed alone is unknown, and why."""
    chain = schedule.example("chain")
    floor = schedule.memory_floor(chain).memory
    assert solve(chain, floor - 1, addresses=True).status == Status.INFEASIBLE
    found = solve(chain, floor, addresses=True, alignment=64, time_limit=0.5)
    assert found.status == Status.UNKNOWN
    assert "the smallest that was reached takes" in found.shortfall.reason


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"addresses": 1}, "addresses is 1; it has to be True or False"),
        ({"addresses": True, "alignment": 6}, "power of two"),
        ({"alignment": 8}, "no addresses are asked for"),
        ({"addresses": True, "work_limit": 1}, "packing isn't counted"),
    ],
)
def test_what_makes_no_sense_is_refused(asked, why):
    """One message, before anything is solved."""
    with pytest.raises(BadOption, match=why):
        solve(schedule.example("chain"), "50%", **asked)


def test_sweeps_have_no_addresses():
    """They are of one solve; the message lists what a sweep takes."""
    with pytest.raises(TypeError, match="unexpected keyword argument 'addresses'"):
        schedule.sweep(schedule.example("chain"), points=2, addresses=True)


def test_cancelled_before_it_began_it_says_so():
    """An event that is set ends it with whatever there is."""
    event = threading.Event()
    event.set()
    found = solve(schedule.example("chain"), "50%", addresses=True, cancel=event)
    assert found.interrupted
    assert found.seconds < 60


def test_command_writes_addresses_that_verify(tmp_path, monkeypatch):
    """`schedule solve --addresses` writes a file whose claims hold."""
    monkeypatch.chdir(tmp_path)
    schedule.write(schedule.example("chain"), "chain.json")
    asked = ("solve", "chain.json", "--budget", "50%", "--alignment", "2", "-o", "plan.json")
    status, _, message = run(*asked)
    assert (status, "give --addresses" in message) == (2, True)
    assert run(*asked, "--addresses")[0] == 0
    plan = schedule.read_schedule("plan.json")
    assert plan.addresses.size <= plan.budget
    assert plan.addresses.alignment == 2
    assert all(offset % 2 == 0 for *_, offset in plan.addresses.offsets)
    assert run("verify", "chain.json", "plan.json")[0] == 0


def test_most_of_the_time_is_for_the_schedule():
    """A first short solve that is packed at once leaves a second one four fifths of the time."""
    graph = schedule.example("chain")
    found, budget = solve(graph, "60%"), parse_budget("60%", graph)
    clock, asked = Clock(counts_work=True), []

    def within(inner):
        asked.append(inner.seconds)
        clock.spend(inner.seconds)
        return replace(found, status=Status.FEASIBLE, lower_bound=0, seconds=inner.seconds)

    problem = Problem(graph, budget)
    judge = Judge(problem, 10.0, "auto", None)
    joint = Joint(problem, 1, Deadline.after(10.0, clock), within, judge, None)
    assert joint.result().addresses.size <= budget
    assert asked[0] <= 2
    assert asked[1] >= 8
    assert sum(asked) <= 10.1


@pytest.mark.parametrize(("scale", "more"), [(1, 0), (1, 4), (1024, 0), (1024, 5119)])
def test_budgets_inside_are_peaks_that_there_can_be(scale, more):
    """All sizes are fives, in whatever unit: what lies between is a solve in vain."""
    nodes = [
        replace(
            node, outputs=tuple(replace(out, memory=scale * out.memory) for out in node.outputs)
        )
        for node in odd().nodes
    ]
    graph = schedule.Graph(nodes, odd().inputs)
    asked = []

    def within(inner):
        asked.append(inner.budget)
        return solve(graph, inner.budget, order="fixed")

    problem = Problem(graph, 25 * scale + more)
    judge = Judge(problem, 60.0, "auto", None)
    found = Joint(problem, 8 * scale, Deadline.after(60.0), within, judge, None).result()
    assert asked[0] == problem.budget
    assert all(inner % (5 * scale) == 0 for inner in asked[1:])
    assert len(set(asked)) == len(asked)
    assert found.addresses.size <= 25 * scale + more


def test_long_solve_may_be_interrupted():
    """Where the first, short one isn't packed, one within less has been by then."""
    graph, clock, asked = odd(), Clock(counts_work=True), []

    def within(inner):
        asked.append(inner)
        if inner.seconds > 5:
            raise KeyboardInterrupt
        clock.spend(inner.seconds)
        found = solve(graph, inner.budget, order="fixed")
        return replace(found, status=Status.FEASIBLE, lower_bound=0, seconds=inner.seconds)

    problem = Problem(graph, 30)
    judge = Judge(problem, 60.0, "auto", None)
    found = Joint(problem, 8, Deadline.after(60.0, clock), within, judge, None).result()
    assert [inner.budget < 30 for inner in asked] == [False, True, False]
    assert found.interrupted
    assert found.addresses.size <= 30
