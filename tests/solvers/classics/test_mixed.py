"""Mixed checkpointing: the paper's recurrence, other optima, and what is an adjoint chain."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from schedule import SOLVERS, Graph, Input, Node, Tensor, example, solve, verify
from schedule.lowering import needed_in_order, replayed
from schedule.solvers.classics.adjoint.detection import adjoint_chain, reason_against
from schedule.solvers.classics.adjoint.table import LeastCompute, LeastMemory, _unit
from schedule.solvers.classics.adjoint.tasks import GroupedTasks, Tasks, UniformTasks
from schedule.solvers.classics.mixed import Mixed
from schedule.solvers.contract import Deadline
from tests.enough import enough, reached
from tests.oracles import least_compute
from tests.strategies import adjoint_chains, budget_at

slow = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])


def units(length, loss=False, freeable=False):
    """The paper's chain: states and dependency data take one unit each, adjoints compute nothing.

    Those of `shared/graphs/mixed20` and `mixed100`, with a loss if wanted.
    """
    nodes = [
        Node(f"F{i}", (f"x{i - 1}",), (Tensor(f"x{i}", 1), Tensor(f"a{i}", 1)), 1)
        for i in range(1, length + 1)
    ]
    last = [f"y{length + 1}"] if loss else []
    if loss:
        nodes.append(Node("loss", (f"x{length}",), (Tensor(last[0], 1),), 0))
    for i in range(length, 0, -1):
        nodes.append(Node(f"y{i}", (f"a{i}", *last), (Tensor(f"y{i}", 1),), 0, backward=True))
        last = [f"y{i}"]
    return Graph(nodes, [Input("x0", 1, freeable)], ["y1"], f"mixed{length}")


@cache
def paper(length, checkpoints):
    """Forward steps, and what comes first: a state and how far to go, or (None) data.

    Maddison 2024, section 3, from the definition: a checkpoint is a state or the data of a step.
    """
    if length == 1:
        return 1, None
    if checkpoints == 1 and length > 2:
        return length * (length + 1) // 2 - 1, length - 1
    if length <= checkpoints + 1:
        return length, None
    ways = [(1 + paper(length - 1, checkpoints - 1)[0], None)]
    for ahead in range(2, length):
        steps = paper(ahead, checkpoints)[0] + paper(length - ahead, checkpoints - 1)[0]
        ways.append((ahead + steps, ahead))
    return min(ways, key=lambda way: way[0])


def paper_runs(length, checkpoints):
    """The runs of the paper's own schedule, as numbers of nodes."""
    runs, stack = [], [(0, length, checkpoints)]
    while stack:
        start, steps, free = stack.pop()
        if steps == 0:  # its data is there
            runs.append(2 * length - 1 - start)
            continue
        ahead = paper(steps, max(free, 1))[1]
        if ahead is None:
            runs.append(start)
            stack.append((start, 0, 0))
            if steps > 1:
                stack.append((start + 1, steps - 1, free - 1))
        else:
            runs += range(start, start + ahead)
            stack.append((start, ahead, free))
            stack.append((start + ahead, steps - ahead, free - 1))
    return np.array(runs)


def forward_steps(graph, trace):
    """Runs of forward nodes."""
    return int(trace.runs[: len(graph) // 2].sum())


def test_the_papers_figures():
    """The recurrence gives what the published package counts: `optimal_steps_mixed(n, s)`."""
    assert [paper(20, s)[0] for s in (2, 3, 4, 5, 8, 12, 19)] == [79, 55, 46, 38, 33, 28, 20]
    assert [paper(100, s)[0] for s in (8, 9, 10, 11)] == [263, 250, 237, 224]
    other = pytest.importorskip("checkpoint_schedules.mixed")
    for length in range(2, 60):
        for checkpoints in range(1, length):
            assert paper(length, checkpoints)[0] == other.optimal_steps_mixed(length, checkpoints)


@pytest.mark.parametrize("freeable", [False, True])
@pytest.mark.parametrize("length", range(2, 25))
def test_it_never_takes_more_steps_than_the_paper_at_equal_memory(length, freeable):
    """Equal is the peak of the paper's own schedule on replay; s + 4 are always enough.

    Beside s checkpoints there are a gradient, and a state, the next one and data while a step
    runs. Theirs takes one more where the first state stays in memory without being a checkpoint.
    """
    graph = units(length, freeable=freeable)
    for checkpoints in range(1, length):
        theirs = replayed(graph, paper_runs(length, checkpoints))
        assert forward_steps(graph, theirs) == paper(length, checkpoints)[0]
        assert theirs.peak <= checkpoints + (4 if freeable else 5)
        plan = solve(graph, min(theirs.peak, checkpoints + 4), "mixed")
        assert verify(graph, plan.schedule, plan.budget).compute <= theirs.compute


def test_a_thousand_steps_take_no_more_than_the_paper():
    """The recurrence for n = 1,000, vectorised, at 10, 20 and 46 checkpoints."""
    length, most = 1000, 46
    least = np.zeros((length + 1, most + 1), np.int64)
    least[1] = 1
    for n in range(2, length + 1):
        least[n, 1] = n * (n + 1) // 2 - 1
        ahead = np.arange(2, n)
        ways = ahead[:, None] + least[2:n, 2:] + least[n - 2 : 0 : -1, 1:-1]
        least[n, 2:] = np.minimum(ways.min(axis=0, initial=n * n), 1 + least[n - 1, 1:-1])
        least[n, max(n - 1, 1) :] = n
    assert least[100, 10] == paper(100, 10)[0]
    graph = units(length)
    for checkpoints in (10, 20, most):
        plan = solve(graph, checkpoints + 4, "mixed")
        assert plan.peak <= checkpoints + 4
        assert plan.compute <= least[length, checkpoints]


@pytest.mark.parametrize("loss", [False, True])
@pytest.mark.parametrize("freeable", [False, True])
@pytest.mark.parametrize("length", range(2, 6))
def test_equal_steps_take_what_exhaustive_search_finds(length, loss, freeable):
    """No schedule of any kind takes less, at any budget, and where none fits, none does."""
    graph = units(length, loss, freeable)
    for budget in range(2, needed_in_order(graph).peak + 1):
        plan = solve(graph, budget, "mixed")
        truth = least_compute(graph, budget)
        assert (None if plan.schedule is None else plan.compute) == truth


def values(graph, budget, tasks, slots=10**6):
    """The least memory of any plan, and the least compute within a budget (None: none fits)."""
    of = tasks(adjoint_chain(graph))
    memory = LeastMemory(of, Deadline())
    compute = LeastCompute(of, memory, budget, slots, Deadline())
    return memory.budget, (compute.of_all if compute.fits else None)


@enough(0.5)
@slow
@given(data=st.data(), share=st.integers(-10, 99))
def test_where_steps_differ_it_is_the_best_persistent_plan(data, share):
    """What `chain` finds, which knows nothing of adjoint chains; without rounding."""
    graph = data.draw(adjoint_chains(longest=7))
    assume(SOLVERS["chain"].supports(graph) is None)  # one tensor is each state
    budget = budget_at(graph, share)
    plan, other = solve(graph, budget, "mixed"), solve(graph, budget, "chain")
    reached()
    if other.schedule is None:
        assert plan.schedule is None
        assert plan.status == other.status
        if plan.status == "unknown":
            assert plan.shortfall.least_peak == other.shortfall.least_peak
    else:
        assert plan.compute == other.compute


@enough(0.5)
@slow
@given(data=st.data(), share=st.integers(-10, 99))
def test_equal_steps_are_taken_together(data, share):
    """Tasks by their number of steps have the values of tasks one by one."""
    graph = data.draw(adjoint_chains(longest=9, alike=True))
    assert adjoint_chain(graph).is_uniform
    reached()
    budget = budget_at(graph, share)
    assert values(graph, budget, UniformTasks) == values(graph, budget, Tasks)


@enough(0.5)
@slow
@given(data=st.data(), alike=st.booleans())
def test_what_is_promised_holds_and_more_memory_never_costs_more(data, alike):
    """The table's compute is that of the replay, and never rises with the budget."""
    graph = data.draw(adjoint_chains(longest=8, alike=alike))
    peak, before = needed_in_order(graph).peak, float("inf")
    adjoints = sum(node.compute for node in graph.nodes if node.name[0] != "f")
    for budget in range(budget_at(graph, 0), peak):
        least, compute = values(graph, budget, UniformTasks if alike else Tasks)
        assert (compute is None) == (budget < least)
        if compute is not None:
            reached()
            plan = solve(graph, budget, "mixed")
            assert plan.peak <= budget
            assert plan.compute == compute + adjoints <= before
            before = plan.compute


@enough(0.3)
@slow
@given(data=st.data(), share=st.integers(0, 99), slots=st.integers(2, 40))
def test_rounded_sizes_fit_and_cost_no_less(data, share, slots):
    """Few slots: the budget is kept, the compute no lower than without rounding."""
    graph = data.draw(adjoint_chains(longest=8, largest=1000))
    budget = budget_at(graph, share)
    exact, rough = (solve(graph, budget, Mixed(slots=each)) for each in (10**6, slots))
    assert (exact.schedule is None) >= (rough.schedule is None)
    if rough.schedule is not None:
        reached()
        assert rough.peak <= budget
        assert rough.compute >= exact.compute


def test_slots_are_parts_of_the_sizes_where_that_loses_least():
    """Sizes three to one, but for a byte: slots of a third, where a common unit would be a byte.

    And the unit of sizes doesn't matter.
    """
    sizes = np.array([3_000_001, 1_000_000] * 20)
    assert _unit(sizes, 60_000_000, 500) == 1_000_001
    assert _unit(7 * sizes, 7 * 60_000_000, 500) == 7 * 1_000_001
    assert _unit(sizes, 60_000_000, 10) >= 60_000_000 // 9
    assert _unit(np.array([6, 9, 0]), 100, 500) == 3
    assert _unit(np.array([0, 0]), 100, 11) == 10


def changed(graph, name, **change):
    """The graph with one node changed."""
    nodes = [replace(node, **change) if node.name == name else node for node in graph.nodes]
    return Graph(nodes, graph.inputs, graph.outputs)


def given_out(graph, tensor):
    """The graph with one output more."""
    return Graph(graph.nodes, graph.inputs, [*graph.outputs, tensor])


@pytest.mark.parametrize(
    ("graph", "reason"),
    [
        (units(1), "fewer than two steps"),
        (example("unet"), "'.*' reads '.*': a step may read only the state before it"),
        (example("chain"), "its own adjoint read 'f0': states and dependency data"),
        (changed(units(4), "y2", inputs=("a2", "y3", "x1")), "'y2' reads 'x1': a step may read"),
        (changed(units(4), "y2", inputs=("x2", "y3")), "its own adjoint read 'x2': states"),
        (changed(units(4), "y2", inputs=("a2",)), "'y2' reads nothing that 'y3' wrote"),
        (changed(units(4), "y2", inputs=("y3",)), "'y2' reads nothing that 'F2' wrote for it"),
        (changed(units(4), "F3", inputs=("x0",)), "'F3' reads nothing that 'F2' wrote"),
        (changed(units(4), "F3", recomputable=False), "'F3' must not run twice"),
        (given_out(units(4), "a2"), "'a2' is an output of the forward pass"),
        (
            changed(units(4), "F3", outputs=(Tensor("x3", 0, view_of="x2"), Tensor("a3", 1))),
            "it has views",
        ),
    ],
)
def test_other_graphs_are_refused_with_the_reason(graph, reason):
    """What breaks the chain, by name."""
    with pytest.raises(Exception, match=reason):
        solve(graph, "80%", "mixed")
    assert adjoint_chain(graph) is None


def test_only_the_last_step_may_be_one_that_runs_once():
    """It never runs again, as nothing comes between it and its adjoint."""
    graph = changed(units(6), "F6", recomputable=False)
    assert reason_against(graph) is None
    assert solve(graph, 6, "mixed").compute == solve(units(6), 6, "mixed").compute


def test_without_a_budget_nothing_runs_twice():
    """As where the budget is large enough."""
    for budget in (None, 13):
        assert solve(units(10), budget, "mixed").overhead == 0


@enough(0.25)
@slow
@given(data=st.data(), share=st.integers(0, 99))
def test_groups_of_steps_promise_no_more_than_all_of_it(data, share):
    """Long chains in groups: what the table says is what the replay takes, and no optimum."""
    graph = data.draw(adjoint_chains(longest=12))
    budget = budget_at(graph, share)
    exact, grouped = (solve(graph, budget, Mixed(steps=steps)) for steps in (12, 1))
    least, compute = values(graph, budget, GroupedTasks)
    adjoints = sum(node.compute for node in graph.nodes if node.name[0] != "f")
    assert least >= values(graph, budget, Tasks)[0]
    if grouped.overhead and not adjoint_chain(graph).is_uniform:
        reached()
        assert grouped.peak <= budget
        assert grouped.compute == compute + adjoints >= exact.compute


def test_long_unequal_chains_take_little_more_than_equal_ones():
    """A thousand steps, one of which takes longer: grouped, within a twentieth of the optimum."""
    graph = units(1000)
    for budget in (14, 50, 200):
        equal = solve(graph, budget, "mixed")
        unequal = solve(changed(graph, "F500", compute=2), budget, "mixed")
        assert unequal.peak <= budget
        assert equal.compute < unequal.compute <= 1.05 * equal.compute


@pytest.mark.parametrize("solver", ["auto", "ilp"])
def test_the_exact_methods_begin_with_it(solver):
    """Twenty steps at seven units: 53 forward steps, two fewer than the paper's with three."""
    plan = solve(units(20), 7, solver, time_limit=2, workers=1)
    assert plan.compute <= 53
