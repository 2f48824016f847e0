"""Sections of a sequence run again as one: what they hold, and what becomes of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from schedule import example, solve, verify
from schedule.lowering import in_order, replayed
from schedule.memory import keeps_order
from schedule.solvers.annealing.sections.coarse import Coarse, SectionSettings
from schedule.solvers.annealing.sections.model import expanded, sampled, sections_of
from schedule.solvers.annealing.sections.moves import (
    COMPUTE,
    NOW,
    OF_BEST,
    PEAK,
    SQUARES,
    VALUE,
    Walk,
    anneal,
)
from schedule.solvers.contract import Deadline
from schedule.solvers.eviction.fitting import RULES, fit
from schedule.solvers.kit.randomness import random_of
from schedule.solvers.program.operations import node_runs, operations_of
from tests.enough import enough, reached
from tests.strategies import graphs

slow = settings(
    deadline=None,
    max_examples=30,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
each_order = pytest.mark.parametrize("order", ["free", "fixed"])
ANY = graphs(min_nodes=1, max_nodes=14)


#: Rounds of few moves.
QUICK = SectionSettings(moves=480)
MOST, HOW = QUICK.bundles, QUICK.how


def operations_of_any(graph, order="free"):
    """The operations of a graph that has some."""
    operations = operations_of(graph, order)
    assume(len(operations.nodes) > 0)
    return operations


@st.composite
def section_runs(draw, count):
    """Every section in turn, and some of them again, anywhere behind their first run."""
    runs = list(range(count))
    for _ in range(draw(st.integers(0, 8))):
        at = draw(st.integers(1, len(runs)))
        runs.insert(at, draw(st.integers(0, max(runs[:at]))))
    return np.array(runs)


def measured(sections, runs):
    """The runs that have a use, their compute, sum of squared excess, and peak."""
    walk = Walk.of(sections, runs, random_of(0))
    anneal(sections, walk, 0, 1.0, 1.0, HOW)
    left = walk.runs[: walk.numbers[NOW]].copy()
    return left, *walk.reals[[COMPUTE, SQUARES, PEAK]].tolist()


def annealed(sections, runs, moves):
    """The best runs met, and their objective."""
    walk = Walk.of(sections, runs, random_of(3), HOW.longest)
    anneal(sections, walk, moves, 0.1, 0.01, HOW)
    return walk.best[: walk.numbers[OF_BEST]].copy(), float(walk.reals[VALUE])


def held_in_sections(operations, section, runs):
    """What is held in each place, by the definition: from a write to the last read of it."""
    o, memory = operations, [0] * len(runs)
    for r, size in enumerate(o.size.tolist()):
        home = section[o.producer[r]] if o.producer[r] >= 0 else -1
        readers = {
            section[v]
            for v in range(len(o.nodes))
            if r in o.reads[o.first_read[v] : o.first_read[v + 1]]
        } - {home}
        writes = [p for p, s in enumerate(runs.tolist()) if s == home]
        if writes and not o.may_repeat[o.producer[r]]:
            writes = writes[:1]
        reads = [p for p, s in enumerate(runs.tolist()) if s in readers]
        if o.kept[r]:
            reads.append(len(runs) - 1)
        places = set()
        for read in reads:
            before = [p for p in writes if p < read or (p == read and o.kept[r])]
            places |= set(range(before[-1] if home >= 0 else 0, read + 1))
        for p in places:
            memory[p] += size
    return memory


@slow
@given(data=st.data(), graph=ANY, count=st.sampled_from([1, 2, 3, 5, 10_000]))
def test_sections_hold_what_others_read(data, graph, count):
    """Peak, excess and compute of any runs that all have a use, against the definition."""
    operations = operations_of_any(graph)
    n = len(operations.nodes)
    sections = sections_of(operations, np.arange(n), count, 10, MOST)
    assert sections.first[0] == 0
    assert sections.first[-1] == n
    assert np.all(np.diff(sections.first) > 0)
    section = np.repeat(np.arange(len(sections.cost)), np.diff(sections.first))
    runs, compute, excess, peak = measured(sections, data.draw(section_runs(len(sections.cost))))
    memory = np.array(held_in_sections(operations, section, runs)) / 10
    assert peak == pytest.approx(memory.max())
    assert excess == pytest.approx((np.maximum(memory - 1, 0) ** 2).sum())
    cost = np.bincount(section, operations.cost)
    assert compute == pytest.approx(cost[runs].sum())


@slow
@given(data=st.data(), graph=ANY, count=st.integers(1, 6))
def test_only_runs_without_use_are_left_out(data, graph, count):
    """Every section still runs, in the same order, and nothing costs or holds more."""
    operations = operations_of_any(graph)
    sections = sections_of(operations, np.arange(len(operations.nodes)), count, 10, MOST)
    given_runs = data.draw(section_runs(len(sections.cost)))
    runs, compute, excess, peak = measured(sections, given_runs)
    left = iter(given_runs.tolist())
    assert all(run in left for run in runs.tolist())
    assert set(runs.tolist()) == set(range(len(sections.cost)))
    assert [measured(sections, runs)[k] for k in (1, 2, 3)] == pytest.approx(
        [compute, excess, peak]
    )


@each_order
@slow
@given(data=st.data(), graph=ANY, count=st.integers(1, 8))
def test_runs_of_sections_can_run(order, data, graph, count):
    """Whatever runs again, the replay accepts it: nothing twice that must not be, in order."""
    operations = operations_of_any(graph, order)
    first = np.arange(len(operations.nodes))
    sections = sections_of(operations, first, count, 10, MOST)
    runs = data.draw(section_runs(len(sections.cost)))
    sequence = expanded(sections, operations, first, runs)
    trace = replayed(graph, node_runs(graph, operations, sequence))
    assert set(sequence.tolist()) == set(first.tolist())
    assert order == "free" or keeps_order(trace)


@slow
@given(data=st.data(), graph=ANY)
def test_what_is_annealed_gets_no_worse(data, graph):
    """The best runs met are no worse than the first, and are what they are said to be."""
    operations = operations_of_any(graph)
    budget = data.draw(st.integers(1, 100))
    sections = sections_of(operations, np.arange(len(operations.nodes)), 8, budget, MOST)
    start = np.arange(len(sections.cost))
    _, before = annealed(sections, start, 0)
    best, after = annealed(sections, start, 200)
    assert after <= before
    assert annealed(sections, best, 0)[1] == pytest.approx(after)


@each_order
@slow
@given(graph=ANY, share=st.integers(30, 100))
def test_rounds_find_what_can_run_and_is_the_same_again(order, graph, share):
    """A round's sequence is replayed; another search of the same finds the same."""
    operations = operations_of_any(graph, order)
    budget = in_order(graph).peak * share // 100
    found = []
    for _ in range(2):
        search = Coarse(operations, np.arange(len(operations.nodes)), budget, QUICK)
        found.append([search.round(Deadline()) for _ in range(5)])
    assert all(np.array_equal(a, b) for a, b in zip(*found))
    for sequence in found[0]:
        trace = replayed(graph, node_runs(graph, operations, sequence))
        assert order == "free" or keeps_order(trace)


def test_a_round_that_is_stopped_is_the_program():
    """Stopped before its first move, a round leaves every section where it is."""
    graph = example("layered", nodes=200)
    operations = operations_of(graph, "free")
    program = np.arange(len(operations.nodes))
    stopped = Deadline().unless(lambda: True)
    found = Coarse(operations, program, in_order(graph).peak // 2, SectionSettings()).round(stopped)
    assert np.array_equal(found, program)


@enough(0.2)
@given(
    st.sampled_from([1, 40]).flatmap(
        lambda least: st.lists(st.floats(0.1, 1e6), min_size=least, max_size=300)
    ),
    st.integers(1, 30),
)
def test_a_sample_stands_for_all(sizes, most):
    """Of a sum up to any place the sample is wrong by one threshold at most, which few exceed."""
    size = np.array(sizes)
    sample, which = sampled(size, most)
    assert len(which) <= max(most, 1) + 1
    assert np.all(np.diff(which) > 0)
    threshold = sample.min()
    if len(which) < len(size):
        reached()
        assert np.all(sample == np.maximum(size[which], threshold))
        assert set(np.flatnonzero(size > threshold)) <= set(which.tolist())
    assert np.all(sample[size[which] > threshold] == size[which][size[which] > threshold])
    all_of = np.zeros(len(size))
    all_of[which] = sample
    assert np.all(np.abs(np.cumsum(all_of) - np.cumsum(size)) <= threshold * (1 + 1e-9))


@each_order
def test_skips_over_many_layers_fit_where_sections_run_again(order):
    """Where following the program gets stuck by every rule."""
    graph = example("layered", nodes=4000, layers=200)
    plan = solve(graph, "70%", "greedy", order=order)
    assert plan.status == "feasible"
    program = np.arange(len(graph))
    assert all(fit(graph, program, plan.budget, rule, order) is None for rule in RULES)
    assert verify(graph, plan.schedule, plan.budget).compute == plan.compute
    assert plan.overhead < 6
