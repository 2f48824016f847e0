"""Retention intervals on CP-SAT: what they find, and what they prove, against oracles."""

from __future__ import annotations

import subprocess
import sys
import time
from math import comb

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from ortools.sat.python import cp_model

from schedule import Graph, Node, Tensor, example, solve, verify
from schedule.bounds import least_compute as every_needed_node_once
from schedule.errors import BadOption
from schedule.lowering import in_order, replayed
from schedule.solvers.contract import Deadline, Incumbent, Problem
from schedule.solvers.exact.cpsat import minimise
from schedule.solvers.exact.deepening import Deepening
from schedule.solvers.exact.hints import warm_start
from schedule.solvers.exact.intervals import Intervals
from schedule.solvers.exact.retention import RetentionModel
from schedule.solvers.program.contraction import contract
from schedule.solvers.program.operations import operations_of
from schedule.solvers.program.waste import without_waste
from tests.hanging import ends
from tests.oracles import least_budget, least_compute
from tests.strategies import graphs, runs

SIZES, COSTS = st.integers(0, 6), st.integers(0, 5)
PLAIN = graphs(min_nodes=2, max_nodes=6, max_inputs=2, views=False, sizes=SIZES, costs=COSTS)
ANY = graphs(min_nodes=2, max_nodes=6, max_inputs=2, sizes=SIZES, costs=COSTS)
slow = settings(deadline=None, max_examples=12, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("order", ["free", "fixed"])
@pytest.mark.parametrize("most", [1, 2])
@slow
@given(graph=PLAIN, share=st.integers(40, 99))
def test_small_graphs_are_decided_as_exhaustive_search_decides_them(most, order, graph, share):
    """Optimal, or infeasible with no more said to be needed than is, whatever C begins with.

    In the given order, reruns without end may be needed to show that nothing fits, as no
    model has them all: such a question (about one in 300) may stay open, and no other.
    """
    budget = in_order(graph).peak * share // 100
    truth = least_compute(graph, budget, order)
    open_ended = truth is None and order == "fixed"
    limit = 2 if open_ended else 60
    plan = solve(graph, budget, Intervals(most), order=order, workers=1, time_limit=limit)
    if truth is None:
        assert plan.status == "infeasible" or (open_ended and plan.status == "unknown")
        assert order == "fixed" or plan.shortfall.needed <= least_budget(graph)
        return
    verify(graph, plan.schedule, budget)
    assert every_needed_node_once(graph) <= plan.lower_bound <= truth
    assert plan.status == "optimal"
    assert plan.compute == truth


@pytest.mark.parametrize("order", ["free", "fixed"])
@slow
@given(graph=ANY, share=st.integers(40, 99))
def test_with_views_the_truth_lies_between_bound_and_plan(order, graph, share):
    """Where a storage has views that aren't free it may stay open, but nothing false is proved."""
    budget = in_order(graph).peak * share // 100
    plan = solve(graph, budget, "intervals", order=order, workers=1, time_limit=10)
    truth = least_compute(graph, budget, order)
    if truth is None:
        assert plan.status in ("infeasible", "unknown")
        return
    assert plan.lower_bound <= truth
    assert plan.schedule is None or truth <= plan.compute


@pytest.mark.parametrize("order", ["free", "fixed"])
@slow
@given(data=st.data())
def test_a_model_has_every_schedule_at_its_own_peak(order, data):
    """Any order of runs, told to the model, fits its peak, and nothing less but for the start."""
    sizes = st.integers(1, 9)
    graph = data.draw(graphs(min_nodes=1, max_nodes=6, views=False, sizes=sizes))
    chosen = [v for v in data.draw(runs(graph)) if graph.layout.needed[v]]
    assume(chosen)
    trace = replayed(graph, without_waste(graph.layout, np.array(chosen), order))
    chosen = trace.codes[trace.codes >= 0].tolist()
    for missing in range(1 + (trace.during.max() > trace.start)):
        model = _model_of(graph, order, trace, trace.peak - missing)
        solver = cp_model.CpSolver()
        solver.parameters.fix_variables_to_their_hinted_value = True
        solver.parameters.num_workers = 1
        status = solver.solve(model.program)
        assert (status == cp_model.OPTIMAL) == (missing == 0)
        if missing == 0:
            assert solver.objective_value == len(chosen) - len(set(chosen))
            again = replayed(graph, contract(graph).nodes[model.sequence(solver.value)])
            assert again.peak == trace.peak


def _model_of(graph, order, trace, budget):
    """A model that allows as many reruns as there are, each at a cost of 1."""
    operations = operations_of(graph, order)
    reruns = [int(trace.runs[v]) - 1 for v in operations.nodes.tolist()]
    capacity = budget - graph.layout.resident_memory
    model = RetentionModel(
        operations, [1] * len(reruns), reruns, sum(reruns), None, capacity, order == "fixed"
    )
    assert warm_start(model, operations.sequence(trace.codes[trace.codes >= 0]).tolist())
    return model


def revolve(length: int, budget: int) -> int:
    """Least compute of the training chain (Griewank & Walther 2000, doi:10.1145/347837.347846)."""
    steps, checkpoints = length + 1, budget - 2
    if budget >= length + 2:
        return 2 * length + 1
    repeats = next(r for r in range(steps) if comb(checkpoints + r, checkpoints) >= steps)
    return steps + repeats * steps - comb(checkpoints + repeats, checkpoints + 1)


def test_on_chains_it_comes_to_the_closed_form():
    """There some nodes have to run more often than the first models allow."""
    for budget in (3, 4, 6):
        plan = solve(example("chain", layers=5), budget, "intervals", order="fixed", workers=1)
        assert (plan.status, plan.compute) == ("optimal", revolve(5, budget))


def test_sizes_beyond_64_bits_still_get_a_plan():
    """They are rounded up, the budget down: what comes of it fits, and nothing false is proved."""
    sizes = [2**56 + k for k in (1, 5, 12, 3, 8, 2, 1)]
    reads = [(), ("0",), ("1", "0"), ("2",), ("3", "1"), ("4",), ("5", "0")]
    nodes = [
        Node(str(at), read, (Tensor(str(at), size),), 1 + at)
        for at, (read, size) in enumerate(zip(reads, sizes))
    ]
    graph = Graph(nodes)
    budget = in_order(graph).peak - 2**55
    plan = solve(graph, budget, "intervals", order="fixed", workers=1)
    truth = least_compute(graph, budget, "fixed")
    assert plan.lower_bound <= truth <= plan.compute
    assert plan.peak <= budget


def test_costs_that_are_no_integers_are_decided_too():
    """Costs are rounded down to a fine unit; the bound is within the planner's tolerance."""
    graph = Graph(
        [
            Node("a", (), (Tensor("a", 3),), 0.1),
            Node("b", ("a",), (Tensor("b", 3),), 0.7),
            Node("c", ("b",), (Tensor("c", 3),), 1 / 3),
            Node("d", ("c", "a"), (Tensor("d", 3),), 0.2),
        ]
    )
    for budget in (9, 8):
        plan = solve(graph, budget, "intervals", order="fixed", workers=1)
        truth = least_compute(graph, budget, "fixed")
        assert plan.status == ("infeasible" if truth is None else "optimal")
        assert truth is None or plan.compute == pytest.approx(truth)


@pytest.mark.parametrize(("order", "budget"), [("fixed", "90%"), ("fixed", "80%"), ("free", "70%")])
def test_on_a_wide_graph_it_agrees_with_the_integer_programs(order, budget):
    """Two proofs that share no model come to the same optimum."""
    graph = example("layered", nodes=25)
    ours = solve(graph, budget, "intervals", order=order, workers=1)
    theirs = solve(graph, budget, "ilp", order=order)
    assert ours.status == theirs.status == "optimal"
    assert ours.compute == theirs.compute > graph.compute


def test_it_keeps_to_the_time():
    """A model far too large to be solved in the time ends with it."""
    started = time.monotonic()
    plan = solve(example("layered", nodes=250), "70%", "intervals", order="fixed", time_limit=3)
    assert time.monotonic() - started < 10
    assert plan.status in ("unknown", "feasible")


def _endless():
    """A program that CP-SAT doesn't solve in any short time: 40 pigeons in 39 holes."""
    program = cp_model.CpModel()
    holes = [program.new_int_var(1, 39, "") for _ in range(40)]
    for at, hole in enumerate(holes):
        for other in holes[:at]:
            program.add(hole != other)
    program.minimize(sum(holes))
    return program


def test_a_solve_is_stopped_from_outside():
    """Asked to end, it ends within a moment, with what is proved until then."""
    started = time.monotonic()
    until = started + 0.5
    answer = minimise(
        _endless(),
        deadline=Deadline.after(60).unless(lambda: time.monotonic() > until),
        on_solution=lambda value: None,
    )
    assert time.monotonic() - started < 10
    assert not answer.found


def test_what_a_callback_raises_is_raised():
    """It ends the search, and doesn't cross the C++ between."""
    program = cp_model.CpModel()
    program.minimize(program.new_int_var(0, 9, ""))

    def fail(value):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        minimise(program, deadline=Deadline.after(10), on_solution=fail)


def test_ortools_is_loaded_only_when_it_is_needed():
    """The table of solvers knows of it without importing it."""
    code = "import sys, schedule.solvers; assert 'ortools' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_number_of_runs_out_of_range_is_refused():
    """Before anything is solved."""
    with pytest.raises(BadOption, match="runs is 0; it has to be 1 or more"):
        Intervals(runs=0)


def test_what_cannot_be_written_down_in_time_is_left():
    """The plan found before is the answer, and no model is solved."""
    graph = example("transformer", layers=60)
    found = ends(lambda: solve(graph, "70%", "intervals", time_limit=0.5))
    assert found.status in ("feasible", "unknown")


def test_a_model_asks_for_the_time_while_it_is_written_down():
    """Where that is up after so many operations, there is none."""
    graph = example("unet")
    incumbent = Incumbent(Problem(graph, int(0.7 * in_order(graph).peak)))
    looks: list[bool] = []

    def is_late():
        looks.append(len(looks) > 100)
        return looks[-1]

    late = Deadline().unless(is_late)
    assert not Deepening(incumbent._problem, incumbent, late).run(2)
    assert looks.count(False) == 101
    assert incumbent.trace is None
