"""Hypothesis strategies: any graph, and valid orders of runs for it."""

from __future__ import annotations

from hypothesis import strategies as st

from schedule.bounds import memory_floor
from schedule.builder import GraphBuilder
from schedule.graph import Graph, Input, Node, Tensor
from schedule.levels import Level
from schedule.lowering import needed_in_order
from schedule.steps import Compute, Drop, Free, Offload, Prefetch
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
        Input(f"i{at}", draw(sizes), draw(st.booleans()), draw(st.integers(0, 3)) > 0)
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


@st.composite
def adjoint_chains(draw, longest=3, largest=6, alike=False):
    """Steps that write the next state and what their adjoints read, with all that may be with them.

    That is parameters, a loss, gradients that stay, workspace, a first state that may be freed,
    and states of several tensors. Where steps are `alike`, they differ in nothing.
    """
    sizes, costs = st.integers(0, largest), st.integers(0, 5)
    length = draw(st.integers(2, longest))
    step = [draw(sizes) for _ in range(3)] + [draw(costs)]

    def like(at):
        """What the step takes: state, data, gradient and compute."""
        return step if alike else [draw(sizes) for _ in range(3)] + [draw(costs)]

    steps = [like(at) for at in range(length + 1)]
    work = draw(st.integers(0, 2))
    weight = draw(st.integers(0, 3)) if draw(st.booleans()) else None
    keeps = weight is not None and not alike and draw(st.booleans())
    splits = draw(st.booleans())
    inputs = [Input("x0", steps[0][0], freeable=draw(st.booleans()))]
    inputs += [Input("w", weight)] if weight is not None else []
    reads = ("w",) if weight is not None else ()
    nodes = []
    for at, (state, data, _, cost) in enumerate(steps[1:], start=1):
        outputs = [Tensor(f"x{at}", state), Tensor(f"a{at}", data)]
        parts = (f"x{at - 1}",)
        if splits:
            outputs.append(Tensor(f"z{at}", state))
            parts += (f"z{at - 1}",) if at > 1 else ()
        nodes.append(Node(f"f{at}", (*parts, *reads), tuple(outputs), cost, work))
    gradient = ()
    if draw(st.booleans()):
        gradient = ("loss",)
        nodes.append(Node("loss", (f"x{length}",), (Tensor("loss", steps[0][1]),), 1))
    for at in range(length, 0, -1):
        outputs = [Tensor(f"y{at}", steps[at][2])] + [Tensor(f"g{at}", weight or 0)] * keeps
        nodes.append(
            Node(f"b{at}", (f"a{at}", *gradient, *reads), tuple(outputs), 1, work, True, True)
        )
        gradient = (f"y{at}",)
    return Graph(nodes, inputs, ["y1", *(f"g{at}" for at in range(1, length + 1) if keeps)])


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


@st.composite
def machines(draw, largest=3, capacities=None):
    """Levels of memory below a device, with links of any speed."""
    rates = st.one_of(st.sampled_from([0.5, 1, 2, 8]), st.floats(0.25, 50, width=16))
    latency = st.sampled_from([0, 0, 1, 2.5])
    capacity = st.integers(0, 10**6) if capacities is None else capacities
    names = ("host", "disk", "tape")[: draw(st.integers(1, largest))]
    return tuple(
        Level(name, draw(capacity), draw(rates), draw(rates), draw(latency)) for name in names
    )


@st.composite
def machine_steps(draw, graph, levels, length=30, wrong=0):
    """Steps on a machine: most can be done, and `wrong` in ten are any at all."""
    layout, places = graph.layout, [{item.name for item in graph.inputs}]
    places += [set() for _ in levels]
    ran, steps = set(), []
    everything = every_step(graph, levels)
    for _ in range(draw(st.integers(0, length))):
        if everything and draw(st.integers(0, 9)) < wrong:
            steps.append(draw(st.sampled_from(everything)))
            continue
        can = list(_can(graph, layout, places, ran))
        if not can:
            break
        kind = draw(st.sampled_from(sorted({type(step).__name__ for step in can})))
        step = draw(st.sampled_from([step for step in can if type(step).__name__ == kind]))
        steps.append(step)
        if isinstance(step, Compute):
            ran.add(step.node)
            node = graph.nodes[layout.node_id[step.node]]
            places[0].update(out.name for out in node.outputs)
        elif isinstance(step, Free):
            places[0].discard(step.tensor)
        elif isinstance(step, Drop):
            places[step.level].discard(step.tensor)
        else:
            places[step.level - isinstance(step, Prefetch)].add(step.tensor)
    return steps


def every_step(graph, levels):
    """Every step that names what there is."""
    steps = [Compute(node.name) for node in graph.nodes] + [Free(name) for name in graph.tensors]
    return steps + [
        kind(name, at + 1)
        for kind in (Offload, Prefetch, Drop)
        for at in range(len(levels))
        for name in graph.tensors
    ]


def _can(graph, layout, places, ran):
    """The steps that the rules allow now."""
    for node in graph.nodes:
        new = {out.name for out in node.outputs} - places[0]
        if new and set(node.inputs) <= places[0] and (node.recomputable or node.name not in ran):
            yield Compute(node.name)
    for at, place in enumerate(places):
        for name in sorted(place):
            others = [
                other for other in range(len(places)) if other != at and name in places[other]
            ]
            t = layout.tensor_id[name]
            if others or not layout.resident[t]:
                yield Free(name) if at == 0 else Drop(name, at)
            if layout.storage[t] != t or not layout.offloadable[t]:
                continue
            if at + 1 < len(places) and name not in places[at + 1]:
                yield Offload(name, at + 1)
            if at and name not in places[at - 1]:
                yield Prefetch(name, at)
