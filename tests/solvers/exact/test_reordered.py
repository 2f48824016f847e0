"""Integer programs in the order of the best schedule."""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, given, settings

from schedule import Graph, GraphBuilder, gradient
from schedule.layout import first_of
from schedule.lowering import needed_in_order, replayed
from schedule.solvers.classics.dtr import Dtr
from schedule.solvers.contract import Clock, Deadline, Incumbent, Problem
from schedule.solvers.exact.refinement import Refinement
from schedule.solvers.exact.reordered import Reordered
from schedule.solvers.exhaustive import states
from tests.strategies import graphs


def branches() -> Graph:
    """The training step of a net with four branches between two layers, twice."""
    g = GraphBuilder()
    x = g.input("x", memory=8)
    for block in range(2):
        ends = []
        for i in range(4):
            y = x
            for layer in range(3):
                y = g.node(f"{block}.{i}.{layer}", y, memory=4 + i, compute=2 + 3 * layer)
            ends.append(y)
        x = g.node(f"{block}.sum", ends, memory=8)
    return gradient(g.build())


def any_order(graph: Graph, seed: int):
    """The nodes in a random order in which they can run."""
    rng, done, order = random.Random(seed), set(), []
    made = {item.name for item in graph.inputs}
    while len(order) < len(graph):
        ready = [v for v, n in enumerate(graph.nodes) if v not in done and made >= set(n.inputs)]
        v = rng.choice(ready)
        done.add(v)
        order.append(v)
        made |= {out.name for out in graph.nodes[v].outputs}
    return order


@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
@given(graphs(min_nodes=3, max_nodes=8))
def test_what_it_finds_is_valid_and_no_better_than_the_optimum(graph):
    budget = states.least_peak(graph, "free").needed
    found = states.least_compute(graph, budget, "free")
    incumbent = Incumbent(problem := Problem(graph, budget, "free"))
    incumbent.offer(found.codes)
    before = incumbent.compute
    Reordered(problem, incumbent).improve(Deadline.after(60))
    assert incumbent.compute == before == pytest.approx(found.bound)


def test_it_finds_the_best_in_the_order_of_the_incumbent():
    graph = branches()
    order = any_order(graph, seed=1)
    other = Graph([graph.nodes[v] for v in order], graph.inputs, graph.outputs)
    budget = needed_in_order(other).peak * 7 // 10
    # A schedule in that order that isn't best, and the optimum in it.
    asked = Problem(other, budget, "fixed")
    best, first = Incumbent(asked), Incumbent(asked)
    Refinement(asked, "fixed", best).run(Deadline.after(120))
    Dtr().improve(asked, first, Deadline.after(60))
    assert first.compute > best.compute
    runs = [order[v] for v in first.trace.codes if v >= 0]
    incumbent = Incumbent(problem := Problem(graph, budget, "free"))
    incumbent.offer(replayed(graph, runs))
    programs = Reordered(problem, incumbent)
    for _ in range(20):
        programs.improve(Deadline.after(60))
    assert incumbent.compute <= best.compute
    found = incumbent.trace.codes[incumbent.trace.codes >= 0]
    assert incumbent.trace.peak <= budget
    assert found[first_of(found)].tolist() == [v for v in order if graph.layout.needed[v]]


def test_in_vain_programs_take_no_more_than_what_passes_between_them(monkeypatch):
    """Beside the first; and no less, so that a long solve asks them again."""
    spent, clock = [], Clock(counts_work=True)

    def run(self, deadline):
        spent.append(3.0)
        clock.spend(3.0)

    monkeypatch.setattr(Refinement, "run", run)
    graph = branches()
    budget = needed_in_order(graph).peak * 7 // 10
    incumbent = Incumbent(problem := Problem(graph, budget, "free"), clock=clock)
    Dtr().improve(problem, incumbent, Deadline.after(60))
    programs, between = Reordered(problem, incumbent), 0.0
    for _ in range(40):
        programs.improve(Deadline.after(60, clock))
        clock.spend(1.0)
        between += 1.0
        assert sum(spent) <= 3.0 + between
    assert sum(spent) >= between - 3.0
