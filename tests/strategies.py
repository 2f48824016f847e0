"""Hypothesis strategies: any graph, and valid orders of runs for it."""

from __future__ import annotations

from hypothesis import strategies as st

from schedule.bounds import memory_floor
from schedule.builder import GraphBuilder
from schedule.graph import Graph, Input, Node, Tensor
from schedule.lowering import needed_in_order
from schedule.training import gradient

SIZES = st.one_of(st.integers(0, 8), st.integers(0, 100))
COSTS = st.one_of(
    st.integers(0, 10), st.floats(0, 10, allow_nan=False, width=16), st.just(0.1), st.just(10**9)
)


@st.composite
def graphs(
    draw,
    min_nodes=0,
    max_nodes=9,
    max_inputs=3,
    views=True,
    several=True,
    once=True,
    backward=True,
    workspace=True,
    sizes=SIZES,
    costs=COSTS,
):
    """Any graph: several outputs, chains of views, resident and freeable inputs, dead ends, …

    Each flag switches one of these off; `once` is about nodes that must not run twice.
    """
    inputs = [
        Input(f"i{at}", draw(sizes), draw(st.booleans()))
        for at in range(draw(st.integers(0, max_inputs)))
    ]
    tensors = [item.name for item in inputs]
    nodes = []
    count = draw(st.integers(min_nodes, max_nodes))
    turn = draw(st.integers(0, count)) if backward and draw(st.booleans()) else count
    for at in range(count):
        reads = draw(_reads(tensors))
        outputs = draw(_outputs(f"n{at}", reads, views, several, sizes))
        space = draw(st.sampled_from([0, 0, 0, 1, 5, 50])) if workspace else 0
        again = not (once and draw(st.integers(0, 4)) == 0)
        nodes.append(Node(f"n{at}", reads, outputs, draw(costs), space, again, at >= turn))
        tensors += [out.name for out in outputs]
    wanted = None
    if tensors and draw(st.integers(0, 2)) == 0:
        wanted = draw(st.lists(st.sampled_from(tensors), max_size=3, unique=True))
    return Graph(nodes, inputs, wanted, "any")


@st.composite
def _reads(draw, tensors):
    if not tensors:
        return ()
    recent = tensors[-4:]
    pick = st.one_of(st.sampled_from(recent), st.sampled_from(tensors))
    return tuple(draw(st.lists(pick, max_size=3)))


@st.composite
def _outputs(draw, node, reads, views, several, sizes):
    count = draw(st.sampled_from([1, 1, 1, 2, 3])) if several else 1
    named = [node] if count == 1 and draw(st.booleans()) else [f"{node}.{k}" for k in range(count)]
    outputs = []
    for name in named:
        if views and reads and draw(st.integers(0, 3)) == 0:
            outputs.append(Tensor(name, 0, draw(st.sampled_from(reads))))
        else:
            outputs.append(Tensor(name, draw(sizes)))
    return tuple(outputs)


@st.composite
def runs(draw, graph, extra=8):
    """An order of node numbers, with repeats, that can run: every node once, and then some.

    A node that may run again does so only where it isn't the very next run of itself, so that
    freeing early lets each run write something.
    """
    layout = graph.layout
    order = list(range(layout.n_nodes))
    again = [v for v in order if layout.recomputable[v]]
    for _ in range(draw(st.integers(0, extra)) if again else 0):
        v = draw(st.sampled_from(again))
        first = order.index(v)
        order.insert(draw(st.integers(first + 1, len(order))), v)
    return order


@st.composite
def training_chains(draw, longest=3):
    """The training graph of a chain with parameters, for what is at home on chains."""
    g = GraphBuilder()
    sizes, costs = st.integers(0, 6), st.integers(0, 5)
    last, parameters = g.input("x", draw(sizes)), []
    for at in range(draw(st.integers(2, longest))):
        parameters.append(g.input(f"w{at}", draw(sizes)))
        free = {"memory": draw(sizes), "compute": draw(costs), "workspace": draw(st.integers(0, 2))}
        last = g.node(f"v{at}", [last, parameters[-1]], **free)
    reads = draw(st.sampled_from(["both", "inputs", "outputs"]))
    return gradient(g.build(), wrt=parameters, reads=reads)


def budget_at(graph, share):
    """So many percent of the way from what any schedule needs to what the program takes."""
    low, high = memory_floor(graph).memory, needed_in_order(graph).peak
    return max(low + (high - low) * share // 100, 0)


@st.composite
def tight(draw, graphs):
    """A graph, and a budget that its program doesn't fit in, but that may be enough for another.

    Few graphs that are drawn at random have such a budget, training graphs do.
    """
    graph = draw(graphs.filter(lambda one: budget_at(one, 0) < budget_at(one, 100)))
    return graph, draw(st.integers(budget_at(graph, -20), budget_at(graph, 100) - 1))
