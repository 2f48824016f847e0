"""What no schedule can beat, against exhaustive search and the literature."""

from __future__ import annotations

from math import gcd

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from schedule import Graph, Input, Node, Tensor, memory_floor, solve
from schedule.bounds import cost_step, least_compute, round_up
from schedule.lowering import in_order
from tests import oracles
from tests.enough import enough, reached
from tests.strategies import graphs

SMALL = graphs(max_nodes=5, max_inputs=2, sizes=st.integers(0, 6), costs=st.integers(0, 5))


@enough(0.23)
@settings(deadline=None)
@given(SMALL)
def test_no_schedule_fits_below_the_floor(graph):
    """One unit less than the floor is infeasible by exhaustive search too."""
    floor = memory_floor(graph)
    assume(floor.memory)
    reached()
    assert oracles.least_compute(graph, floor.memory - 1) is None
    assert solve(graph, floor.memory - 1, "store_all").status == "infeasible"
    if floor.node is not None:
        assert floor.node in oracles.needed_nodes(graph)
    shown = graph.tensors
    workspace = {node.name: node.workspace for node in graph.nodes}.get(floor.node, 0)
    assert sum(shown[name].memory for name in floor.tensors) + workspace == floor.memory


@pytest.mark.parametrize("again", [True, False])
def test_what_cannot_be_written_again_is_live_until_it_is_read(again):
    """While the wide node runs, the input waits for the last one, and a draw that isn't repeated.

    The draw is 3 units, read by the last node alone; it can be made again, or it is there.
    """
    nodes = [
        Node("draw", ("x",), (Tensor("draw", 3),), 1, recomputable=again),
        Node("first", ("x", "draw"), (Tensor("first", 10),), 1),
        Node("wide", ("first",), (Tensor("wide", 20),), 1),
        Node("last", ("wide", "x", "draw"), (Tensor("last", 1),), 1),
    ]
    graph = Graph(nodes, [Input("x", 5, freeable=True)], ["last"])
    floor = memory_floor(graph)
    assert floor.memory == 10 + 20 + 5 + 3 * (not again)
    assert set(floor.tensors) == {"first", "wide", "x"} | ({"draw"} if not again else set())
    assert solve(graph, floor.memory - 1).status == "infeasible"
    assert solve(graph, floor.memory).status == "optimal"
    assert solve(graph, floor.memory).compute == 4 + again


def test_outputs_and_resident_inputs_are_there_together_at_the_end():
    """Where that is more than any node needs, it sets the floor, and the floor is reached."""
    nodes = [Node(name, ("x",), (Tensor(name, 5),), 1) for name in ("a", "b")]
    graph = Graph(nodes, [Input("x", 3)])
    floor = memory_floor(graph)
    assert (floor.memory, floor.node, set(floor.tensors)) == (13, None, {"x", "a", "b"})
    assert in_order(graph).peak == 13


@settings(deadline=None)
@given(SMALL)
def test_the_least_compute_is_that_of_unlimited_memory(graph):
    """With room for everything, the optimum is every needed node once."""
    plenty = 10 * (in_order(graph).peak + 1)
    assert oracles.least_compute(graph, plenty) == least_compute(graph)


def chain(length):
    reads = [(), *((str(at),) for at in range(length - 1))]
    return Graph([Node(str(k), reads[k], (Tensor(str(k), 1),), 1) for k in range(length)])


def pyramid(height):
    """Each node of a row reads two neighbours of the row below; height + 1 base nodes."""
    nodes = [Node(f"0.{k}", (), (Tensor(f"0.{k}", 1),), 1) for k in range(height + 1)]
    for row in range(1, height + 1):
        for k in range(height + 1 - row):
            reads = (f"{row - 1}.{k}", f"{row - 1}.{k + 1}")
            nodes.append(Node(f"{row}.{k}", reads, (Tensor(f"{row}.{k}", 1),), 1))
    return Graph(nodes)


def tree(height):
    """A complete binary in-tree with 2^height leaves."""
    nodes = [Node(f"0.{k}", (), (Tensor(f"0.{k}", 1),), 1) for k in range(2**height)]
    for row in range(1, height + 1):
        for k in range(2 ** (height - row)):
            reads = (f"{row - 1}.{2 * k}", f"{row - 1}.{2 * k + 1}")
            nodes.append(Node(f"{row}.{k}", reads, (Tensor(f"{row}.{k}", 1),), 1))
    return Graph(nodes)


@pytest.mark.parametrize(
    ("graph", "tensors"),
    [(chain(2), 2), (chain(6), 2), *((make(h), h + 2) for make in (pyramid, tree) for h in (1, 2))],
)
def test_pebbling_numbers_of_the_literature(graph, tensors):
    """Chains take 2 tensors, pyramids and binary trees of height h take h + 2 (Cook 1974)."""
    assert oracles.least_budget(graph) == tensors
    assert memory_floor(graph).memory <= tensors
    assert solve(graph, tensors - 1).schedule is None
    assert in_order(graph).peak >= tensors


@given(st.lists(st.integers(0, 60), min_size=1, max_size=6), st.floats(0, 500))
def test_bounds_are_rounded_up_to_what_schedules_can_take(costs, bound):
    """The least value of base + multiples of the costs' divisor that isn't below the bound."""
    graph = Graph([Node(str(k), (), (Tensor(str(k), 1),), c) for k, c in enumerate(costs)])
    step, base = gcd(*costs), sum(costs)
    assert cost_step(graph) == step
    found = round_up(graph, bound)
    assert found >= base
    assert found >= bound - 1e-6
    if step:
        assert (found - base) % step == 0
        assert found == base or found - step < bound


@pytest.mark.parametrize("bound", [100, 103])
def test_what_is_above_by_a_solvers_own_rounding_is_no_step_more(bound):
    """A billionth of the compute is taken off, and no more than that."""
    graph = chain(100)
    assert round_up(graph, bound + 1e-8) == bound
    assert round_up(graph, bound + 1e-6) == bound + 1


def test_fractional_costs_are_not_rounded():
    """Where a cost is no integer there is no lattice to round to."""
    graph = Graph([Node("a", (), (Tensor("a", 1),), 0.5)])
    assert cost_step(graph) == 0
    assert round_up(graph, 0.7) == pytest.approx(0.7)
    assert round_up(graph, 0.2) == 0.5
