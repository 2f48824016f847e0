"""Bounds on the makespan, against a search over everything that two levels can do."""

from __future__ import annotations

import math

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from schedule import GraphBuilder, Level, example, memory_floor
from schedule.bounds import least_compute
from schedule.lowering import in_order
from schedule.makespan import level_floor, makespan_bound
from tests import oracles
from tests.enough import enough, reached
from tests.strategies import graphs, machines

SMALL = {"max_nodes": 4, "max_inputs": 2, "sizes": st.integers(0, 6), "costs": st.integers(0, 6)}


@st.composite
def there_and_back(draw):
    """A chain that is walked to its end and back, so that much is kept for long."""
    sizes, costs = st.integers(1, 6), st.integers(0, 6).map(lambda cost: cost or 1)
    g = GraphBuilder()
    flags = {"freeable": draw(st.booleans()), "offloadable": draw(st.booleans())}
    reads = [g.input("w", draw(sizes), **flags)] if draw(st.booleans()) else []
    last, kept = None, []
    for at in range(draw(st.integers(2, 3))):
        free = {"memory": draw(sizes), "compute": draw(costs)}
        again = draw(st.integers(0, 3)) > 0
        last = g.node(f"f{at}", [*([last] if last else []), *reads], recomputable=again, **free)
        kept.append(last)
    for at, value in reversed(list(enumerate(kept[:-1]))):
        free = {"memory": draw(sizes), "compute": draw(costs)}
        last = g.node(f"b{at}", [last, value, *reads], **free)
    return g.build(outputs=[last])


def least(graph, budget, host, most):
    """What the search finds; examples that take it long don't count."""
    try:
        return oracles.least_makespan(graph, budget, host, most)
    except oracles.Exhausted:
        assume(False)


@enough(0.04)
@settings(max_examples=120, deadline=None)
@given(st.data())
def test_no_schedule_beats_the_bound(data):
    """Nor is there any where the bound says so."""
    graph = data.draw(st.one_of(there_and_back(), there_and_back(), graphs(min_nodes=3, **SMALL)))
    (host,) = data.draw(machines(1, capacities=st.integers(0, 20) | st.just(0)))
    floor, peak = memory_floor(graph).memory, in_order(graph).peak
    needed = level_floor(graph, (host,)).memory
    within = st.integers(needed, max(peak - 1, needed))
    budget = data.draw(within | st.integers(max(0, floor - 5), max(peak - 1, floor)) | within)
    bound = makespan_bound(graph, budget, [host])
    if bound.node is None and budget >= needed:
        return
    found = least(graph, budget, host, 5000)
    if budget < needed:
        assert found is None
        return
    reached()
    assert found is None or bound.makespan <= found * (1 + 1e-12)


def between(down, up, again=False, capacity=100):
    """What is kept while `b` runs has to go, as `b` needs all the memory, and to come back."""
    g = GraphBuilder()
    big, small = g.node("a", memory={"big": 8, "small": 1}, compute=1, recomputable=again)
    b = g.node("b", small, memory=1, compute=10, workspace=9)
    g.node("y", [big, b], memory=1, compute=2)
    return g.build(), 11, [Level("host", capacity, down, up)]


@pytest.mark.parametrize(
    ("down", "up", "again", "lost", "makespan"),
    [
        (2, 4, False, 0, 1 + 4 + 10 + 2 + 2),  # both copies wait for all compute there is
        (8, 8, False, 0, 1 + 1 + 10 + 1 + 2),
        (2, 4, True, 0, 1 + 10 + 2 + 1),  # `a` runs again
        (16, 16, True, 1 / 3, 1 + 0.5 + 10 + 0.5 + 2),  # the bound divides: 16/3 are copied
    ],
)
def test_the_bound_of_one_value_that_has_to_go(down, up, again, lost, makespan):
    """Worked out by hand; the search finds the same, but for what no schedule divides."""
    graph, budget, levels = between(down, up, again)
    bound = makespan_bound(graph, budget, levels)
    assert bound.makespan == pytest.approx(makespan - lost)
    assert bound.node == "b"
    assert oracles.least_makespan(graph, budget, levels[0]) == makespan


def test_what_neither_fits_nor_may_run_again_fits_no_schedule():
    """A host that is too small for it."""
    assert math.isinf(makespan_bound(*between(1, 1, capacity=7)).makespan)
    assert not math.isinf(makespan_bound(*between(1, 1, capacity=8)).makespan)


@pytest.mark.parametrize("share", [0.3, 0.5, 0.7])
def test_the_bound_falls_with_the_budget_and_the_link(share):
    """More memory or a faster link never makes it higher; without levels it's every node once."""
    graph = example("unet")
    peak = in_order(graph).peak
    rate = peak / graph.compute
    bounds = [
        makespan_bound(graph, int(peak * more), [Level("host", 10**9, rate * fast, rate * fast)])
        for more, fast in ((share, 0.1), (share, 1), (share + 0.1, 1), (1, 1))
    ]
    found = [bound.makespan for bound in bounds]
    assert found == sorted(found, reverse=True)
    assert found[-1] == least_compute(graph) < found[0]
    assert makespan_bound(graph, int(peak * share), []).makespan == least_compute(graph)
    assert makespan_bound(graph, 1, [], lambda: True).node is None
