"""The bound of spans: never above the optimum of any order, and what a closed form says."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import schedule
from schedule.lowering import needed_in_order
from schedule.solvers.contract import Deadline, Incumbent, Problem
from schedule.solvers.exact.spans import SpanSettings, crossing_memory, prove_spans, spread_out
from schedule.solvers.program.contraction import contract, heaviest_path
from tests.oracles import least_compute
from tests.strategies import graphs


def iterated(steps: int, constants: int, figure=lambda: 1) -> schedule.Graph:
    """x ← Σ f(x, c_i), again and again: all of f's results are there at once for the sum."""
    builder = schedule.GraphBuilder("iterated")

    def node(name, inputs):
        return builder.node(name, inputs, compute=figure(), memory=figure())

    held = [node(f"c{i}", ()) for i in range(constants)]
    x = node("x0", ())
    for step in range(steps):
        parts = [node(f"f{step},{i}", [x, c]) for i, c in enumerate(held)]
        x = node(f"x{step + 1}", parts)
    return builder.build(outputs=[x])


def checked_bound(graph, budget, given) -> float | None:
    """What is proved, held against the oracle, which searches all orders; None: nothing fits."""
    incumbent = Incumbent(problem := Problem(graph, budget, "free"))
    bound = prove_spans(problem, incumbent, Deadline(), given)
    truth = least_compute(graph, budget)
    assert truth is None or max(bound, incumbent.bound) <= truth * (1 + 1e-9)
    return None if truth is None else bound


@settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))
@given(
    graph=graphs(min_nodes=4, max_nodes=7, sizes=st.integers(1, 4)),
    share=st.integers(50, 95),
    intervals=st.integers(1, 2),
)
def test_no_order_takes_less(graph, share, intervals):
    """Of any graph, wherever the cut points lie."""
    assume(graph.layout.needed.any())
    budget = needed_in_order(graph).peak * share // 100
    checked_bound(graph, budget, SpanSettings(8, intervals, least=2, high=0.0, enough=1.0))


def test_no_order_of_iterations_takes_less():
    """Of these, spans prove that something runs twice."""
    random, telling = Random(0), 0
    for _ in range(80):
        graph = iterated(3, 2, lambda: random.randint(1, 4))
        budget = needed_in_order(graph).peak * random.randint(75, 95) // 100
        later = random.choice([0.0, 0.25, 1.0])
        given = SpanSettings(8, random.randint(1, 2), 2, high=0.0, later=later, enough=1.0)
        telling += (checked_bound(graph, budget, given) or 0) > graph.compute + 1e-6
    assert telling >= 8


@pytest.mark.parametrize("kept", [1, 2, 5])
def test_reruns_of_iterations_add_up(kept):
    """Beside all parts of a sum, `kept` of the constants fit: the others are computed again."""
    steps, constants = 12, 6
    graph, budget = iterated(steps, constants), constants + 1 + kept
    incumbent = Incumbent(problem := Problem(graph, budget, "free"))
    bound = prove_spans(problem, incumbent, Deadline()) - graph.compute
    least = (steps - 1) * (constants - kept)
    assert (1 - SpanSettings().later) * (least - (constants - kept)) <= bound <= least
    plan = schedule.solve(graph, budget, "greedy")
    assert plan.compute == graph.compute + least


def test_what_crosses_is_there_in_every_order():
    """No schedule that keeps everything has less in use while a node of the path first runs."""
    graph = iterated(4, 3)
    contraction = contract(graph)
    path = np.array(heaviest_path(contraction, np.ones(contraction.n_operations)))
    crossing = crossing_memory(graph, contraction, path)
    plain = needed_in_order(graph)
    during = plain.during[plain.codes >= 0]
    assert (crossing <= during[contraction.nodes[path]]).all()
    # While a sum runs: what it reads, its result, and the constants, as long as there are readers.
    sums = [at for at, v in enumerate(path) if graph.nodes[contraction.nodes[v]].name[0] == "x"]
    assert crossing[sums[-4:]].tolist() == [7, 7, 7, 4]


def test_cut_points_are_apart_and_where_the_budget_is_exceeded():
    """The highest first; none beside another."""
    crossing = np.array([9, 8, 1, 7, 9, 9, 2, 9])
    assert spread_out(crossing, 5, 4).tolist() == [0, 4, 7]
    assert spread_out(crossing, 8, 8).tolist() == [0, 4, 5, 7]
    assert spread_out(crossing, 9, 8).tolist() == []
