"""Uniform training chains: the closed form, its schedule, and what is such a chain."""

from __future__ import annotations

from functools import cache

import pytest

from schedule import Compute, Graph, Node, Status, Tensor, example, solve, verify
from schedule.lowering import free_early, in_order, replayed
from schedule.solvers.classics.layers.detection import find_layers
from schedule.solvers.classics.revolve import Revolve, least_steps, uniform_chain
from tests.oracles import least_compute


@cache
def by_recursion(length, checkpoints):
    """The definition that the closed form solves, tried out over every next checkpoint."""
    if length <= 1:
        return 0
    if checkpoints == 1:
        return length * (length - 1) // 2
    return min(
        ahead + by_recursion(length - ahead, checkpoints - 1) + by_recursion(ahead, checkpoints)
        for ahead in range(1, length)
    )


def test_the_closed_form_solves_its_recursion():
    """T(l, c) = min over k of k + T(l − k, c − 1) + T(k, c)."""
    for length in range(1, 60):
        for checkpoints in range(1, 12):
            assert least_steps(length, checkpoints) == by_recursion(length, checkpoints)


def test_the_closed_form_is_that_of_another_implementation():
    """The package checkpoint-schedules counts the first run forward as well: T(l, c) + l."""
    other = pytest.importorskip("checkpoint_schedules")
    for length in range(1, 201):
        for checkpoints in range(1, min(length, 21)):
            steps = other.optimal_steps_binomial(length, checkpoints)
            assert least_steps(length, checkpoints) + length == steps


@pytest.mark.parametrize(
    ("checkpoints", "repeats", "length"),
    [(1, 5, 6), (2, 2, 6), (3, 2, 10), (3, 3, 20), (4, 3, 35), (5, 5, 252), (10, 3, 286)],
)
def test_no_step_is_repeated_more_often_than_the_binomial_coefficient_says(
    checkpoints, repeats, length
):
    """β(c, r) = C(c + r, c) steps are the most that c checkpoints reverse with r repetitions each.

    Griewank and Walther 2000, section 2; the values are those of Pascal's triangle.
    """
    graph = example("chain", layers=length - 1)
    plan = solve(graph, solver=Revolve(checkpoints=checkpoints))
    runs = [step.node for step in plan.steps if isinstance(step, Compute)]
    assert max(runs.count(f"f{i}") for i in range(length)) == repeats
    assert least_steps(length + 1, checkpoints) - least_steps(length, checkpoints) == repeats + 1


@pytest.mark.parametrize("start", range(1, 200, 40))
def test_every_schedule_takes_what_the_closed_form_says(start):
    """All l ≤ 200 steps and c ≤ 20 checkpoints, replayed: c + 2 tensors, T(l, c) and one run."""
    for steps in range(max(start, 2), start + 40):
        graph = example("chain", layers=steps - 1)
        chain = uniform_chain(graph)
        for checkpoints in range(1, 21):
            trace = replayed(graph, chain.runs_with(checkpoints))
            forward = int(trace.runs[:steps].sum())
            assert trace.peak <= checkpoints + 2
            assert forward == least_steps(steps, min(checkpoints, steps)) + 1


@pytest.mark.parametrize("length", [1, 2, 3, 7, 20, 45, 100])
def test_the_schedule_fits_and_takes_what_the_closed_form_says(length):
    """For every budget, replayed."""
    graph = example("chain", layers=length)
    chain = uniform_chain(graph)
    for budget in range(3, length + 5):
        trace = verify(graph, free_early(graph, chain.runs_with(chain.checkpoints(budget))), budget)
        assert trace.compute == chain.least_compute(budget)


def test_long_chains_are_proved_at_every_budget():
    """L = 100: optimal, equal to the closed form, in any order and the given one."""
    graph = example("chain", layers=100)
    for budget in range(3, 104, 7):
        for order in ("fixed", "free"):
            plan = solve(graph, budget, "ilp", order=order)
            assert plan.status == "optimal"
            assert plan.compute == 101 + by_recursion(101, min(budget - 2, 101))


def chain(length, forward, backward, memory, **change):
    """A training chain; `change` breaks its last forward node's uniformity."""
    nodes = []
    for i in range(2 * length + 1):
        reads = [str(i - 1)] * (i > 0)
        if i > length and 2 * length - i != i - 1:
            reads.append(str(2 * length - i))
        size, cost = memory, forward if i <= length else backward + i % 3
        if i == length:
            size, cost = change.get("size", size), change.get("cost", cost)
        nodes.append(Node(str(i), tuple(reads), (Tensor(str(i), size),), cost, backward=i > length))
    return Graph(nodes)


def test_backward_costs_and_units_do_not_matter():
    """Exhaustive search agrees where backward nodes cost what they like."""
    graph = chain(4, 3, 5, 7)
    for slots in range(3, 7):
        for budget in (7 * slots, 7 * slots + 6):
            assert uniform_chain(graph).least_compute(budget) == least_compute(graph, budget)


def test_what_is_not_uniform_is_left_to_the_general_method():
    """Another size or cost, a skip, or no backward part: no theorem."""
    assert uniform_chain(chain(4, 3, 5, 7)) is not None
    assert uniform_chain(chain(4, 3, 5, 7, size=8)) is None
    assert uniform_chain(chain(4, 3, 5, 7, cost=4)) is None
    assert uniform_chain(example("unet")) is None
    assert uniform_chain(example("diamonds")) is None


def test_it_proves_the_optimum_of_uniform_chains():
    """At every budget from three tensors: what exhaustive search finds, and so does `ilp`."""
    graph = example("chain", layers=5)
    for budget in range(3, 9):
        plan = solve(graph, budget, "revolve")
        assert plan.status == "optimal"
        assert plan.compute == least_compute(graph, budget)
        assert plan.compute == solve(graph, budget, "ilp").compute


def test_a_number_of_checkpoints_can_be_asked_for():
    """Its schedule, whatever the budget; a bound is claimed only where a budget is used."""
    graph = example("chain", layers=30)
    for checkpoints in (1, 4, 100):
        plan = solve(graph, solver=Revolve(checkpoints=checkpoints))
        assert plan.compute == 31 + least_steps(31, min(checkpoints, 31))
    short = solve(graph, 5, Revolve(checkpoints=4))
    assert short.status == "unknown"
    assert short.shortfall.least_peak == 6


def test_layers_of_any_graph_are_taken_as_equal():
    """A chain with one larger tensor: the same distances, T(l, c) forward runs, a higher peak."""
    for checkpoints in (1, 2, 3, 9):
        plan = solve(chain(8, 3, 5, 7, size=9), solver=Revolve(checkpoints=checkpoints))
        runs = [step.node for step in plan.steps if isinstance(step, Compute)]
        forward = sum(int(name) <= 8 for name in runs)
        assert forward == 1 + least_steps(9, checkpoints)
        uniform = solve(chain(8, 3, 5, 7), solver=Revolve(checkpoints=checkpoints))
        assert 7 * (min(checkpoints, 9) + 2) >= uniform.peak
        assert uniform.peak <= plan.peak <= uniform.peak + 4


@pytest.mark.parametrize("share", [45, 60, 80, 95])
@pytest.mark.parametrize("name", ["resnet", "transformer", "unet"])
def test_it_takes_the_most_checkpoints_that_fit(name, share):
    """Against every number of checkpoints in turn; with any of them memory is saved."""
    graph = example(name)
    budget = in_order(graph).peak * share // 100
    most = len(find_layers(graph, "free").layers)
    every = [solve(graph, solver=Revolve(checkpoints=room)) for room in range(most, 0, -1)]
    assert all(one.overhead > 0 for one in every)
    fitting = [one for one in every if one.peak <= budget]
    plan = solve(graph, budget, "revolve")
    if fitting:
        assert plan.schedule == fitting[0].schedule
    else:
        assert plan.status == "infeasible" or plan.shortfall.least_peak == min(
            one.peak for one in every
        )


def test_without_a_budget_nothing_runs_twice():
    """As where the budget is large enough."""
    graph = example("transformer")
    for budget in (None, in_order(graph).peak):
        assert solve(graph, budget, "revolve").overhead == 0


@pytest.mark.parametrize(("layers", "seconds"), [(800, 0.3), (20_000, 3.0)])
def test_what_is_too_long_to_write_is_proved_and_counted(layers, seconds):
    """Every schedule that fits is too long: the bound is the theorem's, its runs are told."""
    graph = example("chain", layers=layers)
    expected = layers + 1 + least_steps(layers + 1, 1)
    for solver in ("auto", "ilp", "revolve"):
        plan = solve(graph, 3, solver, time_limit=seconds)
        assert (plan.status, plan.schedule) == (Status.UNKNOWN, None)
        assert plan.lower_bound == expected
        assert f"takes {expected} runs" in plan.shortfall.reason
        more = plan.shortfall.least_peak  # of the plan with the fewest checkpoints that is written
        assert 3 < more <= in_order(graph).peak
        assert uniform_chain(graph).count(more - 2) <= 1_000_000 * seconds


def test_a_number_of_checkpoints_that_takes_too_long_says_so():
    """Without a budget, too, there may be nothing to show: 50 million runs."""
    plan = solve(example("chain", layers=10_000), solver=Revolve(checkpoints=1), time_limit=1)
    assert plan.status is Status.UNKNOWN
    assert "takes 50015001 runs" in plan.shortfall.reason


def test_the_count_of_runs_is_that_of_the_plan():
    """Counted by the formula, made by the recursion."""
    for layers in (1, 2, 3, 7, 30):
        chain = uniform_chain(example("chain", layers=layers))
        for checkpoints in range(1, layers + 3):
            assert len(chain.runs_with(checkpoints)) == chain.count(checkpoints)
