"""The search from the end along a corridor: its bounds, its proofs, its schedules."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from schedule import example, solve, verify
from schedule.lowering import free_early, in_order, needed_in_order
from schedule.memory import keeps_order, simulate
from schedule.solvers.contract import Deadline, Incumbent, Problem
from schedule.solvers.exact.corridor.corridor import Corridor
from schedule.solvers.exact.corridor.covers import cover
from schedule.solvers.exact.corridor.potentials import no_potentials, potentials
from schedule.solvers.exact.model import StagedModel, fixed_windows
from schedule.solvers.exhaustive import states
from schedule.solvers.program.contraction import contract
from tests import oracles
from tests.enough import enough, reached
from tests.strategies import graphs, runs, tight, training_chains

SMALL = graphs(
    min_nodes=2, max_nodes=6, max_inputs=2, sizes=st.integers(0, 6), costs=st.integers(0, 5)
).filter(lambda graph: graph.layout.needed.any())
#: Without views that aren't free, the search knows all schedules.
PLAIN = graphs(
    min_nodes=2,
    max_nodes=6,
    max_inputs=2,
    views=False,
    sizes=st.integers(0, 6),
    costs=st.integers(0, 5),
).filter(lambda graph: graph.layout.needed.any())
slow = settings(deadline=None, max_examples=80, suppress_health_check=list(HealthCheck))
MUCH = 10_000_000


def model_for(graph, budget, data=None):
    """A staged model of the given order, with any cut points."""
    contraction = contract(graph)
    places = np.flatnonzero(~contraction.is_view)
    chosen = places.tolist()
    if data is not None and chosen:
        chosen = data.draw(st.sets(st.sampled_from(chosen)))
    cuts = np.array(sorted(chosen), np.int64)
    return StagedModel(graph, contraction, fixed_windows(contraction, cuts), budget)


def bounds_for(graph, budget, data=None):
    """Potentials from any cut points; zero where the relaxation has no solution."""
    model = model_for(graph, budget, data)
    found = potentials(model, Deadline.after(10))
    c = model.contraction
    return no_potentials(c.n_operations, c.n_resources) if found is None else found


@enough(0.2)
@slow
@given(data=st.data(), graph=SMALL, share=st.integers(40, 100))
def test_potentials_bound_what_a_state_has_cost(data, graph, share):
    """All along any schedule that fits, reruns so far have cost that much, or more."""
    trace = simulate(graph, free_early(graph, np.array(data.draw(runs(graph)), np.int64)))
    assume(keeps_order(trace))
    budget = max(trace.peak, needed_in_order(graph).peak * share // 100)
    model = model_for(graph, budget, data)
    found = potentials(model, Deadline.after(10))
    assert found is not None, "a schedule fits, so the relaxation has a solution"
    c, ran, spent = model.contraction, 0, 0.0
    seen: set[int] = set()
    for step, code in enumerate([*trace.codes.tolist(), -1]):
        if code < 0 and step < len(trace.codes):
            continue
        live = c.resource[trace.live_before(step)]
        live = np.unique(live[live >= 0])
        least = found.base[ran] + found.price[ran, live].sum()
        assert least <= spent + 1e-6 * (1 + graph.compute)
        v = int(c.operation[code]) if step < len(trace.codes) else -1
        if v in seen and not c.is_view[v]:
            reached()
            spent += float(graph.layout.compute[code])
        elif v >= 0 and v not in seen:
            seen.add(v)
            ran = v + 1


@enough(0.02)
@slow
@given(data=st.data(), case=tight(st.one_of(PLAIN, training_chains())))
def test_what_is_proved_is_the_optimum(data, case):
    """With enough work: the least compute in the given order, or that nothing fits."""
    graph, budget = case
    incumbent = Incumbent(Problem(graph, budget, "fixed"))
    corridor = Corridor(graph, budget)
    corridor.prove(incumbent, 0, bounds_for(graph, budget, data), Deadline(work=MUCH))
    expected = oracles.least_compute(graph, budget, "fixed")
    if expected is None:
        assert incumbent.trace is None
        return
    reached()
    assert incumbent.compute == expected
    assert corridor.proved <= expected + 1e-6
    assert corridor.proved >= expected - 1e-6 * (1 + expected)


@enough(0.02)
@slow
@given(data=st.data(), case=tight(st.one_of(SMALL, training_chains())))
def test_nothing_falls_below_what_is_proved(data, case):
    """Not on graphs with views and nodes that run once, either, nor where work ends early."""
    graph, budget = case
    incumbent = Incumbent(Problem(graph, budget, "fixed"))
    corridor = Corridor(graph, budget)
    work = data.draw(st.sampled_from([150_000, MUCH]))
    corridor.prove(incumbent, 0, bounds_for(graph, budget, data), Deadline(work=work))
    expected = oracles.least_compute(graph, budget, "fixed")
    truth = math.inf if expected is None else expected
    if incumbent.trace is not None:
        reached()
    assert corridor.proved <= truth + 1e-6
    assert incumbent.compute >= truth - 1e-6


@enough(0.02)
@slow
@given(data=st.data(), case=tight(st.one_of(SMALL, training_chains())))
def test_what_is_found_near_a_schedule_fits_and_takes_less(data, case):
    """Valid, in the given order, within the budget, and cheaper than what was known."""
    graph, budget = case
    incumbent = Incumbent(Problem(graph, budget, "fixed"))
    corridor = Corridor(graph, budget)
    base = simulate(graph, free_early(graph, np.array(data.draw(runs(graph)), np.int64)))
    if keeps_order(base):
        corridor.widen(base.codes[base.codes >= 0])
        incumbent.offer(base)
    before = incumbent.compute
    corridor.follow(incumbent, bounds_for(graph, budget, data), Deadline(work=MUCH))
    if incumbent.trace is not None and incumbent.compute < before:
        reached()
        trace = verify(graph, incumbent.trace.codes, budget)
        assert keeps_order(trace)
        assert trace.compute < before


def test_a_corridor_as_wide_as_the_problem_has_the_optimum():
    """On layered graphs of 24 nodes, against the exhaustive search."""
    for seed in range(3, 7):
        graph = example("layered", nodes=24, layers=6, seed=seed)
        budget = in_order(graph).peak * 8 // 10
        expected = states.least_compute(graph, budget, "fixed", deadline=Deadline(work=200_000))
        assert expected.decided
        incumbent = Incumbent(Problem(graph, budget, "fixed"))
        corridor = Corridor(graph, budget)
        corridor.follow(incumbent, bounds_for(graph, budget), Deadline(work=10 * MUCH))
        assert (incumbent.trace is None) == (expected.codes is None)
        if expected.codes is not None:
            assert incumbent.compute == simulate(graph, expected.codes).compute


def test_work_that_is_too_little_proves_nothing_wrong():
    """However early it ends, no more is proved than holds, and what it finds fits."""
    graph = example("layered", nodes=24, layers=6, seed=5)
    budget = in_order(graph).peak * 8 // 10
    optimum = solve(graph, budget, "ilp", order="fixed", time_limit=60)
    assert optimum.status == "optimal"
    for work in (0, 100_000, 200_000, 1_000_000):
        incumbent = Incumbent(Problem(graph, budget, "fixed"))
        corridor = Corridor(graph, budget)
        bounds, deadline = bounds_for(graph, budget), Deadline(work=work)
        corridor.follow(incumbent, bounds, deadline)
        corridor.prove(incumbent, 0, bounds, deadline)
        assert corridor.proved <= optimum.compute
        assert incumbent.compute >= optimum.compute
        assert deadline.work <= work


@enough(0.07)
@slow
@given(
    sizes=st.lists(st.integers(1, 20), min_size=1, max_size=8),
    room=st.integers(0, 60),
    data=st.data(),
)
def test_covers_hold_for_all_that_fits(sizes, room, data):
    """Every choice that fits satisfies the inequality, and the fractions given break it."""
    x = np.array([data.draw(st.floats(0, 1)) for _ in sizes])
    found = cover(x, np.array(sizes) / 64, room / 64)
    if found is None:
        return
    reached()
    values, most = found
    assert values @ x > most
    for choice in product([0, 1], repeat=len(sizes)):
        if np.dot(choice, sizes) <= room:
            assert values @ choice <= most


def test_a_chain_needs_no_more_than_the_closed_form():
    """What is proved on a training chain is the optimum that is known (Griewank & Walther)."""
    graph = example("chain", layers=8)
    for budget, optimum in zip(range(3, 11), [45, 26, 22, 21, 20, 19, 18, 17]):
        incumbent = Incumbent(Problem(graph, budget, "fixed"))
        corridor = Corridor(graph, budget)
        corridor.prove(incumbent, 0, bounds_for(graph, budget), Deadline(work=MUCH))
        assert (incumbent.compute, math.ceil(corridor.proved - 1e-6)) == (optimum, optimum)
