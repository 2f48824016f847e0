"""Uniform training chains: the closed form, its schedule, and what is such a chain."""

from __future__ import annotations

from functools import cache

import pytest

from schedule import Graph, Node, Tensor, example, solve, verify
from schedule.lowering import free_early
from schedule.solvers.revolve import least_steps, uniform_chain
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


@pytest.mark.parametrize("length", [1, 2, 3, 7, 20, 45, 100])
def test_the_schedule_fits_and_takes_what_the_closed_form_says(length):
    """For every budget, replayed."""
    graph = example("chain", layers=length)
    chain = uniform_chain(graph)
    for budget in range(3, length + 5):
        trace = verify(graph, free_early(graph, chain.runs(budget)), budget)
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
