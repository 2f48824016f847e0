"""The least peak without recomputation, against exhaustive search."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from schedule import Compute, Graph, example, memory_floor, minimum_budget, solve, verify
from schedule.bounds import reordering_floor
from schedule.lowering import needed_in_order
from schedule.solvers.annealing.flattening import FlatteningSettings
from schedule.solvers.contract import Deadline, Incumbent, Problem
from schedule.solvers.exhaustive import downsets
from schedule.solvers.reorder import Reorder, Reordering
from tests import oracles
from tests.enough import enough, reached
from tests.solvers.exhaustive.test_states import some_graph
from tests.solvers.test_search import shuffled
from tests.strategies import graphs
from tests.test_bounds import pyramid, tree

SMALL = graphs(min_nodes=1, max_nodes=6, max_inputs=2, sizes=st.integers(0, 6))
WIDE = graphs(min_nodes=8, max_nodes=30)
slow = settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


#: A tenth of the moves.
FEW = FlatteningSettings(moves=50)
QUICK = Reorder(settings=FEW)


@pytest.fixture
def no_search(monkeypatch):
    """As on graphs that are too wide to be searched exhaustively."""
    monkeypatch.setattr(downsets, "_MOST_RUNS", 0)


def least_peak(graph):
    """The least peak over all orders, by the oracle: the least budget where nothing may rerun."""
    nodes = [dataclasses.replace(node, recomputable=False) for node in graph.nodes]
    return oracles.least_budget(Graph(nodes, graph.inputs, graph.outputs))


def runs_of(plan):
    return Counter(step.node for step in plan.steps if isinstance(step, Compute))


@slow
@given(SMALL)
def test_small_graphs_are_solved_exactly(graph):
    """The peak is the oracle's, with every needed node once, and is proved to be the least."""
    plan, least = solve(graph, solver="reorder"), least_peak(graph)
    assert verify(graph, plan.schedule).peak == least
    assert runs_of(plan) == Counter(oracles.needed_nodes(graph))
    limits = minimum_budget(graph, recompute=False)
    assert (limits.known, limits.needed) == (least, least)


@enough(0.27)
@settings(slow, max_examples=30)
@given(SMALL)
def test_a_budget_fits_from_the_least_peak_on(graph):
    """One unit less doesn't, and only what is proved with recomputation, too, is infeasible."""
    least = least_peak(graph)
    assert solve(graph, least, "reorder").status == "optimal"
    assume(least)
    reached()
    below = solve(graph, least - 1, "reorder")
    assert below.schedule is None
    if below.status == "infeasible":
        assert oracles.least_compute(graph, least - 1) is None
    else:
        assert below.shortfall.least_peak == least


@slow
@given(SMALL)
def test_no_order_beats_the_floor(graph):
    """It lies between the floor of all schedules and the least peak without recomputation."""
    assert memory_floor(graph).memory <= reordering_floor(graph) <= least_peak(graph)


@slow
@given(WIDE, st.integers(0, 5))
def test_no_order_of_a_larger_graph_beats_the_floor(graph, seed):
    """Tried on random orders, and on the one that the exhaustive search finds."""
    floor = reordering_floor(graph)
    assert floor <= needed_in_order(shuffled(graph, seed)).peak
    found = downsets.least_peak(graph, floor)
    assert floor <= found.needed <= needed_in_order(graph).peak


@pytest.mark.parametrize("make", [pyramid, tree])
@pytest.mark.parametrize("height", [1, 2, 3, 4])
def test_pyramids_and_trees_need_their_height_and_two(make, height):
    """A peak that recomputation can't beat either (Cook 1974), whatever the order of the nodes."""
    limits = minimum_budget(shuffled(make(height), height), recompute=False)
    assert (limits.known, limits.needed) == (height + 2, height + 2)


@pytest.mark.usefixtures("no_search")
@pytest.mark.parametrize("make", [pyramid, tree])
@pytest.mark.parametrize("height", [2, 3, 4])
def test_annealing_finds_the_order_of_pyramids_and_trees(make, height):
    """Without the exhaustive search."""
    assert solve(shuffled(make(height), height), solver=QUICK).peak == height + 2


@slow
@given(WIDE)
def test_annealing_stays_between_the_least_peak_and_the_program(no_search, graph):
    """Its peak is that of a replayed order; what it claims to be needed is needed."""
    problem = Problem(graph, None)
    search = Reordering(problem, Incumbent(problem), Deadline(), FEW)
    search.run()
    assert search.needed <= search.trace.peak <= needed_in_order(graph).peak
    assert np.array_equal(search.trace.runs, graph.layout.needed)


@pytest.mark.usefixtures("no_search")
def test_annealing_finds_the_least_peak_of_most_small_graphs():
    """Against the oracle, on graphs whose own order takes more; and never less than that."""
    found = wanted = 0
    for seed in range(80):
        graph = some_graph(seed, fewest=8, most_tensors=11)
        least = least_peak(graph)
        if least < needed_in_order(graph).peak:
            peak = solve(graph, solver=QUICK).peak
            assert peak >= least
            wanted += 1
            found += peak == least
    assert found >= wanted * 9 // 10 > 0


@pytest.mark.usefixtures("no_search")
def test_same_seed_same_schedule():
    """Where the time limit doesn't end it."""
    graph = shuffled(tree(4), 1)
    first, again = (solve(graph, solver=QUICK, seed=3) for _ in range(2))
    assert first.schedule == again.schedule


def test_the_given_order_leaves_no_choice():
    """It is the program as it is, and that is proved."""
    graph = example("diamonds")
    own = needed_in_order(graph).peak
    assert solve(graph, solver="reorder", order="fixed").peak == own
    limits = minimum_budget(graph, order="fixed", recompute=False)
    assert (limits.known, limits.needed) == (own, own)
    assert minimum_budget(graph, recompute=False).known < own // 2


def test_a_stop_leaves_the_program_as_it_is():
    """Without any seconds nothing is tried, and nothing beyond the floor is proved."""
    graph = example("diamonds")
    problem = Problem(graph, None)
    search = Reordering(problem, Incumbent(problem), Deadline().unless(lambda: True))
    search.run()
    assert search.trace.peak == needed_in_order(graph).peak
    assert search.needed == memory_floor(graph).memory


class Clock:
    """Says that the time is up from its n-th question on."""

    def __init__(self, questions):
        self.left = questions

    def __call__(self):
        self.left -= 1
        return self.left < 0


@slow
@given(graph=WIDE, questions=st.integers(0, 200))
def test_a_floor_that_is_stopped_is_still_one(graph, questions):
    """Whenever it is stopped: a floor, and the next one is what it would have been."""
    whole = reordering_floor(Graph(graph.nodes, graph.inputs, graph.outputs))
    stopped = reordering_floor(graph, Clock(questions))
    assert stopped in (memory_floor(graph).memory, whole)
    assert reordering_floor(graph) == whole


@enough(0.3)
@slow
@given(graph=WIDE, questions=st.integers(0, 20))
def test_a_search_that_is_stopped_proves_no_more(graph, questions):
    """Whenever it is stopped: nothing above what the whole search proves."""
    whole = downsets.least_peak(graph, 0)
    stopped = downsets.least_peak(graph, 0, Deadline().unless(Clock(questions)))
    assert stopped.needed <= whole.needed
    if stopped.runs is not None:
        reached()
        assert stopped.needed == whole.needed


def test_a_search_that_can_not_end_is_not_begun():
    """Sets of so many nodes would take gigabytes: what is known before stands."""
    graph = example("chain", layers=8000)
    assert downsets.least_peak(graph, 5) == downsets.Found(None, 5)
