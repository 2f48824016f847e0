"""The compiled search of states, against the one in Python and known optima."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from schedule import Graph, GraphBuilder, Node, Tensor, example
from schedule.lowering import needed_in_order
from schedule.result import Order
from schedule.solvers.contract import Deadline, Incumbent, Problem, Proof
from schedule.solvers.exhaustive import states
from schedule.solvers.exhaustive.astar import is_within_reach, search
from schedule.solvers.exhaustive.astar.search import AStar
from schedule.solvers.ilp import Ilp
from tests.strategies import graphs

SMALL = graphs(
    min_nodes=1, max_nodes=7, max_inputs=2, sizes=st.integers(0, 6), costs=st.integers(0, 5)
)
SPACE = 1 << 25


def least_compute(
    graph: Graph, budget: int, order: Order = "free", work: float = math.inf, space: int = SPACE
) -> tuple[Proof, int | float]:
    """What the search proves, and the compute of what it finds."""
    incumbent = Incumbent(problem := Problem(graph, budget, order))
    proof = AStar(problem, space).run(incumbent, Deadline(work=work))
    return proof, incumbent.compute


def least_peak(graph: Graph, order: Order = "free") -> int | None:
    """What the search proves to be the least peak."""
    incumbent = Incumbent(problem := Problem(graph, None, order))
    return AStar(problem, SPACE).run(incumbent, Deadline()).needed


def pyramid(height: int) -> Graph:
    """Each node reads two neighbours of the row below."""
    g = GraphBuilder()
    row = [g.node(f"0.{i}", memory=1) for i in range(height + 1)]
    for h in range(1, height + 1):
        row = [g.node(f"{h}.{i}", row[i : i + 2], memory=1) for i in range(len(row) - 1)]
    return g.build()


def wide() -> Graph:
    """54 nodes that have to run, all of one size; a budget of 10 is little."""
    rng = random.Random(3)
    g = GraphBuilder()
    names = [g.node(f"{v}", memory=1) for v in range(6)]
    for v in range(6, 72):
        names.append(g.node(f"{v}", rng.sample(names[-20:], 2), memory=1))
    return g.build(names[-6:])


def with_many_outputs(seed: int) -> Graph:
    """More than 64 tensors, some nodes with outputs far apart in any numbering by cost."""
    rng = random.Random(seed)
    names: list[str] = []
    nodes = []
    for v in range(48):
        recent = names[-rng.randint(3, 6) :]
        reads = rng.sample(recent, min(len(recent), rng.randint(1, 3)))
        outputs = [Tensor(f"{v}.{j}", rng.randint(0, 999)) for j in range(rng.randint(1, 3))]
        once = rng.random() < 0.1
        cost, space = rng.randint(0, 900), rng.choice([0, 0, 300])
        nodes.append(Node(f"n{v}", tuple(reads), tuple(outputs), cost, space, not once))
        names += [out.name for out in outputs]
    return Graph(nodes, outputs=[rng.choice(names[-9:])])


each_order = pytest.mark.parametrize("order", ["free", "fixed"])


@each_order
@settings(deadline=None, max_examples=100, suppress_health_check=list(HealthCheck))
@given(graph=SMALL, share=st.floats(0, 1))
def test_it_proves_what_the_search_in_python_proves(order, graph, share):
    assume(is_within_reach(Problem(graph, None, order)))
    least = states.least_peak(graph, order).needed
    assert least_peak(graph, order) == least
    peak = needed_in_order(graph).peak
    budget = int(least + share * (peak - least))
    proof, found = least_compute(graph, budget, order)
    expected = states.least_compute(graph, budget, order)
    assert proof.bound == found == expected.bound
    impossible, _ = least_compute(graph, least - 1, order)
    assert impossible.needed == least


@each_order
@pytest.mark.parametrize("seed", range(8))
def test_graphs_of_several_words(order, seed):
    graph = with_many_outputs(seed)
    least = least_peak(graph, order)
    slow = states.least_peak(graph, order, deadline=Deadline(work=20_000))
    assert least == slow.needed if slow.decided else least >= slow.needed
    proof, found = least_compute(graph, least, order)
    slow = states.least_compute(graph, least, order, deadline=Deadline(work=20_000))
    assert proof.bound == found
    assert found == slow.bound if slow.decided else found >= slow.bound


@settings(deadline=None, max_examples=80, suppress_health_check=list(HealthCheck))
@given(graph=SMALL, share=st.floats(0, 1), negligible=st.integers(1, 4))
def test_what_it_proves_where_small_sizes_count_as_nothing_holds(graph, share, negligible):
    problem = Problem(graph, None, "free")
    assume(is_within_reach(problem))
    least = states.least_peak(graph, "free").needed
    found = AStar(problem, SPACE, negligible).run(Incumbent(problem), Deadline())
    assert found.needed <= least
    for budget in {least - 1, int(least + share * (needed_in_order(graph).peak - least))}:
        asked = Problem(graph, budget, "free")
        proof = AStar(asked, SPACE, negligible).run(Incumbent(asked), Deadline())
        best = states.least_compute(graph, budget, "free")
        if proof.needed is None:
            assert best.bound is None or proof.bound <= best.bound
        else:
            assert budget < least
            assert proof.needed <= least


def test_a_mosaic_is_decided_though_its_tables_are_tiny():
    """With exact sizes millions of states differ by kilobytes."""
    graph = example("montage", images=4, bands=2)
    problem = Problem(graph, needed_in_order(graph).peak * 98 // 100, "free")
    proof = AStar(problem, SPACE, negligible=problem.budget // 100).run(
        Incumbent(problem), Deadline(work=300_000)
    )
    assert proof.needed > problem.budget


def test_pyramids():
    # A pyramid of height h takes h + 2 pebbles (Cook 1974, doi:10.1016/S0022-0000(74)80046-2).
    for height in (1, 4, 9):
        assert least_peak(pyramid(height)) == height + 2


@pytest.mark.parametrize("work", [1, 100, 3_000])
def test_a_bound_holds_whenever_it_stops(work):
    graph = example("mlp")
    budget = needed_in_order(graph).peak * 2 // 3
    incumbent = Incumbent(Problem(graph, budget, "free"))
    Ilp().improve(Problem(graph, budget, "free"), incumbent, Deadline.after(60))
    bounds = [least_compute(graph, budget, work=at)[0].bound for at in range(work, 9 * work, work)]
    assert bounds == sorted(bounds)
    assert bounds[-1] <= incumbent.compute


def test_it_goes_on_where_it_stopped():
    graph = wide()
    whole, found = least_compute(graph, 10)
    incumbent = Incumbent(problem := Problem(graph, 10, "free"))
    search, proof = AStar(problem, SPACE), Proof()
    for _ in range(2_000):
        proof = search.run(incumbent, Deadline(work=50))
    assert proof == whole
    assert incumbent.compute == found > 54


def test_a_schedule_that_is_known_is_proved_to_be_best():
    graph = wide()
    _, best = least_compute(graph, 10)
    incumbent = Incumbent(problem := Problem(graph, 10, "free"))
    AStar(problem, SPACE).run(incumbent, Deadline())
    again = AStar(problem, SPACE).run(incumbent, Deadline())
    assert again.bound == best


def test_without_space_it_ends_with_a_bound():
    proof, found = least_compute(wide(), 10, space=20_000)
    assert found == math.inf
    assert proof.needed is None
    assert 54 <= proof.bound <= least_compute(wide(), 10)[1]


def test_it_has_as_much_space_as_it_needs(monkeypatch):
    expected = least_compute(wide(), 10)
    monkeypatch.setattr(search, "_SPACE", 128)
    assert least_compute(wide(), 10) == expected


def test_it_ends_where_nothing_is_better_by_more_than_the_gap():
    best = least_compute(wide(), 10)[1]
    incumbent = Incumbent(problem := Problem(wide(), 10, "free", gap=0.1))
    AStar(problem, SPACE).run(incumbent, Deadline())
    assert incumbent.compute == best  # nothing was known, so no gap to it
    work = Deadline(work=1e9)
    proof = AStar(problem, SPACE).run(incumbent, work)
    assert problem.enough(best, proof.bound)
    assert proof.bound < best


def test_inputs_that_dont_fit_at_the_start():
    g = GraphBuilder()
    read, _ = g.input("read", 4, freeable=True), g.input("not read", 4, freeable=True)
    g.node("n", read, memory=1)
    assert least_compute(g.build(["n"]), 7)[0].needed == 8
    assert least_compute(g.build(["n"]), 8)[1] == 1


def test_wide_graphs_of_some_dozens_of_nodes_are_decided():
    # In as much time, programs find nothing that fits.
    problem = Problem(wide(), 10, "free")
    incumbent = Incumbent(problem)
    proof = Ilp(searches=False).improve(problem, incumbent, Deadline.after(120))
    assert proof.bound == incumbent.compute > 54
