"""Iterated local search in the given order."""

from __future__ import annotations

import numpy as np
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from schedule import example, verify
from schedule.lowering import free_early, in_order, needed_in_order
from schedule.memory import keeps_order, simulate
from schedule.solvers.contract import Clock, Deadline, Incumbent, Problem
from schedule.solvers.exact.corridor.neighbourhoods import Neighbourhoods
from schedule.solvers.exact.corridor.shaking import Shaking, ShakingSettings
from schedule.solvers.greedy import Greedy
from tests import oracles
from tests.enough import enough, reached
from tests.strategies import graphs, runs, training_chains

SMALL = graphs(
    min_nodes=2, max_nodes=6, max_inputs=2, sizes=st.integers(0, 6), costs=st.integers(0, 5)
).filter(lambda graph: graph.layout.needed.any())
#: As by default, but soon content.
QUICK = ShakingSettings(moves=300, patience=5, shakes=20)


@enough(0.02)
@settings(deadline=None, max_examples=35, suppress_health_check=list(HealthCheck))
@given(data=st.data(), graph=st.one_of(SMALL, training_chains()))
def test_what_is_found_fits_and_takes_less(data, graph):
    """Valid, in the given order, within the budget, and never below the optimum."""
    base = simulate(graph, free_early(graph, np.array(data.draw(runs(graph)), np.int64)))
    assume(keeps_order(base))
    budget = data.draw(st.integers(needed_in_order(graph).peak // 2, base.peak))
    assume(base.peak <= budget)
    incumbent = Incumbent(problem := Problem(graph, budget, "fixed"))
    incumbent.offer(base)
    Shaking(problem, incumbent, QUICK).improve(Deadline(work=4_000))
    trace = verify(graph, incumbent.trace.codes, budget)
    assert keeps_order(trace)
    assert oracles.least_compute(graph, budget, "fixed") <= trace.compute <= base.compute
    if trace.compute < base.compute:
        reached()


def stuck():
    """A schedule of a layered graph in whose neighbourhoods nothing better was found."""
    graph = example("layered", nodes=60, layers=12, seed=3)
    budget = in_order(graph).peak * 7 // 10
    clock = Clock(counts_work=True)
    incumbent = Incumbent(problem := Problem(graph, budget, "fixed"), clock=clock)
    Greedy().improve(problem, incumbent, Deadline(work=10_000_000))
    Neighbourhoods(problem, incumbent).improve(Deadline(work=20_000_000))
    return problem, incumbent


def test_a_shaken_schedule_is_another_one_that_takes_little_more():
    """Its runs are elsewhere, and it fits."""
    problem, incumbent = stuck()
    shaking = Shaking(problem, incumbent)
    for _ in range(3):
        trace = verify(
            problem.graph, shaking._shaken(incumbent.trace, Deadline()).codes, problem.budget
        )
        assert keeps_order(trace)
        assert trace.codes.tolist() != incumbent.trace.codes.tolist()
        assert trace.compute <= 1.02 * incumbent.compute


def test_it_takes_no_more_time_than_passes_between_its_calls():
    """Beside the first call; and it goes on once that has passed."""
    problem, incumbent = stuck()
    shaking, clock = Shaking(problem, incumbent, QUICK), incumbent.clock
    taken = between = 0.0
    calls = 0
    for _ in range(20):
        before = clock.now()
        shaking.improve(Deadline.after(0.1, clock))
        spent = clock.now() - before
        calls += spent > 0
        assert spent == 0 or taken <= between
        taken += spent
        clock.spend(0.02)
        between += 0.02
    assert calls >= 3
