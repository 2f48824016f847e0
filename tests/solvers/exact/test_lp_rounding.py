"""Checkmate's approximation: what rounding must keep, and what the relaxation proves."""

from __future__ import annotations

from math import comb
from statistics import geometric_mean

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from schedule import Graph, Node, Tensor, example, solve, verify
from schedule.errors import BadOption
from schedule.lowering import in_order, replayed
from schedule.solvers.contract import Deadline
from schedule.solvers.exact.completion import complete
from schedule.solvers.exact.highs import Outcome, minimise
from schedule.solvers.exact.lp_rounding import LpRounding
from schedule.solvers.exact.model import StagedModel, fixed_windows
from schedule.solvers.exact.relaxation import relax
from schedule.solvers.exact.staged_runs import lay_out
from schedule.solvers.program.contraction import contract
from tests.enough import enough, reached
from tests.oracles import least_budget, least_compute
from tests.strategies import graphs

SMALL = graphs(
    min_nodes=2, max_nodes=6, max_inputs=2, sizes=st.integers(0, 6), costs=st.integers(0, 5)
)
ROUNDINGS = [
    LpRounding(),
    LpRounding(allowance=0.1, thresholds=(0.2, 0.5)),
    LpRounding(rounding="randomised", samples=4),
]
slow = settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))


def revolve(length: int, budget: int) -> int:
    """Least compute of the training chain (Griewank & Walther 2000, doi:10.1145/347837.347846)."""
    steps, checkpoints = length + 1, budget - 2
    if budget >= length + 2:
        return 2 * length + 1
    repeats = next(r for r in range(steps) if comb(checkpoints + r, checkpoints) >= steps)
    return steps + repeats * steps - comb(checkpoints + repeats, checkpoints + 1)


@pytest.mark.parametrize("order", ["free", "fixed"])
@pytest.mark.parametrize("solver", ROUNDINGS, ids=["default", "allowance", "randomised"])
@enough(0.1)
@slow
@given(graph=SMALL, share=st.integers(50, 99))
def test_the_truth_lies_between_bound_and_plan(solver, order, graph, share):
    """Against exhaustive search; what is said to be needed is no more than what is."""
    budget = in_order(graph).peak * share // 100
    plan = solve(graph, budget, solver, order=order)
    truth = least_compute(graph, budget, order)
    if plan.schedule is not None:
        reached()
        verify(graph, plan.schedule, budget)
        assert plan.lower_bound <= truth <= plan.compute
    elif plan.status == "infeasible":
        assert truth is None
        if order == "free":
            assert plan.shortfall.needed <= least_budget(graph)


@enough(0.24)
@slow
@given(data=st.data())
def test_whatever_is_to_be_held_there_is_a_plan(data):
    """Completed, any choice can be laid out: every rule of the memory model holds."""
    graph = data.draw(graphs(min_nodes=2, max_nodes=12))
    contraction = contract(graph)
    places = np.flatnonzero(~contraction.is_view).tolist()
    assume(places)
    reached()
    cuts = data.draw(st.lists(st.sampled_from(places), min_size=1, max_size=4, unique=True))
    windows = fixed_windows(contraction, np.array(sorted(cuts)))
    model = StagedModel(graph, contraction, windows, in_order(graph).peak)
    seed = data.draw(st.integers(0, 2**32))
    chosen = (np.random.default_rng(seed).random(model.hold.shape) < 0.4) & (model.hold >= 0)
    held = complete(graph, contraction, windows, chosen)
    assert held[chosen].all()
    assert (model.hold[held] >= 0).all()
    assert np.array_equal(complete(graph, contraction, windows, held), held)
    first = [np.flatnonzero(windows.earliest == k) for k in range(model.intervals)]
    trace = replayed(graph, lay_out(graph, contraction, first, held).runs)
    verify(graph, trace.codes)
    assert (trace.runs[graph.layout.needed] >= 1).all()


def test_what_must_not_run_twice_is_held_to_its_last_reader():
    """Nothing asked for: `once` stays from its run to both ends, `again` is made twice."""
    graph = Graph(
        [
            Node("once", (), (Tensor("once", 4),), 1, recomputable=False),
            Node("again", ("once",), (Tensor("again", 4),), 1),
            Node("middle", ("again",), (Tensor("middle", 1),), 1),
            Node("late", ("middle",), (Tensor("late", 1),), 1),
            Node("end", ("late", "again"), (Tensor("end", 1),), 1),
        ]
    )
    contraction = contract(graph)
    windows = fixed_windows(contraction, np.array([2, 3, 4]))
    held = complete(graph, contraction, windows, np.zeros((4, 5), dtype=bool))
    assert held[1:, 0].all()
    assert not held[:, 1:].any()
    runs = lay_out(graph, contraction, [np.array([0, 1]), *np.array([[2], [3], [4]])], held).runs
    assert np.bincount(runs).tolist() == [1, 4, 3, 2, 1]


@pytest.mark.parametrize("length", [5, 8])
def test_on_chains_the_closed_form_lies_between_bound_and_plan(length):
    """Every budget of the training chain is met, at no less than Revolve's compute."""
    graph = example("chain", layers=length)
    for budget in range(3, length + 2):
        plan = solve(graph, budget, "lp_rounding", order="fixed")
        assert plan.peak <= budget
        assert plan.lower_bound <= revolve(length, budget) <= plan.compute


def test_where_the_relaxation_is_integral_the_plan_is_the_optimum():
    """On the chain with six tensors or more, one cut point is enough for a whole solution."""
    graph = example("chain", layers=8)
    contraction = contract(graph)
    windows = fixed_windows(contraction, np.array([graph.layout.boundary]))
    for budget in range(6, 10):
        found = relax(StagedModel(graph, contraction, windows, budget), Deadline.after(20))
        assert np.allclose(found.x, found.x.round())
        plan = solve(graph, budget, "lp_rounding", order="fixed")
        assert (plan.status, plan.compute) == ("optimal", revolve(8, budget))


def test_a_relaxation_bounds_its_program_and_an_allowance_never_lowers_it():
    """Against the integer program of the same model, with ever more of the budget kept back."""
    graph = example("unet")
    contraction = contract(graph)
    windows = fixed_windows(
        contraction, np.array([graph.layout.boundary, graph.layout.boundary + 8])
    )
    model = StagedModel(graph, contraction, windows, in_order(graph).peak * 7 // 10)
    whole = model.compute(minimise(model.program, deadline=Deadline.after(20)).bound)
    found = [relax(model, Deadline.after(20), allowance) for allowance in (0.0, 0.05, 0.1, 0.2)]
    assert graph.compute < found[0].bound <= found[0].compute <= whole
    assert [each.compute for each in found] == sorted({each.compute for each in found})
    assert all(each.bound == -np.inf for each in found[1:])  # they prove nothing
    assert relax(model, Deadline.after(20), 0.999).outcome is Outcome.INFEASIBLE


def test_it_is_close_to_the_optimum_on_a_u_net():
    """As the paper reports: 1.00 to 1.06 times the optimum's compute."""
    graph = example("unet")
    ratios = []
    for share in (90, 80, 70, 60):
        optimum = solve(graph, f"{share}%", "ilp", order="fixed")
        assert optimum.status == "optimal"
        plan = solve(graph, f"{share}%", "lp_rounding", order="fixed")
        assert plan.lower_bound <= optimum.compute <= plan.compute
        ratios.append(plan.compute / optimum.compute)
    assert geometric_mean(ratios) <= 1.06


def test_it_saves_memory_by_recomputing():
    """On the training chain, at half the memory: a lower peak and more compute than keeping all."""
    graph = example("chain", layers=40)
    keep = solve(graph, solver="store_all")
    plan = solve(graph, "50%", "lp_rounding")
    assert plan.peak <= keep.peak // 2
    assert plan.compute > keep.compute


def test_the_same_seed_rounds_to_the_same_plan():
    """Rounded at random, seeds differ among each other and never from themselves."""
    graph = example("unet")
    solver = LpRounding(rounding="randomised", samples=2, allowance=0.1)
    plans = [solve(graph, "60%", solver, seed=seed).schedule for seed in (0, 1, 2, 0, 1, 2)]
    assert plans[:3] == plans[3:]
    assert plans[0] != plans[1] or plans[1] != plans[2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rounding": "up"}, "rounding is 'up'; there are deterministic, randomised"),
        ({"allowance": 1.0}, "allowance is 1.0; it has to be from 0 to below 1"),
        ({"allowance": -0.1}, "allowance is -0.1"),
        ({"thresholds": ()}, r"thresholds are \(\)"),
        ({"thresholds": (0.5, 1.0)}, "they have to be from 0 to below 1"),
        ({"samples": 0}, "samples is 0; it has to be 1 or more"),
    ],
)
def test_an_option_out_of_range_is_refused(options, message):
    """Before anything is solved, naming the option."""
    with pytest.raises(BadOption, match=message):
        LpRounding(**options)
