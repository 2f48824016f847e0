"""The compiled search of small graphs, against the same in Python."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schedule import Graph, Node, Tensor, example
from schedule.lowering import in_order
from schedule.solvers.contract import Deadline
from schedule.solvers.exhaustive import EXHAUSTIVE, frontier, states
from tests.solvers.exhaustive.test_states import ORDERS, some_graph
from tests.strategies import graphs

each_order = pytest.mark.parametrize("order", ORDERS)
slow = settings(deadline=None, max_examples=80, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module", autouse=True)
def compiled():
    """Before anything is compared."""
    EXHAUSTIVE.begin().done.wait()
    assert EXHAUSTIVE.is_ready


def contents(found):
    """All that was found and proved."""
    codes = None if found.codes is None else found.codes.tolist()
    return codes, found.decided, found.bound, found.needed, found.node


def searched(graph, budget, order, work=1_000, below=float("inf"), deadline=None):
    """What both searches found, and the work that was left."""
    until = deadline or Deadline(work=work)
    cheapest = states.least_compute(graph, budget, order, deadline=until, below=below)
    left = until.work
    lowest = states.least_peak(graph, order, deadline=until.with_work(work))
    return contents(cheapest), contents(lowest), left


def agree(monkeypatch, *asked, **limits):
    """What the compiled search finds, which is what the other one does."""
    found = searched(*asked, **limits)
    with monkeypatch.context() as patch:
        patch.setattr(states, "words_of", lambda *_: None)
        assert searched(*asked, **limits) == found
    return found


@each_order
@slow
@given(seed=st.integers(0, 10**6), share=st.integers(30, 100), work=st.sampled_from([3, 40, 1000]))
def test_it_is_the_same_search(order, seed, share, work):
    """Schedule, proof, and the work it took, also where that ends it."""
    graph = some_graph(seed)
    with pytest.MonkeyPatch.context() as patch:
        agree(patch, graph, in_order(graph).peak * share // 100, order, work=work)


@slow
@given(graph=graphs(min_nodes=1, max_nodes=7, max_inputs=2), share=st.integers(60, 100))
def test_so_it_is_with_any_sizes_and_costs(graph, share):
    """Costs that no word holds are left to Python."""
    with pytest.MonkeyPatch.context() as patch:
        for order in ORDERS:
            agree(patch, graph, in_order(graph).peak * share // 100, order)


@each_order
def test_it_has_as_much_space_as_it_needs(monkeypatch, order):
    """Here for more states than there is space for at first."""
    graph = example("resnet", blocks=1, batch=256)
    monkeypatch.setattr(frontier, "_SPACE", 64)
    budget = in_order(graph).peak * 6 // 10
    agree(monkeypatch, graph, budget, order, work=3_000)


@each_order
def test_it_stops_at_what_is_known(monkeypatch, order):
    """No schedule is looked for that is no better."""
    graph = example("mlp", layers=5, batch=8192)
    budget = in_order(graph).peak * 6 // 10
    best, _, _ = agree(monkeypatch, graph, budget, order)
    known, _, _ = agree(monkeypatch, graph, budget, order, below=best[2])
    assert known[:3] == (None, True, best[2])


def test_it_stops_where_there_is_no_time(monkeypatch):
    """Before it looks at any state."""
    graph = example("chain", layers=8)
    found = searched(graph, 4, "free", deadline=Deadline(end=0.0))
    assert not found[0][1]


def test_many_tensors_are_left_to_python():
    """Each needs a bit of a word."""
    outputs = tuple(Tensor(f"a{k}", 1) for k in range(63))
    wide = Graph([Node("a", (), outputs, 1), Node("b", ("a0",), (Tensor("b", 1),), 1)])
    assert states.least_compute(wide, 64, "free").decided
