"""The staged program with a host: a relaxation of every schedule on two levels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import schedule
from schedule import Compute, Free, Level, Offload, Prefetch
from schedule.lowering import needed_in_order
from schedule.makespan import level_floor
from schedule.solvers.contract import Deadline
from schedule.solvers.exact.cut_points import boundary_cut, cut_candidates, excess_of, worst_cut
from schedule.solvers.exact.highs import Outcome, minimise
from schedule.solvers.exact.model import free_windows
from schedule.solvers.offloading.staged import OffloadModel
from schedule.solvers.program.contraction import contract
from tests.enough import enough, reached
from tests.strategies import graphs, machines
from tests.test_makespan import SMALL, between, least, there_and_back


def proved(graph, budget, host, cuts):
    """What the program with these cut points proves."""
    contraction = contract(graph)
    model = OffloadModel(graph, contraction, free_windows(contraction, cuts), budget, host)
    answer = minimise(model.program, deadline=Deadline())
    assert answer.outcome is not Outcome.STOPPED
    return model.longest if answer.outcome is Outcome.INFEASIBLE else model.proved(answer.bound)


@enough(0.05)
@settings(max_examples=30, deadline=None)
@given(st.data())
def test_no_schedule_beats_the_program(data):
    """Whatever the cut points on a path, the budget, the link and the host's capacity."""
    graph = data.draw(st.one_of(there_and_back(), there_and_back(), graphs(min_nodes=3, **SMALL)))
    (host,) = data.draw(machines(1, capacities=st.integers(0, 20)))
    low, peak = level_floor(graph, (host,)).memory, needed_in_order(graph).peak
    assume(low < peak)
    budget = data.draw(st.integers(low, low + (peak - 1 - low) // 2))
    contraction = contract(graph)
    assume(len(contraction.nodes))
    excess = excess_of(contraction, needed_in_order(graph), budget)
    candidates = cut_candidates(contraction, "free", excess)
    some = data.draw(
        st.one_of(st.just(candidates), st.sets(st.sampled_from(candidates), min_size=1))
    )
    bound = proved(graph, budget, host, np.array(sorted(some), np.int64))
    if bound <= graph.compute * (1 + 1e-9):
        return
    found = least(graph, budget, host, 3000)
    reached()
    assert found is None or bound <= found * (1 + 1e-6)


def test_the_program_knows_what_copies_take():
    """Worked out by hand: 8 have to go down in 4 and come up in 2, and nothing hides that."""
    graph, budget, (host,) = between(2, 4)
    cuts = np.array([1, 2], np.int64)
    bound = proved(graph, budget, host, cuts)
    assert graph.compute < bound <= 19 * (1 + 1e-6)
    fast = replace(host, down=1e6, up=1e6)
    assert proved(graph, budget, fast, cuts) <= bound
    assert isinstance(host, Level)


def test_idling_for_a_moment_is_no_infeasibility():
    """A copy of 6 units beside a compute of a billion: no schedule is said to be impossible."""
    graph = schedule.Graph(
        (
            schedule.Node("a", (), (schedule.Tensor("a", 1),), compute=0, recomputable=False),
            schedule.Node("b", ("a",), (schedule.Tensor("b", 0),), compute=0, recomputable=False),
            schedule.Node("y", ("x",), (schedule.Tensor("y", 0),), compute=10**9),
        ),
        [schedule.Input("x", 3, freeable=True)],
    )
    host = Level("host", 3, down=0.5, up=0.5)
    steps = [Offload("x"), Free("x"), Compute("a"), Compute("b"), Free("a"), Prefetch("x")]
    found = schedule.verify(graph, [*steps, Compute("y")], 3, host).makespan
    assert proved(graph, 3, host, np.array([0, 1])) <= found


@pytest.mark.parametrize("name", ["unet", "transformer", "resnet"])
def test_one_cut_point_proves_most_where_memory_is_worst(name):
    """More than one at the boundary of the passes does, over a link that copies a part in time."""
    graph = schedule.example(name)
    plain, whole = needed_in_order(graph), contract(graph)
    budget, rate = plain.peak // 2, 0.2 * plain.peak / graph.compute
    host = Level("host", 10 * plain.peak, rate, rate)
    excess = excess_of(whole, plain, budget)
    candidates = cut_candidates(whole, "free", excess)
    cuts = boundary_cut(graph, whole, candidates, excess), worst_cut(candidates, excess)
    at_boundary, at_worst = (proved(graph, budget, host, np.array([cut])) for cut in cuts)
    assert graph.compute < at_boundary < at_worst
