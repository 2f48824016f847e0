"""Large neighbourhoods of a schedule, and what has to run again in a span of one."""

from __future__ import annotations

import numpy as np
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from schedule import example, verify
from schedule.lowering import free_early, in_order, needed_in_order
from schedule.memory import keeps_order, simulate
from schedule.solvers.contract import Deadline, Incumbent, Problem
from schedule.solvers.exact.corridor.ground import Ground
from schedule.solvers.exact.corridor.known import Known
from schedule.solvers.exact.corridor.neighbourhoods import (
    NEIGHBOURHOODS,
    Neighbourhoods,
    NeighbourhoodSettings,
)
from schedule.solvers.greedy import Greedy
from tests import oracles
from tests.enough import enough, reached
from tests.strategies import graphs, runs, training_chains

SMALL = graphs(
    min_nodes=2, max_nodes=6, max_inputs=2, sizes=st.integers(0, 6), costs=st.integers(0, 5)
).filter(lambda graph: graph.layout.needed.any())
slow = settings(deadline=None, max_examples=80, suppress_health_check=list(HealthCheck))
#: As by default, but soon content.
QUICK = NeighbourhoodSettings(patience=40)


def members(mask):
    """The bits that are set."""
    return {64 * w + k for w, word in enumerate(mask.tolist()) for k in range(64) if word >> k & 1}


def some_schedule(data, graph):
    """Any schedule that keeps the order, replayed."""
    trace = simulate(graph, free_early(graph, np.array(data.draw(runs(graph)), np.int64)))
    assume(keeps_order(trace))
    return trace


@enough(0.02)
@slow
@given(data=st.data(), graph=st.one_of(SMALL, training_chains()))
def test_what_is_found_fits_and_takes_less(data, graph):
    """Valid, in the given order, within the budget, and never below the optimum."""
    base = some_schedule(data, graph)
    budget = data.draw(st.integers(needed_in_order(graph).peak // 2, base.peak))
    assume(base.peak <= budget)
    incumbent = Incumbent(
        problem := Problem(graph, budget, "fixed", seed=data.draw(st.integers(0, 3)))
    )
    incumbent.offer(base)
    Neighbourhoods(problem, incumbent, QUICK).improve(Deadline(work=200_000))
    trace = verify(graph, incumbent.trace.codes, budget)
    assert keeps_order(trace)
    assert oracles.least_compute(graph, budget, "fixed") <= trace.compute <= base.compute
    if trace.compute < base.compute:
        reached()


@enough(0.05)
@slow
@given(data=st.data(), graph=st.one_of(SMALL, training_chains()))
def test_what_has_to_run_again_does_so(data, graph):
    """In any schedule, and from any first run on: before each state, all that is forced has."""
    trace = some_schedule(data, graph)
    codes = trace.codes[trace.codes >= 0]
    assume(len(np.unique(codes)) < len(codes))
    ground = Ground.of(graph, trace.peak)
    known = Known(ground, trace, [[] for _ in ground.operations.nodes])
    assume(len(known.first_at) > 1)
    start = data.draw(st.integers(1, len(known.first_at) - 1))
    forced, lasting = known.forced(start)
    again, stage = set(), start
    first = set(known.first_at.tolist())
    for at in range(int(known.first_at[start]), len(known.runs) + 1):
        mask = lasting[stage].copy()
        for r in members(known.live[at]):
            mask |= forced[r]
        assert members(mask) <= again
        if members(mask):
            reached()
        if at < len(known.runs):
            again |= set() if at in first else {int(known.runs[at])}
            stage += at in first


def test_neighbourhoods_as_large_as_the_problem_have_the_optimum():
    """A schedule that runs a chain again from its start for each gradient becomes the best."""
    graph = example("chain", layers=8)
    whole = NeighbourhoodSettings(first=100.0, greatest=100.0, moves=10_000_000, patience=20)
    for budget, optimum in zip(range(3, 11), [45, 26, 22, 21, 20, 19, 18, 17]):
        incumbent = Incumbent(problem := Problem(graph, budget, "fixed"))
        Greedy().improve(problem, incumbent, Deadline(work=10_000_000))
        assert incumbent.trace is not None
        Neighbourhoods(problem, incumbent, whole).improve(Deadline(work=10_000_000))
        assert incumbent.compute == optimum


def test_the_same_seed_finds_the_same():
    """A work limit is all that ends it: no clock decides."""
    graph = example("layered", nodes=60, layers=12, seed=3)
    budget = in_order(graph).peak * 7 // 10
    found = []
    for seed in (1, 1, 2):
        incumbent = Incumbent(problem := Problem(graph, budget, "fixed", seed=seed))
        Greedy().improve(problem, incumbent, Deadline(work=10_000_000))
        before = incumbent.compute
        Neighbourhoods(problem, incumbent).improve(Deadline(work=3_000_000))
        assert incumbent.compute < before
        found.append(incumbent.trace.codes.tolist())
    assert found[0] == found[1]


def test_graphs_that_are_too_large_are_left_alone():
    """Beyond so many operations nothing is searched."""
    graph = example("chain", layers=8)
    few = NeighbourhoodSettings(most=len(graph) - 1)
    incumbent = Incumbent(problem := Problem(graph, 4, "fixed"))
    Greedy().improve(problem, incumbent, Deadline(work=10_000_000))
    before, deadline = incumbent.compute, Deadline(work=1000.0)
    Neighbourhoods(problem, incumbent, few).improve(deadline)
    assert (incumbent.compute, deadline.work) == (before, 1000.0)
    assert NEIGHBOURHOODS.most > len(graph)
