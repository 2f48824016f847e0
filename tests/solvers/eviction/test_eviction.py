"""Plans made to fit: what is let go of, and rows for the order of runs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from schedule import example, verify
from schedule.lowering import free_early, in_order
from schedule.memory import keeps_order, simulate
from schedule.solvers.contract import Deadline
from schedule.solvers.eviction.fitting import RULES, fit
from schedule.solvers.exact.highs import Outcome, minimise
from schedule.solvers.exact.model import StagedModel, fixed_windows, free_windows
from schedule.solvers.program.contraction import contract, heaviest_path
from schedule.solvers.program.waste import without_waste
from tests.enough import enough, reached
from tests.oracles import least_compute
from tests.strategies import budget_at, graphs, runs, training_chains

slow = settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
SMALL = graphs(
    min_nodes=3, max_nodes=6, max_inputs=2, sizes=st.integers(0, 6), costs=st.integers(0, 5)
)


@pytest.mark.parametrize("order", ["free", "fixed"])
@enough(0.02)
@slow
@given(data=st.data(), share=st.integers(60, 100), rule=st.sampled_from(RULES))
def test_what_is_made_to_fit_fits(order, data, share, rule):
    """Valid, within the budget, and in the order of first runs where that is fixed."""
    graph = data.draw(st.one_of(graphs(min_nodes=2), training_chains(longest=4)))
    base = np.array(data.draw(runs(graph)), np.int64)
    budget = simulate(graph, free_early(graph, base)).peak * share // 100
    found = fit(graph, base, budget, rule, order)
    if found is None:
        return
    reached()
    trace = verify(graph, free_early(graph, found), budget)
    if order == "fixed" and keeps_order(simulate(graph, free_early(graph, base))):
        assert keeps_order(trace)


def test_letting_go_saves_memory_where_there_is_some_to_save():
    """On the training graphs that are known for it."""
    for name, share in (("unet", 70), ("resnet", 60), ("transformer", 70)):
        graph = example(name)
        plain = in_order(graph)
        base = plain.codes[plain.codes >= 0]
        budget = plain.peak * share // 100
        found = [fit(graph, base, budget, rule) for rule in RULES]
        fitting = [verify(graph, free_early(graph, x), budget) for x in found if x is not None]
        assert fitting
        assert min(trace.overhead for trace in fitting) < 0.5


def test_runs_that_nothing_reads_are_left_out():
    """Twice the program is the program; in a fixed order every first run stays."""
    graph = example("unet")
    once = np.flatnonzero(graph.layout.needed)
    assert without_waste(graph.layout, np.tile(once, 2), "free").tolist() == once.tolist()
    twice = without_waste(graph.layout, np.tile(once, 2), "fixed").tolist()
    assert twice[: len(once)] == once.tolist()


@pytest.mark.parametrize("order", ["free", "fixed"])
@enough(0.02)
@slow
@given(data=st.data(), share=st.integers(0, 100))
def test_rows_for_an_order_keep_the_model_a_relaxation(order, data, share):
    """Whatever the cut points and whatever is put in order, the optimum satisfies the model."""
    graph = data.draw(st.one_of(SMALL, training_chains()))
    assume(graph.layout.needed.any())
    contraction = contract(graph)
    budget = budget_at(graph, share)
    truth = least_compute(graph, budget, order)
    assume(truth is not None)
    count = contraction.n_operations
    places = heaviest_path(contraction, np.ones(count))
    if order == "fixed":
        places = list(range(count))
    places = [v for v in places if not contraction.is_view[v]]
    assume(places)
    reached()
    cuts = np.array(
        sorted(data.draw(st.lists(st.sampled_from(places), min_size=1, max_size=3, unique=True)))
    )
    windows = (fixed_windows if order == "fixed" else free_windows)(contraction, cuts)
    orders = {}
    for k in range(len(cuts) + 1):
        start = {-1 if k == 0 else int(cuts[k - 1])}
        orders[k] = set(range(count)) - start - set(np.flatnonzero(contraction.is_view).tolist())
    inner = [(k, v) for k in orders for v in orders[k]]
    model = StagedModel(graph, contraction, windows, budget, inner, orders)
    answer = minimise(model.program, deadline=Deadline.after(20))
    assert answer.outcome is Outcome.SOLVED
    assert model.compute(answer.bound) <= truth + 1e-6
