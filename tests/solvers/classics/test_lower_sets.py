"""Canonical strategies: the dynamic program against every sequence of lower sets."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schedule import Compute, example, solve, verify
from schedule.solvers.classics import canonical
from schedule.solvers.classics.canonical import Dag, Family
from schedule.solvers.classics.lower_sets import LowerSets, forward_dag
from schedule.solvers.classics.segments import Forward
from tests.enough import enough, reached
from tests.solvers.classics.test_segments import networks
from tests.strategies import graphs

QUICK = settings(deadline=None, max_examples=60)
OBJECTIVES = ["time", "memory"]


@st.composite
def dags(draw, most=7):
    """Up to seven vertices with sizes and costs, each of which mostly reads earlier ones."""
    count = draw(st.integers(1, most))
    numbers = st.lists(st.integers(0, 9), min_size=count, max_size=count)
    reads = [()]
    for v in range(1, count):
        fewest = draw(st.sampled_from([0, 1, 1, 1, 1, 1]))
        found = draw(st.sets(st.integers(0, v - 1), min_size=fewest, max_size=3))
        reads.append(tuple(sorted(found)))
    return Dag(np.array(draw(numbers), float), np.array(draw(numbers), float), reads)


def subsets(dag):
    """Every set that holds with each vertex all that it reads."""
    found = [frozenset()]
    for v, reads in enumerate(dag.reads):
        found += [some | {v} for some in found if set(reads) <= some]
    return found


def ancestors(dag):
    """The sets that are one vertex with all it depends on, and the whole."""
    found = []
    for v, reads in enumerate(dag.reads):
        found.append(frozenset({v}).union(*(found[u] for u in reads)))
    return [frozenset(), *found, frozenset(range(len(dag.reads)))]


def by_formula(dag, sequence):
    """Overhead and memory of a sequence as section 3 of the paper counts them."""
    edges = [(u, v) for v, reads in enumerate(dag.reads) for u in reads]

    def memory(some):
        return sum(dag.memory[v] for v in some)

    cached, before, overhead, peak = set(), set(), 0, 0
    for lower in sequence:
        part = lower - before
        boundary = {u for u, v in edges if u in lower and v not in lower}
        after = {v for u, v in edges if u in lower}
        beside = {u for u, v in edges if v in after} - lower
        needed = 2 * memory(part) + memory(after - lower) + memory(beside)
        peak = max(peak, memory(cached) + needed)
        overhead += sum(dag.compute[v] for v in part - boundary)
        cached |= boundary
        before = lower
    return overhead, peak


def every_sequence(dag, family):
    """Overhead and memory of every increasing sequence within a family that ends with the whole."""
    whole = frozenset(range(len(dag.reads)))
    found, stack = [], [()]
    while stack:
        sequence = stack.pop()
        last = sequence[-1] if sequence else frozenset()
        if last == whole:
            found.append(by_formula(dag, sequence))
        stack += [(*sequence, more) for more in set(family) if last < more]
    return found


def best_known(found, budget, objective):
    """The best overhead of those within a budget."""
    fitting = [overhead for overhead, peak in found if peak <= budget]
    return min(fitting) if objective == "time" else max(fitting)


def check(dag, family, found):
    """Least budget, and the best overhead at budgets from there up, against all sequences."""
    peaks = sorted({peak for _, peak in found})
    assert family.least_budget() == peaks[0]
    for budget in peaks[:: max(1, len(peaks) // 6)]:
        for objective in OBJECTIVES:
            sequence = family.best(budget, objective)
            sets = [frozenset(np.flatnonzero(family.inside[at]).tolist()) for at in sequence]
            overhead, peak = by_formula(dag, sets)
            assert overhead == family.overhead(sequence) == best_known(found, budget, objective)
            assert peak == family.peak(sequence) <= budget
    assert family.enough("time") >= peaks[0]


@QUICK
@given(dags())
def test_over_all_lower_sets_it_is_exact(dag):
    """By the paper's own formulas, against every sequence: both objectives, all budgets."""
    family = Family(dag, 512)
    assert family.exact
    assert len(family.inside) == len(subsets(dag))
    check(dag, family, every_sequence(dag, subsets(dag)))


@enough(0.14)
@QUICK
@given(dags())
def test_over_ancestors_it_is_exact_for_these_and_no_better_than_over_all(dag):
    """The approximation: against every sequence of such sets, and against the exact program."""
    sets = set(ancestors(dag))
    family, full = Family(dag, len(dag.reads) + 2), Family(dag, 512)
    if not family.exact:
        found = {frozenset(np.flatnonzero(row).tolist()) for row in family.inside}
        assert len(family.inside) == len(found)
        assert found == sets
        reached()
        check(dag, family, every_sequence(dag, sets))
    least = family.least_budget()
    assert least >= full.least_budget()
    for objective, sign in zip(OBJECTIVES, (1, -1)):
        few = family.overhead(family.best(least, objective))
        assert sign * few >= sign * full.overhead(full.best(least, objective))


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("seed", range(5))
def test_where_fronts_are_cut_short_the_sequence_still_keeps_to_the_budget(
    objective, seed, monkeypatch
):
    """By the formula; and it is no better than with whole fronts."""
    rng = np.random.default_rng(seed)
    reads = [tuple(sorted({max(v - 1, 0), max(v - 3, 0)} - {v})) for v in range(40)]
    dag = Dag(rng.integers(1, 99, 40).astype(float), rng.random(40), reads)
    full = Family(dag, 512)
    monkeypatch.setattr(canonical, "_WORK", 1)
    short = Family(dag, 512)
    sign = 1 if objective == "time" else -1
    for share in (1.0, 1.2, 1.5):
        budget = full.least_budget() * share
        cut, whole = short.best(budget, objective), full.best(budget, objective)
        assert short.peak(cut) <= budget
        assert sign * short.overhead(cut) >= sign * full.overhead(whole) - 1e-9


@QUICK
@given(networks(), st.sampled_from([0, 0.5, 1]), st.sampled_from(OBJECTIVES))
def test_a_plan_recomputes_no_more_than_the_formula_says(graph, share, objective):
    """On the whole graph, where the last segment stays and not everything is needed again."""
    forward = Forward(graph)
    dag, vertex = forward_dag(forward)
    family = Family(dag, 64)
    low, high = family.least_budget(), family.enough(objective)
    sequence = family.best(low + share * (high - low), objective)
    part = np.append(family.part_of(sequence), 0)
    trace = forward.plan(part[vertex], "free", whole=True)
    verify(graph, trace.codes)
    assert trace.compute <= graph.compute + family.overhead(sequence)


@QUICK
@given(graphs(min_nodes=1, max_nodes=12))
def test_the_parts_of_a_sequence_follow_one_another(graph):
    """On any graph: nothing reads what a later part writes, views lie with their storage."""
    forward = Forward(graph)
    dag, vertex = forward_dag(forward)
    family = Family(dag, 64)
    part = np.append(family.part_of(family.best(family.least_budget(), "time")), 0)[vertex]
    writers, readers = forward.edges
    assert (part[writers] <= part[readers]).all()
    assert len(dag.reads) == len(np.unique(vertex[vertex >= 0]))


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("layers", [16, 64, 256])
def test_chains_take_root_memory_for_at_most_one_more_forward_pass(layers, objective):
    """About 2 √n tensors, each forward node at most twice: all lower sets are prefixes there."""
    plan = solve(example("chain", layers=layers), solver=LowerSets(objective))
    assert plan.peak <= 2.5 * math.sqrt(layers) + 4
    assert 2 * layers + 1 < plan.compute <= 3 * layers + 2
    runs = [step.node for step in plan.steps if isinstance(step, Compute)]
    assert max(runs.count(name) for name in set(runs)) == 2


@pytest.mark.parametrize("name", ["unet", "resnet", "transformer"])
def test_recomputing_the_most_takes_more_compute_than_the_least(name):
    """On networks, without a budget: memory-centric costs more than time-centric."""
    graph = example(name)
    least, most = (solve(graph, solver=LowerSets(objective)) for objective in OBJECTIVES)
    assert least.compute < most.compute
    assert max(least.peak, most.peak) < solve(graph, solver="store_all").peak


@pytest.mark.parametrize("share", [70, 80, 90])
def test_more_sets_than_even_segments_recompute_less(share):
    """Under a budget, on a network with skips: less overhead than √n's segments."""
    graph = example("resnet")
    budget = solve(graph, solver="store_all").peak * share // 100
    plan, even = solve(graph, budget, "lower_sets"), solve(graph, budget, "sqrt")
    assert plan.peak <= budget
    assert plan.overhead < even.overhead
