"""Which budgets are possible, and what they cost at least."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schedule import (
    BadInput,
    compute_bound,
    example,
    memory_floor,
    minimum_budget,
    parse_budget,
    solve,
)
from schedule.budgets import limits as limits_module
from schedule.budgets import summary
from schedule.budgets.limits import BudgetLimits
from schedule.budgets.summary import SHARES, Summary
from schedule.frontends.graph_format import graph_from_json, graph_to_json
from schedule.lowering import in_order
from schedule.memory import overhead_of
from schedule.solvers.reorder import Reordering
from tests.enough import enough, reached
from tests.oracles import least_budget, least_compute
from tests.strategies import graphs

SMALL = graphs(
    min_nodes=1, max_nodes=5, max_inputs=2, sizes=st.integers(0, 6), costs=st.integers(0, 5)
)
slow = settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow])


@slow
@given(graph=SMALL)
def test_the_least_budget_lies_between_what_is_needed_and_what_is_known(graph):
    """Exhaustive search finds it there."""
    limits = minimum_budget(graph, time_limit=5)
    assert memory_floor(graph).memory <= limits.needed <= least_budget(graph) <= limits.known
    assert limits.exact == (limits.needed == limits.known)
    assert limits.exact, "such a small graph is searched for it"


@pytest.mark.parametrize("order", ["free", "fixed"])
def test_small_graphs_have_exact_limits(order):
    """Also beyond the memory floor; a solve with one unit less says the same."""
    graph = example("mlp")
    limits = minimum_budget(graph, order=order)
    assert limits.exact
    assert limits.needed > memory_floor(graph).memory
    assert solve(graph, limits.needed, order=order).peak == limits.known
    less = solve(graph, limits.needed - 1, order=order)
    assert less.status == "infeasible"
    assert less.shortfall.least_peak == limits.known
    assert less.shortfall.needed == limits.needed
    assert {less.shortfall.node, limits.node} <= set(graph.layout.node_names)


@pytest.mark.parametrize("order", ["free", "fixed"])
def test_a_chain_needs_three_tensors(order):
    """However long it is: the state, the next one and a gradient."""
    limits = minimum_budget(example("chain", layers=30), order=order)
    assert (limits.known, limits.needed, limits.exact) == (3, 3, True)


def test_options_are_checked():
    """As those of a solve; NumPy's numbers are numbers."""
    graph = example("mlp")
    limits = minimum_budget(graph, time_limit=np.float32(60), seed=np.int64(3))
    assert limits == minimum_budget(graph, seed=3)
    with pytest.raises(BadInput, match="seed is 'x'; it has to be an integer"):
        minimum_budget(graph, seed="x")
    with pytest.raises(BadInput, match="time_limit is nan; it has to be a number of seconds"):
        minimum_budget(graph, recompute=False, time_limit=math.nan)


def test_the_given_order_needs_at_least_as_much():
    """A schedule in the given order is one in any order."""
    graph = example("unet")
    free, fixed = (minimum_budget(graph, order=order, time_limit=3) for order in ("free", "fixed"))
    assert free.needed <= fixed.known
    assert fixed.known <= in_order(graph).peak
    assert solve(graph, fixed.needed - 1, order="fixed", time_limit=5).schedule is None


@enough(0.07)
@slow
@given(graph=SMALL, share=st.integers(50, 100))
def test_the_bound_on_compute_holds(graph, share):
    """No schedule takes less; no bound only where nothing fits."""
    budget = in_order(graph).peak * share // 100
    bound, truth = compute_bound(graph, budget), least_compute(graph, budget)
    if truth is not None:
        reached()
        assert bound <= truth
    assert bound is not None or truth is None


def test_a_gap_ends_the_search_early_and_is_kept():
    """The answer is within the gap, the first that fits will do for an infinite one."""
    graph = example("transformer")
    for gap in (0.02, math.inf):
        plan = solve(graph, "60%", "ilp", gap=gap)
        assert plan.schedule is not None
        assert plan.gap <= gap
    with pytest.raises(BadInput, match="gap is -1"):
        solve(graph, "60%", gap=-1)


def test_a_summary_has_limits_and_bounds_where_there_is_time():
    """None without."""
    graph = example("unet")
    assert Summary.of(graph).to_json()["least_budget"] == {}
    data = Summary.of(graph, time_limit=2).to_json()
    assert set(data["least_budget"]) == {"free", "fixed"}
    assert data["bound_overhead"]["90%"] >= 0


def bound_of(compute, interrupted=False):
    """What a solve says that has nothing but a bound."""
    return SimpleNamespace(lower_bound=compute, interrupted=interrupted)


@pytest.mark.parametrize("proved", [(30, 20, 25), (0, 30, 10), (20, 40, None), (20, None, 30)])
def test_a_bound_holds_at_every_smaller_budget(monkeypatch, proved):
    """So does a proof that nothing fits, which counts for the least budget, too."""
    graph = example("chain", layers=50)
    at = {parse_budget(share, graph): bound for share, bound in zip(SHARES, proved)}
    nothing_known = BudgetLimits("free", in_order(graph).peak, 3, None)
    monkeypatch.setattr(summary, "limited", lambda *_, **__: nothing_known)
    monkeypatch.setattr(summary, "bounded", lambda _, budget, *__: bound_of(at[budget]))
    found = Summary.of(graph, time_limit=1)
    held = [None if None in proved[: k + 1] else max(proved[: k + 1]) for k in range(len(SHARES))]
    assert list(found.bounds.values()) == [
        None if bound is None else overhead_of(graph, bound) for bound in held
    ]
    too_small = max((budget for budget, bound in at.items() if bound is None), default=2)
    assert {limits.needed for limits in (*found.limits, found.reordered)} == {too_small + 1}


@pytest.mark.parametrize(
    ("fixed", "free_known", "fixed_proved"), [((70, 30), 50, (30, "b")), ((45, 10), 45, (20, "a"))]
)
def test_what_is_known_of_one_kind_of_schedules_counts_for_the_others(
    monkeypatch, fixed, free_known, fixed_proved
):
    """A plan of any kind is one in any order, and what is needed in any order each kind needs."""
    apart = {
        ("free", True): BudgetLimits("free", 60, 20, "a"),
        ("fixed", True): BudgetLimits("fixed", *fixed, "b"),
        ("free", False): BudgetLimits("free", 50, 10, None),
    }

    def limits(_, asked, *, recompute=True, known=None):
        found = apart[asked.order, recompute]
        return replace(found, known=min(found.known, known or found.known))

    monkeypatch.setattr(summary, "limited", limits)
    monkeypatch.setattr(summary, "bounded", lambda *_: bound_of(0))
    found = Summary.of(example("chain", layers=50), time_limit=1)
    assert found.limits == (
        BudgetLimits("free", free_known, 20, "a"),
        BudgetLimits("fixed", fixed[0], *fixed_proved),
    )
    assert found.reordered == BudgetLimits("free", 50, 20, "a")


def test_too_small_a_budget_says_what_has_to_be_there_at_once():
    """The tensors named add up to more than the budget, with the node's workspace."""
    graph = example("unet")
    floor = memory_floor(graph)
    plan = solve(graph, floor.memory - 1)
    assert plan.shortfall.tensors == floor.tensors
    workspace = next(node.workspace for node in graph.nodes if node.name == floor.node)
    known = graph.tensors
    assert sum(known[name].memory for name in floor.tensors) + workspace == floor.memory


def test_ctrl_c_in_a_bound_is_told(monkeypatch):
    """A bound that was cut short holds, but it isn't all that could be known."""
    monkeypatch.setattr(summary, "bounded", lambda *_: bound_of(0, interrupted=True))
    assert Summary.of(example("unet"), time_limit=0.5).interrupted


@pytest.mark.parametrize(("name", "sizes"), [("layered", {"nodes": 60}), ("unet", {})])
def test_the_least_budget_known_is_no_more_than_a_quick_solver_finds(name, sizes):
    """Whoever asks `greedy` at half of the memory gets no lower than is known without asking."""
    graph = example(name, **sizes)
    quick = solve(graph, "55%", "greedy", time_limit=5, gap=math.inf)
    assert minimum_budget(graph, time_limit=1.5).known <= quick.peak


@pytest.mark.parametrize("last", [1, 2, 3])
def test_no_solve_follows_one_that_was_interrupted(monkeypatch, last):
    """At the floor, on the way down and after that."""
    asked = []

    def solve_until(*args, **kwargs):
        asked.append(args)
        return replace(solve(*args, **kwargs), interrupted=len(asked) == last)

    monkeypatch.setattr(limits_module, "solve", solve_until)
    assert minimum_budget(example("unet"), time_limit=10).interrupted
    assert len(asked) == last


def test_only_budgets_that_a_peak_can_have_are_tried(monkeypatch):
    """All sizes are thousands: between two of them every budget has the same answer."""
    asked = []

    def unanswered(graph, budget, solver, **options):
        asked.append(budget)
        nothing = {"peak": None, "shortfall": None, "schedule": None}
        return SimpleNamespace(**nothing, out_of_memory=False, interrupted=False)

    monkeypatch.setattr(limits_module, "solve", unanswered)
    chain = graph_to_json(example("chain", layers=40))
    nodes = [node | {"memory": 1000 * node["memory"]} for node in chain["nodes"]]
    limits = minimum_budget(graph_from_json(chain | {"nodes": nodes}), time_limit=0.5)
    assert {budget % 1000 for budget in asked} == {0}
    assert len(set(asked)) > 5
    assert limits.known > limits.needed


def test_ctrl_c_ends_a_summary_and_not_one_part_of_it(monkeypatch):
    """What is known by then is told: after an interrupt no part has any time."""
    graph, seconds = example("unet"), []

    def interrupt(self):
        raise KeyboardInterrupt

    def bound(graph, budget, asked):
        seconds.append(asked.time_limit)
        return bound_of(None)

    monkeypatch.setattr(Reordering, "run", interrupt)
    monkeypatch.setattr(summary, "bounded", bound)
    assert minimum_budget(graph, time_limit=60).interrupted
    found = Summary.of(graph, time_limit=60)
    assert found.interrupted
    assert found.to_json()["interrupted"]
    assert all(limits.interrupted for limits in (found.limits[0], found.reordered))
    assert found.limits[0].known == in_order(graph).peak
    assert max(seconds) <= 1e-3
