"""Beam search in the given order."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schedule import example, verify
from schedule.lowering import in_order, needed_in_order
from schedule.memory import keeps_order
from schedule.solvers.contract import Deadline, Incumbent, Problem
from schedule.solvers.exact.corridor.beam import Beam, BeamSettings
from schedule.solvers.greedy import Greedy
from schedule.solvers.program.operations import operations_of, recomputable
from tests import oracles
from tests.enough import enough, reached
from tests.strategies import graphs, training_chains

SMALL = graphs(
    min_nodes=2, max_nodes=6, max_inputs=2, sizes=st.integers(0, 6), costs=st.integers(0, 5)
).filter(lambda graph: graph.layout.needed.any())
#: Wider than there are states of graphs as small as these.
WIDE = BeamSettings(widths=(1_000,), excess=(2.0,))


def asked(graph, budget, beam=WIDE, deadline=None):
    """The incumbent after beams."""
    incumbent = Incumbent(problem := Problem(graph, budget, "fixed"))
    Beam(problem, incumbent, beam).improve(deadline or Deadline())
    return incumbent


@enough(0.1)
@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
@given(data=st.data(), graph=st.one_of(SMALL, training_chains()))
def test_one_that_keeps_everything_is_exact(data, graph):
    """The optimum of brute force, or nothing where that knows of none, if all may run again."""
    peak = needed_in_order(graph).peak
    budget = data.draw(st.integers(peak * 3 // 4, max(peak - 1, peak * 3 // 4)))
    found, least = asked(graph, budget), oracles.least_compute(graph, budget, "fixed")
    optimum = math.inf if least is None else least
    assert found.compute >= optimum
    operations = operations_of(graph, "fixed")
    if np.array_equal(operations.may_repeat, recomputable(graph, operations)):
        assert found.compute == optimum
    if found.trace is not None:
        assert keeps_order(verify(graph, found.trace.codes, budget))
        reached()


@enough(0.2)
@settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))
@given(
    data=st.data(),
    graph=st.one_of(SMALL, training_chains()),
    width=st.integers(1, 5),
    held=st.sampled_from([0.0, 1.0]),
)
def test_narrow_ones_find_what_fits(data, graph, width, held):
    """Valid, in the given order, within the budget, and never below the optimum."""
    peak = needed_in_order(graph).peak
    budget = data.draw(st.integers(peak * 9 // 10, peak))
    beam = BeamSettings(widths=(width,), held=held, levels=data.draw(st.integers(1, 8)))
    incumbent = asked(graph, budget, beam)
    if incumbent.trace is not None:
        trace = verify(graph, incumbent.trace.codes, budget)
        assert keeps_order(trace)
        assert oracles.least_compute(graph, budget, "fixed") <= trace.compute
        reached()


def test_it_finds_what_fits_where_eviction_does_not():
    """A layered graph with little memory."""
    graph = example("layered", nodes=60, layers=8, seed=1)
    problem = Problem(graph, in_order(graph).peak * 65 // 100, "fixed")
    incumbent = Incumbent(problem)
    Greedy().improve(problem, incumbent, Deadline())
    assert incumbent.trace is None
    Beam(problem, incumbent).improve(Deadline())
    assert incumbent.trace is not None


def test_it_stops_in_time():
    """Between two levels, and is not asked again."""
    graph = example("layered", nodes=60, layers=8, seed=1)
    incumbent = Incumbent(problem := Problem(graph, in_order(graph).peak * 65 // 100, "fixed"))
    beam, looks = Beam(problem, incumbent), iter(range(10))
    beam.improve(Deadline().unless(lambda: next(looks, None) is None))
    assert next(looks, None) is None
    assert incumbent.trace is None
    beam.improve(Deadline())
    assert incumbent.trace is None
