"""From runs to steps: the frees are the best there are."""

from __future__ import annotations

from itertools import product

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from schedule import example
from schedule.graph import Graph, Input, Node, Tensor
from schedule.lowering import free_early, in_order, needed_in_order
from schedule.memory import simulate
from tests.enough import enough, reached
from tests.oracles import needed_nodes
from tests.strategies import graphs, runs


def all_frees(graph: Graph, order: list[int]):
    """Memory during each run, for every valid choice of what is live when each run starts."""
    layout = graph.layout
    storage, memory = layout.storage.tolist(), layout.memory.tolist()
    keep_always = set(np.flatnonzero(layout.resident).tolist())
    final = set(np.flatnonzero(layout.is_output).tolist())

    def stored(live):
        return sum(memory[s] for s in {storage[t] for t in live})

    states = {(frozenset(range(layout.n_inputs)), ())}
    for v in order:
        following = set()
        for live, used in states:
            droppable = sorted(live - keep_always)
            for drops in product((False, True), repeat=len(droppable)):
                kept = live - {t for t, drop in zip(droppable, drops) if drop}
                outputs = set(layout.outputs_of[v])
                if set(layout.reads_of[v]) <= kept and not outputs <= kept:
                    need = stored(kept) + int(layout.new_memory[v] + layout.workspace[v])
                    following.add((frozenset(kept | outputs), (*used, need)))
        states = following
    return [path for live, path in states if final <= live]


@settings(max_examples=60)
@given(st.data())
def test_no_other_choice_of_frees_uses_less_memory_while_a_node_runs(data):
    """Against every valid choice of frees, on tiny graphs."""
    graph = data.draw(graphs(min_nodes=1, max_nodes=4, max_inputs=1))
    order = data.draw(runs(graph, extra=1))
    trace = simulate(graph, free_early(graph, np.array(order)))
    ours = trace.during[trace.codes >= 0].tolist()
    others = all_frees(graph, order)
    assert others, "the choice that free_early makes is among them"
    for path in others:
        assert all(mine <= theirs for mine, theirs in zip(ours, path))


@given(st.data())
def test_frees_come_right_after_the_last_use(data):
    """Between two runs nothing is live that no later run reads before it is written again."""
    graph = data.draw(graphs(min_nodes=1))
    order = data.draw(runs(graph))
    layout = graph.layout
    codes = free_early(graph, np.array(order))
    assert codes[codes >= 0].tolist() == order
    places = np.flatnonzero(codes >= 0).tolist()
    trace = simulate(graph, codes)
    for place, at in enumerate(places):
        for t in np.flatnonzero(trace.live_before(at)).tolist():
            used = next(
                (
                    "read" if t in layout.reads_of[v] else "written"
                    for v in order[place:]
                    if t in layout.reads_of[v] or t in layout.outputs_of[v]
                ),
                "output" if layout.is_output[t] else "nothing",
            )
            assert used in ("read", "output") or layout.resident[t]


def test_a_chain_in_its_own_order_holds_two_tensors():
    """Forward alone, a chain of n needs 2."""
    nodes = example("chain", layers=5).nodes
    forward = Graph([node for node in nodes if not node.backward])
    assert in_order(forward).peak == 2


@enough(0.3)
@given(graphs(min_nodes=1))
def test_what_no_output_needs_is_left_out(graph):
    """In the graph's own order only the nodes that the oracle needs run, each once."""
    runs = needed_in_order(graph).codes
    needed = needed_nodes(graph)
    assert [graph.nodes[v].name for v in runs[runs >= 0].tolist()] == needed
    if len(needed) < len(graph):
        reached()


def test_an_input_that_nothing_reads_goes_first():
    """Where it may be freed, and isn't asked for, it takes memory at the start only."""
    graph = Graph([Node("a", (), (Tensor("a", 1),), 1)], [Input("x", 5, freeable=True)], ["a"])
    trace = simulate(graph, free_early(graph, [0]))
    assert (trace.start, trace.during.tolist()) == (5, [5, 1])


def test_runs_may_be_a_list_and_none():
    """As from a solver that appends them one by one, on a graph where nothing has to run."""
    graph = example("chain")
    order = np.flatnonzero(graph.layout.needed)
    assert free_early(graph, order.tolist()).tolist() == free_early(graph, order).tolist()
    assert free_early(graph, []).tolist() == []
