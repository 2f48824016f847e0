"""Curves of one graph on several machines: each says what it can about the others."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import schedule
from schedule import Level, errors
from schedule.budgets.machines import is_no_worse
from schedule.memory import simulate
from schedule.steps import encode
from tests.strategies import graphs, machine_steps, machines


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_schedule_takes_longer_on_a_machine_that_is_no_worse(data):
    """Faster links, less latency, more room, another level: in any mixture."""
    graph = data.draw(graphs(min_nodes=1, max_nodes=6))
    levels = data.draw(machines(2))
    steps = data.draw(machine_steps(graph, levels))
    faster = [
        replace(
            level,
            capacity=level.capacity + data.draw(st.integers(0, 9)),
            down=level.down * data.draw(st.sampled_from([1, 1.5, 7])),
            up=level.up * data.draw(st.sampled_from([1, 1.5, 7])),
            latency=level.latency / data.draw(st.sampled_from([1, 2])),
        )
        for level in levels
    ]
    more = [Level("more", 9, 1, 1)] if data.draw(st.booleans()) else []
    assert is_no_worse([*faster, *more], levels)
    codes = encode(graph, steps)
    before, after = (simulate(graph, codes, each) for each in (levels, [*faster, *more]))
    assert after.makespan <= before.makespan * (1 + 1e-12)
    assert after.peak == before.peak


def test_what_is_better_in_one_thing_alone_is_not_better():
    """Neither is no worse than the other, where one link is faster and one host is larger."""
    large, fast = Level("host", 9, 1, 1), Level("host", 8, 2, 2)
    assert not is_no_worse([large], [fast])
    assert not is_no_worse([fast], [large])
    assert is_no_worse([large], [])
    assert not is_no_worse([], [large])


@pytest.mark.parametrize("turned", [False, True])
def test_no_curve_is_above_that_of_a_machine_that_is_no_better(turned):
    """With so little work that solves by themselves differ, in whichever order they are asked."""
    graph = schedule.example("unet")
    rate = schedule.solve(graph, solver="store_all").peak / graph.compute
    room = int(rate * graph.compute)
    rates = [0, 0.02, 0.1, 0.11, 0.5]
    machines = {
        f"{by}": Level("host", room, by * rate, by * rate) if by else None
        for by in (rates[::-1] if turned else rates)
    }
    curves = schedule.sweeps(
        graph, machines, points=4, start="60%", work_limit=0.3, workers=1, time_limit=60
    )
    assert list(curves) == list(machines)
    by_rate = [curves[f"{by}"] for by in rates]
    for slow, fast in pairwise(by_rate):
        for one, other in zip(slow.points, fast.points):
            assert one.lower_bound >= other.lower_bound
            assert (one.solver, other.solver) == (slow.solver, fast.solver)
            if one.schedule is not None:
                assert one.objective >= other.objective
                schedule.verify(graph, one, one.budget)
    fewest, most = by_rate[0].points[0], by_rate[-1].points[0]
    assert most.objective < fewest.objective


def test_what_is_no_curve_of_the_graph_is_refused():
    """Another graph, another order, no sweep, no machines."""
    graph, other = (schedule.example("chain", layers=n) for n in (3, 4))
    curve = schedule.sweep(other, points=2)
    with pytest.raises(errors.BadOption, match="others holds a sweep of another graph"):
        schedule.sweep(graph, points=2, others=[curve])
    with pytest.raises(errors.BadOption, match="others holds a sweep in order 'free'"):
        schedule.sweep(other, points=2, others=[curve], order="fixed")
    with pytest.raises(errors.BadOption, match="others is to hold sweeps, not 3"):
        schedule.sweep(other, points=2, others=3)
    with pytest.raises(errors.BadOption, match="machines is"):
        schedule.sweeps(graph, {})
